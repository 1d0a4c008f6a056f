package pipelinetest_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/pipeline/join"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state/lsm"
)

// row is what most cases read: a key, a number and a word.
type row struct {
	key  string
	n    int64
	word string
}

func (r row) String() string { return fmt.Sprintf("%s%d%s", r.key, r.n, r.word) }

var rowCodec = codec.Struct("row/1", func(d []byte, r row) []byte {
	return codec.StringView{}.Append(codec.Int64{}.Append(codec.StringView{}.Append(d, r.key), r.n), r.word)
}, func(b []byte) (r row, n int, err error) {
	if r.key, n, err = (codec.StringView{}).Decode(b); err != nil {
		return r, n, err
	}
	var m int
	if r.n, m, err = (codec.Int64{}).Decode(b[n:]); err != nil {
		return r, n, err
	}
	n += m
	r.word, m, err = codec.StringView{}.Decode(b[n:])
	return r, n + m, err
}, func(r row) row {
	r.key, r.word = codec.StringView{}.Clone(r.key), codec.StringView{}.Clone(r.word)
	return r
})

func keyOf(r row) string { return r.key }

// rows is the input "in" of a case, keyed and with views in its values, so that
// an operator that keeps what it must clone shows.
func byKey(in *pipelinetest.Input[row], g *pipeline.Graph) *pipeline.Keyed[string, row] {
	return pipeline.KeyBy(in.Stream(g).Codec(rowCodec), keyOf).KeyCodec(codec.StringView{})
}

func text[T any](s *pipeline.Stream[T]) { pipelinetest.Text(s, "out") }

// TestOperators is the one table under which every operator runs.
func TestOperators(t *testing.T) {
	for _, c := range table() {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Check(t, lsm.InMemory(1)); err != nil {
				t.Error(err)
			}
		})
	}
}

func table() []pipelinetest.Case {
	var all []pipelinetest.Case
	for _, group := range [][]pipelinetest.Case{stateless(), rich(), partitionings(), running(), connected(), handles(), ofSpark(), broadcast(), joins(), patterns(), windows(), windowOptions(), further(), asynchronous()} {
		all = append(all, group...)
	}
	return all
}

// one is a case with one input of rows.
func one(name, want string, build func(in *pipelinetest.Input[row], g *pipeline.Graph), steps func(in *pipelinetest.Input[row]) []pipelinetest.Step) pipelinetest.Case {
	in := pipelinetest.NewInput[row]("in")
	return pipelinetest.Case{
		Name: name, Want: map[string]string{"out": want}, Steps: steps(in),
		Build: func(g *pipeline.Graph) { build(in, g) },
	}
}

type input = *pipelinetest.Input[row]
type steps = []pipelinetest.Step

func wm(ts int64) pipelinetest.Step  { return pipelinetest.Watermark(ts) }
func now(ts int64) pipelinetest.Step { return pipelinetest.Time(ts) }

// some is a load for operators that do not look at time.
func some(in input) steps {
	return steps{
		in.At(1, row{"a", 3, "x"}, row{"a", 5, "y"}, row{"b", 7, "z"}), wm(1),
		in.At(2, row{"a", 1, "u"}), wm(2), in.At(3, row{"a", 1, "v"}), wm(3), in.At(4, row{"a", 9, "w"}, row{"b", 7, "w"}),
	}
}

func stateless() []pipelinetest.Case {
	return []pipelinetest.Case{
		one("map", "6 10 14 2 2 18 14", func(in input, g *pipeline.Graph) {
			text(pipeline.Map(in.Stream(g).Codec(rowCodec), "double", func(r row) int64 { return 2 * r.n }))
		}, some),
		one("filter", "a5y b7z a9w b7w", func(in input, g *pipeline.Graph) {
			text(pipeline.Filter(in.Stream(g).Codec(rowCodec), "big", func(r row) bool { return r.n > 3 }))
		}, some),
		one("flatMap", "x x x u v", func(in input, g *pipeline.Graph) {
			text(pipeline.FlatMap(in.Stream(g).Codec(rowCodec), "repeat", func(r row, emit func(string)) {
				for range r.n % 5 {
					if r.n < 5 {
						emit(r.word)
					}
				}
			}))
		}, some),
		one("union", "a3x! b7z! a3x b7z a5y a1u a1v a9w b7w a5y! a1u! a1v! a9w! b7w!", func(in input, g *pipeline.Graph) {
			s := in.Stream(g).Codec(rowCodec)
			marked := pipeline.Map(s, "mark", func(r row) row { r.word += "!"; return r }).Codec(rowCodec)
			text(pipeline.Map(pipeline.Union(s, marked), "both", row.String))
		}, some),
		one("union of a stream with itself", "a3x a3x", func(in input, g *pipeline.Graph) {
			s := in.Stream(g).Codec(rowCodec)
			text(pipeline.Union(s, s))
		}, func(in input) steps { return steps{in.At(1, row{"a", 3, "x"})} }),
	}
}

