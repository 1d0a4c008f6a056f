package microbatch

import (
	"sync"
	"time"

	"streamduel/engines/microbatch/control"
)

// limiter holds the rate limit between batches that end and batches that are
// planned.
type limiter struct {
	cfg RateConfig
	pid *control.PID
	mu  sync.Mutex
	// rate in records per second; 0 is none.
	rate    float64
	seconds float64
	begun   time.Time // of the monotonic clock that the estimator and the hold go by
}

func newLimiter(cfg *Config) (*limiter, error) {
	l := &limiter{cfg: cfg.Rate, rate: float64(cfg.Rate.Initial), seconds: cfg.Interval.Std().Seconds(), begun: time.Now()}
	if p := cfg.Rate.PID; p.Enabled {
		var err error
		l.pid, err = control.NewPID(control.PIDConfig{
			Interval: cfg.Interval.Std(), Proportional: p.Proportional, Integral: p.Integral, Derivative: p.Derivative, MinRate: float64(p.MinRate),
		})
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

// completed teaches the estimator that a batch has ended now; changed is true when
// the limit is another than before. Delays are milliseconds.
func (l *limiter) completed(records int64, processing, scheduling float64) (rate float64, changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pid == nil {
		return l.rate, false
	}
	// It takes no batch that did not end later than the one before: by the wall clock
	// it would rest for as long as that was set back.
	rate, ok := l.pid.Completed(millis(time.Since(l.begun)), records, processing, scheduling)
	if !ok || rate == l.rate {
		return l.rate, false
	}
	l.rate = rate
	return rate, true
}

// set is what an executor's receivers are told.
func (l *limiter) set(rate float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = rate
}

func (l *limiter) current() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rate
}

func (l *limiter) limits() control.Limits {
	return control.Limits{
		Rate: l.current(), MaxPerPartition: float64(l.cfg.MaxPerPartition), MinPerPartition: l.cfg.MinPerPartition,
		Seconds: l.seconds, MaxRecords: l.cfg.MaxRecordsPerBatch,
	}
}
