package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"streamduel/clock"
	"streamduel/harness/load"
	"streamduel/harness/plan"
	"streamduel/harness/proc"
)

// loadProc is the parent's side of the load process.
type loadProc struct {
	c     *cell
	child *proc.Child

	ready, over chan struct{}

	mu       sync.Mutex
	finished *load.Finished
	failures []string
	appended map[int32]int64 // global partition → when its first record was acknowledged
	epoch    int64           // index from which grown partitions are used; 0 for none
	broken   error           // the parent's plan could not follow
	acked    int64           // records acknowledged, as last told
}

func startLoad(ctx context.Context, c *cell) (*loadProc, error) {
	params, err := json.Marshal(c.spec.Scenario.Workload.Params)
	if err != nil {
		return nil, err
	}
	l := &loadProc{c: c, ready: make(chan struct{}), over: make(chan struct{}), appended: map[int32]int64{}}
	l.child, err = proc.Start(proc.Spec{Name: "load", Args: []string{"load"}, Stderr: c.stderr, OnLine: l.line})
	if err != nil {
		return nil, err
	}
	if err := l.child.Send(load.Job{
		Workload: c.spec.Scenario.Workload.Name, Params: params, Seed: c.r.o.Seed,
		Brokers: c.broker.Brokers(), Plan: c.plan, OriginHeader: c.workload.NeedsOrigin,
	}); err != nil {
		return nil, errors.Join(err, l.failure())
	}
	if !c.wait(ctx, startLimit, orDone(l.ready, l.child.Done())) {
		l.close()
		return nil, errors.Join(fmt.Errorf("the load process was not ready within %s", startLimit), ctx.Err())
	}
	return l, l.failure()
}

// orDone is closed when either channel is.
func orDone(a, b <-chan struct{}) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		select {
		case <-a:
		case <-b:
		}
	}()
	return c
}

func (l *loadProc) line(x proc.Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch x.Event {
	case "ready":
		close(l.ready)
	case "epoch":
		var e load.Epoch
		err := x.Decode(&e)
		if err == nil {
			_, err = l.c.plan.Append(e.From, e.Partitions)
		}
		if err != nil {
			l.broken = fmt.Errorf("the load's new epoch does not fit the plan: %w", err)
			return
		}
		l.epoch = e.From
	case "appended":
		var a load.Appended
		if x.Decode(&a) == nil {
			l.appended[a.Global] = x.At
		}
	case "stopped":
		var s load.Stopped
		err := x.Decode(&s)
		if err == nil {
			err = l.c.plan.Stop(s.Limit)
		}
		if err != nil {
			l.broken = fmt.Errorf("the load's end does not fit the plan: %w", err)
		}
	case "progress":
		var p load.Progress
		if x.Decode(&p) == nil {
			l.acked = p.Acked + p.Errors
		}
	case "failure":
		var f load.Failure
		if x.Decode(&f) == nil {
			l.failures = append(l.failures, f.Text)
		}
	case "finished":
		var f load.Finished
		if x.Decode(&f) == nil {
			l.finished = &f
			close(l.over)
		}
	}
}

// begin tells the process where the schedule's zero is.
func (l *loadProc) begin(ctx context.Context) error {
	_, err := l.child.Call(ctx, func(id int64) any {
		return load.Command{ID: id, Start: &load.Start{At: l.c.start, Wall: l.c.wall}}
	})
	return err
}

func (l *loadProc) grow(ctx context.Context, topic string, total int) error {
	parts := plan.Partitions(topic, total) // the load knows which of them it has
	_, err := l.child.Call(ctx, func(id int64) any { return load.Command{ID: id, Grow: &load.Grow{Partitions: parts}} })
	return err
}

// stop ends the load and waits until everything is acknowledged.
func (l *loadProc) stop(ctx context.Context) error {
	stopping, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if _, err := l.child.Call(stopping, func(id int64) any { return load.Command{ID: id, Stop: &load.Stop{}} }); err != nil {
		return errors.Join(err, l.failure())
	}
	if !l.c.wait(ctx, stopLimit, orDone(l.over, l.child.Done())) {
		return errors.Join(fmt.Errorf("the load did not finish within %s", stopLimit), ctx.Err())
	}
	return l.failure()
}

func (l *loadProc) done() <-chan struct{} { return l.child.Done() }

// failure says why the load cannot be relied on at all.
func (l *loadProc) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	select {
	case <-l.child.Done():
		if l.finished == nil {
			return fmt.Errorf("the load process ended: %s", firstOr([]string{l.child.Complaint()}, fmt.Sprint(l.child.Err())))
		}
	default:
	}
	return nil
}

// stored reports whether all that was due by now has been acknowledged.
func (l *loadProc) stored() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked >= l.c.plan.Count(clock.Mono())
}

// sent returns how many records went to each input partition.
func (l *loadProc) sent() []int64 {
	p := l.c.plan
	all := p.All()
	out := make([]int64, len(all))
	for i := range all {
		out[i] = p.Sequences(int32(i), p.Limit())
	}
	return out
}

// firstAppended returns when the first record of a partition from the given
// global number on was acknowledged, 0 if none was.
func (l *loadProc) firstAppended(from int32) (at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, t := range l.appended {
		if p >= from && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// used returns when the first record of the grown partitions was due.
func (l *loadProc) used() (at int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch == 0 {
		return 0, false
	}
	return l.c.plan.Due(l.epoch), true
}

func (l *loadProc) close() {
	l.child.Kill()
	<-l.child.Done()
}

// end is what the process said last, nil if it did not finish.
func (l *loadProc) end() *load.Finished {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.finished
}