func partitionings() (all []pipelinetest.Case) {
	for _, p := range []struct {
		name   string
		spread func(*pipeline.Stream[row]) *pipeline.Stream[row]
	}{
		{"rebalance", (*pipeline.Stream[row]).Rebalance},
		{"rescale", (*pipeline.Stream[row]).Rescale},
		{"shuffle", (*pipeline.Stream[row]).Shuffle},
		{"global", (*pipeline.Stream[row]).Global},
		{"partitionCustom", func(s *pipeline.Stream[row]) *pipeline.Stream[row] {
			return s.PartitionCustom(func(r row, n int) int { return int(r.n) % n })
		}},
	} {
		all = append(all, one(p.name, "a3x a5y b7z a1u a1v a9w b7w", func(in input, g *pipeline.Graph) {
			text(p.spread(in.Stream(g).Codec(rowCodec)))
		}, some))
	}
	return append(all, one("broadcast", "a3x a3x a3x", func(in input, g *pipeline.Graph) {
		s := pipeline.Map(in.Stream(g).Codec(rowCodec).Broadcast(), "three", row.String).Parallelism(3)
		text(s)
	}, func(in input) steps { return steps{in.At(1, row{"a", 3, "x"})} }))
}

// sum adds up n and keeps the number of records, to see what was merged.
type sum struct{ n, records int64 }

var sumCodec = codec.Struct("sum/1", func(d []byte, s sum) []byte {
	return codec.Int64{}.Append(codec.Int64{}.Append(d, s.n), s.records)
}, func(b []byte) (s sum, n int, err error) {
	if len(b) < 16 {
		return s, 0, codec.ErrShort
	}
	s.n, _, _ = codec.Int64{}.Decode(b)
	s.records, _, _ = codec.Int64{}.Decode(b[8:])
	return s, 16, nil
}, nil)

var mean = pipeline.AggregateFunction[row, sum, string]{
	Add:    func(acc sum, r row) sum { return sum{acc.n + r.n, acc.records + 1} },
	Merge:  func(a, b sum) sum { return sum{a.n + b.n, a.records + b.records} },
	Result: func(s sum) string { return fmt.Sprintf("%d/%d", s.n, s.records) },
}

