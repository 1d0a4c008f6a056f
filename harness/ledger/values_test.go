package ledger

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"streamduel/runs"
	"streamduel/workloads"
)

// aggregate makes the rows of a perfect engine that emits after every step
// inputs, all keys that changed: increments, running values, or, at the end,
// one row a window. counted says how often an input counts; nil means once.
func (f *fixture) aggregate(step int64, counted func(i int64) int64) []Observation {
	type acc struct {
		key    []byte
		window int64
		value  int64
		hash   uint64
	}
	var rows []Observation
	cells := map[string]*acc{}
	var order []string
	emit := func() {
		slices.Sort(order)
		for _, id := range order {
			a := cells[id]
			rows = append(rows, Observation{Row: workloads.Row{Key: a.key, Window: a.window, Value: a.value, IDHash: a.hash, HasHash: true}})
			if f.kind == workloads.Delta {
				a.value, a.hash = 0, 0
			}
		}
		order = order[:0]
	}
	for i := range f.n {
		n := int64(1)
		if counted != nil {
			n = counted(i)
		}
		p, s := f.plan.Locate(i)
		id := string(f.key(i))
		if f.kind == workloads.Windows {
			id += string(rune(f.window(i) / 10_000))
		}
		if n > 0 {
			a := cells[id]
			if a == nil {
				a = &acc{key: f.key(i), window: f.window(i)}
				cells[id] = a
			}
			a.value += n
			a.hash += uint64(n) * workloads.HashID(p, s)
			if !slices.Contains(order, id) {
				order = append(order, id)
			}
		}
		if f.kind != workloads.Windows && (i+1)%step == 0 {
			emit()
		}
	}
	emit()
	return rows
}

var aggregates = []workloads.AccountingKind{workloads.Delta, workloads.Running, workloads.Windows}

func TestPerfectAggregates(t *testing.T) {
	for _, kind := range aggregates {
		f := newFixture(t, kind, 3, 5, 25_000) // 25 s: three windows a key
		rows := f.aggregate(7, nil)
		r := f.judge(t, f.ledger(t, true), rows)
		want(t, r, figures{Visible: 25_000})
		if r.Samples != 25_000 || r.SamplesDue != 25_000 || r.Rows != int64(len(rows)) || r.Expected != 25_000 {
			t.Errorf("%s: samples %d of %d, rows %d, expected %d", kind, r.Samples, r.SamplesDue, r.Rows, r.Expected)
		}
		rec := r.Records(nil)
		if rec.Reordered != nil || rec.StateLosses != nil || (rec.StateOvercount == nil) != (kind == workloads.Delta) || *rec.Losses != 0 {
			t.Errorf("%s: records %+v", kind, rec)
		}
	}
}

// TestAggregateErrors injects inputs that count twice or not at all, in
// different keys, and copies of rows.
func TestAggregateErrors(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t, rapid.SampledFrom(aggregates).Draw(rt, "kind"), rapid.IntRange(1, 4).Draw(rt, "partitions"),
			rapid.Int64Range(2, 9).Draw(rt, "keys"), rapid.Int64Range(40, 400).Draw(rt, "records"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 2))
		lost, twice := map[int64]bool{}, map[int64]bool{}
		// Key 0 forgets inputs, key 1 counts some twice.
		for range rapid.IntRange(0, 5).Draw(rt, "lost") {
			lost[rng.Int64N(f.n)/f.keys*f.keys] = true
		}
		for range rapid.IntRange(0, 5).Draw(rt, "twice") {
			if i := rng.Int64N(f.n)/f.keys*f.keys + 1; i < f.n {
				twice[i] = true
			}
		}
		rows := f.aggregate(rapid.Int64Range(1, 30).Draw(rt, "step"), func(i int64) int64 {
			switch {
			case lost[i]:
				return 0
			case twice[i]:
				return 2
			}
			return 1
		})
		w := figures{Losses: int64(len(lost)), Visible: f.n - int64(len(lost))}
		if f.kind == workloads.Delta {
			w.Duplicates = int64(len(twice))
		} else {
			w.StateOvercount = int64(len(twice))
		}
		// Copies: a replay of rows as they were, to the end so that last values
		// stay right.
		if rapid.Bool().Draw(rt, "replay") {
			again := slices.Clone(rows[rng.IntN(len(rows)):])
			rows = append(rows, again...)
			for _, o := range again {
				if f.kind == workloads.Delta {
					w.Duplicates += o.Value
				} else {
					w.Duplicates++
				}
			}
		}
		l := f.ledger(t, true)
		l.Observe(f.after(), rows)
		r := l.Finish(f.sent)
		if err := r.Balanced(); err != nil {
			rt.Fatalf("counts do not add up: %v", err)
		}
		want(rt, r, w)
	})
}

