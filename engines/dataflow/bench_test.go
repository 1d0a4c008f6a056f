package dataflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/exchange"
	"streamduel/pipeline"
	"streamduel/state"
)

// The exchange beside a loop written by hand, in one run: what the buffers, the
// pools, the rings and the codec cost. Both move b.N records from one goroutine
// to another in 32 KiB buffers that come back, over channels by hand, over the
// outlet and the inlet here.
//
//	go test -run '^$' -bench Exchange -benchmem ./engines/dataflow/

type rec32 struct{ a, b, c, d int64 }

func put32(dst []byte, v rec32) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.a))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.b))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.c))
	return binary.LittleEndian.AppendUint64(dst, uint64(v.d))
}

func get32(src []byte) (v rec32, n int, err error) {
	if len(src) < 32 {
		return v, 0, codec.ErrShort
	}
	return rec32{
		int64(binary.LittleEndian.Uint64(src)), int64(binary.LittleEndian.Uint64(src[8:])),
		int64(binary.LittleEndian.Uint64(src[16:])), int64(binary.LittleEndian.Uint64(src[24:])),
	}, 32, nil
}

func BenchmarkExchange(b *testing.B) {
	var i, total int64
	b.Run("8B", func(b *testing.B) {
		benchExchange(b, codec.Codec[int64](codec.Int64{}), func(*connectors.Record) (int64, error) { i++; return i, nil }, func(v int64) bool { total += v; return false })
	})
	b.Run("32B", func(b *testing.B) {
		c := codec.Struct("32/1", put32, get32, nil)
		give, take := func(*connectors.Record) (rec32, error) { i++; return rec32{i, i, i, i}, nil }, func(v rec32) bool { total += v.a + v.d; return false }
		benchExchange(b, c, give, take)
		// The same with the codec that needs no call a record, beside the same hand.
		b.Run("flat", func(b *testing.B) { benchBeside(b, codec.Flat[rec32]("32/2"), c, give, take) })
	})
	b.Run("100B", func(b *testing.B) {
		// A payload of 99 bytes behind its length, read as a view.
		payload := []byte(strings.Repeat("x", 99))
		benchExchange(b, codec.Codec[[]byte](codec.BytesView{}), func(*connectors.Record) ([]byte, error) { return payload, nil }, func(v []byte) bool { total += int64(v[98]); return false })
	})
}

func benchExchange[T any](b *testing.B, c codec.Codec[T], give pipeline.Decode[T], take func(T) bool) {
	benchBeside(b, c, c, give, take)
}

// benchBeside gives the loop by hand another codec.
func benchBeside[T any](b *testing.B, c, byHand codec.Codec[T], give pipeline.Decode[T], take func(T) bool) {
	var hand, handCPU float64
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		cpu := processor()
		bare(b.N, byHand, give, take)
		hand, handCPU = float64(b.N)/b.Elapsed().Seconds(), float64(processor()-cpu)/float64(b.N)
		b.ReportMetric(hand/1e6, "Mrec/s")
		b.ReportMetric(handCPU, "cpu-ns/rec")
	})
	b.Run("exchange", func(b *testing.B) {
		cpu := processor()
		throughExchange(b, c, give, take)
		rate := float64(b.N) / b.Elapsed().Seconds()
		b.ReportMetric(rate/1e6, "Mrec/s")
		b.ReportMetric(rate/hand, "ratio")
		each := float64(processor()-cpu) / float64(b.N)
		b.ReportMetric(each, "cpu-ns/rec")
		b.ReportMetric(handCPU/each, "cpu-ratio")
	})
}

