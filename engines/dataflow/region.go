package dataflow

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/state"
)

// seat is a subtask's place in the execution graph. The task in it changes with
// every restart; who wants the subtask asks for the task of the moment.
type seat struct {
	fragment *pipeline.Fragment
	index    int // within the fragment
	name     string
	region   *region
	source   *enumeration // of a source's seat
	aligned  *member      // of a source's seat whose splits are aligned
	current  atomic.Pointer[task]
	pressure pressure
}

func (s *seat) task() *task { return s.current.Load() }

// region is what is restarted together: subtasks that exchanges connect, and the
// subtasks of a sink whose transactions are recovered together. Its fields belong
// to the coordinator.
type region struct {
	run    *run
	seats  []*seat
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	down   bool

	number     int         // in the order of the regions
	deployment *deployment // in a task manager's own process
}

func (g *region) names() (names []string) {
	for _, s := range g.seats {
		names = append(names, s.name)
	}
	return names
}

// launch starts the goroutines of the tasks in the seats.
func (g *region) launch() {
	if g.run.members != nil {
		g.run.members.launch(g)
		return
	}
	for _, s := range g.seats {
		t := s.task()
		if t.source != nil {
			g.spawn(t, t.source.fetch.loop)
		}
		g.spawn(t, t.execute)
	}
}

// spawn runs f in a goroutine of the region; its error fails the region.
func (g *region) spawn(t *task, f func() error) {
	g.wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				g.failed(t, fmt.Errorf("%s: panic: %v\n%s", t.name, p, debug.Stack()))
			}
		}()
		if err := f(); err != nil {
			g.failed(t, err)
		}
	})
}

// background runs something short that the region's end waits for.
func (g *region) background(f func()) { g.wg.Go(f) }

func (g *region) failed(t *task, err error) {
	r := g.run
	if r.here != nil {
		r.coordinator.tell(crashed{t, err}) // the worker decides
		return
	}
	if e := r.attempt.Check(); errors.Is(e, state.ErrSuperseded) && !errors.Is(err, state.ErrSuperseded) {
		err = fmt.Errorf("%w; because of that: %w", e, err) // a newer start has fenced it
	}
	if r.cfg.Restart.Strategy == RestartNone || errors.Is(err, state.ErrSuperseded) {
		r.fail(err)
		return
	}
	r.coordinator.tell(crashed{t, err})
}

// close waits for the region's goroutines and gives back what its tasks hold.
func (g *region) close() error {
	if err := g.wait(); err != nil {
		return err // what they hold they may still use
	}
	if g.down {
		return nil // it has been closed, and not opened since
	}
	for _, s := range g.seats {
		s.task().close()
	}
	return nil
}

// follow takes over the counters of the task that was in the seat before.
func (t *task) follow(before *task) {
	if before == nil {
		return
	}
	t.shown.consumed.Store(before.shown.consumed.Load())
	t.shown.in.consumedBefore = t.shown.consumed.Load()
	t.before = before.shown.written.Load()
	t.shown.written.Store(t.before)
	t.shown.watermark.Store(pipeline.NoTime)
	t.waits.blocked.Store(before.waits.blocked.Load())
	t.waits.idle.Store(before.waits.idle.Load())
	t.waits.hard.Store(before.waits.hard.Load())
}

// discard closes a task that has never run.
func (t *task) discard() {
	t.close()
	if t.source != nil && t.source.fetch != nil {
		t.source.fetch.reader.Close()
	}
}

// The messages about restarts.
type (
	// crashed tells that a subtask has failed.
	crashed struct {
		task *task
		err  error
	}
	// restart tells that the delay before a region's restart is over.
	restart struct{ region *region }
)

// crashed stops a region whose subtask has failed, and has it restarted when the
// strategy says so.
func (c *coordinator) crashed(m crashed) error {
	g := m.task.region
	if g.down || m.task.task() != m.task {
		return nil // it failed because the region was stopped
	}
	if c.final || c.run.broken {
		return m.err
	}
	return c.takeDown([]*region{g}, m.err)
}

// takeDown stops regions for one reason, which counts once, and has them restarted
// when the strategy says so.
func (c *coordinator) takeDown(gs []*region, reason error) error {
	delay, no := c.restarts.Failed(time.Now())
	if no != nil {
		return fmt.Errorf("%w (%w)", reason, no)
	}
	for _, g := range gs {
		c.stopRegion(g, reason, delay)
	}
	return nil
}

// stopRegion stops a region, which is told to restart after the delay.
func (c *coordinator) stopRegion(g *region, reason error, delay time.Duration) {
	r := c.run
	r.rt.Log.Warn("restarting tasks", "tasks", g.names(), "delay", delay, "error", reason)
	r.emit(engines.Restarting{Tasks: g.names(), Error: reason.Error(), Delay: millis(delay)})
	if !g.down {
		for _, p := range slices.Clone(c.under) {
			if !p.committing {
				c.giveUp(p, fmt.Errorf("tasks are restarted: %w", reason))
			}
		}
		g.cancel()
	}
	down := g.down // after a restart that failed it is closed already
	g.down = true
	r.wg.Go(func() {
		if err := g.wait(); err != nil {
			r.fail(err)
			return
		}
		if !down {
			for _, s := range g.seats {
				s.task().close()
			}
		}
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.tell(restart{g})
		case <-r.ctx.Done():
		}
	})
}

// restart brings a region back from the newest checkpoint. Restoring again what
// has gone wrong may go wrong again, which is one more failure.
func (c *coordinator) restart(g *region) error {
	id, err := c.reopen(g)
	if err != nil {
		if errors.Is(err, state.ErrSuperseded) || errors.Is(err, connectors.ErrLost) {
			return err // it will not be otherwise the next time
		}
		return c.takeDown([]*region{g}, err)
	}
	g.down = false
	g.launch()
	c.run.emit(engines.Restarted{Tasks: g.names(), Checkpoint: id})
	for _, s := range g.seats {
		delete(c.ended, s)
		if len(c.under) > 0 && c.under[0].committing && len(s.fragment.Sinks) > 0 {
			// Its commit was part of the recovery.
			if err := c.committedAt(s, c.under[0].id); err != nil {
				return err
			}
		}
	}
	if c.stop == engines.StopDrain {
		c.drain(g.seats)
	}
	return nil
}

func (c *coordinator) reopen(g *region) (checkpoint int64, err error) {
	r := c.run
	if err := r.attempt.Check(); err != nil {
		return 0, err
	}
	from, err := r.store.Newest()
	if err != nil {
		return 0, err
	}
	if from == nil {
		return 0, fmt.Errorf("there is no checkpoint to restart from in %s", r.job.Folder.Path())
	}
	defer from.Close()
	var nodes []*pipeline.Node
	for _, s := range g.seats {
		if s.index == 0 {
			nodes = append(nodes, s.fragment.Nodes...)
		}
	}
	r.failpoint("R1", from.ID)
	if err := r.recoverSinks(from, nodes); err != nil {
		return 0, err
	}
	r.settle(from.Positions())
	if r.job.Guarantee != connectors.AtMostOnce {
		r.advance(from.Positions()) // behind where it was when the newest could not be used
	}
	ts, err := r.openRegion(g, from)
	if err != nil {
		return 0, err
	}
	for i, s := range g.seats {
		if s.source != nil {
			s.source.replace(s, ts[i], from)
			continue
		}
		s.current.Store(ts[i])
	}
	return from.ID, nil
}
