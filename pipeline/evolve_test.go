package pipeline_test

import (
	"strconv"
	"testing"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

// textKey writes numbers as text; wideKey writes them as they are and also reads
// what textKey wrote.
type textKey struct{ codec.String }

func (textKey) ID() string          { return "key/1" }
func (textKey) Clone(v int64) int64 { return v }
func (c textKey) Append(dst []byte, v int64) []byte {
	return c.String.Append(dst, strconv.FormatInt(v, 10))
}
func (c textKey) Decode(src []byte) (int64, int, error) {
	s, n, err := c.String.Decode(src)
	if err != nil {
		return 0, n, err
	}
	v, err := strconv.ParseInt(s, 10, 64)
	return v, n, err
}

type wideKey struct{ codec.Int64 }

func (wideKey) ID() string { return "key/2" }
func (wideKey) Reads(id string) codec.Codec[int64] {
	if id == "key/1" {
		return textKey{}
	}
	return nil
}

// TestTimersEvolveWithTheirKeys: what a key evolved from is read wherever keys are
// kept, in timers too.
func TestTimersEvolveWithTheirKeys(t *testing.T) {
	job := func(keys codec.Codec[int64]) *pipelinetest.Host {
		g := pipeline.New("timers")
		in := numbers(g, "in", pipeline.EventTime(func(v int64) int64 { return v }, pipeline.Watermarks{}))
		k := pipeline.KeyBy(in, func(v int64) int64 { return v % 10 }).KeyCodec(keys)
		out := pipeline.Process(k, "timed", func(s *pipeline.Setup[int64]) pipeline.Function[int64, int64, int64] {
			sums := pipeline.Table(s, "sum", codec.Codec[int64](codec.Int64{}))
			return pipeline.Function[int64, int64, int64]{
				Element: func(v int64, c *pipeline.KeyedCtx[int64], _ func(int64)) {
					sum, _ := sums.Ref(c.Key())
					*sum += v
					c.EventTimer(1000)
				},
				EventTimer: func(_ int64, c *pipeline.KeyedCtx[int64], emit func(int64)) {
					sum, _ := sums.Get(c.Key())
					emit(sum)
				},
			}
		})
		toText(out, "out")
		return pipelinetest.New(t, g, pipelinetest.Options{})
	}
	before := job(textKey{})
	if err := before.Push("in", numberBatch(pipelinetest.Split(0), 1, 11, 2)); err != nil {
		t.Fatal(err)
	}
	after := job(wideKey{})
	if err := after.Restore(before.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if err := after.Push("in", &connectors.Batch{Split: pipelinetest.Split(0), Records: []connectors.Record{{Value: []byte("21")}}}); err != nil {
		t.Fatal(err)
	}
	if err := after.Watermark(1000); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, v := range values(after, "out") {
		got[v] = true
	}
	if len(after.Output["out"]) != 2 || !got["33"] || !got["2"] {
		t.Errorf("the timers gave %v, want 33 and 2", values(after, "out"))
	}
}
