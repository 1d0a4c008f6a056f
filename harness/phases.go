package harness

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"streamduel/clock"
	"streamduel/harness/pressure"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/worker"
)

// throttled is what a throttle phase did.
type throttled struct {
	phase    string
	share    float64 // of what became visible in an earlier phase; 0 for none
	maximum  float64 // that
	rate     float64 // what the sink can take
	limit    float64 // that it is held at; 0 where nothing holds it
	from, to int64
}

// grown is what a growth phase did.
type grown struct {
	at      int64 // when the broker had the new partitions
	from    int32 // first new global partition number
	created int
	splits  []string // as the engine names them
}

// runPhases walks through the scenario's phases. The death of a worker that
// nobody asked for ends it early.
func (c *cell) runPhases(ctx context.Context) error {
	at := c.start
	for _, p := range c.spec.Scenario.Phases {
		c.beginPhase(p, at)
		c.r.o.Progress(Progress{Kind: CellPhase, Cell: c.spec, Index: c.index, Phase: p.Name, At: time.Duration(at - c.start)})
		end, err := c.runPhase(ctx, p, at)
		if c.death != nil {
			return nil //nolint:nilerr // a dead worker is a result, whatever failed because of it
		}
		if err != nil {
			return err
		}
		at = end
	}
	return nil
}

// beginPhase begins a phase at a monotonic time.
func (c *cell) beginPhase(p scenarios.Phase, at int64) {
	c.endPhase(at)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed.Phase(p.Name, at)
	c.uncommitted.Phase(p.Name, at)
	c.engine.setCalm(len(c.phases) > 0 && p.Fault() == "")
	c.phases = append(c.phases, runs.Phase{Name: p.Name, Start: c.seconds(at), Fault: p.Fault()})
}

// endPhase ends the last phase. One that was to begin a moment from now, when the
// job died, has no length.
func (c *cell) endPhase(at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engine.setCalm(false)
	if n := len(c.phases); n > 0 && c.phases[n-1].End == 0 {
		c.phases[n-1].End = max(c.seconds(at), c.phases[n-1].Start)
	}
}

// runPhase runs one phase and returns when the next one begins: a little ahead
// of now, so that the ledger hears of a phase before its first record is seen.
func (c *cell) runPhase(ctx context.Context, p scenarios.Phase, at int64) (end int64, err error) {
	const ahead = int64(2 * time.Millisecond)
	earliest := at + int64(p.Duration)
	if err := c.sleepUntil(ctx, at); err != nil {
		return 0, err
	}
	if c.worker() == nil && !p.Backlog {
		if err := c.startThere(ctx); err != nil && c.death == nil || c.death != nil {
			return 0, err
		}
		c.mark(clock.Mono(), runs.MarkStarted, "job started on the backlog")
	}
	undo := func(context.Context) error { return nil }
	switch {
	case p.Throttle != nil:
		undo, err = c.throttle(ctx, p)
	case p.Grow != nil:
		err = c.grow(ctx, p.Grow)
	case p.Crash != nil:
		err = c.crash(ctx, p)
	case p.Kill != nil:
		err = c.kill(ctx, p)
	case p.Pause != nil && p.Pause.Coordinator > 0:
		err = c.pauseCoordinator(ctx, p)
	case p.Rescale != nil:
		err = c.rescale(ctx, p)
	case p.Savepoint:
		err = c.savepoint(ctx, p)
	case p.Pause != nil && p.Pause.Replace:
		err = c.replace(ctx, p)
	case p.Pause != nil:
		err = c.pause(ctx, p)
	}
	if err != nil || c.death != nil {
		return 0, err
	}
	if p.Until == scenarios.Failed {
		if err := c.awaitFailure(ctx, p); err != nil || c.death != nil {
			return 0, err
		}
	}
	if err := c.sleepUntil(ctx, earliest-ahead); err != nil || c.death != nil {
		return 0, err
	}
	if p.Backlog && !c.spec.Scenario.Load.GoesOn && !c.await(ctx, drainLimit, c.load.stored) {
		return 0, errors.Join(ctx.Err(), fmt.Errorf("phase %s: the load was not stored within %s of its end", p.Name, drainLimit))
	}
	if p.Until != "" && p.Until != scenarios.Failed {
		limit := time.Duration(p.AtMost) - time.Duration(clock.Mono()-at)
		ok := c.caughtUp
		if p.Until == scenarios.Drained {
			offered := c.plan.Count(clock.Mono())
			ok = func() bool { return c.seen(offered) }
		}
		if !c.await(ctx, max(limit, 0), ok) && ctx.Err() == nil && c.death == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: not %s within %s", p.Name, p.Until, time.Duration(p.AtMost)))
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	if err := undo(ctx); err != nil {
		return 0, err
	}
	return max(earliest, clock.Mono()+ahead), nil
}

// sleepUntil waits for a monotonic time; it returns early when the worker dies.
func (c *cell) sleepUntil(ctx context.Context, mono int64) error {
	d := clock.Until(mono)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.ended():
		c.death = c.obituary()
		return nil
	case <-c.load.done():
		return c.load.failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cell) command(ctx context.Context, build func(id int64) worker.Command) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	_, err := c.worker().Call(ctx, func(id int64) any { return build(id) })
	select {
	case <-c.worker().Done():
		if c.death == nil {
			c.death = c.obituary()
		}
		return nil
	default:
		return err
	}
}

