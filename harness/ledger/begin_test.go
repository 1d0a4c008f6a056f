package ledger

import (
	"testing"

	"streamduel/workloads"
)

// TestWhatLiesBeforeTheStartIsNoLoss: the job was to begin in the middle of a
// partition. What lies before is not missed, and must not be seen.
func TestWhatLiesBeforeTheStartIsNoLoss(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 2, 4, 100)
	l := f.ledger(t, true)
	l.Begin(map[int32]int64{0: 20, 1: 5})
	var rows []Observation
	for _, o := range f.perfect() {
		if o.Sequence >= l.begin(o.Partition) && (o.Partition != 1 || o.Sequence != 30) {
			rows = append(rows, o)
		}
	}
	rows = append(rows, f.row(0, 1)) // partition 0, sequence 0
	r := f.judge(t, l, rows)
	want(t, r, figures{Visible: 74, Losses: 1, Unexpected: 1, Reordered: 1})
	if r.BeforeStart != 25 || r.Expected != 75 {
		t.Errorf("%d before the start, %d expected", r.BeforeStart, r.Expected)
	}
	if got := *r.Records(nil).BeforeStart; got != 25 {
		t.Errorf("the summary has %d", got)
	}
}

// TestAnOracleBeginsThereToo: the sums are those of what lies behind the start.
func TestAnOracleBeginsThereToo(t *testing.T) {
	f := newFixture(t, workloads.Delta, 1, 1, 100)
	l := f.ledger(t, true)
	l.Begin(map[int32]int64{0: 40})
	r := f.judge(t, l, []Observation{{Row: workloads.Row{Key: f.key(0), Value: 59}}})
	want(t, r, figures{Visible: 59, Losses: 1})
	if r.BeforeStart != 40 {
		t.Errorf("%d before the start", r.BeforeStart)
	}
}
