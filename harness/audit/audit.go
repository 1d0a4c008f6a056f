// Package audit holds the checks that a run makes of itself. A run that cannot
// be trusted says so: each check looks at collected facts, says what it found
// in figures, names the groups of figures that its failure voids, and what to
// do about it. The checks are functions of the facts; collecting them is the
// harness's.
//
// What a failure voids:
//
//	generator     the load was behind its schedule           tail; latency where 1 % of it was; of a phase
//	offsets       a record's offset is not its sequence      counts, latency
//	counts        the counts do not add up                   counts
//	samples       latencies clipped or missing               latency
//	crash-point   the crash point was never reached          counts, latency
//	clock         the wall clock was stepped                 latency, pressure, steps
//	saturation    not the engine used the machine up         cost, latency, steps
//	stolen        another machine used the processors        cost, latency, steps
//	ends          output hidden behind an open transaction   counts
//	observer      the observer was behind or broke off       latency, of a phase (counts if it saw less)
//	drained       the last effects were not seen             counts
//	memory        the harness held more than it may          nothing: a warning
//
// Saturation and stolen processor time never void counts, which are exact
// whatever the machine did, nor the response to a slow sink, which is a matter
// of seconds and of queue lengths. How well rates keep to shares of a maximum, to
// a few points of it, they do void: who waits for a processor is not at the maximum.
package audit

import (
	"fmt"
	"strconv"
	"time"

	"streamduel/runs"
)

// Names of the checks.
const (
	NameGenerator  = "generator"
	NameOffsets    = "offsets"
	NameCounts     = "counts"
	NameSamples    = "samples"
	NameCrashPoint = "crash-point"
	NameClock      = "clock"
	NameSaturation = "saturation"
	NameStolen     = "stolen"
	NameEnds       = "ends"
	NameObserver   = "observer"
	NameDrained    = "drained"
	NameMemory     = "memory"
)

// Facts are what is known of a cell. A nil part was not collected and is not
// checked.
type Facts struct {
	Generator *Generator
	Counts    *Counts
	Samples   *Samples
	Crash     *CrashPoint
	Clock     *Clock
	Machine   *Machine
	Ends      *Ends
	Observer  *Observer
	Drained   *Drained
	Memory    *Memory
}

// Check runs every check whose facts are there, in a fixed order. Checks that
// passed are in the list too: what was looked at is part of the result.
func Check(f Facts) []runs.Audit {
	var all []runs.Audit
	add := func(a ...runs.Audit) { all = append(all, a...) }
	if f.Generator != nil {
		add(f.Generator.schedule()...)
		add(f.Generator.offsets())
	}
	if f.Counts != nil {
		add(f.Counts.check())
	}
	if f.Samples != nil {
		add(f.Samples.check())
	}
	if f.Crash != nil {
		add(f.Crash.check())
	}
	if f.Clock != nil {
		add(f.Clock.check())
	}
	if f.Machine != nil {
		add(f.Machine.saturation(), f.Machine.stolen())
	}
	if f.Ends != nil {
		add(f.Ends.check())
	}
	if f.Observer != nil {
		add(f.Observer.check())
	}
	if f.Drained != nil {
		add(f.Drained.check())
	}
	if f.Memory != nil {
		add(f.Memory.check())
	}
	return all
}

// result makes an audit; remedy and voids are only given to one that failed.
func result(name string, ok bool, detail, remedy string, voids ...string) runs.Audit {
	a := runs.Audit{Name: name, OK: ok, Detail: detail}
	if !ok {
		a.Remedy, a.Voids = remedy, voids
	}
	return a
}

// SlipLimit is what the generator may be behind its schedule whatever the
// latencies are. Latency counts from the schedule, so a record that was handed
// over late is a sample that is too long: where fewer than one in a thousand is,
// no percentile is touched; where fewer than one in a hundred is, p50 to p99
// are moved by less than a percentile and stand, and what lies behind them says
// more of the generator than of the engine. What counts are the records of a phase,
// because that is what a figure is of.
const SlipLimit = 5 * time.Millisecond

