package microbatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/cluster"
	"streamduel/engines/microbatch/schedule"
)

// remoteExecutor is an executor's process as the driver sees it.
type remoteExecutor struct {
	*cluster.Member
	of    *executors
	id    string
	calls *cluster.Calls
	out   *cluster.Queue // what it is told, in order: the dispatcher must not wait
	added bool           // the scheduler knows it

	// landing counts the attempts whose end is being taken in: those that ended
	// well did so whatever becomes of the process.
	landing sync.WaitGroup
	buried  chan struct{} // closed when the scheduler knows that it was lost

	mu       sync.Mutex
	attempts map[schedule.Attempt]*farAttempt
	last     status
}

// farAttempt is an attempt that runs in an executor.
type farAttempt struct {
	*attempt
	t      *task                     // nil of a receiver
	on     *remoteExecutor           // of a receiver, and of a task that reads on and on
	stream *farStream                // of such a task
	busy   bool                      // the task's stage is said to be
	assign [][]connectors.Assignment // by source
	gaps   []gap                     // in that: lost with executors before
	rows   [][]byte
	ctx    context.Context // of what the driver does for it
	cancel context.CancelFunc
}

func newRemoteExecutor(ex *executors, m *cluster.Member) *remoteExecutor {
	e := &remoteExecutor{
		Member: m, of: ex, id: executorID(m.Index), calls: cluster.NewCalls(m.Send), out: cluster.NewQueue(),
		buried: make(chan struct{}), attempts: map[schedule.Attempt]*farAttempt{},
	}
	ex.wg.Go(e.listen)
	ex.wg.Go(func() { e.out.Serve(ex.ctx, func(f any) { f.(func())() }) })
	return e
}

// tell sends a message behind those before it.
func (e *remoteExecutor) tell(kind string, body any) {
	e.out.Put(func() {
		_ = e.calls.Post(kind, body) // one that cannot be told is lost, which is noticed
	})
}

// describe implements executor.
func (e *remoteExecutor) describe() schedule.Executor {
	return schedule.Executor{ID: e.id, Host: e.id, Cores: e.of.run.cfg.cores()}
}

// launch implements executor.
func (e *remoteExecutor) launch(a *attempt) {
	switch {
	case a.work.intake != nil:
		e.launchReceiver(a)
		return
	case a.work.stream != nil:
		e.launchStream(a)
		return
	}
	b, g := a.work.batch, a.work.generation
	s := g.stages[a.Stage]
	t := s.tasks[a.Task]
	f := &farAttempt{attempt: a, t: t}
	f.ctx, f.cancel = context.WithCancel(a.work.ctx)
	l := launching{
		Attempt: a.Attempt, Speculative: a.Speculative, Generation: g.number, Batch: b.entry.Batch, Time: b.entry.Time,
		Watermark: b.watermark, Before: b.before, Version: t.version, Whole: t.state != nil && t.state.whole, Rows: t.throughDriver(),
	}
	t.assign(b)
	peers := map[*remoteExecutor]int{}
	peer := func(x *remoteExecutor) int {
		i, ok := peers[x]
		if !ok {
			i = len(l.Peers)
			peers[x] = i
			addr := ""
			if x != e {
				addr = x.Data
			}
			l.Peers = append(l.Peers, addr)
		}
		return i
	}
	for _, src := range t.sources {
		l.Assign = append(l.Assign, slices.Clone(src.assign))
		if in := src.source.intake; in != nil {
			pieces, gaps := in.pieces(src.assign, e, peer)
			l.Pieces = append(l.Pieces, pieces)
			f.gaps = append(f.gaps, gaps...)
		}
	}
	f.assign = l.Assign
	for _, in := range s.fragment.In {
		var from []int
		for _, up := range g.stages[e.of.run.stageOf(in.From)].tasks {
			from = append(from, peer(up.where))
		}
		l.From = append(l.From, from)
	}
	e.mu.Lock()
	e.attempts[a.Attempt] = f
	e.mu.Unlock()
	s.meter.add(1)
	f.busy = true
	if t.state != nil && !a.Speculative && t.where != nil && t.where != e {
		// What it has there is of no use any more, and takes memory or disk.
		t.where.tell(kindLeave, leaving{g.number, place{a.Stage, a.Task}})
	}
	e.tell(kindLaunch, l)
	// A job that has failed, or is stopped at once, wants nothing of it any more.
	context.AfterFunc(f.ctx, func() {
		e.mu.Lock()
		runs := e.attempts[a.Attempt] == f
		e.mu.Unlock()
		if runs {
			e.tell(kindKill, a.Attempt)
		}
	})
}

