package harness

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"streamduel/clock"
	"streamduel/engines"
	"streamduel/harness/proc"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/worker"
)

// crashed is what a crash or kill phase did, or one that waited for the job to
// fail.
type crashed struct {
	point             string
	hit               int
	killed, restarted int64
	reached           *engines.FailpointReached
	waited            int64 // nanoseconds that the point was waited for
	again             string
	reachedAgain      *engines.FailpointReached // of the worker that was started first
	lost              bool                      // the restart went on without prepared output
	clean             bool                      // the job was stopped in order, which costs nothing
}

// either is closed with the first of two channels.
func either(a, b <-chan struct{}) <-chan struct{} {
	both := make(chan struct{})
	go func() {
		defer close(both)
		select {
		case <-a:
		case <-b:
		}
	}()
	return both
}

// crash arms the point and waits for the worker to kill itself there, or the one of
// several coordinators that leads, or for it to tell that a part of it has failed.
func (c *cell) crash(ctx context.Context, p scenarios.Phase) error {
	f := &crashed{point: c.spec.CrashPoint(p), hit: max(p.Crash.Hit, 1), again: c.spec.CrashAgain(p)}
	c.facts.crash(f)
	c.engine.expectStart()
	fell := c.engine.expectFall()
	if err := c.command(ctx, func(id int64) worker.Command {
		return worker.Command{ID: id, Arm: &worker.Arm{Point: f.point, Hit: f.hit}}
	}); err != nil || c.death != nil {
		return err
	}
	armed := clock.Mono()
	ended := c.wait(ctx, faultLimit(p), either(c.worker().Done(), either(c.engine.survived(), fell)))
	f.waited = clock.Mono() - armed
	if !ended {
		if ctx.Err() == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: crash point %s was not reached %d times within %s", p.Name, f.point, f.hit, faultLimit(p)))
		}
		return ctx.Err()
	}
	if isClosed(fell) && !isClosed(c.worker().Done()) {
		if f.reached = c.engine.lastWords(); f.reached == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: the coordinator that led fell before crash point %s was reached %d times", p.Name, f.point, f.hit))
		}
		f.killed = clock.Mono()
		err := c.takenOver(ctx, p, f)
		f.lost = c.engine.wentOn()
		return err
	}
	if f.reached = c.engine.failpoint(); f.reached == nil {
		c.death = c.obituary() // it died of something else
		return nil
	}
	if f.reached.Lives {
		f.killed = clock.Mono() // a part of it, and what is seen from now on counts as new
		c.watchNew(f.killed)
		return nil
	}
	c.bury(f)
	if f.again != "" {
		if err := c.crashAgain(ctx, p, f); err != nil || c.death != nil || f.reachedAgain == nil {
			return err
		}
	}
	return c.restart(ctx, f, time.Duration(p.Crash.Down))
}

// crashAgain starts a worker with a point armed from its start and waits for it to
// kill itself there.
func (c *cell) crashAgain(ctx context.Context, p scenarios.Phase, f *crashed) error {
	job := c.job
	job.Arm = &worker.Arm{Point: f.again, Hit: 1}
	if err := c.launch(job); err != nil {
		return err
	}
	if !c.wait(ctx, faultLimit(p), c.worker().Done()) {
		if ctx.Err() == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: the worker that was started behind the crash did not reach point %s within %s", p.Name, f.again, faultLimit(p)))
		}
		return ctx.Err()
	}
	if f.reachedAgain = c.engine.failpoint(); f.reachedAgain == nil {
		c.death = c.obituary()
		return nil
	}
	c.mark(c.worker().Ended(), runs.MarkKilled, "killed again, at "+f.again)
	c.bury(f)
	return nil
}

// bury notes what the worker that is dead has used, and when the first one died.
func (c *cell) bury(f *crashed) {
	if f.killed == 0 {
		f.killed = c.worker().Ended()
	}
	c.facts.addUsage(c.worker().Usage())
	c.engine.nextAttempt()
}

