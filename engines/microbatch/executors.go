package microbatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/cluster"
	"streamduel/pipeline"
)

// executors are a job's executors where they are processes. The driver has a
// stand-in for each task (task.far) that knows how the last attempt left it; the
// tasks themselves are made, kept and moved by the executors.
type executors struct {
	run    *run
	leader *cluster.Leader
	wg     sync.WaitGroup
	ctx    context.Context // ends when the last executor may go
	cancel context.CancelFunc

	mu         sync.Mutex
	each       []*remoteExecutor // by index; nil while there is none
	changed    chan struct{}     // closed and made anew when one has come
	generation int64
	rate       float64
	gone       status        // of dead ones, as last heard
	intakes    []*intake     // of sources that receivers read
	sealed     chan struct{} // closed when all have answered; nil before
	closing    bool
	err        error // there is no executor and none can be started
}

// starting is how long a process may take until it can open tasks.
const starting = time.Minute

// belongs reports whether the tasks of a stage have a place of their own: that of
// a cached reader, or of a partition of the state.
func belongs(f *pipeline.Fragment) bool { return len(f.Sources) > 0 || f.Stateful() }

// home is the index of the executor that such a task belongs to: of so many in
// order the one that its number falls on, as Spark spreads cached consumers. It
// does not change when one is lost, so that only what was lost moves, and moves
// back when another has taken its place.
func home(task, executors int) int { return task % executors }

