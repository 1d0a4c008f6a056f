package state

import "streamduel/codec"

// The handles below are keyed state as operators use it, each on a table of its
// own. All of them take a time to live.

// Value is one value a key.
type Value[K comparable, V any] struct{ table *Table[K, V] }

// NewValue adds a value state to the set.
func NewValue[K comparable, V any](s *Set, operator, name string, keys codec.Codec[K], values codec.Codec[V], opts ...Option) (Value[K, V], error) {
	t, err := NewTable(s, operator, name, keys, values, opts...)
	return Value[K, V]{t}, err
}

// Get returns the key's value; ok is false when there is none.
func (s Value[K, V]) Get(k K) (v V, ok bool) { return s.table.Get(k) }

// Set stores a copy of the value.
func (s Value[K, V]) Set(k K, v V) { s.table.Put(k, v) }

// Ref returns the value for update in place, and whether it was just made.
func (s Value[K, V]) Ref(k K) (v *V, fresh bool) { return s.table.Ref(k) }

// Warm brings the keys' values nearer, as Table.Warm does.
func (s Value[K, V]) Warm(keys []K) uint32 { return s.table.Warm(keys) }

// Clear removes the key's value.
func (s Value[K, V]) Clear(k K) { s.table.Delete(k) }

// Reducing is one value a key into which each further one is reduced.
type Reducing[K comparable, V any] struct {
	table  *Table[K, V]
	values codec.Codec[V]
	reduce func(a, b V) V
}

// NewReducing adds a reducing state to the set. reduce must be associative.
func NewReducing[K comparable, V any](s *Set, operator, name string, keys codec.Codec[K], values codec.Codec[V], reduce func(a, b V) V, opts ...Option) (Reducing[K, V], error) {
	t, err := NewTable(s, operator, name, keys, values, opts...)
	return Reducing[K, V]{t, values, reduce}, err
}

// Add reduces a value into the key's and returns what came out.
func (s Reducing[K, V]) Add(k K, v V) V {
	p, fresh := s.table.Ref(k)
	if !fresh {
		v = s.reduce(*p, v)
	}
	*p = s.values.Clone(v)
	return *p
}

// Get returns the key's value; ok is false when nothing was added.
func (s Reducing[K, V]) Get(k K) (v V, ok bool) { return s.table.Get(k) }

// Warm brings the keys' values nearer, as Table.Warm does.
func (s Reducing[K, V]) Warm(keys []K) uint32 { return s.table.Warm(keys) }

// Clear removes the key's value.
func (s Reducing[K, V]) Clear(k K) { s.table.Delete(k) }

// Aggregating is one accumulator a key.
type Aggregating[K comparable, T, A, R any] struct {
	table  *Table[K, A]
	add    func(acc *A, v T)
	result func(acc A) R
}

// NewAggregating adds an aggregating state to the set: add puts a value into an
// accumulator that begins as zero, and keeps nothing of it that aliases a
// decoder's input; result says what an accumulator comes to.
func NewAggregating[K comparable, T, A, R any](s *Set, operator, name string, keys codec.Codec[K], accs codec.Codec[A], add func(acc *A, v T), result func(acc A) R, opts ...Option) (Aggregating[K, T, A, R], error) {
	t, err := NewTable(s, operator, name, keys, accs, opts...)
	return Aggregating[K, T, A, R]{t, add, result}, err
}

// Add puts a value into the key's accumulator.
func (s Aggregating[K, T, A, R]) Add(k K, v T) {
	p, _ := s.table.Ref(k)
	s.add(p, v)
}

// Get returns the key's result; ok is false when nothing was added.
func (s Aggregating[K, T, A, R]) Get(k K) (r R, ok bool) {
	acc, ok := s.table.Get(k)
	if !ok {
		return r, false
	}
	return s.result(acc), true
}

// Warm brings the keys' values nearer, as Table.Warm does.
func (s Aggregating[K, T, A, R]) Warm(keys []K) uint32 { return s.table.Warm(keys) }

// Clear removes the key's accumulator.
func (s Aggregating[K, T, A, R]) Clear(k K) { s.table.Delete(k) }
