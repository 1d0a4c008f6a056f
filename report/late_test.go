package report

import (
	"strings"
	"testing"

	"streamduel/runs"
)

func lateGroups(unaccounted int64) []*group {
	cell := func(engine, policy string, late int64) runs.Cell {
		return runs.Cell{
			Scenario: "catch-up", Workload: "ysb", Engine: engine, Guarantee: "at-least-once", Variant: []string{"watermark=" + policy},
			Records: &runs.Records{Sent: new(int64(3000)), Visible: new(1000 - late - unaccounted), Late: new(late), Filtered: new(int64(2000)), Losses: new(int64(0))},
		}
	}
	cells := []runs.Cell{cell("microbatch", "spark", 125), cell("dataflow", "min", 0)}
	return groupCells(cells, stylesOf(cells))
}

// TestLateRecordsAreSetSideBySide: a sentence over all cells of a scenario, a row
// for each, and a count that does not add up is not passed over.
func TestLateRecordsAreSetSideBySide(t *testing.T) {
	groups := lateGroups(0)
	f, ok := lateFinding(groups)
	want := "Behind the watermark, so in no window: microbatch, watermark=spark dropped 125 of 1,000 (12.5 %). " +
		"Nothing was late under dataflow, watermark=min. Results, late, filtered and lost records add up to what was sent, exactly, in 2 cells."
	if !ok || f.Sentence != want || f.Status != statusGood {
		t.Errorf("%v %q\n%s", ok, f.Status, f.Sentence)
	}
	table := lateTable(groups)
	if got := strings.Join(table.Rows[0].Cells, " | "); got != "microbatch | watermark=spark | at-least-once | 3,000 | 875 | 125 | 12.5 % | 2,000 | 0 | 0" {
		t.Errorf("row %s", got)
	}
	groups = lateGroups(3)
	if f, _ := lateFinding(groups); f.Status != statusBad || !strings.Contains(f.Sentence, "do not add up") {
		t.Errorf("%q %s", f.Status, f.Sentence)
	}
	if r := lateTable(groups).Rows[0]; r.Status != statusBad || r.Cells[9] != "3" {
		t.Errorf("row %+v", r)
	}
	if _, ok := lateFinding(groups[1:]); ok {
		t.Error("a finding where nothing was late")
	}
}

// TestBadInputIsNamed: how much, and the first of it with place and reason.
func TestBadInputIsNamed(t *testing.T) {
	var c concerns
	sample := runs.BadSample{Split: "t/1", Position: 17, Reason: "the record does not decode"}
	c.cell(&runs.Cell{ID: "a", Verdict: runs.Pass, BadInput: &runs.BadInput{Records: new(int64(1200)), Samples: []runs.BadSample{sample, sample}}})
	if len(c.all) != 1 || c.all[0].Level != levelWarning || c.all[0].Where[0] != "a: 1,200 records" ||
		c.all[0].Where[1] != "a: split t/1, position 17: the record does not decode" {
		t.Errorf("%+v", c.all)
	}
}

// TestBeforeTheStart: records before where a job was to begin are accounted for.
func TestBeforeTheStart(t *testing.T) {
	cells := []runs.Cell{{
		Scenario: "start-position", Engine: "dataflow", Guarantee: "exactly-once",
		Records: &runs.Records{Sent: new(int64(3000)), Visible: new(int64(2400)), Late: new(int64(100)), Filtered: new(int64(0)), Losses: new(int64(0)), BeforeStart: new(int64(500))},
	}}
	groups := groupCells(cells, stylesOf(cells))
	if f, ok := lateFinding(groups); !ok || f.Status != statusGood || !strings.Contains(f.Sentence, "dropped 100 of 2,500") {
		t.Errorf("%v %q %s", ok, f.Status, f.Sentence)
	}
	table := lateTable(groups)
	if got := table.Rows[0].Cells; table.Head[len(got)-1] != "Before the start" || got[len(got)-1] != "500" || got[len(got)-2] != "0" {
		t.Errorf("%v\n%v", table.Head, got)
	}
}

// TestRowsThatAreReplaced: what an output mode puts out again is no copy; what is
// lost in such a cell is.
func TestRowsThatAreReplaced(t *testing.T) {
	cell := func(mode string, duplicates, losses int64) runs.Cell {
		return runs.Cell{
			Scenario: "output-rows", Engine: "microbatch", Guarantee: "at-least-once", Config: map[string]any{"outputMode": mode},
			Records: &runs.Records{Sent: new(int64(1000)), Duplicates: new(duplicates), Losses: new(losses)},
		}
	}
	for _, c := range []struct {
		cells  []runs.Cell
		status string
		want   string
	}{
		{[]runs.Cell{cell("complete", 200, 0), cell("update", 7, 0), cell("append", 0, 0)}, statusGood, "none was duplicated and none was lost. In 2 cells the output mode"},
		{[]runs.Cell{cell("append", 7, 0)}, statusBad, "7 copies came too often"},
		{[]runs.Cell{cell("update", 7, 2)}, statusBad, "0 copies came too often and 2 never came"},
	} {
		f, ok := countsFinding(groupCells(c.cells, stylesOf(c.cells)))
		if !ok || f.Status != c.status || !strings.Contains(f.Sentence, c.want) {
			t.Errorf("%v %q %s", ok, f.Status, f.Sentence)
		}
	}
}
