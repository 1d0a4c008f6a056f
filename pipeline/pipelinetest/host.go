// Package pipelinetest runs a job on the calling goroutine, for tests of
// pipelines, ours and a user's: the smallest engine there can be. It cuts the
// graph as an engine does, with exchanges that really serialize, and pushes
// batches, watermarks and time in the order the test asks for.
//
// Three doors, from the plainest on: a [Harness] does what a test says, step by
// step (see its example); a [Case] says what goes in and what must come out, and
// is tried in every way in which an engine may run it; a [Host] pushes a source's
// raw records.
package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"streamduel/connectors"
	"streamduel/exchange"
	"streamduel/metrics"
	"streamduel/pipeline"
	"streamduel/state"
)

// Source is a source that exists in name only; a test pushes its records.
type Source struct {
	connectors.Source
	Name string
}

// Describe says that the source can be read again.
func (s Source) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "test", Replayable: true}
}

// Sink is a sink that exists in name only; the host keeps what is written.
type Sink struct {
	connectors.Sink
	Name string
}

// Describe says that the sink can give every guarantee.
func (s Sink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "test", Guarantees: []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce}}
}

// Written is one record that a sink took.
type Written struct {
	connectors.Record
	Subtask int
	Origin  connectors.Origin // zero when the host carries none
}

// Options say how the job is run.
type Options struct {
	Parallelism    int // default 1
	MaxParallelism int // default 128
	Origins        bool
	// Unchained makes every edge an exchange, so that every codec is used.
	Unchained bool
	// Buffers bounds each channel's pool; 0 is 4. Exchanges are drained when a
	// task is starved, so a bound of 1 exercises every pause there is.
	Buffers int
	// Block refuses an output every other buffer that it asks for, so that tasks
	// pause wherever they can.
	Block bool
	// Await lets tasks wait themselves for what is under way, as a micro-batch
	// engine does.
	Await bool
	// BadInput is told of bad input.
	BadInput func(*pipeline.BadRecord)
	// Unread is told of side outputs that nobody reads.
	Unread func(operator, side string)
	// Discard makes sinks drop what they take instead of keeping it.
	Discard bool
	// Backend keeps keyed state; nil is memory.
	Backend state.Backend
	// Fail, if set, is asked before each write of a sink.
	Fail func(sink string, r *connectors.Record) error
}

// String describes the options in a test's message.
func (o Options) String() string {
	s := fmt.Sprintf("at parallelism %d", max(o.Parallelism, 1))
	if o.Unchained {
		s += ", unchained"
	}
	if o.Block {
		s += ", blocked"
	}
	if o.Backend != nil {
		s += ", backend " + o.Backend.Name()
	}
	return s
}

// Host is a running job.
type Host struct {
	Fragments []*pipeline.Fragment
	Tasks     [][]*pipeline.Task // by fragment and subtask
	// Output is what each sink took, by the sink operator's name, in order.
	Output map[string][]Written

	opt     Options
	edges   map[*pipeline.Edge][][]*channel // by producing and consuming subtask
	counted metrics.Totals
	woken   chan struct{} // by a task that has mail
	stop    context.CancelFunc
	stage   bool       // within Batch: exchanges keep all they get
	clock   []*channel // all channels in topological order of their edges
}

// channel joins one producing subtask with one consuming subtask.
type channel struct {
	pool  *exchange.Pool
	queue *exchange.Ring
	input pipeline.Input
	held  *exchange.Buffer // fed in part
	// refused says that the last request for a buffer was, under Options.Block.
	refused bool
}

