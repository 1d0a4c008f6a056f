package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"streamduel/connectors"
	"streamduel/exchange"
	"streamduel/metrics"
	"streamduel/state"
)

// NoTime is the timestamp of a record that has no event time, and the watermark
// before there is one.
const NoTime int64 = math.MinInt64

// Ctx goes along with a record through a task. It is one value per task.
type Ctx struct {
	// Timestamp is the record's event time in Unix milliseconds, or NoTime.
	Timestamp int64
	// Origin says which input the record came from; kept only when the job
	// carries origins.
	Origin connectors.Origin
	task   *Task
}

// Watermark returns the task's watermark: no record at or before it is expected
// any more.
func (c *Ctx) Watermark() int64 { return c.task.watermark }

// ProcessingTime returns the engine's processing time in Unix milliseconds.
func (c *Ctx) ProcessingTime() int64 { return c.task.now }

// Fail makes the task fail with err before it takes another record.
func (c *Ctx) Fail(err error) {
	if c.task.err == nil {
		c.task.err = err
	}
}

// Host is the engine's side of a task.
type Host interface {
	// Outlet returns where the records of an exchange edge go and to how many
	// subtasks.
	Outlet(e *Edge) (outlet exchange.Outlet, channels int)
	// Writer returns the writer of a sink in this subtask.
	Writer(n *Node) connectors.Writer
}

// TaskConfig is what a task is built with.
type TaskConfig struct {
	Context        context.Context // ends writes that wait
	Subtask        int
	Job            int // the job's parallelism
	MaxParallelism int
	Host           Host
	// Backend keeps the tables of keyed operators; nil is memory.
	Backend state.Backend
	// Wake is called from any goroutine when Complete has something to do. Without
	// it the task waits itself (see mail).
	Wake func()
	// Slice is how many bytes of a buffer Feed takes in at once; 0 takes all of
	// it. An engine that has other things to do between two slices sets it, and
	// may change it (Task.SetSlice).
	Slice int
	// Origins makes records carry their origin to the sinks.
	Origins bool
	// OutputMode is what aggregations let leave; "" is EachInput. Update and
	// Complete take an engine that calls EndBatch.
	OutputMode OutputMode
	// Combine adds records up before an exchange into an aggregation, where nobody
	// can tell (Node.Combines). It takes an engine that calls EndBatch.
	Combine bool
	// BadInput is told of each record of bad input, whatever becomes of it, and
	// must not keep it. It may be nil.
	BadInput func(*BadRecord)
	// Unread is told of the first record that an operator gives to a side output
	// that nobody reads. It may be nil.
	Unread func(operator, side string)
}

// Task is one subtask of a fragment. All its methods belong to one goroutine.
type Task struct {
	Fragment *Fragment
	Subtask  int
	State    *state.Set

	context   context.Context
	ctx       Ctx
	pressure  exchange.Pressure
	err       error
	watermark int64
	now       int64
	written   int64
	origins   bool
	badInput  func(*BadRecord)
	at        string // the record that a panic happened at
	slice     int
	operators []operator
	sources   map[*Node]SourceHead
	outputs   []Output
	gathered  []gatherer // what is combined before exchanges
	builder   *builder
	metrics   *metrics.Set
	late      []lateRows
	built     bool

	mail    mail
	wake    func()
	waiting []waiter
	held    int // operators that hold the input back; they count as starved
}

// operator is what the task does to its operators beside pushing records.
type operator struct {
	node           *Node
	watermark      func(wm int64) (done bool)
	processingTime func(now int64) (done bool)
	nextTimer      func() int64
	nextEvent      func() int64
	restored       func()
	endBatch       func() (done bool) // nil where a batch's end is nothing to it
}

// Output is an exchange edge's writer in a task.
type Output struct {
	Edge   *Edge
	Writer *exchange.Writer
}

// SourceHead pushes a source's records into a task.
type SourceHead interface {
	// Push pushes the batch's records from index i on and returns the index of
	// the first that was not pushed: the batch's length, or less when an output
	// was starved or the task failed.
	Push(b *connectors.Batch, i int) (next int, err error)
	// Watermark asks a split's generator for its watermark, NoTime before there
	// is one, and whether it says that the split is idle. It is asked at the
	// engine's watermark interval.
	Watermark(s connectors.SplitID) (wm int64, idle bool)
	// SetWatermark sets what a split had reached, after a restore: it does not
	// fall below.
	SetWatermark(s connectors.SplitID, wm int64)
}

