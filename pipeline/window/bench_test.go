package window

import (
	"context"
	"fmt"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/exchange"
	"streamduel/pipeline"
)

// view is what the benchmarks count: 16 bytes and no pointer.
type view struct{ key, at int64 }

var viewCodec = codec.Struct("view/1", func(dst []byte, v view) []byte {
	return codec.Int64{}.Append(codec.Int64{}.Append(dst, v.key), v.at)
}, func(src []byte) (v view, n int, err error) {
	if len(src) < 16 {
		return v, 0, codec.ErrShort
	}
	v.key, _, _ = codec.Int64{}.Decode(src)
	v.at, _, _ = codec.Int64{}.Decode(src[8:])
	return v, 16, nil
}, nil)

// queue is the exchange between the two tasks of a load.
type queue struct {
	pool *exchange.Pool
	out  []*exchange.Buffer
}

func (q *queue) Outlet(*pipeline.Edge) (exchange.Outlet, int) { return q, 1 }
func (q *queue) Writer(*pipeline.Node) connectors.Writer      { return nullWriter{} }
func (q *queue) Acquire(int) *exchange.Buffer                 { return q.pool.TryGet() }
func (q *queue) Overdraft(int) *exchange.Buffer               { return q.pool.Overdraft() }
func (q *queue) Emit(_ int, b *exchange.Buffer)               { q.out = append(q.out, b) }

type nullWriter struct{ connectors.Writer }

func (nullWriter) Write(context.Context, *connectors.Record, *connectors.Origin) error { return nil }

// load is a job of two tasks on one goroutine, a source and the windows with the
// exchange of keyBy in between: records of uniformly random keys, evenly in event
// time, with a watermark behind every batch of 1024.
type load struct {
	up, down *pipeline.Task
	in       pipeline.Input
	queue    *queue
	node     *pipeline.Node
	batch    *connectors.Batch
	fired    int64
	at       int64
}

func newLoad(tb testing.TB, keys, perSecond int64, windows func(l *load, k *pipeline.Keyed[int64, view])) *load {
	l := &load{batch: &connectors.Batch{Records: make([]connectors.Record, 1024), Split: connectors.Split{ID: "s"}}}
	g := pipeline.New("bench")
	var i int64
	random := uint64(1)
	in := pipeline.From(g, "in", nil, func(*connectors.Record) (view, error) {
		i++
		random ^= random << 13
		random ^= random >> 7
		random ^= random << 17
		l.at = i * 1000 / perSecond
		return view{int64(random>>32) * keys >> 32, l.at}, nil
	}, pipeline.EventTime(func(v view) int64 { return v.at }, pipeline.Watermarks{})).Codec(viewCodec)
	windows(l, pipeline.KeyBy(in, func(v view) int64 { return v.key }))
	fs, err := g.Cut(1, func(e *pipeline.Edge) bool { return e.Partitioning != pipeline.Hash })
	if err != nil {
		tb.Fatal(err)
	}
	l.queue = &queue{pool: exchange.NewPool(64, nil)}
	build := func(f *pipeline.Fragment) *pipeline.Task {
		t, err := f.Build(pipeline.TaskConfig{Host: l.queue, Job: 1, MaxParallelism: 128})
		if err != nil {
			tb.Fatal(err)
		}
		return t
	}
	l.up, l.down = build(fs[0]), build(fs[1])
	if l.in, err = l.down.NewInput(fs[1].In[0]); err != nil {
		tb.Fatal(err)
	}
	l.node = fs[0].Sources[0]
	return l
}

func (l *load) push(tb testing.TB, n int) {
	for n > 0 {
		l.batch.Records = l.batch.Records[:min(1024, n)]
		if i, err := l.up.Source(l.node).Push(l.batch, 0); err != nil || i < len(l.batch.Records) {
			tb.Fatal(i, err)
		}
		l.up.Flush()
		for _, b := range l.queue.out {
			if done, err := l.in.Feed(b); !done || err != nil {
				tb.Fatal(done, err)
			}
			b.Release()
		}
		l.queue.out = l.queue.out[:0]
		l.up.Refill()
		if _, err := l.down.Watermark(l.at - 1); err != nil {
			tb.Fatal(err)
		}
		n -= len(l.batch.Records)
	}
}

func counted(a Assigner) func(*load, *pipeline.Keyed[int64, view]) {
	return func(l *load, k *pipeline.Keyed[int64, view]) { tail(l, Aggregate(On(k, a), "count", Count[view]())) }
}

func tail(l *load, counts *pipeline.Stream[int64]) {
	pipeline.To(counts, "out", nil, func(n int64, _ *connectors.Record) { l.fired++ })
}

func noInverse() Aggregator[view, int64, int64] {
	g := Count[view]()
	g.Inverse = nil
	return g
}

// BenchmarkWindows measures records a second of one core, from a source that
// makes them up through the exchange of keyBy to a sink that drops the results.
//
//	go test -run '^$' -bench Windows ./pipeline/window
func BenchmarkWindows(b *testing.B) {
	triggered := func(a Assigner) func(*load, *pipeline.Keyed[int64, view]) {
		return func(l *load, k *pipeline.Keyed[int64, view]) {
			tail(l, Aggregate(On(k, a).Trigger(EventTimeTrigger[view]()), "count", Count[view]()))
		}
	}
	for _, c := range []struct {
		name            string
		keys, perSecond int64
		windows         func(*load, *pipeline.Keyed[int64, view])
	}{
		{"tumbling 10s", 1000, 100_000, counted(TumblingEventTime(10 * time.Second))},
		{"tumbling 10s", 1_000_000, 1_000_000, counted(TumblingEventTime(10 * time.Second))},
		{"tumbling 10s with a trigger", 1000, 100_000, triggered(TumblingEventTime(10 * time.Second))},
		{"sliding 60s by 1s", 1000, 100_000, counted(SlidingEventTime(time.Minute, time.Second))},
		{"sliding 60s by 1s, no inverse", 1000, 100_000, func(l *load, k *pipeline.Keyed[int64, view]) {
			tail(l, Aggregate(On(k, SlidingEventTime(time.Minute, time.Second)), "count", noInverse()))
		}},
		{"session 100ms", 1000, 20_000, counted(EventTimeSession(100 * time.Millisecond))},
		{"count 100", 1000, 100_000, counted(CountTumbling(100))},
	} {
		b.Run(fmt.Sprintf("%s/keys=%d", c.name, c.keys), func(b *testing.B) {
			l := newLoad(b, c.keys, c.perSecond, c.windows)
			l.push(b, int(10*c.keys)) // the keys are there
			b.ReportAllocs()
			b.ResetTimer()
			l.push(b, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
		})
	}
}
