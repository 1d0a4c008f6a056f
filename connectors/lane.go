package connectors

import (
	"context"
	"sync/atomic"
)

// Lane is one writer's own way through a gate. It does what the gate does; what
// it counts lies on cache lines of its own, so that writers, and the goroutines
// that get their answers, do not take one line from each other for every record.
// A nil lane is that of a nil gate: always open.
type Lane struct {
	gate *Gate
	shut atomic.Bool

	_       [64]byte
	entered atomic.Int64 // stored by the writing goroutine alone
	_       [64]byte
	left    atomic.Int64
	acked   atomic.Int64
	_       [64]byte
}

// Lane opens a lane. Close it when its writer is closed.
func (g *Gate) Lane() *Lane {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.foldLanes()
	l := &Lane{gate: g}
	g.lanes = append(g.lanes, l)
	return l
}

// foldLanes takes the counts of lanes that cannot change any more over, so that
// writers that come and go do not pile up.
func (g *Gate) foldLanes() {
	open := g.lanes[:0]
	for _, l := range g.lanes {
		n := l.entered.Load()
		if !l.shut.Load() || l.left.Load() != n {
			open = append(open, l)
			continue
		}
		g.written.Add(n)
		g.acked.Add(l.acked.Load())
	}
	clear(g.lanes[len(open):])
	g.lanes = open
}

// Enter is the gate's, for the one goroutine that writes.
func (l *Lane) Enter(ctx context.Context) error {
	if l == nil {
		return nil
	}
	if err := l.gate.throttled(ctx); err != nil {
		return err
	}
	// As in Gate.Enter: counted in before looking at closed.
	n := l.entered.Load()
	l.entered.Store(n + 1)
	if l.gate.closed.Load() {
		l.entered.Store(n)
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// Leave is the gate's; any goroutine may call it.
func (l *Lane) Leave(n, acked int64) {
	if l == nil {
		return
	}
	// Acknowledged first: who sees nothing in flight sees every acknowledgement.
	if acked != 0 {
		l.acked.Add(acked)
	}
	l.left.Add(n)
}

// Close says that nothing enters any more; answers may still come.
func (l *Lane) Close() {
	if l != nil {
		l.shut.Store(true)
	}
}
