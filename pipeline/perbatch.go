package pipeline

import (
	"streamduel/codec"
)

// KeyState is a key with its state.
type KeyState[K comparable, S any] struct {
	Key   K
	State S
}

// UpdateStateByKey calls update once a batch for every key that has state or got
// values in it: with the batch's values, none for most keys, and the state before,
// of which exists says whether there is one. It returns the new state, or false
// to forget the key. Every batch emits the whole state, as Spark's does: its cost
// is that of the keys there are and not of those that came. MapWithState is the
// operator that looks only at keys with data.
//
// It needs an engine that works batch by batch; another refuses it by name.
func UpdateStateByKey[K comparable, T, S any](k *Keyed[K, T], name string, states codec.Codec[S], update func(key K, values []T, state S, exists bool) (S, bool)) *Stream[KeyState[K, S]] {
	if update == nil {
		k.s.g.fail("operator %q: updateStateByKey needs its function", name)
	}
	return RichUpdateStateByKey(k, name, states, func(*RuntimeContext) func(K, []T, S, bool) (S, bool) { return update })
}

// RichUpdateStateByKey is UpdateStateByKey with a function that is made once per
// subtask.
func RichUpdateStateByKey[K comparable, T, S any](k *Keyed[K, T], name string, states codec.Codec[S], open func(r *RuntimeContext) func(key K, values []T, state S, exists bool) (S, bool)) *Stream[KeyState[K, S]] {
	if states == nil {
		states, _ = codec.Of[S]()
	}
	values := k.Values()
	if values == nil {
		k.s.g.fail("operator %q: updateStateByKey keeps a batch's values: set their codec", name)
		return &Stream[KeyState[K, S]]{g: k.s.g, from: k.s.from}
	}
	n := attach(k.s, &Node{Name: name, Kind: KindKeyed, PerBatch: "updateStateByKey", Role: Role{Does: UpdatesAll}}, Hash, hashKey(k))
	n.build = func(b *builder, n *Node) any {
		next := outputOf[KeyState[K, S]](b, n, "")
		s := &Setup[K]{b: b, node: n, keys: k.codec}
		u := &batchUpdate[K, T, S]{task: b.task, table: Table(s, "state", states), update: open(s.Runtime()), next: next, values: map[K][]T{}}
		op := idle(n)
		op.endBatch = u.end
		b.task.operators = append(b.task.operators, op)
		return Receiver[T](func(v T, _ *Ctx) {
			key := k.key(v)
			vs, ok := u.values[key]
			if !ok {
				key = k.codec.Clone(key)
			}
			u.values[key] = append(vs, values.Clone(v))
		})
	}
	out := streamOf[KeyState[K, S]](n)
	if k.codec != nil && states != nil {
		out.codec = keyStateCodec(k.codec, states)
	}
	return out
}

// batchUpdate is the operator in a task. What it holds beside the table lives
// within a batch, so it is in no snapshot.
type batchUpdate[K comparable, T, S any] struct {
	task  *Task
	table interface {
		Get(K) (S, bool)
		Put(K, S)
		Delete(K)
		Each(func(K, S) bool)
	}
	update func(key K, values []T, state S, exists bool) (S, bool)
	next   Receiver[KeyState[K, S]]
	values map[K][]T // of the batch at hand
	keys   []K       // still to be updated at its end
	ending bool
}

// end updates every key. It pauses where an output is starved.
func (u *batchUpdate[K, T, S]) end() (done bool) {
	if !u.ending {
		u.ending = true
		u.keys = u.keys[:0]
		u.table.Each(func(k K, _ S) bool {
			u.keys = append(u.keys, k)
			return true
		})
		for k := range u.values {
			if _, known := u.table.Get(k); !known {
				u.keys = append(u.keys, k)
			}
		}
	}
	t := u.task
	for len(u.keys) > 0 {
		if t.pressure.Starved > 0 {
			return false
		}
		if t.err != nil {
			return true
		}
		k := u.keys[len(u.keys)-1]
		u.keys = u.keys[:len(u.keys)-1]
		before, exists := u.table.Get(k)
		after, keep := u.update(k, u.values[k], before, exists)
		switch {
		case keep:
			u.table.Put(k, after)
			t.ctx.AtTimer(NoTime)
			u.next(KeyState[K, S]{k, after}, &t.ctx)
		case exists:
			u.table.Delete(k)
		}
	}
	clear(u.values)
	u.ending = false
	return true
}

// EndBatch tells operators that work batch by batch that the batch has no
// further records and that its watermark has moved; what an output mode and the
// combining before exchanges have kept back leaves now. done is as with Watermark.
func (t *Task) EndBatch() (done bool, err error) {
	for i := range t.operators {
		if t.err != nil {
			return true, t.err
		}
		if end := t.operators[i].endBatch; end != nil && !end() {
			return false, t.err
		}
	}
	for _, g := range t.gathered {
		if t.err != nil {
			return true, t.err
		}
		if !g.endBatch() {
			return false, t.err
		}
	}
	return true, t.err
}

func keyStateCodec[K comparable, S any](keys codec.Codec[K], states codec.Codec[S]) codec.Codec[KeyState[K, S]] {
	return codec.Struct("keyState/1("+keys.ID()+","+states.ID()+")", func(d []byte, v KeyState[K, S]) []byte {
		return states.Append(keys.Append(d, v.Key), v.State)
	}, func(b []byte) (v KeyState[K, S], n int, err error) {
		if v.Key, n, err = keys.Decode(b); err != nil {
			return v, n, err
		}
		s, m, err := states.Decode(b[n:])
		v.State = s
		return v, n + m, err
	}, func(v KeyState[K, S]) KeyState[K, S] {
		return KeyState[K, S]{keys.Clone(v.Key), states.Clone(v.State)}
	})
}
