package microbatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"streamduel/connectors"
	"streamduel/engines/microbatch/schedule"
	"streamduel/engines/microbatch/spill"
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
	blocked  *meter // waiting for a stage that runs at the same time
}

// task runs one partition of a stage, one batch after the other. What belongs
// to it is used by one goroutine at a time; the end of a stage lies between.
type task struct {
	*pipeline.Task
	farTask // where executors are processes
	run     *run
	stage   *stage
	sources []*taskSource
	inputs  []taskInput
	outputs []*shuffle
	writers []*sinkWriter
	state   *partitionState
	// stateBytes and stateTime are what the last state version took.
	stateBytes int
	stateTime  time.Duration
	taken      int64         // records read in this batch
	took       time.Duration // by the last attempt
	shuffled   int64         // rows written to shuffles in this batch, and in all
	everySent  int64
	progress   taskProgress     // of this batch
	usage      []state.Usage    // when it ended
	late       map[string]int64 // rows by operator, then
	failed     int              // attempts in this batch before it
	consumed   []consumed       // buffers to be released when the batch's attempt has succeeded
	closed     bool
	wake       chan struct{} // somebody has something for it; where tasks run at the same time
}

type consumed struct {
	shuffle *shuffle
	buffer  *exchange.Buffer
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
	live    *live // in its place where stages run at the same time
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
	if l := h.g.live[e]; l != nil {
		return liveOutput{l, h.task}, len(l.rings[h.task])
	}
	s := h.g.shuffles[e]
	h.t.outputs = append(h.t.outputs, s)
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
	defer t.publishWritten()
	t.assign(b)
	t.state.shorten(t.State, b.entry.Batch, t.run.maintenance)
	for _, s := range t.outputs {
		s.begin(t.Subtask)
	}
	if err := t.beginRows(ctx, b); err != nil {
		return err
	}
	times := [4]time.Time{time.Now()}
	if _, err := t.ProcessingTime(b.entry.Time); err != nil {
		return err
	}
	times[1] = time.Now()
	for _, s := range t.sources {
		if err := t.read(ctx, s, b); err != nil {
			return err
		}
	}
	for i, in := range t.inputs {
		var err error
		if t.inlet != nil {
			err = t.inlet(ctx, i, in.from)
		} else {
			err = t.feed(in)
		}
		if err != nil {
			return err
		}
	}
	times[2] = time.Now()
	if _, err := t.Watermark(b.watermark); err != nil {
		return err
	}
	times[3] = time.Now()
	if _, err := t.EndBatch(); err != nil {
		return err
	}
	t.Flush()
	t.progressed(times[2].Sub(times[1]), times[1].Sub(times[0])+times[3].Sub(times[2]))
	t.countShuffled()
	if err := t.wrote(); err != nil {
		return err
	}
	// The state is written while the sink's requests are on their way.
	if t.state != nil {
		if err := t.run.attempt.Check(); err != nil {
			return schedule.Permanent{Err: err}
		}
		begun := time.Now()
		n, err := t.state.write(t.State, b.entry.Batch+1)
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
	b.taken.Add(t.taken)
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.commitParts(b)
}

// countShuffled notes how many rows the batch wrote to shuffles.
func (t *task) countShuffled() {
	var sum int64
	for _, o := range t.Outputs() {
		n, _ := o.Writer.Counts()
		sum += n
	}
	t.shuffled, t.everySent = sum-t.everySent, sum
}

// shuffledRows is that of the last batch, wherever it ran.
func (t *task) shuffledRows() int64 {
	if t.Task == nil {
		return t.last.Shuffled
	}
	return t.shuffled
}

// assign takes the task's ranges of a batch. A split always goes to the same
// task, whose reader has its next records already.
func (t *task) assign(b *batch) {
	if b.assigned {
		return
	}
	t.taken = 0
	for _, src := range t.sources {
		src.assign = src.assign[:0]
		ranges := b.entry.Sources[src.source.node.UID]
		known := src.source.known()
		for i := t.partition(); i < len(known); i += len(t.stage.tasks) {
			if rg, ok := ranges[known[i].ID]; ok && rg.From < rg.Until && !t.run.parts.has(known[i].ID, rg) {
				sp := known[i].Split
				sp.Incarnation = rg.Incarnation
				src.assign = append(src.assign, connectors.Assignment{Split: sp, From: rg.From, Until: rg.Until})
			}
		}
	}
}

// partition is the task's number in its stage.
func (t *task) partition() int {
	if t.far {
		return t.index
	}
	return t.Subtask
}

// consumeInputs gives the buffers that the task has read back. Until its attempt
// has succeeded they are kept: a further one reads them again.
func (t *task) consumeInputs() {
	for i, c := range t.consumed {
		c.shuffle.release(c.buffer)
		t.consumed[i] = consumed{}
	}
	t.consumed = t.consumed[:0]
	for _, in := range t.inputs {
		for up := range in.from {
			in.shuffle.empty(up, t.Subtask)
		}
	}
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
			if err := t.wrote(); err != nil {
				return err
			}
			t.publishWritten()
			t.taken += int64(n)
		}
		if b.Done {
			open--
		}
	}
	return nil
}

