package schedule

import (
	"fmt"
	"math"
	"time"
)

// Restart is a restart strategy. It is asked at every failure and remembers what
// it needs of those before.
type Restart interface {
	// Failed tells of a failure and returns after what delay to restart; no tells
	// why not to.
	Failed(now time.Time) (delay time.Duration, no error)
}

// None never restarts.
type None struct{}

// Failed implements Restart.
func (None) Failed(time.Time) (time.Duration, error) {
	return 0, fmt.Errorf("the restart strategy is none")
}

// FixedDelay restarts so many times in all.
type FixedDelay struct {
	Attempts int
	Delay    time.Duration
	failures int
}

// Failed implements Restart.
func (f *FixedDelay) Failed(time.Time) (time.Duration, error) {
	if f.failures++; f.failures > f.Attempts {
		return 0, fmt.Errorf("restarted %d times, which is what the fixed delay strategy allows", f.Attempts)
	}
	return f.Delay, nil
}

// FailureRate restarts unless more than so many failures fall into an interval.
type FailureRate struct {
	Failures int
	Interval time.Duration
	Delay    time.Duration
	recent   []time.Time
}

// Failed implements Restart.
func (f *FailureRate) Failed(now time.Time) (time.Duration, error) {
	kept := f.recent[:0]
	for _, t := range f.recent {
		if now.Sub(t) <= f.Interval {
			kept = append(kept, t)
		}
	}
	if f.recent = append(kept, now); len(f.recent) > f.Failures {
		return 0, fmt.Errorf("%d failures within %v, and the failure rate strategy allows %d", len(f.recent), f.Interval, f.Failures)
	}
	return f.Delay, nil
}

// ExponentialDelay waits Initial·Multiplier^k, at most Max, and begins again
// after Reset without a failure. Jitter is the share by which a delay is moved at
// random, up or down, so that jobs which failed together do not restart
// together. Random returns numbers in [0, 1).
type ExponentialDelay struct {
	Initial, Max time.Duration
	Multiplier   float64
	Jitter       float64
	Reset        time.Duration
	Random       func() float64
	next         time.Duration
	running      time.Time // when the last restart took place
}

// Failed implements Restart.
func (e *ExponentialDelay) Failed(now time.Time) (time.Duration, error) {
	if e.next == 0 || now.Sub(e.running) >= e.Reset {
		e.next = e.Initial
	}
	d := e.next
	e.next = min(time.Duration(math.Min(float64(d)*e.Multiplier, float64(e.Max))), e.Max)
	if e.Jitter > 0 {
		d += time.Duration((2*e.Random() - 1) * e.Jitter * float64(d))
		d = min(d, e.Max)
	}
	e.running = now.Add(d)
	return d, nil
}
