package pipeline

import (
	"math"

	"streamduel/codec"
	"streamduel/metrics"
)

// What packages of operators outside this one stand on: windows, for instance.

// Operator is a keyed operator in a task, one level below Function: it keeps
// its own order of what is due, which must follow from its state tables, because
// nothing else is in a snapshot. Element must be set.
type Operator[T any] struct {
	Element Receiver[T]
	// Warm, as long as Large is true, is shown the values that come next, at
	// most state.WarmKeys, before Element is called for them one by one; where
	// state lies on disk always, and at most state.WarmStored. It only brings
	// state nearer.
	Warm  func(vs []T)
	Large func() bool
	// Watermark and ProcessingTime do what is due up to now. They return false
	// when they stopped early because Setup.Stop said so, and are then called
	// again with the same time.
	Watermark      func(wm int64) (done bool)
	ProcessingTime func(now int64) (done bool)
	// NextEvent and NextProcessing return when the next thing is due,
	// math.MaxInt64 when nothing is.
	NextEvent      func() int64
	NextProcessing func() int64
	// Restored is called once after the state was restored.
	Restored func()
	// Results, if not nil, is a *Results: rows leave as the output mode says, and
	// Watermark and ProcessingTime only let go of what is over.
	Results ruler
}

// Operate runs an operator over a keyed stream. make is called once per
// subtask; next is where the operator's output goes.
func Operate[K comparable, T, R any](k *Keyed[K, T], name string, make func(s *Setup[K], next Receiver[R]) Operator[T]) *Stream[R] {
	n := attach(k.s, &Node{Name: name, Kind: KindKeyed}, Hash, hashKey(k))
	n.build = func(b *builder, n *Node) any {
		next := outputOf[R](b, n, "")
		o := make(&Setup[K]{b: b, node: n, keys: k.codec}, next)
		never := func() int64 { return math.MaxInt64 }
		done := func(int64) bool { return true }
		op := operator{node: n, watermark: done, processingTime: done, nextTimer: never, nextEvent: never, restored: func() {}}
		if o.Watermark != nil {
			op.watermark = o.Watermark
		}
		if o.ProcessingTime != nil {
			op.processingTime = o.ProcessingTime
		}
		if o.NextEvent != nil {
			op.nextEvent = o.NextEvent
		}
		if o.NextProcessing != nil {
			op.nextTimer = o.NextProcessing
		}
		if o.Restored != nil {
			op.restored = o.Restored
		}
		if o.Results != nil {
			o.Results.rule(&op)
		}
		b.task.operators = append(b.task.operators, op)
		if o.Warm != nil && o.Large != nil {
			return ports{o.Element, warmer[T]{o.Large, o.Warm, b.cfg.Backend != nil}} // behind the one port
		}
		return o.Element
	}
	return &Stream[R]{g: k.s.g, from: []output{{node: n}}}
}

// LateEmitter is Emitter for an operator's late rows, which the task counts (see
// Task.Late). Without a tag they are dropped.
func LateEmitter[K comparable, T any](s *Setup[K], tag *Tag[T]) func(T) {
	n := new(int64)
	s.b.task.late = append(s.b.task.late, lateRows{s.node, n})
	if tag == nil {
		return func(T) { *n++ }
	}
	emit := Emitter(s, *tag)
	return func(v T) {
		*n++
		emit(v)
	}
}

// lateRows is how many rows of an operator have been late, at one of its inputs.
type lateRows struct {
	node *Node
	n    *int64
}

// Late tells for each operator that tells late rows from others how many there
// have been since the task was made. One with two inputs is told of twice.
func (t *Task) Late(yield func(operator *Node, rows int64)) {
	for _, l := range t.late {
		yield(l.node, *l.n)
	}
}

// Name returns the operator's name.
func (s *Setup[K]) Name() string { return s.node.Name }

// Subtask returns which of the operator's subtasks this is, from 0, and of how many.
func (s *Setup[K]) Subtask() (index, parallelism int) {
	return s.b.task.Subtask, s.b.fragment.Parallelism
}

// Metrics returns the operator's metrics in this subtask.
func (s *Setup[K]) Metrics() *metrics.Group { return s.b.metrics(s.node) }

// Ctx returns the task's context, which is one for all records.
func (s *Setup[K]) Ctx() *Ctx { return &s.b.task.ctx }

// Stop reports whether an operator that emits on its own must pause: an output
// of the task is starved, or the task has failed.
func (s *Setup[K]) Stop() bool { return s.b.task.pressure.Starved > 0 || s.b.task.err != nil }

// AtTimer makes the context that of a timer: what is emitted has the given event
// time and answers no single input.
func (c *Ctx) AtTimer(ts int64) { c.Timestamp, c.Origin = ts, noOrigin }

// Key returns the key of a value.
func (k *Keyed[K, T]) Key(v T) K { return k.key(v) }

// Keys returns the codec of the key, nil where it has none.
func (k *Keyed[K, T]) Keys() codec.Codec[K] { return k.codec }

// Values returns the codec of the keyed stream's values, nil where it has none.
func (k *Keyed[K, T]) Values() codec.Codec[T] {
	if k.s.codec != nil {
		return k.s.codec
	}
	c, _ := codec.Of[T]()
	return c
}

// Fail makes the job be refused when it is checked. The message names the
// operator.
func (k *Keyed[K, T]) Fail(format string, a ...any) { k.s.g.fail(format, a...) }
