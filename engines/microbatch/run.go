package microbatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/control"
	"streamduel/exchange"
	"streamduel/metrics"
	"streamduel/pipeline"
	"streamduel/state"
)

// noTime is the watermark before there is one.
const noTime = pipeline.NoTime

// run is a running job: the driver and its executor.
type run struct {
	job         engines.Job
	cfg         *Config
	rt          engines.Runtime
	exactlyOnce bool
	way         Way  // of exactly-once; "" under the other guarantees
	bounded     bool // all sources end by themselves
	everyTick   bool // an operator works batch by batch, with data or without
	fragments   []*pipeline.Fragment
	states      map[*pipeline.Fragment][]*partitionState
	logs        batchLogs
	attempt     *state.Attempt
	backend     state.Backend // nil for memory
	limit       *limiter
	dispatcher  *dispatcher
	receivers   *receivers // nil unless the source mode is receiver
	executorIDs []string   // sorted
	executors   *executors // nil where the worker is the executor
	member      bool       // this is an executor's process
	slots       []*slot
	maintenance *maintenance
	buffers     *exchange.Pool
	self        string       // this process, in names of shuffle files
	spillFiles  atomic.Int64 // that have been named

	ctx    context.Context
	cancel context.CancelFunc

	sources      []*source
	transactions []*transaction
	runs         atomic.Bool // it has been opened
	unaborted    bool        // one of them could not be aborted; the runner's
	parts        parts

	// The planner's.
	nextBatch int64
	lastTime  int64
	ended     bool // there will be no further batch
	hold      control.Hold
	pinned    bool // availableNow: the ends are fixed
	replays   []*offsetEntry

	// Of triggers that do not wait for batches.
	live       bool         // stages run at the same time
	streamTime atomic.Int64 // the clock as tasks have last seen it

	// The runner's.
	commit      commitEntry // of the last complete batch
	lastBegan   time.Time   // when the batch before was planned
	published   time.Time   // when positions were last published for monitoring
	positionsMu sync.Mutex
	durable     engines.Positions // what recovery would go on from
	base        engines.Positions // the end of the last complete batch

	// What the planner must know of batches that have run.
	nextEvent, nextProcessing atomic.Int64
	watermark                 atomic.Int64 // of the next batch
	queue                     batchQueue

	gauges
	counts   metrics.Totals // of the functions, in batches that are committed
	stop     chan struct{}
	stopOnce sync.Once
	mode     engines.StopMode
	done     chan struct{}
	err      error

	bad    *engines.BadInputs
	unread *engines.UnreadSides
}

// batch is one batch on its way.
type batch struct {
	entry     *offsetEntry
	records   int64
	due       time.Time // submission: its tick
	planned   time.Time // planning began
	planning  time.Duration
	taken     atomic.Int64 // records read so far; positions may have gaps
	watermark int64
	before    int64 // watermark that the batch's tasks are built with
	slot      *slot
	previous  <-chan struct{} // closed when the batch before is complete; nil when it is
	lag       int64
	latest    engines.Positions // ends when it was planned, where the job has several sources
	replay    bool
	assigned  bool // tasks have been told what to read
	durations map[string]float64
	counted   map[place]metrics.Update // by the functions, in attempts that count
	lost      map[place][]gap          // received, and lost with an executor before these attempts

	// Of exactly-once by partition: the failpoints that are passed once a batch,
	// and how many partitions are visible.
	ready, half sync.Once
	visible     atomic.Int64
}

// slot holds the tasks for one batch at a time: one slot, or under the queueing
// clock as many as jobs may run at once.
type slot struct {
	generation atomic.Pointer[generation]
}

func (r *run) emit(e engines.Event) {
	if r.rt.Events != nil {
		r.rt.Events(e)
	}
}