func (c *cell) throttle(ctx context.Context, p scenarios.Phase) (undo func(context.Context) error, err error) {
	t := &throttled{phase: p.Name, rate: float64(p.Throttle.Sink.Of(c.spec.Scenario.Load.Rate))}
	if p.Throttle.Of != "" {
		if t.maximum, err = c.rateOf(p.Throttle.Of); err != nil {
			return nil, err
		}
		t.share = p.Throttle.Sink.Percent / 100
		t.rate = t.share * t.maximum
	}
	if t.limit = t.rate; t.share == 1 {
		t.limit = c.limitIn(p.Throttle.Of)
	}
	set := func(ctx context.Context, r *float64) error {
		return c.command(ctx, func(id int64) worker.Command {
			return worker.Command{ID: id, Throttle: &worker.Throttle{RecordsPerSecond: r}}
		})
	}
	if len(c.facts.throttled) == 0 {
		c.engine.clearBlocked()
	}
	limit := &t.limit
	if t.limit == 0 {
		limit = nil
	}
	if err := set(ctx, limit); err != nil {
		return nil, err
	}
	t.from = clock.Mono()
	c.facts.throttled = append(c.facts.throttled, t)
	return func(ctx context.Context) error {
		// Between two throttles the sink is not free: in the moment between them it
		// would take what waits.
		if !c.throttledNext(p) {
			if err := set(ctx, nil); err != nil {
				return err
			}
		}
		t.to = clock.Mono()
		c.facts.blocked = c.engine.blocked()
		return nil
	}, nil
}

// throttledNext reports whether the phase behind this one throttles the sink too.
func (c *cell) throttledNext(p scenarios.Phase) bool {
	all := c.spec.Scenario.Phases
	i := slices.IndexFunc(all, func(x scenarios.Phase) bool { return x.Name == p.Name })
	return i >= 0 && i+1 < len(all) && all[i+1].Throttle != nil
}

// limitIn is what the sink was held at in a phase that is over, 0 for nothing: all
// of the maximum is what it was when it was measured, and not the measured figure,
// which every moment of a busy machine would only lower.
func (c *cell) limitIn(phase string) float64 {
	for _, t := range c.facts.throttled {
		if t.phase == phase {
			return t.limit
		}
	}
	return 0
}

// rateOf is the rate at which results became visible in a phase that is over.
func (c *cell) rateOf(phase string) (float64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rate, ok := c.facts.maximum[phase]; ok {
		return rate, nil // the same for all that are a share of it
	}
	for _, p := range c.phases {
		if p.Name != phase {
			continue
		}
		if rate, ok := pressure.Mean(c.rec.samples(), p.Start, p.End); ok && rate > 0 {
			c.facts.maximum = map[string]float64{phase: rate}
			return rate, nil
		}
		return 0, fmt.Errorf("throttle.of: %s: no result became visible in that phase, so a share of it is no limit: lengthen it", phase)
	}
	return 0, fmt.Errorf("throttle.of: %s: no phase of that name is over", phase)
}