// kill implements executor.
func (e *remoteExecutor) kill(a *attempt) {
	e.mu.Lock()
	f := e.attempts[a.Attempt]
	e.mu.Unlock()
	if f != nil {
		f.cancel()
	}
}

// close implements executor; the leader ends the process.
func (e *remoteExecutor) close() {}

// listen takes an executor's messages until it is lost.
func (e *remoteExecutor) listen() {
	for msg := range e.Messages() {
		if err := e.receive(msg); err != nil {
			e.calls.End(err)
			e.Kill()
		}
	}
	<-e.Lost()
	e.Kill() // it may only be cut off
	// What it may still have been writing, state above all, is whole or not there
	// when others take over.
	<-e.Exited()
	e.calls.End(e.Err())
	ex := e.of
	ex.mu.Lock()
	closing, added := ex.closing, e.added
	ex.mu.Unlock()
	e.landing.Wait()
	running := 0
	e.mu.Lock()
	for k, f := range e.attempts {
		delete(e.attempts, k)
		f.cancel()
		if f.busy {
			f.t.stage.meter.add(-1)
		}
		if f.stream != nil {
			f.stream.over()
		}
		running++
	}
	last := e.last
	e.mu.Unlock()
	if closing || !added {
		close(e.buried)
		return
	}
	ex.run.rt.Log.Warn("an executor was lost", "job", ex.run.job.Name, "executor", e.Index+1, "attempts", running, "error", e.Err())
	if err := ex.loseBlocks(e); err != nil {
		ex.run.dispatcher.abandon(err)
	}
	ex.run.dispatcher.lost(e.id, ex.run.cfg.Scheduler.MaxFailures)
	ex.mu.Lock()
	ex.gone.add(last)
	ex.each[e.Index] = nil
	ex.mu.Unlock()
	close(e.buried)
	ex.run.emit(engines.ExecutorLost{Executor: e.Index + 1, Error: e.Err().Error(), Running: running})
	ex.wg.Go(func() { ex.replace(e.Index) })
}

func (e *remoteExecutor) receive(msg cluster.Message) error {
	switch msg.Kind {
	case engines.RefusedMessage:
		return errors.New(string(msg.Body))
	case kindRows:
		r := rowReader{b: msg.Body}
		a, err := r.attempt()
		if err != nil {
			return err
		}
		e.mu.Lock()
		if f := e.attempts[a]; f != nil {
			f.rows = append(f.rows, r.b)
		}
		e.mu.Unlock()
		return nil
	}
	m, mine, err := e.calls.Receive(msg)
	if err != nil || !mine {
		return err
	}
	switch msg.Kind {
	case kindEnded:
		var x ended
		if err := m.Decode(&x); err != nil {
			return err
		}
		e.ended(x)
	case kindBlock:
		var s storedBlock
		if err := m.Decode(&s); err != nil {
			return err
		}
		e.of.wg.Go(func() {
			next, err := e.stored(s)
			e.calls.Answer(m.Call, next, err)
		})
	case kindPermit:
		e.of.wg.Go(func() { e.lend(m.Call) })
	case kindSaid:
		var s said
		if err := m.Decode(&s); err != nil {
			return err
		}
		e.mu.Lock()
		f := e.attempts[s.Attempt]
		e.mu.Unlock()
		if f != nil && f.stream != nil {
			f.stream.said.Put(func() { f.stream.reading.far(s) })
		}
	case kindEvent:
		var h engines.Happened
		if err := m.Decode(&h); err != nil {
			return err
		}
		e.of.run.emit(h.Event())
	case kindStatus:
		var s status
		if err := m.Decode(&s); err != nil {
			return err
		}
		e.show(s)
	default:
		return fmt.Errorf("a message of unknown kind %q", msg.Kind)
	}
	return nil
}

// ended takes in how an attempt has ended.
func (e *remoteExecutor) ended(x ended) {
	e.mu.Lock()
	f := e.attempts[x.Attempt]
	e.last.Gate, e.last.Taken = x.Gate, x.Taken
	delete(e.attempts, x.Attempt)
	e.mu.Unlock()
	if f == nil {
		return
	}
	e.landing.Add(1)
	switch {
	case f.stream != nil:
		f.stream.said.Put(func() { e.streamEnded(f, x) })
		return
	case f.t == nil:
		e.of.wg.Go(func() { e.receiverEnded(f, x) })
		return
	}
	f.t.stage.meter.add(-1)
	e.of.wg.Go(func() {
		defer e.landing.Done()
		defer f.cancel()
		err := e.result(f, x)
		if err == nil {
			f.settled = func() { e.settled(f, x.Outcome) }
			for i, src := range f.t.sources {
				for _, a := range f.assign[i] {
					src.source.took(a.Split.ID, a.Until)
				}
			}
		} else if f.work.ctx.Err() == nil {
			r := e.of.run
			r.rt.Log.Warn("a task has failed", "job", r.job.Name, "batch", f.work.batch.entry.Batch, "stage", f.t.stage.fragment.Name,
				"partition", f.Task, "attempt", f.N+1, "executor", e.Index+1, "error", err)
		}
		e.of.run.dispatcher.ended(f.attempt, err)
	})
}

