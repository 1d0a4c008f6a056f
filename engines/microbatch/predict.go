package microbatch

import (
	"streamduel/engines/microbatch/control"
)

// Simulation returns the queueing model of a job with this configuration; what
// arrives, what a batch costs and what the sink takes is the caller's to say. ok is
// false where the model knows no such job: with receivers, which take records in
// whenever they come, with several batches at once, and with triggers that end it.
func (c *Config) Simulation() (s control.Simulation, ok bool) {
	if c.Source.Mode == Receiver || c.Scheduler.ConcurrentJobs > 1 || c.Trigger != ProcessingTime || c.Rate.MinRecordsPerBatch > 0 {
		return s, false
	}
	s.Interval, s.Queueing = c.Interval.Std(), c.Clock == Queueing
	s.Limits = control.Limits{
		Rate: float64(c.Rate.Initial), MaxPerPartition: float64(c.Rate.MaxPerPartition), MinPerPartition: c.Rate.MinPerPartition,
		MaxRecords: c.Rate.MaxRecordsPerBatch,
	}
	if p := c.Rate.PID; p.Enabled {
		s.PID = &control.PIDConfig{Proportional: p.Proportional, Integral: p.Integral, Derivative: p.Derivative, MinRate: float64(p.MinRate)}
	}
	return s, true
}