func running() []pipelinetest.Case {
	field := func(r *row) *int64 { return &r.n }
	by := func(r row) int64 { return r.n }
	word := func(r *row) *string { return &r.word }
	odd := func(r row) float64 {
		if r.word == "u" {
			return math.NaN()
		}
		return float64(r.n)
	}
	return []pipelinetest.Case{
		one("reduce", "a3x a8xy b7z a9xyu a10xyuv a19xyuvw b14zw", func(in input, g *pipeline.Graph) {
			text(pipeline.Reduce(byKey(in, g), "sum", func(acc, r row) row { return row{acc.key, acc.n + r.n, acc.word + r.word} }))
		}, some),
		one("aggregate", "3/1 8/2 7/1 9/3 10/4 19/5 14/2", func(in input, g *pipeline.Graph) {
			text(pipeline.Aggregate(byKey(in, g), "mean", mean, sumCodec))
		}, some),
		one("sum", "a3x a8x b7z a9x a10x a19x b14z", func(in input, g *pipeline.Graph) {
			text(pipeline.Sum(byKey(in, g), "sum", field))
		}, some),
		// The word stays that of the first record.
		one("min", "a3x a3x b7z a1x a1x a1x b7z", func(in input, g *pipeline.Graph) {
			text(pipeline.Min(byKey(in, g), "min", field))
		}, some),
		one("max", "a3x a5x b7z a5x a5x a9x b7z", func(in input, g *pipeline.Graph) {
			text(pipeline.Max(byKey(in, g), "max", field))
		}, some),
		one("min of a word", "a3x a3x b7z a3u a3u a3u b7w", func(in input, g *pipeline.Graph) {
			text(pipeline.Min(byKey(in, g), "min", word))
		}, some),
		// The whole winning record, the first of equals.
		one("minBy", "a3x a3x b7z a1u a1u a1u b7z", func(in input, g *pipeline.Graph) {
			text(pipeline.MinBy(byKey(in, g), "minBy", by))
		}, some),
		one("maxBy", "a3x a5y b7z a5y a5y a9w b7z", func(in input, g *pipeline.Graph) {
			text(pipeline.MaxBy(byKey(in, g), "maxBy", by))
		}, some),
		one("minBy, the last of equals", "a3x a3x b7z a1u a1v a1v b7w", func(in input, g *pipeline.Graph) {
			text(pipeline.MinByLast(byKey(in, g), "minBy", by))
		}, some),
		one("maxBy, the last of equals", "a3x a5y b7z a5y a5y a9w b7w", func(in input, g *pipeline.Graph) {
			text(pipeline.MaxByLast(byKey(in, g), "maxBy", by))
		}, some),
		// A number that is none is larger than all others.
		one("minBy with NaN", "a3x a3x b7z a3x a1v a1v b7z", func(in input, g *pipeline.Graph) {
			text(pipeline.MinBy(byKey(in, g), "minBy", odd))
		}, some),
		one("maxBy with NaN", "a3x a5y b7z a1u a1u a1u b7z", func(in input, g *pipeline.Graph) {
			text(pipeline.MaxBy(byKey(in, g), "maxBy", odd))
		}, some),
		one("top 2", "{1_a3x} {1_a5y} {2_a3x} {1_b7z} {1_a9w} {2_a5y} {2_b7w}", func(in input, g *pipeline.Graph) {
			best := pipeline.TopN(byKey(in, g), "top", 2, func(a, b row) bool { return a.n > b.n })
			text(pipeline.Map(best, "line", func(r pipeline.Ranked[row]) string { return fmt.Sprintf("{%d_%v}", r.Rank, r.Value) }))
		}, some),
		one("dedupe for ever", "a3x b7z", func(in input, g *pipeline.Graph) {
			text(pipeline.Dedupe(byKey(in, g), "once", 0, pipeline.EventTimeDomain))
		}, some),
		one("dedupe by event time", "a1 b2 a4 a5", func(in input, g *pipeline.Graph) {
			text(pipeline.Dedupe(byKey(in, g), "once", 10*ms, pipeline.EventTimeDomain))
		}, func(in input) steps {
			return steps{
				in.At(100, row{"a", 1, ""}), wm(99), in.At(109, row{"a", 2, ""}), in.At(102, row{"b", 2, ""}), wm(105),
				in.At(107, row{"b", 3, ""}), in.At(110, row{"a", 4, ""}), wm(110), in.At(119, row{"a", 9, ""}), in.At(103, row{"a", 9, ""}),
				wm(119), in.At(120, row{"a", 5, ""}), wm(500),
			}
		}),
		one("dedupe by processing time", "a1 b2 a4", func(in input, g *pipeline.Graph) {
			text(pipeline.Dedupe(byKey(in, g), "once", 10*ms, pipeline.ProcessingTimeDomain))
		}, func(in input) steps {
			return steps{
				now(100), in.At(1, row{"a", 1, ""}), now(104), in.At(2, row{"a", 2, ""}, row{"b", 2, ""}),
				now(109), in.At(3, row{"a", 3, ""}, row{"b", 3, ""}), now(110), in.At(4, row{"a", 4, ""}, row{"b", 4, ""}),
			}
		}),
		// Each key's last result; a part goes on when its interval ends.
		one("aggregate in two stages", "18/4 7/1 12/1 32/5", func(in input, g *pipeline.Graph) {
			text(last(pipeline.AggregateTwoStage(byKey(in, g), "mean", pipeline.TwoStage{Salts: 3, Interval: 10 * ms}, mean, sumCodec)))
		}, func(in input) steps {
			return steps{
				in.At(1, row{"a", 3, ""}, row{"a", 5, ""}, row{"a", 9, ""}, row{"b", 7, ""}), in.At(9, row{"a", 1, ""}), wm(5), wm(9),
				in.At(11, row{"a", 14, ""}, row{"c", 12, ""}), wm(30),
			}
		}),
	}
}

