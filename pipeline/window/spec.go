package window

import (
	"fmt"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
)

// Windowed is a keyed stream in windows. Its methods return changed copies.
type Windowed[K comparable, T any] struct {
	k        *pipeline.Keyed[K, T]
	assigner Assigner
	gapOf    func(T) time.Duration
	trigger  *Trigger[T]
	evictor  *Evictor[T]
	lateness time.Duration
	late     *pipeline.Tag[T]
}

// On puts a keyed stream into windows.
func On[K comparable, T any](k *pipeline.Keyed[K, T], a Assigner) *Windowed[K, T] {
	w := &Windowed[K, T]{k: k, assigner: a}
	switch {
	case a.slides:
		t, e := CountTrigger[T](a.every), CountEvictor[T](a.count)
		w.trigger, w.evictor = &t, &e
	case a.counted:
		t := PurgingTrigger(CountTrigger[T](a.count))
		w.trigger = &t
	}
	return w
}

// OnDynamicSessions puts a keyed stream into sessions whose gap each record
// gives itself; one that is not above zero fails the job. It is Flink's
// withDynamicGap.
func OnDynamicSessions[K comparable, T any](k *pipeline.Keyed[K, T], t Time, gap func(T) time.Duration) *Windowed[K, T] {
	return &Windowed[K, T]{k: k, assigner: Assigner{kind: session, time: t, gap: time.Millisecond}, gapOf: gap}
}

// Trigger replaces the assigner's trigger.
func (w *Windowed[K, T]) Trigger(t Trigger[T]) *Windowed[K, T] {
	x := *w
	x.trigger = &t
	return &x
}

// Evict sets an evictor, for which the window keeps all its records.
func (w *Windowed[K, T]) Evict(e Evictor[T]) *Windowed[K, T] {
	x := *w
	x.evictor = &e
	return &x
}

// AllowedLateness keeps windows of event time for so long after they fired.
func (w *Windowed[K, T]) AllowedLateness(d time.Duration) *Windowed[K, T] {
	x := *w
	x.lateness = d
	return &x
}

// SideOutputLate sends late records to a side output, which pipeline.Side reads
// of the window's stream. Without it they are dropped.
func (w *Windowed[K, T]) SideOutputLate(tag pipeline.Tag[T]) *Windowed[K, T] {
	x := *w
	x.late = &tag
	return &x
}

func (w *Windowed[K, T]) lateOutput(s *pipeline.Setup[K]) func(T) {
	return pipeline.LateEmitter(s, w.late)
}

// Context is what a window's function sees beside its contents. It is one value
// an operator.
type Context[K comparable] struct {
	*pipeline.Ctx
	key    K
	window Window
}

// Key returns the key. It may be a view that ends with the call.
func (c *Context[K]) Key() K { return c.key }

// Window returns the window that is evaluated.
func (c *Context[K]) Window() Window { return c.window }

// Aggregator is an incremental aggregation: Flink's AggregateFunction. An
// accumulator must copy what it keeps of a record. Add and Merge may change and
// return their first argument.
type Aggregator[T, A, R any] struct {
	Create func() A // an empty accumulator; nil is the zero value
	Add    func(acc A, v T) A
	Merge  func(a, b A) A // needed by sessions and sliding windows
	Result func(acc A) R
	// Inverse, if set, takes out of an accumulator what was merged into it: a
	// sliding window then costs one Merge and one Inverse a slide instead of
	// size/slide merges.
	Inverse func(acc, gone A) A
	Codec   codec.Codec[A] // basic types have one already
}

// Of makes an Aggregator of a function for running aggregates.
func Of[T, A, R any](f pipeline.AggregateFunction[T, A, R], accumulators codec.Codec[A]) Aggregator[T, A, R] {
	return Aggregator[T, A, R]{Create: f.Create, Add: f.Add, Merge: f.Merge, Result: f.Result, Codec: accumulators}
}

// Count counts records.
func Count[T any]() Aggregator[T, int64, int64] {
	return Aggregator[T, int64, int64]{
		Add:     func(n int64, _ T) int64 { return n + 1 },
		Merge:   func(a, b int64) int64 { return a + b },
		Result:  func(n int64) int64 { return n },
		Inverse: func(n, gone int64) int64 { return n - gone },
	}
}

