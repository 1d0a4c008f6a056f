package state

import (
	"fmt"
	"maps"
	"slices"

	"streamduel/codec"
)

// Operator state belongs to a subtask, not to a key. What becomes of it at
// another parallelism is its kind.

// operatorKind says how operator state is spread over new subtasks.
type operatorKind byte

const (
	kindList      operatorKind = 1 // each item to one
	kindUnion     operatorKind = 2 // all items to all
	kindBroadcast operatorKind = 3 // one old subtask's copy to each
)

func (k operatorKind) String() string {
	switch k {
	case kindList:
		return "a list"
	case kindUnion:
		return "a union list"
	case kindBroadcast:
		return "broadcast state"
	}
	return "of an unknown kind"
}

// operatorState is what a Set knows of operator state.
type operatorState interface {
	id() (operator, name string)
	block() operatorBlock
	restore(s *Set, c *Contents, o *operatorContents, src []byte) error
}

// operatorBlock is operator state in a snapshot.
type operatorBlock struct {
	operator, name, codec string
	kind                  operatorKind
	items                 int
	bytes                 []byte
}

func (s *Set) restoreOperator(src source, c *Contents, o *operatorContents) error {
	for _, have := range s.operators {
		if operator, name := have.id(); operator != o.operator || name != o.name {
			continue
		}
		b, err := block(src, o.off, o.length, o.sum, func() string { return o.operator + "/" + o.name })
		if err != nil {
			return err
		}
		return have.restore(s, c, o, b)
	}
	return refuse(ErrUnknownState, "the snapshot has state %q of operator %q, the job has not", o.name, o.operator)
}

// items decodes a block's items.
func items[T any](own codec.Codec[T], kind operatorKind, o *operatorContents, src []byte, f func(i int, v T)) error {
	if o.kind != kind {
		return refuse(ErrCodec, "%s/%s was written as %v, the job reads %v", o.operator, o.name, o.kind, kind)
	}
	c := codec.Reading(own, o.codec)
	if c == nil {
		return refuse(ErrCodec, "%s/%s was written as %s, the job reads %s", o.operator, o.name, o.codec, own.ID())
	}
	i := 0
	for ; len(src) > 0; i++ {
		v, n, err := c.Decode(src)
		if err != nil {
			return fmt.Errorf("state: %s/%s: %w", o.operator, o.name, err)
		}
		src = src[n:]
		f(i, c.Clone(v))
	}
	if i != o.items {
		return fmt.Errorf("state: %s/%s: its number of items is off by %d", o.operator, o.name, o.items-i)
	}
	return nil
}

// OperatorList is a list of one subtask: a queue of requests under way, the
// splits being read. It belongs to the subtask's goroutine.
type OperatorList[T any] struct {
	operator, name string
	kind           operatorKind
	codec          codec.Codec[T]
	items          []T
	// parts are what each old subtask gave, until the list is used: a later
	// snapshot of the same one takes the place of the earlier. share is which of
	// how many shares of them is this subtask's.
	parts     map[int][]T
	share, of int
	fill      func() []T
}

// NewList adds a list whose items are dealt out to the new subtasks, each to
// one, when the parallelism changes; otherwise each subtask keeps its own. As in
// Flink, each new subtask is given a stretch of all old subtasks' items in their
// order, the first ones an item more where they cannot be equal.
func NewList[T any](s *Set, operator, name string, c codec.Codec[T]) (*OperatorList[T], error) {
	return newList(s, operator, name, c, kindList)
}

// NewUnionList adds a list of which every new subtask is given all old
// subtasks' items.
func NewUnionList[T any](s *Set, operator, name string, c codec.Codec[T]) (*OperatorList[T], error) {
	return newList(s, operator, name, c, kindUnion)
}

func newList[T any](s *Set, operator, name string, c codec.Codec[T], kind operatorKind) (*OperatorList[T], error) {
	if err := s.check(operator, name); err != nil {
		return nil, err
	}
	l := &OperatorList[T]{operator: operator, name: name, kind: kind, codec: c}
	s.operators = append(s.operators, l)
	return l, nil
}

// Items returns the list; it must not be changed.
func (l *OperatorList[T]) Items() []T {
	if l.parts != nil {
		for _, subtask := range slices.Sorted(maps.Keys(l.parts)) {
			l.items = append(l.items, l.parts[subtask]...)
		}
		l.parts = nil
		if l.of > 1 {
			each, more := len(l.items)/l.of, len(l.items)%l.of
			from := l.share*each + min(l.share, more)
			to := from + each
			if l.share < more {
				to++
			}
			l.items = slices.Clone(l.items[from:to])
		}
	}
	return l.items
}

// Set replaces the list's items by copies of those given.
func (l *OperatorList[T]) Set(items []T) {
	l.parts = nil
	clear(l.items)
	l.items = l.items[:0]
	l.Add(items...)
}

// Add appends copies of items.
func (l *OperatorList[T]) Add(items ...T) {
	l.Items()
	for _, v := range items {
		l.items = append(l.items, l.codec.Clone(v))
	}
}

