package pipeline

import "sync"

// mail is the way back into a task from other goroutines: functions that the
// task runs between two pushes. An engine that can wake a task sets
// TaskConfig.Wake and calls Complete when it was woken; under one that cannot,
// operators wait in the push and before each watermark, so that nothing is under
// way at a batch's end.
type mail struct {
	mu      sync.Mutex
	waiting []func()
	arrived chan struct{} // holds one
}

// waiter is an operator that waits for mail.
type waiter interface {
	emit() (progressed bool)
	underWay() int
}

// post hands a function to the task. It may be called by any goroutine.
func (t *Task) post(f func()) {
	t.mail.mu.Lock()
	t.mail.waiting = append(t.mail.waiting, f)
	t.mail.mu.Unlock()
	select {
	case t.mail.arrived <- struct{}{}:
	default:
	}
	if t.wake != nil {
		t.wake()
	}
}

// Complete takes in what other goroutines have finished for the task's
// operators and passes results on as far as outputs allow; Refill does so too.
func (t *Task) Complete() (progressed bool, err error) {
	if len(t.waiting) == 0 {
		return false, t.err
	}
	t.mail.mu.Lock()
	fs := t.mail.waiting
	t.mail.waiting = nil
	t.mail.mu.Unlock()
	for _, f := range fs {
		f()
	}
	for _, w := range t.waiting {
		progressed = w.emit() || progressed
	}
	return progressed, t.err
}

// await waits for mail and takes it in.
func (t *Task) await() {
	select {
	case <-t.mail.arrived:
	case <-t.context.Done():
		t.ctx.Fail(t.context.Err())
		return
	}
	_, _ = t.Complete() // Err tells of an error
}

// UnderWay returns how many records wait for something outside. A task must not
// be ended before it is none.
func (t *Task) UnderWay() (n int) {
	for _, w := range t.waiting {
		n += w.underWay()
	}
	return n
}