// restart starts the job again in the place of one that is buried.
func (c *cell) restart(ctx context.Context, f *crashed, down time.Duration) error {
	if down > 0 {
		t := time.NewTimer(down)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.seeRemains(ctx)
	// What is seen from now on and was not before comes from the new worker.
	c.watchNew(clock.Mono())
	if err := c.startWorker(ctx); err != nil {
		if c.death != nil {
			return nil
		}
		return err
	}
	f.restarted, f.lost = clock.Mono(), c.engine.wentOn()
	return nil
}

// awaitFailure waits until the job has failed by itself, looks whether it says why,
// and starts it again, as whoever runs it does who has read that.
func (c *cell) awaitFailure(ctx context.Context, p scenarios.Phase) error {
	f := &crashed{point: "failed by itself"}
	c.facts.crash(f)
	if !c.wait(ctx, time.Duration(p.AtMost), c.worker().Done()) {
		if ctx.Err() == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: the job did not fail within %s", p.Name, time.Duration(p.AtMost)))
		}
		return ctx.Err()
	}
	said := c.engine.failure()
	if said == "" { // no failure of the job, but its process's end
		c.death = c.obituary()
		return nil
	}
	for _, text := range p.Says {
		if !strings.Contains(said, text) {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: the job's error does not say %q: %s", p.Name, text, firstLine(said)))
		}
	}
	c.mark(c.worker().Ended(), runs.MarkKilled, "the job failed: "+firstLine(said))
	c.bury(f)
	return c.restart(ctx, f, 0)
}

// pause stops the worker's process for a while; the schedule goes on.
func (c *cell) pause(ctx context.Context, p scenarios.Phase) error {
	if err := c.worker().Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	c.mark(clock.Mono(), runs.MarkThrottled, "worker stopped (SIGSTOP)")
	t := time.NewTimer(time.Duration(p.Pause.Worker))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	if err := c.worker().Signal(syscall.SIGCONT); err != nil {
		return err
	}
	c.mark(clock.Mono(), runs.MarkReleased, "worker goes on (SIGCONT)")
	return ctx.Err()
}

// replace stops the worker, starts another in its place, and lets the old one go
// on: it has to find out that it was replaced, and to end.
func (c *cell) replace(ctx context.Context, p scenarios.Phase) error {
	f := &crashed{point: "stopped and replaced"}
	c.facts.crash(f)
	old := c.worker()
	defer old.Kill() // whatever becomes of the cell
	if err := old.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	f.killed = clock.Mono()
	c.mark(f.killed, runs.MarkThrottled, "worker stopped (SIGSTOP), another takes its place")
	c.engine.nextAttempt()
	old.retire()
	if err := c.restart(ctx, f, 0); err != nil || c.death != nil {
		return err
	}
	if err := c.sleepUntil(ctx, f.killed+int64(p.Pause.Worker)); err != nil || c.death != nil {
		return err
	}
	if err := old.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	woken := clock.Mono()
	c.mark(woken, runs.MarkReleased, "the old worker goes on (SIGCONT)")
	if !c.await(ctx, faultLimit(p), func() bool { return isClosed(old.Done()) }) {
		if ctx.Err() == nil && c.death == nil {
			c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: the worker that was stopped did not end within %s of its waking up, although another has its place", p.Name, faultLimit(p)))
		}
		return ctx.Err()
	}
	c.facts.addUsage(old.Usage())
	said := old.said()
	if said == nil || !said.Superseded {
		c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: the worker that was stopped did not say that another has its place: %s", p.Name, lastWords(old.Child, said)))
		return nil
	}
	c.mark(old.Ended(), runs.MarkReleased, "the old worker has ended: "+firstLine(said.Error))
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// lastWords are what is known of a worker's end that was not the expected one.
func lastWords(child *proc.Child, said *engines.Failed) string {
	if said != nil {
		return "it failed: " + firstLine(said.Error)
	}
	if s := child.Complaint(); s != "" {
		return s
	}
	return "it said nothing"
}
