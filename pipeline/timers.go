package pipeline

import (
	"math"

	"streamduel/codec"
	"streamduel/state"
)

// timers are the timers of one kind of one operator's subtask: a heap by time
// over a state table, which makes them unique and part of the snapshot.
type timers[K comparable] struct {
	table *state.Table[timer[K], struct{}]
	keys  codec.Codec[K]
	queue timerQueue[K]
}

type timer[K comparable] struct {
	at  int64
	key K
}

func newTimers[K comparable](s *Setup[K], name string) *timers[K] {
	t := &timers[K]{keys: s.keys}
	if s.keys == nil {
		s.b.fail(errNoKeyCodec(s.node))
		return t
	}
	table, err := state.NewTable(s.b.task.State, s.node.UID, name, codec.Codec[timer[K]](timerCodec[K]{s.keys}), codec.Codec[struct{}](codec.Unit{}))
	if err != nil {
		s.b.fail(err)
		return t
	}
	hash, err := state.Hasher[K](s.keys.Append)
	if err != nil {
		s.b.fail(err)
		return t
	}
	// A timer lives in its key's group, wherever its time would hash to.
	table.HashBy(func(t timer[K]) uint32 { return hash(t.key) })
	t.table = table
	return t
}

func (t *timers[K]) add(k K, at int64) {
	x := timer[K]{at, t.keys.Clone(k)}
	if _, fresh := t.table.Ref(x); fresh {
		t.queue.push(x)
	}
}

// remove leaves the heap's entry in place; fire skips what the table lacks.
func (t *timers[K]) remove(k K, at int64) { t.table.Delete(timer[K]{at, k}) }

// fire calls f for each timer up to now. It stops early, returning false, when
// an output of the task is starved.
func (t *timers[K]) fire(now int64, task *Task, f func(k K, at int64)) (done bool) {
	for len(t.queue) > 0 && t.queue[0].at <= now {
		if task.pressure.Starved > 0 {
			return false
		}
		if task.err != nil {
			return true
		}
		x := t.queue.pop()
		if _, ok := t.table.Get(x); !ok {
			continue
		}
		t.table.Delete(x)
		f(x.key, x.at)
	}
	return true
}

// next returns when the earliest timer is due. What was removed is dropped
// here, so that nobody is woken for it.
func (t *timers[K]) next() int64 {
	for len(t.queue) > 0 {
		if _, ok := t.table.Get(t.queue[0]); ok {
			break
		}
		t.queue.pop()
	}
	if len(t.queue) == 0 {
		return math.MaxInt64
	}
	return t.queue[0].at
}

// rebuild fills the heap from the table after a restore.
func (t *timers[K]) rebuild() {
	t.queue = t.queue[:0]
	t.table.Each(func(x timer[K], _ struct{}) bool {
		t.queue = append(t.queue, x)
		return true
	})
	t.queue.order()
}

// timerQueue is a binary heap by time. container/heap would box every timer.
type timerQueue[K comparable] []timer[K]

func (q *timerQueue[K]) push(x timer[K]) {
	h := append(*q, x)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h[up].at <= x.at {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = x
	*q = h
}

func (q *timerQueue[K]) pop() timer[K] {
	h := *q
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = timer[K]{} // the key may hold memory
	*q = h[:last]
	q.sink(0)
	return first
}

// sink moves the timer at i down to its place.
func (q timerQueue[K]) sink(i int) {
	if i >= len(q) {
		return
	}
	x := q[i]
	for {
		down := 2*i + 1
		if down >= len(q) {
			break
		}
		if r := down + 1; r < len(q) && q[r].at < q[down].at {
			down = r
		}
		if x.at <= q[down].at {
			break
		}
		q[i] = q[down]
		i = down
	}
	q[i] = x
}

func (q timerQueue[K]) order() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
}

type timerCodec[K comparable] struct{ keys codec.Codec[K] }

func (c timerCodec[K]) ID() string { return "timer/1(" + c.keys.ID() + ")" }
func (c timerCodec[K]) Append(dst []byte, t timer[K]) []byte {
	return c.keys.Append(codec.Int64{}.Append(dst, t.at), t.key)
}
func (c timerCodec[K]) Decode(src []byte) (t timer[K], n int, err error) {
	if t.at, n, err = (codec.Int64{}).Decode(src); err != nil {
		return t, n, err
	}
	k, m, err := c.keys.Decode(src[n:])
	t.key = k
	return t, n + m, err
}
func (c timerCodec[K]) Clone(t timer[K]) timer[K] { return timer[K]{t.at, c.keys.Clone(t.key)} }

// Reads evolves as the keys do.
func (c timerCodec[K]) Reads(id string) codec.Codec[timer[K]] {
	if p, ok := codec.Parts(id, "timer/1", 1); ok {
		if keys := codec.Reading(c.keys, p[0]); keys != nil {
			return timerCodec[K]{keys}
		}
	}
	return nil
}
