package microbatch

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/engines"
	"streamduel/metrics"
)

// gauges is what the job counts of itself.
type gauges struct {
	meters        []*meter // one a stage
	blocked       []*meter // likewise
	late          lateness
	consumed      atomic.Int64
	generationMu  sync.Mutex   // held where a generation ends
	retired       int64        // written by generations that are gone
	progress      atomic.Int64 // written before the batch that runs
	waiting       atomic.Int64 // records of batches that are planned and not committed
	bufferedBytes atomic.Int64
	spilledBytes  atomic.Int64 // in files
	lag           atomic.Int64
	stateUsage    atomic.Pointer[engines.StateUsage] // at the last batch

	lastMu   sync.Mutex
	last     time.Time
	lastBusy []time.Duration
	lastHeld []time.Duration
	lastLate time.Duration
}

// count takes in what the functions of a task have counted in an attempt that is the
// one that counts. The dispatcher is locked.
func (b *batch) count(by place, u metrics.Update) {
	if u == nil {
		return
	}
	if b.counted == nil {
		b.counted = map[place]metrics.Update{}
	}
	b.counted[by] = u
}

// count adds up what the functions have counted in a batch that is committed. What
// they did in attempts that failed, or whose output was lost, or whose batch failed,
// is not in it; Spark leaves out only failed attempts.
func (r *run) count(b *batch) {
	for by, u := range b.counted {
		r.counts.Add(by.Task, u)
	}
	b.counted = nil
}

// Metrics implements engines.Metered.
func (r *run) Metrics() []metrics.Value { return r.counts.Values(clock.Mono()) }

func (r *run) planned(b *batch) { r.waiting.Add(b.records) }
func (r *run) unplan(b *batch)  { r.waiting.Add(-b.records) }

// written counts what the sinks have taken, up to when they were last asked where
// they are writing.
func (g *generation) written() (n int64) {
	for _, s := range g.stages {
		for _, t := range s.tasks {
			for _, w := range t.writers {
				w.asked.Store(true)
				n += w.written.Load()
			}
		}
	}
	return n
}

// metrics tells how the tasks of the last batch ran.
func (g *generation) metrics() (out []engines.StageMetrics) {
	var took []time.Duration
	for _, s := range g.stages {
		m := engines.StageMetrics{Name: s.fragment.Name, Tasks: len(s.tasks)}
		took = took[:0]
		for _, t := range s.tasks {
			took = append(took, t.took)
			m.Failed += t.failed
			m.Shuffled += t.shuffledRows()
			m.Spilled += t.spilled()
		}
		slices.Sort(took)
		m.P50, m.Max = millis(took[len(took)/2]), millis(took[len(took)-1])
		out = append(out, m)
	}
	return out
}

// written counts the records that the sinks have taken.
func (r *run) written() int64 {
	r.generationMu.Lock()
	defer r.generationMu.Unlock()
	n := r.retired
	for _, s := range r.slots {
		if g := s.generation.Load(); g != nil {
			n += g.written()
		}
	}
	return n + r.executors.status().Gate[0]
}

// Gauges returns what the engine sees of itself. Shares of a stage are of its
// tasks' time; blocked is the time for which a batch was due and the one before
// it still ran, less what the stage itself was busy; where stages run at the same
// time, what they waited for one another.
func (r *run) Gauges() engines.Gauges {
	r.executors.look()
	written := r.written()
	waiting := r.waiting.Load()
	// With one output a record this is exact; where a job filters or aggregates,
	// a batch counts as inside until it is committed.
	inside := max(waiting-max(written-r.progress.Load(), 0), 0)
	far := r.executors.status()
	g := engines.Gauges{
		Consumed: r.consumed.Load() + far.Taken, Written: written,
		QueuedRecords: inside, QueuedBytes: r.bufferedBytes.Load() + r.spilledBytes.Load() + far.Buffered, Lag: r.lag.Load(), State: r.stateUsage.Load(), BadRecords: r.bad.Count() + far.Bad,
	}
	if rate := r.limit.current(); rate > 0 {
		g.RateLimit = &rate
	}
	if wm := r.watermark.Load(); wm != noTime {
		g.WatermarkMs = &wm
	}
	now := time.Now()
	r.lastMu.Lock()
	defer r.lastMu.Unlock()
	late := r.late.sum(now)
	if r.lastBusy == nil {
		r.lastBusy, r.lastHeld = make([]time.Duration, len(r.meters)), make([]time.Duration, len(r.meters))
	}
	span := now.Sub(r.last)
	for i, m := range r.meters {
		busy, held := m.busy(now), r.blocked[i].busy(now)
		if i < len(far.Busy) {
			busy += far.Busy[i]
		}
		t := engines.Task{Name: r.fragments[i].Name, Idle: 1}
		if !r.last.IsZero() && span > 0 {
			t.Busy = min(float64(busy-r.lastBusy[i])/float64(span)/float64(r.fragments[i].Parallelism), 1)
			t.Blocked = max(min(float64(late-r.lastLate)/float64(span), 1)-t.Busy, 0)
			if r.cfg.Trigger == RealTime {
				t.Blocked = min(float64(held-r.lastHeld[i])/float64(span)/float64(r.fragments[i].Parallelism), 1-t.Busy)
			}
			t.Idle = 1 - t.Busy - t.Blocked
		}
		r.lastBusy[i], r.lastHeld[i] = busy, held
		g.Tasks = append(g.Tasks, t)
	}
	r.last, r.lastLate = now, late
	return g
}