// Reduce combines the records of a window two at a time and emits the result.
// f must be associative; it may return acc or what acc refers to, and must copy
// what it takes out of v.
func Reduce[K comparable, T any](w *Windowed[K, T], name string, f func(acc, v T) T) *pipeline.Stream[T] {
	return typed(w, ReduceWith(w, name, f, func(_ *Context[K], v T, emit func(T)) { emit(v) }))
}

// ReduceInverse is Reduce with the inverse of f, inverse(f(a, b), a) = b for
// sliding windows: Spark's reduceByKeyAndWindow(func, invFunc).
func ReduceInverse[K comparable, T any](w *Windowed[K, T], name string, f, inverse func(acc, v T) T) *pipeline.Stream[T] {
	if inverse == nil {
		w.k.Fail("operator %q: ReduceInverse has no inverse", name)
	}
	return typed(w, reduce(w, name, f, inverse, always(func(_ *Context[K], v T, emit func(T)) { emit(v) })))
}

// ReduceWith is Reduce with a function that gets the result and the window:
// Flink's reduce(ReduceFunction, ProcessWindowFunction).
func ReduceWith[K comparable, T, R any](w *Windowed[K, T], name string, f func(acc, v T) T, apply func(c *Context[K], v T, emit func(R))) *pipeline.Stream[R] {
	return reduce(w, name, f, nil, always(apply))
}

// RichReduceWith is ReduceWith with an apply that is made once per subtask. f is
// not, as in Flink: it also runs before an exchange, where records are combined.
func RichReduceWith[K comparable, T, R any](w *Windowed[K, T], name string, f func(acc, v T) T, open func(r *pipeline.RuntimeContext) func(c *Context[K], v T, emit func(R))) *pipeline.Stream[R] {
	return reduce(w, name, f, nil, open)
}

// opens makes, once a subtask, what is done with what a window holds.
type opens[K comparable, A, R any] func(r *pipeline.RuntimeContext) func(c *Context[K], a A, emit func(R))

// always is one function for all subtasks, nil for none.
func always[K comparable, A, R any](f func(c *Context[K], a A, emit func(R))) opens[K, A, R] {
	if f == nil {
		return nil
	}
	return func(*pipeline.RuntimeContext) func(*Context[K], A, func(R)) { return f }
}

func typed[K comparable, T any](w *Windowed[K, T], s *pipeline.Stream[T]) *pipeline.Stream[T] {
	if c := w.k.Values(); c != nil {
		return s.Codec(c)
	}
	return s
}

func reduce[K comparable, T, R any](w *Windowed[K, T], name string, f, inverse func(acc, v T) T, open opens[K, T, R]) *pipeline.Stream[R] {
	if f == nil || open == nil {
		w.k.Fail("operator %q: the window has no function", name)
	}
	values := w.k.Values()
	if w.evictor != nil {
		return elements(w, name, func(r *pipeline.RuntimeContext) func(*Context[K], []T, func(R)) {
			apply := open(r)
			return func(c *Context[K], vs []T, emit func(R)) {
				if len(vs) == 0 {
					return
				}
				acc := values.Clone(vs[0]) // f may change it
				for _, v := range vs[1:] {
					acc = f(acc, v)
				}
				apply(c, acc, emit)
			}
		})
	}
	cs := &contents[T, T]{codec: values, keeps: true, merges: true}
	if values != nil {
		clone := values.Clone
		cs.add = func(a *T, fresh bool, v T, _ int64) {
			if fresh {
				*a = clone(v)
			} else {
				*a = f(*a, v)
			}
		}
		cs.merge = func(a *T, fresh bool, from T) {
			if fresh {
				*a = clone(from)
			} else {
				*a = f(*a, from)
			}
		}
	}
	if inverse != nil {
		cs.remove = func(a *T, gone T) { *a = inverse(*a, gone) }
	}
	return run(w, name, cs, func(r *pipeline.RuntimeContext) func(*Context[K], *T, func(R)) {
		apply := open(r)
		return func(c *Context[K], a *T, emit func(R)) { apply(c, *a, emit) }
	})
}

