package state

import (
	"bytes"
	"fmt"
	"slices"
)

// WarmKeys is how many keys Warm takes at most in memory, and WarmStored with a
// store below.
const (
	WarmKeys   = 32
	WarmStored = 1024
	// A store is asked for fewer keys one by one: what they would share costs more
	// than it saves.
	fewKeys = 8
)

// Warm brings the entries of keys that will be asked for next nearer, so that
// what getting one costs is shared or overlaps. It changes nothing that can be
// seen.
//
// In memory they come into the processor's cache: their loads do not wait for
// each other, as they do when each key's turn comes, so with more keys than the
// cache holds a record costs half. From a store they come into the table, read in
// the order of their keys. What is returned only keeps the loads from being
// optimized away.
func (t *Table[K, V]) Warm(keys []K) (n uint32) {
	if t.stored != nil {
		t.fetch(keys[:min(len(keys), WarmStored)])
		return 0
	}
	if t.slow {
		return 0
	}
	// In two rounds: within each, no load needs what another brings.
	var slots [WarmKeys]uint32
	m := 0
	for _, k := range keys[:min(len(keys), WarmKeys)] {
		if slot, ok := t.index.guess(k); ok {
			slots[m] = slot
			m++
		}
	}
	for _, slot := range slots[:m] {
		n += t.at(slot).epoch
	}
	return n
}

// fetching is scratch of fetch.
type fetching struct {
	bytes []byte
	order []wanted
	keys  [][]byte
}

// wanted is a key that is not in the cache.
type wanted struct {
	from, to int // its encoding in bytes
	key      int // its place among those that are asked for
}

// fetch brings keys from the store into the cache, where those that it has not
// are remembered as missing.
func (t *Table[K, V]) fetch(keys []K) {
	st := t.stored
	// What comes must not drive out what came.
	keys = keys[:min(len(keys), st.limit/4)]
	f := &st.fetching
	f.bytes, f.order, f.keys = f.bytes[:0], f.order[:0], f.keys[:0]
	for i, k := range keys {
		if slot, ok := t.find(k); ok {
			st.used[slot] = true
			continue
		}
		from := len(f.bytes)
		f.bytes = append(f.bytes, t.storeKey(k, GroupOf(t.hash(k), t.set.MaxParallelism))...)
		f.order = append(f.order, wanted{from, len(f.bytes), i})
	}
	if len(f.order) < fewKeys {
		return
	}
	encoded := func(w wanted) []byte { return f.bytes[w.from:w.to] }
	slices.SortFunc(f.order, func(a, b wanted) int { return bytes.Compare(encoded(a), encoded(b)) })
	f.order = slices.CompactFunc(f.order, func(a, b wanted) bool { return bytes.Equal(encoded(a), encoded(b)) })
	for _, w := range f.order {
		f.keys = append(f.keys, encoded(w))
	}
	t.set.fail(st.store.GetAll(f.keys, func(i int, b []byte, ok bool) {
		k := keys[f.order[i].key]
		if !ok {
			_, e := t.insert(k, false)
			e.state = slotDead // and no change: the store need not be told
			return
		}
		v, at, err := t.decodeStored(b)
		if err != nil {
			t.set.fail(fmt.Errorf("state %q: %w", t.name, err))
			return
		}
		v = t.values.Clone(v)
		slot, e := t.insert(k, false)
		e.value = v
		if t.ttl != nil {
			*t.time(slot) = at
		}
	}))
}
