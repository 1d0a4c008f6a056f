package microbatch

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/state"
)

// synthetic is a source that costs nothing: it hands out the same records again
// and again.
type synthetic struct {
	splits int
	each   int64 // records of a split
}

func (s synthetic) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "synthetic", Replayable: true, Bounded: true}
}
func (s synthetic) Enumerator(context.Context, connectors.Env) (connectors.Enumerator, error) {
	return syntheticEnumerator{s}, nil
}
func (s synthetic) Reader(context.Context, connectors.Env) (connectors.Reader, error) {
	r := &syntheticReader{records: make([]connectors.Record, 1024)}
	for i := range r.records {
		r.records[i].Offset = int64(i)
	}
	return r, nil
}

type syntheticEnumerator struct{ s synthetic }

func (e syntheticEnumerator) Discover(context.Context) (out []connectors.Split, err error) {
	for i := range e.s.splits {
		out = append(out, connectors.Split{ID: connectors.SplitID(fmt.Sprint("s/", i)), Partition: int32(i)})
	}
	return out, nil
}
func (e syntheticEnumerator) Bounds(_ context.Context, ids []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	out := map[connectors.SplitID]connectors.Bounds{}
	for _, id := range ids {
		out[id] = connectors.Bounds{Latest: connectors.Position(e.s.each)}
	}
	return out, nil
}
func (e syntheticEnumerator) Start(_ context.Context, ids []connectors.SplitID, _ bool) (map[connectors.SplitID]connectors.Position, error) {
	out := map[connectors.SplitID]connectors.Position{}
	for _, id := range ids {
		out[id] = 0
	}
	return out, nil
}
func (syntheticEnumerator) Commit(context.Context, map[connectors.SplitID]connectors.Position) error {
	return nil
}
func (syntheticEnumerator) Committed(context.Context, []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	return nil, nil
}
func (syntheticEnumerator) Close() error { return nil }

type syntheticReader struct {
	records []connectors.Record
	assign  []connectors.Assignment
	batch   connectors.Batch
}

func (r *syntheticReader) Assign(a ...connectors.Assignment) error {
	r.assign = append(r.assign[:0], a...)
	return nil
}
func (r *syntheticReader) Unassign(...connectors.SplitID) {}
func (r *syntheticReader) Poll(context.Context) (*connectors.Batch, error) {
	for i := range r.assign {
		a := &r.assign[i]
		if a.From >= a.Until {
			continue
		}
		n := min(int64(a.Until-a.From), int64(len(r.records)))
		a.From += connectors.Position(n)
		r.batch = connectors.Batch{Split: a.Split, Records: r.records[:n], Next: a.From, Done: a.From == a.Until}
		return &r.batch, nil
	}
	return nil, io.EOF
}
func (r *syntheticReader) Wake()        {}
func (r *syntheticReader) Close() error { return nil }

// void is a sink that takes everything.
type void struct{}

func (void) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "void", Guarantees: []connectors.Guarantee{connectors.AtLeastOnce}}
}
func (void) Writer(context.Context, connectors.WriterEnv) (connectors.Writer, error) {
	return voidWriter{}, nil
}

type voidWriter struct{ connectors.Writer }

func (voidWriter) Write(context.Context, *connectors.Record, *connectors.Origin) error { return nil }
func (voidWriter) Flush(context.Context) error                                         { return nil }
func (voidWriter) Close() error                                                        { return nil }

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

func startBench(b *testing.B, g *pipeline.Graph, interval time.Duration, d state.Durability, each func(*Config), events func(engines.Event)) engines.Run {
	folder, err := state.OpenFolder(b.TempDir(), d)
	if err != nil {
		b.Fatal(err)
	}
	cfg := Default()
	cfg.Interval = Duration(interval)
	cfg.Rate.PID.Enabled = false
	if each != nil {
		each(cfg)
	}
	run, err := New().Start(context.Background(), engines.Job{Name: "bench", Graph: g, Parallelism: 2, Guarantee: connectors.AtLeastOnce, Folder: folder},
		cfg, engines.Runtime{Events: events})
	if err != nil {
		b.Fatal(err)
	}
	return run
}

// cpu returns the processor time that this process has used: on a machine that
// is shared it says more than the clock on the wall.
func cpu(b *testing.B) time.Duration { return cpuOf(b, unix.RUSAGE_SELF) }

