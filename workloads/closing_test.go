package workloads_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/pipeline/window"
	"streamduel/workloads"
)

// When every partition has closed, the watermark has passed every window of the
// load and reached the moment at which closing records show; before the first
// has, it has not.
func TestHorizon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, delay := rapid.Int64Range(1, 100_000).Draw(t, "size"), rapid.Int64Range(0, 100_000).Draw(t, "delay")
		h := workloads.Horizon{After: time.Duration(size) * time.Millisecond, Delay: time.Duration(delay) * time.Millisecond}
		last := rapid.Int64Range(-1e12, 1e13).Draw(t, "last")
		closing := h.ClosingTime(last)
		watermark := closing - delay - 1
		fires := window.StartOf(last, 0, size) + size - 1
		if fires > h.Shows(closing) || h.Shows(closing) > watermark {
			t.Fatalf("the last window fires at %d, closing records show at %d, the watermark ends at %d", fires, h.Shows(closing), watermark)
		}
		if h.Shows(closing) <= last-delay-1 {
			t.Fatalf("closing records show at %d, before the load has ended at %d", h.Shows(closing), last)
		}
	})
}

// A partition shows when the watermark has come so far, also behind a restart,
// and once.
func TestClosings(t *testing.T) {
	h := workloads.Horizon{After: 10 * time.Second, Delay: time.Second}
	in := pipelinetest.NewInput[int32]("closing")
	var out pipelinetest.Output[int32]
	job := pipelinetest.NewHarness(t, pipelinetest.Options{Parallelism: 2}, func(g *pipeline.Graph) {
		out.To(workloads.Closings(in.Stream(g), "end", h, func(p int32) int32 { return p }), "out", nil)
	})
	at := h.ClosingTime(5000)
	job.Do(in.From(0, at, 0), in.From(1, at, 1), in.From(2, at+100, 2), pipelinetest.Watermark(h.Shows(at)-1))
	if early := out.Take(); len(early) > 0 {
		t.Errorf("shown too early: %v", early)
	}
	job.Restart(3)
	job.Do(pipelinetest.Watermark(h.Shows(at)))
	got := out.Take()
	slices.Sort(got)
	if !slices.Equal(got, []int32{0, 1}) {
		t.Errorf("shown are %v, want 0 and 1", got)
	}
	job.Do(in.From(3, at-1000, 3)) // behind the watermark
	if got := out.Take(); !slices.Equal(got, []int32{3}) {
		t.Errorf("behind the watermark shown are %v, want 3", got)
	}
	job.Do(pipelinetest.Watermark(at))
	if got := out.Take(); !slices.Equal(got, []int32{2}) {
		t.Errorf("then %v, want 2", got)
	}
}
