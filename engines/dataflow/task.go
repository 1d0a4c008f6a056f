package dataflow

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/exchange"
	"streamduel/metrics"
	"streamduel/pipeline"
)

// task is one subtask: a goroutine with a mailbox. Between two steps of its
// default action, which is to push one buffer or one slice of a batch, it
// handles its mail.
type task struct {
	run *run
	*seat
	ctx     context.Context // the region's: ends when it is restarted
	away    *process        // runs the subtask, for which this task only stands
	pipe    *pipeline.Task
	box     *mailbox
	waits   usage
	outlets []*outlet
	sinks   []*sinkWriter

	source *sourceReader // of a fragment with a source
	in     *inlet        // of one without

	align     *aligner
	since     map[int64]int64 // monotonic nanoseconds of the first barriers of what is gathered
	passed    barrier         // the last that was sent on
	overtakes int64           // the checkpoint that is to overtake
	hastens   atomic.Int64    // the same, for those who bring barriers from other processes
	over      *overtaking
	valve     *valve
	ended     int // channels that have ended
	current   *exchange.Buffer
	currentCh int

	take    int   // records that a step takes in, at most slice: see pace
	stepped int64 // when the last step began, Unix milliseconds
	rested  bool  // it has waited since

	target  int64 // watermark to reach
	moving  bool  // it has not reached all operators
	ending  bool  // all input has ended
	closing bool  // everything has been passed on
	now     int64 // processing time, Unix milliseconds
	timing  bool  // its timers have not all fired
	dirty   bool  // records may wait in partly filled buffers
	timer   *time.Timer

	asked   atomic.Bool    // somebody wants to know what its functions have counted
	counted metrics.Totals // what they have

	before    int64 // records written by the tasks in this seat before it
	unflushed atomic.Bool
	steps     atomic.Int64 // of its loop, for the watchdog
	goroutine atomic.Int64
	alive     atomic.Bool
	shown     shown
}

// shown is what a subtask shows of itself to other goroutines.
type shown struct {
	consumed  atomic.Int64
	written   atomic.Int64
	held      atomic.Int64 // records of the batch or buffer that it is in
	heldBytes atomic.Int64
	partial   atomic.Int64 // records in partly filled buffers
	partBytes atomic.Int64
	watermark atomic.Int64
	in        traffic
	pressure  atomic.Pointer[engines.BackPressure] // of a subtask in another process
	metrics   atomic.Pointer[[]metrics.Value]      // likewise
	io        atomic.Pointer[engines.TaskIO]       // likewise
}

// execute runs the subtask until the job ends and returns why it failed.
func (t *task) execute() (err error) {
	defer func() {
		if p := recover(); p != nil {
			at := ""
			if t.pipe != nil && t.pipe.At() != "" {
				at = " at " + t.pipe.At()
			}
			err = fmt.Errorf("%s: panic%s: %v\n%s", t.name, at, p, debug.Stack())
		}
	}()
	t.shown.watermark.Store(pipeline.NoTime)
	t.shown.in.watermark.Store(pipeline.NoTime)
	t.goroutine.Store(goroutineID())
	t.alive.Store(true)
	defer t.alive.Store(false)
	for n := int64(1); t.ctx.Err() == nil; n++ {
		t.steps.Store(n)
		if t.asked.Load() {
			t.asked.Store(false)
			t.count()
		}
		if err := t.mail(); err != nil {
			return t.wrap(err)
		}
		if t.in != nil && t.in.urgent.Load() > 0 {
			if err := t.urgent(); err != nil {
				return t.wrap(err)
			}
		}
		if did, err := t.pipe.Complete(); err != nil {
			return t.wrap(err)
		} else if did {
			t.pushed()
		}
		if t.pipe.Starved() && !t.pipe.Refill() {
			t.wait(waitBlocked)
			continue
		}
		progressed, err := t.step()
		if err != nil {
			return t.wrap(err)
		}
		if !progressed && !t.pipe.Starved() {
			t.wait(waitIdle)
		}
	}
	t.count()
	return nil
}

// count hands on what the functions have counted.
func (t *task) count() { t.counted.Add(t.index, t.pipe.Metrics().Take()) }

