package harness

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/engines"
	"streamduel/harness/proc"
	"streamduel/worker"
)

// startWorker starts an attempt of the job and waits until it runs.
func (c *cell) startWorker(ctx context.Context) error {
	if c.facts.launched == 0 {
		c.facts.launched = clock.Mono()
	}
	if err := c.launch(c.job); err != nil {
		return err
	}
	child, started := c.worker(), c.engine.waitStarted()
	timeout := time.NewTimer(startLimit)
	defer timeout.Stop()
	select {
	case <-started:
		if c.facts.ran == 0 {
			c.facts.ran = clock.Mono()
		}
		return nil
	case <-child.Done():
		c.death = c.obituary()
		return c.death
	case <-timeout.C:
		c.death = fmt.Errorf("the worker did not start within %s", startLimit)
		return c.death
	case <-ctx.Done():
		return ctx.Err()
	}
}

// launch starts a worker's process and gives it a job.
func (c *cell) launch(job worker.Job) error {
	w := &workerProcess{}
	spec := proc.Spec{Name: "worker", Args: []string{"worker"}, Stderr: c.stderr, OnLine: func(l proc.Line) {
		if !w.kept(l) {
			c.event(l)
		}
	}}
	if cmd := c.spec.Engine.Command; len(cmd) > 0 {
		spec.Path, spec.Args = cmd[0], cmd[1:]
	}
	child, err := proc.Start(spec)
	if err != nil {
		return err
	}
	w.Child = child
	c.mu.Lock()
	c.child = w
	c.mu.Unlock()
	if err := child.Send(job); err != nil {
		<-child.Done()
		c.death = c.obituary()
		return c.death
	}
	return nil
}

// workerProcess is one attempt's. When another has taken its place, what it says is
// no event of the cell any more.
type workerProcess struct {
	*proc.Child
	retired atomic.Bool
	failed  atomic.Pointer[engines.Failed]
}

func (w *workerProcess) retire() { w.retired.Store(true) }

// kept takes a line of a worker that was replaced.
func (w *workerProcess) kept(l proc.Line) bool {
	if !w.retired.Load() {
		return false
	}
	if l.Event == (engines.Failed{}).Kind() {
		var f engines.Failed
		if l.Decode(&f) == nil {
			w.failed.Store(&f)
		}
	}
	return true
}

// said is why a worker that was replaced says that it failed; nil if it has not.
func (w *workerProcess) said() *engines.Failed { return w.failed.Load() }

// event takes one line of the worker. What it says before the schedule's zero is
// fixed is kept until then, and so stands at negative times.
func (c *cell) event(l proc.Line) {
	c.engine.line(l)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun {
		c.early = append(c.early, l)
		return
	}
	c.append(l)
}

func (c *cell) append(l proc.Line) {
	if err := c.w.Events.Append(c.seconds(l.At), l.Raw); err != nil {
		c.r.log.Error("events.jsonl", "error", err)
	}
}

// worker returns the worker's process of the current attempt.
func (c *cell) worker() *workerProcess {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.child
}

// ended is closed when the worker's process is; nil, which never is, while there
// is none.
func (c *cell) ended() <-chan struct{} {
	if w := c.worker(); w != nil {
		return w.Done()
	}
	return nil
}

// obituary says in one line why the worker has ended.
func (c *cell) obituary() error {
	c.mu.Lock()
	why := c.hopeless
	c.mu.Unlock()
	if why != "" {
		return errors.New(why)
	}
	if c.stopAsked.Load() && c.engine.failure() == "" && c.worker().Err() == nil {
		return errors.New("the job was stopped with a savepoint, as somebody asked from outside (bench savepoint --stop)")
	}
	if f := c.engine.failure(); f != "" {
		return fmt.Errorf("the engine failed: %s", f)
	}
	if s := c.worker().Complaint(); s != "" {
		return fmt.Errorf("the worker died: %s", s)
	}
	if err := c.worker().Err(); err != nil {
		return fmt.Errorf("the worker died: %w", err)
	}
	return errors.New("the worker ended by itself")
}