// Aggregate aggregates the records of each window and emits the result.
func Aggregate[K comparable, T, A, R any](w *Windowed[K, T], name string, g Aggregator[T, A, R]) *pipeline.Stream[R] {
	return AggregateWith(w, name, g, func(_ *Context[K], r R, emit func(R)) { emit(r) })
}

// AggregateWith is Aggregate with a function that gets the result and the
// window: Flink's aggregate(AggregateFunction, ProcessWindowFunction).
func AggregateWith[K comparable, T, A, R, O any](w *Windowed[K, T], name string, g Aggregator[T, A, R], apply func(c *Context[K], r R, emit func(O))) *pipeline.Stream[O] {
	return RichAggregateWith(w, name, g, always(apply))
}

// RichAggregateWith is AggregateWith with an apply that is made once per subtask.
// The aggregator is not, as in Flink: it also runs before an exchange, where
// records are combined.
func RichAggregateWith[K comparable, T, A, R, O any](w *Windowed[K, T], name string, g Aggregator[T, A, R], open func(r *pipeline.RuntimeContext) func(c *Context[K], r R, emit func(O))) *pipeline.Stream[O] {
	if g.Add == nil || g.Result == nil || open == nil {
		w.k.Fail("operator %q: an aggregation needs Add and Result", name)
	}
	if g.Merge == nil && w.evictor == nil && (w.assigner.kind == session || w.assigner.kind == sliding) {
		w.k.Fail("operator %q: the aggregation has no Merge, which windows that share records or merge need", name)
	}
	if g.Create == nil {
		g.Create = func() (a A) { return a }
	}
	if w.evictor != nil {
		return elements(w, name, func(r *pipeline.RuntimeContext) func(*Context[K], []T, func(O)) {
			apply := open(r)
			return func(c *Context[K], vs []T, emit func(O)) {
				a := g.Create()
				for _, v := range vs {
					a = g.Add(a, v)
				}
				apply(c, g.Result(a), emit)
			}
		})
	}
	if g.Codec == nil {
		g.Codec, _ = codec.Of[A]()
	}
	if g.Codec == nil {
		var a A
		w.k.Fail("operator %q: the accumulator's type %T has no codec: set Aggregator.Codec", name, a)
	}
	create, add, merge := g.Create, g.Add, g.Merge
	cs := &contents[T, A]{
		codec: g.Codec, merges: g.Merge != nil,
		add: func(a *A, fresh bool, v T, _ int64) {
			if fresh {
				*a = create()
			}
			*a = add(*a, v)
		},
		merge: func(a *A, fresh bool, from A) {
			if fresh {
				*a = create()
			}
			*a = merge(*a, from)
		},
	}
	if inverse := g.Inverse; inverse != nil {
		cs.remove = func(a *A, gone A) { *a = inverse(*a, gone) }
	}
	return run(w, name, cs, func(r *pipeline.RuntimeContext) func(*Context[K], *A, func(O)) {
		apply := open(r)
		return func(c *Context[K], a *A, emit func(O)) { apply(c, g.Result(*a), emit) }
	})
}

// Process keeps all records of a window and evaluates them at once: Flink's
// ProcessWindowFunction. The slice is the operator's.
func Process[K comparable, T, R any](w *Windowed[K, T], name string, apply func(c *Context[K], vs []T, emit func(R))) *pipeline.Stream[R] {
	return RichProcess(w, name, always(apply))
}

// RichProcess is Process with a function that is made once per subtask, so that it
// can keep memory and metrics of its own.
func RichProcess[K comparable, T, R any](w *Windowed[K, T], name string, open func(r *pipeline.RuntimeContext) func(c *Context[K], vs []T, emit func(R))) *pipeline.Stream[R] {
	if open == nil {
		w.k.Fail("operator %q: the window has no function", name)
	}
	return elements(w, name, open)
}