// metrics returns what the functions have counted, up to the last time somebody
// asked, and asks for more.
func (t *task) metrics(now int64) []metrics.Value {
	if t.away != nil {
		if vs := t.shown.metrics.Load(); vs != nil {
			return *vs
		}
		return nil
	}
	if t.pipe == nil || t.pipe.Metrics().Empty() {
		return nil
	}
	if !t.asked.Swap(true) {
		t.box.signal(sigData) // only wakes it
	}
	return t.counted.Values(now)
}

func (t *task) wrap(err error) error {
	if t.ctx.Err() != nil {
		return nil //nolint:nilerr // the job has ended; what fails now fails because of that
	}
	return fmt.Errorf("%s: %w", t.name, err)
}

// mail handles what has come in, messages first and in their order.
func (t *task) mail() error {
	s := t.box.take()
	if s == 0 {
		return nil
	}
	if s&sigMail != 0 {
		for _, m := range t.box.receive() {
			if err := t.handle(m); err != nil {
				return err
			}
		}
	}
	if s&sigFlush != 0 {
		t.flush()
	}
	if s&sigTick != 0 && t.source != nil && !t.ending {
		t.source.tick()
	}
	// sigRoom and sigData only wake: the loop looks for itself.
	return nil
}

func (t *task) handle(message any) error {
	switch m := message.(type) {
	case assign:
		t.source.assign(m)
	case durable:
		return t.commit(m)
	case abortCheckpoint:
		t.abort(m.id)
	case overtake:
		return t.overtake(m.id)
	case trigger:
		if m.last && !t.ending {
			t.source.last, t.source.kept = m.barrier, true
			t.source.fetch.stop()
			return nil
		}
		return t.checkpoint(m.barrier, clock.Mono())
	case drain:
		t.source.fetch.stop()
	case look:
		t.box.measured(m)
	default:
		panic(fmt.Sprintf("unknown mail %T", m))
	}
	return nil
}

// wait sleeps until there is mail, or until the next processing-time timer.
func (t *task) wait(reason waitReason) {
	var due <-chan time.Time
	if reason == waitIdle && !t.closing {
		if next := t.pipe.NextProcessingTimer(); next != math.MaxInt64 {
			d := time.Duration(next-t.run.rt.Clock.Millis()) * time.Millisecond
			if t.timer == nil {
				t.timer = time.NewTimer(d)
			} else {
				t.timer.Reset(d)
			}
			due = t.timer.C
			defer t.timer.Stop()
		}
	}
	t.rested = true
	t.waits.begin(reason)
	defer t.waits.end()
	select {
	case <-t.box.wake:
	case <-due:
	case <-t.ctx.Done():
	}
}

// A step that took longer than slow milliseconds is followed by a shorter one, and one
// that took hardly any time by one of twice as many records, up to slice.
const (
	slow  = 10
	quick = 2
)

// pace decides how many records the step that begins now takes in. Where a record
// takes long, because of its function or of a sink that is throttled, a barrier must
// not wait for hundreds of them; where it does not, looks into the mailbox cost most.
func (t *task) pace(now int64) {
	took := now - t.stepped
	t.stepped = now
	switch {
	case t.rested:
		t.rested = false
		return
	case took > slow && t.take > 1:
		t.take = max(int(int64(t.take)*slow/took), 1)
	case took < quick && t.take < slice:
		t.take = min(2*t.take, slice)
	default:
		return
	}
	t.pipe.SetSlice(t.take * frameBytes)
}

// step is the default action.
func (t *task) step() (progressed bool, err error) {
	// Behind the end nobody expects anything any more: timers that are not due by
	// then stay in the state, as in Flink.
	now := t.run.rt.Clock.Millis()
	t.pace(now)
	if !t.closing && (now != t.now || t.timing) {
		t.now = now
		done, err := t.pipe.ProcessingTime(now)
		if t.timing = !done; t.timing || err != nil {
			t.pushed()
			return true, err
		}
	}
	if t.moving {
		done, err := t.pipe.Watermark(t.target)
		t.pushed()
		if !done || err != nil {
			return true, err
		}
		t.moving = false
		t.shown.watermark.Store(t.target)
		t.broadcast(watermark{t.target})
		return true, nil
	}
	if t.ending {
		if t.closing {
			return t.events()
		}
		if t.pipe.UnderWay() > 0 {
			return false, nil // answers from outside still come
		}
		t.closing = true
		t.broadcast(end{})
		t.run.coordinator.tell(finished{t})
		return true, nil
	}
	if t.source != nil {
		return t.source.step()
	}
	if t.current != nil {
		return true, t.feed()
	}
	return t.events()
}

