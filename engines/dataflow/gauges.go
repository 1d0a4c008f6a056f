package dataflow

import (
	"slices"
	"sync"
	"sync/atomic"

	"streamduel/clock"
	"streamduel/engines"
	"streamduel/metrics"
	"streamduel/pipeline"
)

// gaugeState remembers the last call of Gauges, for shares of time.
type gaugeState struct {
	mu      sync.Mutex
	at      int64
	blocked []int64
	idle    []int64
	state   atomic.Pointer[engines.StateUsage] // at the last checkpoint
}

// Gauges implements engines.Run.
func (r *run) Gauges() engines.Gauges {
	g := &r.gauges
	g.mu.Lock()
	defer g.mu.Unlock()
	r.members.look()
	now := clock.Mono()
	span := float64(max(now-g.at, 1))
	g.at = now
	out := engines.Gauges{BadRecords: r.bad.Count() + r.members.badRecords(), State: g.state.Load()}
	low := pipeline.NoTime
	for i, seat := range r.seats {
		t := seat.task()
		blocked, idle := t.waits.totals(now)
		b := clip(float64(blocked-g.blocked[i]) / span)
		s := clip(float64(idle-g.idle[i]) / span)
		g.blocked[i], g.idle[i] = blocked, idle
		pressure := t.shown.pressure.Load()
		if t.away == nil {
			pressure = seat.pressure.view()
		}
		out.Tasks = append(out.Tasks, engines.Task{Name: t.name, Busy: clip(1 - b - s), Blocked: b, Idle: s, BackPressure: pressure, IO: t.view()})

		out.Consumed += t.shown.consumed.Load()
		out.Written += t.shown.written.Load()
		out.QueuedRecords += t.shown.held.Load() + t.shown.partial.Load()
		out.QueuedBytes += t.shown.heldBytes.Load() + t.shown.partBytes.Load()
		if t.in != nil {
			records, bytes := t.in.queuedRecords()
			out.QueuedRecords += int64(records)
			out.QueuedBytes += int64(bytes)
		}
		if wm := t.shown.watermark.Load(); len(t.outlets) == 0 && wm != pipeline.NoTime && (low == pipeline.NoTime || wm < low) {
			low = wm
		}
	}
	for _, s := range r.sources {
		out.Lag += s.lag()
	}
	if low != pipeline.NoTime {
		out.WatermarkMs = &low
	}
	return out
}

// Metrics implements engines.Metered.
func (r *run) Metrics() (all []metrics.Value) {
	now := clock.Mono()
	for _, s := range r.seats {
		if t := s.task(); t != nil {
			all = append(all, t.metrics(now)...)
		}
	}
	slices.SortFunc(all, metrics.Compare)
	return all
}

func clip(x float64) float64 { return min(max(x, 0), 1) }
