package report

import (
	"strings"
	"testing"

	"streamduel/runs"
)

// TestUnknownGate: a gate that this workload cannot answer is named with the
// reason, and is not counted among those that held.
func TestUnknownGate(t *testing.T) {
	cell := runs.Cell{ID: "steady.dataflow", Verdict: runs.Pass, Gates: []runs.Gate{
		{Expression: "records.duplicates == 0", OK: true, Value: new(runs.Elapsed(0))},
		{Expression: "records.losses == 0", Unknown: "the workload has no oracle"},
	}}
	var c concerns
	c.gates(&cell)
	if len(c.all) != 1 || c.all[0].Level != levelWarning || !strings.Contains(c.all[0].What, "the workload has no oracle") {
		t.Errorf("what needs attention: %+v", c.all)
	}
	said := summarySentence(&runs.Summary{Cells: []runs.Cell{cell}}, nil)
	if !strings.Contains(said, "All 1 gate held") || !strings.Contains(said, "1 gate could not be judged") {
		t.Errorf("the verdict says %q", said)
	}
}