func (c *cell) grow(ctx context.Context, g *scenarios.Grow) error {
	before := c.plan.All()
	topic, have, want := c.topics.in, 0, g.Partitions
	if g.Topic != "" {
		topic = c.topics.in + "-" + g.Topic
		if want == 0 {
			want = c.spec.Scenario.Topics.Partitions
		}
		if err := c.broker.CreateTopic(ctx, c.admin(topic), want, nil); err != nil {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
		if c.trimmer != nil {
			c.trimmer.Add(topic, holdJob)
		}
	} else {
		for _, p := range before {
			if p.Topic == topic {
				have++
			}
		}
		if err := c.broker.Grow(ctx, c.admin(topic), want); err != nil {
			return fmt.Errorf("grow topic %s: %w", topic, err)
		}
	}
	f := &grown{at: clock.Mono(), from: int32(len(before)), created: want - have}
	for n := have; n < want; n++ {
		f.splits = append(f.splits, fmt.Sprintf("%s/%d", topic, n))
	}
	c.setGrown(f)
	return c.load.grow(ctx, topic, want)
}

// grownFrom returns the first global number of the partitions that were added,
// or −1 while there are none.
func (c *cell) grownFrom() int32 {
	if f := c.facts.grown.Load(); f != nil {
		return f.from
	}
	return -1
}

func (c *cell) setGrown(f *grown) { c.facts.grown.Store(f) }

// kill ends the worker, or one of its task managers or executors, at whatever
// moment this is.
func (c *cell) kill(ctx context.Context, p scenarios.Phase) error {
	switch {
	case p.Kill.TaskManager > 0:
		return c.killMember(ctx, fmt.Sprintf("task manager %d", p.Kill.TaskManager), worker.Kill{TaskManager: p.Kill.TaskManager})
	case p.Kill.Executor > 0:
		return c.killMember(ctx, fmt.Sprintf("executor %d", p.Kill.Executor), worker.Kill{Executor: p.Kill.Executor})
	case p.Kill.Coordinator != "":
		return c.killCoordinator(ctx, p)
	}
	f := &crashed{point: "anywhere"}
	c.facts.crash(f)
	c.worker().Kill()
	<-c.worker().Done()
	c.bury(f)
	return c.restart(ctx, f, time.Duration(p.Kill.Down))
}

// killMember has the worker kill one of its processes. What is seen from
// then on and was not before counts as new; what becomes of the job is the
// engine's to decide, and the worker's death is one of the answers.
func (c *cell) killMember(ctx context.Context, name string, kill worker.Kill) error {
	f := &crashed{point: name}
	c.facts.crash(f)
	if err := c.command(ctx, func(id int64) worker.Command {
		return worker.Command{ID: id, Kill: &kill}
	}); err != nil || c.death != nil {
		return err
	}
	f.killed = clock.Mono()
	c.watchNew(f.killed)
	return nil
}

// seeRemains waits until the observer has read what the dead worker left behind,
// which would otherwise pass for the first result of the new one. It takes a
// millisecond or two of the downtime, and gives up after remainsAtMost: a figure
// that is a little too good is better than a restart that is held up.
func (c *cell) seeRemains(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, remainsAtMost)
	defer cancel()
	ends, err := c.observer.Ends(ctx)
	if err != nil {
		return
	}
	for !c.observer.SeenStable(ends) {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// remainsAtMost bounds how long a restart waits for the observer.
const remainsAtMost = 100 * time.Millisecond

func faultLimit(p scenarios.Phase) time.Duration {
	if p.AtMost > 0 {
		return time.Duration(p.AtMost)
	}
	return time.Duration(scenarios.DefaultFaultAtMost)
}

// seen reports whether so many records have had their effect seen. Where effects
// are not counted by input, nothing left to take in stands for it.
func (c *cell) seen(offered int64) bool {
	rows := c.rec.all()
	if len(rows) == 0 {
		return offered == 0
	}
	last := rows[len(rows)-1]
	if !c.committed.PerInput() {
		return last.lag == 0
	}
	return last.visible+c.facts.skipped.Load() >= offered
}

// lag is how many records are due and not yet visible.
func (c *cell) lag() int64 {
	rows := c.rec.all()
	if len(rows) == 0 {
		return 0
	}
	return rows[len(rows)-1].lag
}

// normalLag is the largest lag of the undisturbed phases behind warm-up, with a
// tenth to spare: what a batch or checkpoint interval always leaves open. It
// falls back on a tenth of a second's load.
func (c *cell) normalLag() int64 {
	floor := int64(math.Ceil(float64(c.spec.Scenario.Load.Rate) / 10))
	var largest int64
	rows := c.rec.all()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range rows {
		if c.undisturbed(c.seconds(x.at)) {
			largest = max(largest, x.lag)
		}
	}
	return max(largest+largest/10, floor)
}

// undisturbed reports whether a moment lies in a phase before the first fault,
// warm-up left out where there is another. The caller holds c.mu.
func (c *cell) undisturbed(t float64) bool {
	for i, p := range c.phases {
		if p.Fault != "" {
			return false
		}
		if t >= p.Start && (t < p.End || p.End == 0) {
			return i > 0 || len(c.spec.Scenario.Phases) == 1 || c.spec.Scenario.Phases[1].Fault() != ""
		}
	}
	return false
}

// caughtUp reports whether the lag is normal. Right behind a crash it still is:
// nothing can have caught up before its first new result, unless there is none.
func (c *cell) caughtUp() bool {
	lag := c.lag()
	if k := c.facts.crashed; k != nil && k.killed > 0 && lag > 0 && c.committed.PerInput() {
		if _, ok := c.committed.FirstNew(); !ok {
			return false
		}
	}
	return lag <= c.normalLag()
}

// tick tells the progress line how the cell goes.
func (c *cell) tick(x row) {
	name := ""
	c.mu.Lock()
	if n := len(c.phases); n > 0 {
		name = c.phases[n-1].Name
	}
	c.mu.Unlock()
	c.r.o.Progress(Progress{
		Kind: CellTick, Cell: c.spec, Index: c.index, Phase: name, At: time.Duration(x.at - c.start),
		Offered: x.sample.Offered, Visible: x.sample.Visible, Lag: x.lag,
	})
}
