package pipeline

import (
	"slices"
	"time"

	"streamduel/codec"
)

// TimeDomain says which clock a duration is measured by.
type TimeDomain string

// The time domains.
const (
	EventTimeDomain      TimeDomain = "event"
	ProcessingTimeDomain TimeDomain = "processing"
)

// Dedupe lets the first record of each key pass and drops the others until the
// time to live has passed since that first one; the next begins a new period.
// By event time, a period is [t, t+ttl) of the records' own times, so that the
// result does not depend on when the engine runs; state goes when the watermark
// reaches its end. A ttl of 0 remembers keys for ever.
func Dedupe[K comparable, T any](k *Keyed[K, T], name string, ttl time.Duration, by TimeDomain) *Stream[T] {
	if ttl < 0 || ttl > 0 && ttl < time.Millisecond {
		k.s.g.fail("operator %q: a time to live of %v: allowed are 0 and 1 ms or more", name, ttl)
	}
	if by != EventTimeDomain && by != ProcessingTimeDomain {
		k.s.g.fail("operator %q: time domain %q: allowed are %s, %s", name, by, EventTimeDomain, ProcessingTimeDomain)
	}
	out := Process(k, name, func(s *Setup[K]) Function[K, T, T] {
		ends := Table(s, "ends", codec.Codec[int64](codec.Int64{}))
		forget := func(ts int64, c *KeyedCtx[K], _ func(T)) {
			if end, ok := ends.Get(c.Key()); ok && end <= ts {
				ends.Delete(c.Key())
			}
		}
		f := Function[K, T, T]{Element: func(v T, c *KeyedCtx[K], emit func(T)) {
			now := c.Timestamp
			if by == ProcessingTimeDomain {
				now = c.ProcessingTime()
			}
			if ttl > 0 && by == EventTimeDomain && now == NoTime {
				c.Fail(errNoTime(name))
				return
			}
			end, fresh := ends.Ref(c.Key())
			if !fresh && (ttl == 0 || now < *end) {
				return
			}
			if ttl > 0 {
				*end = now + ttl.Milliseconds()
				if by == EventTimeDomain {
					c.EventTimer(*end)
				} else {
					c.ProcessingTimer(*end)
				}
			}
			emit(v)
		}}
		switch {
		case ttl == 0:
		case by == EventTimeDomain:
			f.EventTimer = forget
		default:
			f.ProcessingTimer = forget
		}
		return f
	}).As(Role{Does: Deduplicates, EventTime: by == EventTimeDomain && ttl > 0})
	out.codec = k.s.codec
	return out
}

// Ranked is a value with its place among its key's best, from 1.
type Ranked[T any] struct {
	Rank  int
	Value T
}

// TopN keeps the n best values of each key and emits, for every input that
// changes them, each place that has a new value, the best first. less says
// which of two is better; of equals the first comes first.
func TopN[K comparable, T any](k *Keyed[K, T], name string, n int, better func(a, b T) bool) *Stream[Ranked[T]] {
	if n < 1 {
		k.s.g.fail("operator %q: the best %d: at least 1", name, n)
	}
	values := k.Values()
	out := aggregation(k, name, "best", List(values), true, func(*RuntimeContext) running[T, []T, Ranked[T]] {
		add := func(best *[]T, _ bool, v T) (from int) {
			at := len(*best)
			for at > 0 && better(v, (*best)[at-1]) {
				at--
			}
			if at >= n {
				return -1
			}
			if len(*best) >= n {
				*best = (*best)[:n-1]
			}
			*best = slices.Insert(*best, at, values.Clone(v))
			return at
		}
		return running[T, []T, Ranked[T]]{
			add: add,
			merge: func(best *[]T, fresh bool, part []T) (from int) {
				from = n
				for _, v := range part {
					if at := add(best, fresh, v); at >= 0 {
						from = min(from, at)
					}
				}
				if from == n {
					return -1
				}
				return from
			},
			rows: func(best *[]T, from int, next Receiver[Ranked[T]], c *Ctx) {
				for i, b := range (*best)[from:] {
					next(Ranked[T]{from + i + 1, b}, c)
				}
			},
		}
	})
	if values != nil {
		out.codec = rankedCodec(values)
	}
	return out
}

func rankedCodec[T any](values codec.Codec[T]) codec.Codec[Ranked[T]] {
	ints, _ := codec.Of[int]()
	return codec.Struct("ranked/1("+values.ID()+")", func(d []byte, r Ranked[T]) []byte {
		return values.Append(ints.Append(d, r.Rank), r.Value)
	}, func(b []byte) (r Ranked[T], n int, err error) {
		if r.Rank, n, err = ints.Decode(b); err != nil {
			return r, n, err
		}
		v, m, err := values.Decode(b[n:])
		r.Value = v
		return r, n + m, err
	}, func(r Ranked[T]) Ranked[T] { r.Value = values.Clone(r.Value); return r })
}

// List is the codec of a slice, from that of its elements. A clone shares
// nothing with what it was made from. It returns nil for nil.
func List[T any](of codec.Codec[T]) codec.Codec[[]T] {
	if of == nil {
		return nil
	}
	appendTo, decode := codec.Functions(of)
	return codec.Struct("list/1("+of.ID()+")", func(d []byte, vs []T) []byte {
		d = codec.Int64{}.Append(d, int64(len(vs)))
		for _, v := range vs {
			d = appendTo(d, v)
		}
		return d
	}, func(b []byte) (vs []T, n int, err error) {
		count, n, err := codec.Int64{}.Decode(b)
		if err != nil {
			return nil, n, err
		}
		if count < 0 || count > int64(len(b)-n) { // an element takes a byte at least
			return nil, n, codec.ErrShort
		}
		vs = make([]T, 0, count)
		for range count {
			v, m, err := decode(b[n:])
			if err != nil {
				return nil, n, err
			}
			vs, n = append(vs, v), n+m
		}
		return vs, n, nil
	}, func(vs []T) []T {
		c := make([]T, len(vs))
		for i, v := range vs {
			c[i] = of.Clone(v)
		}
		return c
	})
}
