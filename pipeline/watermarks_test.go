package pipeline_test

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

// flinkGenerators is testdata/flink_watermark_generators.json: the known answers
// of Flink's own tests of its watermark generators and of its idleness timer,
// whose names and place it gives.
type flinkGenerators struct {
	Idleness []struct {
		Test    string `json:"test"`
		Timeout int64  `json:"timeout_ms"`
		Fails   bool   `json:"expect_error"`
		Steps   []map[string]any
	} `json:"idleness_timer"`
	Cases []struct {
		Test   string  `json:"test"`
		Delay  int64   `json:"out_of_orderness_ms"`
		Events []int64 `json:"events"`
		Probes int     `json:"probes"`
		Want   int64   `json:"expect_watermark"`
	} `json:"cases"`
}

func readFlinkGenerators(t *testing.T) (f flinkGenerators) {
	t.Helper()
	b, err := os.ReadFile("testdata/flink_watermark_generators.json")
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil || len(f.Cases) == 0 || len(f.Idleness) == 0 {
		t.Fatalf("%v: %+v", err, f)
	}
	return f
}

// sourceOf builds a job of one source with the given options.
func sourceOf(t *testing.T, opts ...pipeline.SourceOption[int64]) *pipelinetest.Host {
	t.Helper()
	g := pipeline.New("time")
	toText(numbers(g, "in", opts...), "out")
	return pipelinetest.New(t, g, pipelinetest.Options{})
}

func identity(v int64) int64 { return v }

// TestFlinkGenerators: bounded out-of-orderness and monotonous timestamps, as a
// source's setting and as a generator of its own, give what Flink's do.
func TestFlinkGenerators(t *testing.T) {
	for _, c := range readFlinkGenerators(t).Cases {
		delay := time.Duration(c.Delay) * time.Millisecond
		ways := map[string][]pipeline.SourceOption[int64]{
			"setting": {pipeline.EventTime(identity, pipeline.Watermarks{Delay: delay})},
			"generator": {pipeline.EventTime(identity, pipeline.Watermarks{}), pipeline.WatermarkGenerator(func() pipeline.Generator[int64] {
				return pipeline.BoundedOutOfOrderness[int64](delay)
			})},
		}
		if c.Delay == 0 {
			ways["monotonous"] = []pipeline.SourceOption[int64]{pipeline.EventTime(identity, pipeline.Watermarks{}),
				pipeline.WatermarkGenerator(pipeline.MonotonousTimestamps[int64])}
		}
		for way, opts := range ways {
			h := sourceOf(t, opts...)
			split := pipelinetest.Split(0)
			if err := h.Push("in", numberBatch(split, c.Events...)); err != nil {
				t.Fatal(err)
			}
			for range max(c.Probes, 1) {
				if got, _ := h.SplitWatermark("in", split); got != c.Want {
					t.Errorf("%s as %s: watermark %d, want %d", c.Test, way, got, c.Want)
				}
			}
		}
	}
}