// slipShare is the share of the cell's p99 event-time latency that the slip may
// reach: latency counts from the schedule, so a slip is inside the figure, and
// one far below it does not change what it says.
const slipShare = 0.10

// Generator is what the load process says of itself.
type Generator struct {
	// Slip99, Slip999 and SlipMax are how long after its due time a record was
	// handed to the client: the 99th and 99.9th percentile and the longest.
	Slip99, Slip999, SlipMax time.Duration
	// P99 is the cell's event-time p99 over all phases; 0 if not known.
	P99 time.Duration
	// Phases are those that have latencies.
	Phases []PhaseSlip
	// Mismatched is how many records the broker gave an offset other than their
	// sequence. Failed is how many it never acknowledged.
	Mismatched, Failed int64
	// Died says why the load process ended before it was told to.
	Died string
}

// PhaseSlip is how far the generator was behind in one phase: a figure of a phase
// stands by the records of that phase, of which a stall that is a moment of the cell
// may have delayed many.
type PhaseSlip struct {
	Name            string
	Slip99, Slip999 time.Duration
	P99             time.Duration // the phase's event-time p99
}

func slipLimit(p99 time.Duration) time.Duration {
	return max(SlipLimit, time.Duration(slipShare*float64(p99)))
}

func (g *Generator) schedule() []runs.Audit {
	const remedy = "lower load.rate or free the machine of other work: the generator did not get the processor in time"
	limit := slipLimit(g.P99)
	within := func(share string, slip time.Duration) string {
		return fmt.Sprintf("%s %% of the records were handed over within %s of their schedule (limit %s), the slowest after %s",
			share, round(slip), round(limit), round(g.SlipMax))
	}
	switch {
	case g.Died != "":
		return []runs.Audit{result(NameGenerator, false, "the load process ended early: "+g.Died,
			"look at the cell's stderr.log for the load process", runs.GroupCounts, runs.GroupLatency, runs.GroupThroughput, runs.GroupPressure, runs.GroupSteps)}
	case g.Slip99 > limit:
		return []runs.Audit{result(NameGenerator, false, within("99", g.Slip99), remedy, runs.GroupLatency)}
	case g.Slip999 > limit && len(g.Phases) == 0:
		return []runs.Audit{result(NameGenerator, false, within("99.9", g.Slip999), remedy, runs.GroupTail)}
	}
	// At the most one audit of each group, whatever the number of phases.
	var all []runs.Audit
	add := func(group, share, phase string, slip, limit time.Duration) {
		detail := fmt.Sprintf("phase %s: %s %% of its records were handed over within %s of their schedule (limit %s)", phase, share, round(slip), round(limit))
		for i := range all {
			if all[i].Voids[0] == group {
				all[i].Detail += "; " + detail
				all[i].Phases = append(all[i].Phases, phase)
				return
			}
		}
		a := result(NameGenerator, false, detail, remedy, group)
		a.Phases = []string{phase}
		all = append(all, a)
	}
	for _, p := range g.Phases {
		switch limit := slipLimit(p.P99); {
		case p.Slip99 > limit:
			add(runs.GroupLatency, "99", p.Name, p.Slip99, limit)
		case p.Slip999 > limit:
			add(runs.GroupTail, "99.9", p.Name, p.Slip999, limit)
		}
	}
	if len(all) == 0 {
		all = append(all, result(NameGenerator, true, within("99.9", g.Slip999), ""))
	}
	return all
}

func (g *Generator) offsets() runs.Audit {
	detail := "every record's offset is its sequence"
	ok := g.Mismatched == 0 && g.Failed == 0
	if !ok {
		detail = fmt.Sprintf("%d records have an offset that is not their sequence, %d were never acknowledged", g.Mismatched, g.Failed)
	}
	return result(NameOffsets, ok, detail,
		"nothing else may write to the input topics, and the broker must stay up: use topics of this run alone", runs.GroupCounts, runs.GroupLatency)
}

// Counts are totals that must agree.
type Counts struct {
	// Sent is what the load process says, Planned what the schedule holds up to
	// the load's end, Stored what the broker has; closing records left out. A
	// negative value is not known, which is a failure only for Sent.
	Sent, Planned, Stored int64
	// Balance is the ledger's own: see ledger.Result.Balanced.
	Balance error
}

