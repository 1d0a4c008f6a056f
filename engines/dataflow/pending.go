package dataflow

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/state"
)

// pending is a checkpoint under way: it gathers its parts, waits until those
// before it are done with, is made durable, and is committed.
type pending struct {
	id         int64
	started    time.Time
	acked      map[*seat]bool
	meta       *checkpoints.Metadata
	splits     map[string][]checkpoints.Split
	subtasks   []engines.SubtaskCheckpoint
	aligned    bool // it may not overtake
	unaligned  bool // it has been told to
	last       bool
	savepoint  savepoint
	committing bool
	commits    map[*seat]bool
}

// gathered reports whether all parts are there.
func (p *pending) gathered(c *coordinator) bool { return len(p.acked) == len(c.run.seats) }

// pending returns the checkpoint of that id, nil when it is not under way.
func (c *coordinator) pending(id int64) *pending {
	for _, p := range c.under {
		if p.id == id {
			return p
		}
	}
	return nil
}

// tooLong is the reason of a checkpoint whose time is up: who has not answered, and
// what can be done.
func (c *coordinator) tooLong(p *pending) error {
	var missing []string
	for _, s := range c.run.seats {
		if !p.acked[s] {
			missing = append(missing, s.name)
		}
	}
	of := strings.Join(missing[:min(len(missing), 3)], ", ")
	if more := len(missing) - 3; more > 0 {
		of += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Errorf("it took longer than %v: nothing came from %s: raise checkpoint.timeout, or see what holds the barrier up there",
		time.Duration(c.run.cfg.Checkpoint.Timeout), of)
}

// gathering returns the oldest checkpoint of which parts are missing.
func (c *coordinator) gathering() *pending {
	for _, p := range c.under {
		if !p.gathered(c) {
			return p
		}
	}
	return nil
}

// begin triggers a checkpoint at all sources.
func (c *coordinator) begin(final bool, s savepoint) error {
	r, cfg := c.run, c.run.cfg.Checkpoint
	p := &pending{
		id: c.next, started: time.Now(), acked: map[*seat]bool{}, commits: map[*seat]bool{},
		splits: map[string][]checkpoints.Split{}, last: final, savepoint: s,
		meta: &checkpoints.Metadata{ID: c.next, Attempt: r.attempt.Number, MaxParallelism: r.job.MaxParallelism, Taken: time.Now().UnixMilli()},
	}
	// A savepoint can be restored at another parallelism, so it holds nothing
	// that is on its way; nor does the last checkpoint, behind which all is done.
	p.aligned = !cfg.Unaligned || final || s.reply != nil
	p.unaligned = !p.aligned && cfg.AlignedTimeout == 0
	c.next++
	c.under = append(c.under, p)
	c.lastStart, c.final = p.started, final
	c.timers()
	r.emit(engines.CheckpointTriggered{Checkpoint: p.id})
	b := barrier{id: p.id, started: clock.Mono(), unaligned: p.unaligned}
	for _, s := range r.sources {
		for _, s := range s.seats {
			s.task().box.send(trigger{b, final})
		}
	}
	return nil
}

// timers sets the timers of the oldest checkpoint that gathers.
func (c *coordinator) timers() {
	c.timeout.Stop()
	c.switches.Stop()
	p := c.gathering()
	if p == nil {
		return
	}
	cfg := c.run.cfg.Checkpoint
	c.timeout.Reset(time.Until(p.started.Add(time.Duration(cfg.Timeout))))
	if !p.aligned && !p.unaligned {
		c.switches.Reset(time.Until(p.started.Add(time.Duration(cfg.AlignedTimeout))))
	}
}

// overtake tells everybody that the checkpoint has been aligning for too long.
func (c *coordinator) overtake() {
	p := c.gathering()
	if p == nil || p.aligned || p.unaligned {
		return
	}
	p.unaligned = true
	for _, s := range c.run.seats {
		s.task().box.send(overtake{p.id})
	}
}

// giveUp gives a checkpoint up that is not committing.
func (c *coordinator) giveUp(p *pending, reason error) {
	r := c.run
	c.under = slices.DeleteFunc(c.under, func(o *pending) bool { return o == p })
	c.lastEnd = time.Now()
	c.timers()
	r.emit(engines.CheckpointFailed{Checkpoint: p.id, Reason: reason.Error()})
	r.rt.Log.Warn("checkpoint failed", "checkpoint", p.id, "reason", reason)
	p.savepoint.answer("", fmt.Errorf("checkpoint %d failed: %w", p.id, reason))
	for _, s := range r.seats {
		s.task().box.send(abortCheckpoint{p.id})
	}
}

// fail gives a checkpoint up, which counts, but for a savepoint's: who asked for it is
// told. What it was in the way of goes on. With one more than are tolerated the restart
// strategy decides, about all regions.
func (c *coordinator) fail(p *pending, reason error) error {
	c.giveUp(p, reason)
	if p.last {
		return fmt.Errorf("the last checkpoint failed: %w", reason)
	}
	if p.savepoint.reply != nil && !errors.Is(reason, state.ErrSuperseded) {
		return c.proceed()
	}
	cfg := c.run.cfg
	if c.failures++; c.failures <= cfg.Checkpoint.TolerableFailures {
		return c.proceed()
	}
	err := fmt.Errorf("checkpoint %d failed, and %d in a row are tolerated: %w", p.id, cfg.Checkpoint.TolerableFailures, reason)
	if cfg.Restart.Strategy == RestartNone || c.run.broken || errors.Is(err, state.ErrSuperseded) {
		return err
	}
	c.failures = 0
	var running []*region
	for _, g := range c.run.regions {
		if !g.down {
			running = append(running, g)
		}
	}
	return c.takeDown(running, err)
}

// unwritten means that a checkpoint's metadata could not be written. It is none,
// and counts as one that failed; what it prepared, the next one lists too.
type unwritten struct{ error }

func (u unwritten) Unwrap() error { return u.error }

func (c *coordinator) ack(a ack) error {
	p := c.pending(a.id)
	if p == nil || stale(a.task) || p.acked[a.task.seat] {
		return nil // of one that was given up; Sweep deletes its file
	}
	p.acked[a.task.seat] = true
	a.times.Name = a.task.name
	p.subtasks = append(p.subtasks, a.times)
	if src := a.task.seat.source; src != nil {
		uid := src.node.UID
		p.splits[uid] = append(p.splits[uid], a.splits...)
	}
	if a.state != nil {
		p.meta.States = append(p.meta.States, *a.state)
	}
	if a.channels != nil {
		p.meta.Channels = append(p.meta.Channels, *a.channels)
	}
	p.meta.Sinks = append(p.meta.Sinks, a.sinks...)
	if !p.gathered(c) {
		return nil
	}
	c.timers()
	for _, s := range c.run.sources {
		p.meta.Sources = append(p.meta.Sources, checkpoints.Source{Operator: s.node.UID, Splits: p.splits[s.node.UID]})
	}
	return c.proceed()
}

// proceed takes up the oldest checkpoint when all its parts are there. One
// commits at a time, in order, so that the sinks' epochs end in theirs.
func (c *coordinator) proceed() error {
	if len(c.under) == 0 {
		return nil
	}
	p := c.under[0]
	if p.committing || !p.gathered(c) {
		return nil
	}
	if c.run.broken {
		return c.notify(p)
	}
	switch err := c.makeDurable(p); {
	case errors.As(err, new(unwritten)):
		return c.fail(p, err)
	case err != nil:
		return err
	}
	return c.notify(p)
}

// makeDurable writes the metadata: from then on a restart goes on from here. The
// error is unwritten where the job may go on without this checkpoint, which it may
// not when another process has written it.
func (c *coordinator) makeDurable(p *pending) error {
	r := c.run
	r.failpoint("D4", p.id)
	if r.broken {
		r.failpoint("D5", p.id)
	}
	writing := time.Now()
	if err := r.attempt.Check(); err != nil {
		return err
	}
	switch err := r.store.Complete(p.meta); {
	case errors.Is(err, state.ErrExists):
		return fmt.Errorf("checkpoint %d: %w", p.id, err)
	case err != nil:
		return unwritten{fmt.Errorf("writing its metadata: %w", err)}
	}
	now := time.Now()
	positions := r.durable(p.meta)
	c.failures = 0
	done := engines.CheckpointCompleted{
		Checkpoint: p.id, Duration: millis(now.Sub(p.started)), Durable: millis(now.Sub(writing)),
		Bytes: p.meta.NewBytes(c.last), FullBytes: p.meta.Bytes(), Unaligned: p.unaligned, InFlightBytes: p.meta.InFlightBytes(),
		Savepoint: p.savepoint.reply != nil, Subtasks: p.subtasks,
	}
	for _, s := range p.subtasks {
		done.Alignment = max(done.Alignment, s.Alignment)
		done.Sum(s.StateUsage)
	}
	usage := done.StateUsage
	r.gauges.state.Store(&usage)
	r.emit(done)
	c.last = p.meta
	r.emit(engines.Durable{Positions: positions})
	oldest, err := r.store.Subsume()
	if err != nil {
		return fmt.Errorf("deleting checkpoints before %d: %w", p.id, err)
	}
	c.oldest = oldest
	if !r.broken {
		r.failpoint("D5", p.id)
	}
	return nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// notify tells the sinks to commit.
func (c *coordinator) notify(p *pending) error {
	r := c.run
	p.committing = true
	if len(r.sinkSeats) == 0 {
		return c.allCommitted(p)
	}
	if err := r.attempt.Check(); err != nil {
		return err
	}
	r.committed.Store(0)
	for _, s := range r.sinkSeats {
		s.task().box.send(durable{p.id, c.oldest})
	}
	return nil
}

// committedAt takes the word that a subtask has committed a checkpoint.
func (c *coordinator) committedAt(s *seat, id int64) error {
	p := c.pending(id)
	if p == nil || !p.committing {
		return nil
	}
	p.commits[s] = true
	if len(p.commits) == len(c.run.sinkSeats) {
		return c.allCommitted(p)
	}
	return nil
}

// allCommitted ends a checkpoint.
func (c *coordinator) allCommitted(p *pending) error {
	r := c.run
	if r.broken {
		if err := c.makeDurable(p); err != nil {
			return err // it has been committed: this one cannot be given up
		}
	}
	r.settle(p.meta.Positions())
	r.failpoint("D7", p.id)
	if r.job.Guarantee != connectors.AtMostOnce {
		for _, s := range r.sources {
			s.publish(p.splits[s.node.UID])
		}
	}
	r.failpoint("D8", p.id)
	if p.savepoint.reply != nil {
		c.export(p)
	}
	c.under, c.lastEnd = c.under[1:], time.Now()
	c.complete = p.last
	if r.backend != nil && len(c.under) == 0 {
		// Not while another's files are named by no metadata yet.
		r.wg.Go(func() {
			err := r.store.SweepShared(r.members.relied)
			if err != nil && !errors.Is(err, errNotNow) {
				r.fail(fmt.Errorf("deleting files that checkpoints shared: %w", err))
			}
		})
	}
	return c.proceed()
}