// result is the error that an attempt ended with. What a successful one has sent
// here to be written is written now.
func (e *remoteExecutor) result(f *farAttempt, x ended) error {
	switch {
	case x.Missing != "":
		e.of.missing(f.ctx, x.Missing)
		return fmt.Errorf("%w: %s", schedule.ErrFetch, x.Error)
	case x.Permanent:
		return schedule.Permanent{Err: errors.New(x.Error)}
	case x.Error != "":
		return errors.New(x.Error)
	case !f.t.throughDriver():
		return nil
	}
	if err := guard(func() error { return f.t.land(f.ctx, f) }); err != nil {
		if f.t.run.job.Guarantee == connectors.AtLeastOnce {
			return err
		}
		return schedule.Permanent{Err: notWritten{err}} // some of it may be out
	}
	return nil
}

// settled takes over how a task was left. The dispatcher is locked: those that
// read its output are launched next.
func (e *remoteExecutor) settled(f *farAttempt, o outcome) {
	t, b := f.t, f.work.batch
	t.last, t.where, t.failed, t.took = o, e, f.N, o.Took
	t.version = b.entry.Batch + 1
	if t.state != nil {
		t.state.whole = false
	}
	for _, s := range o.Seen {
		t.sources[s.Source].head.(*farHead).seen[s.Split] = s
	}
	b.taken.Add(o.Taken)
	b.count(place{f.Stage, f.Task}, o.Counted)
	b.lose(place{f.Stage, f.Task}, f.gaps)
}

// grace is how long the death of a process may take to become known after it
// could not be fetched from, which says less.
const grace = 2 * time.Second

// missing returns when the executor at an address, from which an output could not
// be fetched, is known to be lost; what lay there is then computed again. One
// that lives is ended: whoever cannot be fetched from is of no use.
func (ex *executors) missing(ctx context.Context, addr string) {
	ex.mu.Lock()
	i := slices.IndexFunc(ex.each, func(e *remoteExecutor) bool { return e != nil && e.Data == addr })
	if i < 0 {
		ex.mu.Unlock()
		return // it is known
	}
	e := ex.each[i]
	ex.mu.Unlock()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-e.Lost():
	case <-ctx.Done():
		return
	case <-t.C:
		ex.run.rt.Log.Warn("ending an executor that cannot be fetched from", "job", ex.run.job.Name, "executor", e.Index+1)
		e.Kill()
	}
	select {
	case <-e.buried:
	case <-ctx.Done():
	}
}

// notWritten is the failure of the driver to write what a task has sent it.
type notWritten struct{ error }

func (n notWritten) Unwrap() error { return n.error }

// throughDriver reports whether what a task writes goes through the driver. Under
// at-least-once executors write themselves, except in a batch in which the
// failpoint in the middle of the output will be passed: it counts rows.
func (t *task) throughDriver() bool {
	return len(t.writers) > 0 && (t.run.job.Guarantee != connectors.AtLeastOnce || t.writers[0].half != nil)
}

// land writes the rows of a successful attempt, as the task would have where it
// ran. The writers live as long as the generation.
func (t *task) land(ctx context.Context, f *farAttempt) error {
	for _, w := range t.writers {
		if w.Writer != nil || w.skip {
			continue // a transaction's, or opened before
		}
		if err := w.open(f.work.ctx, t.run.writerEnv(w.node, w.subtask, t.stage.fragment.Parallelism)); err != nil {
			return fmt.Errorf("sink %q: %w", w.node.Name, err)
		}
	}
	if err := t.beginRows(ctx, f.work.batch); err != nil {
		return err
	}
	for _, b := range f.rows {
		r := rowReader{b: b}
		for len(r.b) > 0 {
			sink, rec, o, err := r.next()
			if err != nil {
				return err
			}
			if sink >= len(t.writers) {
				return fmt.Errorf("%w: of sink %d", errRows, sink)
			}
			if err := t.writers[sink].Write(ctx, rec, o); err != nil {
				return err
			}
		}
	}
	for _, w := range t.writers {
		if err := w.Flush(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.commitParts(f.work.batch)
}