// TestMaskedAggregates: one input counted twice and another of the same key not
// at all give the right value. Only the hash of ids tells.
func TestMaskedAggregates(t *testing.T) {
	for _, kind := range aggregates {
		f := newFixture(t, kind, 2, 3, 90)
		rows := f.aggregate(90, func(i int64) int64 {
			return map[int64]int64{30: 2, 33: 0}[i] + map[bool]int64{true: 0, false: 1}[i == 30 || i == 33]
		})
		w := figures{Visible: 89, Losses: 1, Masked: 1, StateOvercount: 1}
		if kind == workloads.Delta {
			w.StateOvercount, w.Duplicates = 0, 1
		}
		want(t, f.judge(t, f.ledger(t, true), rows), w)
		// Without the hash there is nothing to see: this is why rows carry it.
		for i := range rows {
			rows[i].HasHash, rows[i].IDHash = false, 0
		}
		want(t, f.judge(t, f.ledger(t, true), rows), figures{Visible: 90})
	}
}

// TestPartlyMasked: more copies than losses, or the other way round, in one key.
func TestPartlyMasked(t *testing.T) {
	for _, c := range []struct {
		twice, lost []int64
		explained   bool
	}{
		{[]int64{30}, nil, true},
		{nil, []int64{33}, true},
		{[]int64{30, 36}, nil, true},
		{[]int64{30, 36, 39}, nil, true},
		{[]int64{30, 36}, []int64{33}, true},
		{[]int64{30}, []int64{33, 60}, true},
		{nil, []int64{33, 60, 63}, true},
		{[]int64{30, 36, 39}, []int64{33, 60}, false}, // one more than is seen
		{[]int64{0, 3, 6, 9, 12}, nil, false},
	} {
		f := newFixture(t, workloads.Running, 2, 3, 90)
		rows := f.aggregate(90, func(i int64) int64 {
			switch {
			case slices.Contains(c.twice, i):
				return 2
			case slices.Contains(c.lost, i):
				return 0
			}
			return 1
		})
		r := f.judge(t, f.ledger(t, true), rows)
		copies, losses := int64(len(c.twice)), int64(len(c.lost))
		w := figures{Visible: 90 - losses, StateOvercount: copies, Losses: losses}
		if copies > 0 && losses > 0 {
			w.Masked = 1
		}
		if !c.explained {
			cancelled := min(copies, losses)
			w = figures{Visible: 90 - losses + cancelled, StateOvercount: copies - cancelled, Losses: losses - cancelled}
		}
		want(t, r, w)
		if (r.Unproven == 0) != c.explained {
			t.Errorf("%v: unproven %d", c, r.Unproven)
		}
		if c.explained && (int64(len(r.Anomalies[StateOvercount])) != copies || int64(len(r.Anomalies[Losses])) != losses) {
			t.Errorf("%v: listed %v", c, r.Anomalies)
		}
		for _, a := range r.Anomalies[Losses] {
			if i, ok := f.plan.Index(a.Partition, a.Sequence); c.explained && (!ok || !slices.Contains(c.lost, i)) {
				t.Errorf("input %d is called lost, %v are", i, c.lost)
			}
		}
	}
}

func TestMissingAndUnknownWindows(t *testing.T) {
	f := newFixture(t, workloads.Windows, 2, 2, 20_000)
	rows := f.aggregate(1, nil)
	if len(rows) != 4 {
		t.Fatalf("%d rows", len(rows))
	}
	rows[0].Window = 990_000 // a window of another time: one lost, one invented
	w := figures{Visible: 15_000, Losses: 5000, Unexpected: 1}
	want(t, f.judge(t, f.ledger(t, true), rows), w)
}

// TestLateRecordsLeaveTheOracle: sent = in results + late + lost.
func TestLateRecordsLeaveTheOracle(t *testing.T) {
	f := newFixture(t, workloads.Windows, 2, 2, 20_000)
	late := func(i int64) bool { return i%100 == 42 }
	rows := f.aggregate(1, func(i int64) int64 {
		if late(i) || i == 1000 {
			return 0
		}
		return 1
	})
	for i := range f.n {
		if late(i) && i != 142 {
			o := f.row(i, 0)
			o.Late = true
			rows = append(rows, o)
		}
	}
	r := f.judge(t, f.ledger(t, true), rows)
	// Input 1000 was dropped, input 142 was late and never reported.
	want(t, r, figures{Visible: 19_799, Late: 199, Losses: 2})
	if r.Sent != r.Visible+r.Late+r.Losses {
		t.Errorf("%d sent", r.Sent)
	}
}

