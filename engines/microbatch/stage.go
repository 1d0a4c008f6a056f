package microbatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"streamduel/connectors"
	"streamduel/exchange"
	"streamduel/pipeline"
	"streamduel/state"
)

// stage is a part of the job between shuffles; its task set is one task a
// partition. Stages and tasks are built once and used for every batch, until a
// batch fails and they are built again from the last state version.
type stage struct {
	fragment *pipeline.Fragment
	parents  []int
	children []int
	tasks    []*task
	meter    *meter
}

// task runs one partition of a stage, one batch after the other. What belongs
// to it is used by one goroutine at a time; the end of a stage lies between.
type task struct {
	*pipeline.Task
	run     *run
	stage   *stage
	sources []*taskSource
	inputs  []taskInput
	writers []*sinkWriter
	state   *partitionState
	// stateBytes and stateTime are what the last state version took.
	stateBytes int
	stateTime  time.Duration
}

type taskSource struct {
	source *source
	reader connectors.Reader
	head   pipeline.SourceHead
	assign []connectors.Assignment // of the batch at hand
}

// taskInput is one shuffle into a task, with an input for each upstream task.
type taskInput struct {
	shuffle *shuffle
	from    []pipeline.Input
}

// host gives a task that is being built its surroundings.
type host struct {
	g     *generation
	stage *stage
	task  int
	t     *task
}

func (h *host) Outlet(e *pipeline.Edge) (exchange.Outlet, int) {
	s := h.g.shuffles[e]
	return mapOutput{s, h.task}, len(s.kept[h.task])
}

func (h *host) Writer(n *pipeline.Node) connectors.Writer {
	w := &sinkWriter{node: n, subtask: h.task}
	h.t.writers = append(h.t.writers, w)
	return w
}