func (r *run) env(n *pipeline.Node) connectors.Env {
	return connectors.Env{Job: r.job.Name, Node: n.UID, Attempt: r.attempt.Number, Log: r.rt.Log, Gate: r.rt.Gate, Patient: r.runs.Load()}
}

func (r *run) writerEnv(n *pipeline.Node, subtask, parallelism int) connectors.WriterEnv {
	env := connectors.WriterEnv{Env: r.env(n), Subtask: subtask, Parallelism: parallelism, Guarantee: r.job.Guarantee, Pool: 1}
	if r.rt.Acks != nil {
		env.Acked = r.rt.Acks.Acked
	}
	return env
}

func (r *run) sourceOf(n *pipeline.Node) *source {
	for _, s := range r.sources {
		if s.node == n {
			return s
		}
	}
	return nil
}

// stopMode returns how the job is to stop; "" when nobody has asked.
func (r *run) stopMode() engines.StopMode {
	select {
	case <-r.stop:
		return r.mode
	default:
		return ""
	}
}

func (r *run) stopping() bool { return r.stopMode() != "" || r.ctx.Err() != nil }

// main runs batches until the job ends, and says how it ended.
func (r *run) main() {
	r.runs.Store(true)
	err := guard(r.drive)
	if received := r.receivers.end(false); received != nil {
		err = received
	}
	mode := r.stopMode()
	if mode == engines.StopNow && errors.Is(err, context.Canceled) {
		err = nil
	}
	r.close()
	if err != nil {
		r.err = fmt.Errorf("job %q: %w", r.job.Name, err)
		r.rt.Log.Error("job failed", "job", r.job.Name, "error", err)
		r.emit(engines.Failed{Error: r.err.Error(), Superseded: errors.Is(r.err, state.ErrSuperseded)})
	} else if mode != "" {
		r.emit(engines.Stopped{Mode: mode})
	}
	close(r.done)
}

// drive runs what the logs say was not finished, then batch after batch.
func (r *run) drive() error {
	for _, e := range r.replays {
		if r.stopping() && r.stopMode() != engines.StopDrain {
			return r.ctx.Err()
		}
		now := time.Now()
		b := &batch{entry: e, records: e.records(), due: now, planned: now, replay: true, slot: r.slots[0], durations: map[string]float64{}}
		r.planned(b)
		if err := r.runBatch(b, now.Add(r.cfg.Interval.Std())); err != nil {
			return err
		}
	}
	if r.cfg.Trigger == Once && len(r.replays) > 0 {
		return nil // that was the one batch
	}
	switch {
	case r.cfg.Trigger.streaming():
		return r.driveStreaming()
	case r.cfg.Clock == Queueing:
		return r.driveQueueing()
	}
	return r.driveSkipping()
}

// now returns the wall time in nanoseconds since the epoch.
func (r *run) now() int64 { return r.rt.Clock.Now().UnixNano() }

// pause waits until the wall time due, but no longer than one interval, so that
// a clock that was set back does not stop the job. It returns false when the job
// is to stop.
func (r *run) pause(due int64) bool {
	end := time.Now().Add(r.cfg.Interval.Std())
	// More than one round, because a wall clock that is slowed down is behind a
	// timer by a little.
	for !r.stopping() {
		d := min(time.Duration(due-r.now()), time.Until(end))
		if d <= 0 {
			return true
		}
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-r.stop:
		case <-r.ctx.Done():
		}
		t.Stop()
	}
	return false
}

// goOn reports whether another batch is to be planned: bounded sources are read
// to their end under StopDrain, and what was received is finished.
func (r *run) goOn(free bool) bool {
	if free || r.ctx.Err() != nil || r.stopMode() == engines.StopNow {
		return free
	}
	return (r.bounded && r.stopMode() == engines.StopDrain) || r.received()
}

