package floors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"streamduel/clock"
	"streamduel/harness/audit"
	"streamduel/harness/broker"
	"streamduel/harness/ledger"
	"streamduel/harness/load"
	"streamduel/harness/observer"
	"streamduel/harness/plan"
	"streamduel/harness/proc"
	"streamduel/runs"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
)

// Pace is a load at which the bare loop is measured: that of cells.
type Pace struct {
	Rate float64 // records per second
	// Commit is how often output is committed in a transaction; 0 for a loop
	// without transactions.
	Commit time.Duration
	// Bytes of a record; 0 takes those of the options.
	Bytes int
}

func (p Pace) String() string {
	text := fmt.Sprintf("%g records/s", p.Rate)
	if p.Bytes > 0 {
		text += fmt.Sprintf(" of %d bytes", p.Bytes)
	}
	if p.Commit > 0 {
		text += fmt.Sprintf(", committed every %v", p.Commit)
	}
	return text
}

// size is how long the loop's records are: their id needs some room.
func (o Options) size(p Pace) int {
	if p.Bytes > 0 {
		return max(p.Bytes, idrecord.MinBytes)
	}
	return o.RecordSize
}

// span is how long a pace runs before it is measured, and how long it is
// measured then. With transactions the window is a whole number of commit
// intervals, so that it holds as many commits as it is long.
type span struct{ warm, window time.Duration }

// A real broker is another process with threads and collections of its own: a
// pause of a hundredth of a second is a tenth of a short window's p99, and a
// topic's first requests are slower than the rest.
var (
	pacedSpan = span{250 * time.Millisecond, 1500 * time.Millisecond}
	quickSpan = span{250 * time.Millisecond, 500 * time.Millisecond}
	realSpan  = span{time.Second, 4 * time.Second}
)

const (
	pacedStart = 200 * time.Millisecond // about: topics, processes, clients
	// The pace is not kept where the last record has not come out this long
	// after it was due, a commit interval apart.
	pacedDrain = 2 * time.Second
)

// spanOf is how long a pace is measured.
func (o Options) spanOf(p Pace) span {
	s := pacedSpan
	switch {
	case o.Quick:
		s = quickSpan
	case o.Broker != nil && o.Broker.Kind() != broker.Embedded:
		s = realSpan
	}
	if p.Commit > 0 {
		s.window = (s.window + p.Commit - 1).Truncate(p.Commit)
	}
	return s
}

// length is about how long a measurement takes, processes and draining included.
func (o Options) length(p Pace) time.Duration {
	s := o.spanOf(p)
	return pacedStart + s.warm + s.window + p.Commit
}

// pacedWorkload feeds the loop: the generator that the cells have, and records
// whose id and schedule the observer knows.
const pacedWorkload = "pass-through"

// MeasurePaced measures the bare loop at each pace, one after the other, with
// the generator and the observer of a cell around it and the loop in a process
// of its own. What does not fit into the limit, and a pace that the loop does
// not keep, is left out and named in skipped.
func MeasurePaced(ctx context.Context, o Options, paces []Pace) (all []runs.PacedFloor, skipped []string, err error) {
	o.defaults()
	end := time.Now().Add(o.Limit)
	var needed time.Duration
	for _, p := range paces {
		needed += o.length(p)
	}
	// Rather all of them for a shorter time than some of them not at all.
	o.Quick = o.Quick || needed > o.Limit
	for i, p := range paces {
		left := time.Until(end)
		if left < o.length(p) {
			skipped = append(skipped, p.String()+": no time left for it")
			continue
		}
		limited, cancel := context.WithTimeout(ctx, left)
		f, _, err := o.paced(limited, i, p)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err != nil:
			skipped = append(skipped, p.String()+": "+err.Error())
		default:
			all = append(all, *f)
		}
	}
	return all, skipped, nil
}

// pacedRun is one measurement while it runs.
type pacedRun struct {
	o    Options
	pace Pace

	plan *plan.Plan
	load *proc.Child
	loop *proc.Child

	loadReady, loopReady, finished chan struct{}

	mu      sync.Mutex
	samples []sampled
	slip99  time.Duration
	slip999 time.Duration
	broken  error
}

