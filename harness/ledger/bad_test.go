package ledger

import (
	"testing"

	"streamduel/connectors"
	"streamduel/harness/plan"
	"streamduel/pipeline"
	"streamduel/workloads"
)

// badFixture is a fixture of which about a tenth is bad input.
func badFixture(t *testing.T, kind workloads.AccountingKind, parts int, keys, n int64) (*fixture, []int64) {
	f := newFixture(t, kind, parts, keys, n)
	shape := plan.Constant(rate)
	shape.Bad = plan.Bad{Share: 0.1, Kinds: []workloads.BadKind{workloads.Undecodable, workloads.FarAhead}}
	p, err := plan.New(shape, plan.Partitions("in", parts))
	if err != nil {
		t.Fatal(err)
	}
	p.Begin(0, 0)
	if err := p.Stop(n); err != nil {
		t.Fatal(err)
	}
	f.plan = p
	var bad []int64
	for i := range n {
		if p.Bad(i) != "" {
			bad = append(bad, i)
		}
	}
	if len(bad) < 10 {
		t.Fatalf("%d bad of %d", len(bad), n)
	}
	return f, bad
}

func (f *fixture) badLedger(t *testing.T, oracle bool) *Ledger {
	l := f.ledger(t, oracle)
	l.cfg.DeadLetters = true
	return l
}

// dead is the dead letter of record i.
func (f *fixture) dead(i int64) Observation {
	p, s := f.plan.Locate(i)
	return Observation{Dead: true, Row: workloads.Row{Partition: p, Sequence: s}}
}

// good is every good record's row: the counts of a key leave bad ones out.
func (f *fixture) good() (rows []Observation) {
	counts := map[int64]int64{}
	for i := range f.n {
		if f.plan.Bad(i) == "" {
			counts[i%f.keys]++
			rows = append(rows, f.row(i, counts[i%f.keys]))
		}
	}
	return rows
}

// TestDeadLettersAreAccountedFor: each bad input once, none of them in results;
// copies, losses and dead letters of good records are told apart.
func TestDeadLettersAreAccountedFor(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *fixture, bad []int64, dead []Observation) []Observation
		want   DeadLetters // beside Rows, less than all
	}{
		"exact":  {func(_ *fixture, _ []int64, d []Observation) []Observation { return d }, DeadLetters{}},
		"a copy": {func(_ *fixture, _ []int64, d []Observation) []Observation { return append(d, d[3]) }, DeadLetters{Duplicates: 1}},
		"a loss": {func(_ *fixture, _ []int64, d []Observation) []Observation { return d[1:] }, DeadLetters{Losses: 1, Visible: -1}},
		"good":   {func(f *fixture, bad []int64, d []Observation) []Observation { return append(d, f.dead(first(bad))) }, DeadLetters{Unexpected: 1}},
		"never": {func(f *fixture, _ []int64, d []Observation) []Observation {
			return append(d, Observation{Dead: true, Row: workloads.Row{Partition: 1, Sequence: f.n}}, Observation{Dead: true, Row: workloads.Row{Partition: 9}})
		}, DeadLetters{Unexpected: 2}},
		"a closing": {func(f *fixture, _ []int64, d []Observation) []Observation { return append(d, f.dead(f.n)) }, DeadLetters{Unexpected: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			f, bad := badFixture(t, workloads.Running, 2, 7, 300)
			var dead []Observation
			for _, i := range bad {
				dead = append(dead, f.dead(i))
			}
			r := f.judge(t, f.badLedger(t, true), append(f.good(), c.change(f, bad, dead)...))
			n := int64(len(bad))
			want(t, r, figures{Visible: 300 - n})
			c.want.Visible += n
			r.Dead.Rows = 0
			if r.Bad != n || r.Dead != c.want {
				t.Errorf("%d bad, %+v, want %d, %+v: %v", r.Bad, r.Dead, n, c.want, r.Anomalies)
			}
			if b := r.BadInput(); *b.Sent != n || *b.DeadLetters != c.want.Visible || b.Kinds["undecodable"]+b.Kinds["far-ahead"] != n {
				t.Errorf("%+v", b)
			}
		})
	}
}

