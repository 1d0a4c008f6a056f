package report

import (
	"strings"
	"testing"

	"streamduel/runs"
)

func badCellOf(engine, policy string, b *runs.BadInput) runs.Cell {
	c := runs.Cell{Scenario: "bad", Workload: "ysb", Engine: engine, Guarantee: "exactly-once", Variant: []string{"badInput=" + policy}, BadInput: b}
	if b.Failed == nil {
		c.Records = &runs.Records{Sent: new(int64(1000)), Visible: new(int64(300)), Late: new(int64(0)), Bad: b.Sent,
			Filtered: new(int64(680)), Losses: new(int64(0)), Duplicates: new(int64(0)), Unexpected: new(int64(0))}
	}
	return c
}

// TestBadInputIsAFinding: what each policy did, exactly, with the first record of
// each kind; one dead letter too few is not passed over.
func TestBadInputIsAFinding(t *testing.T) {
	kinds := map[string]int64{"undecodable": 12, "far-ahead": 8}
	sample := runs.BadSample{Split: "t/1", Position: 1700, Reason: "the record does not decode", Value: "!x\n", Kind: "undecodable"}
	build := func(lost int64) []*group {
		cells := []runs.Cell{
			badCellOf("microbatch", "fail", &runs.BadInput{Sent: new(int64(1)), Kinds: map[string]int64{"undecodable": 1}, Records: new(int64(1)), Failed: new(true), FailedBy: &sample}),
			badCellOf("microbatch", "drop", &runs.BadInput{Sent: new(int64(20)), Kinds: kinds, Records: new(int64(20)), Samples: []runs.BadSample{sample, sample}}),
			badCellOf("dataflow", "dead-letter", &runs.BadInput{Sent: new(int64(20)), Kinds: kinds, Records: new(int64(25)), DeadLetters: new(20 - lost), Duplicates: new(int64(2)), Losses: &lost, Unexpected: new(int64(0))}),
		}
		return groupCells(cells, stylesOf(cells))
	}
	groups := build(0)
	f, ok := badFinding(groups)
	for _, want := range []string{
		"microbatch, exactly-once, badInput=fail: failed the job, as asked, at split t/1, position 1700: the record does not decode;",
		"microbatch, exactly-once, badInput=drop: 20 dropped, by the engine's count of 20;",
		"dataflow, exactly-once, badInput=dead-letter: 20 of 20 kept as dead letters, and 2 once more.",
	} {
		if !ok || f.Status != statusGood || !strings.Contains(f.Sentence, want) {
			t.Errorf("%v %q\n%s\nwant …%s", ok, f.Status, f.Sentence, want)
		}
	}
	if got := strings.Join(badTable(groups).Rows[2].Cells, " | "); got != "dataflow | badInput=dead-letter | exactly-once | 20 | far-ahead 8, undecodable 12 | 25 | 20 | 2 | 0 | 0 | ran on" {
		t.Errorf("row %s", got)
	}
	if rows := badSampleTable(groups).Rows; len(rows) != 1 || strings.Join(rows[0].Cells, " | ") != `microbatch | undecodable | t/1 | 1,700 | the record does not decode | "!x\n"` {
		t.Errorf("samples %+v", rows)
	}
	var c concerns
	for _, g := range groups {
		for _, e := range g.engines {
			for _, cell := range e.cells {
				c.badInput(cell)
			}
		}
	}
	if len(c.all) > 0 {
		t.Errorf("bad input that was asked for is a concern: %+v", c.all)
	}
	if l := (lateCell{cell: groups[1].engines[0].cells[0]}); l.unaccounted() != 0 || l.eligible() != 300 {
		t.Errorf("%d unaccounted, %d eligible", l.unaccounted(), l.eligible())
	}
	if f, _ := badFinding(build(3)); f.Status != statusBad || !strings.Contains(f.Sentence, "17 of 20 kept as dead letters, and 2 once more, 3 lost. That is not what the scenario asks for") {
		t.Errorf("%q %s", f.Status, f.Sentence)
	}
	if _, ok := badFinding(lateGroups(0)); ok {
		t.Error("a finding where no record was bad")
	}
}

// TestACrashCountsDeadLettersToo: the catalogue speaks of all outputs of an input.
func TestACrashCountsDeadLettersToo(t *testing.T) {
	c := runs.Cell{Crash: &runs.Crash{Expected: &runs.Expected{Duplicates: new(int64(7)), Losses: new(int64(0))}},
		Records:  &runs.Records{Duplicates: new(int64(5)), Losses: new(int64(0))},
		BadInput: &runs.BadInput{Duplicates: new(int64(2)), Losses: new(int64(0))}}
	if predicted(&c) != asPredicted || *copies(&c) != 7 {
		t.Errorf("%v, %d copies", predicted(&c), *copies(&c))
	}
	if c.BadInput = nil; predicted(&c) != otherThanPredicted {
		t.Error("five copies pass for seven")
	}
}
