package harness

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"streamduel/harness/pressure"
	"streamduel/runs"
	"streamduel/scenarios"
)

// Model simulates a cell's engine. This package knows no engine, so that whoever
// puts the command together brings it.
type Model func(*scenarios.Cell, ModelInput) (*runs.Predicted, error)

// ModelInput is what was done to an engine, and what undisturbed work cost it. Times
// are nanoseconds since the Unix epoch: batches keep to the wall clock.
type ModelInput struct {
	Start, End int64
	// Arrived is how many records were due by a time.
	Arrived func(at int64) float64
	// Sink is its limit over time; 0 is none.
	Sink []SinkLimit
	// Undisturbed are batches that nothing held up, warm-up left out where there are
	// others.
	Undisturbed []BatchCost
}

// SinkLimit is the sink's limit from a time on, records per second.
type SinkLimit struct {
	At   int64
	Rate float64
}

// BatchCost is what a batch took.
type BatchCost struct {
	Records int64
	Seconds float64
}

// delays tells how long batches waited while the sink was throttled, and what the
// model says of that.
func (c *cell) delays(out *runs.Pressure, over []*throttled, until float64) error {
	batches := c.engine.batchesSeen()
	if len(batches) == 0 {
		return nil
	}
	var measured []pressure.Waited
	for _, b := range batches {
		measured = append(measured, pressure.Waited{T: c.seconds(b.began()), V: b.waited / 1e3})
	}
	var predicted []pressure.Waited
	if c.r.o.Model != nil && c.facts.crashed == nil {
		p, err := c.r.o.Model(c.spec, c.modelInput(batches, over, until))
		if err != nil {
			return fmt.Errorf("predicting %s: %w", c.spec.ID, err)
		}
		if p != nil {
			predicted = p.SchedulingDelay
			if err := c.w.WritePredicted(p); err != nil {
				return err
			}
		}
	}
	out.SchedulingDelay = pressure.Delays(measured, predicted, c.seconds(over[0].from), c.seconds(over[len(over)-1].to))
	return nil
}

func (c *cell) modelInput(batches []batchView, over []*throttled, until float64) ModelInput {
	in := ModelInput{Start: c.start + c.wall, End: c.start + c.wall + int64(until*1e9)}
	in.Arrived = func(at int64) float64 { return float64(min(c.plan.Count(at-c.wall), c.plan.Limit())) }
	for i, t := range over {
		in.Sink = append(in.Sink, SinkLimit{t.from + c.wall, t.limit})
		if i+1 == len(over) || over[i+1].from-t.to > 1e9/10 {
			in.Sink = append(in.Sink, SinkLimit{t.to + c.wall, 0})
		}
	}
	phaseOf := func(from, to float64) int {
		return slices.IndexFunc(c.phases, func(p runs.Phase) bool { return from >= p.Start && to <= p.End && p.Fault == "" })
	}
	var first []BatchCost
	for _, b := range batches {
		cost := BatchCost{b.records, b.running / 1e3}
		switch i := phaseOf(c.seconds(b.began()), c.seconds(b.ended)); {
		case b.records == 0 || i < 0:
		case i == 0:
			first = append(first, cost)
		default:
			in.Undisturbed = append(in.Undisturbed, cost)
		}
	}
	if len(in.Undisturbed) == 0 { // warm-up is better than nothing
		in.Undisturbed = first
	}
	return in
}

func recordsPerSecond(rate float64) string {
	return strconv.FormatFloat(math.Round(rate), 'f', -1, 64) + "/s"
}

func percentOf(share float64) string {
	return strconv.FormatFloat(math.Round(share*1000)/10, 'f', -1, 64) + " %"
}
