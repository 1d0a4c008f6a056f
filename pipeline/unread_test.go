package pipeline_test

import (
	"fmt"
	"slices"
	"testing"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

// TestUnreadSideOutputsAreTold: with the first record that one is given, once; of one
// that is read, or is given nothing, nothing is said.
func TestUnreadSideOutputsAreTold(t *testing.T) {
	odd, even, never := pipeline.NewTag[int64]("odd"), pipeline.NewTag[int64]("even"), pipeline.NewTag[int64]("never")
	g := pipeline.New("sides")
	in := numbers(g, "in")
	split := pipeline.Process(pipeline.KeyBy(in, func(v int64) int64 { return v }), "split", func(s *pipeline.Setup[int64]) pipeline.Function[int64, int64, int64] {
		odds, evens := pipeline.Emitter(s, odd), pipeline.Emitter(s, even)
		pipeline.Emitter(s, never)
		return pipeline.Function[int64, int64, int64]{Element: func(v int64, _ *pipeline.KeyedCtx[int64], emit func(int64)) {
			if emit(v); v%2 == 0 {
				evens(v)
			} else {
				odds(v)
			}
		}}
	})
	toText(split, "out")
	toText(pipeline.Side(split, even), "evens")
	var told []string
	h := pipelinetest.New(t, g, pipelinetest.Options{Unread: func(operator, side string) { told = append(told, operator+"/"+side) }})
	if err := h.Push("in", numberBatch(pipelinetest.Split(0), 2, 4)); err != nil || len(told) > 0 {
		t.Errorf("%v, told of %v", err, told)
	}
	if err := h.Push("in", numberBatch(pipelinetest.Split(0), 1, 3, 5)); err != nil || !slices.Equal(told, []string{"split/odd"}) {
		t.Errorf("%v, told of %v", err, told)
	}
	if got := fmt.Sprint(len(values(h, "out")), len(values(h, "evens"))); got != "5 2" {
		t.Errorf("%s outputs", got)
	}
}
