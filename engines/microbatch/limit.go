package microbatch

import (
	"sync"

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
}

func newLimiter(cfg *Config) (*limiter, error) {
	l := &limiter{cfg: cfg.Rate, rate: float64(cfg.Rate.Initial), seconds: cfg.Interval.Std().Seconds()}
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

// completed teaches the estimator; changed is true when the limit is another
// than before. Times are milliseconds.
func (l *limiter) completed(time float64, records int64, processing, scheduling float64) (rate float64, changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pid == nil {
		return l.rate, false
	}
	rate, ok := l.pid.Completed(time, records, processing, scheduling)
	if !ok || rate == l.rate {
		return l.rate, false
	}
	l.rate = rate
	return rate, true
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
