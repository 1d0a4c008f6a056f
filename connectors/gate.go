package connectors

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Gate stands between a job's operators and all of its sink writers. It does
// two things for the harness, the same in both engines: it throttles the job's
// output to a total rate, record by record and before any client buffer, and
// at a failpoint it is closed, so that the requests in flight can be waited for
// and counted before the process kills itself.
//
// The open gate costs two atomic operations a record.
type Gate struct {
	closed   atomic.Bool
	rate     atomic.Int64 // records per second; 0 = unlimited
	inFlight atomic.Int64 // records handed to writers and not yet acknowledged
	written  atomic.Int64
	acked    atomic.Int64

	mu     sync.Mutex
	next   time.Time // when the next throttled record may pass
	wake   chan struct{}
	beyond Beyond
	lanes  []*Lane

	lender   func(context.Context) (n int, err error) // nil: the gate keeps time itself
	lent     int                                      // records that may pass
	borrowed chan struct{}                            // closed when somebody has asked the lender; nil: nobody asks
}

// Beyond is the part of a gate that stands in other processes, before those of a
// job's writers that run there.
type Beyond interface {
	// Throttle, Close and Drain are as the gate's.
	Throttle(rate float64)
	Close()
	Drain(ctx context.Context) error
	// Counts are as the gate's, as far as known; behind Drain they are exact.
	Counts() (written, acked, inFlight int64)
}

// Extend makes whatever the gate is told hold beyond this process too.
func (g *Gate) Extend(b Beyond) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.beyond = b
	b.Throttle(float64(g.rate.Load()) / 1000)
}

// Borrow makes a throttled gate let through what lender, which may block, says: how
// many records may pass next, of a total that it shares out among several gates. So
// none keeps a part of the total that it has no use for. The lender is asked by one
// writer at a time, and only while there is a throttle.
func (g *Gate) Borrow(lender func(context.Context) (n int, err error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lender = lender
}

// Lend is Enter for records that pass another gate: it waits until one may, and
// returns how many may with it so that the gates among which the total is shared out
// let through no more than a burst together. part is that gate's, above 0 and at most 1.
func (g *Gate) Lend(ctx context.Context, part float64) (n int, err error) {
	n = max(1, int(float64(g.rate.Load())/1000*(burst/2).Seconds()*part))
	return n, g.wait(ctx, n)
}

// nap is the shortest sleep of a throttled writer: it then lets through at once
// what has fallen due meanwhile, instead of setting a timer for each record.
const nap = 2 * time.Millisecond

// burst bounds how much a throttled writer may catch up at once after it was
// late, so that the rate holds at the scale of 10 ms.
const burst = 10 * time.Millisecond

// NewGate returns an open gate.
func NewGate() *Gate { return &Gate{wake: make(chan struct{})} }

// Throttle limits all writers together to rate records per second; 0 lifts the
// limit at once, also for writers that wait.
func (g *Gate) Throttle(rate float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Rates are kept in thousandths, so that slow sinks can be described.
	g.rate.Store(int64(rate * 1000))
	g.next = time.Now()
	close(g.wake)
	g.wake = make(chan struct{})
	if g.beyond != nil {
		g.beyond.Throttle(rate)
	}
}

// Enter lets one record through. It blocks while the throttle says so, and for
// good after Close: the process is about to die, and an error would only make
// the job say something else first. It returns the context's error.
func (g *Gate) Enter(ctx context.Context) error {
	if g == nil {
		return nil
	}
	if err := g.throttled(ctx); err != nil {
		return err
	}
	// Counting in before looking at closed, and Close setting closed before it
	// looks at the count, is what makes Drain's zero final.
	g.inFlight.Add(1)
	if g.closed.Load() {
		g.inFlight.Add(-1)
		<-ctx.Done()
		return ctx.Err()
	}
	g.written.Add(1)
	return nil
}

// throttled blocks while the throttle says so.
func (g *Gate) throttled(ctx context.Context) error {
	if g.rate.Load() == 0 {
		return nil
	}
	return g.wait(ctx, 1)
}

// wait waits until the first of n records may pass.
func (g *Gate) wait(ctx context.Context, n int) error {
	for {
		g.mu.Lock()
		rate := g.rate.Load()
		if rate == 0 {
			g.mu.Unlock()
			return nil
		}
		if g.lender != nil {
			passed, err := g.borrow(ctx)
			if passed || err != nil {
				return err
			}
			continue
		}
		step := time.Duration(1e12 / rate)
		now := time.Now()
		if floor := now.Add(-burst); g.next.Before(floor) {
			g.next = floor
		}
		if !g.next.After(now) {
			g.next = g.next.Add(step * time.Duration(n))
			g.mu.Unlock()
			return nil
		}
		d, wake := g.next.Sub(now), g.wake
		g.mu.Unlock()
		t := time.NewTimer(max(d, nap))
		select {
		case <-t.C:
		case <-wake:
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// borrow lets a record pass if one may; else it has the lender asked, and waits for
// its answer or for the throttle to change. The lock is held and released.
func (g *Gate) borrow(ctx context.Context) (passed bool, _ error) {
	if g.lent > 0 {
		g.lent--
		g.mu.Unlock()
		return true, nil
	}
	if asked := g.borrowed; asked != nil {
		wake := g.wake
		g.mu.Unlock()
		select {
		case <-asked:
		case <-wake:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		return false, nil
	}
	asked := make(chan struct{})
	g.borrowed = asked
	g.mu.Unlock()
	n, err := g.lender(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.borrowed = nil
	close(asked)
	if err == nil {
		g.lent = n
	}
	return false, err
}

// Leave tells the gate that n records that had entered are settled: acked of
// them acknowledged, the rest failed.
func (g *Gate) Leave(n, acked int64) {
	if g == nil {
		return
	}
	g.acked.Add(acked)
	g.inFlight.Add(-n)
}

// Close stops every further record. It does not wait.
func (g *Gate) Close() {
	g.closed.Store(true)
	if b := g.extension(); b != nil {
		b.Close()
	}
}

func (g *Gate) extension() Beyond {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.beyond
}

// Drain waits until nothing is in flight. Call it after Close.
func (g *Gate) Drain(ctx context.Context) error {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for {
		if _, _, inFlight := g.own(); inFlight <= 0 {
			break
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if b := g.extension(); b != nil {
		return b.Drain(ctx)
	}
	return nil
}

// Counts returns how many records have entered, were acknowledged and are in
// flight.
func (g *Gate) Counts() (written, acked, inFlight int64) {
	if g == nil {
		return 0, 0, 0
	}
	written, acked, inFlight = g.own()
	if b := g.extension(); b != nil {
		w, a, f := b.Counts()
		written, acked, inFlight = written+w, acked+a, inFlight+f
	}
	return written, acked, inFlight
}

// own are the counts of this process.
func (g *Gate) own() (written, acked, inFlight int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	written, acked, inFlight = g.written.Load(), g.acked.Load(), g.inFlight.Load()
	for _, l := range g.lanes {
		// What left is read before what entered, so that a record that goes
		// through meanwhile counts as in flight and never as less than nothing.
		a, left := l.acked.Load(), l.left.Load()
		entered := l.entered.Load()
		written, acked, inFlight = written+entered, acked+a, inFlight+entered-left
	}
	return written, acked, inFlight
}
