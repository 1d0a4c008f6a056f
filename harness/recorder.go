package harness

import (
	"context"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"streamduel/clock"
	"streamduel/harness/ledger"
	"streamduel/runs"
	"streamduel/scenarios"
)

// recorder samples a cell ten times a second into series.csv and keeps what the
// figures are worked out from.
type recorder struct {
	c       *cell
	quit    chan struct{}
	stopped chan struct{}
	once    sync.Once

	badUpTo, badCount int64 // of the loop's goroutine

	mu        sync.Mutex
	rows      []row
	err       error
	latencies map[string]*hdrhistogram.Histogram // by runs.LatencyTag, over all intervals
}

// row is one sample with totals beside the rates.
type row struct {
	at                 int64 // monotonic
	sample             runs.Sample
	offered, consumed  int64
	told               int64 // monotonic: when the engine's gauges were received; 0 before this attempt's first
	visible            int64
	visibleNew         int64 // of partitions added during the run
	lag                int64
	queued, queuedSize int64
}

const sampleEvery = 100 * time.Millisecond

func newRecorder(c *cell) *recorder {
	return &recorder{c: c, quit: make(chan struct{}), stopped: make(chan struct{}), latencies: map[string]*hdrhistogram.Histogram{}}
}

func (r *recorder) stop() {
	r.once.Do(func() { close(r.quit) })
	<-r.stopped
}

func (r *recorder) loop(ctx context.Context) {
	defer close(r.stopped)
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	last := row{at: r.c.start, sample: runs.NewSample(0)}
	var cpu time.Duration
	pid := 0
	for n := 0; ; n++ {
		select {
		case <-t.C:
		case <-r.quit:
			r.flush(clock.Mono())
			return
		case <-ctx.Done():
			r.flush(clock.Mono())
			return
		}
		now := clock.Mono()
		if now <= last.at { // the schedule's zero lies a moment ahead
			continue
		}
		last, cpu, pid = r.sample(now, last, cpu, pid)
		if n%5 == 0 {
			r.c.tick(last)
		}
		if n%10 == 0 {
			r.c.trim(ctx)
		}
	}
}

// flush hands the ledger's latency interval to latency.hlog.
func (r *recorder) flush(now int64) {
	err := r.c.committed.Flush(now, func(i ledger.Interval) error {
		r.merge(i)
		return r.c.w.Latency.Write(i.Kind, i.Phase, max(r.c.seconds(i.From), 0), max(r.c.seconds(i.To), 0), i.Histogram)
	})
	r.keep(err)
}

// merge adds an interval to its phase's histogram.
func (r *recorder) merge(i ledger.Interval) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tag := runs.LatencyTag(i.Kind, i.Phase)
	h := r.latencies[tag]
	if h == nil {
		h = runs.NewHistogram()
		r.latencies[tag] = h
	}
	h.Merge(i.Histogram) // the geometry is the same, so nothing is dropped
}

// merged returns the latency of one kind in a phase, nil when there is none; an
// empty phase takes all.
func (r *recorder) merged(kind, phase string) *hdrhistogram.Histogram {
	r.mu.Lock()
	defer r.mu.Unlock()
	if phase != "" {
		return r.latencies[runs.LatencyTag(kind, phase)]
	}
	var sum *hdrhistogram.Histogram
	for tag, h := range r.latencies {
		if strings.HasPrefix(tag, runs.LatencyTag(kind, "")) {
			if sum == nil {
				sum = runs.NewHistogram()
			}
			sum.Merge(h)
		}
	}
	return sum
}

// all returns the rows so far.
func (r *recorder) all() []row {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows[:len(r.rows):len(r.rows)]
}

// samples returns the series so far.
func (r *recorder) samples() []runs.Sample {
	rows := r.all()
	out := make([]runs.Sample, len(rows))
	for i, x := range rows {
		out[i] = x.sample
	}
	return out
}

func (r *recorder) keep(err error) {
	if err != nil {
		r.mu.Lock()
		if r.err == nil {
			r.err = err
		}
		r.mu.Unlock()
	}
}

