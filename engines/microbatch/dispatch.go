package microbatch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"streamduel/connectors"
	"streamduel/engines/microbatch/schedule"
	"streamduel/pipeline"
)

// executor runs attempts of tasks, in this process or in another. Its methods
// are called with the dispatcher locked and must not wait.
type executor interface {
	describe() schedule.Executor
	// launch begins an attempt. How it ended goes to dispatcher.ended.
	launch(a *attempt)
	// kill asks for the early end of an attempt, which is still to be told. One that
	// was lost with its executor is not.
	kill(a *attempt)
	close()
}

// attempt is one run of a task: what an executor is given.
type attempt struct {
	schedule.Launch
	work *work
	// settled is called when the attempt is the one that counts, before those that
	// read its output begin.
	settled func()
}

// work is a job as the dispatcher knows it.
type work struct {
	job schedule.Job
	// run does one attempt in this process.
	run func(a *attempt) error
	// cancel ends what runs of it; called once, when it has failed.
	cancel func()
	ctx    context.Context // ended by cancel; failures after that are its echo
	done   chan error
	// The batch and its tasks, for executors in other processes.
	batch      *batch
	generation *generation
	intake     *intake              // where the tasks are receivers
	stream     func(*task) *reading // where they read until they are told to end
	lost       int                  // executors that were lost while they ran something of it
	why        error                // it was given up, and for this
}

// dispatcher stands between the pure scheduler and the world: it has the clock,
// the executors and those who wait for jobs.
type dispatcher struct {
	mu        sync.Mutex
	core      *schedule.Scheduler
	executors map[string]executor
	work      map[int64]*work
	running   map[schedule.Attempt]*attempt
	begun     time.Time
	timer     *time.Timer // for locality waits that end; nil when none is set
	every     time.Duration
	closed    bool
}

// speculationEvery is how often slow tasks are looked for.
const speculationEvery = 100 * time.Millisecond

func newDispatcher(cfg schedule.Config) (*dispatcher, error) {
	core, err := schedule.New(cfg)
	if err != nil {
		return nil, err
	}
	d := &dispatcher{core: core, executors: map[string]executor{}, work: map[int64]*work{}, running: map[schedule.Attempt]*attempt{}, begun: time.Now()}
	if cfg.Speculation.Enabled {
		d.every = speculationEvery
	}
	return d, nil
}

func (d *dispatcher) now() time.Duration { return time.Since(d.begun) }

// add takes in an executor.
func (d *dispatcher) add(e executor) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := e.describe()
	if err := d.core.Add(x, d.now()); err != nil {
		return err
	}
	d.executors[x.ID] = e
	d.act()
	return nil
}

// do runs a job and returns when it has ended and nothing of it runs any more.
func (d *dispatcher) do(w *work) error {
	w.done = make(chan error, 1)
	if err := d.submit(w); err != nil {
		return err
	}
	return <-w.done
}

func (d *dispatcher) submit(w *work) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.core.Submit(w.job, d.now()); err != nil {
		return err
	}
	d.work[w.job.ID] = w
	d.act()
	return nil
}

// ended takes in how an attempt ended.
func (d *dispatcher) ended(a *attempt, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.running, a.Attempt)
	switch {
	case err == nil:
		if d.core.Succeeded(a.Attempt, d.now()) && a.settled != nil {
			a.settled()
		}
	case a.work.ctx.Err() != nil:
		d.core.Failed(a.Attempt, schedule.Permanent{Err: err}, d.now())
	default:
		d.core.Failed(a.Attempt, err, d.now())
	}
	d.act()
}

// lost takes an executor away. A job that has lost as many while they ran something
// of it as a task may fail is given up: it may be what kills them.
func (d *dispatcher) lost(id string, atMost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hit := map[*work]bool{}
	for k, a := range d.running {
		if a.Executor == id {
			delete(d.running, k)
			hit[a.work] = a.work.intake == nil // a receiver runs as long as the job
		}
	}
	delete(d.executors, id)
	for w, counts := range hit {
		if !counts {
			continue
		}
		if w.lost++; w.lost >= atMost {
			d.abandonWork(w, fmt.Errorf("%d executors were lost while they ran it (scheduler.maxFailures %d)", w.lost, atMost))
		}
	}
	d.core.Lost(id, d.now())
	d.act()
}

// abandon gives up everything that runs.
func (d *dispatcher) abandon(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.work {
		d.abandonWork(w, why)
	}
	d.act()
}

func (d *dispatcher) abandonWork(w *work, why error) {
	if w.why == nil {
		w.why = why
	}
	d.core.Cancel(w.job.ID, d.now())
}

// act carries out what the scheduler decides. The lock is held.
func (d *dispatcher) act() {
	for {
		out := d.core.Decide(d.now())
		for _, k := range out.Kill {
			if a := d.running[k]; a != nil {
				d.executors[a.Executor].kill(a)
			}
		}
		for _, l := range out.Launch {
			a := &attempt{Launch: l, work: d.work[l.Job]}
			d.running[l.Attempt] = a
			d.executors[l.Executor].launch(a)
		}
		for _, e := range out.Ended {
			w := d.work[e.Job]
			delete(d.work, e.Job)
			w.done <- e.Err
		}
		if len(out.Kill)+len(out.Launch)+len(out.Ended) == 0 {
			break
		}
	}
	d.wake()
}