func (r *run) driveSkipping() error {
	clock := control.Skipping{Interval: r.cfg.Interval.Std()}
	if r.cfg.Trigger != ProcessingTime {
		clock.Interval = 0 // one after the other
	}
	// Delays are kept on the monotonic clock: the wall clock may be stepped.
	due := time.Now()
	for r.goOn(r.pause(clock.Due(r.now()))) {
		start, wall := time.Now(), r.now()
		if due.After(start) {
			due = start
		}
		clock.Started(wall)
		b, err := r.plan(due, r.rt.Clock.Millis())
		if err != nil {
			return err
		}
		due = start.Add(time.Duration(clock.Due(wall) - wall))
		if b != nil {
			if err := r.runBatch(b, due); err != nil {
				return err
			}
		}
		if r.ended {
			return nil
		}
	}
	return r.ctx.Err()
}

// failure keeps the first error of several batches; the echo of a cancelled
// context is none.
type failure struct {
	mu  sync.Mutex
	err error
}

func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// hit passes a failpoint, in batches with records.
func (r *run) hit(point string, b *batch) {
	if b.records == 0 {
		return
	}
	r.rt.Failpoints.Hit(point, func() engines.Recovery {
		reached := engines.Positions{}
		for _, s := range r.sources {
			s.reached(reached)
		}
		frozen := engines.Positions{}
		for _, s := range r.sources {
			if s.intake != nil {
				maps.Copy(frozen, s.intake.freeze())
			}
		}
		r.positionsMu.Lock()
		defer r.positionsMu.Unlock()
		if len(frozen) > 0 && r.job.Guarantee == connectors.AtMostOnce {
			// Blocks live in memory: a restart receives behind them. Those that have come
			// since the batch was planned are as lost as the batch.
			records, planned := b.records, ends(b.entry)
			for id, at := range frozen {
				if until, ok := planned[id]; ok {
					records += int64(at - until)
				}
			}
			return engines.Recovery{Positions: frozen, Base: r.base, Reached: reached, Epoch: b.entry.Batch, Records: records}
		}
		return engines.Recovery{Positions: r.durable, Base: r.base, Reached: reached, Epoch: b.entry.Batch, Records: b.records}
	})
}

// Wait returns when the job has ended.
func (r *run) Wait() error {
	<-r.done
	return r.err
}

// Stop ends the job. A batch that runs is finished first, and so are those that
// wait in the queue; StopNow gives them up, and so does the end of ctx.
func (r *run) Stop(ctx context.Context, mode engines.StopMode) error {
	r.stopOnce.Do(func() {
		err := r.receivers.end(mode != engines.StopNow)
		if err != nil {
			r.rt.Log.Error("receivers", "job", r.job.Name, "error", err)
		}
		r.mode = mode
		close(r.stop)
	})
	if mode == engines.StopNow {
		r.cancel()
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		r.cancel()
		<-r.done
		return fmt.Errorf("job %q: stopping (%s): %w", r.job.Name, mode, ctx.Err())
	}
}

// close gives back everything, in the opposite order of open. It is also called
// for a job that was refused half way.
func (r *run) close() {
	r.cancel()
	for _, s := range r.slots {
		if g := s.generation.Load(); g != nil {
			g.close(r.borrowsWriters())
		}
	}
	if r.dispatcher != nil {
		r.dispatcher.close()
	}
	r.executors.close()
	if r.maintenance != nil {
		r.maintenance.close()
	}
	for _, t := range r.transactions {
		if err := t.tx.Close(); err != nil {
			r.rt.Log.Warn("closing a transaction", "sink", t.node.Name, "error", err)
		}
	}
	r.closeParts()
	for _, s := range r.sources {
		s.enumerator.Close()
	}
	if r.backend != nil {
		r.backend.Close()
	}
	if r.attempt != nil {
		if err := r.removeSpilled(false); err != nil {
			r.rt.Log.Warn("removing shuffle files", "job", r.job.Name, "error", err)
		}
	}
}

func millis(d time.Duration) float64 { return float64(d) / 1e6 }

const never = int64(math.MaxInt64)
