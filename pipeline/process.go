package pipeline

import (
	"fmt"
	"math"

	"streamduel/codec"
	"streamduel/state"
)

// Function is a process function: what happens for each element of a keyed
// stream and for each timer. It is made once per subtask, so its closures may
// hold the subtask's state handles.
type Function[K comparable, T, R any] struct {
	Element func(v T, c *KeyedCtx[K], emit func(R))
	// EventTimer fires when the watermark has reached a timer's time.
	EventTimer func(ts int64, c *KeyedCtx[K], emit func(R))
	// ProcessingTimer fires when processing time has reached a timer's time. In
	// micro-batch, processing time is the batch's timestamp and moves only
	// between batches.
	ProcessingTimer func(ts int64, c *KeyedCtx[K], emit func(R))
}

// Setup is what a function is made with: it declares state and side outputs.
type Setup[K comparable] struct {
	b    *builder
	node *Node
	keys codec.Codec[K]
	// warm brings the entries of keys near, in each state whose keys are the
	// stream's.
	warm []func(keys []K)
}

// Table declares keyed state. The name is unique within the operator.
func Table[K comparable, V any](s *Setup[K], name string, values codec.Codec[V]) *state.Table[K, V] {
	if s.keys == nil {
		s.b.fail(errNoKeyCodec(s.node))
		return nil
	}
	if values == nil {
		s.b.fail(errNoStateCodec(s.node, name))
		return nil
	}
	t, err := state.NewTable(s.b.task.State, s.node.UID, name, s.keys, values)
	if err != nil {
		s.b.fail(err)
		return t
	}
	s.warms(t)
	return t
}

// warms notes a state whose keys are the stream's.
func (s *Setup[K]) warms(t interface{ Warm(keys []K) uint32 }) {
	s.warm = append(s.warm, func(keys []K) { t.Warm(keys) })
}

func errNoKeyCodec(n *Node) error {
	return fmt.Errorf("operator %q: its key type has no codec: call Keyed.KeyCodec", n.Name)
}

func errNoStateCodec(n *Node, name string) error {
	return fmt.Errorf("operator %q: state %q has no codec", n.Name, name)
}

func errState(n *Node, name string, err error) error {
	return fmt.Errorf("operator %q: state %q: %w", n.Name, name, err)
}

// Emitter declares a side output and returns the function that emits to it.
func Emitter[K comparable, T any](s *Setup[K], tag Tag[T]) func(T) {
	next, c := outputOf[T](s.b, s.node, tag.name), &s.b.task.ctx
	return func(v T) { next(v, c) }
}

// KeyedCtx is what a process function sees of the current key and of time.
type KeyedCtx[K comparable] struct {
	*Ctx
	node     *Node
	key      K
	event    *timers[K]
	proctime *timers[K]
}

// Key returns the current key. It may alias the input; state tables clone it.
func (c *KeyedCtx[K]) Key() K { return c.key }

// EventTimer sets a timer for the current key; setting one twice is one timer.
func (c *KeyedCtx[K]) EventTimer(ts int64) { c.set(c.event, "EventTimer", ts) }

// DeleteEventTimer removes a timer of the current key.
func (c *KeyedCtx[K]) DeleteEventTimer(ts int64) { c.unset(c.event, ts) }

// ProcessingTimer sets a timer for the current key; setting one twice is one
// timer.
func (c *KeyedCtx[K]) ProcessingTimer(ts int64) { c.set(c.proctime, "ProcessingTimer", ts) }

// DeleteProcessingTimer removes a timer of the current key.
func (c *KeyedCtx[K]) DeleteProcessingTimer(ts int64) { c.unset(c.proctime, ts) }

func (c *KeyedCtx[K]) set(t *timers[K], function string, ts int64) {
	if t == nil {
		c.Fail(fmt.Errorf("operator %q sets a timer and has no function %s for it", c.node.Name, function))
		return
	}
	t.add(c.key, ts)
}

func (c *KeyedCtx[K]) unset(t *timers[K], ts int64) {
	if t != nil {
		t.remove(c.key, ts)
	}
}

// Process runs a function over a keyed stream. make is called once per subtask.
func Process[K comparable, T, R any](k *Keyed[K, T], name string, make func(*Setup[K]) Function[K, T, R]) *Stream[R] {
	n := attach(k.s, &Node{Name: name, Kind: KindKeyed}, Hash, hashKey(k))
	n.build = func(b *builder, n *Node) any {
		next := outputOf[R](b, n, "")
		s := &Setup[K]{b: b, node: n, keys: k.codec}
		f := make(s)
		c, emit := keyed(s, next, f.EventTimer, f.ProcessingTimer)
		return reading(s, func(v T, _ *Ctx) {
			c.key = k.key(v)
			f.Element(v, c, emit)
		}, k.key)
	}
	return streamOf[R](n)
}

// reading returns what an input pushes into: where state lies on disk, also what
// the input looks ahead with.
func reading[K comparable, T any](s *Setup[K], element Receiver[T], key func(T) K) any {
	if s.b.cfg.Backend == nil || len(s.warm) == 0 {
		return element
	}
	var keys []K
	return ports{element, warmer[T]{stored: true, warm: func(vs []T) {
		keys = keys[:0]
		for _, v := range vs {
			keys = append(keys, key(v))
		}
		for _, warm := range s.warm {
			warm(keys)
		}
		clear(keys)
	}}} // behind the one port
}

// keyed makes what a keyed operator's functions are called with, and registers
// its timers with the task.
func keyed[K comparable, R any](s *Setup[K], next Receiver[R], event, processing func(ts int64, c *KeyedCtx[K], emit func(R))) (c *KeyedCtx[K], emit func(R)) {
	t := s.b.task
	c = &KeyedCtx[K]{Ctx: &t.ctx, node: s.node}
	emit = func(v R) { next(v, c.Ctx) }
	op := idle(s.node)
	if event != nil {
		c.event = newTimers(s, "event timers")
		fire := func(key K, ts int64) {
			c.key, c.Ctx.Timestamp, c.Ctx.Origin = key, ts, noOrigin
			event(ts, c, emit)
		}
		op.watermark = func(wm int64) bool { return c.event.fire(wm, t, fire) }
		op.nextEvent = c.event.next
	}
	if processing != nil {
		c.proctime = newTimers(s, "processing timers")
		fire := func(key K, ts int64) {
			c.key, c.Ctx.Timestamp, c.Ctx.Origin = key, NoTime, noOrigin
			processing(ts, c, emit)
		}
		op.processingTime = func(now int64) bool { return c.proctime.fire(now, t, fire) }
		op.nextTimer = c.proctime.next
	}
	op.restored = func() {
		if c.event != nil {
			c.event.rebuild()
		}
		if c.proctime != nil {
			c.proctime.rebuild()
		}
	}
	t.operators = append(t.operators, op)
	return c, emit
}

// idle is an operator that has nothing to do beside records.
func idle(n *Node) operator {
	done := func(int64) bool { return true }
	never := func() int64 { return math.MaxInt64 }
	return operator{node: n, watermark: done, processingTime: done, nextTimer: never, nextEvent: never, restored: func() {}}
}

func errNoTime(operator string) error {
	return fmt.Errorf("operator %q works by event time, and its input has none: give the source pipeline.EventTime", operator)
}