func (c *Counts) check() runs.Audit {
	switch {
	case c.Balance != nil:
		return result(NameCounts, false, c.Balance.Error(),
			"this is a fault of the ledger or of the workload's oracle: report it with the run folder", runs.GroupCounts)
	case c.Sent < 0:
		return result(NameCounts, false, "the load process did not say how much it sent",
			"look at the load process's lines in stderr.log", runs.GroupCounts)
	case c.Planned >= 0 && c.Sent != c.Planned:
		return result(NameCounts, false, fmt.Sprintf("%d records sent, but the schedule holds %d", c.Sent, c.Planned),
			"look at the load process's lines in stderr.log: it was stopped or could not keep up", runs.GroupCounts)
	case c.Stored >= 0 && c.Sent != c.Stored:
		return result(NameCounts, false, fmt.Sprintf("%d records sent, but the broker holds %d", c.Sent, c.Stored),
			"the broker lost or multiplied input, or something else writes to the input topics", runs.GroupCounts)
	}
	return result(NameCounts, true, fmt.Sprintf("%d records sent, and every one is accounted for", c.Sent), "")
}

// Samples are the latencies that were recorded.
type Samples struct {
	Recorded, Due       int64 // see ledger.Result
	Negative, Low, High int64 // clipped; see ledger.Clipped
}

func (s *Samples) check() runs.Audit {
	clipped := s.Negative + s.Low + s.High
	switch {
	case clipped > 0:
		return result(NameSamples, false,
			fmt.Sprintf("%d latencies lie outside 1 µs … 1 h: %d below zero, %d under 1 µs, %d over 1 h", clipped, s.Negative, s.Low, s.High),
			"below zero: load and observer do not share one monotonic clock, run both on one host; over 1 h: shorten the run", runs.GroupLatency)
	case s.Recorded != s.Due:
		return result(NameSamples, false, fmt.Sprintf("%d latencies recorded for %d visible inputs", s.Recorded, s.Due),
			"this is a fault of the ledger, or an epoch of the load was never announced: report it with the run folder", runs.GroupLatency)
	}
	return result(NameSamples, true, fmt.Sprintf("%d latencies, none clipped or missing", s.Recorded), "")
}

// CrashPoint is what became of a crash that was asked for.
type CrashPoint struct {
	Point   string
	Hit     int64
	Reached bool
	Waited  time.Duration
}

func (c *CrashPoint) check() runs.Audit {
	if c.Reached {
		return result(NameCrashPoint, true, fmt.Sprintf("%s was reached at hit %d", c.Point, c.Hit), "")
	}
	return result(NameCrashPoint, false, fmt.Sprintf("%s was not reached %d times within %s", c.Point, c.Hit, round(c.Waited)),
		"lower hit, lengthen the phase, or shorten the batch or checkpoint interval; a point inside a commit needs exactly-once",
		runs.GroupCounts, runs.GroupLatency)
}

// ClockLimit is how far wall and monotonic clock may drift apart in a cell.
const ClockLimit = 50 * time.Millisecond

// Clock compares the two clocks over a cell.
type Clock struct {
	Wall, Mono time.Duration // how much each went on
}

func (c *Clock) check() runs.Audit {
	drift := c.Wall - c.Mono
	return result(NameClock, drift.Abs() <= ClockLimit, fmt.Sprintf("the wall clock went %s off the monotonic clock", round(drift)),
		"stop time synchronization from stepping the clock during a run; slewing is fine", runs.GroupLatency, runs.GroupPressure, runs.GroupSteps)
}

// round writes a duration as reports write theirs.
func round(d time.Duration) string {
	switch {
	case d.Abs() >= time.Second:
		return strconv.FormatFloat(float64(d.Round(10*time.Millisecond))/1e9, 'f', -1, 64) + " s"
	case d.Abs() >= 10*time.Millisecond:
		d = d.Round(100 * time.Microsecond)
	default:
		d = d.Round(10 * time.Microsecond)
	}
	return strconv.FormatFloat(float64(d)/1e6, 'f', -1, 64) + " ms"
}
