package pipelinetest_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"streamduel/clock"
	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/connectors/collection"
	"streamduel/engines"
	"streamduel/engines/dataflow"
	"streamduel/engines/microbatch"
	"streamduel/metrics"
	"streamduel/pipeline"
	"streamduel/pipeline/join"
	"streamduel/pipeline/pattern"
	"streamduel/pipeline/pipelinetest"
	"streamduel/pipeline/window"
	"streamduel/state"
)

// calls registers the counter by which a function tells that it was called.
func calls(r *pipeline.RuntimeContext) *metrics.Counter { return r.Metrics().Counter("calls") }

// callsOfAll is what two rows of a key, one row of a second stream and one raw
// record make each function count.
const callsOfAll = "aggregate.calls=2 asOf.calls=2 coGroup.calls=1 encode.calls=1 enrich.calls=2 interval.calls=2 " +
	"mapWithState.calls=2 pattern.calls=1 pattern.conditions=1 raw.calls=1 reduce.calls=1 regular.calls=2 " +
	"windowAggregate.calls=1 windowJoin.calls=2 windowProcess.calls=1 windowReduce.calls=1"

// everywhere is a job in which each kind of function counts its calls.
type everywhere struct {
	a, b, raw input
	batches   bool // with what only an engine with batches runs
}

func newEverywhere(batches bool) *everywhere {
	return &everywhere{pipelinetest.NewInput[row]("a"), pipelinetest.NewInput[row]("b"), pipelinetest.NewInput[row]("raw"), batches}
}

func (e *everywhere) steps() steps {
	return steps{
		e.raw.At(1, row{}), e.b.At(1, row{"a", 3, "x"}), wm(0),
		e.a.At(1, row{"a", 1, "y"}, row{"a", 2, "z"}), wm(100),
	}
}

// pairs are join functions that count.
func (e *everywhere) pairs(left bool) join.Functions[row, row, string] {
	return join.Functions[row, row, string]{Open: func(r *pipeline.RuntimeContext) join.Functions[row, row, string] {
		n := calls(r)
		f := join.Functions[row, row, string]{Both: func(l, r row) string { n.Inc(); return both(l, r) }}
		if left {
			f.Left = func(l row) string { n.Inc(); return onlyLeft(l) }
		}
		return f
	}}
}

