package pipeline

import (
	"time"

	"streamduel/codec"
	"streamduel/state"
)

// The kinds of keyed state, under the names that Flink gives their descriptors.
// A function declares them with its Setup, once a subtask; names are unique
// within the operator. Table is the plainest of them: a value a key that can be
// changed in place.

// TTL is a time to live of keyed state in processing time, which in micro-batch
// is the batch's. What is expired is never returned.
type TTL struct {
	After time.Duration // whole milliseconds, at least one
	// Update says whether reading makes a value young again, too.
	Update state.UpdateOn
	// CleanUp is how many entries each access looks at for expired ones; 0 is 5,
	// and below zero none: then they are left out of snapshots and no earlier.
	CleanUp int
}

func (s *Setup[K]) options(ttl []TTL) (opts []state.Option) {
	for _, t := range ttl {
		task := s.b.task
		opts = append(opts, state.WithTTL(state.TTL{
			After: t.After, Update: t.Update, CleanUp: t.CleanUp,
			Clock: func() int64 { return task.now },
		}))
	}
	return opts
}

// declare makes a state, or refuses the job with the operator's name. codecs are
// whether those that the state needs are there.
func declare[K comparable, S any](s *Setup[K], name string, codecs bool, make func() (S, error)) (none S) {
	if s.keys == nil {
		s.b.fail(errNoKeyCodec(s.node))
		return none
	}
	if !codecs {
		s.b.fail(errNoStateCodec(s.node, name))
		return none
	}
	x, err := make()
	if err != nil {
		s.b.fail(errState(s.node, name, err))
		return none
	}
	if w, ok := any(x).(interface{ Warm(keys []K) uint32 }); ok {
		s.warms(w)
	}
	return x
}

// ValueState declares one value a key.
func ValueState[K comparable, V any](s *Setup[K], name string, values codec.Codec[V], ttl ...TTL) state.Value[K, V] {
	return declare(s, name, values != nil, func() (state.Value[K, V], error) {
		return state.NewValue(s.b.task.State, s.node.UID, name, s.keys, values, s.options(ttl)...)
	})
}

// ListState declares a list a key. Under a time to live each item has its own.
func ListState[K comparable, V any](s *Setup[K], name string, items codec.Codec[V], ttl ...TTL) state.List[K, V] {
	return declare(s, name, items != nil, func() (state.List[K, V], error) {
		return state.NewKeyedList(s.b.task.State, s.node.UID, name, s.keys, items, s.options(ttl)...)
	})
}

// MapState declares a map a key. Under a time to live each field has its own.
func MapState[K, F comparable, V any](s *Setup[K], name string, fields codec.Codec[F], values codec.Codec[V], ttl ...TTL) *state.Map[K, F, V] {
	return declare(s, name, fields != nil && values != nil, func() (*state.Map[K, F, V], error) {
		return state.NewMap(s.b.task.State, s.node.UID, name, s.keys, fields, values, s.options(ttl)...)
	})
}

// ReducingState declares one value a key into which each further one is reduced.
func ReducingState[K comparable, V any](s *Setup[K], name string, values codec.Codec[V], reduce func(a, b V) V, ttl ...TTL) state.Reducing[K, V] {
	return declare(s, name, values != nil, func() (state.Reducing[K, V], error) {
		return state.NewReducing(s.b.task.State, s.node.UID, name, s.keys, values, reduce, s.options(ttl)...)
	})
}

// AggregatingState declares one accumulator a key, which begins as zero.
func AggregatingState[K comparable, T, A, R any](s *Setup[K], name string, accumulators codec.Codec[A], add func(acc *A, v T), result func(acc A) R, ttl ...TTL) state.Aggregating[K, T, A, R] {
	return declare(s, name, accumulators != nil, func() (state.Aggregating[K, T, A, R], error) {
		return state.NewAggregating(s.b.task.State, s.node.UID, name, s.keys, accumulators, add, result, s.options(ttl)...)
	})
}

// OperatorList declares a list that belongs to the subtask and to no key. At
// another parallelism its items are dealt out to the new subtasks.
func OperatorList[K comparable, T any](s *Setup[K], name string, items codec.Codec[T]) *state.OperatorList[T] {
	return operatorState(s, name, items, state.NewList[T])
}

// UnionList is OperatorList of which, after a restore, every subtask has all
// subtasks' items.
func UnionList[K comparable, T any](s *Setup[K], name string, items codec.Codec[T]) *state.OperatorList[T] {
	return operatorState(s, name, items, state.NewUnionList[T])
}

func operatorState[K comparable, T any](s *Setup[K], name string, items codec.Codec[T], make func(*state.Set, string, string, codec.Codec[T]) (*state.OperatorList[T], error)) *state.OperatorList[T] {
	if items == nil {
		s.b.fail(errNoStateCodec(s.node, name))
		return nil
	}
	l, err := make(s.b.task.State, s.node.UID, name, items)
	if err != nil {
		s.b.fail(errState(s.node, name, err))
	}
	return l
}
