package dataflow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/exchange"
	"streamduel/pipeline"
	"streamduel/state"
)

// run is a running job.
type run struct {
	job engines.Job
	cfg Config
	rt  engines.Runtime
	*execution
	rings     map[ringKey][]*exchange.Ring
	eventTime bool
	aligned   []*alignment
	broken    bool // the negative control: commits come before the metadata

	ctx     context.Context
	cancel  context.CancelFunc
	parent  context.Context
	attempt *state.Attempt
	store   *checkpoints.Store
	backend state.Backend // nil for memory

	members *members     // the task managers that are processes of their own; nil where there are none
	here    *taskManager // in such a process

	seats       []*seat
	sinkSeats   []*seat
	regions     []*region
	sources     []*enumeration
	coordinator *coordinator
	committed   atomic.Int64 // sink subtasks that have committed the current checkpoint

	wg   sync.WaitGroup
	done chan struct{}

	mu   sync.Mutex
	err  error
	mode engines.StopMode
	// restart is where a restart would go on from. At most once that is what is
	// committed; base is then what the newest checkpoint lies at: everything
	// before it has been written.
	restart, base engines.Positions
	// settled is up to where the output of a durable checkpoint is committed; only
	// exactly-once needs it.
	settled engines.Positions

	// claiming is held while positions are committed at most once, so that a
	// failpoint finds them the same here and outside.
	claiming chan struct{}

	gauges gaugeState

	bad    *engines.BadInputs
	unread *engines.UnreadSides
}

// ringKey names the output of one subtask over one edge.
type ringKey struct {
	edge    *pipeline.Edge
	subtask int
}

func (r *run) emit(e engines.Event) {
	if r.rt.Events != nil {
		r.rt.Events(e)
	}
}

// failpoint tells that the job has come to a point, with what a restart would
// find.
func (r *run) failpoint(point string, epoch int64) {
	if r.here != nil {
		r.here.passage(point, epoch)
		return
	}
	r.rt.Failpoints.Hit(point, func() engines.Recovery {
		// The process is about to end: nothing is claimed any more.
		select {
		case r.claiming <- struct{}{}:
		case <-r.ctx.Done():
		}
		reached := engines.Positions{}
		for _, s := range r.sources {
			s.reached(reached)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return engines.Recovery{Positions: maps.Clone(r.restart), Base: maps.Clone(r.base), Reached: reached, Epoch: epoch, Uncommitted: r.uncommitted()}
	})
}

// uncommitted counts the inputs between what is committed and what is durable.
// r.mu is held.
func (r *run) uncommitted() (n int64) {
	if r.job.Guarantee != connectors.ExactlyOnce {
		return 0
	}
	for s, p := range r.restart {
		n += max(0, int64(p-r.settled[s]))
	}
	return n
}

// settle tells that everything before these positions is committed.
func (r *run) settle(positions engines.Positions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.settled, positions)
}

func (r *run) restartPositions() engines.Positions {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.restart)
}

// begun tells from where splits would be read by a restart as long as no
// durable position is known.
func (r *run) begun(from engines.Positions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.restart, from)
	maps.Copy(r.base, from)
	maps.Copy(r.settled, from)
}

// advance tells that the positions are what a restart goes on from, and returns
// those of all splits.
func (r *run) advance(positions engines.Positions) engines.Positions {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.restart, positions)
	return maps.Clone(r.restart)
}

// durable is called when a checkpoint is, and returns the positions below which
// nothing will be read again.
func (r *run) durable(m *checkpoints.Metadata) engines.Positions {
	if r.rt.Acks != nil {
		for _, s := range m.Sources {
			for _, sp := range s.Splits {
				r.rt.Acks.Trim(sp.Partition, sp.Position)
			}
		}
		r.members.trim(m)
	}
	positions := m.Positions()
	r.mu.Lock()
	maps.Copy(r.base, positions)
	r.mu.Unlock()
	if r.job.Guarantee == connectors.AtMostOnce {
		return r.restartPositions() // what is committed counts, not the checkpoint
	}
	return r.advance(positions)
}

// spawn runs f in a goroutine of the job; its error fails the job.
func (r *run) spawn(what string, f func() error) {
	r.wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				r.fail(fmt.Errorf("%s: panic: %v\n%s", what, p, debug.Stack()))
			}
		}()
		if err := f(); err != nil {
			r.fail(err)
		}
	})
}

// fail ends the job with an error; the first one counts.
func (r *run) fail(err error) {
	r.mu.Lock()
	if r.err == nil && r.mode == "" {
		r.err = err
	}
	r.mu.Unlock()
	r.cancel()
}

// finish ends the job well.
func (r *run) finish(mode engines.StopMode) {
	r.mu.Lock()
	if r.mode == "" {
		r.mode = mode
	}
	r.mu.Unlock()
	r.cancel()
}

// launch starts the goroutines.
func (r *run) launch() {
	for _, g := range r.regions {
		g.launch()
	}
	for _, s := range r.sources {
		r.spawn("source "+s.node.Name, s.loop)
	}
	r.spawn("coordinator", func() error {
		if err := r.coordinator.loop(); err != nil {
			return err
		}
		if r.coordinator.complete {
			mode := r.coordinator.stop
			if mode == "" {
				mode = engines.StopDrain // the sources have ended
			}
			r.finish(mode)
		}
		return nil
	})
	r.clocks()
	r.watch()
	go func() {
		r.wg.Wait()
		r.cancel()
		var stuck error
		for _, g := range r.regions {
			if err := g.close(); err != nil && stuck == nil {
				stuck = err
			}
		}
		if stuck == nil {
			r.closeBackend()
		}
		r.members.close()
		r.mu.Lock()
		if stuck != nil {
			r.err = errors.Join(r.err, stuck)
		}
		if r.err == nil && r.mode == "" {
			r.err = context.Cause(r.parent)
			if newer := r.attempt.Check(); errors.Is(r.err, state.ErrSuperseded) && errors.Is(newer, state.ErrSuperseded) {
				r.err = fmt.Errorf("%w (%w)", newer, r.err) // names the newer attempt
			}
		}
		err, mode := r.err, r.mode
		r.mu.Unlock()
		if err != nil {
			r.emit(engines.Failed{Error: err.Error(), Superseded: errors.Is(err, state.ErrSuperseded)})
		} else {
			r.emit(engines.Stopped{Mode: mode})
		}
		close(r.done)
	}()
}

// finishSources waits until the last positions are published.
func (r *run) finishSources() error {
	for _, s := range r.sources {
		if err := s.published(r.ctx); err != nil {
			return s.wrap(err)
		}
	}
	return nil
}

// Wait implements engines.Run.
func (r *run) Wait() error {
	<-r.done
	return r.err
}

// Stop implements engines.Run. When ctx ends first, the job is ended without
// further progress.
func (r *run) Stop(ctx context.Context, mode engines.StopMode) error {
	switch mode {
	case engines.StopNow:
		r.finish(mode)
	case engines.StopDrain, engines.StopCheckpoint:
		r.coordinator.tell(stopping{mode, savepoint{}})
	default:
		return fmt.Errorf("stop mode %q: allowed are %s, %s, %s", mode, engines.StopDrain, engines.StopCheckpoint, engines.StopNow)
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		r.fail(fmt.Errorf("stopping (%s): %w", mode, ctx.Err()))
		<-r.done
		return r.err
	}
}