// last passes, of each key's running results, those that complete it: how often
// the second stage emits depends on how parts arrive.
func last(s *pipeline.Stream[string]) *pipeline.Stream[string] {
	return pipeline.Filter(s, "complete", func(v string) bool {
		return v == "18/4" || v == "7/1" || v == "12/1" || v == "32/5"
	})
}

const ms = time.Millisecond

// two is a case with two inputs.
func two(name, want string, build func(a, b input, g *pipeline.Graph), steps func(a, b input) []pipelinetest.Step) pipelinetest.Case {
	a, b := pipelinetest.NewInput[row]("first"), pipelinetest.NewInput[row]("second")
	return pipelinetest.Case{
		Name: name, Want: map[string]string{"out": want}, Steps: steps(a, b),
		Build: func(g *pipeline.Graph) { build(a, b, g) },
	}
}

func connected() []pipelinetest.Case {
	return []pipelinetest.Case{
		two("coMap", "3 5 x y", func(a, b input, g *pipeline.Graph) {
			text(pipeline.CoMap(a.Stream(g).Codec(rowCodec), b.Stream(g).Codec(rowCodec), "co",
				func(r row) string { return fmt.Sprint(r.n) }, func(r row) string { return r.word }))
		}, func(a, b input) steps {
			return steps{a.At(1, row{"a", 3, "u"}), b.At(1, row{"b", 9, "x"}), wm(1), a.At(2, row{"a", 5, "v"}), b.At(2, row{"a", 9, "y"})}
		}),
		// The first stream adds up, the second asks; a timer tells and forgets.
		two("coProcess", "a=3 a=8 b=0 a:8@14 b:7@20 p:a9@50 a=9", func(a, b input, g *pipeline.Graph) {
			text(pipeline.CoProcess(pipeline.Connect(byKey(a, g), byKey(b, g)), "shared", func(s *pipeline.Setup[string]) pipeline.CoFunction[string, row, row, string] {
				total := pipeline.Table(s, "total", codec.Codec[int64](codec.Int64{}))
				return pipeline.CoFunction[string, row, row, string]{
					First: func(r row, c *pipeline.KeyedCtx[string], _ func(string)) {
						n, fresh := total.Ref(c.Key())
						*n += r.n
						if fresh {
							c.EventTimer(c.Timestamp + 10)
						}
					},
					Second: func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
						n, _ := total.Get(c.Key())
						emit(fmt.Sprintf("%s=%d", c.Key(), n))
						if r.word == "timer" {
							c.ProcessingTimer(50)
						}
					},
					EventTimer: func(ts int64, c *pipeline.KeyedCtx[string], emit func(string)) {
						n, _ := total.Get(c.Key())
						emit(fmt.Sprintf("%s:%d@%d", c.Key(), n, ts))
						total.Delete(c.Key())
					},
					ProcessingTimer: func(ts int64, c *pipeline.KeyedCtx[string], emit func(string)) {
						n, _ := total.Get(c.Key())
						emit(fmt.Sprintf("p:%s%d@%d", c.Key(), n, ts))
					},
				}
			}))
		}, func(a, b input) steps {
			return steps{
				now(1), a.At(4, row{"a", 3, ""}), wm(4), b.At(5, row{"a", 0, ""}, row{"b", 0, ""}), wm(5), a.At(6, row{"a", 5, ""}), wm(7),
				b.At(9, row{"a", 0, ""}), wm(9), a.At(10, row{"b", 7, ""}), wm(19), a.At(15, row{"a", 9, ""}), wm(20), b.At(21, row{"a", 0, "timer"}), wm(21), now(49), now(50), now(51),
			}
		}),
	}
}

