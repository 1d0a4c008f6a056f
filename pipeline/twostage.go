package pipeline

import (
	"encoding/binary"
	"math"
	"time"

	"streamduel/codec"
)

// TwoStage configures AggregateTwoStage.
type TwoStage struct {
	// Salts is over how many parts a key is spread in the first stage, 2 to
	// 32768.
	Salts int
	// Records is after how many records of one part its accumulator goes on to
	// the second stage; 0 leaves it to time alone.
	Records int
	// Interval is after how long it goes on at the latest: in event time where
	// the records have one, else in processing time. At least 1 ms.
	Interval time.Duration
}

// part is an accumulator on its way from the first stage to the second.
type part[K comparable, A any] struct {
	key K
	acc A
}

// salted is a record with the part of its key that it goes to.
type salted[T any] struct {
	salt uint16
	v    T
}

// saltedKey is the key of the first stage.
type saltedKey[K comparable] struct {
	key  K
	salt uint16
}

// partial is a first-stage accumulator and how many records are in it.
type partial[A any] struct {
	acc     A
	records int64
	due     int64 // its timer, or math.MaxInt64
}

// AggregateTwoStage is Aggregate for streams in which a few keys take most of
// the records: a first stage spreads each key over several subtasks and adds up
// there, a second merges the parts. The second stage emits the key's result each
// time a part arrives, which is less often than once an input; the last result
// of a key is the same as Aggregate's.
func AggregateTwoStage[K comparable, T, A, R any](k *Keyed[K, T], name string, o TwoStage, f AggregateFunction[T, A, R], accumulators codec.Codec[A]) *Stream[R] {
	g := k.s.g
	f.check(g, name)
	if f.Merge == nil {
		g.fail("operator %q: an aggregate in two stages needs Merge", name)
	}
	if o.Salts < 2 || o.Salts > 1<<15 {
		g.fail("operator %q: %d salts: allowed are 2 to 32768", name, o.Salts)
	}
	if o.Records < 0 || o.Interval < time.Millisecond {
		g.fail("operator %q: a part goes on after at least 1 ms and not fewer than 0 records", name)
	}
	if accumulators == nil {
		accumulators, _ = codec.Of[A]()
	}
	values := k.Values()
	if values == nil || k.codec == nil || accumulators == nil {
		g.fail("operator %q: an aggregate in two stages needs codecs of key, value and accumulator", name)
		return &Stream[R]{g: g, from: k.s.from}
	}
	spread := FlatMapWith(k.s, name+" salt", func() func(v T, emit func(salted[T])) {
		next := uint16(0)
		return func(v T, emit func(salted[T])) {
			emit(salted[T]{next, v})
			if next++; int(next) == o.Salts {
				next = 0
			}
		}
	}).Codec(saltedCodec(values))
	byPart := KeyBy(spread, func(v salted[T]) saltedKey[K] { return saltedKey[K]{k.key(v.v), v.salt} }).KeyCodec(saltedKeyCodec(k.codec))
	parts := Process(byPart, name+" parts", func(s *Setup[saltedKey[K]]) Function[saltedKey[K], salted[T], part[K, A]] {
		return firstStage(s, o, f, accumulators)
	}).As(Role{Does: Prepares}).Codec(partCodec(k.codec, accumulators))
	byKey := KeyBy(parts, func(p part[K, A]) K { return p.key }).KeyCodec(k.codec)
	// What comes is combined already: merges is false.
	return aggregation(byKey, name, "accumulator", accumulators, false, func(*RuntimeContext) running[part[K, A], A, R] {
		return running[part[K, A], A, R]{
			add: func(acc *A, fresh bool, p part[K, A]) int {
				if fresh {
					*acc = accumulators.Clone(p.acc)
				} else {
					*acc = f.Merge(*acc, p.acc)
				}
				return 0
			},
			rows: func(acc *A, _ int, next Receiver[R], c *Ctx) { next(f.Result(*acc), c) },
		}
	})
}

