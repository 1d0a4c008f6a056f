package bench

import (
	"fmt"
	"time"

	"streamduel/engines/microbatch"
	"streamduel/engines/microbatch/control"
	"streamduel/harness"
	"streamduel/runs"
	"streamduel/scenarios"
)

// modelStep is how far points of a predicted curve lie apart.
const modelStep = 100 * time.Millisecond

// predict simulates micro-batch's clock and rate control with what the run offered
// and what its undisturbed batches cost. Other engines have no model.
func predict(c *scenarios.Cell, in harness.ModelInput) (*runs.Predicted, error) {
	config, ok := c.Engine.Config.(*microbatch.Config)
	if !ok {
		return nil, nil
	}
	s, ok := config.Simulation()
	if !ok || len(in.Undisturbed) == 0 { // a machine of which nothing is known
		return nil, nil
	}
	s.Partitions, s.From, s.Until, s.Arrived = c.Scenario.Topics.Partitions, in.Start, in.End, in.Arrived
	for _, l := range in.Sink {
		s.Sink = append(s.Sink, control.SinkLimit{At: l.At, Rate: l.Rate})
	}
	var costs []control.Cost
	for _, b := range in.Undisturbed {
		costs = append(costs, control.Cost{Records: b.Records, Seconds: b.Seconds})
	}
	s.Fixed, s.PerRecord = control.Costs(costs)
	batches, err := s.Run()
	if err != nil {
		return nil, err
	}
	at := func(t int64) float64 { return float64(t-in.Start) / 1e9 }
	p := &runs.Predicted{About: fmt.Sprintf(
		"A simulation of the batch clock and the rate control, with the load of the schedule, the sink's limits, and what the median of %d undisturbed batches cost: %.3g ms each and %.3g µs a record.",
		len(costs), s.Fixed*1e3, s.PerRecord*1e6)}
	for _, b := range batches {
		p.SchedulingDelay = append(p.SchedulingDelay, runs.PredictedPoint{T: at(b.Began), V: b.Waited()})
		if b.Rate > 0 {
			p.RateLimit = append(p.RateLimit, runs.PredictedPoint{T: at(b.Due), V: b.Rate})
		}
	}
	for t := in.Start; t <= in.End; t += int64(modelStep) {
		p.Backlog = append(p.Backlog, runs.PredictedPoint{T: at(t), V: s.Backlog(batches, t)})
	}
	return p, nil
}