func (e *everywhere) build(g *pipeline.Graph) {
	out := func(s *pipeline.Stream[string], name string) { pipelinetest.Text(s, name+" out") }
	k, other := byKey(e.a, g), byKey(e.b, g)
	rows := func(s *pipeline.Stream[row], name string) { out(pipeline.Map(s, name+" text", row.String), name) }

	raw := pipeline.RichFrom(g, "raw", pipelinetest.Source{Name: "raw"}, func(r *pipeline.RuntimeContext) pipeline.Decode[bool] {
		n := calls(r)
		return func(r *connectors.Record) (bool, error) {
			if r.Headers == nil { // no mark
				n.Inc()
			}
			return r.Headers == nil, nil
		}
	})
	pipeline.RichTo(raw, "encode", pipelinetest.Sink{Name: "encode"}, func(r *pipeline.RuntimeContext) pipeline.Encode[bool] {
		n := calls(r)
		return func(record bool, _ *connectors.Record) {
			if record {
				n.Inc()
			}
		}
	})
	rows(pipeline.RichReduce(k, "reduce", func(r *pipeline.RuntimeContext) func(acc, v row) row {
		n := calls(r)
		return func(acc, v row) row { n.Inc(); acc.n += v.n; return acc }
	}), "reduce")
	out(pipeline.RichAggregate(k, "aggregate", func(r *pipeline.RuntimeContext) pipeline.AggregateFunction[row, sum, string] {
		n := calls(r)
		return pipeline.AggregateFunction[row, sum, string]{Result: mean.Result, Add: func(acc sum, v row) sum { n.Inc(); return mean.Add(acc, v) }}
	}, sumCodec), "aggregate")
	out(pipeline.MapWithState(k, "mapWithState", codec.Codec[int64](codec.Int64{}), pipeline.StateSpec[string, row, int64, string]{
		Open: func(r *pipeline.RuntimeContext) func(string, row, *pipeline.MappedState[string, int64], func(string)) {
			n := calls(r)
			return func(string, row, *pipeline.MappedState[string, int64], func(string)) { n.Inc() }
		},
	}), "mapWithState")
	if e.batches {
		u := pipeline.RichUpdateStateByKey(k, "update", codec.Codec[int64](codec.Int64{}), func(r *pipeline.RuntimeContext) func(string, []row, int64, bool) (int64, bool) {
			n := r.Metrics().Counter("values")
			return func(_ string, vs []row, _ int64, _ bool) (int64, bool) { n.Add(int64(len(vs))); return 0, true }
		})
		out(pipeline.Map(u, "update text", func(pipeline.KeyState[string, int64]) string { return "" }), "update")
	}
	e.windows(k, other, out, rows)

	in := join.Interval{Lower: -ms, Upper: ms}
	out(join.Between(k, other, "interval", in, e.pairs(false)), "interval")
	out(join.AsOf(k, other, "asOf", nil, e.pairs(true)), "asOf")
	out(join.RichRegular(k, other, "regular", 0, func(r *pipeline.RuntimeContext) func(l, r row) string { return e.pairs(false).Open(r).Both }), "regular")
	out(join.Enrich(k.Stream(), other.Stream(), "enrich", keyOf, keyOf, nil, codec.Codec[string](codec.StringView{}), rowCodec, e.pairs(true)), "enrich")

	p := pattern.Begin("first", func(row) bool { return true }).Next("second", func(row) bool { return false }).
		RichGiven(func(r *pipeline.RuntimeContext) func(row, *pattern.Sequence[row]) bool {
			n := r.Metrics().Counter("conditions")
			return func(row, *pattern.Sequence[row]) bool { n.Inc(); return true }
		})
	out(pattern.Match(k, "pattern", p, pattern.Functions[row, string]{Open: func(r *pipeline.RuntimeContext) pattern.Functions[row, string] {
		n := calls(r)
		return pattern.Functions[row, string]{Match: func(s *pattern.Sequence[row], emit func(string)) { n.Inc(); sequence(s, emit) }}
	}}), "pattern")
}

func (e *everywhere) windows(k, other *pipeline.Keyed[string, row], out func(*pipeline.Stream[string], string), rows func(*pipeline.Stream[row], string)) {
	five := window.TumblingEventTime(5 * ms)
	w := window.On(k, five)
	out(window.RichProcess(w, "windowProcess", func(r *pipeline.RuntimeContext) func(*window.Context[string], []row, func(string)) {
		n := calls(r)
		return func(_ *window.Context[string], vs []row, emit func(string)) { n.Inc(); emit(vs[0].word) }
	}), "windowProcess")
	rows(window.RichReduceWith(w, "windowReduce", func(acc, v row) row { acc.n += v.n; return acc }, func(r *pipeline.RuntimeContext) func(*window.Context[string], row, func(row)) {
		n := calls(r)
		return func(_ *window.Context[string], v row, emit func(row)) { n.Inc(); emit(v) }
	}).Codec(rowCodec), "windowReduce")
	out(window.RichAggregateWith(w, "windowAggregate", window.Count[row](), func(r *pipeline.RuntimeContext) func(*window.Context[string], int64, func(string)) {
		n := calls(r)
		return func(_ *window.Context[string], _ int64, emit func(string)) { n.Inc(); emit("") }
	}), "windowAggregate")
	out(join.Window(k, other, "windowJoin", five, nil, e.pairs(false)), "windowJoin")
	out(join.RichCoGroup(k, other, "coGroup", five, nil, func(r *pipeline.RuntimeContext) func(*window.Context[string], []row, []row, func(string)) {
		n := calls(r)
		return func(*window.Context[string], []row, []row, func(string)) { n.Inc() }
	}), "coGroup")
}

