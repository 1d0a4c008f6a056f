package pipeline

import (
	"cmp"
	"fmt"

	"streamduel/codec"
)

// AggregateFunction computes a result over many values by way of an
// accumulator.
type AggregateFunction[T, A, R any] struct {
	// Create returns an empty accumulator; nil is the zero value.
	Create func() A
	// Add returns the accumulator with a value more. It may change acc; what it
	// takes out of v it must copy, because v may be a view that ends with the push.
	Add func(acc A, v T) A
	// Merge joins two accumulators; nil says that it cannot be done, and forbids
	// aggregation in stages.
	Merge  func(a, b A) A
	Result func(acc A) R
}

func (f *AggregateFunction[T, A, R]) create() (acc A) {
	if f.Create != nil {
		acc = f.Create()
	}
	return acc
}

// check refuses a function with a part missing.
func (f *AggregateFunction[T, A, R]) check(g *Graph, name string) {
	if f.Add == nil || f.Result == nil {
		g.fail("%w", errAggregate(name))
	}
}

func errAggregate(operator string) error {
	return fmt.Errorf("operator %q: its aggregate function needs Add and Result", operator)
}

// Aggregate keeps an accumulator for each key and emits the result so far: one
// output an input, unless the job has an output mode.
func Aggregate[K comparable, T, A, R any](k *Keyed[K, T], name string, f AggregateFunction[T, A, R], accumulators codec.Codec[A]) *Stream[R] {
	f.check(k.s.g, name)
	return aggregated(k, name, f.Merge != nil, func(*RuntimeContext) AggregateFunction[T, A, R] { return f }, accumulators)
}

// RichAggregate is Aggregate with a function that is made once per subtask. It is
// not combined before an exchange, where it would be made too.
func RichAggregate[K comparable, T, A, R any](k *Keyed[K, T], name string, open func(r *RuntimeContext) AggregateFunction[T, A, R], accumulators codec.Codec[A]) *Stream[R] {
	return aggregated(k, name, false, func(r *RuntimeContext) AggregateFunction[T, A, R] {
		f := open(r)
		if f.Add == nil || f.Result == nil {
			r.Fail(errAggregate(name))
		}
		return f
	}, accumulators)
}

func aggregated[K comparable, T, A, R any](k *Keyed[K, T], name string, merges bool, open func(r *RuntimeContext) AggregateFunction[T, A, R], accumulators codec.Codec[A]) *Stream[R] {
	if accumulators == nil {
		accumulators, _ = codec.Of[A]()
	}
	return aggregation(k, name, "accumulator", accumulators, merges, func(c *RuntimeContext) running[T, A, R] {
		f := open(c)
		r := running[T, A, R]{
			add: func(acc *A, fresh bool, v T) int {
				if fresh {
					*acc = f.create()
				}
				*acc = f.Add(*acc, v)
				return 0
			},
			rows: func(acc *A, _ int, next Receiver[R], c *Ctx) { next(f.Result(*acc), c) },
		}
		if merges {
			r.merge = func(acc *A, fresh bool, part A) int {
				if fresh {
					*acc = accumulators.Clone(part)
				} else {
					*acc = f.Merge(*acc, accumulators.Clone(part))
				}
				return 0
			}
		}
		return r
	})
}

// Min keeps for each key the first record with its field set to the smallest
// value seen, and emits it for every input: the other fields stay those of the
// first record. To get the record that has the smallest value, use MinBy.
func Min[K comparable, T any, F cmp.Ordered](k *Keyed[K, T], name string, field func(*T) *F) *Stream[T] {
	return extreme(k, name, field, func(v, best F) bool { return less(v, best) })
}

// Max is Min for the largest value.
func Max[K comparable, T any, F cmp.Ordered](k *Keyed[K, T], name string, field func(*T) *F) *Stream[T] {
	return extreme(k, name, field, func(v, best F) bool { return less(best, v) })
}

// extreme keeps the first record and replaces its field by better ones.
func extreme[K comparable, T any, F cmp.Ordered](k *Keyed[K, T], name string, field func(*T) *F, better func(v, best F) bool) *Stream[T] {
	values := k.Values()
	return keep(k, name, func() func(acc *T, v T) {
		var now T // one a subtask: its address goes to field
		return func(acc *T, v T) {
			now = v
			if f, best := field(&now), field(acc); better(*f, *best) {
				*best = *f
				*acc = values.Clone(*acc) // the field may be a view of the input
			}
		}
	})
}

// MinBy keeps for each key the whole record with the smallest value, the first
// one of equals, and emits it for every input.
func MinBy[K comparable, T any, F cmp.Ordered](k *Keyed[K, T], name string, by func(T) F) *Stream[T] {
	return extremeBy(k, name, func(v, best T) bool { return less(by(v), by(best)) })
}

// MaxBy is MinBy for the largest value.
func MaxBy[K comparable, T any, F cmp.Ordered](k *Keyed[K, T], name string, by func(T) F) *Stream[T] {
	return extremeBy(k, name, func(v, best T) bool { return less(by(best), by(v)) })
}

// MinByLast is MinBy with the last one of equals: Flink's minBy(field, false).
func MinByLast[K comparable, T any, F cmp.Ordered](k *Keyed[K, T], name string, by func(T) F) *Stream[T] {
	return extremeBy(k, name, func(v, best T) bool { return !less(by(best), by(v)) })
}

// MaxByLast is MaxBy with the last one of equals: Flink's maxBy(field, false).
func MaxByLast[K comparable, T any, F cmp.Ordered](k *Keyed[K, T], name string, by func(T) F) *Stream[T] {
	return extremeBy(k, name, func(v, best T) bool { return !less(by(v), by(best)) })
}

// less orders NaN behind all numbers, as Spark and Java's compareTo do.
func less[F cmp.Ordered](a, b F) bool {
	return a < b || b != b && a == a //nolint:staticcheck // only NaN is unlike itself
}

func extremeBy[K comparable, T any](k *Keyed[K, T], name string, better func(v, best T) bool) *Stream[T] {
	values := k.Values()
	return keep(k, name, func() func(acc *T, v T) {
		return func(acc *T, v T) {
			if better(v, *acc) {
				*acc = values.Clone(v)
			}
		}
	})
}

// Number is what Sum adds up.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Sum keeps for each key the first record with its field set to the sum, and
// emits it for every input.
func Sum[K comparable, T any, F Number](k *Keyed[K, T], name string, field func(*T) *F) *Stream[T] {
	return keep(k, name, func() func(acc *T, v T) {
		var now T
		return func(acc *T, v T) {
			now = v
			*field(acc) += *field(&now)
		}
	})
}

// keep holds one record a key, which starts as the first one. What stands for
// several records is one like them, so that it goes in as they do.
func keep[K comparable, T any](k *Keyed[K, T], name string, make func() func(acc *T, v T)) *Stream[T] {
	values := k.Values()
	out := aggregation(k, name, "value", values, true, func(*RuntimeContext) running[T, T, T] {
		update := make()
		add := func(acc *T, fresh bool, v T) int {
			if fresh {
				*acc = values.Clone(v)
			} else {
				update(acc, v)
			}
			return 0
		}
		return running[T, T, T]{add: add, merge: add, rows: same[T]}
	})
	out.codec = k.s.codec
	return out
}
