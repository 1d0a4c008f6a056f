package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What validate.go checks of faults of a crash and of transactions.

// Kafka counts a transaction's timeout in whole milliseconds and looks at it every
// so often: a shorter one than this would be given up in a busy moment.
const (
	minTransactionTimeout = Duration(100 * time.Millisecond)
	maxTransactionTimeout = Duration(24 * time.Hour)
)

func (d *decoder) validateTransactions(s *Scenario) {
	switch {
	case !d.given("transactionTimeout"):
	case s.TransactionTimeout < minTransactionTimeout || s.TransactionTimeout > maxTransactionTimeout:
		d.complain("transactionTimeout", fmt.Sprintf("%s to %s", minTransactionTimeout, maxTransactionTimeout))
	case len(s.Guarantees) > 0 && !slices.Contains(s.Guarantees, ExactlyOnce):
		d.complain("transactionTimeout", "only with exactly-once among the guarantees: no other has transactions")
	}
}

func (d *decoder) validateCrash(s *Scenario, c *Crash, path string) {
	if d.given(path+".hit") && (c.Hit < 1 || c.Hit > 1_000_000) {
		d.complain(path+".hit", "1 to 1000000: how often the point is reached before the crash")
	}
	if !d.require(path+".at", "the point for each engine, such as { microbatch: M3, dataflow: D5 }") {
		return
	}
	if d.someEngineUnknown {
		return
	}
	d.validatePoints(s, c.At, path+".at")
	if d.given(path + ".again") {
		d.validatePoints(s, c.Again, path+".again")
	}
}

// validatePoints checks that each engine has a point, and one that it knows.
func (d *decoder) validatePoints(s *Scenario, points map[string]string, path string) {
	for name, point := range points {
		p := join(path, name)
		e, ok := s.Engines.Get(name)
		switch {
		case !ok:
			d.complain(p, "not an engine of this scenario: "+oneOf(name, s.Engines.Names()))
		case len(e.CrashPoints) == 0:
			d.complain(p, fmt.Sprintf("engine %s names no crashPoints", name))
		case !slices.Contains(e.CrashPoints, point):
			d.complain(p, fmt.Sprintf("a crash point of engine %s: %s", name, oneOf(point, e.CrashPoints)))
		}
	}
	for _, e := range s.Engines {
		if _, ok := points[e.Name]; !ok {
			d.complain(path, fmt.Sprintf("missing: a point for engine %s, one of %s", e.Name, strings.Join(e.CrashPoints, ", ")))
		}
	}
}

// validateFailure checks a phase that waits for the job to fail.
func (d *decoder) validateFailure(p *Phase, path string) {
	if d.given(path+".says") && p.Until != Failed {
		d.complain(path+".says", "only with until: failed: it is what the job's error must hold")
	}
	for i, text := range p.Says {
		if strings.TrimSpace(text) == "" {
			d.complain(fmt.Sprintf("%s.says[%d]", path, i), "a text that the job's error must hold")
		}
	}
	if f := p.Fault(); p.Until == Failed && f != "" && f != "throttle" {
		d.complain(path+".until", "failed with a throttle or no fault: "+f+" ends or stops the job in a way of its own")
	}
}

// validatePause checks who stands still, and for how long.
func (d *decoder) validatePause(p *Phase, path string) {
	who, long := path+".worker", p.Pause.Worker
	if d.given(path + ".coordinator") {
		if d.given(who) {
			d.complain(path, "worker or coordinator, not both")
		}
		if d.given(path + ".replace") {
			d.complain(path+".replace", "with worker only: a coordinator that stands still is replaced by one that stands by")
		}
		who, long = path+".coordinator", p.Pause.Coordinator
	}
	if d.require(who, "how long the worker stands still, such as 20s (or coordinator: how long the one that leads does)") {
		d.positive(who, long)
	}
	if p.Duration > 0 && long > p.Duration {
		d.complain(who, fmt.Sprintf("at most the phase's duration, %s", p.Duration))
	}
}

// standing returns the engines whose jobs have coordinators that stand by, and those
// whose jobs have none.
func standing(s *Scenario) (some, none []string) {
	for _, e := range s.Engines {
		if c, ok := e.Config.(Standing); ok && c.StandBy() > 0 {
			some = append(some, e.Name)
		} else if len(e.Command) == 0 { // what one's own has, it says itself
			none = append(none, e.Name)
		}
	}
	return some, none
}

// validateStanding checks that every engine has a coordinator that takes the place
// of the one that leads.
func (d *decoder) validateStanding(s *Scenario, path string) {
	_, none := standing(s)
	for _, name := range none {
		d.complain(path, fmt.Sprintf("engine %s has one coordinator, its worker: set engines.%s.standbys to 1 or more where it has that, or kill or pause the worker", name, name))
	}
}

// refuseStanding refuses a field where coordinators stand by.
func (d *decoder) refuseStanding(s *Scenario, path, why string) {
	if !d.given(path) {
		return
	}
	some, _ := standing(s)
	for _, name := range some {
		d.complain(path, fmt.Sprintf("not with engines.%s.standbys above 0: %s", name, why))
	}
}

// validateRescale checks that there is a parallelism to go to and a way there.
func (d *decoder) validateRescale(s *Scenario, r *Rescale, path string) {
	if d.require(path+".parallelism", "the job's new parallelism, 1 to 64") {
		d.between(path+".parallelism", r.Parallelism, 1, 64)
	}
	d.validateSavepoints(s, path)
}

// validateSavepoints checks that every engine takes savepoints.
func (d *decoder) validateSavepoints(s *Scenario, path string) {
	for _, e := range s.Engines {
		if spec, builtIn := d.vocab.Engines[e.Name]; builtIn && !spec.Savepoints {
			d.complain(path, fmt.Sprintf("engine %s takes no savepoints: in a scenario without it", e.Name))
		}
	}
}
