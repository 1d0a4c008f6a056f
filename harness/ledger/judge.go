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
	for g := range s {
		r.BeforeStart += min(l.begin(int32(g)), s[g])
	}
	r.Duplicates += v.copies + l.ids.duplicates
	if v.oracle == nil {
		return
	}
	r.HasOracle, r.HasLosses, r.Filtered, r.Counted = true, true, v.filtered, v.counted
	r.HasState = v.kind != workloads.Delta
	names := make([]string, 0, len(v.cells))
	for k := range v.cells {
		names = append(names, k)
	}
	sort.Strings(names) // the lists must not depend on the map's order
	suspects := map[string]*suspect{}
	for _, name := range names {
		c := v.cells[name]
		if d := c.got - c.value; c.inputs > 0 && c.rows > 0 && c.hashed && c.value == c.inputs &&
			c.gotHash != c.hash && -3 <= d && d <= 3 && len(suspects) < explainKeys {
			suspects[name] = &suspect{surplus: d, hash: c.gotHash - c.hash}
		}
	}
	v.explain(s, suspects)
	for _, name := range names {
		v.judge(r, name, v.cells[name], suspects[name])
	}
}

// judge compares one (key, window) with the oracle.
func (v *values) judge(r *Result, name string, c *cell, x *suspect) {
	r.Expected += c.inputs
	note := func(kind string, n int64) {
		r.note(kind, runs.RecordID{Partition: -1, Sequence: -1, Copies: n,
			Detail: fmt.Sprintf("%s: value %d, expected %d", v.name(name), c.got, c.value)})
	}
	surplusKind, surplus := StateOvercount, &r.StateOvercount
	if v.kind == workloads.Delta {
		surplusKind, surplus = Duplicates, &r.Duplicates
	}
	switch {
	case c.inputs == 0 && c.rows == 0: // inputs that were due but never sent
		return
	case c.inputs == 0:
		r.Unexpected += c.rows
		note(Unexpected, c.rows)
		return
	case c.rows == 0:
		r.Losses += c.inputs
		note(Losses, c.inputs)
		return
	}
	d := c.got - c.value
	wrongIDs := c.hashed && c.gotHash != c.hash
	if x != nil {
		if copies, losses, ok := x.solve(); ok {
			*surplus += int64(len(copies))
			r.Losses += int64(len(losses))
			r.Visible += c.inputs - int64(len(losses))
			list := func(kind string, cs []contribution) {
				for _, p := range cs {
					r.note(kind, runs.RecordID{Partition: p.partition, Sequence: p.sequence, Detail: v.name(name)})
				}
			}
			list(surplusKind, copies)
			list(Losses, losses)
			if len(copies) > 0 && len(losses) > 0 {
				r.Masked++
				note(Masked, int64(min(len(copies), len(losses))))
			}
			return
		}
	}
	n, exact := c.units(d)
	if !exact {
		r.Inexact++
	}
	r.Visible += c.inputs
	switch {
	case d > 0:
		*surplus += n
		note(surplusKind, n)
	case d < 0:
		r.Losses += n
		r.Visible -= n
		note(Losses, n)
	case wrongIDs:
		// The same value from other inputs: at least one counts too often and
		// one too little.
		r.Masked++
		*surplus++
		r.Losses++
		r.Visible--
		note(Masked, 1)
	}
	if wrongIDs && exact {
		r.Unproven++
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
		Sent: n(r.Sent), Consumed: consumed, Visible: n(r.Visible), Rows: n(r.Rows),
		Duplicates: n(r.Duplicates), Unexpected: n(r.Unexpected), Late: n(r.Late),
	}
	if r.HasLosses {
		rec.Losses = n(r.Losses)
	}
	// Where an input contributes several times, visible ones are no inputs, and
	// this figure would only mislead.
	if r.HasOracle && (r.HasIDs || r.Expected == r.Counted) {
		rec.Filtered = n(r.Filtered)
	}
	if r.BadKinds != nil {
		rec.Bad = n(r.Bad)
	}
	if r.BeforeStart > 0 {
		rec.BeforeStart = n(r.BeforeStart)
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

// Unknowable says why a figure of this workload cannot be known, however the
// run went; "" where it can. Gates on such figures prove nothing and fail
// nothing.
func (r *Result) Unknowable(figure string, a workloads.Accounting) string {
	const (
		noOracle = "the workload has no oracle, so nobody knows which inputs must have an effect"
		noIDs    = "the workload's outputs do not name their inputs"
	)
	switch figure {
	case "records.losses":
		if !r.HasLosses {
			return noOracle
		}
	case "records.reordered":
		if !r.HasIDs {
			return noIDs
		}
	case "growth.lostBeforeDiscovery", "growth.neverRead":
		switch {
		case !r.HasIDs:
			return noIDs
		case !r.HasLosses:
			return noOracle
		}
	case "records.stateOvercount":
		if !r.HasState && !(r.HasIDs && a.Kind == workloads.Running) {
			return "the workload's outputs do not show the state behind them, or it has no oracle"
		}
	case "records.stateLosses":
		if !r.HasState || !r.HasIDs {
			return "the workload's outputs do not show which inputs the state behind them holds"
		}
	case "crash.expected.duplicates", "crash.expected.duplicatesAtMost", "crash.expected.losses", "crash.expected.lossesAtMost":
		if !a.PerInput() || !r.HasIDs {
			return "the catalogue predicts copies and losses of outputs that each answer one input; this workload's do not"
		}
	}
	return ""
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
		if got := r.Counted + r.Late + r.Filtered + r.Bad + r.BeforeStart; r.HasOracle && got != r.Sent {
			return fmt.Errorf("%d inputs sent, but %d contribute to results + %d late + %d filtered + %d bad + %d before the start = %d", r.Sent, r.Counted, r.Late, r.Filtered, r.Bad, r.BeforeStart, got)
		}
		return nil
	}
	if !r.HasLosses {
		return nil
	}
	if got := r.Visible + r.Late - r.Both + r.Filtered + r.Bad + r.Losses + r.BeforeStart; got != r.Sent {
		return fmt.Errorf("%d inputs sent, but %d visible + %d late − %d both + %d filtered + %d bad + %d lost + %d before the start = %d",
			r.Sent, r.Visible, r.Late, r.Both, r.Filtered, r.Bad, r.Losses, r.BeforeStart, got)
	}
	return nil
}
