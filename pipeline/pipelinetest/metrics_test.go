package pipelinetest_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"streamduel/clock"
	"streamduel/codec"
	"streamduel/connectors/collection"
	"streamduel/engines"
	"streamduel/engines/dataflow"
	"streamduel/engines/microbatch"
	"streamduel/metrics"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state"
)

// rich are the operators whose functions are made with their context.
func rich() []pipelinetest.Case {
	return []pipelinetest.Case{
		one("richMap", "6 10 14 2 2 18 14", func(in input, g *pipeline.Graph) {
			text(pipeline.RichMap(in.Stream(g).Codec(rowCodec), "double", func(*pipeline.RuntimeContext) func(row) int64 {
				return func(r row) int64 { return 2 * r.n }
			}))
		}, some),
		one("richFilter", "a5y b7z a9w b7w", func(in input, g *pipeline.Graph) {
			text(pipeline.RichFilter(in.Stream(g).Codec(rowCodec), "big", func(*pipeline.RuntimeContext) func(row) bool {
				return func(r row) bool { return r.n > 3 }
			}))
		}, some),
		one("richFlatMap", "x x y y z z u u v v w w w w", func(in input, g *pipeline.Graph) {
			text(pipeline.RichFlatMap(in.Stream(g).Codec(rowCodec), "twice", func(*pipeline.RuntimeContext) func(row, func(string)) {
				return func(r row, emit func(string)) {
					emit(r.word)
					emit(r.word)
				}
			}))
		}, some),
	}
}

// counting is a job whose functions count in every way that there is.
func counting(in *pipelinetest.Input[row]) func(g *pipeline.Graph) {
	return func(g *pipeline.Graph) {
		big := pipeline.RichFilter(in.Stream(g).Codec(rowCodec), "big", func(r *pipeline.RuntimeContext) func(row) bool {
			dropped, of := r.Metrics().Counter("dropped"), int64(0)
			index, parallelism := r.Subtask()
			r.Metrics().Gauge("share", func() float64 { return float64(index) / float64(parallelism) })
			return func(r row) bool {
				if of++; r.n < 2 {
					dropped.Inc()
				}
				return r.n >= 2
			}
		})
		keyed := pipeline.KeyBy(big, keyOf).KeyCodec(codec.StringView{})
		text(pipeline.Process(keyed, "keep", func(s *pipeline.Setup[string]) pipeline.Function[string, row, string] {
			m := s.Metrics()
			seen, sizes := m.Meter("seen"), m.Histogram("sizes")
			return pipeline.Function[string, row, string]{Element: func(r row, _ *pipeline.KeyedCtx[string], emit func(string)) {
				seen.Mark()
				sizes.Update(r.n)
				emit(r.word)
			}}
		}))
	}
}

// summed adds up the subtasks of what counts, and names the rest once.
func summed(vs []metrics.Value) string {
	of := map[string]float64{}
	var names []string
	for _, v := range vs {
		name := v.Operator + "." + v.Name
		if _, ok := of[name]; !ok {
			names = append(names, name)
		}
		switch v.Kind {
		case metrics.KindCounter, metrics.KindGauge:
			of[name] += float64(v.Value)
		default:
			of[name] += float64(v.Count)
		}
	}
	var out []string
	for _, n := range names {
		out = append(out, fmt.Sprintf("%s=%g", n, of[n]))
	}
	return strings.Join(out, " ")
}

