package state

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"unsafe"

	"streamduel/codec"
)

// Table is a keyed table of one subtask. It belongs to the subtask's goroutine;
// only snapshots taken of it may be written elsewhere.
//
// Entries lie in slots of small chunks, and an index leads from a key to its slot.
// A snapshot takes the list of chunks and a new epoch begins; while it is being
// written, the first change in a chunk replaces the chunk by a copy. So a
// snapshot stops processing for the copy of that list only, and what it writes
// is the state at that moment.
type Table[K comparable, V any] struct {
	set    *Set
	name   string
	keys   codec.Codec[K]
	values codec.Codec[V]
	hash   func(K) uint32
	// isolate returns a value that shares nothing changeable with v; nil when
	// copying does.
	isolate func(v V) V

	index  index[K]
	chunks []*chunk[K, V]
	shift  uint
	mask   uint32
	next   uint32   // slots ever used
	free   []uint32 // slots to be used again
	live   int
	// updated and removed count keys, see Usage.
	updated, removed int64
	epoch            uint32
	changed          []uint32 // slots touched in this epoch
	graves           []uint32 // slots deleted in this epoch
	reclaim          []uint32 // slots deleted in earlier epochs, not yet freed

	freeze  uint32        // chunks of earlier versions may be in a snapshot being written
	writers *atomic.Int32 // snapshots being written
	spare   *atomic.Pointer[[]uint32]

	// slow says that Ref, Get and Delete take the way round: for a time to live
	// or a store below.
	slow   bool
	ttl    *TTL
	cursor uint32  // of the incremental clean-up
	stored *stored // nil in memory
	hooks  *hooks[K]
}

// hooks follow which slot holds which key.
type hooks[K comparable] struct {
	added, freed func(slot uint32, k K)
}

// Option sets something about a table.
type Option func(*options)

type options struct{ ttl *TTL }

// NewTable adds a table to the set. The name is unique within the operator.
func NewTable[K comparable, V any](s *Set, operator, name string, keys codec.Codec[K], values codec.Codec[V], opts ...Option) (*Table[K, V], error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	hash, err := Hasher[K](keys.Append)
	if err != nil {
		return nil, fmt.Errorf("%s: state %q: %w", operator, name, err)
	}
	t := &Table[K, V]{
		set: s, name: name, keys: keys, values: values, hash: hash,
		index: newIndex[K](0), epoch: 1, writers: new(atomic.Int32), spare: new(atomic.Pointer[[]uint32]),
	}
	t.shift = chunkShift(unsafe.Sizeof(entry[K, V]{}))
	t.mask = 1<<t.shift - 1
	if o.ttl != nil {
		if err := o.ttl.check(); err != nil {
			return nil, fmt.Errorf("%s: state %q: %w", operator, name, err)
		}
		ttl := *o.ttl
		t.ttl, t.slow = &ttl, true
	}
	if s.store != nil {
		t.stored, t.slow = newStored(s, operator, name, t.entryBytes()), true
	}
	if c, ok := values.(Isolator[V]); ok {
		t.isolate = c.Isolate
	} else if !flat(reflect.TypeFor[V]()) {
		t.isolate = t.recode
	}
	return t, s.add(operator, name, t)
}

// Isolator is implemented by codecs of values that hold slices, maps or
// pointers and know a quicker way to part from a copy than encoding and
// decoding.
type Isolator[V any] interface {
	// Isolate returns a value equal to v; changes of it do not show in v.
	Isolate(v V) V
}

// recode copies a value by its encoding. What cannot be read back will be
// refused when the snapshot is restored, so the error is kept for the set.
func (t *Table[K, V]) recode(v V) V {
	b := t.values.Append(nil, v)
	n, _, err := t.values.Decode(b)
	if err != nil {
		t.set.fail(fmt.Errorf("state %q: a value cannot be read back: %w", t.name, err))
		return v
	}
	return n // b is not used again, so a view of it is as good as a copy
}

// HashBy replaces the hash that places a key in its group, for keys that are
// made of the stream's key and something else. It is called before the first
// key comes in.
func (t *Table[K, V]) HashBy(hash func(K) uint32) { t.hash = hash }

// Len returns the number of keys; expired ones that have not been cleaned up yet
// are among them.
func (t *Table[K, V]) Len() int { return t.live }

func (t *Table[K, V]) at(slot uint32) *entry[K, V] {
	return &t.chunks[slot>>t.shift].entries[slot&t.mask]
}

// Get returns a key's value; ok is false when there is none. What the value
// points to must not be changed: Ref is for that.
func (t *Table[K, V]) Get(k K) (v V, ok bool) {
	if t.slow {
		return t.getSlow(k)
	}
	slot, ok := t.find(k)
	if !ok {
		return v, false
	}
	e := t.at(slot)
	if e.state != slotLive {
		return v, false
	}
	return e.value, true
}

// Ref returns a key's value for update in place, and whether it was just made
// (zero). The pointer is valid until the next call on the table or its set.
// Values that alias a decoder's input must be cloned before they are stored.
func (t *Table[K, V]) Ref(k K) (v *V, fresh bool) {
	if t.slow {
		return t.refSlow(k)
	}
	slot, ok := t.find(k)
	if !ok {
		_, e := t.insert(k, true)
		return &e.value, true
	}
	e := t.at(slot)
	if e.epoch == t.epoch && e.state == slotLive {
		return &e.value, false
	}
	return t.touchRef(slot)
}

