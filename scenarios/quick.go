package scenarios

import "time"

// QuickPhase is the longest a phase with a fixed length lasts in quick form, and
// QuickTotal the longest that all of a scenario's do together.
const (
	QuickPhase = Duration(3 * time.Second)
	QuickTotal = Duration(10 * time.Second)
)

// Quicken shortens the scenario for `--quick`: the same load, faults, checks
// and gates, in less time. The rule, as documented in docs/:
//
//   - a phase's duration becomes the smaller of itself and 3 s; where they come to
//     more than 10 s together, all shrink by the same factor;
//   - the moment that a job is to start from (start.after) moves with its backlog;
//   - a pause that no longer fits its phase is cut to two thirds of it;
//   - the times of a load shape (steps, ramp, burst, sine) shrink by the same
//     factor as all fixed durations together; a trace is played as it is;
//   - bounds (atMost), rates, crash points and hit counts stay.
//
// Figures of a quick run are for checks, not for quoting.
func (s *Scenario) Quicken() {
	var before, after time.Duration
	first := Duration(0)
	if len(s.Phases) > 0 {
		first = s.Phases[0].Duration
	}
	for i := range s.Phases {
		p := &s.Phases[i]
		before += p.Duration.Std()
		p.Duration = min(p.Duration, QuickPhase)
		after += p.Duration.Std()
	}
	if factor := QuickTotal.Seconds() / after.Seconds(); after > QuickTotal.Std() {
		after = 0
		for i := range s.Phases {
			p := &s.Phases[i]
			p.Duration = Duration(time.Duration(factor * float64(p.Duration)).Truncate(time.Millisecond))
			after += p.Duration.Std()
		}
	}
	if first > 0 {
		s.Start.After = Duration(float64(s.Start.After) * float64(s.Phases[0].Duration) / float64(first))
	}
	for i := range s.Phases {
		p := &s.Phases[i]
		if p.Pause != nil && p.Duration > 0 && p.Pause.Worker > p.Duration {
			p.Pause.Worker = p.Duration * 2 / 3
		}
		if p.Pause != nil && p.Duration > 0 && p.Pause.Coordinator > p.Duration {
			p.Pause.Coordinator = p.Duration * 2 / 3
		}
	}
	if after >= before {
		return
	}
	shrink := func(d *Duration) {
		*d = Duration(float64(*d) * float64(after) / float64(before))
	}
	l := &s.Load
	for i := range l.Steps {
		shrink(&l.Steps[i].At)
	}
	shrink(&l.Over)
	shrink(&l.Every)
	shrink(&l.For)
	shrink(&l.Period)
}