// process runs the batch in this task. Order matters: timers of processing time
// fire first, since the batch's time is the time of its start; then the rows,
// which see the watermark of the batch before and may be late by it; then the
// watermark moves and fires what it has passed.
func (t *task) process(ctx context.Context, b *batch) error {
	if _, err := t.ProcessingTime(b.entry.Time); err != nil {
		return err
	}
	for _, s := range t.sources {
		if err := t.read(ctx, s, b); err != nil {
			return err
		}
	}
	for _, in := range t.inputs {
		if err := t.feed(in); err != nil {
			return err
		}
	}
	if _, err := t.Watermark(b.watermark); err != nil {
		return err
	}
	t.Flush()
	// The state is written while the sink's requests are on their way.
	if t.state != nil {
		if err := t.run.attempt.Check(); err != nil {
			return err
		}
		begun := time.Now()
		n, err := t.state.write(t.State, b.entry.Batch+1, t.run.maintenance)
		if err != nil {
			return fmt.Errorf("%s, partition %d: %w", t.Fragment.Name, t.Subtask, err)
		}
		t.stateBytes, t.stateTime = n, time.Since(begun)
	}
	for _, w := range t.writers {
		if err := w.Flush(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (t *task) read(ctx context.Context, s *taskSource, into *batch) error {
	if len(s.assign) == 0 {
		return nil
	}
	if err := s.reader.Assign(s.assign...); err != nil {
		return fmt.Errorf("source %q: %w", s.source.node.Name, err)
	}
	open := len(s.assign)
	for open > 0 {
		b, err := s.reader.Poll(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("source %q: %w", s.source.node.Name, err)
		}
		if n := len(b.Records); n > 0 {
			s.source.took(b.Split.ID, b.Next)
			if _, err := s.head.Push(b, 0); err != nil {
				return err
			}
			into.taken.Add(int64(n))
		}
		if b.Done {
			open--
		}
	}
	return nil
}

func (t *task) feed(in taskInput) error {
	for up, from := range in.from {
		buffers := in.shuffle.take(up, t.Subtask)
		var err error
		for i, b := range buffers {
			if err == nil {
				_, err = from.Feed(b)
			}
			in.shuffle.release(b)
			buffers[i] = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// generation is a set of built stages: tasks, readers and writers. After a
// batch has failed a new one is built from the last state version.
type generation struct {
	ctx      context.Context
	cancel   context.CancelFunc
	stages   []*stage
	shuffles map[*pipeline.Edge]*shuffle
}

func (r *run) stageOf(n *pipeline.Node) int {
	for i, f := range r.fragments {
		for _, m := range f.Nodes {
			if m == n {
				return i
			}
		}
	}
	return -1
}

func distinct(ids []int) []int {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// build makes the tasks and restores their state: version of each stateful
// partition is what versions says.
func (r *run) build(watermark int64, versions func(*partitionState) (int64, error)) error {
	g := &generation{shuffles: map[*pipeline.Edge]*shuffle{}}
	g.ctx, g.cancel = context.WithCancel(r.ctx)
	if err := r.buildStages(g, watermark, versions); err != nil {
		g.close(r.exactlyOnce)
		return err
	}
	r.generation.Store(g)
	return nil
}

func (r *run) buildStages(g *generation, watermark int64, versions func(*partitionState) (int64, error)) error {
	for _, f := range r.fragments {
		for _, e := range f.Out {
			g.shuffles[e] = newShuffle(e, f.Parallelism, r.fragments[r.stageOf(e.To)].Parallelism, r.buffers, &r.bufferedBytes)
		}
	}
	for i, f := range r.fragments {
		s := &stage{fragment: f, meter: r.meters[i]}
		for _, e := range f.In {
			s.parents = append(s.parents, r.stageOf(e.From))
		}
		for _, e := range f.Out {
			s.children = append(s.children, r.stageOf(e.To))
		}
		s.parents, s.children = distinct(s.parents), distinct(s.children)
		g.stages = append(g.stages, s)
		for k := range f.Parallelism {
			t, err := r.buildTask(g, s, k)
			if err != nil {
				return err
			}
			if err := t.restore(versions); err != nil {
				return fmt.Errorf("%s, partition %d: %w", f.Name, k, err)
			}
			// Nothing is due here: what this watermark fires was fired by the batch
			// that wrote the state.
			if _, err := t.Watermark(watermark); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore gives the task the state of the version that versions says.
func (t *task) restore(versions func(*partitionState) (int64, error)) error {
	if t.state == nil {
		return t.Restore()
	}
	v, err := versions(t.state)
	if err != nil {
		return err
	}
	files, err := t.state.snapshots(v)
	if err != nil {
		return err
	}
	defer closeAll(files)
	readers := make([]state.Reader, len(files))
	for i, f := range files {
		readers[i] = f
	}
	return t.RestoreFrom(readers...)
}

func (r *run) buildTask(g *generation, s *stage, k int) (*task, error) {
	f := s.fragment
	t := &task{run: r, stage: s}
	s.tasks = append(s.tasks, t)
	built, err := f.Build(pipeline.TaskConfig{
		Context: g.ctx, Subtask: k, Job: r.job.Parallelism, MaxParallelism: r.job.MaxParallelism,
		Host: &host{g, s, k, t}, Origins: r.job.Origins, Backend: r.backend,
	})
	if err != nil {
		return nil, err
	}
	t.Task = built
	for _, e := range f.In {
		in := taskInput{shuffle: g.shuffles[e]}
		for range r.fragments[r.stageOf(e.From)].Parallelism {
			input, err := built.NewInput(e)
			if err != nil {
				return nil, err
			}
			in.from = append(in.from, input)
		}
		t.inputs = append(t.inputs, in)
	}
	for _, n := range f.Sources {
		src := r.sourceOf(n)
		reader, err := n.Source.Reader(g.ctx, r.env(n))
		if err != nil {
			return nil, fmt.Errorf("source %q: %w", n.Name, err)
		}
		t.sources = append(t.sources, &taskSource{source: src, reader: reader, head: built.Source(n)})
	}
	if r.job.Guarantee != connectors.ExactlyOnce {
		for _, w := range t.writers {
			w.Writer, err = w.node.Sink.Writer(g.ctx, r.writerEnv(w.node, k, f.Parallelism))
			if err != nil {
				return nil, fmt.Errorf("sink %q: %w", w.node.Name, err)
			}
		}
	}
	if f.Stateful() {
		t.state = r.states[f][k]
	}
	return t, nil
}

// close ends a generation and gives back what it holds.
func (g *generation) close(exactlyOnce bool) {
	g.cancel()
	for _, s := range g.stages {
		for _, t := range s.tasks {
			for _, src := range t.sources {
				src.reader.Close()
			}
			if !exactlyOnce {
				for _, w := range t.writers {
					if w.Writer != nil {
						w.Writer.Close()
					}
				}
			}
			if t.Task != nil {
				t.Close()
			}
		}
	}
	for _, s := range g.shuffles {
		for up := range s.kept {
			for down := range s.kept[up] {
				for _, b := range s.take(up, down) {
					if b != nil {
						s.release(b)
					}
				}
			}
		}
	}
}
