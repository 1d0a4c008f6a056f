package control

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// PIDConfig are the parameters of the rate estimator.
type PIDConfig struct {
	Interval     time.Duration // between batches
	Proportional float64       // weight of the error between the last rate and the processing rate
	Integral     float64       // weight of the error accumulated in the scheduling delay
	Derivative   float64       // weight of the error's change
	MinRate      float64       // records per second; never less
}

// PID estimates the rate at which batches can be processed, as Spark's
// PIDRateEstimator does. The zero value is not ready: use NewPID.
type PID struct {
	cfg         PIDConfig
	first       bool
	latestTime  float64 // milliseconds
	latestRate  float64
	latestError float64
}

// NewPID returns an estimator that has seen nothing yet.
func NewPID(cfg PIDConfig) (*PID, error) {
	var errs []error
	if cfg.Interval <= 0 {
		errs = append(errs, fmt.Errorf("PID: batch interval %v: must be above 0", cfg.Interval))
	}
	for _, p := range []struct {
		name  string
		value float64
	}{{"proportional", cfg.Proportional}, {"integral", cfg.Integral}, {"derivative", cfg.Derivative}} {
		if p.value < 0 || math.IsNaN(p.value) {
			errs = append(errs, fmt.Errorf("PID: %s weight %v: must not be negative", p.name, p.value))
		}
	}
	if !(cfg.MinRate > 0) {
		errs = append(errs, fmt.Errorf("PID: minimum rate %v: must be above 0", cfg.MinRate))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &PID{cfg: cfg, first: true, latestTime: -1, latestRate: -1, latestError: -1}, nil
}

// Completed tells of a batch: when it ended, how many records it had, how long
// it ran and how long it had waited, all times in milliseconds. It returns the
// new limit in records per second; ok is false when this batch gives none: the
// very first one only seeds the estimator, and one without records, without
// duration or not newer than the last teaches nothing.
func (p *PID) Completed(time float64, records int64, processing, scheduling float64) (rate float64, ok bool) {
	if time <= p.latestTime || records <= 0 || processing <= 0 {
		return 0, false
	}
	seconds := (time - p.latestTime) / 1000
	processingRate := float64(records) / processing * 1000
	err := p.latestRate - processingRate
	// The records that the waiting time stands for, as a rate over one interval.
	interval := float64(p.cfg.Interval) / 1e6
	historical := scheduling * processingRate / interval
	derivative := (err - p.latestError) / seconds
	rate = max(p.latestRate-p.cfg.Proportional*err-p.cfg.Integral*historical-p.cfg.Derivative*derivative, p.cfg.MinRate)
	p.latestTime = time
	if p.first {
		p.first, p.latestRate, p.latestError = false, processingRate, 0
		return 0, false
	}
	p.latestRate, p.latestError = rate, err
	return rate, true
}
