package microbatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"streamduel/connectors"
	"streamduel/engines"
)

// What the worker's duties are beyond its own process: the throttle, the end of
// all output at a failpoint, the account of what was used, and the killing of one
// executor.

var (
	_ connectors.Beyond = (*executors)(nil)
	_ engines.Killer    = (*run)(nil)
	_ engines.Spread    = (*run)(nil)
)

// add adds what a process has counted to what others have.
func (s *status) add(o status) {
	for i := range s.Gate {
		s.Gate[i] += o.Gate[i]
	}
	s.Bad += o.Bad
	s.Buffered += o.Buffered
	s.Taken += o.Taken
	for i, d := range o.Busy {
		if i == len(s.Busy) {
			s.Busy = append(s.Busy, 0)
		}
		s.Busy[i] += d
	}
	s.Used.AllocBytes += o.Used.AllocBytes
	s.Used.GCPauseMillisMax = max(s.Used.GCPauseMillisMax, o.Used.GCPauseMillisMax)
}

// lend answers an executor that asks how many records may pass its sinks. None holds
// a part of the throttle that it has no use for.
func (e *remoteExecutor) lend(call int64) {
	n, err := e.of.run.rt.Gate.Lend(e.of.ctx, 1/float64(len(e.of.each)))
	e.calls.Answer(call, n, err)
}

// Throttle implements connectors.Beyond.
func (ex *executors) Throttle(rate float64) {
	ex.mu.Lock()
	ex.rate = rate
	ex.mu.Unlock()
	for _, e := range ex.alive() {
		e.tell(kindThrottle, rate)
	}
}

// Close implements connectors.Beyond.
func (ex *executors) Close() {
	ex.mu.Lock()
	again := ex.sealed != nil
	if !again {
		ex.sealed = make(chan struct{})
	}
	sealed := ex.sealed
	ex.mu.Unlock()
	if again {
		return
	}
	go func() {
		defer close(sealed)
		var wg sync.WaitGroup
		for _, e := range ex.alive() {
			wg.Go(func() {
				var s status
				if err := e.calls.Call(ex.ctx, kindSeal, nil, &s); err != nil {
					ex.run.rt.Log.Error("what an executor has written is not known", "executor", e.Index+1, "error", err)
					return
				}
				e.show(s)
			})
		}
		wg.Wait()
	}()
}

// Drain implements connectors.Beyond.
func (ex *executors) Drain(ctx context.Context) error {
	ex.mu.Lock()
	sealed := ex.sealed
	ex.mu.Unlock()
	select {
	case <-sealed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Counts implements connectors.Beyond.
func (ex *executors) Counts() (written, acked, inFlight int64) {
	g := ex.status().Gate
	return g[0], g[1], g[2]
}

// show takes over what an executor reports.
func (e *remoteExecutor) show(s status) {
	if acks := e.of.run.rt.Acks; acks != nil {
		acks.Merge(s.Acks)
	}
	if len(s.Reached) > 0 {
		for _, src := range e.of.run.sources {
			src.passedFar(s.Reached)
		}
	}
	s.Acks, s.Reached = nil, nil
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = s
}

// status is what all executors have counted, dead ones included, as last heard.
func (ex *executors) status() (s status) {
	if ex == nil {
		return s
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	s = ex.gone
	s.Busy = slices.Clone(s.Busy)
	s.Buffered = 0
	for _, e := range ex.each {
		if e != nil {
			e.mu.Lock()
			s.add(e.last)
			e.mu.Unlock()
		}
	}
	return s
}

// look asks the executors how they are; the next look at the gauges shows it.
func (ex *executors) look() {
	for _, e := range ex.alive() {
		e.tell(kindReport, nil)
	}
}

// errNotNow: an executor is down, and with it the answer.
var errNotNow = errors.New("an executor cannot say on which files it relies")

// relied returns the shared files on which the state in executors relies. One that
// has just died may have had its part in a version that is being written, so
// without it nothing is known.
func (ex *executors) relied() (map[string]bool, error) {
	all := map[string]bool{}
	if ex == nil {
		return all, nil
	}
	alive := ex.alive()
	if len(alive) < len(ex.each) {
		return nil, errNotNow
	}
	for _, e := range alive {
		var names []string
		if err := e.calls.Call(ex.ctx, kindRelied, nil, &names); err != nil {
			return nil, errors.Join(errNotNow, err)
		}
		for _, n := range names {
			all[n] = true
		}
	}
	return all, nil
}

// finish tells receivers that what they have in hand when they are ended is to be
// stored.
func (ex *executors) finish() {
	for _, e := range ex.alive() {
		e.tell(kindFinish, nil)
	}
}

// limit tells receivers how much they may receive.
func (ex *executors) limit(rate float64) {
	for _, e := range ex.alive() {
		e.tell(kindLimit, rate)
	}
}

// trim tells that acknowledgements below these positions are not asked for any
// more.
func (ex *executors) trim(to map[int32]connectors.Position) {
	for _, e := range ex.alive() {
		e.tell(kindTrim, to)
	}
}

// Used implements engines.Spread.
func (r *run) Used() engines.ProcessUsage { return r.executors.status().Used }

// Kill implements engines.Killer.
func (r *run) Kill(executor int) error {
	ex := r.executors
	if ex == nil {
		return fmt.Errorf("executor %d: the job has 1 executor, in its worker's process: kill the worker", executor)
	}
	ex.mu.Lock()
	defer ex.mu.Unlock()
	if executor < 1 || executor > len(ex.each) {
		return fmt.Errorf("executor %d: the job has %d", executor, len(ex.each))
	}
	e := ex.each[executor-1]
	if e == nil || e.Err() != nil {
		return fmt.Errorf("executor %d is dead already", executor)
	}
	e.Kill()
	return nil
}
