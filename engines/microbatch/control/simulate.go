package control

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Simulation is a queueing model of a job: records arrive, a clock cuts them into
// batches under limits, one server works on one batch after the other, and the
// estimator learns from each that ends. The clocks, [Take] and [PID] are those
// that the engine runs; what the machine does is reduced to a cost a batch, a cost
// a record, and a sink that takes so many records a second. So what a job shows
// beside the model is the machine, and what both show is the controller.
//
// Times are nanoseconds since the Unix epoch, because ticks are multiples of the
// interval on the wall clock.
type Simulation struct {
	Interval time.Duration
	// Queueing is the clock of discretized streams; else that of structured
	// streaming.
	Queueing bool
	// PID is nil where nothing adapts the rate. Its interval is Interval.
	PID *PIDConfig
	// Limits as the job has them; Rate is the initial rate. Seconds is Interval.
	Limits Limits
	// Partitions share the load evenly.
	Partitions int
	// From and Until bound the simulation; batches that begin later are left out.
	From, Until int64
	// Arrived is how many records have arrived by a time.
	Arrived func(at int64) float64
	// Fixed and PerRecord are what a batch costs that nothing holds up, seconds.
	Fixed, PerRecord float64
	// Sink is how many records a second the sink takes, in the order of time; before
	// the first and where the rate is 0 it takes whatever it gets.
	Sink []SinkLimit
}

// SinkLimit is the sink's limit from a time on.
type SinkLimit struct {
	At   int64
	Rate float64
}

// SimulatedBatch is one batch of a simulation.
type SimulatedBatch struct {
	Due, Began, Ended int64
	Records           int64
	// Rate is the limit that the batch was taken under, records per second; 0 is
	// none.
	Rate float64
}

// Waited is the scheduling delay in seconds.
func (b SimulatedBatch) Waited() float64 { return float64(b.Began-b.Due) / 1e9 }

// simulatedMost bounds a simulation whose clock is too fine for its length.
const simulatedMost = 1_000_000

// Run returns the batches in the order in which they begin.
func (s Simulation) Run() ([]SimulatedBatch, error) {
	switch {
	case s.Interval <= 0:
		return nil, fmt.Errorf("simulation: an interval of %v: above 0 is allowed", s.Interval)
	case s.Partitions < 1:
		return nil, fmt.Errorf("simulation: %d partitions: 1 or more are allowed", s.Partitions)
	case s.Arrived == nil:
		return nil, errors.New("simulation: nobody says what arrives")
	case s.Until < s.From || float64(s.Until-s.From)/float64(s.Interval) > simulatedMost:
		return nil, fmt.Errorf("simulation: %v in batches of %v: at most %d batches", time.Duration(s.Until-s.From), s.Interval, simulatedMost)
	}
	limits := s.Limits
	limits.Seconds = s.Interval.Seconds()
	var pid *PID
	if s.PID != nil {
		cfg := *s.PID
		cfg.Interval = s.Interval
		var err error
		if pid, err = NewPID(cfg); err != nil {
			return nil, err
		}
	}
	var out []SimulatedBatch
	learned := 0 // batches that the estimator knows of
	learn := func(at int64) {
		for ; learned < len(out) && out[learned].Ended <= at; learned++ {
			b := out[learned]
			if pid == nil {
				continue
			}
			if rate, ok := pid.Completed(float64(b.Ended)/1e6, b.Records, float64(b.Ended-b.Began)/1e6, float64(b.Began-b.Due)/1e6); ok {
				limits.Rate = rate
			}
		}
	}
	var planned int64
	lag := make([]int64, s.Partitions)
	free := s.From // when the server is
	tick := Boundary(s.From, s.Interval)
	for due := tick; ; {
		at := due // of planning
		if !s.Queueing {
			at = max(due, free) // an overrun is followed at once
		}
		if at > s.Until {
			return out, nil
		}
		learn(at)
		waiting := max(int64(math.Floor(s.Arrived(at)))-planned, 0)
		for i := range lag {
			lag[i] = (waiting + int64(i)) / int64(s.Partitions) // even, and all of it
		}
		var records int64
		for _, n := range Take(lag, limits) {
			records += n
		}
		if records > 0 {
			planned += records
			b := SimulatedBatch{Due: due, Began: max(at, free), Records: records, Rate: limits.Rate}
			b.Ended = s.ends(b.Began, records)
			free = b.Ended
			if b.Began <= s.Until {
				out = append(out, b)
			}
		}
		if due = due + int64(s.Interval); !s.Queueing {
			due = Boundary(at, s.Interval)
		}
	}
}

// ends is when a batch ends that begins at a time: behind its fixed cost the
// records pass at the machine's rate or the sink's, whichever is less.
func (s Simulation) ends(began, records int64) int64 {
	at := float64(began) + s.Fixed*1e9
	left := float64(records)
	for i := -1; i < len(s.Sink); i++ {
		var rate float64
		if i >= 0 {
			rate = s.Sink[i].Rate
		}
		step := s.PerRecord
		if rate > 0 {
			step = max(step, 1/rate)
		}
		until := math.Inf(1)
		if i+1 < len(s.Sink) {
			until = float64(s.Sink[i+1].At)
		}
		if until <= at {
			continue
		}
		if end := at + left*step*1e9; end <= until {
			return int64(end)
		}
		left -= (until - at) / (step * 1e9)
		at = until
	}
	return int64(at)
}

// Backlog returns how many records had arrived by a time and were not through: a
// batch's records come out evenly while it runs.
func (s Simulation) Backlog(batches []SimulatedBatch, at int64) float64 {
	left := s.Arrived(at)
	for _, b := range batches {
		switch {
		case b.Ended <= at:
			left -= float64(b.Records)
		case b.Began < at:
			left -= float64(b.Records) * float64(at-b.Began) / float64(b.Ended-b.Began)
		}
	}
	return max(left, 0)
}