type sampled struct {
	at int64 // monotonic
	progress
}

// paced measures one pace. The median latency is that of the window, in
// milliseconds, whether or not the load was late.
func (o Options) paced(ctx context.Context, number int, p Pace) (f *runs.PacedFloor, median float64, err error) {
	in, out := fmt.Sprintf("%s-%d", inputTopic, number+1), fmt.Sprintf("%s-%d", outputTopic, number+1)
	for _, topic := range []string{in, out} {
		if err := o.Broker.CreateTopic(ctx, topic, o.Partitions, nil); err != nil {
			return nil, 0, err
		}
	}
	defer o.delete(ctx, in, out)
	m := &pacedRun{o: o, pace: p, loadReady: make(chan struct{}), loopReady: make(chan struct{}), finished: make(chan struct{})}
	if m.plan, err = plan.New(plan.Constant(p.Rate), plan.Partitions(o.Broker.Topic(in), o.Partitions)); err != nil {
		return nil, 0, err
	}
	w := workloads.Lookup(pacedWorkload)
	if w == nil {
		return nil, 0, fmt.Errorf("workload %s is not known", pacedWorkload)
	}
	raw, err := json.Marshal(map[string]int{"recordBytes": o.size(p)})
	if err != nil {
		return nil, 0, err
	}
	params := w.Params()
	if err := proc.Strict(raw, params); err != nil {
		return nil, 0, err
	}
	acc, err := w.Accounting(params, 0)
	if err != nil {
		return nil, 0, err
	}
	seen, err := ledger.New(ledger.Config{Plan: m.plan, Accounting: acc, Latency: true})
	if err != nil {
		return nil, 0, err
	}
	obs, err := observer.Start(ctx, observer.Config{Brokers: o.Broker.Brokers(), Output: o.Broker.Topic(out), Parse: acc.Parse, Committed: seen})
	if err != nil {
		return nil, 0, err
	}
	defer obs.Close()
	if err := m.start(raw, job{
		Brokers: o.Broker.Brokers(), Input: o.Broker.Topic(in), Output: o.Broker.Topic(out), Partitions: o.Partitions,
		Paced: true, CommitMillis: p.Commit.Milliseconds(),
	}); err != nil {
		return nil, 0, err
	}
	defer m.close()
	return m.measure(ctx, seen)
}

func (m *pacedRun) start(params json.RawMessage, loop job) error {
	var err error
	m.loop, err = proc.Start(m.o.spec("floors", "floors", m.loopLine))
	if err != nil {
		return err
	}
	if m.load, err = proc.Start(m.o.spec("load", "load", m.loadLine)); err == nil {
		err = errors.Join(m.loop.Send(loop), m.load.Send(load.Job{
			Workload: pacedWorkload, Params: params, Brokers: m.o.Broker.Brokers(), Plan: m.plan,
		}))
	}
	if err != nil {
		m.close()
	}
	return err
}

func (m *pacedRun) close() {
	for _, c := range []*proc.Child{m.load, m.loop} {
		if c != nil {
			c.Kill()
			<-c.Done()
		}
	}
}

func (m *pacedRun) loopLine(l proc.Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch l.Event {
	case "ready":
		close(m.loopReady)
	case "progress":
		s := sampled{at: l.At}
		if l.Decode(&s.progress) == nil {
			m.samples = append(m.samples, s)
		}
	}
}

func (m *pacedRun) loadLine(l proc.Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch l.Event {
	case "ready":
		close(m.loadReady)
	case "stopped":
		var s load.Stopped
		err := l.Decode(&s)
		if err == nil {
			err = m.plan.Stop(s.Limit)
		}
		m.broken = errors.Join(m.broken, err)
	case "finished":
		var f load.Finished
		m.broken = errors.Join(m.broken, l.Decode(&f))
		m.slip99, m.slip999 = time.Duration(f.SlipP99), time.Duration(f.SlipP999)
		close(m.finished)
	}
}