// Input pushes the frames of one exchange edge's buffers into a task. Each
// upstream channel has one of its own, because a record may span buffers.
type Input interface {
	// Feed pushes the buffer's records; done is false when an output was
	// starved before its end: call it again with the same buffer. The buffer
	// still belongs to the caller.
	//
	// done is also false behind a slice (see TaskConfig.Slice).
	Feed(b *exchange.Buffer) (done bool, err error)
	// Part returns the bytes of a record of which not all parts have come, and
	// nil otherwise. They belong to the input.
	Part() []byte
}

// Source returns the head of a source of the fragment.
func (t *Task) Source(n *Node) SourceHead { return t.sources[n] }

// SetSlice changes TaskConfig.Slice, from the next Feed on.
func (t *Task) SetSlice(bytes int) { t.slice = bytes }

// Outputs returns the task's exchange writers.
func (t *Task) Outputs() []Output { return t.outputs }

// Starved reports whether an output lacks a free buffer, so that the next push
// would do nothing.
func (t *Task) Starved() bool { return t.pressure.Starved > 0 }

// Refill tries to get buffers for starved outputs and reports whether none is
// starved any more, and no operator holds the input back.
func (t *Task) Refill() bool {
	for _, o := range t.outputs {
		o.Writer.Refill()
	}
	if len(t.waiting) > 0 {
		_, _ = t.Complete() // Err tells of an error
	}
	return t.pressure.Starved == 0
}

// Flush emits partly filled buffers.
func (t *Task) Flush() {
	for _, o := range t.outputs {
		o.Writer.Flush()
	}
}

// Pending reports whether partly filled buffers wait to be flushed.
func (t *Task) Pending() bool {
	for _, o := range t.outputs {
		if o.Writer.Pending() {
			return true
		}
	}
	return false
}

// At says, after a panic in the task, at which record it happened: the source's,
// or where records come over an exchange and carry origins, the input's. Empty
// when that is not known.
func (t *Task) At() string {
	if t.at == "" && t.origins && t.ctx.Origin.Partition >= 0 && len(t.sources) == 0 {
		return fmt.Sprintf("input partition %d, sequence %d", t.ctx.Origin.Partition, t.ctx.Origin.Sequence)
	}
	return t.at
}

// Err returns the error that the task failed with.
func (t *Task) Err() error { return t.err }

// Metrics returns what the task's functions count.
func (t *Task) Metrics() *metrics.Set { return t.metrics }

// Written returns how many records the task's sinks have taken.
func (t *Task) Written() int64 { return t.written }

// CurrentWatermark returns the task's watermark.
func (t *Task) CurrentWatermark() int64 { return t.watermark }

// Watermark moves the watermark and fires event-time timers up to it, operator
// by operator. done is false when an output was starved in between: call it
// again with the same time. A watermark never moves back.
func (t *Task) Watermark(wm int64) (done bool, err error) {
	t.watermark = max(t.watermark, wm)
	for i := range t.operators {
		if t.err != nil {
			return true, t.err
		}
		if !t.operators[i].watermark(t.watermark) {
			return false, t.err
		}
	}
	return true, t.err
}

// ProcessingTime moves processing time and fires its timers; done is as with
// Watermark.
func (t *Task) ProcessingTime(now int64) (done bool, err error) {
	t.now = now
	for i := range t.operators {
		if t.err != nil {
			return true, t.err
		}
		if !t.operators[i].processingTime(now) {
			return false, t.err
		}
	}
	return true, t.err
}

// NextProcessingTimer returns when the earliest processing-time timer is due, in
// Unix milliseconds; math.MaxInt64 when there is none.
func (t *Task) NextProcessingTimer() int64 {
	next := int64(math.MaxInt64)
	for i := range t.operators {
		next = min(next, t.operators[i].nextTimer())
	}
	return next
}

// NextEventTimer returns when the earliest event-time timer is due;
// math.MaxInt64 when there is none. Micro-batch runs a batch without data when
// the watermark has reached it.
func (t *Task) NextEventTimer() int64 {
	next := int64(math.MaxInt64)
	for i := range t.operators {
		next = min(next, t.operators[i].nextEvent())
	}
	return next
}

// Restore applies snapshots to the task's state (see state.Set.Restore) and
// gets its timers ready. It is called once, before any record.
func (t *Task) Restore(snapshots ...[]byte) error {
	return t.restored(t.State.Restore(snapshots...))
}