// events takes the next element of an input channel.
func (t *task) events() (progressed bool, err error) {
	if t.in == nil {
		return false, nil
	}
	ch, e, ok := t.in.next(t.align.blocked)
	if !ok {
		return false, nil
	}
	if e.Buffer != nil {
		c := &t.in.channels[ch]
		t.shown.in.arrived(e.Buffer, c.remote)
		if c.gate != nil {
			c.gate.bytes.Add(int64(len(e.Buffer.Data)))
		}
		t.keep(ch, e.Buffer)
		t.current, t.currentCh = e.Buffer, ch
		t.shown.held.Store(int64(e.Buffer.Records))
		t.shown.heldBytes.Store(int64(len(e.Buffer.Data)))
		return true, t.feed()
	}
	switch e := e.Event.(type) {
	case barrier:
		return true, t.barrier(ch, e)
	case watermark:
		if t.valve.watermark(ch, e.at) {
			t.move()
		}
	case idleness:
		moved, changed := t.valve.setIdle(ch, e.idle)
		if moved {
			t.move()
		}
		if changed {
			t.broadcast(idleness{t.valve.idle})
		}
	case end:
		t.ended++
		t.ending = t.ended == len(t.in.channels)
	}
	return true, nil
}

// move begins to move the watermark to what has come in.
func (t *task) move() {
	t.target, t.moving = t.valve.out, true
	t.shown.in.watermark.Store(t.target)
}

// feed pushes the current buffer, as far as the outputs allow.
func (t *task) feed() error {
	done, err := t.in.channels[t.currentCh].input.Feed(t.current)
	if done {
		t.current.Release()
		t.current = nil
		t.shown.held.Store(0)
		t.shown.heldBytes.Store(0)
	}
	t.pushed()
	return err
}

// pushed is called behind every push of records.
func (t *task) pushed() {
	if len(t.sinks) > 0 {
		t.shown.written.Store(t.before + t.pipe.Written())
	}
	if len(t.outlets) == 0 {
		return
	}
	if t.run.cfg.BufferTimeout == 0 {
		t.flush()
		return
	}
	if !t.dirty {
		t.dirty = true
		t.unflushed.Store(true)
	}
	t.showPartial()
}

func (t *task) showPartial() {
	var records, bytes int64
	for i, o := range t.pipe.Outputs() {
		r, b := o.Writer.Counts()
		records += r - t.outlets[i].records.Load()
		bytes += b - t.outlets[i].bytes.Load()
	}
	t.shown.partial.Store(records)
	t.shown.partBytes.Store(bytes)
}

// flush emits partly filled buffers.
func (t *task) flush() {
	t.pipe.Flush()
	if t.dirty {
		t.dirty = false
		t.unflushed.Store(false)
	}
	t.shown.partial.Store(0)
	t.shown.partBytes.Store(0)
}

// broadcast sends an event downstream behind everything pushed so far.
func (t *task) broadcast(event any) {
	t.flush()
	for _, o := range t.outlets {
		o.broadcast(event)
	}
}

// close gives back what the subtask holds. It is called once, when none of its
// goroutines runs any more.
func (t *task) close() {
	if t.current != nil {
		t.current.Release()
	}
	if t.pipe != nil {
		t.pipe.Close()
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	for _, s := range t.sinks {
		if err := s.writer.Close(); err != nil {
			t.run.rt.Log.Warn("closing a sink", "sink", s.node.Name, "subtask", t.index, "error", err)
		}
	}
}

// Outlet implements pipeline.Host.
func (t *task) Outlet(e *pipeline.Edge) (exchange.Outlet, int) {
	o := newOutlet(t.ctx, t.run.rings[ringKey{e, t.index}], t.run.cfg.Buffers, func() { t.box.signal(sigRoom) }, &t.waits)
	t.outlets = append(t.outlets, o)
	return o, len(o.rings)
}

// Writer implements pipeline.Host.
func (t *task) Writer(n *pipeline.Node) connectors.Writer {
	for _, s := range t.sinks {
		if s.node == n {
			return s.writer
		}
	}
	return nil
}
