package dataflow

import (
	"context"
	"errors"
	"fmt"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/schedule"
)

// What the worker's duties are beyond its own process: the throttle, the end of
// all output at a failpoint, the account of usage, and the killing of one task
// manager.

var (
	_ connectors.Beyond = (*members)(nil)
	_ engines.Killer    = (*run)(nil)
	_ engines.Spread    = (*run)(nil)
)

// share is how much of the throttle a task manager takes at a time: as many parts as
// it has of the subtasks with sinks. How often it does is its own affair, so what one
// leaves another has.
func (ms *members) share(index int) float64 {
	here, all := 0, 0
	for v, f := range ms.run.fragments {
		for i := range f.Parallelism {
			if len(f.Sinks) == 0 {
				continue
			}
			all++
			if ms.run.places[schedule.Subtask{Vertex: v, Index: i}].TaskManager == index {
				here++
			}
		}
	}
	return float64(max(here, 1)) / float64(max(all, 1))
}

// lend answers a task manager that asks how many records may pass its sinks.
func (ms *members) lend(m *process, call int64) {
	n, err := ms.run.rt.Gate.Lend(ms.ctx, ms.share(m.Index))
	m.calls.Answer(call, n, err)
}

// Throttle implements connectors.Beyond.
func (ms *members) Throttle(rate float64) {
	ms.mu.Lock()
	ms.rate = rate
	ms.mu.Unlock()
	for _, m := range ms.alive() {
		_ = m.calls.Post(kindThrottle, rate) // one that cannot be told is lost
	}
}

// Close implements connectors.Beyond.
func (ms *members) Close() {
	ms.mu.Lock()
	again := ms.sealed != nil
	if !again {
		ms.sealed = make(chan struct{})
	}
	sealed := ms.sealed
	ms.mu.Unlock()
	if again {
		return
	}
	go func() {
		defer close(sealed)
		(&away{on: ms.alive()}).all(func(m *process) {
			var s status
			if err := m.calls.Call(ms.ctx, kindSeal, nil, &s); err != nil {
				ms.run.rt.Log.Error("what a task manager has written is not known", "taskManager", m.Index+1, "error", err)
				return
			}
			m.show(s)
		})
	}()
}

// Drain implements connectors.Beyond.
func (ms *members) Drain(ctx context.Context) error {
	ms.mu.Lock()
	sealed := ms.sealed
	ms.mu.Unlock()
	select {
	case <-sealed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Counts implements connectors.Beyond.
func (ms *members) Counts() (written, acked, inFlight int64) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.each {
		if m != nil {
			written, acked, inFlight = written+m.last.Gate[0], acked+m.last.Gate[1], inFlight+m.last.Gate[2]
		}
	}
	return written, acked, inFlight
}

// errNotNow: a task manager is down, and with it the answer.
var errNotNow = errors.New("a task manager cannot say on which files it relies")

// relied returns the shared files on which the state in task managers relies. One
// that died may have had its part in a checkpoint that is just being completed, so
// without it nothing is known.
func (ms *members) relied() (map[string]bool, error) {
	all := map[string]bool{}
	if ms == nil {
		return all, nil
	}
	alive := ms.alive()
	if len(alive) < ms.run.cfg.TaskManagers {
		return nil, errNotNow
	}
	for _, m := range alive {
		var names []string
		if err := m.calls.Call(ms.ctx, kindRelied, nil, &names); err != nil {
			return nil, errors.Join(errNotNow, err)
		}
		for _, n := range names {
			all[n] = true
		}
	}
	return all, nil
}

// badRecords counts the bad input of all.
func (ms *members) badRecords() (n int64) {
	if ms == nil {
		return 0
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	n = ms.bad
	for _, m := range ms.each {
		if m != nil {
			n += m.last.Bad
		}
	}
	return n
}

// Used implements engines.Spread.
func (r *run) Used() (u engines.ProcessUsage) {
	if r.members == nil {
		return u
	}
	r.members.mu.Lock()
	defer r.members.mu.Unlock()
	u = r.members.used
	for _, m := range r.members.each {
		if m == nil {
			continue
		}
		u.AllocBytes += m.last.Used.AllocBytes
		u.GCPauseMillisMax = max(u.GCPauseMillisMax, m.last.Used.GCPauseMillisMax)
	}
	return u
}

// Kill implements engines.Killer.
func (r *run) Kill(taskManager int) error {
	if r.members == nil {
		return fmt.Errorf("task manager %d: the job has 1 task manager, in its worker's process: kill the worker", taskManager)
	}
	r.members.mu.Lock()
	defer r.members.mu.Unlock()
	if taskManager < 1 || taskManager > len(r.members.each) {
		return fmt.Errorf("task manager %d: the job has %d", taskManager, len(r.members.each))
	}
	m := r.members.each[taskManager-1]
	if m.Err() != nil {
		return fmt.Errorf("task manager %d is dead already", taskManager)
	}
	m.Kill()
	return nil
}
