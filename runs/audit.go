package runs

import (
	"maps"
	"slices"
)

// Audit is one check of the run's own soundness.
type Audit struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail is what was found, with figures; Remedy what to do about it.
	Detail string `json:"detail,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// Voids names the groups of figures ([Groups]) that a failure makes
	// worthless. A failed audit that voids nothing is a warning.
	Voids []string `json:"voids,omitempty"`
}

// Groups of figures that an audit can void.
const (
	GroupLatency    = "latency"    // latencyMillis, and times in growth and crash
	GroupTail       = "tail"       // the p999 and max of latencyMillis alone
	GroupThroughput = "throughput" // throughput, and growth.oldPartitionsDip
	GroupCost       = "cost"       // cost
	GroupPressure   = "pressure"   // pressure
	GroupSteps      = "steps"      // steps
	GroupCounts     = "counts"     // records and badInput, and counts in growth and crash
)

// Groups lists the groups of figures.
func Groups() []string {
	return []string{GroupLatency, GroupTail, GroupThroughput, GroupCost, GroupPressure, GroupSteps, GroupCounts}
}

// Withheld is a group of figures that was taken out of a cell.
type Withheld struct {
	Group  string `json:"group"`
	Audit  string `json:"audit"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy,omitempty"`
}

// Voided says whether a failed audit voids the group, and which one does. It
// works before and after [Cell.Withhold]. What voids the latency voids its tail.
func (c *Cell) Voided(group string) (Audit, bool) {
	for _, a := range c.Audits {
		if !a.OK && slices.Contains(a.Voids, group) {
			return a, true
		}
	}
	if group == GroupTail {
		return c.Voided(GroupLatency)
	}
	return Audit{}, false
}

// Withhold takes every figure that a failed audit voids out of the cell and
// notes it in Withheld, so that no reader of summary.json can quote it by
// mistake. The raw files keep what was measured. Calling it again changes
// nothing.
func (c *Cell) Withhold() {
	before := c.Withheld
	c.Withheld = nil
	for _, group := range Groups() {
		a, voided := c.Voided(group)
		if !voided {
			continue
		}
		// Without its latency a cell has no tail that could be missed.
		if group == GroupTail && c.LatencyMillis == nil && !withheldBefore(before, group) {
			continue
		}
		// Most cells have no steps, and nobody misses them there.
		if group == GroupSteps && len(c.Steps) == 0 && !withheldBefore(before, group) {
			continue
		}
		c.Withheld = append(c.Withheld, Withheld{Group: group, Audit: a.Name, Reason: a.Detail, Remedy: a.Remedy})
		c.drop(group)
	}
}

func withheldBefore(before []Withheld, group string) bool {
	return slices.ContainsFunc(before, func(w Withheld) bool { return w.Group == group })
}

func withoutTail(phases map[string]Latency) map[string]Latency {
	kept := maps.Clone(phases)
	for phase, l := range kept {
		l.P999, l.Max = nil, nil
		kept[phase] = l
	}
	return kept
}

// drop removes one group's figures. What is shared between cells (a copy of a
// Cell shares its pointers) is replaced, not written to.
func (c *Cell) drop(group string) {
	switch group {
	case GroupLatency:
		c.LatencyMillis, c.Start = nil, nil
		if c.Growth != nil {
			g := *c.Growth
			g.FirstAppendedSeconds, g.DiscoveredSeconds, g.FirstResultSeconds = nil, nil, nil
			c.Growth = &g
		}
		if c.Crash != nil {
			k := *c.Crash
			k.RestartedSeconds, k.FirstResultSeconds, k.VisibleSeconds, k.CaughtUpSeconds = nil, nil, nil, nil
			c.Crash = &k
		}
	case GroupTail:
		if c.LatencyMillis != nil {
			c.LatencyMillis = &LatencyMillis{Event: withoutTail(c.LatencyMillis.Event), Processing: withoutTail(c.LatencyMillis.Processing)}
		}
	case GroupThroughput:
		c.Throughput = nil
		if c.Growth != nil {
			g := *c.Growth
			g.OldPartitionsDip = nil
			c.Growth = &g
		}
	case GroupCost:
		c.Cost = nil
	case GroupPressure:
		c.Pressure = nil
	case GroupSteps:
		c.Steps = nil
	case GroupCounts:
		c.Records = nil
		if c.Growth != nil {
			g := *c.Growth
			g.LostBeforeDiscovery, g.NeverRead = nil, nil
			c.Growth = &g
		}
		if c.Crash != nil {
			k := *c.Crash
			k.Expected, k.ReplayedRecords = nil, nil
			c.Crash = &k
		}
		if b := c.BadInput; b != nil { // what it did to the job is no count
			c.BadInput = &BadInput{Failed: b.Failed, FailedBy: b.FailedBy, Samples: b.Samples}
		}
	}
}
