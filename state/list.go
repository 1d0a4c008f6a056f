package state

import (
	"encoding/binary"
	"slices"

	"streamduel/codec"
)

// List is a list a key. Under a time to live each item has its own time.
type List[K comparable, T any] struct {
	table *Table[K, listValue[T]]
	codec codec.Codec[T]
}

// listValue is a key's list. Items in place are never changed, only appended
// behind and left out in front, so that copies may share them.
type listValue[T any] struct {
	items []T
	times []int64 // last update of each, ascending; nil without a time to live
}

// NewKeyedList adds a list state to the set.
func NewKeyedList[K comparable, T any](s *Set, operator, name string, keys codec.Codec[K], items codec.Codec[T], opts ...Option) (List[K, T], error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	c := &listCodec[T]{items: items, ttl: o.ttl}
	t, err := NewTable(s, operator, name, keys, codec.Codec[listValue[T]](c), opts...)
	return List[K, T]{t, items}, err
}

// Get returns the key's items, oldest first. They must not be changed.
func (s List[K, T]) Get(k K) []T {
	v, ok := s.table.Get(k)
	if !ok {
		return nil
	}
	ttl := s.table.ttl
	if ttl == nil {
		return v.items
	}
	now := ttl.Clock()
	v = v.young(ttl, now)
	if ttl.Update == OnReadAndWrite && len(v.times) > 0 && v.times[0] != now {
		p, _ := s.table.Ref(k)
		times := make([]int64, len(v.times))
		for i := range times {
			times[i] = now
		}
		*p = listValue[T]{v.items, times}
	}
	return v.items
}

// Warm brings the keys' lists nearer, as Table.Warm does.
func (s List[K, T]) Warm(keys []K) uint32 { return s.table.Warm(keys) }

// Add appends a copy of the item.
func (s List[K, T]) Add(k K, item T) {
	p, _ := s.table.Ref(k)
	if ttl := s.table.ttl; ttl != nil {
		now := ttl.Clock()
		*p = p.young(ttl, now)
		// A clock that was set back must not put the items' times out of order.
		if n := len(p.times); n > 0 {
			now = max(now, p.times[n-1])
		}
		p.times = append(p.times, now)
	}
	p.items = append(p.items, s.codec.Clone(item))
}

// Set replaces the key's items by copies of those given.
func (s List[K, T]) Set(k K, items []T) {
	s.table.Delete(k)
	for _, v := range items {
		s.Add(k, v)
	}
}

// Clear removes the key's items.
func (s List[K, T]) Clear(k K) { s.table.Delete(k) }

// young leaves out the items that have expired.
func (v listValue[T]) young(ttl *TTL, now int64) listValue[T] {
	i := 0
	for i < len(v.times) && ttl.over(v.times[i], now) {
		i++
	}
	return listValue[T]{v.items[i:], v.times[i:]}
}

// listCodec encodes a list as its length and its items, each behind its time
// where there is a time to live.
type listCodec[T any] struct {
	items codec.Codec[T]
	ttl   *TTL
}

func (c *listCodec[T]) ID() string {
	if c.ttl != nil {
		return "aged-list/1(" + c.items.ID() + ")"
	}
	return "list/1(" + c.items.ID() + ")"
}

func (c *listCodec[T]) Append(dst []byte, v listValue[T]) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v.items)))
	for i, item := range v.items {
		if c.ttl != nil {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v.times[i]))
		}
		dst = c.items.Append(dst, item)
	}
	return dst
}

// appendYoung is Append without what has expired.
func (c *listCodec[T]) appendYoung(dst []byte, v listValue[T], now int64) []byte {
	return c.Append(dst, v.young(c.ttl, now))
}

func (c *listCodec[T]) Decode(src []byte) (v listValue[T], n int, err error) {
	count, n := binary.Uvarint(src)
	// An item takes at least a byte.
	if n <= 0 || count > uint64(len(src)-n) {
		return v, 0, codec.ErrShort
	}
	v.items = make([]T, 0, count)
	if c.ttl != nil {
		v.times = make([]int64, 0, count)
	}
	for range count {
		if c.ttl != nil {
			at, m, err := codec.Int64{}.Decode(src[n:])
			if err != nil {
				return v, n, err
			}
			n += m
			v.times = append(v.times, at)
		}
		item, m, err := c.items.Decode(src[n:])
		if err != nil {
			return v, n, err
		}
		n += m
		v.items = append(v.items, item)
	}
	return v, n, nil
}

func (c *listCodec[T]) Clone(v listValue[T]) listValue[T] {
	items := make([]T, len(v.items))
	for i, item := range v.items {
		items[i] = c.items.Clone(item)
	}
	return listValue[T]{items, slices.Clone(v.times)}
}

// Reads evolves as the items do.
func (c *listCodec[T]) Reads(id string) codec.Codec[listValue[T]] {
	name := "list/1"
	if c.ttl != nil {
		name = "aged-list/1"
	}
	if p, ok := codec.Parts(id, name, 1); ok {
		if items := codec.Reading(c.items, p[0]); items != nil {
			return &listCodec[T]{items, c.ttl}
		}
	}
	return nil
}

// Isolate returns v: see listValue.
func (c *listCodec[T]) Isolate(v listValue[T]) listValue[T] { return v }
