package pipelinetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/state"
)

// Case is an operator under test: a job, what happens to it, and what must come
// out whichever way the job is run. Its sinks write text (see Text).
//
// Between two moves of time the records of different inputs, and of different
// keys, have no order among each other: what must come out must not depend on
// one.
type Case struct {
	Name  string
	Build func(g *pipeline.Graph)
	Steps []Step
	// Want is each sink's output in any order, separated by spaces.
	Want map[string]string
	// Batches says that the job works batch by batch, so that it is tried in
	// batches only.
	Batches bool
}

// Check runs the case in every way: each record by itself and in batches, as a
// dataflow engine does and as a micro-batch engine does, chained and not, at
// parallelism 1 and 4, with outputs that are blocked every other time, and with
// a snapshot and a restore, at the same and another parallelism, behind every
// record and every move of time; with state in memory, and with each of the
// backends. It returns the first difference.
//
// With a backend, where a run costs a hundred times as much, the ways are
// combined in pairs: each of batches, blocked outputs, chaining and parallelism
// comes with it, and restores behind every third step change the parallelism to
// and fro. One whose caches hold next to nothing shows the most.
func (c Case) Check(t testing.TB, backends ...state.Backends) error {
	t.Helper()
	for _, parallelism := range []int{1, 4} {
		for _, unchained := range []bool{false, true} {
			opt := Options{Parallelism: parallelism, Unchained: unchained}
			blocked := opt
			blocked.Block, blocked.Buffers = true, 1
			for _, o := range []Options{opt, blocked} {
				if c.Batches {
					break
				}
				if err := c.run(t, o, c.split(), 0, 0); err != nil {
					return err
				}
				if err := c.run(t, o, c.Steps, 0, 0); err != nil {
					return err
				}
			}
			if err := c.batches(t, opt, false); err != nil {
				return err
			}
			if err := c.batches(t, opt, true); err != nil {
				return err
			}
		}
		single := c.split()
		for at := 1; at <= len(single) && !c.Batches; at++ {
			for _, then := range []int{parallelism, 5 - parallelism} {
				if err := c.run(t, Options{Parallelism: parallelism}, single, at, then); err != nil {
					return err
				}
			}
		}
	}
	g := pipeline.New("test")
	c.Build(g)
	if !slices.ContainsFunc(g.Nodes(), (*pipeline.Node).Stateful) {
		return nil // nothing to be kept in a backend
	}
	for _, make := range backends {
		if err := c.with(t, make); err != nil {
			return err
		}
	}
	return nil
}

// with runs the case with a backend.
func (c Case) with(t testing.TB, make state.Backends) error {
	t.Helper()
	folder, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
	if err != nil {
		return err
	}
	backend, err := make(state.BackendEnv{Folder: folder})
	if err != nil {
		return err
	}
	t.Cleanup(backend.Close)
	if err := c.batches(t, Options{Parallelism: 4, Backend: backend}, false); err != nil {
		return err
	}
	if err := c.batches(t, Options{Parallelism: 1, Backend: backend, Unchained: true}, true); err != nil || c.Batches {
		return err
	}
	single := c.split()
	if err := c.run(t, Options{Parallelism: 1, Backend: backend}, single, 0, 0); err != nil {
		return err
	}
	if err := c.run(t, Options{Parallelism: 4, Backend: backend, Unchained: true, Block: true, Buffers: 1}, c.Steps, 0, 0); err != nil {
		return err
	}
	for at := 1; at <= len(single); at += 3 {
		from := []int{1, 4}[at%2]
		if err := c.run(t, Options{Parallelism: from, Backend: backend}, single, at, 5-from); err != nil {
			return err
		}
	}
	return nil
}

// split cuts steps into such of a single record.
func (c Case) split() (out []Step) {
	for _, s := range c.Steps {
		if s.kind != stepRecords {
			out = append(out, s)
			continue
		}
		for i := range s.records {
			one := s
			one.records = s.records[i : i+1]
			out = append(out, one)
		}
	}
	return out
}