func firstStage[K comparable, T, A, R any](s *Setup[saltedKey[K]], o TwoStage, f AggregateFunction[T, A, R], accumulators codec.Codec[A]) Function[saltedKey[K], salted[T], part[K, A]] {
	table := Table(s, "part", partialCodec(accumulators))
	pass := func(_ int64, c *KeyedCtx[saltedKey[K]], emit func(part[K, A])) {
		key := c.Key()
		if p, ok := table.Get(key); ok {
			table.Delete(key)
			emit(part[K, A]{key.key, p.acc})
		}
	}
	interval := o.Interval.Milliseconds()
	type ctx = *KeyedCtx[saltedKey[K]]
	return Function[saltedKey[K], salted[T], part[K, A]]{
		Element: func(v salted[T], c ctx, emit func(part[K, A])) {
			p, fresh := table.Ref(c.Key())
			if fresh {
				*p = partial[A]{acc: f.create(), due: math.MaxInt64}
			}
			p.acc = f.Add(p.acc, v.v)
			p.records++
			if o.Records > 0 && p.records >= int64(o.Records) {
				// The timer stays set, which is cheaper than to delete it: it finds
				// nothing, or passes on a younger part a little early.
				pass(0, c, emit)
				return
			}
			if !fresh {
				return
			}
			if c.Timestamp != NoTime {
				p.due = after(c.Timestamp, interval)
				c.EventTimer(p.due)
			} else {
				p.due = after(c.ProcessingTime(), interval)
				c.ProcessingTimer(p.due)
			}
		},
		EventTimer:      pass,
		ProcessingTimer: pass,
	}
}

// after returns the end of the interval that t lies in, so that timers of many
// records fall together. Like all intervals they begin at the epoch.
func after(t, interval int64) int64 {
	if t == NoTime {
		return t
	}
	end := t - t%interval + interval - 1
	if t%interval < 0 {
		end -= interval
	}
	return end
}

func saltedCodec[T any](values codec.Codec[T]) codec.Codec[salted[T]] {
	return codec.Struct("salted/1("+values.ID()+")", func(d []byte, v salted[T]) []byte {
		return values.Append(binary.LittleEndian.AppendUint16(d, v.salt), v.v)
	}, func(b []byte) (v salted[T], n int, err error) {
		if len(b) < 2 {
			return v, 0, codec.ErrShort
		}
		v.salt = binary.LittleEndian.Uint16(b)
		v.v, n, err = values.Decode(b[2:])
		return v, n + 2, err
	}, func(v salted[T]) salted[T] { v.v = values.Clone(v.v); return v })
}

func saltedKeyCodec[K comparable](keys codec.Codec[K]) codec.Codec[saltedKey[K]] {
	return codec.Struct("saltedKey/1("+keys.ID()+")", func(d []byte, k saltedKey[K]) []byte {
		return keys.Append(binary.LittleEndian.AppendUint16(d, k.salt), k.key)
	}, func(b []byte) (k saltedKey[K], n int, err error) {
		if len(b) < 2 {
			return k, 0, codec.ErrShort
		}
		k.salt = binary.LittleEndian.Uint16(b)
		k.key, n, err = keys.Decode(b[2:])
		return k, n + 2, err
	}, func(k saltedKey[K]) saltedKey[K] { k.key = keys.Clone(k.key); return k })
}

func partCodec[K comparable, A any](keys codec.Codec[K], accs codec.Codec[A]) codec.Codec[part[K, A]] {
	return codec.Struct("part/1("+keys.ID()+","+accs.ID()+")", func(d []byte, p part[K, A]) []byte {
		return accs.Append(keys.Append(d, p.key), p.acc)
	}, func(b []byte) (p part[K, A], n int, err error) {
		if p.key, n, err = keys.Decode(b); err != nil {
			return p, n, err
		}
		acc, m, err := accs.Decode(b[n:])
		p.acc = acc
		return p, n + m, err
	}, func(p part[K, A]) part[K, A] { return part[K, A]{keys.Clone(p.key), accs.Clone(p.acc)} })
}

func partialCodec[A any](accs codec.Codec[A]) codec.Codec[partial[A]] {
	if accs == nil {
		return nil
	}
	return codec.Struct("partial/1("+accs.ID()+")", func(d []byte, p partial[A]) []byte {
		return accs.Append(codec.Int64{}.Append(codec.Int64{}.Append(d, p.records), p.due), p.acc)
	}, func(b []byte) (p partial[A], n int, err error) {
		if len(b) < 16 {
			return p, 0, codec.ErrShort
		}
		p.records, _, _ = codec.Int64{}.Decode(b)
		p.due, _, _ = codec.Int64{}.Decode(b[8:])
		p.acc, n, err = accs.Decode(b[16:])
		return p, n + 16, err
	}, func(p partial[A]) partial[A] { p.acc = accs.Clone(p.acc); return p })
}
