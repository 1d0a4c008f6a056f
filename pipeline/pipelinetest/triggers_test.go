package pipelinetest_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/pipeline/window"
)

// numbers writes the contents of each window as "a:1,12", bounded ones as
// "a[0,10)=1,12".
func numbers(w *window.Windowed[string, row], bounded bool) *pipeline.Stream[string] {
	return window.Process(w, "window", func(c *window.Context[string], vs []row, emit func(string)) {
		var ns []string
		for _, v := range vs {
			ns = append(ns, fmt.Sprint(v.n))
		}
		slices.Sort(ns)
		if bounded {
			emit(fmt.Sprintf("%s[%d,%d)=%s", c.Key(), c.Window().Start, c.Window().End, strings.Join(ns, ",")))
		} else {
			emit(c.Key() + ":" + strings.Join(ns, ","))
		}
	})
}

type rowWindows = window.Windowed[string, row]

// windowOptions are the cases of what can be set about a window.
func windowOptions() (all []pipelinetest.Case) {
	load := func(in input) steps {
		return steps{
			at(in, 1, "a"), at(in, 12, "a"), at(in, 5, "b"), wm(4), at(in, 9, "a"), wm(9), at(in, 15, "b"), at(in, 4, "a"),
			wm(14), at(in, 31, "a"), wm(100),
		}
	}
	sliding := func(in input) steps {
		return steps{
			at(in, 6, "a"), at(in, 12, "a"), at(in, 5, "b"), wm(4), at(in, 9, "a"), wm(9), at(in, 15, "b"), wm(14), at(in, 31, "a"), wm(100),
		}
	}
	four := func(in input) steps {
		return steps{at(in, 1, "a"), wm(0), at(in, 12, "a"), at(in, 9, "a"), wm(1), at(in, 4, "a")}
	}
	apart := func(a, b row) float64 { return math.Abs(float64(a.n - b.n)) }
	add := func(acc, r row) row { return row{acc.key, acc.n + r.n, ""} }
	on := func(a window.Assigner, set func(*rowWindows) *rowWindows, bounded bool) func(input, *pipeline.Graph) {
		return func(in input, g *pipeline.Graph) {
			w := window.On(byKey(in, g), a)
			if set != nil {
				w = set(w)
			}
			text(numbers(w, bounded))
		}
	}
	tumbling := window.TumblingEventTime(10 * ms)
	all = append(all,
		one("window, reduce", "a10 b5 a12 b15 a31", func(in input, g *pipeline.Graph) {
			text(window.Reduce(window.On(byKey(in, g), tumbling), "sum", add))
		}, load),
		one("window, reduce with its window", "a10:10 b10:5 a20:12 b20:15 a40:31", func(in input, g *pipeline.Graph) {
			text(window.ReduceWith(window.On(byKey(in, g), tumbling), "sum", add, func(c *window.Context[string], v row, emit func(string)) {
				emit(fmt.Sprintf("%s%d:%d", c.Key(), c.Window().End, v.n))
			}))
		}, load),
		one("window, reduce with an inverse", "a15 b5 a27 b5 a12 b15 b15 a31 a31", func(in input, g *pipeline.Graph) {
			text(window.ReduceInverse(window.On(byKey(in, g), window.SlidingEventTime(10*ms, 5*ms)), "sum", add,
				func(acc, gone row) row { return row{acc.key, acc.n - gone.n, ""} }))
		}, sliding),
		one("window, aggregate", "2 1 1 1 1", func(in input, g *pipeline.Graph) {
			text(window.Aggregate(window.On(byKey(in, g), tumbling), "count", window.Count[row]()))
		}, load),
		one("window, offset", "a[-7,3)=1 b[3,13)=5 a[3,13)=12,4,9 b[13,23)=15 a[23,33)=31", on(tumbling.Offset(3*ms), nil, true), load),
		one("window, gaps", "a[0,5)=1 a[10,15)=12 a[30,35)=31", on(window.SlidingEventTime(5*ms, 10*ms).WithGaps(), nil, true), load),
		one("window, dynamic sessions", "a[1,11)=10,3 a[20,22)=2", func(in input, g *pipeline.Graph) {
			text(numbers(window.OnDynamicSessions(byKey(in, g), window.EventTime, func(r row) time.Duration { return time.Duration(r.n) * ms }), true))
		}, func(in input) steps {
			return steps{in.At(1, row{"a", 10, ""}), in.At(5, row{"a", 3, ""}), wm(4), in.At(20, row{"a", 2, ""}), wm(10), wm(100)}
		}),
		one("window, count sliding", "a:1,12 a:12,4,9", on(window.CountSliding(3, 2), nil, false), four),
	)
	late := one("window, lateness", "a[0,10)=1 a[0,10)=1,4 a[0,10)=1,4,5", func(in input, g *pipeline.Graph) {
		tag := pipeline.NewTag[row]("late")
		s := numbers(window.On(byKey(in, g), tumbling).AllowedLateness(10*ms).SideOutputLate(tag), true)
		text(s)
		pipelinetest.Text(pipeline.Side(s, tag).Codec(rowCodec), "late")
	}, func(in input) steps {
		return steps{at(in, 1, "a"), wm(9), at(in, 4, "a"), wm(18), at(in, 5, "a"), wm(19), at(in, 6, "a"), wm(100)}
	})
	late.Want["late"] = "a6"
	all = append(all, late)

	for _, c := range []struct {
		name, want string
		trigger    window.Trigger[row]
	}{
		{"count", "a:1,12 a:1,12,4,9", window.CountTrigger[row](2)},
		{"purging count", "a:1,12 a:4,9", window.PurgingTrigger(window.CountTrigger[row](2))},
		{"delta", "a:1,12 a:1,12,4,9", window.DeltaTrigger(5, apart)},
		{"never", "", window.NeverTrigger[row]()},
	} {
		all = append(all, one("trigger, "+c.name, c.want, on(window.Global(), func(w *rowWindows) *rowWindows { return w.Trigger(c.trigger) }, false), four))
	}
	for _, c := range []struct {
		name, want string
		evictor    window.Evictor[row]
	}{
		{"count", "a:1 a:1,12 a:12,9 a:4,9", window.CountEvictor[row](2)},
		{"count, behind the function", "a:1 a:1,12 a:12,9 a:4,9", window.CountEvictor[row](1).AfterFunction()},
		{"time", "a:1 a:12 a:12,9 a:12,9", window.TimeEvictor[row](5 * ms)},
		{"delta", "a:1 a:12 a:12,9 a:4", window.DeltaEvictor(5, apart)},
	} {
		all = append(all, one("evictor, "+c.name, c.want, on(window.Global(), func(w *rowWindows) *rowWindows {
			return w.Trigger(window.CountTrigger[row](1)).Evict(c.evictor)
		}, false), four))
	}
	return append(all, timed()...)
}

