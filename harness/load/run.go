package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/harness/plan"
	"streamduel/workloads"
)

// The pacing loop pauses until the next record is due, but for no less than
// nap: at high rates the records that fall due within a pause leave together at
// its end, and the loop does not burn a core. It looks for commands and is ready
// to report after tick at the latest.
const (
	nap  = 500 * time.Microsecond
	tick = 10 * time.Millisecond
)

// ahead is how far before its first record an epoch is announced, so that the
// parent knows of it before any effect of that record can reach it.
const ahead = 20 * time.Millisecond

// slipTop is the largest slip that is told apart, in nanoseconds.
const slipTop = int64(10 * time.Minute)

// run is one load.
type run struct {
	job    Job
	gen    workloads.Generator
	spoil  workloads.Spoiler // set where the plan has bad records
	emit   func(kind string, v any)
	client *kgo.Client
	topics topics
	slabs  slabs

	start  chan Start
	grow   chan Grow
	stop   chan struct{}
	grown  chan []plan.Partition // partitions that the client now knows
	phase  sync.Mutex
	began  bool
	ended  bool
	acks   acks
	handed int64 // next index; of the pacing goroutine
	bytes  int64
	slip   *hdrhistogram.Histogram // of all records
	recent *hdrhistogram.Histogram // since the last progress
	late   slots
}

func newRun(j Job, gen workloads.Generator, emit func(string, any)) *run {
	r := &run{
		job: j, gen: gen, emit: emit,
		start: make(chan Start, 1), grow: make(chan Grow, 64), stop: make(chan struct{}, 1),
		grown:  make(chan []plan.Partition, 64),
		slip:   hdrhistogram.New(1000, slipTop, 3),
		recent: hdrhistogram.New(1000, slipTop, 2),
	}
	r.spoil, _ = gen.(workloads.Spoiler)
	r.acks.run = r
	r.slabs.acked = r.acks.done
	return r
}

// command checks a command; the error is the answer. What the command does
// comes after the answer, so that its events do.
func (r *run) command(c Command) (effect func(), err error) {
	r.phase.Lock()
	defer r.phase.Unlock()
	switch {
	case c.Start != nil && c.Grow == nil && c.Stop == nil:
		if r.began {
			return nil, errors.New("the load has been started before")
		}
		r.began = true
		return func() { r.start <- *c.Start }, nil
	case c.Grow != nil && c.Start == nil && c.Stop == nil:
		if !r.began || r.ended {
			return nil, errors.New("the load does not run")
		}
		return func() { r.grow <- *c.Grow }, nil
	case c.Stop != nil && c.Start == nil && c.Grow == nil:
		if !r.began || r.ended {
			return nil, errors.New("the load does not run")
		}
		r.ended = true
		return func() { r.stop <- struct{}{} }, nil
	}
	return nil, errors.New("a command is one of start, grow and stop")
}

