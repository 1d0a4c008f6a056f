package state

import (
	"encoding/binary"
	"fmt"

	"streamduel/codec"
)

// Table is a keyed table of one subtask. It belongs to the subtask's goroutine.
type Table[K comparable, V any] struct {
	name    string
	keys    codec.Codec[K]
	values  codec.Codec[V]
	hash    func(K) uint32
	entries map[K]*entry[K, V]
	dead    int // entries that are marks of deletion
	epoch   uint32
	changed []*entry[K, V] // touched in this epoch
}

type entry[K comparable, V any] struct {
	key     K
	value   V
	epoch   uint32 // of the last change
	deleted bool   // waits for the delta that tells of it
}

// NewTable adds a table to the set. The name is unique within the operator.
func NewTable[K comparable, V any](s *Set, operator, name string, keys codec.Codec[K], values codec.Codec[V]) (*Table[K, V], error) {
	hash, err := Hasher[K](keys.Append)
	if err != nil {
		return nil, fmt.Errorf("%s: state %q: %w", operator, name, err)
	}
	t := &Table[K, V]{name: name, keys: keys, values: values, hash: hash, entries: map[K]*entry[K, V]{}, epoch: 1}
	return t, s.add(operator, name, t)
}

// HashBy replaces the hash that places a key in its group, for keys that are
// made of the stream's key and something else.
func (t *Table[K, V]) HashBy(hash func(K) uint32) { t.hash = hash }

// Len returns the number of keys.
func (t *Table[K, V]) Len() int { return len(t.entries) - t.dead }

// Get returns a key's value; ok is false when there is none.
func (t *Table[K, V]) Get(k K) (v V, ok bool) {
	e := t.entries[k]
	if e == nil || e.deleted {
		return v, false
	}
	return e.value, true
}

// Ref returns a key's value for update in place, and whether it was just made
// (zero). The pointer is valid until the next call on the table. Values that
// alias a decoder's input must be cloned before they are stored.
func (t *Table[K, V]) Ref(k K) (v *V, fresh bool) {
	e := t.entries[k]
	switch {
	case e == nil:
		k = t.keys.Clone(k)
		e = &entry[K, V]{key: k}
		t.entries[k] = e
		fresh = true
	case e.deleted:
		e.deleted = false
		t.dead--
		var zero V
		e.value = zero
		fresh = true
	}
	if e.epoch != t.epoch {
		e.epoch = t.epoch
		t.changed = append(t.changed, e)
	}
	return &e.value, fresh
}

// Put stores a value.
func (t *Table[K, V]) Put(k K, v V) {
	p, _ := t.Ref(k)
	*p = t.values.Clone(v)
}

// Delete removes a key. The entry stays as a mark until the next snapshot.
func (t *Table[K, V]) Delete(k K) {
	e := t.entries[k]
	if e == nil || e.deleted {
		return
	}
	e.deleted = true
	t.dead++
	if e.epoch != t.epoch {
		e.epoch = t.epoch
		t.changed = append(t.changed, e)
	}
}

// Each calls f for every key in no order until it returns false. f may delete
// the key it is called with.
func (t *Table[K, V]) Each(f func(k K, v V) bool) {
	for k, e := range t.entries {
		if !e.deleted && !f(k, e.value) {
			return
		}
	}
}

func (t *Table[K, V]) codecs() string { return t.keys.ID() + "→" + t.values.ID() }

const (
	opPut    = 1
	opDelete = 2
	opEnd    = 0
)

// snapshot appends the entries (all, or those changed in this epoch) and begins
// a new epoch.
func (t *Table[K, V]) snapshot(dst []byte, full bool) []byte {
	if full {
		for k, e := range t.entries {
			if e.deleted {
				delete(t.entries, k)
				continue
			}
			dst = append(dst, opPut)
			dst = t.keys.Append(dst, e.key)
			dst = t.values.Append(dst, e.value)
		}
	} else {
		for _, e := range t.changed {
			if e.deleted {
				dst = append(dst, opDelete)
				dst = t.keys.Append(dst, e.key)
				delete(t.entries, e.key)
				continue
			}
			dst = append(dst, opPut)
			dst = t.keys.Append(dst, e.key)
			dst = t.values.Append(dst, e.value)
		}
	}
	t.dead = 0
	clear(t.changed)
	t.changed = t.changed[:0]
	t.epoch++
	return append(dst, opEnd)
}

