package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/harness/broker"
	"streamduel/harness/control"
	"streamduel/harness/ledger"
	"streamduel/harness/observer"
	"streamduel/harness/plan"
	"streamduel/harness/proc"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/worker"
	"streamduel/workloads"
)

// Limits of a cell's waits. They bound what a broken engine can cost; none of
// them decides a figure.
const (
	startLimit = 30 * time.Second // worker or load process until it is ready
	drainLimit = 60 * time.Second // end of the load until every effect was seen
	stopLimit  = 30 * time.Second // the worker's graceful stop
)

// originSample is how many records there are to one output that carries its
// origin, where that is wanted for the processing latency only: some hundred
// samples a second at the rates of the built-in scenarios, and next to no bytes.
const originSample = 64

// cell is one cell while it runs.
type cell struct {
	r       *run
	spec    *scenarios.Cell
	index   int
	attempt int
	broker  *broker.Broker
	w       *runs.CellWriter
	stderr  *os.File

	topics     topics
	workload   *workloads.Workload
	accounting workloads.Accounting
	plan       *plan.Plan
	load       *loadProc
	job        worker.Job
	engine     *engineView

	trimmer     *broker.Trimmer // of the embedded broker
	observer    *observer.Observer
	committed   *ledger.Ledger
	uncommitted *ledger.Ledger

	start int64 // monotonic: the schedule's zero and the cell's
	wall  int64 // Unix nanoseconds minus monotonic ones
	rec   *recorder

	mu     sync.Mutex // the recorder reads what the phases write
	phases []runs.Phase
	marks  []runs.Mark
	child  *workerProcess // of this attempt
	begun  bool           // start is fixed
	early  []proc.Line    // what the worker said before that
	ending bool           // the load has ended

	hopeless string // why the worker was ended before its time
	unwatch  func() // ends watchOutlook

	folders []string // of savepoints and of jobs that were begun from them

	control   *control.Server // nil where there is none
	stopAsked atomic.Bool     // somebody outside has the job stopped

	facts facts
	death error // why the worker ended when nobody asked for it
}

// topics are the cell's own.
type topics struct {
	in, out, late string
	dead          string // bad input, where it is kept
	pattern       string
}

func newCell(r *run, b *broker.Broker, index, attempt int, spec *scenarios.Cell) *cell {
	// Topic names tell cells and attempts of one broker apart.
	base := b.Topic(fmt.Sprintf("cell-%d-%d", index+1, attempt))
	c := &cell{r: r, spec: spec, index: index, attempt: attempt, broker: b, engine: newEngineView(),
		topics: topics{in: base + "-in", out: base + "-out", late: base + "-late", dead: base + "-dead"}}
	if spec.Scenario.Topics.Subscribe == scenarios.SubscribePattern {
		c.topics.pattern = regexp.QuoteMeta(base) + "-in.*"
	}
	return c
}

// admin is a topic's name as the broker's administration takes it: without the
// run's prefix.
func (c *cell) admin(topic string) string { return strings.TrimPrefix(topic, c.broker.Topic("")) }

// seconds converts a monotonic time into seconds since the cell's start.
func (c *cell) seconds(mono int64) float64 { return float64(mono-c.start) / 1e9 }

func (c *cell) mark(at int64, kind, label string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks = append(c.marks, runs.Mark{At: c.seconds(at), Kind: kind, Label: label})
}