// processor returns the processor time that this process has used. On a machine
// that others use too, a ratio of it says more than one of elapsed time.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// throughExchange moves b.N records through the outlet and inlet of two tasks.
func throughExchange[T any](b *testing.B, c codec.Codec[T], give pipeline.Decode[T], take func(T) bool) {
	g := pipeline.New("exchange")
	src := pipeline.From(g, "in", nil, give).Codec(c)
	kept := pipeline.Filter(src.Rebalance(), "take", take)
	pipeline.To(kept, "out", nil, func(T, *connectors.Record) {})
	fs, err := g.Cut(1, chainable(1))
	if err != nil {
		b.Fatal(err)
	}
	down := &bench{box: newMailbox()}
	down.in = newInlet(down.box)
	up := &bench{box: newMailbox()}
	rings := []*exchange.Ring{down.in.add(fs[0].Out[0], 0)}
	up.out = newOutlet(context.Background(), rings, DefaultConfig().Buffers, func() { up.box.signal(sigRoom) }, &usage{})
	if up.pipe, err = fs[0].Build(pipeline.TaskConfig{Host: up, Job: 1, MaxParallelism: 128}); err != nil {
		b.Fatal(err)
	}
	if down.pipe, err = fs[1].Build(pipeline.TaskConfig{Host: down, Job: 1, MaxParallelism: 128}); err != nil {
		b.Fatal(err)
	}
	input, err := down.pipe.NewInput(fs[1].In[0])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		head := up.pipe.Source(fs[0].Sources[0])
		batch := &connectors.Batch{Records: make1024(), Split: connectors.Split{ID: "s"}}
		for n := 0; n < b.N; {
			batch.Records = batch.Records[:min(1024, b.N-n)]
			for k := 0; k < len(batch.Records); {
				k, _ = head.Push(batch, k)
				for k < len(batch.Records) && !up.pipe.Refill() {
					<-up.box.wake
					up.box.take()
				}
			}
			n += len(batch.Records)
		}
		up.pipe.Flush()
	}()
	blocked := []bool{false}
	for n := 0; n < b.N; {
		_, e, ok := down.in.next(blocked)
		if !ok {
			<-down.box.wake
			down.box.take()
			continue
		}
		n += e.Buffer.Records
		if done, err := input.Feed(e.Buffer); !done || err != nil {
			b.Fatal(done, err)
		}
		e.Buffer.Release()
	}
	b.StopTimer()
}

func make1024() []connectors.Record { return make([]connectors.Record, 1024) }

// bench is the host of a task without an engine around it.
type bench struct {
	box  *mailbox
	in   *inlet
	out  *outlet
	pipe *pipeline.Task
}

func (h *bench) Outlet(*pipeline.Edge) (exchange.Outlet, int) { return h.out, 1 }
func (h *bench) Writer(*pipeline.Node) connectors.Writer      { return discard{} }

type discard struct{ connectors.Writer }

func (discard) Write(context.Context, *connectors.Record, *connectors.Origin) error { return nil }
func (discard) Flush(context.Context) error                                         { return nil }
func (discard) Close() error                                                        { return nil }

// bare is the loop by hand. What makes a record, what takes it and the codec's
// functions are the same as in the exchange; it
// knows nothing of what else an exchange does: no choice of a channel, no check
// for pressure before a record, no events, no operators around it.
func bare[T any](n int, c codec.Codec[T], give pipeline.Decode[T], take func(T) bool) {
	const buffers = 10
	full, free := make(chan []byte, buffers), make(chan []byte, buffers)
	for range buffers {
		free <- make([]byte, 0, exchange.Size+128)
	}
	appendTo, decode := codec.Functions(c)
	go func() {
		d := <-free
		emit := func(v T) {
			d = appendTo(d, v)
			if len(d) >= exchange.Size {
				full <- d[:len(d):cap(d)]
				d = <-free
			}
		}
		rs := make1024()
		for i := range n {
			v, err := give(&rs[i%1024])
			if err != nil {
				panic(err)
			}
			emit(v)
		}
		full <- d
		close(full)
	}()
	receive := func(v T) {
		if take(v) {
			panic("nothing is kept")
		}
	}
	for d := range full {
		for off := 0; off < len(d); {
			v, k, err := decode(d[off:])
			if err != nil {
				panic(err)
			}
			receive(v)
			off += k
		}
		free <- d[:0]
	}
}

