package join_test

import (
	"testing"

	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/join"
	"streamduel/pipeline/pipelinetest"
)

// TestAsOfForgetsKeysWithoutVersions: a key whose rows have all found that there
// is no version leaves nothing, also where one watermark passes several of its
// rows and the timers of the later ones find nothing to do.
func TestAsOfForgetsKeysWithoutVersions(t *testing.T) {
	times := []int64{30, 10, 20}
	read := func(g *pipeline.Graph, name string) *pipeline.Keyed[int64, sale] {
		s := pipeline.From(g, name, pipelinetest.Source{Name: name}, func(r *connectors.Record) (sale, error) {
			return sale{key: 1, ts: times[r.Offset]}, nil
		}, pipeline.EventTime(func(s sale) int64 { return s.ts }, pipeline.Watermarks{})).Codec(saleCodec)
		return pipeline.KeyBy(s, func(s sale) int64 { return s.key })
	}
	g := pipeline.New("as of")
	alone := 0
	out := join.AsOf(read(g, "left"), read(g, "versions"), "join", nil, join.Functions[sale, sale, int64]{
		Both: func(sale, sale) int64 { return 1 }, Left: func(sale) int64 { alone++; return 0 },
	})
	pipeline.To(out, "out", pipelinetest.Sink{Name: "out"}, func(int64, *connectors.Record) {})
	h := pipelinetest.New(t, g, pipelinetest.Options{})
	size := func() (n int) {
		for _, parts := range h.Snapshot() {
			for _, b := range parts {
				n += len(b)
			}
		}
		return n
	}
	before := size()
	b := &connectors.Batch{Split: pipelinetest.Split(0), Records: []connectors.Record{{Offset: 0}, {Offset: 1}, {Offset: 2}}}
	if err := h.Push("left", b); err != nil {
		t.Fatal(err)
	}
	if err := h.Watermark(100); err != nil {
		t.Fatal(err)
	}
	if after := size(); alone != 3 || after != before {
		t.Errorf("%d rows alone, want 3; the state takes %d bytes, %d before", alone, after, before)
	}
}
