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
	waitHard               // as waitBlocked, in the middle of a record
)

// blocked reports whether an output has no free buffer.
func (r waitReason) blocked() bool { return r == waitBlocked || r == waitHard }

// usage is a subtask's account of its time. The clock is read only where a wait
// begins or ends. It is written by the subtask and read by anyone.
type usage struct {
	reason  atomic.Int32
	since   atomic.Int64
	blocked atomic.Int64
	idle    atomic.Int64
	hard    atomic.Int64 // of blocked
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
	case waitHard:
		u.blocked.Add(d)
		u.hard.Add(d)
	case waitIdle:
		u.idle.Add(d)
	}
}

// totals returns the time blocked and idle up to now, a wait under way
// included.
func (u *usage) totals(now int64) (blocked, idle int64) {
	blocked, idle = u.blocked.Load(), u.idle.Load()
	switch waitReason(u.reason.Load()) {
	case waitBlocked, waitHard:
		blocked += max(now-u.since.Load(), 0)
	case waitIdle:
		idle += max(now-u.since.Load(), 0)
	}
	return blocked, idle
}

// hardly is totals for the time blocked in the middle of a record.
func (u *usage) hardly(now int64) int64 {
	hard := u.hard.Load()
	if waitReason(u.reason.Load()) == waitHard {
		hard += max(now-u.since.Load(), 0)
	}
	return hard
}