// touchRef is Ref for the first time in an epoch, or after a deletion.
func (t *Table[K, V]) touchRef(slot uint32) (v *V, fresh bool) {
	e := t.touch(slot)
	if e.state == slotDead {
		t.revive(e)
		return &e.value, true
	}
	return &e.value, false
}

// Put stores a value.
func (t *Table[K, V]) Put(k K, v V) {
	p, _ := t.Ref(k)
	*p = t.values.Clone(v)
}

// Delete removes a key.
func (t *Table[K, V]) Delete(k K) {
	if t.slow {
		t.deleteSlow(k)
		return
	}
	if slot, ok := t.find(k); ok {
		t.remove(slot)
	}
}

// Each calls f for every key in no order until it returns false. f may delete
// the key it is called with.
func (t *Table[K, V]) Each(f func(k K, v V) bool) {
	if t.stored != nil {
		t.eachStored(f)
		return
	}
	for slot := uint32(0); slot < t.next; slot++ {
		e := t.at(slot)
		if e.state == slotLive && !t.expired(slot) && !f(e.key, e.value) {
			return
		}
	}
}

// insert makes an entry. changed is false for what a snapshot gives back.
func (t *Table[K, V]) insert(k K, changed bool) (slot uint32, e *entry[K, V]) {
	if t.stored != nil {
		t.makeRoom()
	}
	t.reclaimSome()
	if n := len(t.free); n > 0 {
		slot = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		slot = t.next
		t.next++
		if int(slot>>t.shift) == len(t.chunks) {
			c := &chunk[K, V]{version: t.epoch, entries: make([]entry[K, V], 1<<t.shift)}
			if t.ttl != nil {
				c.times = make([]int64, 1<<t.shift)
			}
			t.chunks = append(t.chunks, c)
		}
	}
	c := t.writable(slot)
	e = &c.entries[slot&t.mask]
	e.key = t.keys.Clone(k)
	e.group = GroupOf(t.hash(k), t.set.MaxParallelism)
	e.state = slotLive
	e.born = changed
	if changed {
		t.updated++
		t.list(e, slot)
	}
	t.index.put(e.key, slot)
	if t.stored != nil {
		t.stored.placed(slot)
	}
	if changed || t.stored == nil { // else it was only brought into the cache
		t.live++
		t.counted(e.group, 1)
	}
	if t.hooks != nil {
		t.hooks.added(slot, e.key)
	}
	return slot, e
}

// list notes that a slot changes in this epoch.
func (t *Table[K, V]) list(e *entry[K, V], slot uint32) {
	if e.epoch != t.epoch {
		e.epoch = t.epoch
		t.changed = append(t.changed, slot)
	}
}

// writable returns a slot's chunk, replacing it first when a snapshot that is
// being written may read it.
func (t *Table[K, V]) writable(slot uint32) *chunk[K, V] {
	i := slot >> t.shift
	c := t.chunks[i]
	if c.version >= t.freeze {
		return c
	}
	if t.writers.Load() == 0 {
		t.freeze = 0
		return c
	}
	c = c.clone(t.epoch)
	t.chunks[i] = c
	return c
}

// touch makes a slot's entry ready to be changed.
func (t *Table[K, V]) touch(slot uint32) *entry[K, V] {
	c := t.writable(slot)
	e := &c.entries[slot&t.mask]
	if e.epoch == t.epoch {
		return e
	}
	// A chunk's copy shares what its values point to. That is parted here, value
	// by value, as they are touched.
	if t.isolate != nil && t.freeze != 0 && e.state == slotLive {
		e.value = t.isolate(e.value)
	}
	// A mark from an earlier epoch has been told of.
	e.born = e.state == slotDead
	if e.state == slotLive {
		t.updated++
	}
	t.list(e, slot)
	return e
}

func (t *Table[K, V]) revive(e *entry[K, V]) {
	var zero V
	e.value, e.state = zero, slotLive
	t.live++
	t.updated++
	if !e.born { // it was removed in this epoch
		t.removed--
	}
	t.counted(e.group, 1)
}

// remove deletes what a slot holds.
func (t *Table[K, V]) remove(slot uint32) {
	if t.at(slot).state != slotLive {
		return
	}
	e := t.touch(slot)
	t.live--
	t.updated--
	if !e.born {
		t.removed++
	}
	t.counted(e.group, -1)
	if e.born {
		t.release(slot, e)
		return
	}
	e.state = slotDead
	if t.stored != nil {
		return // the mark goes when it has been told to the store
	}
	t.graves = append(t.graves, slot)
	t.reclaimSome()
}

// release frees a slot whose chunk is writable.
func (t *Table[K, V]) release(slot uint32, e *entry[K, V]) {
	t.index.remove(e.key, slot)
	if t.hooks != nil {
		t.hooks.freed(slot, e.key)
	}
	*e = entry[K, V]{epoch: e.epoch}
	t.free = append(t.free, slot)
}

// reclaimSome frees a few slots of earlier epochs' marks: all at once would make
// a snapshot wait. Not while one is being written, which would copy chunks.
func (t *Table[K, V]) reclaimSome() {
	if len(t.reclaim) == 0 || t.freeze != 0 && t.writers.Load() != 0 {
		return
	}
	for range 4 {
		n := len(t.reclaim)
		if n == 0 {
			return
		}
		slot := t.reclaim[n-1]
		t.reclaim = t.reclaim[:n-1]
		c := t.writable(slot)
		if e := &c.entries[slot&t.mask]; e.state == slotDead && e.epoch != t.epoch {
			t.release(slot, e)
		}
	}
}