func cpuOf(b *testing.B, who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkKeyedPipeline is filter → map → keyBy → exchange → count through the
// driver and its tasks, logs and state versions included.
func BenchmarkKeyedPipeline(b *testing.B) {
	for _, perBatch := range []int64{50_000, 1_000_000} {
		b.Run(fmt.Sprintf("batch=%d", perBatch), func(b *testing.B) {
			benchKeyed(b, func(c *Config) { c.Rate.MaxRecordsPerBatch = perBatch })
		})
	}
}

// BenchmarkSpill is the same with what two million records, of 16 bytes each, have
// between the stages kept in memory, by half or not at all.
func BenchmarkSpill(b *testing.B) {
	for _, memory := range []Bytes{NoLimit, 16 << 20, 0} {
		text, err := memory.MarshalText()
		if err != nil {
			b.Fatal(err)
		}
		b.Run("memory="+string(text), func(b *testing.B) {
			benchKeyed(b, func(c *Config) { c.Rate.MaxRecordsPerBatch, c.Shuffle.Memory = 2_000_000, memory })
		})
	}
}

// keyedGraph is filter → map → keyBy → exchange → count over so many records.
func keyedGraph(records int64) *pipeline.Graph {
	g := pipeline.New("bench")
	src := pipeline.From(g, "in", synthetic{2, records/2 + 1}, func(r *connectors.Record) (pair, error) { return pair{r.Offset % 1000, 1}, nil })
	big := pipeline.Filter(src, "filter", func(p pair) bool { return p.value > 0 })
	mapped := pipeline.Map(big, "map", func(p pair) pair { return pair{p.key, p.value + 1} }).Codec(pairCodec)
	counted := pipeline.Reduce(pipeline.KeyBy(mapped, func(p pair) int64 { return p.key }), "count", func(acc, v pair) pair { return pair{acc.key, acc.value + v.value} })
	pipeline.To(counted, "out", void{}, func(pair, *connectors.Record) {})
	return g
}

func benchKeyed(b *testing.B, each func(*Config)) {
	g := keyedGraph(int64(b.N))
	b.ReportAllocs()
	used := cpu(b)
	b.ResetTimer()
	run := startBench(b, g, time.Millisecond, state.DurableProcess, each, nil)
	if err := run.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrec/s")
	b.ReportMetric(float64(b.N)/(cpu(b)-used).Seconds()/1e6, "Mrec/cpu-s")
}

// BenchmarkEmptyBatch is the fixed cost of a batch of two records over a
// shuffle with state: p50 and p99 of the time from its trigger to its commit.
func BenchmarkEmptyBatch(b *testing.B) {
	for _, d := range []state.Durability{state.DurableProcess, state.DurableMachine} {
		b.Run(string(d), func(b *testing.B) {
			var times []float64
			g := countGraph(timed{synthetic{2, int64(b.N)}}, void{})
			run := startBench(b, g, time.Millisecond, d, func(c *Config) { c.Rate.MaxRecordsPerBatch = 2 }, func(e engines.Event) {
				if c, ok := e.(engines.BatchCompleted); ok {
					times = append(times, c.Durations["triggerExecution"])
				}
			})
			used := cpu(b)
			b.ResetTimer()
			if err := run.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(millis(cpu(b)-used)/float64(b.N), "cpu-ms/op")
			slices.Sort(times)
			b.ReportMetric(times[len(times)/2], "p50-ms")
			b.ReportMetric(times[len(times)*99/100], "p99-ms")
		})
	}
}

// timed gives the synthetic records a payload.
type timed struct{ synthetic }

func (s timed) Reader(ctx context.Context, env connectors.Env) (connectors.Reader, error) {
	r, err := s.synthetic.Reader(ctx, env)
	for i := range r.(*syntheticReader).records {
		r.(*syntheticReader).records[i].Value = event{0, int64(i), int64(i % 1000), 0}.bytes()
	}
	return r, err
}

// BenchmarkCombine is a count by key under output mode update with and without
// combining before the shuffle, over keys of which one takes half of the records,
// few keys, and as many keys as a batch has records, where a task gives up. What
// must shrink is shuffled/rec; Mrec/cpu-s says what it is worth.
func BenchmarkCombine(b *testing.B) {
	for _, keys := range []int64{2, 1000, 1 << 30} {
		for _, combine := range []bool{true, false} {
			b.Run(fmt.Sprintf("keys=%d/combine=%v", keys, combine), func(b *testing.B) {
				g := pipeline.New("bench")
				var number atomic.Int64
				src := pipeline.From(g, "in", synthetic{2, int64(b.N)/2 + 1}, func(r *connectors.Record) (pair, error) {
					k := number.Add(1)
					if keys == 1000 && k%2 == 0 {
						k = 0 // hot
					}
					return pair{k % keys, 1}, nil
				}).Codec(pairCodec)
				counted := pipeline.Reduce(pipeline.KeyBy(src, func(p pair) int64 { return p.key }), "count", func(acc, v pair) pair { return pair{acc.key, acc.value + v.value} })
				pipeline.To(counted, "out", void{}, func(pair, *connectors.Record) {})
				var shuffled atomic.Int64
				used := cpu(b)
				b.ResetTimer()
				run := startBench(b, g, time.Millisecond, state.DurableProcess, func(c *Config) {
					c.Rate.MaxRecordsPerBatch, c.OutputMode, c.MapSideCombine = 200_000, pipeline.Update, combine
				}, func(e engines.Event) {
					if c, ok := e.(engines.BatchCompleted); ok {
						for _, s := range c.Stages {
							shuffled.Add(s.Shuffled)
						}
					}
				})
				if err := run.Wait(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(b.N)/(cpu(b)-used).Seconds()/1e6, "Mrec/cpu-s")
				b.ReportMetric(float64(shuffled.Load())/float64(b.N), "shuffled/rec")
			})
		}
	}
}