// run takes the steps as a dataflow engine does, with a restart behind step at
// if that is not 0.
func (c Case) run(t testing.TB, opt Options, steps []Step, at, then int) error {
	t.Helper()
	h := NewHarness(t, opt, c.Build)
	way := opt.String()
	if len(steps) > len(c.Steps) {
		way += ", item by item"
	}
	for i, s := range steps {
		var err error
		if s.kind == stepRecords {
			err = h.Push(s.source, s.batch(0, len(s.records)))
		} else {
			err = h.try(s)
		}
		if err != nil {
			return fmt.Errorf("%s: step %d, %v: %w", way, i+1, s, err)
		}
		if i+1 == at {
			h.Restart(then)
			way = fmt.Sprintf("%s, restarted behind step %d (%v) at parallelism %d", way, at, s, then)
		}
	}
	if err := h.Settle(); err != nil {
		return fmt.Errorf("%s: %w", way, err)
	}
	return c.compare(h, way)
}

// batches takes the steps as a micro-batch engine does, if asked with a restart
// behind every batch from the deltas of its state.
func (c Case) batches(t testing.TB, opt Options, restarts bool) error {
	t.Helper()
	opt.Await = true
	h := NewHarness(t, opt, c.Build)
	way := opt.String() + ", in batches"
	if restarts {
		way += ", restarted behind every batch"
	}
	var deltas []map[string][][]byte
	input := map[string][]*connectors.Batch{}
	flush := func() error {
		err := h.Batch(h.now, h.wm, input)
		clear(input)
		if err != nil || !restarts {
			return err
		}
		deltas = append(deltas, h.Deltas())
		h.resume(opt.Parallelism, func() error { return h.RestoreDeltas(deltas) })
		return nil
	}
	for i, s := range c.Steps {
		var err error
		switch s.kind {
		case stepRecords:
			input[s.source] = append(input[s.source], s.batch(0, len(s.records)))
		case stepWatermark:
			h.wm = max(h.wm, s.time)
			err = flush()
		case stepTime:
			if len(input) > 0 {
				err = flush()
			}
			h.now = s.time
		}
		if err != nil {
			return fmt.Errorf("%s: step %d, %v: %w", way, i+1, s, err)
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("%s: %w", way, err)
	}
	return c.compare(h, way)
}

// Player is a job that runs elsewhere, to which a case's steps are told. What
// one step does must have been done when its call returns.
type Player interface {
	// Records gives a source's partition records.
	Records(source string, partition int32, rs []connectors.Record) error
	// Watermark moves the watermarks of all partitions of all sources, with Mark.
	Watermark(ts int64) error
	// Time moves processing time.
	Time(ts int64) error
}

// Play tells a job the steps and calls behind, if it is not nil, behind each.
func (c Case) Play(p Player, behind func(step int) error) error {
	for i, s := range c.Steps {
		var err error
		switch s.kind {
		case stepRecords:
			err = p.Records(s.source, s.partition, s.records)
		case stepWatermark:
			err = p.Watermark(s.time)
		case stepTime:
			err = p.Time(s.time)
		}
		if err == nil && behind != nil {
			err = behind(i + 1)
		}
		if err != nil {
			return fmt.Errorf("step %d, %v: %w", i+1, s, err)
		}
	}
	return nil
}

func (c Case) compare(h *Harness, way string) error {
	defer h.Close()
	got := map[string][]string{}
	for _, name := range h.Sinks() {
		got[name] = h.Texts(name)
	}
	return c.Compare(way, got)
}

// Compare returns how what the sinks took in some way differs from what must
// come out.
func (c Case) Compare(way string, texts map[string][]string) error {
	sinks := slices.Collect(maps.Keys(texts))
	for name := range c.Want {
		sinks = append(sinks, name)
	}
	slices.Sort(sinks)
	for _, name := range slices.Compact(sinks) {
		got := slices.Clone(texts[name])
		slices.Sort(got)
		want := strings.Fields(c.Want[name])
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s: sink %q took\n     %s\nwant %s", way, name, strings.Join(got, " "), strings.Join(want, " "))
		}
	}
	return nil
}
