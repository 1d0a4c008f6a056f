package pipeline_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

func source(name string) pipelinetest.Source { return pipelinetest.Source{Name: name} }
func sink(name string) pipelinetest.Sink     { return pipelinetest.Sink{Name: name} }

// numbers is a source of decimal numbers.
func numbers(g *pipeline.Graph, name string, opts ...pipeline.SourceOption[int64]) *pipeline.Stream[int64] {
	return pipeline.From(g, name, source(name), func(r *connectors.Record) (int64, error) {
		return strconv.ParseInt(string(r.Value), 10, 64)
	}, opts...)
}

func words(g *pipeline.Graph) *pipeline.Stream[string] {
	return pipeline.From(g, "in", source("in"), func(r *connectors.Record) (string, error) { return string(r.Value), nil })
}

func toText[T any](s *pipeline.Stream[T], name string) {
	pipeline.To(s, name, sink(name), func(v T, r *connectors.Record) { r.Value = fmt.Append(r.Value, v) })
}

func batch(partition int32, values ...string) *connectors.Batch {
	b := &connectors.Batch{Split: pipelinetest.Split(partition)}
	for i, v := range values {
		b.Records = append(b.Records, connectors.Record{Value: []byte(v), Offset: int64(i)})
	}
	return b
}

// out is what a sink took, sorted: subtasks have no order among each other.
func out(h *pipelinetest.Host, sink string) string {
	var vs []string
	for _, w := range h.Output[sink] {
		vs = append(vs, string(w.Value))
	}
	slices.Sort(vs)
	return strings.Join(vs, " ")
}

// everyWay runs a test under each way of cutting a job: one task or many, calls
// or exchanges, with room or without.
func everyWay(t *testing.T, f func(t *testing.T, opt pipelinetest.Options)) {
	for _, parallelism := range []int{1, 3} {
		for _, unchained := range []bool{false, true} {
			for _, buffers := range []int{1, 4} {
				for _, origins := range []bool{false, true} {
					opt := pipelinetest.Options{Parallelism: parallelism, Unchained: unchained, Buffers: buffers, Origins: origins}
					t.Run(fmt.Sprintf("p%d unchained=%v buffers=%d origins=%v", parallelism, unchained, buffers, origins), func(t *testing.T) { f(t, opt) })
				}
			}
		}
	}
}

func TestOperators(t *testing.T) {
	odd := func(v int64) bool { return v%2 == 1 }
	repeat := func(v int64, emit func(string)) {
		for range v {
			emit(strconv.FormatInt(v, 10))
		}
	}
	for _, c := range []struct {
		name  string
		build func(g *pipeline.Graph)
		in    []string
		want  map[string]string
	}{
		{"map", func(g *pipeline.Graph) {
			toText(pipeline.Map(numbers(g, "in"), "half", func(v int64) float64 { return float64(v) / 2 }), "out")
		}, []string{"3", "-4"}, map[string]string{"out": "-2 1.5"}},
		{"filter", func(g *pipeline.Graph) { toText(pipeline.Filter(numbers(g, "in"), "odd", odd), "out") },
			[]string{"1", "2", "3"}, map[string]string{"out": "1 3"}},
		{"filter that drops all", func(g *pipeline.Graph) {
			toText(pipeline.Filter(numbers(g, "in"), "none", func(int64) bool { return false }), "out")
		}, []string{"1"}, map[string]string{"out": ""}},
		{"flatMap", func(g *pipeline.Graph) { toText(pipeline.FlatMap(numbers(g, "in"), "repeat", repeat), "out") },
			[]string{"0", "2", "3"}, map[string]string{"out": "2 2 3 3 3"}},
		{"union", func(g *pipeline.Graph) {
			in := numbers(g, "in")
			toText(pipeline.Union(pipeline.Filter(in, "odd", odd), pipeline.Map(in, "negative", func(v int64) int64 { return -v })), "out")
		}, []string{"1", "2"}, map[string]string{"out": "-1 -2 1"}},
		{"union of a stream with itself", func(g *pipeline.Graph) {
			in := numbers(g, "in")
			toText(pipeline.Union(in, in, in), "out")
		}, []string{"1", "2"}, map[string]string{"out": "1 1 1 2 2 2"}},
		{"fan-out", func(g *pipeline.Graph) {
			in := numbers(g, "in")
			toText(in, "all")
			toText(pipeline.Filter(in, "odd", odd), "some")
			toText(in, "again")
		}, []string{"1", "2"}, map[string]string{"all": "1 2", "some": "1", "again": "1 2"}},
		{"reduce", func(g *pipeline.Graph) {
			byParity := pipeline.KeyBy(numbers(g, "in"), func(v int64) bool { return odd(v) })
			toText(pipeline.Reduce(byParity, "sum", func(acc, v int64) int64 { return acc + v }), "out")
		}, []string{"1", "2", "3", "5"}, map[string]string{"out": "1 2 4 9"}},
		{"rebalance", func(g *pipeline.Graph) { toText(numbers(g, "in").Rebalance(), "out") },
			[]string{"1", "2", "3"}, map[string]string{"out": "1 2 3"}},
		{"global", func(g *pipeline.Graph) { toText(numbers(g, "in").Global(), "out") },
			[]string{"1", "2", "3"}, map[string]string{"out": "1 2 3"}},
		{"empty values", func(g *pipeline.Graph) {
			toText(pipeline.Map(numbers(g, "in"), "nothing", func(int64) struct{} { return struct{}{} }), "out")
		}, []string{"1", "2"}, map[string]string{"out": "{} {}"}},
		{"other parallelism", func(g *pipeline.Graph) {
			toText(pipeline.Map(numbers(g, "in"), "five", func(v int64) int64 { return v }).Parallelism(5), "out")
		}, []string{"1", "2", "3"}, map[string]string{"out": "1 2 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			everyWay(t, func(t *testing.T, opt pipelinetest.Options) {
				g := pipeline.New("test")
				c.build(g)
				h := pipelinetest.New(t, g, opt)
				if err := h.Push("in", batch(0, c.in...)); err != nil {
					t.Fatal(err)
				}
				for name, want := range c.want {
					if got := out(h, name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
			})
		})
	}
}

