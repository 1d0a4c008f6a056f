package microbatch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/pipeline/window"
)

// eventsWith reads a topic whose records have event time, less so many seconds of
// watermark.
func eventsWith(g *pipeline.Graph, in *topic, delay time.Duration) *pipeline.Stream[event] {
	return pipeline.From(g, in.name, in, decodeEvent,
		pipeline.EventTime(func(e event) int64 { return e.time }, pipeline.Watermarks{Delay: delay})).Codec(eventCodec)
}

func byKeyOf(s *pipeline.Stream[event]) *pipeline.Keyed[int64, event] {
	return pipeline.KeyBy(s, func(e event) int64 { return e.key })
}

// result is a row as the tests write it: a key, or a window's start in seconds,
// and a value.
func result(key, value int64) event { return event{partition: -1, key: key, time: value} }

func countFunction() pipeline.AggregateFunction[event, event, event] {
	return pipeline.AggregateFunction[event, event, event]{
		Create: func() event { return event{} },
		Add:    func(n, e event) event { return result(e.key, n.time+1) },
		Merge:  func(a, b event) event { return result(b.key, a.time+b.time) },
		Result: func(n event) event { return n },
	}
}

// countByValue counts equal values, in three ways that must be one.
var countByValue = map[string]func(g *pipeline.Graph, in *topic) *pipeline.Stream[event]{
	"aggregate": func(g *pipeline.Graph, in *topic) *pipeline.Stream[event] {
		return pipeline.Aggregate(byKeyOf(eventsWith(g, in, 0)), "count", countFunction(), eventCodec).Codec(eventCodec)
	},
	"reduce": func(g *pipeline.Graph, in *topic) *pipeline.Stream[event] {
		ones := pipeline.Map(eventsWith(g, in, 0), "one", func(e event) event { return result(e.key, 1) }).Codec(eventCodec)
		return pipeline.Reduce(byKeyOf(ones), "count", func(a, b event) event { return result(a.key, a.time+b.time) })
	},
	"sum": func(g *pipeline.Graph, in *topic) *pipeline.Stream[event] {
		ones := pipeline.Map(eventsWith(g, in, 0), "one", func(e event) event { return result(e.key, 1) }).Codec(eventCodec)
		return pipeline.Sum(byKeyOf(ones), "count", func(e *event) *int64 { return &e.time })
	},
}

// countByWindow is Spark's groupBy(window(eventTime, "5 seconds")) with a
// watermark of ten seconds: incrementally, and over all records at once.
var countByWindow = map[string]func(g *pipeline.Graph, in *topic) *pipeline.Stream[event]{
	"aggregate": func(g *pipeline.Graph, in *topic) *pipeline.Stream[event] {
		return window.AggregateWith(windowed(g, in), "count", window.Count[event](), func(c *window.Context[int64], n int64, emit func(event)) {
			emit(result(c.Window().Start/1000, n))
		}).Codec(eventCodec)
	},
	"process": func(g *pipeline.Graph, in *topic) *pipeline.Stream[event] {
		return window.Process(windowed(g, in), "count", func(c *window.Context[int64], es []event, emit func(event)) {
			emit(result(c.Window().Start/1000, int64(len(es))))
		}).Codec(eventCodec)
	},
}

func windowed(g *pipeline.Graph, in *topic) *window.Windowed[int64, event] {
	one := pipeline.KeyBy(eventsWith(g, in, 10*time.Second), func(event) int64 { return 0 })
	return window.On(one, window.TumblingEventTime(5*time.Second))
}

// step is data that is added, and what a start of the job then emits.
type step struct{ add, want string }

