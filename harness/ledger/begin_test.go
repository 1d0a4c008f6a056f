package ledger

import (
	"math"
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

// TestLatenciesBeginThereToo: a load that has been going on for 40 ms when the job
// begins behind it. The first value is the 41st input's, not the first one's.
func TestLatenciesBeginThereToo(t *testing.T) {
	for _, x := range []struct {
		late    bool // told when some inputs were evaluated and a row was seen
		n       int64
		longest float64
	}{{false, 10, 20e6}, {true, 8, 18e6}} {
		f := newFixture(t, workloads.Running, 1, 1, 100) // a record each millisecond
		l := f.ledger(t, true)
		if x.late {
			l.Observe(50e6, []Observation{{Row: workloads.Row{Key: f.key(0), Value: 2}}})
			if err := l.Flush(50e6, nil); err != nil {
				t.Fatal(err)
			}
		}
		l.Begin(map[int32]int64{0: 40})
		l.Observe(60e6, []Observation{{Row: workloads.Row{Key: f.key(0), Value: 10}}})
		var longest, n int64
		if err := l.Flush(60e6, func(i Interval) error {
			longest, n = i.Histogram.Max(), n+i.Histogram.TotalCount()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		// Inputs 40 … 49 are due at 40 … 49 ms.
		if n != x.n || math.Abs(float64(longest)-x.longest) > x.longest/100 {
			t.Errorf("told late %v: %d latencies, the longest %d ns, want %d of at most %v", x.late, n, longest, x.n, x.longest)
		}
		if v := l.Counts().Visible; v != 10 {
			t.Errorf("%d visible", v)
		}
	}
}
