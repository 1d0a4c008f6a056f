package dataflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"streamduel/connectors"
)

// fetcher reads for one source subtask in a goroutine of its own, because a
// poll waits. One batch is under way at a time: a reader's batch is valid only
// until its next poll, and what is to be fetched ahead the reader fetches.
type fetcher struct {
	ctx     context.Context
	name    string // of the source
	reader  connectors.Reader
	bounded bool
	ready   func() // wakes the subtask
	// claim, if set, is called for a batch before it is handed over: at most
	// once commits its end there.
	claim func(ctx context.Context, s connectors.SplitID, next connectors.Position) error

	batch   atomic.Pointer[connectors.Batch]
	over    atomic.Bool // nothing will come any more
	resume  chan struct{}
	kick    chan struct{}
	mu      sync.Mutex
	todo    []connectors.Assignment
	stopped bool
	cancel  context.CancelFunc // ends the poll under way
	held    held
}

func newFetcher(ctx context.Context, name string, reader connectors.Reader, bounded bool, ready func()) *fetcher {
	return &fetcher{ctx: ctx, name: name, reader: reader, bounded: bounded, ready: ready, resume: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
}

// take returns a batch that is ready, or whether none will come any more.
func (f *fetcher) take() (b *connectors.Batch, over bool) {
	// over is set behind the last batch, so it is read first.
	over = f.over.Load()
	return f.batch.Swap(nil), over
}

// done tells that the batch is not used any more.
func (f *fetcher) done() { f.resume <- struct{}{} }

// assign adds splits.
func (f *fetcher) assign(as []connectors.Assignment) {
	f.mu.Lock()
	f.todo = append(f.todo, as...)
	f.mu.Unlock()
	f.interrupt()
}

// stop makes the batch under way the last.
func (f *fetcher) stop() {
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	f.interrupt()
}

func (f *fetcher) interrupt() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
	f.mu.Lock()
	cancel := f.cancel
	f.mu.Unlock()
	if cancel != nil {
		// The context as well as Wake: it also ends a poll that begins just
		// behind this.
		cancel()
		f.reader.Wake()
	}
}

// loop reads until it is stopped or the job ends.
func (f *fetcher) loop() (err error) {
	defer func() {
		if e := f.reader.Close(); e != nil && err == nil && f.ctx.Err() == nil {
			err = e
		}
		if err != nil {
			err = fmt.Errorf("source %q: %w", f.name, err)
		}
	}()
	ctx, assigned := f.ctx, false
	for {
		poll, cancel := context.WithCancel(ctx)
		f.mu.Lock()
		todo, stopped := f.todo, f.stopped
		f.todo, f.cancel = nil, cancel
		f.mu.Unlock()
		if len(todo) > 0 {
			assigned = true
			f.held.took(todo...)
			if err := f.reader.Assign(todo...); err != nil {
				cancel()
				return err
			}
		}
		if err := f.held.apply(f.reader); err != nil {
			cancel()
			return err
		}
		ended := f.bounded && !assigned
		if !stopped && assigned {
			ended, err = f.poll(ctx, poll)
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case stopped || ended && f.bounded && len(f.held.paused) == 0:
			f.over.Store(true)
			f.ready()
			<-ctx.Done() // the reader stays open: its client may serve the sinks
			return nil
		case !assigned || ended:
			select {
			case <-f.kick:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// poll reads until it is interrupted or all splits have ended.
func (f *fetcher) poll(ctx, poll context.Context) (ended bool, err error) {
	for {
		b, err := f.reader.Poll(poll)
		switch {
		case poll.Err() != nil && err != nil:
			return false, nil //nolint:nilerr // interrupted: the error says only that
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		}
		if b != nil && b.Split.ID != "" {
			if f.claim != nil {
				if err := f.claim(ctx, b.Split.ID, b.Next); err != nil {
					return false, err
				}
			}
			a := f.held.next[b.Split.ID]
			a.From = b.Next
			f.held.took(a)
			f.batch.Store(b)
			f.ready()
			select {
			case <-f.resume:
			case <-ctx.Done():
				return false, nil
			}
		}
		if poll.Err() != nil {
			return false, nil //nolint:nilerr // interrupted, which is no failure
		}
	}
}