// New cuts and builds a job; a graph that is wrong fails the test.
func New(t testing.TB, g *pipeline.Graph, opt Options) *Host {
	t.Helper()
	h, err := Build(g, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// Build cuts and builds a job.
func Build(g *pipeline.Graph, opt Options) (*Host, error) {
	opt.Parallelism = max(opt.Parallelism, 1)
	if opt.MaxParallelism == 0 {
		opt.MaxParallelism = 128
	}
	if opt.Buffers == 0 {
		opt.Buffers = 4
	}
	h := &Host{opt: opt, Output: map[string][]Written{}, edges: map[*pipeline.Edge][][]*channel{}}
	h.woken = make(chan struct{}, 1)
	var ctx context.Context
	ctx, h.stop = context.WithCancel(context.Background())
	wake := func() {
		select {
		case h.woken <- struct{}{}:
		default:
		}
	}
	if opt.Await {
		wake = nil
	}
	var err error
	h.Fragments, err = g.Cut(opt.Parallelism, func(e *pipeline.Edge) bool {
		return !opt.Unchained && pipeline.Chainable(e, opt.Parallelism)
	})
	if err != nil {
		return nil, err
	}
	for _, f := range h.Fragments {
		for _, e := range f.In {
			up, down := pipeline.ParallelismOf(e.From, opt.Parallelism), pipeline.ParallelismOf(e.To, opt.Parallelism)
			cs := make([][]*channel, up)
			for i := range cs {
				cs[i] = make([]*channel, down)
				for j := range cs[i] {
					cs[i][j] = &channel{pool: exchange.NewPool(opt.Buffers, nil), queue: exchange.NewRing(nil)}
				}
			}
			h.edges[e] = cs
		}
	}
	for _, f := range h.Fragments {
		var ts []*pipeline.Task
		for i := range f.Parallelism {
			task, err := f.Build(pipeline.TaskConfig{
				Subtask: i, Job: opt.Parallelism, MaxParallelism: opt.MaxParallelism,
				Host: taskHost{h, i}, Origins: opt.Origins, Context: ctx, Wake: wake, Backend: opt.Backend, BadInput: opt.BadInput, Unread: opt.Unread,
			})
			if err != nil {
				return nil, err
			}
			ts = append(ts, task)
			for _, e := range f.In {
				for _, from := range h.edges[e] {
					if from[i].input, err = task.NewInput(e); err != nil {
						return nil, err
					}
				}
			}
		}
		h.Tasks = append(h.Tasks, ts)
	}
	for _, f := range h.Fragments {
		for _, e := range f.In {
			for _, from := range h.edges[e] {
				h.clock = append(h.clock, from...)
			}
		}
	}
	return h, nil
}

// Metrics returns what the functions have counted since the job was built, by
// operator, name and subtask.
func (h *Host) Metrics() []metrics.Value {
	for _, ts := range h.Tasks {
		for _, t := range ts {
			h.counted.Add(t.Subtask, t.Metrics().Take())
		}
	}
	return h.counted.Values(0)
}

// Close gives all buffers back.
func (h *Host) Close() {
	h.stop()
	for _, ts := range h.Tasks {
		for _, t := range ts {
			t.Close()
		}
	}
}

// Push gives a batch to the source of that name, in the subtask that its
// partition belongs to, and delivers everything that follows from it.
func (h *Host) Push(source string, b *connectors.Batch) error {
	for fi, f := range h.Fragments {
		for _, n := range f.Sources {
			if n.Name != source {
				continue
			}
			t := h.Tasks[fi][int(b.Split.Partition)%f.Parallelism]
			for i := 0; i < len(b.Records); {
				var err error
				if i, err = t.Source(n).Push(b, i); err != nil {
					return err
				}
				if i < len(b.Records) {
					if err := h.Deliver(); err != nil {
						return err
					}
				}
			}
			return h.Deliver()
		}
	}
	return fmt.Errorf("pipelinetest: the job has no source %q", source)
}

// Settle delivers until nothing is under way outside any more.
func (h *Host) Settle() error {
	for {
		if err := h.Deliver(); err != nil {
			return err
		}
		n := 0
		for _, ts := range h.Tasks {
			for _, t := range ts {
				n += t.UnderWay()
			}
		}
		if n == 0 {
			return h.Deliver()
		}
		<-h.woken
	}
}

// Deliver flushes all tasks and moves buffers until none is left.
func (h *Host) Deliver() error {
	for idle := 0; ; idle++ {
		moved, waiting, held := false, false, false
		for _, ts := range h.Tasks {
			for _, t := range ts {
				t.Flush()
				t.Refill()
				if err := t.Err(); err != nil {
					return err
				}
				waiting = waiting || t.Pending()
				held = held || t.Starved() && t.UnderWay() > 0
			}
		}
		for _, c := range h.clock {
			did, err := c.deliver()
			if err != nil {
				return err
			}
			moved = moved || did
			waiting = waiting || c.held != nil || c.queue.Len() > 0
		}
		if moved {
			idle = 0
		}
		if !moved && held && idle > 3 {
			<-h.woken
			idle = 0
			continue
		}
		if !moved && !waiting && !held {
			return nil
		}
		if idle > 100 {
			return errors.New("pipelinetest: records wait in an exchange, and nothing moves")
		}
	}
}

func (c *channel) deliver() (moved bool, err error) {
	for {
		if c.held == nil {
			e, ok := c.queue.Pop()
			if !ok {
				return moved, nil
			}
			c.held = e.Buffer
		}
		before := c.held.Off
		done, err := c.input.Feed(c.held)
		if err != nil {
			return moved, err
		}
		if !done {
			return moved || c.held.Off > before, nil
		}
		c.held.Release()
		c.held, moved = nil, true
	}
}

// Watermark moves the watermark of all tasks, in the order in which records
// flow, and delivers what the timers emit.
func (h *Host) Watermark(wm int64) error {
	return h.each(func(t *pipeline.Task) (bool, error) { return t.Watermark(wm) })
}

// ProcessingTime moves processing time of all tasks.
func (h *Host) ProcessingTime(now int64) error {
	return h.each(func(t *pipeline.Task) (bool, error) { return t.ProcessingTime(now) })
}

func (h *Host) each(f func(*pipeline.Task) (bool, error)) error {
	for _, ts := range h.Tasks {
		for _, t := range ts {
			for {
				done, err := f(t)
				if err != nil {
					return err
				}
				if err := h.Deliver(); err != nil {
					return err
				}
				if done {
					break
				}
			}
		}
	}
	return nil
}

// Batch does what a micro-batch engine does in one batch: stage by stage, each
// task first moves processing time, then takes all its input, source after
// source and exchange after exchange, and then moves the watermark. A time of
// pipeline.NoTime is not moved.
func (h *Host) Batch(now, wm int64, input map[string][]*connectors.Batch) error {
	h.stage = true
	defer func() { h.stage = false }()
	for fi, f := range h.Fragments {
		for k, t := range h.Tasks[fi] {
			t.Refill()
			if now != pipeline.NoTime {
				if _, err := t.ProcessingTime(now); err != nil {
					return err
				}
			}
			for _, n := range f.Sources {
				for _, b := range input[n.Name] {
					if int(b.Split.Partition)%f.Parallelism != k {
						continue
					}
					if i, err := t.Source(n).Push(b, 0); err != nil || i < len(b.Records) {
						return fmt.Errorf("pipelinetest: %d of %d records were pushed: %w", i, len(b.Records), err)
					}
				}
			}
			for _, e := range f.In {
				for _, from := range h.edges[e] {
					if _, err := from[k].deliver(); err != nil {
						return err
					}
				}
			}
			if _, err := t.Watermark(wm); err != nil {
				return err
			}
			if _, err := t.EndBatch(); err != nil {
				return err
			}
			t.Flush()
		}
	}
	return nil
}

// SourceWatermark is the watermark that the source of that name has reached
// over the given splits: the smallest of theirs. A split that gave nothing holds
// it back.
func (h *Host) SourceWatermark(source string, splits ...connectors.Split) int64 {
	wm := int64(math.MaxInt64)
	for _, f := range h.Fragments {
		for _, n := range f.Sources {
			if n.Name != source || n.Watermarks == nil {
				continue
			}
			for _, s := range splits {
				if reached, idle := h.SplitWatermark(source, s); !idle {
					wm = min(wm, reached)
				}
			}
		}
	}
	return wm
}

// SplitWatermark returns the watermark that the source has reached in a split,
// and whether the split's generator says that it is idle.
func (h *Host) SplitWatermark(source string, s connectors.Split) (wm int64, idle bool) {
	return h.head(source, s).Watermark(s.ID)
}

// SetSplitWatermark sets it, after a restore.
func (h *Host) SetSplitWatermark(source string, s connectors.Split, wm int64) {
	h.head(source, s).SetWatermark(s.ID, wm)
}

// head returns the head of the source in the subtask that a split belongs to.
func (h *Host) head(source string, s connectors.Split) pipeline.SourceHead {
	for fi, f := range h.Fragments {
		for _, n := range f.Sources {
			if n.Name == source {
				return h.Tasks[fi][int(s.Partition)%f.Parallelism].Source(n)
			}
		}
	}
	return nil
}

// Snapshot returns a full snapshot of every task that keeps keyed state, by the
// name of its stateful operators: that is what stays the same however a job is
// cut.
func (h *Host) Snapshot() map[string][][]byte {
	all := map[string][][]byte{}
	for fi, f := range h.Fragments {
		for _, t := range h.Tasks[fi] {
			if !t.State.Empty() {
				all[stateful(f)] = append(all[stateful(f)], t.State.Snapshot(nil, true))
			}
		}
	}
	return all
}

// Deltas returns what changed in every task's state since the last snapshot, by
// the name of its stateful operators and subtask.
func (h *Host) Deltas() map[string][][]byte {
	all := map[string][][]byte{}
	for fi, f := range h.Fragments {
		for _, t := range h.Tasks[fi] {
			if !t.State.Empty() {
				all[stateful(f)] = append(all[stateful(f)], t.State.Snapshot(nil, false))
			}
		}
	}
	return all
}

// RestoreDeltas gives every task its own deltas, oldest first, as a micro-batch
// engine does, which keeps the parallelism.
func (h *Host) RestoreDeltas(deltas []map[string][][]byte) error {
	for fi, f := range h.Fragments {
		for k, t := range h.Tasks[fi] {
			if t.State.Empty() {
				continue
			}
			var own [][]byte
			for _, d := range deltas {
				own = append(own, d[stateful(f)][k])
			}
			if err := t.Restore(own...); err != nil {
				return err
			}
		}
	}
	return nil
}

// Restore gives every task the snapshots of all old subtasks, as after a change
// of parallelism. Call it before anything is pushed.
func (h *Host) Restore(snapshots map[string][][]byte) error {
	for fi, f := range h.Fragments {
		for _, t := range h.Tasks[fi] {
			if t.State.Empty() {
				continue
			}
			if err := t.Restore(snapshots[stateful(f)]...); err != nil {
				return err
			}
		}
	}
	return nil
}

func stateful(f *pipeline.Fragment) (name string) {
	for _, n := range f.Nodes {
		if n.Stateful() {
			name += n.UID + " "
		}
	}
	return name
}

type taskHost struct {
	h       *Host
	subtask int
}

func (t taskHost) Outlet(e *pipeline.Edge) (exchange.Outlet, int) {
	cs := t.h.edges[e][t.subtask]
	return outlet{t.h, cs}, len(cs)
}

func (t taskHost) Writer(n *pipeline.Node) connectors.Writer {
	return &writer{h: t.h, name: n.Name, subtask: t.subtask}
}

type outlet struct {
	h  *Host
	to []*channel
}

func (o outlet) Acquire(ch int) *exchange.Buffer {
	if o.h.stage {
		return o.to[ch].pool.Overdraft()
	}
	if o.h.opt.Block {
		// Counted by channel: else several could keep each other waiting.
		if c := o.to[ch]; !c.refused {
			c.refused = true
			return nil
		}
		o.to[ch].refused = false
	}
	return o.to[ch].pool.TryGet()
}
func (o outlet) Overdraft(ch int) *exchange.Buffer { return o.to[ch].pool.Overdraft() }
func (o outlet) Emit(ch int, b *exchange.Buffer)   { o.to[ch].queue.Push(exchange.Element{Buffer: b}) }

type writer struct {
	connectors.Writer
	h       *Host
	name    string
	subtask int
}

func (w *writer) Write(_ context.Context, r *connectors.Record, o *connectors.Origin) error {
	if f := w.h.opt.Fail; f != nil {
		if err := f(w.name, r); err != nil {
			return err
		}
	}
	if w.h.opt.Discard {
		return nil
	}
	out := Written{Record: Clone(r), Subtask: w.subtask}
	if o != nil {
		out.Origin = *o
	}
	w.h.Output[w.name] = append(w.h.Output[w.name], out)
	return nil
}
