package pipelinetest_test

import (
	"fmt"
	"slices"
	"strings"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/pipeline/window"
)

// windows are the cases of package window: what is in each window of a key, as
// "a[0,10)=1,9", from rows whose number is their event time.
func windows() []pipelinetest.Case {
	contents := func(a window.Assigner) func(in input, g *pipeline.Graph) {
		return func(in input, g *pipeline.Graph) {
			w := window.On(byKey(in, g), a)
			text(window.Process(w, "window", func(c *window.Context[string], vs []row, emit func(string)) {
				var ns []string
				for _, v := range vs {
					ns = append(ns, fmt.Sprint(v.n))
				}
				slices.Sort(ns)
				emit(fmt.Sprintf("%s[%d,%d)=%s", c.Key(), c.Window().Start, c.Window().End, strings.Join(ns, ",")))
			}))
		}
	}
	counts := func(a window.Assigner) func(in input, g *pipeline.Graph) {
		return func(in input, g *pipeline.Graph) {
			text(window.AggregateWith(window.On(byKey(in, g), a), "window", window.Count[row](), func(c *window.Context[string], n int64, emit func(string)) {
				emit(fmt.Sprintf("%s%d:%d", c.Key(), c.Window().End, n))
			}))
		}
	}
	load := func(in input) steps {
		return steps{
			at(in, 1, "a"), at(in, 12, "a"), at(in, 5, "b"), wm(4), at(in, 9, "a"), wm(9), at(in, 15, "b"), at(in, 4, "a"),
			wm(14), at(in, 31, "a"), wm(100),
		}
	}
	return []pipelinetest.Case{
		one("window, tumbling", "a[0,10)=1,9 b[0,10)=5 a[10,20)=12 b[10,20)=15 a[30,40)=31", contents(window.TumblingEventTime(10*ms)), load),
		one("window, tumbling count", "a10:2 b10:1 a20:1 b20:1 a40:1", counts(window.TumblingEventTime(10*ms)), load),
		one("window, sliding count", "a10:2 b10:1 a15:3 b15:1 a20:1 b20:1 b25:1 a35:1 a40:1", counts(window.SlidingEventTime(10*ms, 5*ms)),
			func(in input) steps {
				return steps{
					at(in, 6, "a"), at(in, 12, "a"), at(in, 5, "b"), wm(4), at(in, 9, "a"), wm(9), at(in, 15, "b"),
					wm(14), at(in, 31, "a"), wm(100),
				}
			}),
		one("window, session", "a[1,22)=1,12,9 b[5,15)=5 b[15,25)=15 a[31,41)=31", contents(window.EventTimeSession(10*ms)), func(in input) steps {
			return steps{
				at(in, 1, "a"), at(in, 12, "a"), at(in, 5, "b"), wm(4), at(in, 9, "a"), wm(15), at(in, 15, "b"), wm(20), at(in, 31, "a"), wm(100),
			}
		}),
		one("window, count", "a:1,12 a:4,9 b:15,5", func(in input, g *pipeline.Graph) {
			text(window.Process(window.On(byKey(in, g), window.CountTumbling(2)), "window", func(c *window.Context[string], vs []row, emit func(string)) {
				ns := []string{fmt.Sprint(vs[0].n), fmt.Sprint(vs[1].n)}
				slices.Sort(ns)
				emit(fmt.Sprintf("%s:%s", c.Key(), strings.Join(ns, ",")))
			}))
		}, load),
	}
}
