package dataflow

import (
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/exchange"
	"streamduel/exchange/debloat"
	"streamduel/pipeline"
)

// gate is a subtask's input from one edge, as debloating sees it. Each period the
// run's ticker works out from what the subtask has taken in, and how long it had
// something to take in, how large the buffers on their way to it should be, and tells
// their writers. The first gate's idle time is the subtask's: with several inputs one
// that waits while another is busy counts as slow.
type gate struct {
	edge     *pipeline.Edge
	channels []int
	bytes    atomic.Int64 // taken in; the subtask writes it

	// The ticker's.
	core    *debloat.Debloater
	through debloat.Throughput
	before  int64 // bytes
	at      int64 // monotonic nanoseconds of the last look
	idle    int64 // nanoseconds that the subtask had been idle by then

	// For the gauges.
	size     atomic.Int64
	estimate atomic.Int64 // nanoseconds
}

// newGates makes a subtask's gates, none where buffers keep their size.
func newGates(in *inlet, b Buffers) (gs []*gate) {
	if !b.Debloat.Enabled {
		return nil
	}
	of := map[*pipeline.Edge]*gate{}
	for ch := range in.channels {
		c := &in.channels[ch]
		g := of[c.edge]
		if g == nil {
			g = &gate{edge: c.edge, at: clock.Mono(), core: debloat.New(debloat.Config{
				Target: time.Duration(b.Debloat.Target), MinSize: exchange.MinSize, MaxSize: b.Size,
				ThresholdPercent: b.Debloat.ThresholdPercent, Samples: b.Debloat.Samples,
			})}
			g.size.Store(int64(b.Size))
			of[c.edge] = g
			gs = append(gs, g)
		}
		c.gate = g
		g.channels = append(g.channels, ch)
	}
	return gs
}

// debloat works out the size of the buffers on their way to the subtask.
func (t *task) debloat() {
	if t.away != nil || t.in == nil || !t.alive.Load() {
		return
	}
	now := clock.Mono()
	_, idle := t.waits.totals(now)
	for _, g := range t.in.gates {
		bytes := g.bytes.Load()
		speed := g.through.Measure(bytes-g.before, time.Duration(max(now-g.at-max(idle-g.idle, 0), 0)))
		g.before, g.at, g.idle = bytes, now, idle
		buffers := 0
		for _, ch := range g.channels {
			c := &t.in.channels[ch]
			n, _ := c.ring.Waiting()
			buffers += n
			if c.remote {
				buffers += t.in.gate.Backlog(c.tag) // still at the sender
			}
		}
		size, changed := g.core.Recalculate(speed, buffers)
		g.size.Store(int64(size))
		g.estimate.Store(int64(g.core.Estimate()))
		if !changed {
			continue
		}
		for _, ch := range g.channels {
			t.in.channels[ch].ring.Resize(size)
		}
	}
}
