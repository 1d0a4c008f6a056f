package pipeline

import (
	"context"
	"fmt"
	"testing"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/exchange"
)

// ringHost joins tasks by rings over one pool per channel, on which a writer
// spins when it is starved: the smallest engine there can be.
type ringHost struct {
	rings []*exchange.Ring
	pools []*exchange.Pool
}

func (h *ringHost) Outlet(*Edge) (exchange.Outlet, int) { return h, len(h.rings) }
func (h *ringHost) Writer(*Node) connectors.Writer      { return nil }
func (h *ringHost) Acquire(ch int) *exchange.Buffer     { return h.pools[ch].TryGet() }
func (h *ringHost) Overdraft(ch int) *exchange.Buffer   { return h.pools[ch].Overdraft() }
func (h *ringHost) Emit(ch int, b *exchange.Buffer)     { h.rings[ch].Push(exchange.Element{Buffer: b}) }

type pair struct{ key, value int64 }

var pairCodec = codec.Struct("pair/1", func(dst []byte, p pair) []byte {
	return codec.Int64{}.Append(codec.Int64{}.Append(dst, p.key), p.value)
}, func(src []byte) (p pair, n int, err error) {
	if len(src) < 16 {
		return p, 0, codec.ErrShort
	}
	p.key, _, _ = codec.Int64{}.Decode(src)
	p.value, _, _ = codec.Int64{}.Decode(src[8:])
	return p, 16, nil
}, nil)

// BenchmarkKeyedPipeline is filter → map → keyBy → exchange → count over two
// tasks: records per second on two cores.
func BenchmarkKeyedPipeline(b *testing.B) {
	for _, keys := range []int64{1000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) { benchKeyed(b, keys) })
	}
}

func benchKeyed(b *testing.B, keys int64) {
	g := New("bench")
	var i int64
	src := From(g, "in", nil, func(*connectors.Record) (pair, error) { i++; return pair{i % keys, 1}, nil })
	big := Filter(src, "filter", func(p pair) bool { return p.value > 0 })
	mapped := Map(big, "map", func(p pair) pair { return pair{p.key, p.value + 1} }).Codec(pairCodec)
	counted := Reduce(KeyBy(mapped, func(p pair) int64 { return p.key }), "count", func(acc, v pair) pair { return pair{acc.key, acc.value + v.value} })
	var seen int64
	To(Map(counted, "sum", func(p pair) pair { seen++; return p }), "out", nil, func(pair, *connectors.Record) {})
	fs, err := g.Cut(1, func(e *Edge) bool { return Chainable(e, 1) })
	if err != nil {
		b.Fatal(err)
	}
	wake, room := make(chan struct{}, 1), make(chan struct{}, 1)
	poke := func(c chan struct{}) func() {
		return func() {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
	h := &ringHost{rings: []*exchange.Ring{exchange.NewRing(poke(wake))}, pools: []*exchange.Pool{exchange.NewPool(8, poke(room))}}
	up, err := fs[0].Build(TaskConfig{Host: h, Job: 1, MaxParallelism: 128})
	if err != nil {
		b.Fatal(err)
	}
	down, err := fs[1].Build(TaskConfig{Host: discard{h}, Job: 1, MaxParallelism: 128})
	if err != nil {
		b.Fatal(err)
	}
	in, err := down.NewInput(fs[1].In[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		batch := &connectors.Batch{Records: make([]connectors.Record, 1024), Split: connectors.Split{ID: "s"}}
		for n := 0; n < b.N; {
			batch.Records = batch.Records[:min(1024, b.N-n)]
			for k := 0; k < len(batch.Records); {
				k, _ = up.Source(fs[0].Sources[0]).Push(batch, k)
				for k < len(batch.Records) && !up.Refill() {
					<-room
				}
			}
			n += len(batch.Records)
		}
		up.Flush()
	}()
	for seen < int64(b.N) {
		e, ok := h.rings[0].Pop()
		if !ok {
			<-wake
			continue
		}
		if done, err := in.Feed(e.Buffer); !done || err != nil {
			b.Fatal(done, err)
		}
		e.Buffer.Release()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
}

type discard struct{ *ringHost }

func (discard) Writer(*Node) connectors.Writer { return nullWriter{} }

type nullWriter struct{ connectors.Writer }

func (nullWriter) Write(context.Context, *connectors.Record, *connectors.Origin) error { return nil }