// TestMetricsEverywhere: functions of windows, joins, patterns and states, decoders
// and encoders count as any others do.
func TestMetricsEverywhere(t *testing.T) {
	e := newEverywhere(false)
	h := pipelinetest.NewHarness(t, pipelinetest.Options{Parallelism: 2}, e.build)
	h.Do(e.steps()...)
	if got := summed(h.Metrics()); got != callsOfAll {
		t.Errorf("got  %s\nwant %s", got, callsOfAll)
	}
}

// TestMetricsEverywhereOnEngines is the same as a real job.
func TestMetricsEverywhereOnEngines(t *testing.T) {
	for _, engine := range []engines.Engine{dataflow.New(), microbatch.New()} {
		t.Run(engine.Name(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "folder")
			synctest.Test(t, func(t *testing.T) {
				folder, err := state.OpenFolder(dir, state.DurableProcess)
				if err != nil {
					t.Fatal(err)
				}
				want := callsOfAll
				e := newEverywhere(engine.Name() == microbatch.Name)
				if e.batches {
					want = strings.Replace(want, " windowAggregate", " update.values=2 windowAggregate", 1)
				}
				p := &player{
					way: onEngine{engine: engine}, c: pipelinetest.Case{Build: e.build}, folder: folder, clock: &clock.Clock{}, mark: pipeline.NoTime,
					sources: map[string]*collection.Source{}, sinks: map[string]*collection.Sink{},
				}
				if err := p.start(2); err != nil {
					t.Fatal(err)
				}
				defer p.kill()
				if err := (pipelinetest.Case{Steps: e.steps()}).Play(p, nil); err != nil {
					t.Fatal(err)
				}
				if err := p.run.Stop(context.Background(), engines.StopCheckpoint); err != nil {
					t.Fatal(err)
				}
				if got := summed(p.run.(engines.Metered).Metrics()); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		})
	}
}

// TestOpenedFunctionsAreChecked when their tasks are built, as others are before.
func TestOpenedFunctionsAreChecked(t *testing.T) {
	for want, build := range map[string]func(a, b *pipeline.Keyed[string, row]) *pipeline.Stream[string]{
		`operator "x": its aggregate function needs Add and Result`: func(a, _ *pipeline.Keyed[string, row]) *pipeline.Stream[string] {
			return pipeline.RichAggregate(a, "x", func(*pipeline.RuntimeContext) (none pipeline.AggregateFunction[row, sum, string]) { return none }, sumCodec)
		},
		`operator "x": an interval join needs the function Both`: func(a, b *pipeline.Keyed[string, row]) *pipeline.Stream[string] {
			return join.Between(a, b, "x", join.Interval{Upper: ms}, join.Functions[row, row, string]{
				Open: func(*pipeline.RuntimeContext) (none join.Functions[row, row, string]) { return none },
			})
		},
		`operator "x": its pattern never times out: it has no Within`: func(a, _ *pipeline.Keyed[string, row]) *pipeline.Stream[string] {
			return pattern.Match(a, "x", pattern.Begin("first", word("a")), pattern.Functions[row, string]{
				Open: func(*pipeline.RuntimeContext) pattern.Functions[row, string] {
					return pattern.Functions[row, string]{Match: sequence, TimedOut: sequence}
				},
			})
		},
		`operator "x": mapWithState needs its function: set either Function or Open`: func(a, _ *pipeline.Keyed[string, row]) *pipeline.Stream[string] {
			return pipeline.MapWithState(a, "x", codec.Codec[int64](codec.Int64{}), pipeline.StateSpec[string, row, int64, string]{})
		},
	} {
		g := pipeline.New("test")
		a, b := pipelinetest.NewInput[row]("a"), pipelinetest.NewInput[row]("b")
		text(build(byKey(a, g), byKey(b, g)))
		if _, err := pipelinetest.Build(g, pipelinetest.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
