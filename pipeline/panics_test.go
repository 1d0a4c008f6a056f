package pipeline_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

// TestPanicPlaceIsTheUsersLine: of a panic by hand, and of one that the runtime
// makes of a mistake.
func TestPanicPlaceIsTheUsersLine(t *testing.T) {
	var none map[string]int
	for name, f := range map[string]func(){
		"by hand": func() { panic("boom") },
		"nil map": func() { none["x"] = 1 },
		"index":   func() { _ = []int{}[len(none)] },
	} {
		place := func() (place string) {
			defer func() {
				_ = recover()
				place = pipeline.PanicPlace()
			}()
			f()
			return ""
		}()
		if !regexp.MustCompile(`^pipeline/panics_test\.go:\d+$`).MatchString(place) {
			t.Errorf("%s: the place is %q", name, place)
		}
	}
	if place := pipeline.PanicPlace(); place != "" {
		t.Errorf("without a panic the place is %q", place)
	}
}

// TestAPanicInARequestFailsTheJob, by the operator's name, and does not take the
// process with it.
func TestAPanicInARequestFailsTheJob(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Minute} {
		g := pipeline.New("ask")
		asked := pipeline.AsyncMap(numbers(g, "in"), "rates", pipeline.Async{Timeout: timeout}, func(context.Context, int64) ([]int64, error) {
			panic("no rates")
		}, nil)
		toText(asked, "out")
		h := pipelinetest.New(t, g, pipelinetest.Options{})
		err := h.Push("in", numberBatch(pipelinetest.Split(0), 1))
		if err == nil {
			err = h.Settle()
		}
		if err == nil || !strings.Contains(err.Error(), `operator "rates"`) || !strings.Contains(err.Error(), "panic: no rates (pipeline/panics_test.go:") {
			t.Errorf("timeout %s: %v", timeout, err)
		}
	}
}
