package collection

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"streamduel/connectors"
)

// Transaction implements connectors.Transactor.
func (s *Sink) Transaction(_ context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txnFence++
	return &transaction{s: s, env: env, fence: s.txnFence, writers: make(map[int]*taskWriter)}, nil
}

// transaction keeps a batch's records and positions until its commit.
type transaction struct {
	s     *Sink
	env   connectors.WriterEnv
	fence int

	mu        sync.Mutex
	open      bool
	writers   map[int]*taskWriter
	positions map[connectors.SplitID]connectors.Position
	metadata  string
	prepared  bool
}

// Committed implements connectors.Transaction.
func (t *transaction) Committed(context.Context) (map[connectors.SplitID]connectors.Position, string, bool, error) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return maps.Clone(t.s.positions), t.s.metadata, t.s.stored, nil
}

// Begin implements connectors.Transaction.
func (t *transaction) Begin(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open {
		return fmt.Errorf("collection: begin within a transaction")
	}
	t.open, t.prepared = true, false
	return t.checkFence()
}

func (t *transaction) checkFence() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.fence < t.s.txnFence {
		return ErrFenced
	}
	return nil
}

// Writer implements connectors.Transaction.
func (t *transaction) Writer(subtask int) connectors.Writer {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.writers[subtask]
	if w == nil {
		w = &taskWriter{t: t, subtask: subtask}
		t.writers[subtask] = w
	}
	return w
}

// Prepare implements connectors.Transaction.
func (t *transaction) Prepare(_ context.Context, positions map[connectors.SplitID]connectors.Position, metadata string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open {
		return fmt.Errorf("collection: prepare outside a transaction")
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if err := t.s.step(OpPrepare); err != nil {
		return err
	}
	t.positions, t.metadata, t.prepared = maps.Clone(positions), metadata, true
	return nil
}

// Commit implements connectors.Transaction.
func (t *transaction) Commit(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.prepared {
		return fmt.Errorf("collection: commit of a transaction that is not prepared")
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.fence < t.s.txnFence {
		return ErrFenced
	}
	if err := t.s.step(OpCommit); err != nil {
		return fmt.Errorf("%w: %w", connectors.ErrRetriable, err)
	}
	for _, w := range t.writers {
		t.s.visible = append(t.s.visible, w.records...)
		w.records = nil
	}
	maps.Copy(t.s.positions, t.positions)
	t.s.metadata, t.s.stored = t.metadata, true
	t.open, t.prepared = false, false
	return t.s.step(OpAfterCommit)
}

// Abort implements connectors.Transaction.
func (t *transaction) Abort(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.writers {
		w.records = nil
	}
	t.open, t.prepared = false, false
	return nil
}

// Close implements connectors.Transaction.
func (t *transaction) Close() error { return t.Abort(context.Background()) }

// taskWriter is one task's writer within a transaction.
type taskWriter struct {
	t       *transaction
	subtask int
	records []Record
}

// Write implements connectors.Writer.
func (w *taskWriter) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	env := &w.t.env
	if err := env.Gate.Enter(ctx); err != nil {
		return err
	}
	w.t.s.mu.Lock()
	err := w.t.s.step(OpWrite)
	if w.t.fence < w.t.s.txnFence {
		err = ErrFenced
	}
	w.t.s.mu.Unlock()
	if err != nil {
		env.Gate.Leave(1, 0)
		return err
	}
	w.records = append(w.records, clone(r, o, w.subtask))
	if env.Acked != nil {
		var at connectors.Origin
		if o != nil {
			at = *o
		}
		env.Acked(at)
	}
	env.Gate.Leave(1, 1)
	return nil
}

// Flush implements connectors.Writer.
func (w *taskWriter) Flush(context.Context) error {
	w.t.s.mu.Lock()
	defer w.t.s.mu.Unlock()
	return w.t.s.step(OpFlush)
}

// The rest of connectors.Writer belongs to the transaction as a whole.

// Prepare implements connectors.Writer.
func (w *taskWriter) Prepare(context.Context) (connectors.Committable, error) { return nil, nil }

// Commit implements connectors.Writer.
func (w *taskWriter) Commit(context.Context, connectors.Committable) error { return nil }

// Release implements connectors.Writer.
func (w *taskWriter) Release(connectors.Committable) {}

// Abort implements connectors.Writer.
func (w *taskWriter) Abort(context.Context) error { return nil }

// InFlight implements connectors.Writer.
func (w *taskWriter) InFlight() (records, bytes int64) { return 0, 0 }

// Close implements connectors.Writer.
func (w *taskWriter) Close() error { return nil }
