package pipelinetest_test

import (
	"fmt"
	"log"
	"time"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/pipeline/window"
)

// A job's operators are tried by hand: values go in with an event time, the
// watermark and the clock move when the test says so, and what has come out is
// there at once. No broker, no engine, no waiting.
func ExampleHarness() {
	var t example // in a test it is the test's own t

	type view struct{ page, who string }
	views := pipelinetest.NewInput[view]("views")
	var counts pipelinetest.Output[string]
	var tooLate pipelinetest.Output[view]
	late := pipeline.NewTag[view]("late")

	h := pipelinetest.NewHarness(t, pipelinetest.Options{Parallelism: 2}, func(g *pipeline.Graph) {
		byPage := pipeline.KeyBy(views.Stream(g).Codec(pipelinetest.Kept(views)), func(v view) string { return v.page })
		w := window.On(byPage, window.TumblingEventTime(10*time.Second)).SideOutputLate(late)
		out := window.AggregateWith(w, "count", window.Count[view](), func(c *window.Context[string], n int64, emit func(string)) {
			emit(fmt.Sprintf("%s: %d views until %d s", c.Key(), n, c.Window().End/1000))
		})
		counts.To(out, "counts", nil)
		tooLate.To(pipeline.Side(out, late).Codec(pipelinetest.Kept(views)), "late", nil)
	})

	h.Do(
		views.At(1000, view{"home", "ann"}, view{"home", "bob"}),
		views.At(12_000, view{"home", "cid"}),
		pipelinetest.Watermark(9998),
	)
	fmt.Println("before the watermark:", counts.Take())
	h.Restart(4) // a snapshot, and on from it at another parallelism
	h.Do(pipelinetest.Watermark(9999))
	fmt.Println("behind it:", counts.Take())
	h.Do(views.At(2000, view{"home", "dan"}))
	fmt.Println("late:", tooLate.Take())
	// Output:
	// before the watermark: []
	// behind it: [home: 2 views until 10 s]
	// late: [{home dan}]
}

type example struct{}

func (example) Helper()                        {}
func (example) Cleanup(func())                 {}
func (example) Fatal(args ...any)              { log.Fatal(args...) }
func (example) Fatalf(format string, a ...any) { log.Fatalf(format, a...) }