// timed are the cases of windows and triggers by time, of either kind.
func timed() []pipelinetest.Case {
	set := func(a window.Assigner, t window.Trigger[row]) func(input, *pipeline.Graph) {
		return func(in input, g *pipeline.Graph) {
			text(numbers(window.On(byKey(in, g), a).Trigger(t), true))
		}
	}
	plain := func(a window.Assigner) func(input, *pipeline.Graph) {
		return func(in input, g *pipeline.Graph) { text(numbers(window.On(byKey(in, g), a), true)) }
	}
	put := func(in input, n int64) pipelinetest.Step { return in.At(n, row{"a", n, ""}) }
	return []pipelinetest.Case{
		one("trigger, event time", "a[0,20)=1,13,9", set(window.TumblingEventTime(20*ms), window.EventTimeTrigger[row]()), func(in input) steps {
			return steps{at(in, 1, "a"), wm(4), at(in, 9, "a"), at(in, 13, "a"), wm(18), wm(19)}
		}),
		one("trigger, continuous event time", "a[0,20)=1,9 a[0,20)=1,9 a[0,20)=1,13,9 a[0,20)=1,13,9",
			set(window.TumblingEventTime(20*ms), window.ContinuousEventTimeTrigger[row](5*ms)), func(in input) steps {
				return steps{at(in, 1, "a"), wm(4), at(in, 9, "a"), wm(5), wm(12), at(in, 13, "a"), wm(19)}
			}),
		one("window, tumbling in processing time", "a[0,10)=1,2 a[10,20)=3", plain(window.TumblingProcessingTime(10*ms)), func(in input) steps {
			return steps{now(1), put(in, 1), put(in, 2), now(10), put(in, 3), now(25)}
		}),
		one("window, sliding in processing time", "a[-5,5)=1 a[0,10)=1,2 a[5,15)=2", plain(window.SlidingProcessingTime(10*ms, 5*ms)), func(in input) steps {
			return steps{now(1), put(in, 1), now(5), put(in, 2), now(20)}
		}),
		one("window, session in processing time", "a[1,15)=1,2 a[14,24)=3", plain(window.ProcessingTimeSession(10*ms)), func(in input) steps {
			return steps{now(1), put(in, 1), now(5), put(in, 2), now(14), put(in, 3), now(30)}
		}),
		one("trigger, processing time", "a[0,10)=1,2", set(window.TumblingProcessingTime(10*ms), window.ProcessingTimeTrigger[row]()), func(in input) steps {
			return steps{now(1), put(in, 1), now(8), put(in, 2), now(9)}
		}),
		one("trigger, continuous processing time", "a[0,10)=1 a[0,10)=1,2", set(window.TumblingProcessingTime(10*ms), window.ContinuousProcessingTimeTrigger[row](5*ms)), func(in input) steps {
			return steps{now(1), put(in, 1), now(5), put(in, 2), now(9)}
		}),
	}
}