// leadExecutors starts a run's executors.
func leadExecutors(r *run) (*executors, error) {
	l, err := cluster.Lead(cluster.Config{Command: r.rt.Members.Command})
	if err != nil {
		return nil, err
	}
	ex := &executors{run: r, leader: l, each: make([]*remoteExecutor, r.cfg.Executors), changed: make(chan struct{})}
	ex.ctx, ex.cancel = context.WithCancel(context.WithoutCancel(r.ctx))
	errs := make([]error, len(ex.each))
	var wg sync.WaitGroup
	for i := range ex.each {
		wg.Go(func() { errs[i] = ex.start(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		ex.close()
		return nil, err
	}
	if r.rt.Gate != nil {
		r.rt.Gate.Extend(ex)
	}
	return ex, nil
}

// executorID names an executor to the scheduler. Each counts as a host of its
// own: what is one machine here stands for several.
func executorID(index int) string { return strconv.Itoa(index + 1) }

func (ex *executors) start(index int) error {
	ctx, cancel := context.WithTimeout(ex.run.ctx, starting)
	defer cancel()
	m, err := ex.leader.Start(ctx, index)
	if err != nil {
		return fmt.Errorf("executor %s: %w", executorID(index), err)
	}
	e := newRemoteExecutor(ex, m)
	if err = m.Send(cluster.Message{Kind: engines.JobMessage, Body: ex.run.rt.Members.Job}); err == nil {
		ex.mu.Lock()
		w := welcome{Attempt: ex.run.attempt.Number, Rate: ex.rate, Acks: ex.run.rt.Acks != nil}
		ex.mu.Unlock()
		err = e.calls.Call(ctx, kindWelcome, w, nil)
	}
	if err != nil {
		m.Kill()
		return fmt.Errorf("executor %s: %w", executorID(index), err)
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if ex.closing {
		return errors.New("the job is ending")
	}
	if m.Err() != nil {
		return fmt.Errorf("executor %s: %w", executorID(index), m.Err())
	}
	if err := ex.run.dispatcher.add(e); err != nil {
		return err
	}
	e.added = true
	ex.each[index] = e
	close(ex.changed)
	ex.changed = make(chan struct{})
	return nil
}

// replace starts a process in a lost one's place. The job goes on with those that
// are left where that fails, and fails itself when there is none.
func (ex *executors) replace(index int) {
	err := ex.start(index)
	ex.mu.Lock()
	closing := ex.closing
	ex.mu.Unlock()
	switch {
	case closing:
	case err == nil:
		ex.run.emit(engines.ExecutorAdded{Executor: index + 1})
	case len(ex.alive()) > 0:
		ex.run.rt.Log.Error("an executor could not be replaced", "job", ex.run.job.Name, "executor", index+1, "error", err)
	default:
		ex.mu.Lock()
		ex.err = fmt.Errorf("no executor is left: %w", err)
		close(ex.changed)
		ex.changed = make(chan struct{})
		ex.mu.Unlock()
		ex.run.dispatcher.abandon(ex.err)
	}
}

func (ex *executors) alive() (list []*remoteExecutor) {
	if ex == nil {
		return nil
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	for _, e := range ex.each {
		if e != nil && !ex.closing && e.Err() == nil {
			list = append(list, e)
		}
	}
	return list
}

// await returns those that are alive, of which there is at least one.
func (ex *executors) await(ctx context.Context) ([]*remoteExecutor, error) {
	for {
		ex.mu.Lock()
		changed, err := ex.changed, ex.err
		ex.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if list := ex.alive(); len(list) > 0 {
			return list, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// open has a generation's tasks made that have a reader or state, where they
// belong. The others are made when they are needed.
func (ex *executors) open(g *generation, watermark int64) error {
	ex.mu.Lock()
	ex.generation++
	g.number = ex.generation
	ex.mu.Unlock()
	left := map[*task]place{}
	for i, s := range g.stages {
		for k, t := range s.tasks {
			t.last = idleOutcome()
			if belongs(s.fragment) {
				left[t] = place{i, k}
			}
		}
	}
	for len(left) > 0 {
		alive, err := ex.await(g.ctx)
		if err != nil {
			return err
		}
		shares := map[*remoteExecutor][]*task{}
		for t, p := range left {
			e := alive[p.Task%len(alive)]
			if i := slices.IndexFunc(alive, func(e *remoteExecutor) bool { return e.Index == home(p.Task, len(ex.each)) }); i >= 0 {
				e = alive[i]
			}
			shares[e] = append(shares[e], t)
		}
		var wg sync.WaitGroup
		var failed failure
		for e, ts := range shares {
			wg.Go(func() {
				o := opening{Generation: g.number, Watermark: watermark}
				for _, t := range ts {
					o.Tasks = append(o.Tasks, openingTask{left[t], t.version})
				}
				var a opened
				if err := e.calls.Call(g.ctx, kindOpen, o, &a); err != nil {
					// What was lost with its executor is opened elsewhere.
					if e.Err() == nil {
						failed.set(fmt.Errorf("executor %s: %w", e.id, err))
					}
					return
				}
				for i, t := range ts {
					t.last = a.Outcomes[i]
					t.opened, t.where = true, e
				}
			})
		}
		wg.Wait()
		if err := failed.get(); err != nil {
			return err
		}
		for t := range left {
			if t.opened {
				delete(left, t)
			}
		}
	}
	return nil
}

// end ends a generation's tasks and waits until they have ended.
func (ex *executors) end(g *generation) {
	var wg sync.WaitGroup
	for _, e := range ex.alive() {
		wg.Go(func() {
			if err := e.calls.Call(ex.ctx, kindClose, g.number, nil); err != nil && e.Err() == nil && ex.ctx.Err() == nil {
				ex.run.rt.Log.Warn("closing tasks", "executor", e.Index+1, "error", err)
			}
		})
	}
	wg.Wait()
}

// forget tells that a batch's shuffle outputs are not read any more.
func (ex *executors) forget(g *generation) {
	for _, e := range ex.alive() {
		e.tell(kindForget, g.number)
	}
}

// close ends all executors.
func (ex *executors) close() {
	if ex == nil {
		return
	}
	ex.mu.Lock()
	ex.closing = true
	ex.mu.Unlock()
	ex.leader.Close()
	ex.cancel()
	ex.wg.Wait()
}

// farTask is what a task has where executors are processes.
type farTask struct {
	// inlet takes the place of the shuffles in an executor's process.
	inlet func(ctx context.Context, edge int, from []pipeline.Input) error
	// The rest is the driver's, for whom the task only stands in.
	far     bool
	index   int             // its partition
	opened  bool            // it was made before there was a batch
	last    outcome         // of the last attempt
	where   *remoteExecutor // that has it, and its output
	version int64           // of the state that the next batch starts from
}

// standIn makes the driver's stand-in of a task.
func (r *run) standIn(t *task, k int) {
	f := t.stage.fragment
	t.far, t.last = true, idleOutcome()
	for _, n := range f.Sinks {
		t.writers = append(t.writers, &sinkWriter{node: n, subtask: k})
	}
	for _, n := range f.Sources {
		t.sources = append(t.sources, &taskSource{source: r.sourceOf(n), head: &farHead{seen: map[connectors.SplitID]seen{}}})
	}
	if f.Stateful() {
		t.state = r.states[f][k]
	}
	t.index = k
}

// restoreFar settles which version of its state a task will start from.
func (t *task) restoreFar(versions func(*partitionState) (int64, error)) error {
	if t.state == nil {
		return nil
	}
	v, err := versions(t.state)
	if err != nil {
		return err
	}
	files, err := t.state.snapshots(v)
	closeAll(files)
	t.version = v
	return err
}
