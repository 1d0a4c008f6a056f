package ledger

import (
	"fmt"
	"testing"

	"streamduel/connectors"
	"streamduel/harness/plan"
	"streamduel/workloads"
)

// fixture is a small load whose records need no bytes: record i has the key
// i mod keys, which generator, oracle and rows work out alike.
type fixture struct {
	plan  *plan.Plan
	kind  workloads.AccountingKind
	keys  int64
	parts int
	n     int64 // records, before the closing ones
	sent  []int64
	drop  func(i int64) bool // inputs that the pipeline filters out
}

const rate = 1000 // records per second of every fixture

func newFixture(t testing.TB, kind workloads.AccountingKind, parts int, keys, n int64) *fixture {
	p, err := plan.New(plan.Constant(rate), plan.Partitions("in", parts))
	if err != nil {
		t.Fatal(err)
	}
	p.Begin(0, 0)
	if err := p.Stop(n); err != nil {
		t.Fatal(err)
	}
	f := &fixture{plan: p, kind: kind, keys: keys, parts: parts, n: n}
	for g := range parts {
		f.sent = append(f.sent, p.Sequences(int32(g), n))
	}
	return f
}

func (f *fixture) key(i int64) []byte { return fmt.Appendf(nil, "k%d", i%f.keys) }

// Append makes the payload: the record's index.
func (f *fixture) Append(dst []byte, in workloads.Input) (value, key []byte) {
	return fmt.Appendf(dst, "%d", in.Index), nil
}

func (f *fixture) Closing(dst []byte, in workloads.Input) (value, key []byte) {
	return append(dst, "closing"...), nil
}

// Add is the oracle: one contribution of one to the record's key, in a window
// of ten seconds.
func (f *fixture) Add(in workloads.Input, payload []byte, late bool, emit func([]byte, int64, int64)) {
	if late || f.drop != nil && f.drop(in.Index) {
		return
	}
	var i int64
	if _, err := fmt.Sscan(string(payload), &i); err != nil || i != in.Index {
		panic(fmt.Sprintf("payload %q of record %d", payload, in.Index))
	}
	emit(f.key(i), f.window(i), 1)
}

func (f *fixture) window(i int64) int64 {
	if f.kind != workloads.Windows {
		return 0
	}
	const size = 10_000
	return i * 1000 / rate / size * size
}

func (f *fixture) ledger(t testing.TB, oracle bool) *Ledger {
	acc := workloads.Accounting{
		Kind:  f.kind,
		Parse: func(*connectors.Record, bool, *workloads.Row) error { return nil },
	}
	if oracle {
		acc.Oracle = func() workloads.Oracle { return f }
	}
	l, err := New(Config{Plan: f.plan, Accounting: acc, Generator: f, Latency: true})
	if err != nil {
		t.Fatal(err)
	}
	l.Phase("steady", 0)
	return l
}

// row is the output of record i, whose key stands at count v. Rows of a key go
// to one output partition.
func (f *fixture) row(i, v int64) Observation {
	p, s := f.plan.Locate(i)
	return Observation{
		Row:    workloads.Row{HasID: true, Partition: p, Sequence: s, Key: f.key(i), Value: v},
		Output: int32(i % f.keys % 3),
	}
}

// perfect is every record's row, in schedule order.
func (f *fixture) perfect() []Observation {
	rows := make([]Observation, f.n)
	for i := range rows {
		rows[i] = f.row(int64(i), int64(i)/f.keys+1)
	}
	return rows
}

// after is a moment at which everything was due.
func (f *fixture) after() int64 { return f.plan.Due(f.n-1) + 1e6 }

// judge feeds the rows and finishes.
func (f *fixture) judge(t testing.TB, l *Ledger, rows []Observation) *Result {
	l.Observe(f.after(), rows)
	r := l.Finish(f.sent)
	if err := r.Balanced(); err != nil {
		t.Errorf("counts do not add up: %v", err)
	}
	return r
}

// figures are the counts that tests compare.
type figures struct {
	Visible, Duplicates, Losses, Late, Unexpected, Reordered, StateOvercount, StateLosses, Masked int64
}

func (r *Result) figures() figures {
	return figures{r.Visible, r.Duplicates, r.Losses, r.Late, r.Unexpected, r.Reordered, r.StateOvercount, r.StateLosses, r.Masked}
}

// fataler is what testing.T and rapid.T have in common here.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func want(t fataler, r *Result, w figures) {
	t.Helper()
	if got := r.figures(); got != w {
		t.Fatalf("got  %+v\nwant %+v\nanomalies %v", got, w, r.Anomalies)
	}
}