// TestMetricsOfAHarness: what a user sees in a test of his own.
func TestMetricsOfAHarness(t *testing.T) {
	in := pipelinetest.NewInput[row]("in")
	h := pipelinetest.NewHarness(t, pipelinetest.Options{Parallelism: 2}, counting(in))
	h.Do(some(in)...)
	h.Do(some(in)...)
	const want = "big.dropped=4 big.share=0.5 keep.seen=10 keep.sizes=10"
	if got := summed(h.Metrics()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestMetricsOnEngines: both engines tell the same of the same load, while the job
// runs and when it has ended.
func TestMetricsOnEngines(t *testing.T) {
	for i, e := range []engines.Engine{dataflow.New(), microbatch.New()} {
		t.Run(e.Name(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
			synctest.Test(t, func(t *testing.T) {
				folder, err := state.OpenFolder(dir, state.DurableProcess)
				if err != nil {
					t.Fatal(err)
				}
				in := pipelinetest.NewInput[row]("in")
				p := &player{
					way: onEngine{engine: e}, c: pipelinetest.Case{Build: counting(in)}, folder: folder, clock: &clock.Clock{}, mark: pipeline.NoTime,
					sources: map[string]*collection.Source{}, sinks: map[string]*collection.Sink{},
				}
				if err := p.start(4); err != nil {
					t.Fatal(err)
				}
				defer p.kill()
				if err := (pipelinetest.Case{Steps: some(in)}).Play(p, nil); err != nil {
					t.Fatal(err)
				}
				m := p.run.(engines.Metered)
				m.Metrics() // asks: whoever looks is a little behind
				if err := p.settle(); err != nil {
					t.Fatal(err)
				}
				const want = "big.dropped=2 big.share=1.5 keep.seen=5 keep.sizes=5"
				if got := summed(m.Metrics()); got != want {
					t.Errorf("while it runs: got %s, want %s", got, want)
				}
				if err := (pipelinetest.Case{Steps: some(in)}).Play(p, nil); err != nil {
					t.Fatal(err)
				}
				if err := p.run.Stop(context.Background(), engines.StopCheckpoint); err != nil {
					t.Fatal(err)
				}
				const end = "big.dropped=4 big.share=1.5 keep.seen=10 keep.sizes=10"
				if got := summed(m.Metrics()); got != end {
					t.Errorf("when it has ended: got %s, want %s", got, end)
				}
			})
		})
	}
}

// TestMetricsRefused before the job runs, with the operator's and the metric's name.
func TestMetricsRefused(t *testing.T) {
	for want, register := range map[string]func(first, second *metrics.Group){
		`operator "second": counter "hits": the name is used twice`: func(_, second *metrics.Group) {
			second.Counter("hits")
			second.Counter("hits")
		},
		`operator "second": meter "per second": " " in the name`: func(_, second *metrics.Group) { second.Meter("per second") },
		`operator "second": counter "hits": operator "first" has a histogram of that name`: func(first, second *metrics.Group) {
			first.Histogram("hits")
			second.Counter("hits")
		},
	} {
		in := pipelinetest.NewInput[row]("in")
		g := pipeline.New("test")
		var groups [2]*metrics.Group
		open := func(i int) func(r *pipeline.RuntimeContext) func(row) bool {
			return func(r *pipeline.RuntimeContext) func(row) bool {
				if groups[i] = r.Metrics(); groups[0] != nil && groups[1] != nil {
					register(groups[0], groups[1])
				}
				return func(row) bool { return true }
			}
		}
		first := pipeline.RichFilter(in.Stream(g).Codec(rowCodec), "first", open(0))
		text(pipeline.Map(pipeline.RichFilter(first, "second", open(1)), "text", row.String))
		_, err := pipelinetest.Build(g, pipelinetest.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestAMetricThatComesTooLate fails the task that registers it.
func TestAMetricThatComesTooLate(t *testing.T) {
	in := pipelinetest.NewInput[row]("in")
	h := pipelinetest.NewHarness(t, pipelinetest.Options{}, func(g *pipeline.Graph) {
		text(pipeline.Map(pipeline.RichFilter(in.Stream(g).Codec(rowCodec), "first", func(r *pipeline.RuntimeContext) func(row) bool {
			return func(v row) bool {
				r.Metrics().Counter("hits").Inc()
				return true
			}
		}), "text", row.String))
	})
	h.Do(in.At(1, row{key: "a"}))
	if err := h.Try(in.At(2, row{key: "a"})); err == nil || !strings.Contains(err.Error(), `operator "first": counter "hits": the name is used twice`) {
		t.Errorf("got %v", err)
	}
}
