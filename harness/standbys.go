package harness

import (
	"context"
	"fmt"
	"time"

	"streamduel/clock"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/worker"
)

// killCoordinator has the worker kill the coordinator that leads, or one that
// stands by, and in the first case waits until another runs the job.
func (c *cell) killCoordinator(ctx context.Context, p scenarios.Phase) error {
	which := p.Kill.Coordinator
	f := &crashed{point: "coordinator " + string(which)}
	c.facts.crash(f)
	c.engine.expectStart()
	if err := c.command(ctx, func(id int64) worker.Command {
		return worker.Command{ID: id, Kill: &worker.Kill{Coordinator: string(which)}}
	}); err != nil || c.death != nil {
		return err
	}
	f.killed = clock.Mono()
	if which == scenarios.Standby {
		c.watchNew(f.killed)
		return nil
	}
	return c.takenOver(ctx, p, f)
}

// pauseCoordinator has the worker stop the coordinator that leads for longer than
// its lease. Another takes over, and the one that wakes up must find that out and
// stop: an engine whose does not has failed.
func (c *cell) pauseCoordinator(ctx context.Context, p scenarios.Phase) error {
	f := &crashed{point: "coordinator stopped"}
	c.facts.crash(f)
	c.engine.expectStart()
	before := len(c.engine.wasDeposed())
	if err := c.command(ctx, func(id int64) worker.Command {
		return worker.Command{ID: id, Pause: &worker.Pause{Coordinator: worker.Leading, Millis: time.Duration(p.Pause.Coordinator).Milliseconds()}}
	}); err != nil || c.death != nil {
		return err
	}
	f.killed = clock.Mono()
	c.mark(f.killed, runs.MarkThrottled, "coordinator stopped (SIGSTOP)")
	if err := c.takenOver(ctx, p, f); err != nil || c.death != nil {
		return err
	}
	limit := time.Duration(p.Pause.Coordinator) - time.Duration(clock.Mono()-f.killed) + faultLimit(p)
	if !c.await(ctx, limit, func() bool { return len(c.engine.wasDeposed()) > before }) {
		if ctx.Err() == nil && c.death == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: the coordinator that was stopped did not find out within %s of its waking up that another leads", p.Name, faultLimit(p)))
		}
		return ctx.Err()
	}
	c.mark(clock.Mono(), runs.MarkReleased, "the old coordinator has stopped: "+c.engine.wasDeposed()[before].Error)
	return nil
}

// takenOver waits until another coordinator runs the job. What is seen from then
// on and was not before counts as new.
func (c *cell) takenOver(ctx context.Context, p scenarios.Phase, f *crashed) error {
	c.seeRemains(ctx)
	c.watchNew(clock.Mono())
	started := c.engine.waitStarted()
	if !c.wait(ctx, faultLimit(p), started) {
		if ctx.Err() == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: no other coordinator ran the job within %s", p.Name, faultLimit(p)))
		}
		return ctx.Err()
	}
	f.restarted = clock.Mono()
	return nil
}

func (c *cell) watchNew(at int64) {
	c.committed.WatchNew(at)
	c.uncommitted.WatchNewTo(at, c.committed)
}