// TestSparkModes are what Spark's own tests expect: the class and the name of the
// test stand beside each case. (value, count), or (window's start, count).
func TestSparkModes(t *testing.T) {
	const aggregation, watermark = "StreamingAggregationSuite: ", "EventTimeWatermarkSuite: "
	for _, c := range []struct {
		name  string
		mode  pipeline.OutputMode
		count map[string]func(g *pipeline.Graph, in *topic) *pipeline.Stream[event]
		steps []step
	}{
		{aggregation + "simple count, update mode", pipeline.Update, countByValue, []step{
			{"3", "(3,1)"}, {"3 2", "(2,1) (3,2)"}, {"3 2 1", "(1,1) (2,2) (3,3)"}, {"4 4 4 4", "(4,4)"}}},
		{aggregation + "simple count, complete mode", pipeline.Complete, countByValue, []step{
			{"3", "(3,1)"}, {"2", "(2,1) (3,1)"}, {"3 2 1", "(1,1) (2,2) (3,2)"}, {"4 4 4 4", "(1,1) (2,2) (3,2) (4,4)"}}},
		{aggregation + "state metrics - update/complete mode, update", pipeline.Update, countByValue, []step{
			{"1 2", "(1,1) (2,1)"}, {"2 3 3 4", "(2,2) (3,2) (4,1)"}}},
		{aggregation + "state metrics - update/complete mode, complete", pipeline.Complete, countByValue, []step{
			{"1 2", "(1,1) (2,1)"}, {"2 3 3 4", "(1,1) (2,2) (3,2) (4,1)"}}},
		{aggregation + "state metrics - append mode", pipeline.Append, countByWindow, []step{
			{"15", ""}, {"10 12 14", ""}, {"25", "(10,3)"}}},
		{watermark + "append mode", pipeline.Append, countByWindow, []step{
			{"10 11 12 13 14 15", ""}, {"25", "(10,5)"}, {"10", ""}}},
		{watermark + "update mode", pipeline.Update, countByWindow, []step{
			{"10 11 12 13 14 15", "(10,5) (15,1)"}, {"25", "(25,1)"}, {"10 25", "(25,2)"}, {"10", ""}}},
		{watermark + "complete mode", pipeline.Complete, countByWindow, []step{
			{"10 11 12", "(10,3)"}, {"25", "(10,3) (25,1)"}, {"25", "(10,3) (25,2)"}, {"10", "(10,4) (25,2)"}, {"25", "(10,4) (25,3)"}}},
		{watermark + "recovery", pipeline.Append, countByWindow, []step{
			{"10 11 12 13 14 15", ""}, {"25", "(10,5)"}, {"10 27 30", "(15,1)"}, {"17", ""}, {"40", "(25,2)"}}},
	} {
		for way, count := range c.count {
			for _, combine := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/combine=%v", c.name, way, combine), func(t *testing.T) {
					b := modeBed(t, c.mode, combine, count)
					for i, s := range c.steps {
						if got := b.take(s.add); got != s.want {
							t.Errorf("step %d, %s: %q, want %q", i+1, s.add, got, s.want)
						}
					}
				})
			}
		}
	}
}

// modeBed is a job that reads what is there and ends: each start goes on from the
// state of the one before.
func modeBed(t *testing.T, mode pipeline.OutputMode, combine bool, build func(g *pipeline.Graph, in *topic) *pipeline.Stream[event]) *bed {
	b := newBed(t, 2, connectors.AtLeastOnce)
	b.config.Trigger, b.config.OutputMode, b.config.MapSideCombine = AvailableNow, mode, combine
	b.graph = func() *pipeline.Graph {
		g := pipeline.New("modes")
		pipeline.To(build(g, b.topic), "out", b.store, encodeEvent)
		return g
	}
	return b
}

// take adds seconds of event time, which are the keys too, runs the job and
// returns the rows that came.
func (b *bed) take(add string) string {
	b.t.Helper()
	before := len(b.store.rows())
	for i, x := range strings.Fields(add) {
		var at int64
		fmt.Sscan(x, &at)
		b.topic.addAt(i%2, at, at*1000)
	}
	b.finish(b.start())
	return rowsText(b.store.rows()[before:])
}

func (b *bed) finish(p *process) {
	b.t.Helper()
	if err := p.Wait(); err != nil {
		b.t.Fatal(err)
	}
	p.cancel()
}