func TestFlinkIdleTimer(t *testing.T) {
	for _, c := range readFlinkGenerators(t).Idleness {
		timer, err := pipeline.NewIdleTimer(time.Duration(c.Timeout) * time.Millisecond)
		if c.Fails {
			if err == nil {
				t.Errorf("%s: a timeout of %d ms is not refused", c.Test, c.Timeout)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", c.Test, err)
		}
		now := int64(0)
		for i, s := range c.Steps {
			if ms, ok := s["advance_ms"].(float64); ok {
				now += int64(ms) * int64(time.Millisecond)
			}
			if _, ok := s["activity"]; ok {
				timer.Activity()
			}
			want, checked := s["check"]
			if !checked {
				continue
			}
			if got := timer.Idle(now); want != nil && got != want.(bool) {
				t.Errorf("%s: step %d: idle %v, want %v", c.Test, i, got, want)
			}
		}
	}
}

func numberBatch(split connectors.Split, vs ...int64) *connectors.Batch {
	b := &connectors.Batch{Split: split}
	for i, v := range vs {
		b.Records = append(b.Records, connectors.Record{Value: []byte(strconv.FormatInt(v, 10)), Offset: int64(i)})
	}
	return b
}

// marks is a generator that does everything one may: a watermark by each
// multiple of ten, idleness at 99, and by the period what is five behind.
type marks struct{ seen int64 }

func (m *marks) OnEvent(v, ts int64, out *pipeline.WatermarkOutput) {
	m.seen = max(m.seen, ts)
	switch {
	case v == 99:
		out.MarkIdle()
	case v%10 == 0:
		out.Emit(ts)
	case v == 98:
		out.MarkActive()
	}
}

func (m *marks) OnPeriodic(out *pipeline.WatermarkOutput) {
	if m.seen == 57 {
		out.Emit(m.seen - 5)
	}
}

// TestGeneratorContract: OnEvent before the record goes on, OnPeriodic when asked,
// one generator a split, never back, and idle until it says otherwise.
func TestGeneratorContract(t *testing.T) {
	h := sourceOf(t, pipeline.EventTime(identity, pipeline.Watermarks{}),
		pipeline.WatermarkGenerator(func() pipeline.Generator[int64] { return &marks{} }))
	a, b := pipelinetest.Split(0), pipelinetest.Split(1)
	for _, c := range []struct {
		push int64
		want int64
		idle bool
	}{
		{1, pipeline.NoTime, false}, {50, 50, false}, {40, 50, false}, {57, 52, false}, {99, 52, true}, {98, 52, false}, {99, 52, true}, {60, 60, false},
	} {
		if err := h.Push("in", numberBatch(a, c.push)); err != nil {
			t.Fatal(err)
		}
		if got, idle := h.SplitWatermark("in", a); got != c.want || idle != c.idle {
			t.Errorf("behind %d: watermark %d idle %v, want %d %v", c.push, got, idle, c.want, c.idle)
		}
	}
	if got, _ := h.SplitWatermark("in", b); got != pipeline.NoTime {
		t.Errorf("the other split has %d", got)
	}
	h.SetSplitWatermark("in", b, 70)
	if err := h.Push("in", numberBatch(b, 10)); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.SplitWatermark("in", b); got != 70 {
		t.Errorf("a restored watermark went back to %d", got)
	}
}

// TestPunctuated: only records that say so move the watermark.
func TestPunctuated(t *testing.T) {
	h := sourceOf(t, pipeline.EventTime(identity, pipeline.Watermarks{}),
		pipeline.Punctuated(func(v, ts int64) (int64, bool) { return ts - 3, v%2 == 0 }))
	s := pipelinetest.Split(0)
	for _, c := range [][2]int64{{11, pipeline.NoTime}, {20, 17}, {31, 17}, {18, 17}, {40, 37}} {
		if err := h.Push("in", numberBatch(s, c[0])); err != nil {
			t.Fatal(err)
		}
		if got, _ := h.SplitWatermark("in", s); got != c[1] {
			t.Errorf("behind %d: %d, want %d", c[0], got, c[1])
		}
	}
}

// TestIngestionTime: records bear the time at which they came in, which does not
// fall when the clock does.
func TestIngestionTime(t *testing.T) {
	h := sourceOf(t, pipeline.IngestionTime[int64](pipeline.Watermarks{}))
	s := pipelinetest.Split(0)
	for _, c := range [][2]int64{{1000, 999}, {1500, 1499}, {1200, 1499}, {1501, 1500}} {
		if err := h.ProcessingTime(c[0]); err != nil {
			t.Fatal(err)
		}
		if err := h.Push("in", numberBatch(s, 7)); err != nil {
			t.Fatal(err)
		}
		if got, _ := h.SplitWatermark("in", s); got != c[1] {
			t.Errorf("at %d: watermark %d, want %d", c[0], got, c[1])
		}
	}
}

func TestTimeIsRefused(t *testing.T) {
	event := func(w pipeline.Watermarks) pipeline.SourceOption[int64] { return pipeline.EventTime(identity, w) }
	generator := pipeline.WatermarkGenerator(pipeline.MonotonousTimestamps[int64])
	for want, opts := range map[string][]pipeline.SourceOption[int64]{
		"a watermark delay of -1s would run ahead":               {event(pipeline.Watermarks{Delay: -time.Second})},
		"a watermark delay of 1µs is not whole milliseconds":     {event(pipeline.Watermarks{Delay: time.Microsecond})},
		"a watermark delay of 2000000h0m0s: at most 100 years":   {event(pipeline.Watermarks{Delay: 2_000_000 * time.Hour})},
		"an idle time of -1s":                                    {event(pipeline.Watermarks{Idle: -time.Second})},
		"event times -1s ahead":                                  {event(pipeline.Watermarks{Ahead: -time.Second})},
		"alignment with a drift of -1s":                          {event(pipeline.Watermarks{Align: pipeline.Alignment{Group: "g", MaxDrift: -time.Second}})},
		"alignment updated each -1s":                             {event(pipeline.Watermarks{Align: pipeline.Alignment{Group: "g", Update: -time.Second}})},
		"alignment needs a group's name":                         {event(pipeline.Watermarks{Align: pipeline.Alignment{MaxDrift: time.Second}})},
		"either EventTime or IngestionTime, not both":            {event(pipeline.Watermarks{}), pipeline.IngestionTime[int64](pipeline.Watermarks{})},
		"a watermark generator needs EventTime or IngestionTime": {generator},
		"a watermark delay has no meaning beside a generator":    {event(pipeline.Watermarks{Delay: time.Second}), generator},
		"EventTime needs a function that takes it from a value":  {pipeline.EventTime[int64](nil, pipeline.Watermarks{})},
	} {
		g := pipeline.New("time")
		toText(numbers(g, "in", opts...), "out")
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `source "in"`) {
			t.Errorf("%v\nwant source \"in\": …%s", err, want)
		}
	}
	g := pipeline.New("time")
	align := func(d time.Duration) pipeline.SourceOption[int64] {
		return event(pipeline.Watermarks{Align: pipeline.Alignment{Group: "g", MaxDrift: d}})
	}
	toText(pipeline.Union(numbers(g, "a", align(time.Second)), numbers(g, "b", align(time.Minute))), "out")
	if err := g.Check(); err == nil || !strings.Contains(err.Error(), `source "b": alignment group "g" has drift 1s and interval 1s at source "a", here 1m0s and 1s`) {
		t.Error(err)
	}
}