func broadcast() []pipelinetest.Case {
	// A rule is a word that is put behind a key's numbers above the rule's.
	load := func(a, b input) steps {
		return steps{
			a.At(1, row{"a", 5, ""}), wm(1), b.At(2, row{"r", 3, "big"}), b.From(1, 2, row{"s", 7, "huge"}), wm(2),
			a.At(3, row{"a", 5, ""}, row{"b", 9, ""}, row{"c", 1, ""}), wm(3), b.At(4, row{"s", 0, ""}), wm(4),
			a.At(5, row{"a", 9, ""}, row{"b", 1, ""}), a.From(2, 5, row{"c", 9, ""}), wm(20),
		}
	}
	put := func(rules *pipeline.BroadcastState[string, row], r row, c *pipeline.BroadcastCtx) {
		if r.word == "" {
			rules.Delete(c, r.key)
		} else {
			rules.Put(c, r.key, r)
		}
	}
	return []pipelinetest.Case{
		two("broadcast state", "a5:big b9:big b9:huge a9:big c9:big 1 1 1 a:3@11 b:2@13 c:2@13", func(a, b input, g *pipeline.Graph) {
			out := pipeline.ProcessBroadcast(byKey(a, g), b.Stream(g).Codec(rowCodec).Parallelism(1), "rules", func(s *pipeline.Setup[string]) pipeline.BroadcastFunction[string, row, row, string] {
				rules := pipeline.Broadcasted(s, "rules", codec.Codec[string](codec.StringView{}), rowCodec)
				seen := pipeline.Table(s, "seen", codec.Codec[int64](codec.Int64{}))
				return pipeline.BroadcastFunction[string, row, row, string]{
					Element: func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
						n, fresh := seen.Ref(c.Key())
						if *n++; fresh {
							c.EventTimer(c.Timestamp + 10)
						}
						rules.Each(func(_ string, rule row) bool {
							if r.n > rule.n {
								emit(r.String() + ":" + rule.word)
							}
							return true
						})
					},
					Broadcast: func(r row, c *pipeline.BroadcastCtx, _ func(string)) { put(rules, r, c) },
					EventTimer: func(ts int64, c *pipeline.KeyedCtx[string], emit func(string)) {
						n, _ := seen.Get(c.Key())
						emit(fmt.Sprintf("%s:%d@%d", c.Key(), n, ts))
						emit(fmt.Sprint(rules.Len()))
					},
				}
			})
			text(out)
		}, load),
		two("enrichment by broadcast", "a5? a5+r3 b9+r3", func(a, b input, g *pipeline.Graph) {
			text(join.Enrich(a.Stream(g).Codec(rowCodec), b.Stream(g).Codec(rowCodec), "enrich", func(row) string { return "r" }, keyOf, func(r row) bool { return r.n == 0 }, codec.StringView{}, rowCodec,
				join.Functions[row, row, string]{
					Both: func(l, r row) string { return fmt.Sprintf("%v+%s%d", l, r.key, r.n) },
					Left: func(l row) string { return l.String() + "?" },
				}))
		}, func(a, b input) steps {
			return steps{a.At(1, row{"a", 5, ""}), wm(1), b.At(2, row{"r", 3, "big"}), wm(2), a.At(3, row{"a", 5, ""}), a.From(3, 3, row{"b", 9, ""}), wm(3)}
		}),
	}
}

func asynchronous() (all []pipelinetest.Case) {
	for _, unordered := range []bool{false, true} {
		name := map[bool]string{false: "async, ordered", true: "async, unordered"}[unordered]
		all = append(all, one(name, "a3x@1 a3x a5y@1 a5y b7z@1 b7z a1u@2 a1u a1v@3 a1v a9w@4 a9w b7w@4 b7w", func(in input, g *pipeline.Graph) {
			asked := pipeline.AsyncMap(in.Stream(g).Codec(rowCodec), "ask", pipeline.Async{Capacity: 2, Unordered: unordered}, func(_ context.Context, r row) ([]row, error) {
				return []row{r, {r.key, r.n, r.word + "@"}}, nil
			}, nil).Codec(rowCodec)
			// A result has its record's event time.
			text(pipeline.Process(pipeline.KeyBy(asked, keyOf), "time", func(*pipeline.Setup[string]) pipeline.Function[string, row, string] {
				return pipeline.Function[string, row, string]{Element: func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
					if strings.HasSuffix(r.word, "@") {
						emit(fmt.Sprintf("%v%d", r, c.Timestamp))
					} else {
						emit(r.String())
					}
				}}
			}))
		}, some))
	}
	return all
}
