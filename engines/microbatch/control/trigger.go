package control

import "time"

// Boundary returns the first multiple of interval after now, both counted in
// nanoseconds since the Unix epoch. It is the first tick of the queueing clock
// and every trigger of the skipping one.
func Boundary(now int64, interval time.Duration) int64 {
	i := int64(interval)
	if i <= 0 {
		return now
	}
	floor := now / i
	if now%i < 0 {
		floor--
	}
	return floor*i + i
}

// Skipping is the clock of structured streaming: a batch that overruns its
// interval is followed by the next one at once, the ticks in between are
// skipped, and then the grid is met again.
type Skipping struct {
	Interval time.Duration
	next     int64 // nanoseconds since the epoch; 0 before the first trigger
}

// Due returns when the next batch is to start: at once before the first.
func (s *Skipping) Due(now int64) int64 {
	if s.next == 0 {
		return now
	}
	return s.next
}

// Started tells that a batch has started.
func (s *Skipping) Started(now int64) { s.next = Boundary(now, s.Interval) }

// Queueing is the clock of discretized streams: ticks never skip. Those that
// came late fire back to back, and their batches wait in a queue.
type Queueing struct {
	Interval time.Duration
	next     int64
}

// Due returns when the next tick is, which may have passed.
func (q *Queueing) Due(now int64) int64 {
	if q.next == 0 {
		q.next = Boundary(now, q.Interval)
	}
	return q.next
}

// After makes the first tick the one behind last, which may have passed: those missed
// since then come back to back.
func (q *Queueing) After(last int64) { q.next = Boundary(last, q.Interval) }

// Pass leaves out the ticks before a time, at which there is nothing to do.
func (q *Queueing) Pass(until int64) { q.next = max(q.next, Boundary(until-1, q.Interval)) }

// Ticked tells that the tick has been taken.
func (q *Queueing) Ticked() { q.next = Boundary(q.next, q.Interval) }

// Stepped tells that the clock was set, to now: no tick is waited for, or caught up
// with, for time that has not passed. There is one at once, then the grid's.
func (q *Queueing) Stepped(now int64) { q.next = now }