// further are operators in the forms that the others are made of.
func further() []pipelinetest.Case {
	return []pipelinetest.Case{
		one("flatMap with memory of its own", "a3 a5 b7 a1 a1 a9 b7", func(in input, g *pipeline.Graph) {
			text(pipeline.FlatMapWith(in.Stream(g).Codec(rowCodec), "scratch", func() func(row, func(string)) {
				var scratch []byte
				return func(r row, emit func(string)) {
					scratch = fmt.Appendf(scratch[:0], "%s%d", r.key, r.n)
					emit(string(scratch))
				}
			}))
		}, some),
		two("coFlatMap", "3 3 x", func(a, b input, g *pipeline.Graph) {
			text(pipeline.CoFlatMap(a.Stream(g).Codec(rowCodec), b.Stream(g).Codec(rowCodec), "co",
				func(r row, emit func(string)) { emit(fmt.Sprint(r.n)); emit(fmt.Sprint(r.n)) },
				func(r row, emit func(string)) { emit(r.word) }))
		}, func(a, b input) steps { return steps{a.At(1, row{"a", 3, "u"}), wm(1), b.At(2, row{"b", 9, "x"})} }),
		two("map by broadcast", "a5:0 a5:1 b6:1", func(a, b input, g *pipeline.Graph) {
			text(pipeline.MapBroadcast(a.Stream(g).Codec(rowCodec), b.Stream(g).Codec(rowCodec), "rules", codec.Codec[string](codec.StringView{}), rowCodec,
				func(r row, rules *pipeline.BroadcastState[string, row], emit func(string)) {
					emit(fmt.Sprintf("%v:%d", r, rules.Len()))
				},
				func(r row, rules *pipeline.BroadcastState[string, row], c *pipeline.BroadcastCtx) {
					rules.Put(c, r.key, r)
				}))
		}, func(a, b input) steps {
			return steps{a.At(1, row{"a", 5, ""}), wm(1), b.At(2, row{"r", 3, "big"}), wm(2), a.At(3, row{"a", 5, ""}), a.From(1, 3, row{"b", 6, ""})}
		}),
		one("an operator of one's own", "a1 a2 b1 a3 a4 a5 b2", func(in input, g *pipeline.Graph) {
			text(pipeline.Operate(byKey(in, g), "count", func(s *pipeline.Setup[string], next pipeline.Receiver[string]) pipeline.Operator[row] {
				counts := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
				return pipeline.Operator[row]{Element: func(r row, c *pipeline.Ctx) {
					n, _ := counts.Ref(r.key)
					*n++
					next(fmt.Sprintf("%s%d", r.key, *n), c)
				}}
			}))
		}, some),
	}
}
