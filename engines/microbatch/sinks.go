package microbatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	"streamduel/connectors"
	"streamduel/pipeline"
)

// sinkWriter stands before a connector's writer in one task: it names the sink
// in errors, counts, and stays in place when the writer behind it changes from
// one transaction to the next.
type sinkWriter struct {
	connectors.Writer
	node    *pipeline.Node
	subtask int
	// n is what it has written, before that before the batch, and reported what
	// progress has told of. They are the task's; written is what others see: it
	// follows when they ask, between two polls of the source, when the writer is
	// flushed and when the task has ended. To tell them of each record would cost
	// more than to count it.
	n, before, reported int64
	written             atomic.Int64
	asked               atomic.Bool
	// skip drops the rows of a batch that this sink holds already.
	skip bool
	half *halfway
	part *part                  // exactly-once by partition
	told connectors.BatchWriter // nil unless it is told where batches begin
}

// open gives a writer of its own to a task.
func (w *sinkWriter) open(ctx context.Context, env connectors.WriterEnv) (err error) {
	if sink, ok := w.node.Sink.(connectors.Idempotent); ok {
		w.told, err = sink.BatchWriter(ctx, env)
		w.Writer = w.told
	} else {
		w.Writer, err = w.node.Sink.Writer(ctx, env)
	}
	return err
}

// beginRows tells the sinks that ask for it whose rows are to come.
func (t *task) beginRows(ctx context.Context, b *batch) error {
	for _, w := range t.writers {
		if w.told == nil {
			continue
		}
		if err := w.told.Batch(ctx, connectors.BatchID{Query: t.run.job.Name, Batch: b.entry.Batch, Partition: t.partition()}); err != nil {
			return fmt.Errorf("sink %q, partition %d: batch %d: %w", w.node.Name, w.subtask, b.entry.Batch, err)
		}
	}
	return nil
}

func (w *sinkWriter) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if w.skip {
		return nil
	}
	if w.part != nil && w.part.since.IsZero() {
		if err := w.part.begin(ctx); err != nil {
			return err
		}
	}
	if err := w.Writer.Write(ctx, r, o); err != nil {
		return fmt.Errorf("sink %q, subtask %d: %w", w.node.Name, w.subtask, err)
	}
	w.n++
	if w.asked.Load() {
		w.publish()
	}
	if w.half != nil {
		return w.half.wrote(ctx, w)
	}
	return nil
}

// publish shows others what has been written.
func (w *sinkWriter) publish() {
	w.asked.Store(false)
	w.written.Store(w.n)
}

// publishWritten does so in all of the task's sinks.
func (t *task) publishWritten() {
	for _, w := range t.writers {
		w.publish()
	}
}

func (w *sinkWriter) Flush(ctx context.Context) error {
	w.publish()
	if w.skip || w.Writer == nil {
		return nil
	}
	if err := w.Writer.Flush(ctx); err != nil {
		return fmt.Errorf("sink %q, subtask %d: %w", w.node.Name, w.subtask, err)
	}
	return nil
}

// halfway is a failpoint in the middle of a batch's output. It exists only in a
// batch in which the point will fire.
type halfway struct {
	left atomic.Int64
	hit  func()
	// fails is set where only the task that writes then is to fail.
	fails func(rows int64) bool
}

// errFailpoint is how a task fails at a failpoint.
var errFailpoint = errors.New("the task fails at failpoint " + pointTaskFails)

func (h *halfway) wrote(ctx context.Context, w *sinkWriter) error {
	if h.left.Add(-1) != 0 {
		return nil
	}
	if h.fails == nil {
		h.hit()
		return nil
	}
	// What the task has written is there before it fails, so that it is known.
	if err := w.Flush(ctx); err != nil {
		return err
	}
	if h.fails(w.n - w.before) {
		return errFailpoint
	}
	return nil
}

// transaction is one sink's side of an exactly-once batch. Sinks are committed
// in the order of their index.
type transaction struct {
	node  *pipeline.Node
	index int
	tx    connectors.Transaction
	// holds is the batch that the sink's last transaction carried, −1 for none.
	holds commitEntry
}

// carriedEntry is the metadata of a sink's transaction.
type carriedEntry struct {
	commitEntry
	Sink int `json:"sink"`
}

// openTransactions opens every sink's transaction, which fences older processes,
// and reads what it holds. Sinks of one broker may keep their positions in one
// place, where the last to commit has written over the others: then a sink
// behind that one does not have the batch, and one before it has.
func openTransactions(ctx context.Context, r *run) error {
	for _, n := range r.job.Graph.Nodes() {
		if n.Kind != pipeline.KindSink {
			continue
		}
		sink, ok := n.Sink.(connectors.Transactor)
		if !ok {
			return fmt.Errorf("sink %q (%s) cannot hold a batch in one transaction, so this engine cannot be exactly-once with it", n.Name, n.Sink.Describe().Kind)
		}
		tx, err := sink.Transaction(ctx, r.writerEnv(n, 0, 1))
		if err != nil {
			return fmt.Errorf("sink %q: opening the transaction: %w", n.Name, err)
		}
		t := &transaction{node: n, index: len(r.transactions), tx: tx, holds: commitEntry{Batch: -1, Watermark: noTime, Next: noTime}}
		r.transactions = append(r.transactions, t)
		_, metadata, ok, err := tx.Committed(ctx)
		if err != nil {
			return fmt.Errorf("sink %q: reading what it holds: %w", n.Name, err)
		}
		if !ok || metadata == "" {
			continue // positions alone are no batch of this engine
		}
		var c carriedEntry
		if err := json.Unmarshal([]byte(metadata), &c); err != nil {
			return fmt.Errorf("sink %q: its last transaction does not name a batch (%q): %w", n.Name, metadata, err)
		}
		t.holds = c.commitEntry
		if c.Sink < t.index {
			t.holds.Batch--
		}
	}
	return nil
}

func (t *transaction) fail(what string, err error) error {
	return fmt.Errorf("sink %q: %s: %w", t.node.Name, what, err)
}
