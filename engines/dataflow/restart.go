package dataflow

import (
	"math/rand/v2"
	"time"

	"streamduel/engines/dataflow/schedule"
)

// Restart says what becomes of a job one of whose tasks has failed. The fields
// of the strategies that are not chosen have no effect.
type Restart struct {
	// Strategy is none, fixed-delay, failure-rate or exponential-delay.
	Strategy string `json:"strategy" jsonschema:"enum=none,enum=fixed-delay,enum=failure-rate,enum=exponential-delay"`
	// Attempts is how often fixed-delay restarts in all.
	Attempts int `json:"attempts"`
	// Failures within Interval are what failure-rate tolerates.
	Failures int      `json:"failures"`
	Interval Duration `json:"interval"`
	// Delay before a restart (fixed-delay and failure-rate).
	Delay Duration `json:"delay"`
	// Initial delay of exponential-delay, which grows by Multiplier up to Max,
	// moved by a random share of up to Jitter, and begins again after Reset
	// without a failure.
	Initial    Duration `json:"initial"`
	Max        Duration `json:"max"`
	Multiplier float64  `json:"multiplier"`
	Jitter     float64  `json:"jitter"`
	Reset      Duration `json:"reset"`
}

// The restart strategies.
const (
	RestartNone        = "none"
	RestartFixedDelay  = "fixed-delay"
	RestartFailureRate = "failure-rate"
	RestartExponential = "exponential-delay"
)

func (r Restart) check(check func(ok bool, field, allowed string)) {
	switch r.Strategy {
	case RestartNone, RestartFixedDelay, RestartFailureRate, RestartExponential:
	default:
		check(false, "restart.strategy", "none, fixed-delay, failure-rate or exponential-delay")
	}
	check(r.Attempts >= 1, "restart.attempts", "1 or more")
	check(r.Failures >= 1, "restart.failures", "1 or more")
	check(r.Interval > 0, "restart.interval", "a duration above 0s")
	check(r.Initial > 0 && r.Initial <= r.Max, "restart.initial", "a duration above 0s and up to restart.max")
	check(r.Multiplier >= 1 && r.Multiplier <= 100, "restart.multiplier", "1 to 100")
	check(r.Jitter >= 0 && r.Jitter < 1, "restart.jitter", "0 up to, but not, 1")
	check(r.Reset > 0, "restart.reset", "a duration above 0s")
}

// strategy makes the strategy that is chosen.
func (r Restart) strategy() schedule.Restart {
	switch r.Strategy {
	case RestartFixedDelay:
		return &schedule.FixedDelay{Attempts: r.Attempts, Delay: time.Duration(r.Delay)}
	case RestartFailureRate:
		return &schedule.FailureRate{Failures: r.Failures, Interval: time.Duration(r.Interval), Delay: time.Duration(r.Delay)}
	case RestartExponential:
		return &schedule.ExponentialDelay{
			Initial: time.Duration(r.Initial), Max: time.Duration(r.Max), Multiplier: r.Multiplier,
			Jitter: r.Jitter, Reset: time.Duration(r.Reset), Random: rand.Float64,
		}
	}
	return schedule.None{}
}
