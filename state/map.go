package state

import (
	"encoding/binary"
	"math"
	"slices"

	"streamduel/codec"
)

// Map is a map a key. Each of its fields is an entry of one table, with its own
// time under a time to live, so that a change costs the same however many
// fields a key has. The fields of a key hang together in a list.
type Map[K, F comparable, V any] struct {
	table *Table[mapKey[K, F], V]
	heads map[K]uint32
	links []link
	hash  func(K) uint32
	keys  codec.Codec[K]
	// fields is their codec.
	fields codec.Codec[F]
}

// mapKey is a field of a key.
type mapKey[K, F comparable] struct {
	key   K
	field F
}

// link joins the slots of one key's fields.
type link struct{ prev, next uint32 }

const noSlot = math.MaxUint32

// NewMap adds a map state to the set.
func NewMap[K, F comparable, V any](s *Set, operator, name string, keys codec.Codec[K], fields codec.Codec[F], values codec.Codec[V], opts ...Option) (*Map[K, F, V], error) {
	t, err := NewTable(s, operator, name, codec.Codec[mapKey[K, F]](mapKeyCodec[K, F]{keys, fields}), values, opts...)
	if err != nil {
		return nil, err
	}
	hash, err := Hasher[K](keys.Append)
	if err != nil {
		return nil, err
	}
	// A field lives in its key's group.
	t.HashBy(func(k mapKey[K, F]) uint32 { return hash(k.key) })
	m := &Map[K, F, V]{table: t, heads: map[K]uint32{}, hash: hash, keys: keys, fields: fields}
	if t.stored != nil {
		t.stored.scanned = true // a key's fields lie side by side in the store
		return m, nil
	}
	t.hooks = &hooks[mapKey[K, F]]{m.added, m.freed}
	return m, nil
}

func (m *Map[K, F, V]) added(slot uint32, k mapKey[K, F]) {
	for int(slot) >= len(m.links) {
		m.links = append(m.links, link{})
	}
	head, ok := m.heads[k.key]
	if !ok {
		head = noSlot
	} else {
		m.links[head].prev = slot
	}
	m.links[slot] = link{noSlot, head}
	m.heads[k.key] = slot
}

func (m *Map[K, F, V]) freed(slot uint32, k mapKey[K, F]) {
	l := m.links[slot]
	if l.next != noSlot {
		m.links[l.next].prev = l.prev
	}
	switch {
	case l.prev != noSlot:
		m.links[l.prev].next = l.next
	case l.next != noSlot:
		m.heads[k.key] = l.next
	default:
		delete(m.heads, k.key)
	}
}

// Get returns a field's value; ok is false when there is none.
func (m *Map[K, F, V]) Get(k K, f F) (v V, ok bool) { return m.table.Get(mapKey[K, F]{k, f}) }

// Put stores a copy of a field's value.
func (m *Map[K, F, V]) Put(k K, f F, v V) { m.table.Put(mapKey[K, F]{k, f}, v) }

// Ref returns a field's value for update in place, and whether it was just made.
func (m *Map[K, F, V]) Ref(k K, f F) (v *V, fresh bool) { return m.table.Ref(mapKey[K, F]{k, f}) }

// Delete removes a field.
func (m *Map[K, F, V]) Delete(k K, f F) { m.table.Delete(mapKey[K, F]{k, f}) }

// Each calls f for the key's fields in no order until it returns false. f may
// delete the field it is called with and nothing else.
func (m *Map[K, F, V]) Each(k K, f func(field F, v V) bool) {
	if ttl := m.table.ttl; ttl == nil || ttl.Update != OnReadAndWrite {
		m.each(k, f)
		return
	}
	// Reading makes young, which must not happen while the fields are gone through.
	var fields []F
	m.each(k, func(field F, _ V) bool {
		fields = append(fields, m.fields.Clone(field))
		return true
	})
	for _, field := range fields {
		if v, ok := m.Get(k, field); ok && !f(field, v) {
			return
		}
	}
}

func (m *Map[K, F, V]) each(k K, f func(field F, v V) bool) {
	if st := m.table.stored; st != nil {
		m.table.flush()
		from := binary.BigEndian.AppendUint16(nil, uint16(GroupOf(m.hash(k), m.table.set.MaxParallelism)))
		from = m.keys.Append(binary.BigEndian.AppendUint32(from, st.prefix), k)
		m.table.scan(from, after(slices.Clone(from)), func(k mapKey[K, F], v V) bool { return f(k.field, v) })
		return
	}
	slot, ok := m.heads[k]
	for ok && slot != noSlot {
		next := m.links[slot].next
		if e := m.table.at(slot); e.state == slotLive && !m.table.expired(slot) && !f(e.key.field, e.value) {
			return
		}
		slot = next
	}
}

// Empty reports whether the key has no fields.
func (m *Map[K, F, V]) Empty(k K) bool {
	empty := true
	m.each(k, func(F, V) bool { empty = false; return false })
	return empty
}

// Clear removes all fields of the key.
func (m *Map[K, F, V]) Clear(k K) {
	for {
		var fields [16]F // deleting may free neighbours, which ends an Each
		n := 0
		m.each(k, func(f F, _ V) bool {
			fields[n] = f
			n++
			return n < len(fields)
		})
		for _, f := range fields[:n] {
			m.Delete(k, f)
		}
		if n < len(fields) {
			return
		}
	}
}

type mapKeyCodec[K, F comparable] struct {
	keys   codec.Codec[K]
	fields codec.Codec[F]
}

func (c mapKeyCodec[K, F]) ID() string {
	return "map-key/1(" + c.keys.ID() + "," + c.fields.ID() + ")"
}

// Reads returns a codec for fields of which either part has an encoding that is
// read.
func (c mapKeyCodec[K, F]) Reads(id string) codec.Codec[mapKey[K, F]] {
	parts, ok := codec.Parts(id, "map-key/1", 2)
	if !ok {
		return nil
	}
	old := mapKeyCodec[K, F]{codec.Reading(c.keys, parts[0]), codec.Reading(c.fields, parts[1])}
	if old.keys == nil || old.fields == nil {
		return nil
	}
	return old
}

func (c mapKeyCodec[K, F]) Append(dst []byte, k mapKey[K, F]) []byte {
	return c.fields.Append(c.keys.Append(dst, k.key), k.field)
}

func (c mapKeyCodec[K, F]) Decode(src []byte) (k mapKey[K, F], n int, err error) {
	if k.key, n, err = c.keys.Decode(src); err != nil {
		return k, n, err
	}
	f, m, err := c.fields.Decode(src[n:])
	k.field = f
	return k, n + m, err
}

func (c mapKeyCodec[K, F]) Clone(k mapKey[K, F]) mapKey[K, F] {
	return mapKey[K, F]{c.keys.Clone(k.key), c.fields.Clone(k.field)}
}