// restore applies a section, keeping the keys of the subtask's groups.
func (t *Table[K, V]) restore(src []byte, groups GroupRange, maxParallelism int) (n int, err error) {
	for {
		if n >= len(src) {
			return n, codec.ErrShort
		}
		op := src[n]
		n++
		if op == opEnd {
			return n, nil
		}
		k, used, err := t.keys.Decode(src[n:])
		if err != nil {
			return n, err
		}
		n += used
		mine := groups.Contains(GroupOf(t.hash(k), maxParallelism))
		switch op {
		case opPut:
			v, used, err := t.values.Decode(src[n:])
			if err != nil {
				return n, err
			}
			n += used
			if mine {
				k = t.keys.Clone(k)
				t.entries[k] = &entry[K, V]{key: k, value: t.values.Clone(v)}
			}
		case opDelete:
			if mine {
				delete(t.entries, k)
			}
		default:
			return n, fmt.Errorf("state: byte %d is no entry", op)
		}
	}
}

// table is what a Set knows of a Table.
type table interface {
	codecs() string
	snapshot(dst []byte, full bool) []byte
	restore(src []byte, groups GroupRange, maxParallelism int) (int, error)
	Len() int
}

// Set is all keyed state of one subtask: its tables by operator and name.
type Set struct {
	groups         GroupRange
	maxParallelism int
	tables         []named
}

type named struct {
	operator, name string
	table          table
}

// NewSet returns an empty set for a subtask that owns the given key groups.
func NewSet(groups GroupRange, maxParallelism int) *Set {
	return &Set{groups: groups, maxParallelism: maxParallelism}
}

func (s *Set) add(operator, name string, t table) error {
	for _, n := range s.tables {
		if n.operator == operator && n.name == name {
			return fmt.Errorf("%s: state %q is declared twice", operator, name)
		}
	}
	s.tables = append(s.tables, named{operator, name, t})
	return nil
}

// Empty reports whether the set has no tables.
func (s *Set) Empty() bool { return len(s.tables) == 0 }

// Keys returns the number of keys over all tables.
func (s *Set) Keys() (n int) {
	for _, t := range s.tables {
		n += t.table.Len()
	}
	return n
}

// snapshotVersion is the version of the encoding below:
//
//	"SDS" version kind(full 1, delta 2) maxParallelism u16, then per table
//	operator, name, codecs (strings), length u32, entries
const snapshotVersion = 1

// Snapshot appends the set's state to dst: all of it, or what changed since the
// last call.
func (s *Set) Snapshot(dst []byte, full bool) []byte {
	kind := byte(2)
	if full {
		kind = 1
	}
	dst = append(dst, 'S', 'D', 'S', snapshotVersion, kind)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(s.maxParallelism-1))
	for _, n := range s.tables {
		dst = codec.String{}.Append(dst, n.operator)
		dst = codec.String{}.Append(dst, n.name)
		dst = codec.String{}.Append(dst, n.table.codecs())
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		dst = n.table.snapshot(dst, full)
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst
}

// Restore applies one snapshot: a full one of each old subtask whose groups
// meet this one's, each followed by its deltas in order. State of an operator
// that the job no longer has is an error that names it.
func (s *Set) Restore(src []byte) error {
	if len(src) < 7 || string(src[:3]) != "SDS" {
		return fmt.Errorf("state: this is no snapshot")
	}
	if src[3] != snapshotVersion {
		return fmt.Errorf("state: the snapshot has version %d, this program reads %d", src[3], snapshotVersion)
	}
	if m := int(binary.LittleEndian.Uint16(src[5:])) + 1; m != s.maxParallelism {
		return fmt.Errorf("state: the snapshot has %d key groups, the job has %d: set the job's maximum parallelism to %d", m, s.maxParallelism, m)
	}
	src = src[7:]
	for len(src) > 0 {
		var head [3]string
		for i := range head {
			v, n, err := codec.String{}.Decode(src)
			if err != nil {
				return fmt.Errorf("state: snapshot: %w", err)
			}
			head[i], src = v, src[n:]
		}
		if len(src) < 4 {
			return fmt.Errorf("state: snapshot: %w", codec.ErrShort)
		}
		length := int(binary.LittleEndian.Uint32(src))
		src = src[4:]
		if length > len(src) {
			return fmt.Errorf("state: snapshot: %w", codec.ErrShort)
		}
		t := s.find(head[0], head[1])
		if t == nil {
			return fmt.Errorf("state: the snapshot has state %q of operator %q, the job has not", head[1], head[0])
		}
		if t.codecs() != head[2] {
			return fmt.Errorf("state: %s/%s was written as %s, the job reads %s", head[0], head[1], head[2], t.codecs())
		}
		n, err := t.restore(src[:length], s.groups, s.maxParallelism)
		if err != nil {
			return fmt.Errorf("state: %s/%s: %w", head[0], head[1], err)
		}
		if n != length {
			return fmt.Errorf("state: %s/%s: %d bytes behind the entries", head[0], head[1], length-n)
		}
		src = src[length:]
	}
	return nil
}

func (s *Set) find(operator, name string) table {
	for _, n := range s.tables {
		if n.operator == operator && n.name == name {
			return n.table
		}
	}
	return nil
}
