package microbatch

import (
	"sync"
	"time"

	"streamduel/engines/microbatch/control"
)

// driveQueueing plans at every tick and runs behind a queue, as many batches at
// once as there are slots. They end in order.
func (r *run) driveQueueing() error {
	planner := make(chan error, 1)
	go func() {
		err := guard(r.planTicks)
		r.queue.close()
		planner <- err
	}()
	var failed failure
	var running sync.WaitGroup
	free := make(chan *slot, len(r.slots))
	for _, s := range r.slots {
		free <- s
	}
	var previous <-chan struct{}
	for {
		b := r.queue.pop()
		if b == nil {
			break
		}
		done := make(chan struct{})
		b.slot, b.previous, previous = <-free, previous, done
		running.Go(func() {
			defer func() {
				r.queue.finished()
				free <- b.slot
			}()
			if r.ctx.Err() != nil {
				return // given up
			}
			if err := guard(func() error { return r.runBatch(b, b.due.Add(r.cfg.Interval.Std())) }); err != nil {
				failed.set(err)
				r.cancel() // the planner is not to go on
				return
			}
			close(done)
		})
	}
	running.Wait()
	err := failed.get()
	if planned := <-planner; err == nil {
		err = planned
	}
	if err == nil {
		err = r.ctx.Err()
	}
	return err
}

// tellTicks is how often a tick that leaves no batch is noted for the next start.
const tellTicks = time.Second

// tellTick notes how far the clock has come, so that a start does not take ticks for
// missed at which there was nothing to do.
func (r *run) tellTick(at int64) {
	r.maintenance.do(func() error {
		if err := r.attempt.Check(); err != nil {
			return nil //nolint:nilerr // the newer attempt says it
		}
		return r.logs.ticked(at)
	})
}

// planTicks plans a batch at each tick. A job that has run before begins with the ticks
// that it missed; those at which there is nothing to do are passed.
func (r *run) planTicks() error {
	clock := control.Queueing{Interval: r.cfg.Interval.Std()}
	began, wallBegan := time.Now(), r.now()
	before, wallBefore := began, wallBegan
	if last := max(r.lastTime, r.logs.lastTick()) * int64(time.Millisecond); r.nextBatch > 0 && last < wallBegan {
		clock.After(last)
	}
	told, tick := began, int64(0)
	defer func() {
		if tick > 0 {
			r.tellTick(tick)
		}
	}()
	for r.goOn(r.pause(clock.Due(r.now()))) {
		wall, now := r.now(), time.Now()
		if step := time.Duration(wall-wallBefore) - now.Sub(before); step.Abs() >= clock.Interval {
			r.rt.Log.Warn("the clock was set", "job", r.job.Name, "by", step)
			clock.Stepped(wall)
		}
		before, wallBefore = now, wall
		switch {
		case r.stopping():
			r.queue.wait() // the ends of bounded sources are read batch by batch
		case wall < clock.Due(wall):
			continue // woken early: the wall clock was set back a little
		}
		tick = min(clock.Due(wall), wall) / int64(time.Millisecond)
		due := time.Now().Add(time.Duration(clock.Due(wall) - wall))
		if due.Before(began) { // missed while there was no job: submitted now
			due = began
		}
		clock.Ticked()
		b, err := r.plan(due, tick)
		if err != nil {
			return err
		}
		if b != nil {
			r.queue.push(b)
		} else {
			if r.queue.idle() && tick < wallBegan/int64(time.Millisecond) {
				clock.Pass(min(wallBegan, r.timerDue()))
			}
			if now.Sub(told) >= tellTicks {
				r.tellTick(tick)
				told = now
			}
		}
		if r.ended {
			return nil
		}
	}
	return nil
}

// timerDue is the wall time at which the earliest timer of processing time is due, in
// nanoseconds since the epoch.
func (r *run) timerDue() int64 {
	at := r.nextProcessing.Load()
	if at > never/int64(time.Millisecond) {
		return never
	}
	return at * int64(time.Millisecond)
}

// batchQueue holds the batches that wait in the queueing clock's queue.
type batchQueue struct {
	mu      sync.Mutex
	ready   *sync.Cond
	waiting []*batch
	running int // popped and not finished
	closed  bool
}

func (q *batchQueue) init() { q.ready = sync.NewCond(&q.mu) }

func (q *batchQueue) push(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, b)
	q.ready.Broadcast()
}

// pop waits for a batch; nil means that there will be none.
func (q *batchQueue) pop() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 {
		if q.closed {
			return nil
		}
		q.ready.Wait()
	}
	b := q.waiting[0]
	q.waiting = q.waiting[1:]
	q.running++
	return b
}

func (q *batchQueue) finished() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	q.ready.Broadcast()
}

// wait returns when every batch that was planned has run.
func (q *batchQueue) wait() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 || q.running > 0 {
		q.ready.Wait()
	}
}

func (q *batchQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.ready.Broadcast()
}

// idle reports whether every batch that was planned has run.
func (q *batchQueue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0 && q.running == 0
}
