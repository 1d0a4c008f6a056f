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
	// Phases are those of which latency or tail is voided; empty for all.
	Phases []string `json:"phases,omitempty"`
}

// Groups of figures that an audit can void.
const (
	GroupLatency    = "latency"    // latencyMillis, and times in growth and crash
	GroupTail       = "tail"       // the p999, max and mean of latencyMillis alone
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
	// Phases are those whose figures were taken out; empty for all.
	Phases []string `json:"phases,omitempty"`
}

// Takes says whether a figure is among those that were taken out.
func (w Withheld) Takes(path string) bool {
	f, name, _ := find(path)
	return (w.Group == f.group || w.Group == GroupLatency && f.group == GroupTail) &&
		(len(w.Phases) == 0 || f.byPhase() && slices.Contains(w.Phases, name))
}

// Voided says whether a failed audit voids the whole group, and which one does. It
// works before and after [Cell.Withhold]. What voids the latency voids its tail.
func (c *Cell) Voided(group string) (Audit, bool) { return c.voidedIn(group, "") }

// voidedIn is Voided of a phase's part of the group.
func (c *Cell) voidedIn(group, phase string) (Audit, bool) {
	for _, a := range c.Audits {
		if !a.OK && slices.Contains(a.Voids, group) && (len(a.Phases) == 0 || slices.Contains(a.Phases, phase)) {
			return a, true
		}
	}
	if group == GroupTail {
		return c.voidedIn(GroupLatency, phase)
	}
	return Audit{}, false
}

// VoidedFigure says whether a failed audit voids a figure, and which one does.
func (c *Cell) VoidedFigure(path string) (Audit, bool) {
	f, name, ok := find(path)
	if !ok {
		return Audit{}, false
	}
	if !f.byPhase() {
		name = ""
	}
	return c.voidedIn(f.group, name)
}

// VoidedLatency says whether a failed audit voids the latencies of a phase.
func (c *Cell) VoidedLatency(phase string) (Audit, bool) { return c.voidedIn(GroupLatency, phase) }

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
	for _, a := range c.Audits {
		if a.OK || len(a.Phases) == 0 {
			continue
		}
		for _, group := range a.Voids {
			if _, voided := c.Voided(group); voided {
				continue
			}
			c.Withheld = append(c.Withheld, Withheld{Group: group, Audit: a.Name, Reason: a.Detail, Remedy: a.Remedy, Phases: a.Phases})
			if l := c.LatencyMillis; l != nil {
				c.LatencyMillis = &LatencyMillis{NoProcessing: l.NoProcessing, Event: without(group, a.Phases, l.Event), Processing: without(group, a.Phases, l.Processing)}
			}
		}
	}
}

// without leaves a group's figures of some phases out, of all where none is named.
func without(group string, phases []string, by map[string]Latency) map[string]Latency {
	kept := maps.Clone(by)
	for phase, l := range kept {
		switch {
		case len(phases) > 0 && !slices.Contains(phases, phase):
		case group == GroupLatency:
			delete(kept, phase)
		default:
			l.P999, l.Max, l.Mean = nil, nil, nil
			kept[phase] = l
		}
	}
	return kept
}

func withheldBefore(before []Withheld, group string) bool {
	return slices.ContainsFunc(before, func(w Withheld) bool { return w.Group == group })
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
			l := c.LatencyMillis
			c.LatencyMillis = &LatencyMillis{NoProcessing: l.NoProcessing, Event: without(group, nil, l.Event), Processing: without(group, nil, l.Processing)}
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