// first is the first good record.
func first(bad []int64) int64 {
	for i, b := range bad {
		if int64(i) != b {
			return int64(i)
		}
	}
	return int64(len(bad))
}

// TestBadInputHasNoEffect: a row of a bad input is unexpected, and the balance
// stands whichever way the workload is accounted.
func TestBadInputHasNoEffect(t *testing.T) {
	f, bad := badFixture(t, workloads.OneToOne, 2, 7, 300)
	r := f.judge(t, f.ledger(t, false), append([]Observation{f.row(bad[0], 1)}, f.good()...))
	want(t, r, figures{Visible: 300 - int64(len(bad)), Unexpected: 1})
	if r.HasDead || r.BadInput().DeadLetters != nil {
		t.Errorf("dead letters are judged where none are kept: %+v", r.Dead)
	}

	f, bad = badFixture(t, workloads.Running, 2, 7, 300)
	rows := f.good()
	extra := f.row(bad[0], 1)
	for i := len(rows) - 1; ; i-- { // the count that its key has by then, and one more
		if string(rows[i].Key) == string(extra.Key) {
			extra.Value = rows[i].Value + 1
			break
		}
	}
	r = f.judge(t, f.ledger(t, true), append(rows, extra))
	if r.Unexpected != 1 || r.Losses != 0 || r.Duplicates != 0 {
		t.Errorf("%+v: %v", r.figures(), r.Anomalies)
	}

	late := f.row(bad[1], 0)
	late.Late = true
	r = f.judge(t, f.ledger(t, true), append(f.good(), late))
	want(t, r, figures{Visible: 300 - int64(len(bad)), Unexpected: 1})
}

// TestAggregatesLeaveBadInputOut: windows that hold the good records only are
// right, and one that counted a bad record too is not.
func TestAggregatesLeaveBadInputOut(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		f, bad := badFixture(t, workloads.Windows, 2, 3, 300)
		rows := f.aggregate(1, func(i int64) int64 {
			if f.plan.Bad(i) != "" && !(wrong && i == bad[2]) {
				return 0
			}
			return 1
		})
		r := f.judge(t, f.ledger(t, true), rows)
		overcount := int64(0)
		if wrong {
			overcount = 1
		}
		if r.Losses != 0 || r.StateOvercount != overcount || r.Counted != 300-int64(len(bad)) || r.Bad != int64(len(bad)) {
			t.Errorf("wrong %v: %+v, counted %d, bad %d: %v", wrong, r.figures(), r.Counted, r.Bad, r.Anomalies)
		}
	}
}

func TestDeadLettersNameTheirInput(t *testing.T) {
	f, _ := badFixture(t, workloads.OneToOne, 2, 7, 300)
	l := f.badLedger(t, false)
	headers := func(split, position string) *connectors.Record {
		return &connectors.Record{Headers: []connectors.Header{
			{Key: "the record's own", Value: []byte("x")},
			{Key: pipeline.DeadSplit, Value: []byte(split)}, {Key: pipeline.DeadPosition, Value: []byte(position)},
		}}
	}
	var row workloads.Row
	if err := l.ParseDead(headers("in/1", "17"), &row); err != nil || row.Partition != 1 || row.Sequence != 17 {
		t.Errorf("%+v, %v", row, err)
	}
	for _, r := range []*connectors.Record{{}, headers("in/7", "1"), headers("in", "1"), headers("in/x", "1"), headers("in/1", ""), headers("in/1", "-2")} {
		if err := l.ParseDead(r, &row); err == nil {
			t.Errorf("%+v was read as %+v", r.Headers, row)
		}
	}
}
