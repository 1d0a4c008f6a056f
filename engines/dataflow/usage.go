package dataflow

import (
	"sync/atomic"

	"streamduel/clock"
)

// waitReason says why a subtask does not run.
type waitReason int32

const (
	running     waitReason = iota
	waitBlocked            // an output has no free buffer
	waitIdle               // there is nothing to do
)

// usage is a subtask's account of its time. The clock is read only where a wait
// begins or ends. It is written by the subtask and read by anyone.
type usage struct {
	reason  atomic.Int32
	since   atomic.Int64
	blocked atomic.Int64
	idle    atomic.Int64
}

func (u *usage) begin(r waitReason) {
	u.since.Store(clock.Mono())
	u.reason.Store(int32(r))
}

func (u *usage) end() {
	d := clock.Mono() - u.since.Load()
	switch waitReason(u.reason.Swap(int32(running))) {
	case waitBlocked:
		u.blocked.Add(d)
	case waitIdle:
		u.idle.Add(d)
	}
}

// totals returns the time blocked and idle up to now, a wait under way
// included.
func (u *usage) totals(now int64) (blocked, idle int64) {
	blocked, idle = u.blocked.Load(), u.idle.Load()
	switch waitReason(u.reason.Load()) {
	case waitBlocked:
		blocked += max(now-u.since.Load(), 0)
	case waitIdle:
		idle += max(now-u.since.Load(), 0)
	}
	return blocked, idle
}