// run paces the load from its start to its last acknowledgement.
func (r *run) run(ctx context.Context) error {
	p := r.job.Plan
	select {
	case s := <-r.start:
		p.Begin(s.At, s.Wall)
		r.late.start = s.At
		r.emit("started", Started{s.At})
	case <-ctx.Done():
		return ctx.Err()
	}
	f := &filler{run: r, cursor: p.Cursor(), ctx: ctx}
	progress := orMillis(r.job.ProgressMillis, 100*time.Millisecond)
	report := clock.Mono() + int64(progress)
	wake := time.NewTimer(0)
	defer wake.Stop()
	waiting := 0 // growths that the client has not seen yet
	stopping := false
	limit := p.Limit() // a plan may come with an end of its own
	for {
		now := clock.Mono()
		for r.handed < limit {
			in := f.cursor.Input(r.handed)
			if in.Scheduled > now {
				// Handing over takes time: more may have fallen due.
				if now = clock.Mono(); in.Scheduled > now {
					break
				}
			}
			f.hand(in, false)
			r.handed++
			if r.handed&0xff == 0 && clock.Mono() > report {
				break // behind schedule: events and commands must not starve
			}
		}
		f.rest()
		now = clock.Mono()
		if now >= report {
			r.report(now, f.cursor)
			report = max(report+int64(progress), now)
		}
		if r.handed >= limit && (stopping || limit == p.Limit()) {
			break
		}
		wake.Reset(r.pause(f.cursor.Due(r.handed), min(report, now+int64(tick)), now))
		select {
		case <-wake.C:
		case g := <-r.grow:
			waiting++
			go func() {
				if r.topics.await(ctx, r.client, g.Partitions, orMillis(r.job.MetadataMillis, time.Second)) == nil {
					r.grown <- g.Partitions
				}
			}()
		case g := <-r.grown:
			waiting--
			if err := r.epoch(g); err != nil {
				return err
			}
		case <-r.stop:
			stopping = true
			// What is due now is the last record, unless an epoch that has been
			// announced begins later.
			limit = max(r.handed, p.Count(clock.Mono()), lastEpoch(p))
			if err := p.Stop(limit); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// A plan with an end of its own still waits for the command, which may be
	// preceded by growth.
	for !stopping {
		select {
		case <-r.stop:
			stopping = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if waiting > 0 {
		r.fail(fmt.Sprintf("the load ended before it had learned of %d growths", waiting))
	}
	return r.finish(ctx, f, limit)
}

// pause is how long to sleep when the next record is due at due and there is
// something else to do at other.
func (r *run) pause(due, other, now int64) time.Duration {
	if due <= now {
		return 0 // behind schedule
	}
	return max(nap, time.Duration(min(due, other)-now))
}

func lastEpoch(p *plan.Plan) int64 {
	es := p.Epochs()
	return es[len(es)-1].From
}

// epoch uses new partitions from a record on that is not due yet.
func (r *run) epoch(added []plan.Partition) error {
	p := r.job.Plan
	es := p.Epochs()
	now := slices.Clone(es[len(es)-1].Partitions)
	for _, a := range added {
		if !slices.Contains(now, a) {
			now = append(now, a)
		}
	}
	from := max(r.handed, p.Count(clock.Mono()+int64(ahead)), es[len(es)-1].From+1)
	if from >= p.Limit() {
		r.fail("partitions were added when the load had ended")
		return nil
	}
	e, err := p.Append(from, now)
	if err != nil {
		return err
	}
	r.emit("epoch", Epoch{e})
	return nil
}

// finish sends the closing records and waits for every acknowledgement.
func (r *run) finish(ctx context.Context, f *filler, limit int64) error {
	p := r.job.Plan
	r.emit("stopped", Stopped{limit})
	var closing int64
	if !r.job.NoClosing {
		for i := limit; i < p.End(); i++ {
			f.hand(f.cursor.Input(i), true)
			closing++
		}
		f.rest()
	}
	if err := r.client.Flush(ctx); err != nil {
		return err
	}
	r.acks.wait(ctx, limit+closing)
	slip, err := r.slip.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return fmt.Errorf("slip histogram: %w", err)
	}
	within := 1.0
	if n := r.slip.TotalCount(); n > 0 {
		within = float64(countUpTo(r.slip, int64(5*time.Millisecond))) / float64(n)
	}
	r.emit("finished", Finished{
		Sent: limit, Closing: closing, Acked: r.acks.good.Load(), Errors: r.acks.bad.Load(), Bytes: r.bytes,
		Slip: string(slip), SlipWithin5ms: within,
		SlipP99: r.slip.ValueAtQuantile(99), SlipP999: r.slip.ValueAtQuantile(99.9), SlipMax: r.slip.Max(),
		Late: r.late.told(),
	})
	return nil
}

// countUpTo is the number of values in buckets that lie wholly at or below v.
func countUpTo(h *hdrhistogram.Histogram, v int64) (n int64) {
	for _, b := range h.Distribution() {
		if b.To <= v {
			n += b.Count
		}
	}
	return n
}

func (r *run) report(now int64, c *plan.Cursor) {
	behind := now - c.Due(r.handed)
	if r.handed >= r.job.Plan.Limit() {
		behind = 0
	}
	r.emit("progress", Progress{
		Sent: r.handed, Acked: r.acks.good.Load(), Errors: r.acks.bad.Load(), Behind: max(0, behind),
		SlipP999: r.recent.ValueAtQuantile(99.9), SlipMax: r.recent.Max(),
	})
	r.recent.Reset()
}

func (r *run) fail(text string) { r.emit("failure", Failure{text}) }

// filler makes records and hands them to the client.
type filler struct {
	run    *run
	cursor *plan.Cursor
	ctx    context.Context
	slab   *slab
	parts  []plan.Partition
	origin connectors.Origin
}

// hand makes one record and hands it over.
func (f *filler) hand(in workloads.Input, closing bool) {
	r := f.run
	if f.slab == nil {
		f.slab = r.slabs.get()
	}
	b := f.slab
	from := len(b.buf)
	var key []byte
	switch kind := r.job.Plan.Bad(in.Index); {
	case closing:
		b.buf, key = r.gen.Closing(b.buf, in)
	case kind != "":
		b.buf, key = r.spoil.AppendBad(b.buf, in, kind)
	default:
		b.buf, key = r.gen.Append(b.buf, in)
	}
	var origin *connectors.Origin
	if r.job.OriginHeader {
		f.origin = connectors.Origin{Partition: in.Partition, Sequence: in.Sequence, Scheduled: in.Scheduled}
		origin = &f.origin
	}
	if int(in.Partition) >= len(f.parts) {
		f.parts = r.job.Plan.All()
		r.acks.grow(f.parts)
	}
	r.bytes += int64(len(b.buf) - from + len(key))
	rec := b.add(from, key, origin)
	rec.Topic, rec.Partition = f.parts[in.Partition].Topic, f.parts[in.Partition].Number
	rec.Timestamp = time.UnixMilli(in.EventTime)
	r.client.Produce(f.ctx, rec, b.done)
	if !closing {
		slip := min(max(0, clock.Mono()-in.Scheduled), slipTop)
		_ = r.slip.RecordValue(slip) // within its range
		_ = r.recent.RecordValue(slip)
		r.late.add(in.Scheduled, slip)
	}
	if b.used == slabRecords {
		r.slabs.release(b)
		f.slab = nil
	}
}

// rest gives up the slab at hand before a pause, so that its memory can return
// however slow the load is.
func (f *filler) rest() {
	if f.slab != nil && f.slab.used > slabRecords/2 {
		f.run.slabs.release(f.slab)
		f.slab = nil
	}
}

// acks checks what the broker says of each record.
type acks struct {
	run   *run
	good  atomic.Int64
	bad   atomic.Int64
	mu    sync.Mutex
	parts map[plan.Partition]*acked
	// last is what the client told last: runs of one partition are the rule.
	last    *acked
	lastKey plan.Partition
	notify  chan struct{}
}

type acked struct {
	next   int64 // expected offset
	global int32
}

// grow makes room for new partitions before their first record is sent.
func (a *acks) grow(parts []plan.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parts == nil {
		a.parts = map[plan.Partition]*acked{}
		a.notify = make(chan struct{}, 1)
	}
	for g, p := range parts {
		if a.parts[p] == nil {
			a.parts[p] = &acked{global: int32(g)}
		}
	}
}

// maxFailures is how many errors are told in full.
const maxFailures = 10

// done is called for each record in the order of its partition.
func (a *acks) done(rec *kgo.Record, err error) {
	if a.last == nil || rec.Partition != a.lastKey.Number || rec.Topic != a.lastKey.Topic {
		a.lastKey = plan.Partition{Topic: rec.Topic, Number: rec.Partition}
		a.mu.Lock()
		a.last = a.parts[a.lastKey]
		a.mu.Unlock()
	}
	p := a.last
	switch want := p.next; {
	case err != nil:
		a.wrong(fmt.Sprintf("%s/%d: record %d was not appended: %v", rec.Topic, rec.Partition, want, err))
	case rec.Offset != want:
		a.wrong(fmt.Sprintf("%s/%d: record %d has offset %d: something else writes to the topic, or a record was written twice",
			rec.Topic, rec.Partition, want, rec.Offset))
	default:
		a.good.Add(1)
		if want == 0 {
			a.run.emit("appended", Appended{a.lastKey, p.global})
		}
	}
	p.next++
	select {
	case a.notify <- struct{}{}:
	default:
	}
}

func (a *acks) wrong(text string) {
	if a.bad.Add(1) <= maxFailures {
		a.run.fail(text)
	}
}

// wait returns when n records have been told of: Flush may return before the
// last promises have run.
func (a *acks) wait(ctx context.Context, n int64) {
	for a.good.Load()+a.bad.Load() < n {
		select {
		case <-a.notify:
		case <-ctx.Done():
			return
		}
	}
}
