package pipeline

import (
	"fmt"
	"sync"

	"streamduel/metrics"
)

// RuntimeContext is what a function without a key is made with: who it is, and what
// it counts. Functions over a keyed stream are made with a Setup.
type RuntimeContext struct {
	b    *builder
	node *Node
}

// Name returns the operator's name.
func (r *RuntimeContext) Name() string { return r.node.Name }

// Subtask returns which of the operator's subtasks this is, from 0, and of how many.
func (r *RuntimeContext) Subtask() (index, parallelism int) {
	return r.b.task.Subtask, r.b.fragment.Parallelism
}

// Metrics returns the operator's metrics in this subtask.
func (r *RuntimeContext) Metrics() *metrics.Group { return r.b.metrics(r.node) }

// Fail makes the job be refused with err while its tasks are being built, and the
// task fail later.
func (r *RuntimeContext) Fail(err error) { r.b.refuse(err) }

// Runtime returns the context with which functions without a key are made.
func (s *Setup[K]) Runtime() *RuntimeContext { return &RuntimeContext{s.b, s.node} }

// RichMap is Map with a function that is made once per subtask, so that it can keep
// memory and metrics of its own.
func RichMap[A, B any](s *Stream[A], name string, open func(r *RuntimeContext) func(A) B) *Stream[B] {
	n := attach(s, &Node{Name: name, Kind: KindTransform}, Forward, nil)
	n.build = func(b *builder, n *Node) any {
		next, f := outputOf[B](b, n, ""), open(&RuntimeContext{b, n})
		return Receiver[A](func(v A, c *Ctx) { next(f(v), c) })
	}
	return streamOf[B](n)
}

// RichFilter is Filter with a function that is made once per subtask.
func RichFilter[T any](s *Stream[T], name string, open func(r *RuntimeContext) func(T) bool) *Stream[T] {
	n := attach(s, &Node{Name: name, Kind: KindTransform}, Forward, nil)
	n.build = func(b *builder, n *Node) any {
		return filtered(b, n, open(&RuntimeContext{b, n}))
	}
	t := streamOf[T](n)
	t.codec = s.codec
	return t
}

// RichFlatMap is FlatMapWith with a function that is made with its context.
func RichFlatMap[A, B any](s *Stream[A], name string, open func(r *RuntimeContext) func(v A, emit func(B))) *Stream[B] {
	n := attach(s, &Node{Name: name, Kind: KindTransform}, Forward, nil)
	n.build = func(b *builder, n *Node) any { return flatMapped(b, n, open(&RuntimeContext{b, n})) }
	return streamOf[B](n)
}

// metrics returns an operator's metrics in the task.
func (b *builder) metrics(n *Node) *metrics.Group { return b.task.metrics.Group(n.UID, b.refuse) }

// refuse refuses the job while the task is being built, and fails the task later.
func (b *builder) refuse(err error) {
	if b.task.built {
		b.task.ctx.Fail(err)
	} else {
		b.fail(err)
	}
}

// metricKinds remembers of which kind the metrics of a job are: whoever collects
// them puts those of one name together.
type metricKinds struct {
	mu sync.Mutex // subtasks are built, and fail, at any time
	of map[string]metricKind
}

type metricKind struct {
	operator string
	kind     metrics.Kind
}

// metricKind refuses a name that another operator has for a metric of another kind.
func (g *Graph) metricKind(operator, name string, k metrics.Kind) error {
	m := &g.metrics
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string]metricKind{}
	}
	is, ok := m.of[name]
	if !ok {
		m.of[name] = metricKind{operator, k}
		return nil
	}
	if is.kind != k {
		return fmt.Errorf("operator %q: %s %q: operator %q has a %s of that name, and a name is of one kind in a job: choose another", operator, k, name, is.operator, is.kind)
	}
	return nil
}
