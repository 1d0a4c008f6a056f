package pipelinetest_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/connectors/collection"
	"streamduel/engines"
	"streamduel/engines/dataflow"
	"streamduel/engines/microbatch"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state"
	"streamduel/state/lsm"
)

// partitions is how many every source has, so that each of four subtasks reads
// one.
const partitions = 4

// settled is longer than anything that an engine does between two steps: time
// in these tests is made up.
const settled = 400 * time.Millisecond

// onEngine is a way of running a case on a real engine, in its own goroutines
// and with its own recovery.
type onEngine struct {
	engine      engines.Engine
	parallelism int
	// kills ends the job behind so many steps without a word and starts it again
	// at the parallelism then; 0 does not.
	kills   int
	then    int
	backend state.Backends
}

func (w onEngine) String() string {
	s := fmt.Sprintf("on %s at parallelism %d", w.engine.Name(), w.parallelism)
	if w.backend != nil {
		s += ", backend lsm"
	}
	if w.kills > 0 {
		s += fmt.Sprintf(", killed behind every %d. step and started at parallelism %d", w.kills, w.then)
	}
	return s
}

// ways are the ways in which every case runs on the engines: together they have
// each value of parallelism, backend and recovery once on each engine.
func ways() []onEngine {
	disk := lsm.InMemory(1)
	return []onEngine{
		{engine: dataflow.New(), parallelism: 1, then: 4, kills: 3, backend: disk},
		{engine: dataflow.New(), parallelism: 4, then: 1, kills: 2},
		// A state partition stays one in micro-batch.
		{engine: microbatch.New(), parallelism: 1, then: 1, kills: 2, backend: disk},
		{engine: microbatch.New(), parallelism: 4, then: 4, kills: 3},
	}
}

// player runs a case on an engine.
type player struct {
	way     onEngine
	c       pipelinetest.Case
	folder  *state.Folder
	clock   *clock.Clock
	sources map[string]*collection.Source
	sinks   map[string]*collection.Sink
	mark    int64
	run     engines.Run
	end     context.CancelFunc
	ended   <-chan error
}

// check runs the case and returns what differs from what must come out. It is
// called in a bubble of made-up time.
func (w onEngine) check(t testing.TB, c pipelinetest.Case, dir string) error {
	folder, err := state.OpenFolder(dir, state.DurableProcess)
	if err != nil {
		return err
	}
	p := &player{
		way: w, c: c, folder: folder, clock: &clock.Clock{}, mark: pipeline.NoTime,
		sources: map[string]*collection.Source{}, sinks: map[string]*collection.Sink{},
	}
	p.clock.Hold(time.UnixMilli(0))
	if err := p.start(w.parallelism); err != nil {
		return fmt.Errorf("%v: %w", w, err)
	}
	defer func() { p.kill() }()
	err = c.Play(p, func(step int) error {
		if w.kills == 0 || step%w.kills != 0 {
			return nil
		}
		p.kill()
		if err := p.start(w.then); err != nil {
			return err
		}
		if p.mark == pipeline.NoTime {
			return nil
		}
		return p.Watermark(p.mark) // which no snapshot holds of a source that is told
	})
	if err == nil {
		err = p.run.Stop(context.Background(), engines.StopCheckpoint)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", w, err)
	}
	texts := map[string][]string{}
	for name, s := range p.sinks {
		texts[name] = s.Values()
	}
	return c.Compare(w.String(), texts)
}

func (p *player) start(parallelism int) error {
	g := pipeline.New("test")
	p.c.Build(g)
	for _, n := range g.Nodes() {
		if s, ok := n.Source.(pipelinetest.Source); ok {
			if p.sources[s.Name] == nil {
				p.sources[s.Name] = collection.NewOpenSource(partitions)
			}
			n.Source = p.sources[s.Name]
		}
		if s, ok := n.Sink.(pipelinetest.Sink); ok {
			if p.sinks[s.Name] == nil {
				p.sinks[s.Name] = collection.NewSink()
			}
			n.Sink = p.sinks[s.Name]
		}
	}
	config := p.way.engine.Config()
	switch c := config.(type) {
	case *dataflow.Config:
		c.Checkpoint.Interval = dataflow.Duration(150 * time.Millisecond)
		c.WatermarkInterval = dataflow.Duration(50 * time.Millisecond)
	case *microbatch.Config:
		c.Interval = microbatch.Duration(50 * time.Millisecond)
		c.StateSnapshotEvery = 3
	}
	ctx, end := context.WithCancel(context.Background())
	run, err := p.way.engine.Start(ctx, engines.Job{
		Name: "job", Graph: g, Parallelism: parallelism, MaxParallelism: 128,
		Guarantee: connectors.ExactlyOnce, Folder: p.folder, Backend: p.way.backend,
	}, config, engines.Runtime{Gate: connectors.NewGate(), Clock: p.clock})
	if err != nil {
		end()
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	p.run, p.end, p.ended = run, end, ended
	return nil
}

func (p *player) kill() {
	p.end()
	_ = p.run.Wait() // it ends because it was told to
}

// settle lets the engine do all that there is to do.
func (p *player) settle() error {
	select {
	case err := <-p.ended:
		return fmt.Errorf("the job ended: %w", err)
	case <-time.After(settled):
		return nil
	}
}

func (p *player) Records(source string, partition int32, rs []connectors.Record) error {
	p.sources[source].Append(int(partition), rs...)
	return p.settle()
}

func (p *player) Watermark(ts int64) error {
	p.mark = max(p.mark, ts)
	for _, s := range p.sources {
		for i := range partitions {
			s.Append(i, pipelinetest.Mark(ts))
		}
	}
	return p.settle()
}

func (p *player) Time(ts int64) error {
	p.clock.Hold(time.UnixMilli(ts))
	return p.settle()
}

// TestOperatorsOnEngines runs the table as real jobs of both engines, through
// kills and their own recovery.
func TestOperatorsOnEngines(t *testing.T) {
	for _, c := range table() {
		t.Run(c.Name, func(t *testing.T) {
			for i, w := range ways() {
				if c.Batches && w.engine.Name() != microbatch.Name {
					continue
				}
				dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
				synctest.Test(t, func(t *testing.T) {
					if err := w.check(t, c, dir); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}