func TestWhereRecordsGo(t *testing.T) {
	const n = 60
	subtasks := func(build func(*pipeline.Stream[int64]) *pipeline.Stream[int64]) map[int]int {
		g := pipeline.New("test")
		toText(build(numbers(g, "in")), "out")
		h := pipelinetest.New(t, g, pipelinetest.Options{Parallelism: 3})
		var values []string
		for i := range n {
			values = append(values, strconv.Itoa(i))
		}
		if err := h.Push("in", batch(1, values...)); err != nil {
			t.Fatal(err)
		}
		got := map[int]int{}
		for _, w := range h.Output["out"] {
			got[w.Subtask]++
		}
		return got
	}
	type stream = *pipeline.Stream[int64]
	for _, c := range []struct {
		name  string
		build func(stream) stream
		want  string
	}{
		{"forward", func(s stream) stream { return s }, "map[1:60]"},
		{"rebalance", func(s stream) stream { return s.Rebalance() }, "map[0:20 1:20 2:20]"},
		{"broadcast", func(s stream) stream { return s.Broadcast() }, "map[0:60 1:60 2:60]"},
		{"global", func(s stream) stream { return s.Global() }, "map[0:60]"},
	} {
		if got := fmt.Sprint(subtasks(c.build)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// A function that keeps memory has its own in each subtask, and what it emits
// may be a view of it.
func TestFlatMapWithMemory(t *testing.T) {
	made := 0
	g := pipeline.New("test")
	upper := pipeline.FlatMapWith(words(g), "upper", func() func(string, func([]byte)) {
		made++
		scratch := make([]byte, 0, 64)
		return func(v string, emit func([]byte)) {
			scratch = append(scratch[:0], v...)
			for i := range scratch {
				scratch[i] -= 'a' - 'A'
			}
			emit(scratch)
			clear(scratch[:cap(scratch)])
		}
	}).Codec(codec.BytesView{})
	pipeline.To(upper.Rebalance(), "out", sink("out"), func(v []byte, r *connectors.Record) { r.Value = append(r.Value, v...) })
	h := pipelinetest.New(t, g, pipelinetest.Options{Parallelism: 3})
	for p := range int32(3) {
		if err := h.Push("in", batch(p, "a", "bc")); err != nil {
			t.Fatal(err)
		}
	}
	if got := out(h, "out"); got != "A A A BC BC BC" || made != 3 {
		t.Errorf("%q of %d functions", got, made)
	}
}

func TestSideOutputs(t *testing.T) {
	everyWay(t, func(t *testing.T, opt pipelinetest.Options) {
		negative, zero := pipeline.NewTag[string]("negative"), pipeline.NewTag[int64]("zero")
		g := pipeline.New("test")
		main := pipeline.Process(pipeline.KeyBy(numbers(g, "in"), func(v int64) int64 { return v }), "sort",
			func(s *pipeline.Setup[int64]) pipeline.Function[int64, int64, int64] {
				n, z := pipeline.Emitter(s, negative), pipeline.Emitter(s, zero)
				return pipeline.Function[int64, int64, int64]{Element: func(v int64, _ *pipeline.KeyedCtx[int64], emit func(int64)) {
					switch {
					case v < 0:
						n("minus" + strconv.FormatInt(-v, 10))
					case v == 0:
						z(v) // nobody reads it
					default:
						emit(v)
					}
				}}
			})
		toText(main, "out")
		toText(pipeline.Side(main, negative), "negatives")
		h := pipelinetest.New(t, g, opt)
		if err := h.Push("in", batch(0, "1", "-2", "0", "3")); err != nil {
			t.Fatal(err)
		}
		if out(h, "out") != "1 3" || out(h, "negatives") != "minus2" {
			t.Errorf("%q and %q", out(h, "out"), out(h, "negatives"))
		}
	})
}

// Records longer than buffers cross exchanges in parts, mixed with short ones,
// in order, and may be looked at during the push as a whole.
func TestLongRecords(t *testing.T) {
	everyWay(t, func(t *testing.T, opt pipelinetest.Options) {
		g := pipeline.New("test")
		in := pipeline.From(g, "in", source("in"), func(r *connectors.Record) ([]byte, error) { return r.Value, nil }).Codec(codec.BytesView{})
		pipeline.To(in.Global(), "out", sink("out"), func(v []byte, r *connectors.Record) { r.Value = append(r.Value, v...) })
		h := pipelinetest.New(t, g, opt)
		var want []string
		for i, n := range []int{1, 40_000, 0, 100_000, 32_768, 32_767, 5, 36_864, 1_000_000, 2} {
			want = append(want, strings.Repeat(string(rune('a'+i)), n))
		}
		if err := h.Push("in", batch(0, want...)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range h.Output["out"] {
			got = append(got, string(w.Value))
		}
		if !slices.Equal(got, want) {
			for i := range got {
				if i >= len(want) || got[i] != want[i] {
					t.Fatalf("record %d of %d: %d bytes", i, len(got), len(got[i]))
				}
			}
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
	})
}

func TestOriginsAndTimestampsGoAlong(t *testing.T) {
	everyWay(t, func(t *testing.T, opt pipelinetest.Options) {
		g := pipeline.New("test")
		type seen struct{ value, time int64 }
		var got []string
		in := numbers(g, "in", pipeline.EventTime(func(v int64) int64 { return v * 1000 }, pipeline.Watermarks{}))
		watched := pipeline.Process(pipeline.KeyBy(in, func(v int64) int64 { return v }), "watch",
			func(*pipeline.Setup[int64]) pipeline.Function[int64, int64, int64] {
				return pipeline.Function[int64, int64, int64]{Element: func(v int64, c *pipeline.KeyedCtx[int64], emit func(int64)) {
					got = append(got, fmt.Sprint(seen{v, c.Timestamp}))
					emit(v)
				}}
			})
		toText(watched, "out")
		h := pipelinetest.New(t, g, opt)
		b := batch(2, "7", "8")
		b.Records[1].Headers = []connectors.Header{{Key: "other"}, {Key: connectors.OriginHeader,
			Value: connectors.AppendOrigin(nil, connectors.Origin{Partition: 40, Sequence: 50, Scheduled: 60})}}
		if err := h.Push("in", b); err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != "{7 7000} {8 8000}" {
			t.Errorf("seen: %s", s)
		}
		for _, w := range h.Output["out"] {
			want := connectors.Origin{Partition: 2, Sequence: 0}
			if string(w.Value) == "8" {
				want = connectors.Origin{Partition: 40, Sequence: 50, Scheduled: 60}
			}
			if !opt.Origins {
				want = connectors.Origin{}
			}
			if (w.Origin.Intake != 0) != opt.Origins {
				t.Errorf("intake at %d", w.Origin.Intake)
			}
			if w.Origin.Intake = 0; w.Origin != want {
				t.Errorf("record %s has origin %+v, want %+v", w.Value, w.Origin, want)
			}
		}
	})
}

func TestErrorsNameTheOperator(t *testing.T) {
	type thing struct{ n int64 }
	things := func(g *pipeline.Graph) *pipeline.Stream[thing] {
		return pipeline.Map(numbers(g, "in"), "make", func(v int64) thing { return thing{v} })
	}
	process := func(s *pipeline.Stream[int64], setup func(*pipeline.Setup[int64])) *pipeline.Stream[int64] {
		return pipeline.Process(pipeline.KeyBy(s, func(v int64) int64 { return v }), "process", func(s *pipeline.Setup[int64]) pipeline.Function[int64, int64, int64] {
			setup(s)
			return pipeline.Function[int64, int64, int64]{Element: func(int64, *pipeline.KeyedCtx[int64], func(int64)) {}}
		})
	}
	for _, c := range []struct {
		want  string
		build func(g *pipeline.Graph)
	}{
		{"the job has no source", func(*pipeline.Graph) {}},
		{"the job has no sink", func(g *pipeline.Graph) { numbers(g, "in") }},
		{`operator "twice": the name is used twice`, func(g *pipeline.Graph) {
			s := pipeline.Map(numbers(g, "in"), "twice", func(v int64) int64 { return v })
			toText(pipeline.Map(s, "twice", func(v int64) int64 { return v }), "out")
		}},
		{"operator 0 has no name", func(g *pipeline.Graph) { toText(numbers(g, ""), "out") }},
		{`operator "in": parallelism 0: allowed are 1 to 32768`, func(g *pipeline.Graph) { toText(numbers(g, "in").Parallelism(0), "out") }},
		{`source "in": a watermark delay of -1ns would run ahead of the records`, func(g *pipeline.Graph) {
			toText(numbers(g, "in", pipeline.EventTime(func(v int64) int64 { return v }, pipeline.Watermarks{Delay: -1})), "out")
		}},
		{"union: the streams belong to different jobs", func(g *pipeline.Graph) {
			toText(pipeline.Union(numbers(g, "in"), numbers(pipeline.New("other"), "in")), "out")
		}},
		{`operator "make": its output type pipeline_test.thing crosses an exchange to "spread" and has no codec: call Stream.Codec`, func(g *pipeline.Graph) {
			toText(pipeline.Map(things(g).Rebalance(), "spread", func(v thing) thing { return v }), "out")
		}},
		{`operator "count": key type pipeline_test.thing has no hash: give the key a codec`, func(g *pipeline.Graph) {
			s := things(g).Codec(codec.Struct("thing/1", func(d []byte, v thing) []byte { return append(d, byte(v.n)) }, func(b []byte) (thing, int, error) { return thing{int64(b[0])}, 1, nil }, nil))
			toText(pipeline.Reduce(pipeline.KeyBy(s, func(v thing) thing { return v }), "count", func(a, _ thing) thing { return a }), "out")
		}},
		{`operator "process": state "s" has no codec`, func(g *pipeline.Graph) {
			toText(process(numbers(g, "in"), func(s *pipeline.Setup[int64]) { pipeline.Table[int64, thing](s, "s", nil) }), "out")
		}},
		{`process: state "s" is declared twice`, func(g *pipeline.Graph) {
			toText(process(numbers(g, "in"), func(s *pipeline.Setup[int64]) {
				pipeline.Table(s, "s", codec.Codec[int64](codec.Int64{}))
				pipeline.Table(s, "s", codec.Codec[int64](codec.Int64{}))
			}), "out")
		}},
		{`operator "process" has no side output "late", which "lates" reads`, func(g *pipeline.Graph) {
			s := process(numbers(g, "in"), func(*pipeline.Setup[int64]) {})
			toText(s, "out")
			toText(pipeline.Side(s, pipeline.NewTag[int64]("late")), "lates")
		}},
		{`operator "process": side output "late" is declared twice`, func(g *pipeline.Graph) {
			tag := pipeline.NewTag[int64]("late")
			s := process(numbers(g, "in"), func(s *pipeline.Setup[int64]) { pipeline.Emitter(s, tag); pipeline.Emitter(s, tag) })
			toText(pipeline.Side(s, tag), "lates")
		}},
		{`operator "process": output "late" is read as another type than it is written`, func(g *pipeline.Graph) {
			s := process(numbers(g, "in"), func(s *pipeline.Setup[int64]) { pipeline.Emitter(s, pipeline.NewTag[int64]("late")) })
			toText(pipeline.Side(s, pipeline.NewTag[string]("late")), "lates")
		}},
		{"parallelism 200 is above the job's maximum 128", func(g *pipeline.Graph) { toText(numbers(g, "in").Parallelism(200), "out") }},
	} {
		g := pipeline.New("test")
		c.build(g)
		if _, err := pipelinetest.Build(g, pipelinetest.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

func TestFailures(t *testing.T) {
	everyWay(t, func(t *testing.T, opt pipelinetest.Options) {
		if opt.Origins {
			return
		}
		build := func(opt pipelinetest.Options) *pipelinetest.Host {
			g := pipeline.New("test")
			checked := pipeline.Process(pipeline.KeyBy(numbers(g, "in"), func(v int64) int64 { return v }), "check",
				func(*pipeline.Setup[int64]) pipeline.Function[int64, int64, int64] {
					return pipeline.Function[int64, int64, int64]{Element: func(v int64, c *pipeline.KeyedCtx[int64], emit func(int64)) {
						switch v {
						case 13:
							c.Fail(errors.New("thirteen"))
							c.Fail(errors.New("a second error does not hide the first"))
						case 14:
							c.EventTimer(1)
						case 15:
							c.DeleteProcessingTimer(1)
						}
						emit(v)
					}}
				})
			toText(checked, "out")
			return pipelinetest.New(t, g, opt)
		}
		for _, c := range []struct{ in, want string }{
			{"x", `source "in": split in/4, position 1: the record does not decode: strconv.ParseInt: parsing "x"`},
			{"13", "thirteen"},
			{"14", `operator "check" sets a timer and has no function EventTimer for it`},
			{"15", "<nil>"},
		} {
			h := build(opt)
			err := h.Push("in", batch(4, "1", c.in, "2"))
			if got := fmt.Sprint(err); !strings.HasPrefix(got, c.want) {
				t.Errorf("%q: %s, want %s", c.in, got, c.want)
			}
			if err != nil && c.in == "x" && out(h, "out") != "" && out(h, "out") != "1" {
				t.Errorf("%q: the job went on to %q", c.in, out(h, "out"))
			}
		}
		full := errors.New("the disk is full")
		opt.Fail = func(_ string, r *connectors.Record) error {
			if string(r.Value) == "2" {
				return full
			}
			return nil
		}
		if err := build(opt).Push("in", batch(0, "1", "2", "3")); !errors.Is(err, full) {
			t.Errorf("a sink that fails: %v", err)
		}
	})
}

func TestTheHotPathDoesNotAllocate(t *testing.T) {
	for _, origins := range []bool{false, true} {
		g := pipeline.New("test")
		in := pipeline.From(g, "in", source("in"), func(r *connectors.Record) (int64, error) { return int64(r.Value[0]), nil },
			pipeline.EventTime(func(v int64) int64 { return v }, pipeline.Watermarks{}))
		big := pipeline.Filter(pipeline.Map(in, "map", func(v int64) int64 { return v + 1 }), "filter", func(v int64) bool { return v > 0 })
		sum := pipeline.Reduce(pipeline.KeyBy(big, func(v int64) int64 { return v % 10 }), "sum", func(a, v int64) int64 { return a + v })
		// The test's own sink copies what it is given, so the chain ends before it.
		toText(pipeline.Filter(sum, "none", func(int64) bool { return false }), "out")
		h := pipelinetest.New(t, g, pipelinetest.Options{Origins: origins})
		b := batch(0)
		for i := range 1000 {
			b.Records = append(b.Records, connectors.Record{Value: []byte{byte(i)}})
		}
		if n := testing.AllocsPerRun(10, func() {
			if err := h.Push("in", b); err != nil {
				t.Fatal(err)
			}
		}); n > 2 { // of the host's, per batch
			t.Errorf("origins %v: %v allocations per 1,000 records", origins, n)
		}
	}
}
