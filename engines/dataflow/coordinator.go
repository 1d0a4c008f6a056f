package dataflow

import (
	"fmt"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/engines/dataflow/schedule"
)

// coordinator triggers checkpoints, gathers them, makes them durable, and ends
// the job. One checkpoint is under way at a time, its commits included.
type coordinator struct {
	run   *run
	inbox chan any

	next      int64 // id
	current   *pending
	lastStart time.Time
	lastEnd   time.Time
	failures  int // in a row
	oldest    int64
	last      *checkpoints.Metadata // of the newest durable checkpoint
	ended     map[*seat]bool        // subtasks that have passed everything on
	restarts  schedule.Restart

	stop     engines.StopMode // asked for, or ""
	final    bool             // current is the last checkpoint
	trigger  *time.Timer
	timeout  *time.Timer
	complete bool // the last checkpoint is committed
}

// pending is a checkpoint under way.
type pending struct {
	id         int64
	started    time.Time
	acked      map[*seat]bool
	meta       *checkpoints.Metadata
	splits     map[string][]checkpoints.Split
	alignment  time.Duration
	committing bool
	commits    map[*seat]bool
	durable    bool
}

// The messages to the coordinator.
type (
	// ack is a subtask's part of a checkpoint.
	ack struct {
		task      *task
		id        int64
		splits    []checkpoints.Split
		state     *checkpoints.State
		sinks     []checkpoints.Sink
		alignment time.Duration
	}
	declined struct {
		task *task
		id   int64
		err  error
	}
	committed struct {
		task *task
		id   int64
	}
	// finished tells that a subtask has passed everything on.
	finished struct{ task *task }
	stopping struct{ mode engines.StopMode }
)

// tell sends a message, unless the job is over.
func (c *coordinator) tell(message any) {
	select {
	case c.inbox <- message:
	case <-c.run.ctx.Done():
	}
}

// committed tells that a subtask has committed a checkpoint. It is the
// subtask's goroutine that hits D6, between its commit and the last one.
func (c *coordinator) committed(t *task, id int64) {
	if k := c.run.committed.Add(1); k < int64(len(c.run.sinkSeats)) {
		c.run.failpoint("D6", id)
	}
	c.tell(committed{t, id})
}