// TestLateEpochOfTheLoad: the load was stopped earlier than the plan said when
// inputs were evaluated on the way.
func TestInputsThatWereNeverSent(t *testing.T) {
	f := newFixture(t, workloads.Running, 2, 2, 1000)
	rows := f.aggregate(1, nil)
	f.sent[0] -= 3
	rows = rows[:len(rows)-6]
	r := f.judge(t, f.ledger(t, true), rows)
	// The last six inputs lie three and three in the partitions; partition 1's
	// were sent and had no row.
	want(t, r, figures{Visible: 994, Losses: 3})
	if r.Expected != 997 {
		t.Errorf("expected %d", r.Expected)
	}
}

// TestUpdateShowsEveryInput: one row with the value n makes n inputs visible,
// each late by its own schedule.
func TestUpdateShowsEveryInput(t *testing.T) {
	f := newFixture(t, workloads.Running, 1, 1, 100) // a record each millisecond
	l := f.ledger(t, true)
	row := func(v int64) []Observation {
		return []Observation{{Row: workloads.Row{Key: f.key(0), Value: v}}}
	}
	l.Observe(49e6, row(50)) // inputs 0 … 49: 49 ms … 0
	l.Observe(59e6, row(40)) // an older value shows nothing new
	l.Observe(99e6, row(100))
	var got Interval
	if err := l.Flush(100e6, func(i Interval) error {
		got = i
		if n := i.Histogram.TotalCount(); n != 100 {
			t.Errorf("%d latencies", n)
		}
		if m := i.Histogram.ValueAtQuantile(100); m < 48e6 || m > 50e6 {
			t.Errorf("largest %d", m)
		}
		// Two equal ramps from 0 to 49 ms.
		if m := i.Histogram.Mean(); m < 24e6 || m > 25e6 {
			t.Errorf("mean %.0f", m)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got.Kind != runs.EventLatency || got.Phase != "steady" || got.To != 100e6 {
		t.Errorf("%+v", got)
	}
	if c := l.Counts(); c.Clipped.Low != 2 || c.Samples != 100 { // those due at the very moment
		t.Errorf("%+v", c)
	}
}

func TestValuesThatDoNotCountInputs(t *testing.T) {
	f := newFixture(t, workloads.Running, 1, 2, 10)
	acc := workloads.Accounting{Kind: workloads.Running, Oracle: func() workloads.Oracle { return weighted{f} }}
	l, err := New(Config{Plan: f.plan, Accounting: acc, Generator: f, Latency: true})
	if err != nil {
		t.Fatal(err)
	}
	l.Phase("steady", 0)
	rows := []Observation{
		{Row: workloads.Row{Key: f.key(0), Value: 50}},
		{Row: workloads.Row{Key: f.key(1), Value: 27}},
	}
	r := f.judge(t, l, rows)
	want(t, r, figures{Visible: 9, Losses: 1})
	if r.Inexact != 1 {
		t.Errorf("inexact %d", r.Inexact)
	}
}

// weighted is an oracle whose contributions are worth ten each.
type weighted struct{ f *fixture }

func (w weighted) Add(in workloads.Input, payload []byte, late bool, emit func([]byte, int64, int64)) {
	w.f.Add(in, payload, late, func(k []byte, window, v int64) { emit(k, window, 10*v) })
}

// stopper is an oracle that stops the load while it is being asked, as the load
// process does on a machine that is behind.
type stopper struct {
	plan  interface{ Stop(limit int64) error }
	asked int64
}

func (s *stopper) Append(dst []byte, _ workloads.Input) (value, key []byte)  { return dst, nil }
func (s *stopper) Closing(dst []byte, _ workloads.Input) (value, key []byte) { return dst, nil }

func (s *stopper) Add(in workloads.Input, _ []byte, _ bool, emit func(key []byte, window, value int64)) {
	if s.asked++; s.asked == 50 {
		_ = s.plan.Stop(60)
	}
	emit([]byte("k"), 0, 1)
}

// TestALoadThatStopsMeanwhile: the oracle is asked of no record behind the last one,
// closing records among them, when the load's end becomes known while it is asked.
func TestALoadThatStopsMeanwhile(t *testing.T) {
	p := grownPlan(t)
	s := &stopper{plan: p}
	l, err := New(Config{Plan: p, Latency: true, Generator: s,
		Accounting: workloads.Accounting{Kind: workloads.Delta, Oracle: func() workloads.Oracle { return s }}})
	if err != nil {
		t.Fatal(err)
	}
	l.Phase("steady", 0)
	if err := l.Flush(10e9, nil); err != nil || s.asked != 60 {
		t.Errorf("asked of %d records of 60, %v", s.asked, err)
	}
}