func (l *OperatorList[T]) id() (operator, name string) { return l.operator, l.name }

// Fill makes every snapshot hold what f returns at that moment instead of the
// list, for an operator that keeps its items in another form.
func (l *OperatorList[T]) Fill(f func() []T) { l.fill = f }

func (l *OperatorList[T]) block() operatorBlock {
	if l.fill != nil {
		l.Set(l.fill())
	}
	b := operatorBlock{operator: l.operator, name: l.name, codec: l.codec.ID(), kind: l.kind}
	for _, v := range l.Items() {
		b.bytes = l.codec.Append(b.bytes, v)
		b.items++
	}
	return b
}

func (l *OperatorList[T]) restore(s *Set, c *Contents, o *operatorContents, src []byte) error {
	var part []T
	l.share, l.of = 0, 1
	moved := c.Parallelism != s.Parallelism
	if l.kind == kindList && moved {
		l.share, l.of = s.Subtask, s.Parallelism
	}
	err := items(l.codec, l.kind, o, src, func(_ int, v T) {
		if l.kind == kindUnion || moved || c.Subtask == s.Subtask {
			part = append(part, v)
		}
	})
	if err != nil {
		return err
	}
	if l.parts == nil {
		l.parts = map[int][]T{}
	}
	l.parts[c.Subtask] = part
	return nil
}

// Broadcast is a table that every subtask has the same copy of, because each
// writes it from the same broadcast stream and from nothing else. It belongs to
// the subtask's goroutine.
type Broadcast[K comparable, V any] struct {
	operator, name string
	codec          pairCodec[K, V]
	entries        map[K]V
}

// NewBroadcast adds broadcast state.
func NewBroadcast[K comparable, V any](s *Set, operator, name string, keys codec.Codec[K], values codec.Codec[V]) (*Broadcast[K, V], error) {
	if err := s.check(operator, name); err != nil {
		return nil, err
	}
	b := &Broadcast[K, V]{operator: operator, name: name, codec: pairCodec[K, V]{keys, values}, entries: map[K]V{}}
	s.operators = append(s.operators, b)
	return b, nil
}

// Get returns a key's value.
func (b *Broadcast[K, V]) Get(k K) (v V, ok bool) {
	v, ok = b.entries[k]
	return v, ok
}

// Put stores a value.
func (b *Broadcast[K, V]) Put(k K, v V) { b.entries[b.codec.keys.Clone(k)] = b.codec.values.Clone(v) }

// Delete removes a key.
func (b *Broadcast[K, V]) Delete(k K) { delete(b.entries, k) }

// Len returns the number of keys.
func (b *Broadcast[K, V]) Len() int { return len(b.entries) }

// Each calls f for every key in no order until it returns false. f may delete
// the key it is called with.
func (b *Broadcast[K, V]) Each(f func(k K, v V) bool) {
	for k, v := range b.entries {
		if !f(k, v) {
			return
		}
	}
}

func (b *Broadcast[K, V]) id() (operator, name string) { return b.operator, b.name }

func (b *Broadcast[K, V]) block() operatorBlock {
	o := operatorBlock{operator: b.operator, name: b.name, codec: b.codec.ID(), kind: kindBroadcast, items: len(b.entries)}
	for k, v := range b.entries {
		o.bytes = b.codec.Append(o.bytes, pair[K, V]{k, v})
	}
	return o
}

func (b *Broadcast[K, V]) restore(s *Set, c *Contents, o *operatorContents, src []byte) error {
	if c.Parallelism == 0 || c.Subtask != s.Subtask%c.Parallelism {
		return nil
	}
	clear(b.entries)
	return items(b.codec, kindBroadcast, o, src, func(_ int, p pair[K, V]) { b.entries[p.key] = p.value })
}

// pair is a key with what belongs to it.
type pair[K, V any] struct {
	key   K
	value V
}

type pairCodec[K, V any] struct {
	keys   codec.Codec[K]
	values codec.Codec[V]
}

func (c pairCodec[K, V]) ID() string { return "pair/1(" + c.keys.ID() + "," + c.values.ID() + ")" }

func (c pairCodec[K, V]) Append(dst []byte, p pair[K, V]) []byte {
	return c.values.Append(c.keys.Append(dst, p.key), p.value)
}

func (c pairCodec[K, V]) Decode(src []byte) (p pair[K, V], n int, err error) {
	if p.key, n, err = c.keys.Decode(src); err != nil {
		return p, n, err
	}
	v, m, err := c.values.Decode(src[n:])
	p.value = v
	return p, n + m, err
}

func (c pairCodec[K, V]) Clone(p pair[K, V]) pair[K, V] {
	return pair[K, V]{c.keys.Clone(p.key), c.values.Clone(p.value)}
}

// Reads evolves as keys and values do.
func (c pairCodec[K, V]) Reads(id string) codec.Codec[pair[K, V]] {
	if p, ok := codec.Parts(id, "pair/1", 2); ok {
		if k, v := codec.Reading(c.keys, p[0]), codec.Reading(c.values, p[1]); k != nil && v != nil {
			return pairCodec[K, V]{k, v}
		}
	}
	return nil
}
