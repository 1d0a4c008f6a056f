package join_test

import (
	"encoding/binary"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/join"
	"streamduel/pipeline/pipelinetest"
)

type sale struct{ key, ts, amount int64 }

var saleCodec = codec.Struct("sale/1", func(d []byte, s sale) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(d, uint64(s.key)), uint64(s.ts)), uint64(s.amount))
}, func(b []byte) (s sale, n int, err error) {
	if len(b) < 24 {
		return s, 0, codec.ErrShort
	}
	return sale{int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:])), int64(binary.LittleEndian.Uint64(b[16:]))}, 24, nil
}, nil)

// intervalJoin is a job in which each left row finds one right row, and its
// host. A batch has n records a side and spans a second.
func intervalJoin(t testing.TB, f join.Functions[sale, sale, int64]) (push func(batch int), n int, out *int64) {
	const keys = 1000
	n, out = 5000, new(int64)
	var i [2]int64
	read := func(g *pipeline.Graph, name string, side int) *pipeline.Keyed[int64, sale] {
		s := pipeline.From(g, name, pipelinetest.Source{Name: name}, func(*connectors.Record) (sale, error) {
			i[side]++
			return sale{i[side] * 7919 % keys, i[side] / 5, 1}, nil
		}, pipeline.EventTime(func(s sale) int64 { return s.ts }, pipeline.Watermarks{})).Codec(saleCodec)
		return pipeline.KeyBy(s, func(s sale) int64 { return s.key })
	}
	g := pipeline.New("bench")
	j := join.Between(read(g, "left", 0), read(g, "right", 1), "join", join.Interval{Lower: -100 * time.Millisecond, Upper: 100 * time.Millisecond}, f)
	pipeline.To(j, "out", pipelinetest.Sink{Name: "out"}, func(v int64, _ *connectors.Record) { *out += v })
	h := pipelinetest.New(t, g, pipelinetest.Options{Discard: true, Buffers: 64})
	b := &connectors.Batch{Split: pipelinetest.Split(0), Records: make([]connectors.Record, n)}
	return func(batch int) {
		for _, side := range []string{"left", "right"} {
			if err := h.Push(side, b); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Watermark(int64(batch+1)*1000 - 1); err != nil {
			t.Fatal(err)
		}
	}, n, out
}

// BenchmarkInterval is source → exchange → interval join → sink with 1,000 keys
// on one goroutine; ns/op is a record of either side.
func BenchmarkInterval(b *testing.B) {
	push, n, out := intervalJoin(b, join.Functions[sale, sale, int64]{Both: func(sale, sale) int64 { return 1 }})
	for batch := range 4 {
		push(batch)
	}
	b.ReportAllocs()
	b.ResetTimer()
	start, batch := *out, 4
	for done := 0; done < b.N; done += 2 * n {
		push(batch)
		batch++
	}
	records := float64((batch - 4) * 2 * n)
	b.ReportMetric(records/b.Elapsed().Seconds()/1e6, "Mrec/s")
	b.ReportMetric(float64(*out-start)/records, "results/rec")
}

func TestIntervalDoesNotAllocate(t *testing.T) {
	push, n, out := intervalJoin(t, join.Functions[sale, sale, int64]{Both: func(sale, sale) int64 { return 1 }})
	batch := 0
	for range 20 {
		push(batch)
		batch++
	}
	if a := testing.AllocsPerRun(10, func() { push(batch); batch++ }); a > float64(2*n)/100 {
		t.Errorf("%v allocations for %d records", a, 2*n)
	}
	if *out == 0 {
		t.Error("nothing was joined")
	}
}
