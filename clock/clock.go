// Package clock is the one source of time of the project.
//
// Schedules and latencies use the host's monotonic clock, which every process
// of a host shares, so that a time written by the load generator can be
// subtracted from one read by the observer. Wall time is only used where a
// pipeline or a batch log needs a date.
package clock

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// base pairs Go's process-relative monotonic reading with CLOCK_MONOTONIC once,
// at start: time.Since is read through the vDSO, a raw clock_gettime is a
// system call, and both tick the same clock.
var (
	base     = time.Now()
	baseMono = readMonotonic()
)

func readMonotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("clock: CLOCK_MONOTONIC cannot be read: " + err.Error())
	}
	return ts.Nano()
}

// Mono returns the host's monotonic clock in nanoseconds. Values of different
// processes on one host are comparable.
func Mono() int64 { return baseMono + int64(time.Since(base)) }

// Until returns how long it is until the monotonic time mono; negative when it
// has passed.
func Until(mono int64) time.Duration { return time.Duration(mono - Mono()) }

// Clock is what an engine reads wall time from. Its offset can be stepped to
// rehearse a clock jump without touching the machine's clock. The zero value
// reads the machine's clock.
type Clock struct {
	offset atomic.Int64
	held   atomic.Pointer[time.Time]
}

// Now returns the wall time including the offset.
func (c *Clock) Now() time.Time {
	if t := c.held.Load(); t != nil {
		return *t
	}
	return time.Now().Add(time.Duration(c.offset.Load()))
}

// Hold stops the wall time at t until the next Hold, for tests that say
// themselves what time it is.
func (c *Clock) Hold(t time.Time) { c.held.Store(&t) }

// Millis returns the wall time in Unix milliseconds including the offset.
func (c *Clock) Millis() int64 { return c.Now().UnixMilli() }

// Step moves the wall time by d, which may be negative.
func (c *Clock) Step(d time.Duration) { c.offset.Add(int64(d)) }
