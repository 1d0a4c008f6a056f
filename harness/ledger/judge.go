package ledger

import (
	"fmt"
	"sort"

	"streamduel/runs"
	"streamduel/workloads"
)

// finishValues judges aggregates without ids.
func (l *Ledger) finishValues(r *Result, s sent) {
	v := l.values
	v.finish(s)
	r.Duplicates += v.copies + l.ids.duplicates
	if v.oracle == nil {
		return
	}
	r.HasOracle, r.Filtered = true, v.filtered
	r.HasState = v.kind != workloads.Delta
	names := make([]string, 0, len(v.cells))
	for k := range v.cells {
		names = append(names, k)
	}
	sort.Strings(names) // the lists must not depend on the map's order
	for _, name := range names {
		v.judge(r, name, v.cells[name])
	}
}

// judge compares one (key, window) with the oracle.
func (v *values) judge(r *Result, name string, c *cell) {
	note := func(kind string, n int64) {
		r.note(kind, runs.RecordID{Partition: -1, Sequence: -1, Copies: n,
			Detail: fmt.Sprintf("%s: value %d, expected %d", v.name(name), c.got, c.value)})
	}
	r.Expected += c.inputs
	if c.inputs == 0 && c.rows == 0 {
		return // an input that was due but never sent
	}
	if c.inputs == 0 {
		r.Unexpected += c.rows
		note(Unexpected, c.rows)
		return
	}
	if c.rows == 0 {
		r.Losses += c.inputs
		note(Losses, c.inputs)
		return
	}
	surplus, kind := c.got-c.value, StateOvercount
	if v.kind == workloads.Delta {
		kind = Duplicates
	}
	n, exact := c.units(surplus)
	if !exact {
		r.Inexact++
	}
	count := &r.StateOvercount
	if kind == Duplicates {
		count = &r.Duplicates
	}
	switch {
	case surplus > 0:
		*count += n
		note(kind, n)
		r.Visible += c.inputs
	case surplus < 0:
		r.Losses += n
		note(Losses, n)
		r.Visible += c.inputs - n
	case c.hashed && c.gotHash != c.hash:
		// The same value from other inputs: at least one was counted twice and
		// one not at all.
		r.Masked++
		*count++
		r.Losses++
		note(Masked, 1)
		r.Visible += c.inputs - 1
	default:
		r.Visible += c.inputs
	}
}

// units turns a difference of values into a number of contributions: exactly
// where every contribution raised the value by one.
func (c *cell) units(d int64) (n int64, exact bool) {
	if d < 0 {
		d = -d
	}
	if d == 0 || c.value == c.inputs {
		return d, true
	}
	return 1, false
}

// Records returns the counts as summary.json has them; what does not apply is
// absent. consumed is the engine's own figure, nil if it gives none.
func (r *Result) Records(consumed *int64) *runs.Records {
	n := func(v int64) *int64 { return &v }
	rec := &runs.Records{
		Sent: n(r.Sent), Consumed: consumed, Visible: n(r.Visible),
		Duplicates: n(r.Duplicates), Unexpected: n(r.Unexpected), Late: n(r.Late),
	}
	if r.HasIDs || r.HasOracle {
		rec.Losses = n(r.Losses)
	}
	if r.HasIDs {
		rec.Reordered = n(r.Reordered)
	}
	if r.HasState {
		rec.StateOvercount = n(r.StateOvercount)
	}
	if r.HasState && r.HasIDs {
		rec.StateLosses = n(r.StateLosses)
	}
	return rec
}

// Ledger returns what ledger.json holds.
func (r *Result) Ledger(consumed *int64) runs.Ledger {
	return runs.Ledger{Records: *r.Records(consumed), Anomalies: r.Anomalies}
}

// Balanced reports whether the counts add up: every input is a result, late,
// filtered out or lost, and nothing is two of them without being counted so.
// It is an identity of the ledger, checked because a ledger that miscounts
// would be believed.
func (r *Result) Balanced() error {
	if !r.HasIDs {
		if r.HasOracle && r.Visible+r.Losses != r.Expected {
			return fmt.Errorf("%d contributions expected, but %d visible + %d lost", r.Expected, r.Visible, r.Losses)
		}
		return nil
	}
	if got := r.Visible + r.Late - r.Both + r.Filtered + r.Losses; got != r.Sent {
		return fmt.Errorf("%d inputs sent, but %d visible + %d late − %d both + %d filtered + %d lost = %d",
			r.Sent, r.Visible, r.Late, r.Both, r.Filtered, r.Losses, got)
	}
	return nil
}
