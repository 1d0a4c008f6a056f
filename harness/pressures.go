package harness

import (
	"math"

	"streamduel/harness/pressure"
	"streamduel/runs"
)

// pressures works out how the engine answered the throttles.
func (c *cell) pressures(out *runs.Cell, series []runs.Sample, interval float64) error {
	var over []*throttled // those that ran to their end
	for _, t := range c.facts.throttled {
		if t.to > 0 {
			over = append(over, t)
		}
	}
	if len(over) == 0 {
		return nil
	}
	// With several the figures are those of the tightest, and what was queued is of
	// all of them.
	slow := over[0]
	for _, t := range over {
		if t.rate < slow.rate {
			slow = t
		}
	}
	f := pressure.Throttle{At: c.seconds(slow.from), Released: c.seconds(slow.to), Rate: slow.rate, Interval: interval, Hold: hold(slow)}
	if delivered := float64(c.engine.writtenAt(slow.to) - c.engine.writtenAt(slow.from)); delivered > 0 {
		f.Delivered = &delivered
	}
	var marks []runs.Mark
	out.Pressure, marks = pressure.Throttled(series, f)
	if len(over) > 1 {
		marks = c.steps(out, series, over, interval)
	}
	c.marks = append(c.marks, marks...)
	if len(c.facts.blocked) > 0 {
		out.Pressure.Blocked = map[string]runs.Blocked{}
		for name, share := range c.facts.blocked {
			share = math.Min(math.Max(share, 0), 1)
			out.Pressure.Blocked[name] = runs.Blocked{Share: share, Level: runs.BlockedLevel(share)}
		}
	}
	c.checkpoints(out.Pressure, over)
	return c.delays(out.Pressure, over, c.seconds(c.start+c.elapsed()))
}

// steps tells of several throttles, one behind the other. What comes behind the
// tightest is another throttle and no recovery, so that figures of it are absent.
func (c *cell) steps(out *runs.Cell, series []runs.Sample, over []*throttled, interval float64) (marks []runs.Mark) {
	p := out.Pressure
	p.FollowSeconds, p.RecoverSeconds, p.DrainSeconds = nil, nil, nil
	p.QueuedRecordsPeak, p.QueuedBytesPeak = pressure.Queued(series, c.seconds(over[0].from), c.seconds(over[len(over)-1].to))
	for _, t := range over {
		at, to := c.seconds(t.from), c.seconds(t.to)
		label := "sink at " + recordsPerSecond(t.rate)
		if t.share > 0 {
			if label = "sink at " + percentOf(t.share) + " of the maximum"; t.share == 1 {
				label = "sink as it was at the maximum"
			}
		}
		marks = append(marks, runs.Mark{At: at, Kind: runs.MarkThrottled, Label: label})
		if t.share == 0 {
			continue
		}
		step, crossed := pressure.Stepped(series, pressure.Step{At: at, Released: to, Share: t.share, Maximum: t.maximum, Interval: interval})
		marks = append(marks, crossed...)
		if out.Steps == nil {
			out.Steps = map[string]runs.Step{}
		}
		out.Steps[t.phase] = step
	}
	return append(marks, runs.Mark{At: c.seconds(over[len(over)-1].to), Kind: runs.MarkReleased, Label: "sink freed"})
}

// checkpoints tells of those that were triggered while the sink was throttled.
func (c *cell) checkpoints(out *runs.Pressure, over []*throttled) {
	all := c.engine.checkpointsSeen()
	if len(all) == 0 {
		return
	}
	var triggered, held, inFlight int64
	var longest runs.Elapsed
	for _, x := range all {
		for _, t := range over {
			if x.triggered < t.from || x.triggered >= t.to {
				continue
			}
			triggered++
			if x.completed == 0 || x.completed > t.to {
				held++
			}
			inFlight = max(inFlight, x.inFlight)
			if x.completed == 0 {
				longest = runs.Never
			} else {
				longest = max(longest, runs.Elapsed(float64(x.completed-x.triggered)/1e9))
			}
		}
	}
	out.Checkpoints = &runs.Checkpoints{Triggered: &triggered, Held: &held, InFlightBytesMax: &inFlight}
	if triggered > 0 {
		out.Checkpoints.LongestSeconds = &longest
	}
}

// hold is how long intake must stay at the sink's rate to have followed it:
// shorter than the definition's only where the phase leaves no room.
func hold(t *throttled) float64 {
	if length := float64(t.to-t.from) / 1e9; length < 2*pressure.Hold {
		return length / 2
	}
	return 0
}