func rowsText(rs []row) string {
	var out []string
	for _, r := range rs {
		out = append(out, fmt.Sprintf("(%d,%d)", r.key, r.value))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// aggregations are all that can merge, for what must hold of each.
var aggregations = map[string]func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event]{
	"aggregate": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return pipeline.Aggregate(k, "x", countFunction(), eventCodec)
	},
	"sum": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return pipeline.Sum(k, "x", func(e *event) *int64 { return &e.time })
	},
	"min": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return pipeline.Min(k, "x", func(e *event) *int64 { return &e.time })
	},
	"maxBy": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return pipeline.MaxBy(k, "x", func(e event) int64 { return e.time })
	},
	"topN": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		best := pipeline.TopN(k, "x", 3, func(a, b event) bool { return a.time > b.time })
		return pipeline.Map(best, "place", func(r pipeline.Ranked[event]) event { return result(r.Value.key*10+int64(r.Rank), r.Value.time) })
	},
	"tumbling": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return window.AggregateWith(window.On(k, window.TumblingEventTime(4*time.Second)), "x", window.Count[event](), windowRow)
	},
	"sliding": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		a := window.Count[event]()
		a.Inverse = nil
		return window.AggregateWith(window.On(k, window.SlidingEventTime(6*time.Second, 4*time.Second)), "x", a, windowRow)
	},
	"sliding, inverse": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return window.AggregateWith(window.On(k, window.SlidingEventTime(8*time.Second, 2*time.Second)), "x", window.Count[event](), windowRow)
	},
	// Here late records fire a window once more, each by itself.
	"tumbling, lateness": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return window.AggregateWith(window.On(k, window.TumblingEventTime(4*time.Second)).AllowedLateness(3*time.Second), "x", window.Count[event](), windowRow)
	},
	"sliding, inverse, lateness": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return window.AggregateWith(window.On(k, window.SlidingEventTime(8*time.Second, 2*time.Second)).AllowedLateness(3*time.Second), "x", window.Count[event](), windowRow)
	},
	"window reduce": func(k *pipeline.Keyed[int64, event]) *pipeline.Stream[event] {
		return window.ReduceWith(window.On(k, window.TumblingEventTime(4*time.Second)), "x", func(a, b event) event {
			a.time = max(a.time, b.time)
			return a
		}, func(c *window.Context[int64], e event, emit func(event)) {
			emit(result(c.Key()*100+c.Window().Start/1000, e.time))
		})
	},
}

func windowRow(c *window.Context[int64], n int64, emit func(event)) {
	emit(result(c.Key()*1000+c.Window().Start/1000, n))
}

// TestCombineIsUnseen: combining before the shuffle changes no row of any
// aggregation in any mode, late records and restarts included.
func TestCombineIsUnseen(t *testing.T) {
	for name, aggregate := range aggregations {
		for _, mode := range []pipeline.OutputMode{pipeline.EachInput, pipeline.Append, pipeline.Update, pipeline.Complete} {
			windows := strings.Contains(name, "ing") || strings.Contains(name, "window")
			switch {
			case mode == pipeline.Append && (!windows || strings.Contains(name, "lateness")):
				continue // refused
			case mode == pipeline.EachInput && !windows:
				continue // nothing is combined
			}
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				rows := map[bool][]string{}
				for _, combine := range []bool{true, false} {
					b := modeBed(t, mode, combine, func(g *pipeline.Graph, in *topic) *pipeline.Stream[event] {
						return aggregate(byKeyOf(eventsWith(g, in, 3*time.Second))).Codec(eventCodec)
					})
					if combine && (name == "sum" || name == "tumbling") {
						onDisk(b) // where keys that come are read together
					}
					rng := rand.New(rand.NewPCG(1, 2))
					for round := range 8 {
						before := len(b.store.rows())
						for i := range 60 {
							at := int64(round)*5000 + rng.Int64N(12_000) - 4000
							b.topic.addAt(i%2, rng.Int64N(4), max(at, 0))
						}
						b.finish(b.start())
						rows[combine] = append(rows[combine], rowsText(b.store.rows()[before:]))
					}
				}
				if !slices.Equal(rows[true], rows[false]) {
					t.Errorf("combined:\n%s\nnot:\n%s", strings.Join(rows[true], "\n"), strings.Join(rows[false], "\n"))
				}
				if len(strings.Join(rows[true], "")) == 0 {
					t.Error("no rows")
				}
			})
		}
	}
}

