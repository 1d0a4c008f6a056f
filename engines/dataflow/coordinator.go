package dataflow

import (
	"fmt"
	"slices"
	"time"

	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/engines/dataflow/schedule"
)

// coordinator triggers checkpoints, gathers them, makes them durable, restarts
// regions, and ends the job. What becomes of a checkpoint is in pending.go.
type coordinator struct {
	run    *run
	inbox  chan any
	remote func(message any) // in a task manager's own process: tells the worker's

	next      int64      // id
	under     []*pending // checkpoints under way, by id; the first may be committing
	lastStart time.Time
	lastEnd   time.Time
	failures  int // in a row
	oldest    int64
	last      *checkpoints.Metadata // of the newest durable checkpoint
	ended     map[*seat]bool        // subtasks that have passed everything on
	restarts  schedule.Restart
	asked     []savepoint // to be taken

	stop     engines.StopMode // asked for, or ""
	stopWith savepoint        // of the last checkpoint
	final    bool             // the last checkpoint is under way
	trigger  *time.Timer
	timeout  *time.Timer // of the oldest that gathers
	switches *time.Timer // when a checkpoint that is late begins to overtake
	complete bool        // the last checkpoint is committed
}

// The messages to the coordinator.
type (
	// ack is a subtask's part of a checkpoint.
	ack struct {
		task     *task
		id       int64
		splits   []checkpoints.Split
		state    *checkpoints.State
		channels *checkpoints.Channels
		sinks    []checkpoints.Sink
		times    engines.SubtaskCheckpoint
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
	stopping struct {
		mode engines.StopMode
		with savepoint
	}
)

// tell sends a message, unless the job is over.
func (c *coordinator) tell(message any) {
	if c.remote != nil {
		c.remote(message)
		return
	}
	select {
	case c.inbox <- message:
	case <-c.run.ctx.Done():
	}
}

// committed tells that a subtask has committed a checkpoint. It is the
// subtask's goroutine that hits D6, between its commit and the last one.
func (c *coordinator) committed(t *task, id int64) {
	if c.remote != nil {
		c.remote(committed{t, id})
		return
	}
	if k := c.run.committed.Add(1); k < int64(len(c.run.sinkSeats)) {
		c.run.failpoint("D6", id)
	}
	c.tell(committed{t, id})
}

// stopped returns a timer that is not set.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// loop runs until the job has ended as asked (nil) or cannot go on.
func (c *coordinator) loop() (err error) {
	c.trigger, c.timeout, c.switches = stopped(), stopped(), stopped()
	defer c.trigger.Stop()
	defer c.timeout.Stop()
	defer c.switches.Stop()
	defer func() { c.refuseSavepoints(err) }()
	c.lastStart = time.Now()
	c.lastEnd = c.lastStart
	for {
		c.schedule()
		var err error
		select {
		case m := <-c.inbox:
			err = c.handle(m)
		case <-c.trigger.C:
			err = c.begin(false, savepoint{})
		case <-c.timeout.C:
			if p := c.gathering(); p != nil {
				err = c.fail(p, c.tooLong(p))
			}
		case <-c.switches.C:
			c.overtake()
		case <-c.run.ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
		if c.complete {
			return c.run.finishSources()
		}
		if len(c.under) > 0 || c.final || c.down() {
			continue
		}
		switch {
		case c.stop == engines.StopCheckpoint || len(c.ended) == len(c.run.seats):
			err = c.begin(true, c.stopWith)
		case len(c.asked) > 0:
			s := c.asked[0]
			c.asked = c.asked[1:]
			err = c.begin(false, s)
		}
		if err != nil {
			return err
		}
	}
}

// schedule sets the trigger's timer.
func (c *coordinator) schedule() {
	c.trigger.Stop()
	cfg := c.run.cfg.Checkpoint
	most := cfg.Concurrent
	if cfg.MinPause > 0 {
		most = 1 // there is no pause between two that overlap
	}
	if len(c.under) >= most || c.final || c.down() || c.exclusive() {
		return
	}
	due := c.lastStart.Add(time.Duration(cfg.Interval))
	if p := c.lastEnd.Add(time.Duration(cfg.MinPause)); p.After(due) {
		due = p
	}
	c.trigger.Reset(time.Until(due))
}

// exclusive reports whether nothing may be triggered beside what is under way or
// asked for.
func (c *coordinator) exclusive() bool {
	return len(c.asked) > 0 || c.stop == engines.StopCheckpoint ||
		slices.ContainsFunc(c.under, func(p *pending) bool { return p.savepoint.reply != nil })
}

// down reports whether a region is not running: then no checkpoint can complete.
func (c *coordinator) down() bool {
	return slices.ContainsFunc(c.run.regions, func(g *region) bool { return g.down })
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
		if p := c.pending(m.id); !stale(m.task) && p != nil && !p.committing {
			return c.fail(p, m.err)
		}
	case committed:
		if !stale(m.task) {
			return c.committedAt(m.task.seat, m.id)
		}
	case finished:
		if !stale(m.task) {
			c.ended[m.task.seat] = true
		}
	case savepoint:
		if c.stop != "" || c.final {
			m.answer("", fmt.Errorf("the job is stopping"))
			return nil
		}
		c.asked = append(c.asked, m)
	case stopping:
		c.stop, c.stopWith = m.mode, m.with
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
