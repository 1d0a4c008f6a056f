package pressure

import (
	"streamduel/runs"
)

// Growth is what happened to the input's partitions. Moments that did not come
// about are nil.
type Growth struct {
	Created       float64  // when the partitions were created
	Added         int64    // how many
	FirstAppended *float64 // the generator's first record in one of them
	Discovered    *float64 // the engine's first record from one of them
	FirstResult   *float64 // the first result of one of them
	// LostBeforeDiscovery is the ledger's count of records of the new partitions
	// that never had an effect; nil where rows have no ids.
	LostBeforeDiscovery *int64
	// NeverRead is how many records lie in partitions that the engine did not look
	// for; they are not among LostBeforeDiscovery.
	NeverRead *int64
	// Used is when the generator began to use them, and OldShare the share of
	// the load that the old partitions have from then on.
	Used     *float64
	OldShare float64
	Until    float64 // end of the time that is looked at
	Interval float64 // seconds between batches or commits, 0 for none
}

// Grown computes the figures of partition growth.
func Grown(series []runs.Sample, g Growth) (*runs.Growth, []runs.Mark) {
	out := &runs.Growth{Created: &g.Added, LostBeforeDiscovery: g.LostBeforeDiscovery, NeverRead: g.NeverRead}
	marks := []runs.Mark{{At: g.Created, Kind: runs.MarkCreated, Label: "partitions created"}}
	for _, m := range []struct {
		at    *float64
		into  **runs.Elapsed
		kind  string
		label string
	}{
		{g.FirstAppended, &out.FirstAppendedSeconds, runs.MarkAppended, "first record in a new partition"},
		{g.Discovered, &out.DiscoveredSeconds, runs.MarkDiscovered, "first record of a new partition read"},
		{g.FirstResult, &out.FirstResultSeconds, runs.MarkFirstResult, "first result of a new partition"},
	} {
		if m.at == nil {
			*m.into = elapsed(0, 0, false)
			continue
		}
		*m.into = elapsed(*m.at, g.Created, true)
		marks = append(marks, runs.Mark{At: *m.at, Kind: m.kind, Label: m.label})
	}
	if dip, ok := dip(series, g); ok {
		out.OldPartitionsDip = &dip
	}
	return out, marks
}

// dip is the largest share by which the old partitions fell below what was
// offered to them.
func dip(series []runs.Sample, g Growth) (worst float64, ok bool) {
	w := Smoothing(g.Interval)
	visible := integrate(series, func(s runs.Sample) float64 { return s.Visible - s.VisibleNew })
	due := integrate(series, func(s runs.Sample) float64 {
		if g.Used != nil && s.T > *g.Used {
			return s.Offered * g.OldShare
		}
		return s.Offered
	})
	visible.moments(g.Created, min(g.Until, visible.end())-w, func(t float64) bool {
		got, known := visible.mean(t, t+w)
		want, planned := due.mean(t, t+w)
		if known && planned && want > 0 {
			worst, ok = max(worst, 1-got/want), true
		}
		return false
	})
	return worst, ok
}