// run runs the cell. An error is the environment's; a worker that fails is a
// result.
func (c *cell) run(ctx context.Context) (result *runs.Cell, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	if err := c.startAll(ctx); err != nil {
		if c.death != nil { // the engine refused the job or died at once
			return c.judge()
		}
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	if err := c.runPhases(ctx); err != nil {
		return nil, err
	}
	if err := c.finish(ctx); err != nil {
		return nil, err
	}
	return c.judge()
}

// prepare makes everything that can fail for a reason outside the engine.
func (c *cell) prepare(ctx context.Context) error {
	s := c.spec.Scenario
	if c.workload = workloads.Lookup(s.Workload.Name); c.workload == nil {
		return fmt.Errorf("workload %q is not known", s.Workload.Name)
	}
	var err error
	if c.w, err = c.r.w.Cell(c.spec.ID, time.Now()); err != nil {
		return err
	}
	if c.stderr, err = c.w.Stderr(); err != nil {
		return err
	}
	shape, err := c.shape()
	if err != nil {
		return err
	}
	if c.plan, err = plan.New(shape, plan.Partitions(c.topics.in, s.Topics.Partitions)); err != nil {
		return err
	}
	late := 1
	for _, t := range []struct {
		name string
		n    int
	}{{c.topics.in, s.Topics.Partitions}, {c.topics.out, max(s.Topics.Output, 1)}, {c.topics.late, late}} {
		if err := c.broker.CreateTopic(ctx, c.admin(t.name), t.n, nil); err != nil {
			return fmt.Errorf("create topic %s: %w", t.name, err)
		}
	}
	if s.BadInput == scenarios.BadDeadLetter {
		if err := c.broker.CreateTopic(ctx, c.admin(c.topics.dead), 1, nil); err != nil {
			return fmt.Errorf("create topic %s: %w", c.topics.dead, err)
		}
	}
	if c.broker.Kind() == broker.Embedded {
		c.trimmer = broker.NewTrimmer(trimStep)
		c.trimmer.Add(c.topics.in, holdJob)
		c.trimmer.Add(c.topics.out, holdObserver)
	}
	acc, err := c.workload.Accounting(s.Workload.Params, c.r.o.Seed)
	if err != nil {
		return fmt.Errorf("workload %s: %w", s.Workload.Name, err)
	}
	c.accounting = acc
	newLedger := func(latency bool) (*ledger.Ledger, error) {
		g, err := c.workload.Generator(s.Workload.Params, c.r.o.Seed)
		if err != nil {
			return nil, fmt.Errorf("workload %s: %w", s.Workload.Name, err)
		}
		return ledger.New(ledger.Config{Plan: c.plan, Accounting: acc, Generator: g, Latency: latency,
			DeadLetters: s.BadInput == scenarios.BadDeadLetter})
	}
	if c.committed, err = newLedger(true); err != nil {
		return err
	}
	if c.uncommitted, err = newLedger(false); err != nil {
		return err
	}
	dead := ""
	if s.BadInput == scenarios.BadDeadLetter {
		dead = c.topics.dead
	}
	c.observer, err = observer.Start(ctx, observer.Config{
		Brokers: c.broker.Brokers(), Output: c.topics.out, Late: c.topics.late, Dead: dead,
		Parse: acc.Parse, Committed: c.committed, Uncommitted: c.uncommitted, Log: c.r.log,
	})
	return err
}

// startAll starts the load process and, unless the job is to be started on a
// backlog, the worker, and waits until both are
// ready.
func (c *cell) startAll(ctx context.Context) error {
	var err error
	if c.load, err = startLoad(ctx, c); err != nil {
		return err
	}
	if err := c.makeJob(); err != nil {
		return err
	}
	if c.spec.Scenario.Backlog() {
		return nil // it is started on what the first phase leaves behind
	}
	return c.startWorker(ctx)
}

// begin fixes the schedule's zero a moment ahead, so that the load process is
// there when the first record is due.
func (c *cell) begin(ctx context.Context) error {
	c.mu.Lock()
	c.start = clock.Mono() + int64(100*time.Millisecond)
	c.begun = true
	for _, l := range c.early {
		c.append(l)
	}
	c.early = nil
	c.mu.Unlock()
	c.wall = int64(drift())
	c.plan.Begin(c.start, c.wall)
	c.facts.begin(c)
	if err := c.load.begin(ctx); err != nil {
		return err
	}
	c.rec = newRecorder(c)
	go c.rec.loop(ctx)
	c.takeCommands()
	watching, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	c.unwatch = func() { cancel(); <-done }
	go func() {
		defer close(done)
		c.watchOutlook(watching)
	}()
	return nil
}

// finish ends the load, waits until its effects were seen, stops the worker and
// reads the output to its end.
func (c *cell) finish(ctx context.Context) error {
	c.endPhase(clock.Mono())
	if err := c.load.stop(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	if c.death == nil {
		c.facts.drained = c.await(ctx, drainLimit, c.drained)
		c.unwatch()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if c.death == nil {
		stopping, cancel := context.WithTimeout(ctx, stopLimit)
		_, err := c.worker().Call(stopping, func(id int64) any {
			return worker.Command{ID: id, Stop: &worker.Stop{Mode: "drain"}}
		})
		cancel()
		if err != nil && ctx.Err() == nil {
			c.facts.stopped = err
		}
		if !c.wait(ctx, stopLimit, c.worker().Done()) && ctx.Err() == nil {
			c.facts.stopped = fmt.Errorf("the worker did not end within %s of its stop", stopLimit)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := c.takeNoCommands()
	if err != nil {
		return err
	}
	c.facts.end(c)
	if c.facts.ends, err = c.observer.Ends(ctx); err != nil {
		return err
	}
	limit := drainLimit
	if c.death != nil { // what it left open may stay open until a timeout of its own
		limit = time.Second
	}
	c.facts.observed = c.settle(ctx, limit, func() bool {
		return c.observer.Err() != nil || c.observer.CaughtUp(c.facts.ends)
	})
	c.rec.stop()
	return ctx.Err()
}

// drained reports whether the effect of all that the job will ever read was seen:
// partitions that were added and that it does not look for are not waited for.
func (c *cell) drained() bool {
	if c.committed.Drained() {
		return true
	}
	g := c.facts.grown.Load()
	return g != nil && !slices.ContainsFunc(c.committed.Undrained(), func(p int32) bool { return p < g.from || !c.engine.ignores(c.splitOf(p)) })
}

// splitOf names an input partition as the engine does.
func (c *cell) splitOf(p int32) string {
	name := c.plan.Partition(p)
	return fmt.Sprintf("%s/%d", name.Topic, name.Number)
}

// await polls a condition until it holds; false when the limit passed, the
// worker died or the context ended first.
func (c *cell) await(ctx context.Context, limit time.Duration, ok func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-c.ended():
			if c.death = c.obituary(); !ok() {
				return false
			}
		case <-deadline.C:
			return ok()
		case <-ctx.Done():
			return false
		}
	}
}

// settle is await for what goes on after the worker's end.
func (c *cell) settle(ctx context.Context, limit time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// wait waits for a channel; false when the limit passed or the context ended.
func (c *cell) wait(ctx context.Context, limit time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	case <-ctx.Done():
		return false
	}
}

// close ends whatever the cell has left running.
func (c *cell) close() error {
	var errs []error
	if c.unwatch != nil {
		c.unwatch()
	}
	if c.rec != nil {
		c.rec.stop()
	}
	c.mu.Lock()
	if !c.begun && len(c.early) > 0 && c.w != nil { // all that the worker ever said
		c.start = c.early[0].At
		for _, l := range c.early {
			c.append(l)
		}
	}
	c.mu.Unlock()
	if c.worker() != nil {
		c.worker().Kill()
		<-c.worker().Done()
	}
	errs = append(errs, c.takeNoCommands())
	if c.load != nil {
		c.load.close()
	}
	if c.observer != nil {
		errs = append(errs, c.observer.Close())
	}
	if c.broker.Kind() != broker.Embedded {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		errs = append(errs, c.broker.DeleteTopics(ctx, c.allTopics()...))
	}
	if c.w != nil {
		for _, folder := range append(c.folders, "state") {
			errs = append(errs, os.RemoveAll(c.w.Path(folder)))
		}
		errs = append(errs, c.w.Close())
	}
	if c.stderr != nil {
		errs = append(errs, c.stderr.Close())
	}
	return errors.Join(errs...)
}

func (c *cell) allTopics() []string {
	names := []string{c.admin(c.topics.out), c.admin(c.topics.late)}
	if c.spec.Scenario.BadInput == scenarios.BadDeadLetter {
		names = append(names, c.admin(c.topics.dead))
	}
	seen := map[string]bool{}
	if c.plan != nil {
		for _, p := range c.plan.All() {
			if !seen[p.Topic] {
				seen[p.Topic] = true
				names = append(names, c.admin(p.Topic))
			}
		}
	}
	return names
}
