package pipeline

import (
	"fmt"

	"streamduel/codec"
	"streamduel/state"
)

// BroadcastState is a table that every subtask of an operator has a copy of.
// Only the operator's broadcast side writes it, and all subtasks get the same
// broadcast records, so the copies are the same: each is in its subtask's
// snapshot, and at another parallelism every new subtask takes one of them.
// What is written must depend on nothing but the broadcast records.
type BroadcastState[K comparable, V any] struct {
	table *state.Broadcast[K, V]
	node  *Node
}

// Get returns a key's value. It must not be changed.
func (b *BroadcastState[K, V]) Get(k K) (v V, ok bool) { return b.table.Get(k) }

// Len returns the number of keys.
func (b *BroadcastState[K, V]) Len() int { return b.table.Len() }

// Each calls f for every key in no order until it returns false.
func (b *BroadcastState[K, V]) Each(f func(k K, v V) bool) { b.table.Each(f) }

// Put stores a copy of a value.
func (b *BroadcastState[K, V]) Put(c *BroadcastCtx, k K, v V) {
	if c.writes(b.node) {
		b.table.Put(k, v)
	}
}

// Delete removes a key.
func (b *BroadcastState[K, V]) Delete(c *BroadcastCtx, k K) {
	if c.writes(b.node) {
		b.table.Delete(k)
	}
}

// BroadcastCtx is what the broadcast side of an operator is called with. Only
// with it is broadcast state written, and only during that call.
type BroadcastCtx struct {
	*Ctx
	node   *Node
	active bool
}

func (c *BroadcastCtx) writes(n *Node) bool {
	if c == nil || !c.active || c.node != n {
		c.fail(n)
		return false
	}
	return true
}

func (c *BroadcastCtx) fail(n *Node) {
	err := fmt.Errorf("operator %q: broadcast state is written outside of its broadcast side", n.Name)
	if c == nil || c.Ctx == nil {
		panic(err)
	}
	c.Fail(err)
}

// BroadcastFunction is a process function over a stream and a broadcast stream.
type BroadcastFunction[K comparable, T, B, R any] struct {
	Element func(v T, c *KeyedCtx[K], emit func(R))
	// Broadcast is called in every subtask for every record of the broadcast
	// stream. There is no current key.
	Broadcast func(v B, c *BroadcastCtx, emit func(R))
	// EventTimer and ProcessingTimer are as in Function.
	EventTimer      func(ts int64, c *KeyedCtx[K], emit func(R))
	ProcessingTimer func(ts int64, c *KeyedCtx[K], emit func(R))
}

// Broadcasted declares broadcast state. The name is unique within the operator.
func Broadcasted[K comparable, BK comparable, BV any](s *Setup[K], name string, keys codec.Codec[BK], values codec.Codec[BV]) *BroadcastState[BK, BV] {
	if keys == nil || values == nil {
		s.b.fail(fmt.Errorf("operator %q: state %q has no codec", s.node.Name, name))
		return nil
	}
	t, err := state.NewBroadcast(s.b.task.State, s.node.UID, name, keys, values)
	if err != nil {
		s.b.fail(err)
		return nil
	}
	return &BroadcastState[BK, BV]{t, s.node}
}

// ProcessBroadcast runs a function over a keyed stream and a stream of which
// every subtask sees all records: rules, for instance. The keyed side reads the
// broadcast state, the broadcast side writes it. There is no order between the
// two inputs. make is called once per subtask.
func ProcessBroadcast[K comparable, T, B, R any](k *Keyed[K, T], rules *Stream[B], name string, make func(*Setup[K]) BroadcastFunction[K, T, B, R]) *Stream[R] {
	n := k.s.g.add(&Node{Name: name, Kind: KindKeyed})
	join(k.s, n, 0, Hash, hashKey(k))
	join(rules, n, 1, Broadcast, nil)
	n.build = func(b *builder, n *Node) any {
		next := outputOf[R](b, n, "")
		s := &Setup[K]{b: b, node: n, keys: k.codec}
		f := make(s)
		c, emit := keyed(s, next, f.EventTimer, f.ProcessingTimer)
		return ports{
			Receiver[T](func(v T, _ *Ctx) {
				c.key = k.key(v)
				f.Element(v, c, emit)
			}),
			broadcastPort(b, n, f.Broadcast, emit),
		}
	}
	return streamOf[R](n)
}

func broadcastPort[B, R any](b *builder, n *Node, f func(v B, c *BroadcastCtx, emit func(R)), emit func(R)) Receiver[B] {
	c := &BroadcastCtx{Ctx: &b.task.ctx, node: n}
	return func(v B, _ *Ctx) {
		c.active = true
		f(v, c, emit)
		c.active = false
	}
}

// MapBroadcast is ProcessBroadcast for a stream that is not keyed: it has
// neither keyed state nor timers.
func MapBroadcast[BK comparable, BV, T, B, R any](s *Stream[T], rules *Stream[B], name string, keys codec.Codec[BK], values codec.Codec[BV],
	ofElement func(v T, state *BroadcastState[BK, BV], emit func(R)), ofBroadcast func(v B, state *BroadcastState[BK, BV], c *BroadcastCtx)) *Stream[R] {
	return RichMapBroadcast(s, rules, name, keys, values, func(*RuntimeContext) BroadcastMap[BK, BV, T, B, R] {
		return BroadcastMap[BK, BV, T, B, R]{ofElement, ofBroadcast}
	})
}

// BroadcastMap is what MapBroadcast does with a record of either stream.
type BroadcastMap[BK comparable, BV, T, B, R any] struct {
	Element   func(v T, state *BroadcastState[BK, BV], emit func(R))
	Broadcast func(v B, state *BroadcastState[BK, BV], c *BroadcastCtx)
}

// RichMapBroadcast is MapBroadcast with functions that are made once per subtask.
func RichMapBroadcast[BK comparable, BV, T, B, R any](s *Stream[T], rules *Stream[B], name string, keys codec.Codec[BK], values codec.Codec[BV], open func(r *RuntimeContext) BroadcastMap[BK, BV, T, B, R]) *Stream[R] {
	n := s.g.add(&Node{Name: name, Kind: KindOperator, StartsChain: true})
	join(s, n, 0, Forward, nil)
	join(rules, n, 1, Broadcast, nil)
	n.build = func(b *builder, n *Node) any {
		next, x := outputOf[R](b, n, ""), &b.task.ctx
		f := open(&RuntimeContext{b, n})
		emit := func(v R) { next(v, x) }
		st := Broadcasted(&Setup[struct{}]{b: b, node: n}, "table", keys, values)
		return ports{
			Receiver[T](func(v T, _ *Ctx) { f.Element(v, st, emit) }),
			broadcastPort(b, n, func(v B, c *BroadcastCtx, _ func(R)) { f.Broadcast(v, st, c) }, emit),
		}
	}
	return streamOf[R](n)
}
