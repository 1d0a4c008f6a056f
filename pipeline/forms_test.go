package pipeline

import (
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/exchange"
)

// TestFormsCrossAnExchange sends values of every form of codec through every way
// of writing and reading them: in turn and by key, with and without event time
// and origins, in buffers of few and of many frames, in slices and with pauses
// where an output is starved. What comes out is what went in, with its time, in
// the order of its channel.
func TestFormsCrossAnExchange(t *testing.T) {
	long := strings.Repeat("long ", 40<<10/5) // does not fit into a buffer
	text := func(i int) string {
		switch {
		case i%97 == 96:
			return long
		case i%5 == 4:
			return strings.Repeat("x", 120+i%20) // around the length that takes a byte
		}
		return fmt.Sprint("value ", i)
	}
	crosses(t, "memory", codec.Codec[int64](codec.Int64{}), func(i int) int64 { return int64(i) })
	crosses(t, "flat", codec.Flat[pair]("pair/2"), func(i int) pair { return pair{int64(i), -int64(i)} })
	crosses(t, "functions", pairCodec, func(i int) pair { return pair{int64(i), -int64(i)} })
	crosses(t, "views", codec.Codec[string](codec.StringView{}), text)
	crosses(t, "copies", codec.Codec[string](codec.String{}), text)
}

func crosses[T comparable](t *testing.T, name string, c codec.Codec[T], value func(i int) T) {
	for _, timed := range []bool{false, true} {
		for _, origins := range []bool{false, true} {
			for _, keyed := range []bool{false, true} {
				for _, limit := range []int{exchange.MinSize, exchange.Size} {
					t.Run(fmt.Sprintf("%s/timed=%t/origins=%t/keyed=%t/limit=%d", name, timed, origins, keyed, limit), func(t *testing.T) {
						cross(t, c, value, timed, origins, keyed, limit)
					})
				}
			}
		}
	}
}

func cross[T comparable](t *testing.T, c codec.Codec[T], value func(i int) T, timed, origins, keyed bool, limit int) {
	const records, channels = 400, 2
	g := New("forms")
	var opts []SourceOption[T]
	if timed {
		opts = append(opts, EventTime(func(T) int64 { return 7 }, Watermarks{}))
	}
	made := 0
	in := From(g, "in", nil, func(r *connectors.Record) (T, error) { made++; return value(int(r.Offset)), nil }, opts...).Codec(c)
	// The first operator on both sides is a filter, which the loops do themselves.
	sent := Filter(in, "sent", func(v T) bool { return v != value(3) })
	var got []T
	var times, sequences []int64
	seen := func(f func(T, *Ctx)) *Stream[T] {
		var s *Stream[T]
		if keyed {
			s = Process(KeyBy(sent, func(v T) int64 { return int64(crc32.ChecksumIEEE([]byte(fmt.Sprint(v)))) }), "take", func(*Setup[int64]) Function[int64, T, T] {
				return Function[int64, T, T]{Element: func(v T, c *KeyedCtx[int64], emit func(T)) { f(v, c.Ctx) }}
			})
		} else {
			s = Filter(sent.Rebalance(), "kept", func(v T) bool { return v != value(5) })
			s = transform(s, "take", func(Receiver[T]) Receiver[T] { return func(v T, c *Ctx) { f(v, c) } })
		}
		return s
	}
	out := seen(func(v T, c *Ctx) {
		if s, ok := any(v).(string); ok {
			v = any(strings.Clone(s)).(T) // a view ends with the push
		}
		got = append(got, v)
		times, sequences = append(times, c.Timestamp), append(sequences, c.Origin.Sequence)
	})
	To(out.Codec(c), "out", nil, func(T, *connectors.Record) {})
	fs, err := g.Cut(1, func(e *Edge) bool { return Chainable(e, 1) })
	if err != nil {
		t.Fatal(err)
	}
	h := &ringHost{}
	for range channels {
		h.rings, h.pools = append(h.rings, exchange.NewRing(nil)), append(h.pools, exchange.NewPool(2, nil))
	}
	cfg := TaskConfig{Host: discard{h}, Job: 1, MaxParallelism: 128, Origins: origins, Slice: 300}
	up, err := fs[0].Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	up.Outputs()[0].Writer.SetLimit(limit)
	down, err := fs[1].Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	inputs := make([]Input, channels)
	for ch := range inputs {
		if inputs[ch], err = down.NewInput(fs[1].In[0]); err != nil {
			t.Fatal(err)
		}
	}
	arrived := make([][]T, channels)
	drain := func() {
		for ch := range inputs {
			for {
				e, ok := h.rings[ch].Pop()
				if !ok {
					break
				}
				for done := false; !done; {
					before := len(got)
					// Every other try finds an output starved and pushes nothing.
					down.pressure.Starved++
					if done, err := inputs[ch].Feed(e.Buffer); done && e.Buffer.Flags&exchange.Part == 0 || err != nil || len(got) != before {
						t.Fatal("pushed into a starved output", done, err)
					}
					down.pressure.Starved--
					if done, err = inputs[ch].Feed(e.Buffer); err != nil {
						t.Fatal(err)
					}
					arrived[ch] = append(arrived[ch], got[before:]...)
				}
				e.Buffer.Release()
			}
		}
	}
	batch := &connectors.Batch{Split: connectors.Split{ID: "s", Partition: 1}}
	for i := range records {
		batch.Records = append(batch.Records, connectors.Record{Offset: int64(i)})
	}
	head := up.Source(fs[0].Sources[0])
	for k := 0; k < records; {
		if k, err = head.Push(batch, k); err != nil {
			t.Fatal(err)
		}
		drain()
		up.Refill()
	}
	up.Flush()
	drain()
	if made != records {
		t.Errorf("%d records decoded, want %d", made, records)
	}
	want, next := map[T]int{}, make([]int, channels)
	for i := range records {
		v := value(i)
		if v == value(3) || !keyed && v == value(5) {
			continue
		}
		want[v]++
		// Each value is the next of one of the channels.
		for ch := range next {
			if next[ch] < len(arrived[ch]) && arrived[ch][next[ch]] == v {
				next[ch]++
				want[v]--
				break
			}
		}
		if want[v] != 0 {
			t.Fatalf("record %d did not come, or not in its order", i)
		}
	}
	for ch := range next {
		if next[ch] != len(arrived[ch]) || next[ch] == 0 {
			t.Errorf("channel %d: %d values, %d of them wanted", ch, len(arrived[ch]), next[ch])
		}
	}
	for i := range got {
		if timed && times[i] != 7 || !timed && times[i] != NoTime || origins && got[i] != value(int(sequences[i])) {
			t.Fatalf("value %d has time %d and sequence %d", i, times[i], sequences[i])
		}
	}
}