func (t *task) feed(in taskInput) error {
	for up, from := range in.from {
		if err := t.fetch(in.shuffle, up, from); err != nil {
			return err
		}
	}
	return nil
}

// generation is a set of built stages: tasks, readers and writers. After a
// batch has failed a new one is built from the last state version.
type generation struct {
	number   int64      // to executors
	away     *executors // that have the tasks; nil where they are here
	ctx      context.Context
	cancel   context.CancelFunc
	stages   []*stage
	specs    []schedule.Stage // what the scheduler is told of them
	shuffles map[*pipeline.Edge]*shuffle
	spilled  *spill.File
	live     map[*pipeline.Edge]*live // in their place where stages run at the same time
	wakes    [][]chan struct{}        // by stage and task, for those
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
func (r *run) build(s *slot, watermark int64, versions func(*partitionState) (int64, error)) error {
	g := r.newGeneration()
	if err := r.buildStages(g, watermark, versions); err != nil {
		g.close(r.borrowsWriters())
		return err
	}
	s.generation.Store(g)
	return nil
}

// newGeneration makes stages without tasks.
func (r *run) newGeneration() *generation {
	g := &generation{shuffles: map[*pipeline.Edge]*shuffle{}, live: map[*pipeline.Edge]*live{}, away: r.executors}
	g.ctx, g.cancel = context.WithCancel(r.ctx)
	for _, f := range r.fragments {
		var wakes []chan struct{}
		for range f.Parallelism {
			wakes = append(wakes, make(chan struct{}, 1))
		}
		g.wakes = append(g.wakes, wakes)
	}
	g.spilled = r.newSpillFile()
	for i, f := range r.fragments {
		for _, e := range f.Out {
			if r.live {
				g.live[e] = newLive(g.wakes[i], g.wakes[r.stageOf(e.To)], &r.bufferedBytes)
				continue
			}
			g.shuffles[e] = newShuffle(e, f.Parallelism, r.fragments[r.stageOf(e.To)].Parallelism, r, g.spilled)
		}
	}
	for i, f := range r.fragments {
		s := &stage{fragment: f, meter: r.meters[i], blocked: r.blocked[i]}
		for _, e := range f.In {
			s.parents = append(s.parents, r.stageOf(e.From))
		}
		for _, e := range f.Out {
			s.children = append(s.children, r.stageOf(e.To))
		}
		s.parents, s.children = distinct(s.parents), distinct(s.children)
		g.stages = append(g.stages, s)
	}
	return g
}

func (r *run) buildStages(g *generation, watermark int64, versions func(*partitionState) (int64, error)) error {
	for i, s := range g.stages {
		for k := range s.fragment.Parallelism {
			t := &task{run: r, stage: s, wake: g.wakes[i][k]}
			s.tasks = append(s.tasks, t)
			if g.away != nil {
				r.standIn(t, k)
				if err := t.restoreFar(versions); err != nil {
					return fmt.Errorf("%s, partition %d: %w", s.fragment.Name, k, err)
				}
				continue
			}
			if err := r.buildTask(g, t, k); err != nil {
				return err
			}
			if err := t.restore(watermark, versions); err != nil {
				return err
			}
		}
		g.specs = append(g.specs, r.specOf(s))
	}
	if g.away != nil {
		return g.away.open(g, watermark)
	}
	return nil
}

// specOf describes a stage to the scheduler. Where its tasks write to a sink
// that must not see a row twice, one that fails is not run again by itself: at
// most once not at all, exactly-once with the whole batch.
func (r *run) specOf(s *stage) schedule.Stage {
	sink := len(s.fragment.Sinks) > 0
	// Where executors are processes the driver writes, and only what an attempt
	// that has succeeded gave it: then one that fails can be run again alone.
	spec := schedule.Stage{Parents: s.parents, Sink: sink, Whole: sink && r.job.Guarantee != connectors.AtLeastOnce && r.executors == nil}
	for k := range s.tasks {
		spec.Tasks = append(spec.Tasks, schedule.Task{Executors: r.prefer(s, k)})
	}
	return spec
}

// prefer returns the executor that has a task's reader and state.
func (r *run) prefer(s *stage, k int) []string {
	if len(r.executorIDs) == 0 || !belongs(s.fragment) {
		return nil
	}
	k = home(k, len(r.executorIDs))
	return r.executorIDs[k : k+1]
}

// restore brings a new task to a state version and a watermark.
func (t *task) restore(watermark int64, versions func(*partitionState) (int64, error)) error {
	if err := t.restoreState(versions); err != nil {
		return fmt.Errorf("%s, partition %d: %w", t.Fragment.Name, t.Subtask, err)
	}
	// Nothing is due here: what this watermark fires was fired by the batch
	// that wrote the state.
	_, err := t.Watermark(watermark)
	return err
}

// restoreState gives the task the state of the version that versions says.
func (t *task) restoreState(versions func(*partitionState) (int64, error)) error {
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

// renew replaces a task whose attempt has failed by a new one with the state
// that the batch began with.
func (r *run) renew(g *generation, s *stage, k int, b *batch) (*task, error) {
	old := s.tasks[k]
	old.close(r.borrowsWriters())
	for _, e := range s.fragment.Out {
		g.shuffles[e].drop(k)
	}
	t := &task{run: r, stage: s}
	err := r.buildTask(g, t, k)
	if err == nil {
		err = t.restore(b.before, func(p *partitionState) (int64, error) {
			if r.job.Guarantee == connectors.AtMostOnce {
				p.whole = true
				return p.newest(b.entry.Batch)
			}
			return b.entry.Batch, p.discard(b.entry.Batch)
		})
	}
	for i, w := range t.writers {
		w.half = old.writers[i].half
	}
	r.generationMu.Lock()
	defer r.generationMu.Unlock()
	for _, w := range old.writers {
		r.retired += w.written.Load()
	}
	s.tasks[k] = t
	return t, err
}

func (r *run) buildTask(g *generation, t *task, k int) error {
	s := t.stage
	f := s.fragment
	built, err := f.Build(pipeline.TaskConfig{
		Context: g.ctx, Subtask: k, Job: r.job.Parallelism, MaxParallelism: r.job.MaxParallelism,
		Host: &host{g, s, k, t}, Origins: r.job.Origins, Backend: r.backend, BadInput: r.bad.Take, Unread: r.unread.Take,
		OutputMode: r.cfg.taskMode(), Combine: r.cfg.combine(),
	})
	if err != nil {
		return err
	}
	t.Task = built
	for _, e := range f.In {
		in := taskInput{shuffle: g.shuffles[e], live: g.live[e]}
		for range r.fragments[r.stageOf(e.From)].Parallelism {
			input, err := built.NewInput(e)
			if err != nil {
				return err
			}
			in.from = append(in.from, input)
		}
		t.inputs = append(t.inputs, in)
	}
	for _, n := range f.Sources {
		src := r.sourceOf(n)
		var reader connectors.Reader
		switch {
		case src.intake != nil:
			reader = &blockReader{in: src.intake}
		case r.cfg.Source.Mode == Receiver:
			reader = &pieceReader{}
		default:
			reader, err = n.Source.Reader(g.ctx, r.env(n))
		}
		if err != nil {
			return fmt.Errorf("source %q: %w", n.Name, err)
		}
		t.sources = append(t.sources, &taskSource{source: src, reader: reader, head: built.Source(n)})
	}
	if r.writesHere() {
		for _, w := range t.writers {
			if err := w.open(g.ctx, r.writerEnv(w.node, k, f.Parallelism)); err != nil {
				return fmt.Errorf("sink %q: %w", w.node.Name, err)
			}
		}
	}
	if f.Stateful() {
		t.state = r.states[f][k]
	}
	return nil
}

// writesHere reports whether tasks in this process have writers of their own:
// some are a transaction's, and what executors do not write themselves the driver
// does.
func (r *run) writesHere() bool {
	return !r.borrowsWriters() && (!r.member || r.job.Guarantee == connectors.AtLeastOnce)
}

// close ends a generation and gives back what it holds.
func (g *generation) close(borrowed bool) {
	g.cancel()
	if g.away != nil {
		g.away.end(g)
	}
	for _, s := range g.stages {
		for _, t := range s.tasks {
			t.close(borrowed)
		}
	}
	for _, s := range g.shuffles {
		for up := range s.kept {
			s.drop(up)
		}
	}
	g.unspill()
}

// unspill removes the file of what was spilled. What is left of it, if it cannot be
// removed, the end of the job or its next start removes.
func (g *generation) unspill() { _ = g.spilled.Close() }

// close ends a task, also one that was built half way. Writers that are borrowed
// belong to a transaction.
func (t *task) close(borrowed bool) {
	if t.closed {
		return
	}
	t.closed = true
	for _, src := range t.sources {
		if src.reader != nil {
			src.reader.Close()
		}
	}
	if !borrowed {
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
