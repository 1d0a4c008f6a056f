package ledger

import (
	"errors"
	"math"
	"strings"
	"testing"

	"streamduel/harness/plan"
	"streamduel/runs"
	"streamduel/workloads"
)

func TestNewErrors(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 1, 1, 1)
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "no plan"},
		{Config{Plan: f.plan, Accounting: workloads.Accounting{Kind: "sum"}}, "allowed are one-to-one, matches, delta, running, windows"},
		{Config{Plan: f.plan, Accounting: workloads.Accounting{Kind: workloads.Delta, Oracle: func() workloads.Oracle { return f }}}, "needs the generator"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

// grownPlan is a load that is not over: 1,000 records a second over two
// partitions, four from record 100 on.
func grownPlan(t *testing.T) *plan.Plan {
	p, err := plan.New(plan.Constant(rate), plan.Partitions("in", 2))
	if err != nil {
		t.Fatal(err)
	}
	p.Begin(0, 0)
	return p
}

func idRow(partition int32, sequence int64) Observation {
	return Observation{Row: workloads.Row{HasID: true, Partition: partition, Sequence: sequence}}
}

// TestRowsOfAnEpochNotHeardOf: the generator may use new partitions, and their
// results be seen, a moment before this side is told.
func TestRowsOfAnEpochNotHeardOf(t *testing.T) {
	p := grownPlan(t)
	l, err := New(Config{Plan: p, Accounting: workloads.Accounting{Kind: workloads.OneToOne}, Latency: true})
	if err != nil {
		t.Fatal(err)
	}
	l.Phase("steady", 0)
	var rows []Observation
	for i := range int64(100) {
		rows = append(rows, idRow(int32(i%2), i/2))
	}
	rows = append(rows, idRow(2, 0), idRow(3, 0)) // records 102 and 103
	l.Observe(110e6, rows)
	if c := l.Counts(); c.Visible != 102 || c.Unexpected != 0 || c.Samples != 100 {
		t.Errorf("before the epoch is known: %+v", c)
	}
	if _, err := p.Append(100, plan.Partitions("in", 4)); err != nil {
		t.Fatal(err)
	}
	l.Observe(120e6, []Observation{idRow(0, 50), idRow(1, 50)})
	if err := p.Stop(104); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(120e6, nil); err != nil {
		t.Fatal(err)
	}
	if n := l.VisibleFrom(2); n != 2 {
		t.Errorf("%d visible in the new partitions", n)
	}
	r := l.Finish([]int64{51, 51, 1, 1})
	want(t, r, figures{Visible: 104})
	if r.Samples != 104 || r.SamplesDue != 104 {
		t.Errorf("%d samples of %d", r.Samples, r.SamplesDue)
	}
	if at, ok := l.FirstResult(3); !ok || at != 110e6 || r.Partitions[3].FirstResult != at {
		t.Errorf("first result of partition 3 at %d, %v", at, ok)
	}
	if _, ok := l.FirstResult(4); ok {
		t.Error("a result of a partition that is not there")
	}
}

func TestDrained(t *testing.T) {
	p := grownPlan(t)
	l, err := New(Config{Plan: p, Accounting: workloads.Accounting{Kind: workloads.OneToOne}})
	if err != nil {
		t.Fatal(err)
	}
	closing := func(partition int32) []Observation {
		return []Observation{{Row: workloads.Row{Closing: true, Partition: partition}}}
	}
	l.Observe(1e9, closing(0))
	l.Observe(1e9, closing(1))
	if l.Drained() {
		t.Error("drained while the load goes on")
	}
	if _, err := p.Append(100, plan.Partitions("in", 3)); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(200); err != nil {
		t.Fatal(err)
	}
	if l.Drained() {
		t.Error("drained without the grown partition")
	}
	if u := l.Undrained(); len(u) != 1 || u[0] != 2 {
		t.Errorf("undrained %v", u)
	}
	l.Observe(1e9, closing(2))
	l.Observe(1e9, closing(2)) // a copy after a replay is no news
	if !l.Drained() || len(l.Undrained()) != 0 {
		t.Error("not drained")
	}
	if c := l.Counts(); c.Rows != 0 || c.Duplicates != 0 || c.Closings != 3 {
		t.Errorf("closing rows were counted: %+v", c)
	}
	// The closing record's own id in a plain row is no input's.
	l.Observe(1e9, []Observation{idRow(2, p.Sequences(2, 200))})
	if c := l.Counts(); c.Unexpected != 1 {
		t.Errorf("%+v", c)
	}
}

func TestFirstNewResult(t *testing.T) {
	p := grownPlan(t)
	both := [2]*Ledger{}
	for i := range both {
		var err error
		if both[i], err = New(Config{Plan: p, Accounting: workloads.Accounting{Kind: workloads.OneToOne}}); err != nil {
			t.Fatal(err)
		}
	}
	committed, uncommitted := both[0], both[1]
	// Input 0 is committed, input 1 was written and will be aborted.
	committed.Observe(1e9, []Observation{idRow(0, 0)})
	uncommitted.Observe(1e9, []Observation{idRow(0, 0), idRow(0, 1)})
	committed.WatchNew(2e9)
	uncommitted.WatchNewTo(2e9, committed)
	if _, ok := committed.FirstNew(); ok {
		t.Error("something new before anything came")
	}
	uncommitted.Observe(1.9e9, []Observation{idRow(1, 0)}) // seen before the restart
	uncommitted.Observe(3e9, []Observation{idRow(0, 0)})   // a replay of what was committed
	uncommitted.Observe(4e9, []Observation{idRow(0, 1)})   // in the place of the aborted row
	uncommitted.Observe(5e9, []Observation{idRow(0, 2)})
	committed.Observe(6e9, []Observation{idRow(0, 0)})
	committed.Observe(7e9, []Observation{idRow(0, 1)})
	if at, ok := uncommitted.FirstNew(); !ok || at != 4e9 {
		t.Errorf("first new row written at %d, %v", at, ok)
	}
	if at, ok := committed.FirstNew(); !ok || at != 7e9 {
		t.Errorf("first new row visible at %d, %v", at, ok)
	}
	// e of the crash catalogue: seen and at or after the restored position.
	if e := uncommitted.SeenFrom(0, 1); e != 2 {
		t.Errorf("e = %d", e)
	}
	if e := uncommitted.SeenFrom(7, 0); e != 0 {
		t.Errorf("e = %d in a partition that is not there", e)
	}
	if n := uncommitted.Missing(0, 0, 5); n != 2 {
		t.Errorf("%d missing of five", n)
	}
}

// TestPhasesByScheduledTime: a record that waited from one phase into the next
// counts where it was due.
func TestPhasesByScheduledTime(t *testing.T) {
	p := grownPlan(t)
	l, err := New(Config{Plan: p, Accounting: workloads.Accounting{Kind: workloads.OneToOne}, Latency: true})
	if err != nil {
		t.Fatal(err)
	}
	l.Phase("warmup", 10e6)
	l.Phase("fault", 50e6)
	var rows []Observation
	for i := range int64(100) { // due at 0 … 99 ms
		o := idRow(int32(i%2), i/2)
		o.Intake = p.Due(i) + 40e6
		rows = append(rows, o)
	}
	l.Observe(150e6, rows)
	rows[0].Sequence = 50 // due at 100 ms, seen half a microsecond after it
	l.Observe(100e6+500, rows[:1])
	rows[3].Sequence = 51 // due at 103 ms and seen before: clocks or plans disagree
	l.Observe(101e6, rows[3:4])
	rows[1].Sequence = 50
	l.Observe(101e6+2*runs.LatencyHighest, rows[1:2])
	counts := map[string]int64{}
	if err := l.Flush(200e6, func(i Interval) error {
		counts[i.Kind+"/"+i.Phase] = i.Histogram.TotalCount()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// The first ten were due before the first phase and belong to it.
	if counts["event/warmup"] != 50 || counts["event/fault"] != 53 || counts["processing/warmup"] != 50 {
		t.Errorf("samples %v", counts)
	}
	c := l.Counts().Clipped
	if c.Low != 1 || c.High != 2 || c.Negative != 1 { // two hours: its processing time is too long as well
		t.Errorf("clipped %+v", c)
	}
	if n := l.Phases(); len(n) != 2 || n[0].To != 50e6 || n[1].To != math.MaxInt64 {
		t.Errorf("phases %+v", n)
	}
	// A second flush has nothing left, and the first error is handed on.
	if err := l.Flush(300e6, func(Interval) error { t.Error("an empty interval"); return nil }); err != nil {
		t.Fatal(err)
	}
	rows[2].Sequence = 51
	l.Observe(150e6, rows[2:3])
	broken := errors.New("disk full")
	if err := l.Flush(400e6, func(Interval) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestMalformedRows(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 1, 1, 2)
	l := f.ledger(t, false)
	l.Malformed(1e9, 3, 17, errors.New("no comma"))
	l.Observe(f.after(), []Observation{{Row: workloads.Row{Key: []byte("k"), Value: 3}}}) // no id
	r := f.judge(t, l, f.perfect())
	want(t, r, figures{Visible: 2, Unexpected: 2})
	if r.Malformed != 1 || !strings.Contains(r.Anomalies[Unexpected][0].Detail, "output 3 offset 17 cannot be parsed: no comma") {
		t.Errorf("%+v", r.Anomalies)
	}
}

func TestAnomalyListsEnd(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 2, 3, 5000)
	r := f.judge(t, f.ledger(t, false), nil)
	want(t, r, figures{Losses: 5000})
	if n := len(r.Anomalies[Losses]); n != runs.AnomalyIDs {
		t.Errorf("%d losses listed", n)
	}
	led := r.Ledger(nil)
	if *led.Records.Losses != 5000 || led.Records.Consumed != nil || led.Records.StateLosses != nil {
		t.Errorf("%+v", led.Records)
	}
}

// TestMemory: ten minutes at 50,000/s must fit into a few hundred megabytes.
func TestMemory(t *testing.T) {
	f := newFixture(t, workloads.Running, 4, 1000, 500_000)
	l := f.ledger(t, false)
	before := l.Bytes()
	want(t, f.judge(t, l, f.perfect()), figures{Visible: 500_000})
	if per := float64(l.Bytes()-before) / 500_000; per > 8 {
		t.Errorf("%.1f bytes a record, 30 million of them are %.0f MB", per, per*30)
	}
}

func TestNoAllocation(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 4, 10, 40_000)
	l := f.ledger(t, false)
	rows := f.perfect()
	n := 0
	const poll = 100
	l.Observe(f.after(), rows[:10*poll]) // keys, lanes and pages are there now
	rows = rows[10*poll:]
	if avg := testing.AllocsPerRun(200, func() {
		l.Observe(f.after(), rows[n:n+poll])
		n += poll
	}); avg > 0 {
		t.Errorf("%v allocations a poll of %d rows", avg, poll)
	}
}
