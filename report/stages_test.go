package report

import (
	"strings"
	"testing"

	"streamduel/runs"
)

// TestStages: plain and two-stage aggregation stand side by side for each
// engine, with what the hottest task has to do.
func TestStages(t *testing.T) {
	cell := func(engine, label string, p99 float64, busy map[string]float64) *runs.Cell {
		return &runs.Cell{Scenario: "hot-key", Engine: engine, Variant: []string{label}, Phases: []runs.Phase{{Name: "warmup"}, {Name: "steady"}},
			LatencyMillis: &runs.LatencyMillis{Event: map[string]runs.Latency{"steady": {P50: p99 / 2, P99: p99}}}, Busy: busy}
	}
	groups := []*group{
		{scenario: "hot-key", engines: []engineCells{{"dataflow", []*runs.Cell{cell("dataflow", plainLabel, 1900, map[string]float64{"sum (1/2)": 0.9, "sum (2/2)": 0.3, "events": 0.1})}}}},
		{scenario: "hot-key", engines: []engineCells{{"dataflow", []*runs.Cell{cell("dataflow", stagesLabel, 60, map[string]float64{"sum parts (1/2)": 0.5, "sum parts (2/2)": 0.5})}}}},
	}
	f, ok := stagesFinding(groups)
	if !ok || !strings.Contains(f.Sentence, "dataflow: two stages bring p99 from") || len(f.Values) != 2 ||
		!strings.Contains(f.Values[0].Figure, "1.50 × the mean") || !strings.Contains(f.Values[1].Figure, "1.00 × the mean") {
		t.Errorf("%v %+v", ok, f)
	}
	if _, ok := stagesFinding(groups[:1]); ok {
		t.Error("there is nothing to compare with")
	}
}