// TestCombineShuffles: two tasks that have many records of few keys send one row a
// key each; with as many keys as records they give up, and send records.
func TestCombineShuffles(t *testing.T) {
	for _, c := range []struct {
		keys     int64
		combine  bool
		at, most int64
	}{{5, true, 10, 10}, {5, false, 20_000, 20_000}, {20_000, true, 20_000, 20_000}} {
		b := modeBed(t, pipeline.Update, c.combine, countByValue["aggregate"])
		b.topic.chunk = 1000
		b.topic.fill(20_000, c.keys)
		p := b.start()
		b.finish(p)
		var shuffled int64
		for _, d := range batches(p.all("batchCompleted")) {
			for _, s := range d.Stages {
				shuffled += s.Shuffled
			}
		}
		if shuffled < c.at || shuffled > c.most {
			t.Errorf("%d keys, combine %v: %d rows shuffled, want %d to %d", c.keys, c.combine, shuffled, c.at, c.most)
		}
		if got := int64(len(b.store.rows())); got != c.keys {
			t.Errorf("%d keys, combine %v: %d rows", c.keys, c.combine, got)
		}
	}
}

// TestModesCrash: in each mode a job that is killed and started again has the rows
// of one that was not, each once.
func TestModesCrash(t *testing.T) {
	builds := map[pipeline.OutputMode]func(g *pipeline.Graph, in *topic) *pipeline.Stream[event]{
		pipeline.Append: countByWindow["aggregate"], pipeline.Update: countByWindow["aggregate"], pipeline.Complete: countByValue["aggregate"],
	}
	for mode, build := range builds {
		bedOf := func(t *testing.T, way Way) *bed {
			b := modeBed(t, mode, true, build)
			b.guarantee, b.config.ExactlyOnce = connectors.ExactlyOnce, way
			b.config.Rate.MaxRecordsPerBatch = 50
			for i := range 300 {
				b.topic.addAt(i%2, int64(i%13), int64(i*200))
			}
			return b
		}
		for _, way := range []Way{BatchTransaction, OutputPartition} {
			calm := bedOf(t, way)
			calm.finish(calm.start())
			want := rowsText(calm.store.rows())
			for _, point := range []string{"M1", "M2", "M3", "M4", "T1", "T2"} {
				t.Run(fmt.Sprintf("%s/%s/%s", mode, way, point), func(t *testing.T) {
					b := bedOf(t, way)
					p := b.startArmed(point, 3)
					if err := p.Wait(); err == nil {
						t.Fatal("the job did not crash")
					}
					p.cancel()
					b.finish(b.start())
					if got := rowsText(b.store.rows()); got != want || want == "" {
						t.Errorf("%s\nwant %s", got, want)
					}
				})
			}
		}
	}
}

// planOf plans a job of one query, for what is refused.
func planOf(mode pipeline.OutputMode, edit func(*Config), build func(g *pipeline.Graph, in *topic) *pipeline.Stream[event], sink connectors.Sink) (engines.Plan, error) {
	cfg := Default()
	cfg.OutputMode = mode
	if edit != nil {
		edit(cfg)
	}
	g := pipeline.New("refused")
	if sink == nil {
		sink = &store{}
	}
	pipeline.To(build(g, newTopic("in", 1)).Codec(eventCodec), "out", sink, encodeEvent)
	return New().Plan(engines.Job{Name: "refused", Graph: g, Parallelism: 1, Guarantee: connectors.AtLeastOnce}, cfg)
}

// appendOnly is a sink that takes final rows only.
type appendOnly struct{ store }

func (s *appendOnly) Describe() connectors.SinkDescription {
	d := s.store.Describe()
	d.AppendOnly = true
	return d
}