// RestoreFrom is Restore for snapshots in files.
func (t *Task) RestoreFrom(snapshots ...state.Reader) error {
	return t.restored(t.State.RestoreFrom(snapshots...))
}

func (t *Task) restored(err error) error {
	if err != nil {
		return err
	}
	for i := range t.operators {
		t.operators[i].restored()
	}
	return nil
}

// Close gives the task's buffers back, and its backend's store, of which nothing
// is needed any more but what snapshots hold.
func (t *Task) Close() {
	t.ctx.Fail(t.State.Close())
	for _, o := range t.outputs {
		o.Writer.Close()
	}
}

// builder makes a task from its ends to its heads.
type builder struct {
	task      *Task
	fragment  *Fragment
	cfg       TaskConfig
	receivers map[*Node]any
	filters   map[*Node]any  // *filter of the nodes that are filters
	merges    map[*Node]any  // what accumulators go into, see Setup.Takes
	written   map[*Edge]bool // edges that an operator emits to
	errs      []error
}

func (b *builder) fail(err error) { b.errs = append(b.errs, err) }

// Build makes one subtask of the fragment.
func (f *Fragment) Build(cfg TaskConfig) (*Task, error) {
	if cfg.MaxParallelism == 0 {
		return nil, fmt.Errorf("%s: the number of key groups is not set", f.Name)
	}
	if f.Parallelism > cfg.MaxParallelism {
		return nil, fmt.Errorf("%s: parallelism %d is above the job's maximum %d", f.Name, f.Parallelism, cfg.MaxParallelism)
	}
	if cfg.Context == nil {
		cfg.Context = context.Background()
	}
	t := &Task{
		Fragment: f, Subtask: cfg.Subtask, context: cfg.Context,
		State: state.NewSetOf(state.SetConfig{
			Job: f.graph.Name, Subtask: cfg.Subtask, Parallelism: f.Parallelism, MaxParallelism: cfg.MaxParallelism,
		}),
		watermark: NoTime, now: NoTime, origins: cfg.Origins, badInput: cfg.BadInput, slice: cfg.Slice,
		sources: map[*Node]SourceHead{}, wake: cfg.Wake, mail: mail{arrived: make(chan struct{}, 1)},
	}
	t.ctx = Ctx{Timestamp: NoTime, task: t}
	t.metrics = metrics.NewSet(f.graph.metricKind)
	t.State.OnError(t.ctx.Fail)
	if cfg.Backend != nil && f.Stateful() {
		if err := t.State.UseBackend(cfg.Backend); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	b := &builder{task: t, fragment: f, cfg: cfg, receivers: map[*Node]any{}, filters: map[*Node]any{}, merges: map[*Node]any{}, written: map[*Edge]bool{}}
	t.builder = b
	// Operators register themselves while they are built, from the tail
	// upwards; watermarks must meet them from the head down.
	for _, n := range f.Nodes {
		r := b.receiver(n)
		if n.Kind == KindSource {
			t.sources[n] = r.(SourceHead)
		}
	}
	// An edge that nobody emits to would leave its reader waiting for ever: for
	// records, for watermarks, for a barrier.
	for _, n := range f.Nodes {
		for _, e := range n.Out {
			if !b.written[e] {
				b.fail(fmt.Errorf("operator %q has no side output %q, which %q reads", n.Name, e.Side, e.To.Name))
			}
		}
	}
	slices.SortFunc(t.operators, func(a, b operator) int { return a.node.ID - b.node.ID })
	t.built = true
	return t, errors.Join(b.errs...)
}

// NewInput returns an input for one upstream channel of an exchange edge into
// the task's fragment.
func (t *Task) NewInput(e *Edge) (Input, error) {
	return e.read(t.builder, e, t.builder.port(e))
}

// port returns the receiver that an edge leads to.
func (b *builder) port(e *Edge) any {
	r := b.receiver(e.To)
	if ps, ok := r.(ports); ok {
		return ps[e.Port]
	}
	return r
}

func (b *builder) receiver(n *Node) any {
	if r, ok := b.receivers[n]; ok {
		return r
	}
	r := n.build(b, n)
	b.receivers[n] = r
	return r
}

func (b *builder) sink(n *Node) connectors.Writer {
	w := b.cfg.Host.Writer(n)
	if w == nil {
		b.fail(fmt.Errorf("sink %q has no writer", n.Name))
	}
	return w
}