// wake sets the timer for the next decision that only time brings about.
func (d *dispatcher) wake() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.closed {
		return
	}
	at, ok := d.core.Wake()
	wait := at - d.now()
	if d.every > 0 && len(d.running) > 0 && (!ok || wait > d.every) {
		wait, ok = d.every, true
	}
	if ok {
		d.timer = time.AfterFunc(max(wait, 0), func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !d.closed {
				d.act()
			}
		})
	}
}

// close ends the executors. Every job has ended before.
func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	d.wake()
	d.mu.Unlock()
	for _, e := range d.executors {
		e.close()
	}
}

// localExecutor is the executor in the driver's process.
type localExecutor struct {
	schedule.Executor
	dispatcher *dispatcher
	work       chan *attempt // as long as there are cores, so that launch never waits
	wait       sync.WaitGroup
}

// localID is its name, and that of its host.
const localID = "driver"

func newLocalExecutor(d *dispatcher, cores int) *localExecutor {
	e := &localExecutor{Executor: schedule.Executor{ID: localID, Host: localID, Cores: cores}, dispatcher: d, work: make(chan *attempt, cores)}
	for range cores {
		e.wait.Go(func() {
			for a := range e.work {
				d.ended(a, guard(func() error { return a.work.run(a) }))
			}
		})
	}
	return e
}

func (e *localExecutor) describe() schedule.Executor { return e.Executor }
func (e *localExecutor) launch(a *attempt)           { e.work <- a }

// kill ends the attempt's whole job: within one process an attempt is unwanted
// only when its job has failed.
func (e *localExecutor) kill(a *attempt) { a.work.cancel() }

func (e *localExecutor) close() {
	close(e.work)
	e.wait.Wait()
}

// panicked is a panic in a task or in the driver, with its stack, which is the
// first thing that is wanted.
type panicked struct {
	value any
	stack []byte
	at    string // the record that the task was at, if known
	place string // file and line that panicked
}

func (p *panicked) Error() string {
	return fmt.Sprintf("%s\n\n%s", pipeline.DescribePanic(p.value, p.at, p.place), p.stack)
}

// guard runs f and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{value: v, stack: debug.Stack(), place: pipeline.PanicPlace()}
		}
	}()
	return f()
}

// execute runs the batch's stages. On an error nothing of the generation runs any
// more; the error is final unless the whole batch may run again.
func (r *run) execute(g *generation, b *batch, try int) error {
	w := &work{
		job: schedule.Job{ID: b.entry.Batch<<7 | int64(try), Pool: r.cfg.Scheduler.Pool, Stages: g.specs},
		run: func(a *attempt) error { return r.runTask(g, b, a) }, cancel: g.cancel, ctx: g.ctx,
		batch: b, generation: g,
	}
	if r.executors != nil {
		// Without an executor nothing would ever begin.
		if _, err := r.executors.await(g.ctx); err != nil {
			return final{err}
		}
	}
	err := r.dispatcher.do(w)
	if r.executors != nil {
		r.executors.forget(g)
	}
	if err == nil {
		return context.Cause(g.ctx)
	}
	g.cancel()
	if w.why != nil {
		return final{w.why}
	}
	f, ok := errors.AsType[*schedule.Failure](err)
	if !ok {
		return final{err}
	}
	if r.executors != nil {
		return r.again(f)
	}
	if _, permanent := errors.AsType[schedule.Permanent](f.Cause); permanent || !r.exactlyOnce || !g.specs[f.Attempt.Stage].Whole {
		return final{err}
	}
	return err
}

// runTask is one attempt at one task of a batch, in this process. A further
// attempt begins with a new task, because the one before left half-changed
// state and half an output.
func (r *run) runTask(g *generation, b *batch, a *attempt) (err error) {
	s := g.stages[a.Stage]
	t := s.tasks[a.Task]
	if a.N > 0 {
		if t, err = r.renew(g, s, a.Task, b); err != nil {
			return err
		}
	}
	s.meter.add(1)
	defer s.meter.add(-1)
	began := time.Now()
	t.failed = a.N
	err = guard(func() error { return t.process(g.ctx, b) })
	t.took = time.Since(began)
	if p, ok := errors.AsType[*panicked](err); ok {
		p.at = t.At()
	}
	if err == nil {
		t.consumeInputs()
		if u := t.Metrics().Take(); u != nil {
			a.settled = func() { b.count(place{a.Stage, a.Task}, u) }
		}
	} else if g.ctx.Err() == nil {
		r.rt.Log.Warn("a task has failed", "job", r.job.Name, "batch", b.entry.Batch, "stage", s.fragment.Name, "partition", a.Task, "attempt", a.N+1, "error", err)
	}
	return err
}

// again decides about a batch that has failed where executors are processes: it is
// run again as a whole when rows of it may be in the transaction, or when the
// output of a task that has written is lost and its rows may be written again.
func (r *run) again(f *schedule.Failure) error {
	_, unwritten := errors.AsType[notWritten](f.Cause)
	if (unwritten && r.exactlyOnce) || (errors.Is(f.Cause, schedule.ErrLost) && r.job.Guarantee != connectors.AtMostOnce) {
		return f
	}
	return final{f}
}