// BenchmarkKeyedPipeline runs filter → map → keyBy → exchange → count through
// the whole engine, from a source that makes records up to a sink that drops
// them.
//
//	go test -run '^$' -bench KeyedPipeline -benchmem ./engines/dataflow/
func BenchmarkKeyedPipeline(b *testing.B) {
	for _, p := range []int{1, 2} {
		b.Run(fmt.Sprintf("parallelism=%d", p), func(b *testing.B) {
			f, err := state.OpenFolder(b.TempDir(), state.DurableProcess)
			if err != nil {
				b.Fatal(err)
			}
			g := pipeline.New("keyed")
			in := pipeline.From(g, "in", synthetic{n: int64(b.N), splits: p}, func(r *connectors.Record) (pair, error) { return pair{r.Offset % 1000, 1}, nil })
			kept := pipeline.Filter(in, "filter", func(v pair) bool { return v.value > 0 })
			mapped := pipeline.Map(kept, "map", func(v pair) pair { return pair{v.key, v.value + 1} }).Codec(pairCodec)
			counted := pipeline.Reduce(pipeline.KeyBy(mapped, func(v pair) int64 { return v.key }), "count", func(acc, v pair) pair { return pair{acc.key, acc.value + v.value} })
			pipeline.To(counted, "out", dropSink{}, func(pair, *connectors.Record) {})
			c := DefaultConfig()
			b.ReportAllocs()
			cpu := processor()
			b.ResetTimer()
			r, err := New().Start(context.Background(), engines.Job{Name: "bench", Graph: g, Parallelism: p, Guarantee: connectors.AtLeastOnce, Folder: f}, &c, engines.Runtime{})
			if err != nil {
				b.Fatal(err)
			}
			if err := r.Wait(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if w := r.Gauges().Written; w != int64(b.N/p*p) {
				b.Fatalf("%d written of %d", w, b.N)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
			b.ReportMetric(float64(processor()-cpu)/float64(b.N), "cpu-ns/rec")
		})
	}
}

type pair struct{ key, value int64 }

var pairCodec = codec.Struct("pair/1", func(dst []byte, p pair) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, uint64(p.key)), uint64(p.value))
}, func(src []byte) (p pair, n int, err error) {
	if len(src) < 16 {
		return p, 0, codec.ErrShort
	}
	return pair{int64(binary.LittleEndian.Uint64(src)), int64(binary.LittleEndian.Uint64(src[8:]))}, 16, nil
}, nil)

// synthetic is a bounded source of n records over some splits; its records have
// nothing but their number.
type synthetic struct {
	n      int64
	splits int
}

func (s synthetic) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "synthetic", Replayable: true, Bounded: true}
}
func (s synthetic) Enumerator(context.Context, connectors.Env) (connectors.Enumerator, error) {
	return syntheticEnumerator{synthetic: s}, nil
}
func (s synthetic) Reader(context.Context, connectors.Env) (connectors.Reader, error) {
	return &syntheticReader{synthetic: s}, nil
}

type syntheticEnumerator struct {
	synthetic
	connectors.Enumerator
}

func (s syntheticEnumerator) Discover(context.Context) (out []connectors.Split, err error) {
	for i := range s.splits {
		out = append(out, connectors.Split{ID: connectors.SplitID(fmt.Sprint(i)), Partition: int32(i)})
	}
	return out, nil
}
func (s syntheticEnumerator) Start(_ context.Context, ids []connectors.SplitID, _ bool) (map[connectors.SplitID]connectors.Position, error) {
	out := map[connectors.SplitID]connectors.Position{}
	for _, id := range ids {
		out[id] = 0
	}
	return out, nil
}
func (s syntheticEnumerator) Bounds(context.Context, []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	return nil, nil
}
func (s syntheticEnumerator) Commit(context.Context, map[connectors.SplitID]connectors.Position) error {
	return nil
}
func (s syntheticEnumerator) Close() error { return nil }

type syntheticReader struct {
	synthetic
	connectors.Reader
	split connectors.Split
	next  int64
	batch connectors.Batch
}

func (r *syntheticReader) Assign(as ...connectors.Assignment) error {
	r.split, r.next = as[0].Split, int64(as[0].From)
	r.batch.Records = make1024()
	return nil
}
func (r *syntheticReader) Wake()        {}
func (r *syntheticReader) Close() error { return nil }
func (r *syntheticReader) Poll(context.Context) (*connectors.Batch, error) {
	left := r.n/int64(r.splits) - r.next
	if left == 0 {
		return nil, io.EOF
	}
	r.batch.Records = r.batch.Records[:min(1024, left)]
	for i := range r.batch.Records {
		r.batch.Records[i].Offset = r.next
		r.next++
	}
	r.batch.Split, r.batch.Next = r.split, connectors.Position(r.next)
	return &r.batch, nil
}

type dropSink struct{}

func (dropSink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "drop", Guarantees: []connectors.Guarantee{connectors.AtLeastOnce}}
}
func (dropSink) Writer(context.Context, connectors.WriterEnv) (connectors.Writer, error) {
	return discard{}, nil
}