// loop runs until the job has ended as asked (nil) or cannot go on.
func (c *coordinator) loop() error {
	c.trigger, c.timeout = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer c.trigger.Stop()
	defer c.timeout.Stop()
	c.timeout.Stop()
	c.lastStart = time.Now()
	c.lastEnd = c.lastStart
	for {
		c.schedule()
		var err error
		select {
		case m := <-c.inbox:
			err = c.handle(m)
		case <-c.trigger.C:
			err = c.begin(false)
		case <-c.timeout.C:
			err = c.fail(fmt.Errorf("it took longer than %v", time.Duration(c.run.cfg.Checkpoint.Timeout)))
		case <-c.run.ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
		if c.complete {
			return c.run.finishSources()
		}
		if c.current != nil || c.final || c.down() {
			continue
		}
		if c.stop == engines.StopCheckpoint || len(c.ended) == len(c.run.seats) {
			if err := c.begin(true); err != nil {
				return err
			}
		}
	}
}

// schedule sets the trigger's timer.
func (c *coordinator) schedule() {
	c.trigger.Stop()
	if c.current != nil || c.final || c.down() {
		return
	}
	cfg := c.run.cfg.Checkpoint
	due := c.lastStart.Add(time.Duration(cfg.Interval))
	if p := c.lastEnd.Add(time.Duration(cfg.MinPause)); p.After(due) {
		due = p
	}
	c.trigger.Reset(time.Until(due))
}

// down reports whether a region is not running: then no checkpoint can complete.
func (c *coordinator) down() bool {
	for _, g := range c.run.regions {
		if g.down {
			return true
		}
	}
	return false
}

// stale reports whether a message comes from a task that is not in its seat any
// more.
func stale(t *task) bool { return t.region.down || t.task() != t }

func (c *coordinator) handle(message any) error {
	switch m := message.(type) {
	case crashed:
		return c.crashed(m)
	case restart:
		return c.restart(m.region)
	case ack:
		return c.ack(m)
	case declined:
		if !stale(m.task) && c.current != nil && c.current.id == m.id && !c.current.committing {
			return c.fail(m.err)
		}
	case committed:
		if !stale(m.task) {
			return c.committedAt(m.task.seat, m.id)
		}
	case finished:
		if !stale(m.task) {
			c.ended[m.task.seat] = true
		}
	case stopping:
		c.stop = m.mode
		if m.mode == engines.StopDrain {
			c.drain(c.run.seats)
		}
	}
	return nil
}

// drain makes sources without an end of their own end.
func (c *coordinator) drain(seats []*seat) {
	for _, s := range seats {
		if s.source != nil && !s.source.bounded {
			s.task().box.send(drain{})
		}
	}
}

// committedAt takes the word that a subtask has committed a checkpoint.
func (c *coordinator) committedAt(s *seat, id int64) error {
	p := c.current
	if p == nil || p.id != id || !p.committing {
		return nil
	}
	p.commits[s] = true
	if len(p.commits) == len(c.run.sinkSeats) {
		return c.allCommitted()
	}
	return nil
}

// begin triggers a checkpoint at all sources.
func (c *coordinator) begin(final bool) error {
	r := c.run
	p := &pending{
		id: c.next, started: time.Now(), acked: map[*seat]bool{}, commits: map[*seat]bool{},
		splits: map[string][]checkpoints.Split{},
		meta:   &checkpoints.Metadata{ID: c.next, Attempt: r.attempt.Number, MaxParallelism: r.job.MaxParallelism},
	}
	c.next++
	c.current, c.lastStart, c.final = p, p.started, final
	c.timeout.Reset(time.Duration(r.cfg.Checkpoint.Timeout))
	r.emit(engines.CheckpointTriggered{Checkpoint: p.id})
	for _, s := range r.sources {
		for _, s := range s.seats {
			s.task().box.send(trigger{id: p.id, last: final})
		}
	}
	return nil
}

// giveUp gives the current checkpoint up and returns it.
func (c *coordinator) giveUp(reason error) *pending {
	p, r := c.current, c.run
	if p == nil || p.committing {
		// Commits have no time limit of their own: the sinks' clients have one.
		return nil
	}
	c.current, c.lastEnd = nil, time.Now()
	c.timeout.Stop()
	r.emit(engines.CheckpointFailed{Checkpoint: p.id, Reason: reason.Error()})
	r.rt.Log.Warn("checkpoint failed", "checkpoint", p.id, "reason", reason)
	for _, s := range r.seats {
		s.task().box.send(abortCheckpoint{p.id})
	}
	return p
}

// fail gives the current checkpoint up, which counts.
func (c *coordinator) fail(reason error) error {
	p, r := c.giveUp(reason), c.run
	if p == nil {
		return nil
	}
	if c.final {
		return fmt.Errorf("the last checkpoint failed: %w", reason)
	}
	if c.failures++; c.failures > r.cfg.Checkpoint.TolerableFailures {
		return fmt.Errorf("checkpoint %d failed, and %d in a row are tolerated: %w", p.id, r.cfg.Checkpoint.TolerableFailures, reason)
	}
	return nil
}

func (c *coordinator) ack(a ack) error {
	p := c.current
	if p == nil || p.id != a.id || stale(a.task) || p.acked[a.task.seat] {
		return nil // of one that was given up; Sweep deletes its file
	}
	p.acked[a.task.seat] = true
	p.alignment = max(p.alignment, a.alignment)
	if src := a.task.seat.source; src != nil {
		uid := src.node.UID
		p.splits[uid] = append(p.splits[uid], a.splits...)
	}
	if a.state != nil {
		p.meta.States = append(p.meta.States, *a.state)
	}
	p.meta.Sinks = append(p.meta.Sinks, a.sinks...)
	if len(p.acked) < len(c.run.seats) {
		return nil
	}
	c.timeout.Stop()
	for _, s := range c.run.sources {
		p.meta.Sources = append(p.meta.Sources, checkpoints.Source{Operator: s.node.UID, Splits: p.splits[s.node.UID]})
	}
	if c.run.broken {
		return c.notify()
	}
	if err := c.makeDurable(); err != nil {
		return err
	}
	return c.notify()
}

// makeDurable writes the metadata: from then on a restart goes on from here.
func (c *coordinator) makeDurable() error {
	p, r := c.current, c.run
	r.failpoint("D4", p.id)
	if r.broken {
		r.failpoint("D5", p.id)
	}
	writing := time.Now()
	if err := r.attempt.Check(); err != nil {
		return err
	}
	if err := r.store.Complete(p.meta); err != nil {
		return fmt.Errorf("checkpoint %d: %w", p.id, err)
	}
	p.durable = true
	now := time.Now()
	positions := r.durable(p.meta)
	c.failures = 0
	r.emit(engines.CheckpointCompleted{
		Checkpoint: p.id, Duration: millis(now.Sub(p.started)), Durable: millis(now.Sub(writing)),
		Bytes: p.meta.NewBytes(c.last), FullBytes: p.meta.Bytes(), Alignment: millis(p.alignment),
	})
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
func (c *coordinator) notify() error {
	p, r := c.current, c.run
	p.committing = true
	if len(r.sinkSeats) == 0 {
		return c.allCommitted()
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

// allCommitted ends a checkpoint.
func (c *coordinator) allCommitted() error {
	p, r := c.current, c.run
	if r.broken {
		if err := c.makeDurable(); err != nil {
			return err
		}
	}
	r.failpoint("D7", p.id)
	if r.job.Guarantee != connectors.AtMostOnce {
		for _, s := range r.sources {
			s.publish(p.splits[s.node.UID])
		}
	}
	r.failpoint("D8", p.id)
	c.current, c.lastEnd = nil, time.Now()
	c.complete = c.final
	if r.backend != nil {
		r.wg.Go(func() {
			if err := r.store.SweepShared(); err != nil {
				r.fail(fmt.Errorf("deleting files that checkpoints shared: %w", err))
			}
		})
	}
	return nil
}