func (r *recorder) sample(now int64, last row, cpu time.Duration, pid int) (row, time.Duration, int) {
	c := r.c
	r.flush(now)
	g, told := c.engine.gaugesAt()
	seen := c.committed.Counts()
	offered := min(c.plan.Count(now), c.plan.Limit())
	x := row{
		at: now, offered: offered, consumed: g.Consumed,
		visible: seen.Visible + seen.Late + r.refused(offered, g.BadRecords, seen.Dead), queued: g.QueuedRecords, queuedSize: g.QueuedBytes,
	}
	x.lag = max(x.offered-x.visible-c.facts.skipped.Load(), 0)
	if !c.committed.PerInput() {
		// Contributions cannot be set against inputs: what the engine has not
		// taken in or holds stands for what is not visible.
		x.lag = max(g.Lag, 0) + max(g.QueuedRecords, 0)
		if silent(told, now) {
			x.lag = last.lag + x.offered - last.offered // nobody takes anything in
		}
	}
	over := float64(now-last.at) / 1e9
	rate := func(a, b int64) float64 { return math.Max(float64(b-a)/over, 0) }
	s := runs.NewSample(c.seconds(now))
	s.Offered, s.Visible, s.Lag = rate(last.offered, x.offered), rate(last.visible, x.visible), float64(x.lag)
	x.told = told
	w := c.worker()
	if w != nil && !isClosed(w.Done()) {
		s.Consumed = intake(last, x)
	}
	s.QueuedRecords, s.QueuedBytes = float64(x.queued), float64(x.queuedSize)
	if g.RateLimit != nil {
		s.RateLimit = *g.RateLimit
	}
	if len(g.Tasks) > 0 {
		s.BlockedShare = 0
		for _, t := range g.Tasks {
			s.BlockedShare = math.Max(s.BlockedShare, math.Min(t.Blocked, 1))
		}
	}
	if n := c.grownFrom(); n >= 0 {
		x.visibleNew = c.committed.VisibleFrom(n)
		s.VisibleNew = rate(last.visibleNew, x.visibleNew)
	}
	if w == nil { // the job has not been started
		return r.keepRow(x, s), 0, 0
	}
	u := w.Usage()
	if w.PID() == pid {
		s.CPU = math.Max(float64(u.CPU-cpu)/1e9/over, 0)
	}
	if u.RSS > 0 { // a dead process has none, which is not zero
		s.RSS = float64(u.RSS)
	}
	return r.keepRow(x, s), u.CPU, w.PID()
}

// silence is how long an engine's gauges may stay away before what it takes in
// counts as unknown: it is stopped, and not as busy as it was.
const silence = 2 * time.Second

// intake is the rate at which the engine takes in, NaN where that is not known.
// Gauges come as often as samples are taken but not in step with them: the rate is
// taken between gauges, else it would jump between none and double. It holds until
// the next gauges, but not for a worker that is gone: the first gauges of the next
// one say nothing yet, for nobody knows since when it counts.
func intake(last, x row) float64 {
	switch {
	case last.told == 0 || x.told < last.told:
		return math.NaN()
	case x.told > last.told:
		return math.Max(float64(x.consumed-last.consumed)*1e9/float64(x.told-last.told), 0)
	case silent(x.told, x.at):
		return math.NaN()
	}
	return last.sample.Consumed
}

// silent reports whether gauges received at told say nothing of now any more, or
// this attempt has given none.
func silent(told, now int64) bool { return told == 0 || now-told > int64(silence) }

// refused is how many of the bad inputs count as seen, without which a lag would
// stay: dead letters, and of what is dropped without a trace as many as the
// engine says, at most those that were due.
func (r *recorder) refused(offered, told, dead int64) int64 {
	if r.c.spec.Scenario.BadInput == scenarios.BadDeadLetter {
		return dead
	}
	return min(told, r.bad(offered))
}

// bad counts the bad inputs of a load's first n; n never falls.
func (r *recorder) bad(n int64) int64 {
	r.badCount += r.c.plan.BadWithin(r.badUpTo, n)
	r.badUpTo = max(n, r.badUpTo)
	return r.badCount
}

func (r *recorder) keepRow(x row, s runs.Sample) row {
	x.sample = s
	r.mu.Lock()
	r.rows = append(r.rows, x)
	r.mu.Unlock()
	r.keep(r.c.w.Series.Write(s))
	return x
}
