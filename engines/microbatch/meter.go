package microbatch

import (
	"sync"
	"time"
)

// meter adds up how long the tasks of a stage have run, those that still run
// included.
type meter struct {
	mu      sync.Mutex
	running int
	since   time.Time // of the last change
	total   time.Duration
}

func (m *meter) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(time.Now())
	m.running += n
}

func (m *meter) advance(now time.Time) {
	if m.running > 0 {
		m.total += time.Duration(m.running) * now.Sub(m.since)
	}
	m.since = now
}

// busy returns the tasks' running time so far.
func (m *meter) busy(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(now)
	return m.total
}

// lateness adds up how long a batch that was due had to wait for the one
// before it. That is what pressure looks like in this model.
type lateness struct {
	mu    sync.Mutex
	due   time.Time // of the next batch; zero when none can be late
	total time.Duration
}

// expect tells that a batch runs and when the next one is due.
func (l *lateness) expect(due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due = due
}

// settle tells that the batch has ended.
func (l *lateness) settle(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.due.IsZero() && now.After(l.due) {
		l.total += now.Sub(l.due)
	}
	l.due = time.Time{}
}

func (l *lateness) sum(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.due.IsZero() && now.After(l.due) {
		return l.total + now.Sub(l.due)
	}
	return l.total
}
