package harness

import (
	"fmt"
	"time"

	"streamduel/harness/plan"
	"streamduel/scenarios"
	"streamduel/workloads"
)

// shape is the offered load of the scenario, and how its records lie in the
// partitions and in event time.
func (c *cell) shape() (plan.Shape, error) {
	s := c.spec.Scenario
	out, err := c.rate()
	if err != nil {
		return out, err
	}
	if s.Backlog() && !s.Load.GoesOn {
		out = out.Cut(time.Duration(s.Phases[0].Duration))
	}
	out.Weights, out.EventSpeed = s.Load.Weights, s.Load.EventTime.Speed
	for _, d := range s.Load.EventTime.Lag {
		out.Lag = append(out.Lag, time.Duration(d))
	}
	if b := s.Load.Bad; b.Share > 0 {
		kinds := c.workload.Bad
		if len(b.Kinds) > 0 {
			kinds = nil
			for _, k := range b.Kinds {
				kinds = append(kinds, workloads.BadKind(k))
			}
		}
		out.Bad = plan.Bad{Share: float64(b.Share) / 100, Kinds: kinds, Seed: c.r.o.Seed}
	}
	return out, nil
}

// rate is the offered rate over time.
func (c *cell) rate() (plan.Shape, error) {
	l := c.spec.Scenario.Load
	rate := float64(l.Rate)
	if l.Speed > 0 {
		g, err := c.workload.Generator(c.spec.Scenario.Workload.Params, c.r.o.Seed)
		if err != nil {
			return plan.Shape{}, fmt.Errorf("workload %s: %w", c.workload.Name, err)
		}
		t, ok := g.(workloads.Timeline)
		if !ok {
			return plan.Shape{}, fmt.Errorf("load.speed: workload %s has no times of its own: give load.rate", c.workload.Name)
		}
		return timelineShape(t.Offsets(), t.Length(), l.Speed), nil
	}
	switch l.Shape {
	case scenarios.ShapeStep:
		points := []plan.Point{{At: 0, Rate: rate}}
		for _, s := range l.Steps {
			points = append(points, plan.Point{At: time.Duration(s.At), Rate: float64(s.Rate)})
		}
		return plan.Steps(points...), nil
	case scenarios.ShapeRamp:
		return plan.Ramp(rate, float64(l.To), time.Duration(l.Over)), nil
	case scenarios.ShapeBurst:
		return plan.Burst(rate, float64(l.Peak), time.Duration(l.Every), time.Duration(l.For)), nil
	case scenarios.ShapeSine:
		return plan.Sine(rate, float64(l.Amplitude), time.Duration(l.Period)), nil
	case scenarios.ShapeTrace:
		points, err := scenarios.ReadTrace(l.File)
		if err != nil {
			return plan.Shape{}, err
		}
		var ps []plan.Point
		for _, p := range points {
			ps = append(ps, plan.Point{At: p.At, Rate: float64(p.Rate)})
		}
		return plan.Trace(ps...), nil
	default:
		return plan.Constant(rate), nil
	}
}

// timelineShape makes a schedule of due times: between two records the rate is
// one record over their distance, so that its integral rises by one just there.
// Records that are due together are a nanosecond apart, the schedule's unit.
func timelineShape(offsets []int64, length int64, speed float64) plan.Shape {
	var s plan.Shape
	at := int64(0)
	for i := range offsets {
		next := length
		if i+1 < len(offsets) {
			next = offsets[i+1]
		}
		end := max(int64(float64(next)/speed), at+1)
		rate := 1e9 / float64(end-at)
		s.Segments = append(s.Segments, plan.Segment{Length: time.Duration(end - at), From: rate, To: rate})
		at = end
	}
	s.Loop = len(s.Segments)
	return s
}