func elements[K comparable, T, R any](w *Windowed[K, T], name string, open opens[K, []T, R]) *pipeline.Stream[R] {
	values := w.k.Values()
	cs := &contents[T, Elements[T]]{
		whole: true, keeps: true,
		empty: func(e *Elements[T]) bool { return len(e.values) == 0 },
		reset: func(e *Elements[T]) {
			clear(e.values)
			e.values, e.times = e.values[:0], e.times[:0]
		},
		merge: func(e *Elements[T], _ bool, from Elements[T]) {
			e.values, e.times = append(e.values, from.values...), append(e.times, from.times...)
		},
	}
	if values != nil {
		cs.codec = elementsCodec[T]{values}
		clone := values.Clone
		cs.add = func(e *Elements[T], _ bool, v T, ts int64) {
			e.values, e.times = append(e.values, clone(v)), append(e.times, ts)
		}
	}
	var before, after func(*Elements[T])
	if w.evictor != nil {
		before, after = w.evictor.Before, w.evictor.After
	}
	return run(w, name, cs, func(r *pipeline.RuntimeContext) func(*Context[K], *Elements[T], func(R)) {
		apply := open(r)
		return func(c *Context[K], e *Elements[T], emit func(R)) {
			if before != nil {
				before(e)
			}
			apply(c, e.values, emit)
			if after != nil {
				after(e)
			}
		}
	})
}

// contents is how an operator keeps what is in a window. fresh says that a
// does not hold anything yet.
type contents[T, A any] struct {
	codec  codec.Codec[A]
	add    func(a *A, fresh bool, v T, ts int64)
	merge  func(a *A, fresh bool, from A)
	remove func(a *A, gone A) // nil without an inverse
	reset  func(a *A)         // nil: the zero value does
	empty  func(a *A) bool    // nil: never
	whole  bool               // it holds the records themselves
	merges bool               // merge works
	keeps  bool               // it needs the records' codec
}

// check refuses what cannot work, with the operator's name.
func (w *Windowed[K, T]) check(name string, keeps bool) {
	fail := func(err error) {
		if err != nil {
			w.k.Fail("operator %q: %w", name, err)
		}
	}
	fail(w.assigner.Check())
	a := w.assigner
	if w.lateness < 0 {
		fail(fmt.Errorf("allowed lateness %v must not be below zero", w.lateness))
	}
	fail(whole("allowed lateness", w.lateness))
	if w.lateness > 0 && a.time != EventTime {
		fail(fmt.Errorf("allowed lateness has a meaning only for windows of event time"))
	}
	if w.k.Values() == nil && (keeps || w.trigger != nil && w.trigger.KeepsRecord) {
		var v T
		fail(fmt.Errorf("the window keeps values of type %T, which has no codec: call Stream.Codec", v))
	}
	if t := w.trigger; t != nil {
		fail(t.err)
		if a.kind == session && t.Merged == nil {
			fail(fmt.Errorf("the %s trigger cannot be used with sessions, which merge", t.Name))
		}
	} else if a.kind == global {
		fail(fmt.Errorf("global windows never fire without a trigger"))
	}
	if e := w.evictor; e != nil {
		fail(e.err)
	}
}

// run adds the operator that fits.
func run[K comparable, T, A, R any](w *Windowed[K, T], name string, cs *contents[T, A], open opens[K, *A, R]) *pipeline.Stream[R] {
	w.check(name, cs.keeps)
	a := w.assigner
	aligned := a.kind == tumbling || a.kind == sliding
	panes := aligned && w.trigger == nil && !cs.whole
	out := pipeline.Operate(w.k, name, func(s *pipeline.Setup[K], next pipeline.Receiver[R]) pipeline.Operator[T] {
		fire := open(s.Runtime())
		if panes {
			return newPaned(s, w, cs, fire, next)
		}
		return newSlotted(s, w, cs, fire, next)
	}).As(pipeline.Role{
		Does: pipeline.Aggregates, EventTime: a.time == EventTime && a.kind != global, Session: a.kind == session,
		Late: w.lateness > 0, Triggered: w.trigger != nil || w.evictor != nil,
	})
	if panes && cs.merges && w.k.Keys() != nil && w.k.Values() != nil && cs.codec != nil {
		combine(w, out, cs)
	}
	if aligned && w.assigner.time == ProcessingTime {
		out.ProcessingGrid(w.assigner.size, w.assigner.slide, w.assigner.offset)
	}
	return out
}
