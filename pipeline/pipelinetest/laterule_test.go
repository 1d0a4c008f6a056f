package pipelinetest_test

import (
	"slices"
	"testing"
	"time"

	"streamduel/pipeline"
	"streamduel/pipeline/join"
	"streamduel/pipeline/pipelinetest"
	"streamduel/pipeline/window"
)

// TestTheLateRule pins which records are late when 10,000 ms is the largest event
// time and the watermark's delay is a second (docs/event-time.md).
//
// A watermark here is Flink's, 8,999: no record at or before it is expected.
// Spark's is 9,000. Windows come to the same in both: [8000, 9000) is closed. A
// join without windows does not: Flink takes a row that is not behind its
// watermark, from 8,999 on, and Spark filters out what is not after its own, up
// to 9,000.
func TestTheLateRule(t *testing.T) {
	const (
		largest   = 10_000
		delay     = 1_000
		watermark = largest - delay - 1 // pipeline.Watermarks{Delay: time.Second}
		sparks    = largest - delay
	)
	pass := func(t *testing.T, build func(g *pipeline.Graph, in *pipelinetest.Input[int64]) *pipeline.Stream[int64]) (passed []int64) {
		in := pipelinetest.NewInput[int64]("in")
		var out pipelinetest.Output[int64]
		h := pipelinetest.NewHarness(t, pipelinetest.Options{}, func(g *pipeline.Graph) { out.To(build(g, in), "out", nil) })
		h.Do(in.At(largest, largest), pipelinetest.Watermark(watermark))
		out.Take()
		for _, ts := range []int64{sparks - 2, sparks - 1, sparks, sparks + 1} {
			h.Do(in.At(ts, ts))
		}
		h.Do(pipelinetest.Watermark(20_000))
		passed = out.Take()
		slices.Sort(passed)
		return passed
	}
	one := func(int64) int64 { return 1 }
	joined := pass(t, func(g *pipeline.Graph, in *pipelinetest.Input[int64]) *pipeline.Stream[int64] {
		// A left outer join with an interval in which there is nothing shows every
		// left row that is not late.
		left := in.Stream(g)
		right := pipeline.Filter(left, "none", func(int64) bool { return false })
		return join.Between(pipeline.KeyBy(left, one), pipeline.KeyBy(right, one), "join", join.Interval{}, join.Functions[int64, int64, int64]{
			Both: func(a, _ int64) int64 { return a }, Left: func(a int64) int64 { return a },
		})
	})
	if want := []int64{sparks - 1, sparks, sparks + 1, largest}; !slices.Equal(joined, want) {
		t.Errorf("joined %v, want %v: of these Spark drops those up to %d", joined, want, sparks)
	}
	counted := pass(t, func(g *pipeline.Graph, in *pipelinetest.Input[int64]) *pipeline.Stream[int64] {
		w := window.On(pipeline.KeyBy(in.Stream(g), one), window.TumblingEventTime(time.Second))
		return window.Process(w, "windows", func(_ *window.Context[int64], vs []int64, emit func(int64)) {
			for _, v := range vs {
				emit(v)
			}
		})
	})
	if want := []int64{sparks, sparks + 1, largest}; !slices.Equal(counted, want) {
		t.Errorf("in windows %v, want %v, as in Spark", counted, want)
	}
}