// wait waits for a channel, and fails where a process ends before.
func (m *pacedRun) wait(ctx context.Context, ready <-chan struct{}) error {
	// The load process ends right behind its last line.
	loaded := m.load.Done()
	if ready == m.finished {
		loaded = nil
	}
	select {
	case <-ready:
		return nil
	case <-loaded:
		return fmt.Errorf("the load process ended: %s", m.load.Complaint())
	case <-m.loop.Done():
		return fmt.Errorf("the loop ended: %s", m.loop.Complaint())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sleep waits for a monotonic time.
func (m *pacedRun) sleep(ctx context.Context, mono int64) error {
	t := time.NewTimer(clock.Until(mono))
	defer t.Stop()
	reached := make(chan struct{})
	go func() {
		select {
		case <-t.C:
			close(reached)
		case <-ctx.Done():
		}
	}()
	return m.wait(ctx, reached)
}

func (m *pacedRun) measure(ctx context.Context, seen *ledger.Ledger) (f *runs.PacedFloor, median float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, ready := range []<-chan struct{}{m.loadReady, m.loopReady} {
		if err := m.wait(ctx, ready); err != nil {
			return nil, 0, err
		}
	}
	start := clock.Mono() + int64(50*time.Millisecond)
	span := m.o.spanOf(m.pace)
	from := start + int64(span.warm)
	to := from + int64(span.window)
	wall := time.Now().UnixNano() - clock.Mono()
	m.plan.Begin(start, wall)
	const window = "window"
	seen.Phase("before", start)
	seen.Phase(window, from)
	seen.Phase("after", to)
	if _, err := m.load.Call(ctx, func(id int64) any { return load.Command{ID: id, Start: &load.Start{At: start, Wall: wall}} }); err != nil {
		return nil, 0, err
	}
	// A moment longer than the window, so that its last records have company.
	if err := m.sleep(ctx, to+int64(2*progressEvery)); err != nil {
		return nil, 0, err
	}
	if _, err := m.load.Call(ctx, func(id int64) any { return load.Command{ID: id, Stop: &load.Stop{}} }); err != nil {
		return nil, 0, err
	}
	if err := m.wait(ctx, m.finished); err != nil {
		return nil, 0, err
	}
	drain, stop := context.WithTimeout(ctx, m.o.drain+m.pace.Commit)
	defer stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !seen.Drained() {
		select {
		case <-tick.C:
		case <-m.loop.Done():
			return nil, 0, fmt.Errorf("the loop ended: %s", m.loop.Complaint())
		case <-drain.Done():
			return nil, 0, errors.New("the bare loop did not keep up with it")
		}
	}
	h := runs.NewHistogram()
	err = seen.Flush(clock.Mono(), func(i ledger.Interval) error {
		if i.Phase == window && i.Kind == runs.EventLatency {
			h.Merge(i.Histogram)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return m.result(from, to, h)
}

// result makes the floor of what lies between two moments.
func (m *pacedRun) result(from, to int64, h *hdrhistogram.Histogram) (f *runs.PacedFloor, median float64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return nil, 0, m.broken
	}
	at := func(mono int64) (sampled, bool) {
		i := slices.IndexFunc(m.samples, func(s sampled) bool { return s.at >= mono })
		if i < 0 {
			return sampled{}, false
		}
		return m.samples[i], true
	}
	a, ok1 := at(from)
	b, ok2 := at(to)
	if !ok1 || !ok2 || b.Acked <= a.Acked {
		return nil, 0, errors.New("the loop did not say how far it was")
	}
	cpu := float64(b.CPUNanos-a.CPUNanos) / 1e9 / float64(b.Acked-a.Acked) * 1e6
	f = &runs.PacedFloor{Rate: m.pace.Rate, RecordBytes: int64(m.pace.Bytes), CPUSecondsPerMillion: &cpu}
	if m.pace.Commit > 0 {
		s := m.pace.Commit.Seconds()
		f.CommitSeconds = &s
	}
	// A latency counts from the schedule, so one with the generator behind its
	// schedule would be no floor.
	l, ok := runs.LatencyOf(h)
	if limit := max(audit.SlipLimit, time.Duration(l.P99*float64(time.Millisecond))/10); ok && m.slip99 <= limit {
		if m.slip999 > limit {
			l.P999, l.Max, l.Mean = nil, nil, nil
		}
		f.LatencyMillis = &l
	}
	return f, l.P50, nil
}
