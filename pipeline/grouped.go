package pipeline

import (
	"streamduel/codec"
)

// running is what a running aggregation does in one subtask: how a value, or an
// accumulator that was filled elsewhere, goes into a key's accumulator, and the
// rows that this makes.
type running[T, A, R any] struct {
	// add and merge change acc, which holds nothing yet where it is fresh. They
	// return the first row that may have changed, below 0 if none has.
	add   func(acc *A, fresh bool, v T) (from int)
	merge func(acc *A, fresh bool, part A) (from int) // nil if it cannot be done
	// rows emits the accumulator's rows from the first that may have changed.
	rows func(acc *A, from int, next Receiver[R], c *Ctx)
}

// aggregation runs a running aggregation over a keyed stream. All of them are
// made of this, so that output modes and the combining before an exchange are
// done here for all. make is called once a subtask, without a context
// where it is for what combines before the exchange (merges); table is the state's
// name.
func aggregation[K comparable, T, A, R any](k *Keyed[K, T], name, table string, accs codec.Codec[A], merges bool, make func(r *RuntimeContext) running[T, A, R]) *Stream[R] {
	n := attach(k.s, &Node{Name: name, Kind: KindKeyed, Role: Role{Does: Aggregates}}, Hash, hashKey(k))
	n.build = func(b *builder, n *Node) any {
		s := &Setup[K]{b: b, node: n, keys: k.codec}
		next, key, c := outputOf[R](b, n, ""), k.key, &b.task.ctx
		accumulators, f := Table(s, table, accs), make(s.Runtime())
		add, rows := f.add, f.rows
		results := ResultsOf(s, ResultTable[K]{
			Clone: func(g K) K { return k.codec.Clone(g) },
			Emit: func(g K, from int) {
				if acc, ok := accumulators.Get(g); ok {
					rows(&acc, from, next, c)
				}
			},
			Each: func(yield func(K) bool) {
				accumulators.Each(func(g K, _ A) bool { return yield(g) })
			},
		})
		op := idle(n)
		results.rule(&op)
		b.task.operators = append(b.task.operators, op)
		if merge := f.merge; merge != nil {
			s.Takes(func(g K, _ int64, part A) {
				acc, fresh := accumulators.Ref(g)
				switch from := merge(acc, fresh, part); {
				case from < 0:
				case results != nil:
					results.Changed(g, from)
				default:
					rows(acc, from, next, c)
				}
			})
		}
		if results != nil {
			return reading(s, func(v T, _ *Ctx) {
				g := key(v)
				acc, fresh := accumulators.Ref(g)
				if from := add(acc, fresh, v); from >= 0 {
					results.Changed(g, from)
				}
			}, key)
		}
		return reading(s, func(v T, c *Ctx) {
			acc, fresh := accumulators.Ref(key(v))
			if from := add(acc, fresh, v); from >= 0 {
				rows(acc, from, next, c)
			}
		}, key)
	}
	out := streamOf[R](n)
	if merges && k.codec != nil && accs != nil && k.Values() != nil {
		CombineBefore(k, out, Combining[K, T, A]{Accumulators: accs, Add: func() func(acc *A, fresh bool, v T, c *Ctx) {
			add := make(nil).add
			return func(acc *A, fresh bool, v T, _ *Ctx) { add(acc, fresh, v) }
		}})
	}
	return out
}
