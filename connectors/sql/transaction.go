package sql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"streamduel/connectors"
)

// ErrFenced says that a newer process has opened the same partition.
var ErrFenced = errors.New("a newer process has opened it")

// transaction holds the rows of a batch or of a partition of it, and what they
// are made of.
type transaction struct {
	s     *Sink
	env   connectors.WriterEnv
	part  int
	epoch int64

	mu        sync.Mutex // tasks of a batch write at the same time
	tx        *sql.Tx
	writers   map[int]*taskWriter
	positions map[connectors.SplitID]connectors.Position // of the last commit
}

// query writes a statement with the sink's table and its parameters.
func (s *Sink) query(text string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.ReplaceAll(text, "TABLE_", s.cfg.Table) {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString(s.cfg.Placeholder(n))
	}
	return b.String()
}

const (
	createTable = `CREATE TABLE IF NOT EXISTS TABLE_ (query VARCHAR(200) NOT NULL, sink VARCHAR(200) NOT NULL, part INTEGER NOT NULL, epoch BIGINT NOT NULL, metadata TEXT, positions TEXT, PRIMARY KEY (query, sink, part))`
	whose       = ` WHERE query = ? AND sink = ? AND part = ?`
)

func (t *transaction) key(before ...any) []any {
	return append(before, t.env.Job, t.env.Node, t.part)
}

func (t *transaction) fail(what string, err error) error {
	return fmt.Errorf("sql sink %s, partition %d: %s: %w", t.env.Node, t.part, what, err)
}

// open counts the partition's epoch up, which fences whoever had it before.
func (s *Sink) open(ctx context.Context, env connectors.WriterEnv, part int) (*transaction, error) {
	t := &transaction{s: s, env: env, part: part, writers: map[int]*taskWriter{}, positions: map[connectors.SplitID]connectors.Position{}}
	db := s.cfg.DB
	if _, err := db.ExecContext(ctx, s.query(createTable)); err != nil {
		return nil, t.fail("creating table "+s.cfg.Table, err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, t.fail("begin", err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing is left to roll back after the commit
	res, err := tx.ExecContext(ctx, s.query(`UPDATE TABLE_ SET epoch = epoch + 1`+whose), t.key()...)
	if err != nil {
		return nil, t.fail("fencing", err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return nil, t.fail("fencing", err)
	} else if n == 0 {
		if _, err := tx.ExecContext(ctx, s.query(`INSERT INTO TABLE_ (epoch, query, sink, part) VALUES (?, ?, ?, ?)`), t.key(1)...); err != nil {
			return nil, t.fail("fencing", err)
		}
	}
	if err := tx.QueryRowContext(ctx, s.query(`SELECT epoch FROM TABLE_`+whose), t.key()...).Scan(&t.epoch); err != nil {
		return nil, t.fail("fencing", err)
	}
	if err := tx.Commit(); err != nil {
		return nil, t.fail("fencing", err)
	}
	if t.positions, _, _, err = t.Committed(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// Committed implements connectors.Transaction.
func (t *transaction) Committed(ctx context.Context) (map[connectors.SplitID]connectors.Position, string, bool, error) {
	var metadata, text sql.NullString
	err := t.s.cfg.DB.QueryRowContext(ctx, t.s.query(`SELECT metadata, positions FROM TABLE_`+whose), t.key()...).Scan(&metadata, &text)
	if err != nil {
		return nil, "", false, t.fail("reading what it holds", err)
	}
	positions := map[connectors.SplitID]connectors.Position{}
	if !metadata.Valid {
		return positions, "", false, nil
	}
	if err := json.Unmarshal([]byte(text.String), &positions); err != nil {
		return nil, "", false, t.fail("reading what it holds", err)
	}
	return positions, metadata.String, true, nil
}

// Begin implements connectors.Transaction. The database's transaction begins with
// the first row: until then it would only keep others waiting.
func (t *transaction) Begin(context.Context) error { return nil }

// begin returns the open transaction. The lock is held. The transaction is rolled
// back when the context of its first row ends: where a database has one writer at a
// time, a task that has failed must not keep the others waiting.
func (t *transaction) begin(ctx context.Context) (*sql.Tx, error) {
	if t.tx == nil {
		tx, err := t.s.cfg.DB.BeginTx(ctx, nil)
		if err != nil {
			return nil, t.fail("begin", err)
		}
		t.tx = tx
	}
	return t.tx, nil
}

// Writer implements connectors.Transaction.
func (t *transaction) Writer(subtask int) connectors.Writer {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.writers[subtask]
	if w == nil {
		env := t.env
		env.Subtask = subtask
		w = &taskWriter{s: t.s, env: env, of: t}
		t.writers[subtask] = w
	}
	return w
}

// Prepare implements connectors.Transaction. The row that says what was written
// is written only under this process's epoch.
func (t *transaction) Prepare(ctx context.Context, positions map[connectors.SplitID]connectors.Position, metadata string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx, err := t.begin(ctx)
	if err != nil {
		return err
	}
	maps.Copy(t.positions, positions)
	text, err := json.Marshal(t.positions)
	if err != nil {
		return t.fail("positions", err)
	}
	args := append(t.key(metadata, string(text)), t.epoch)
	res, err := tx.ExecContext(ctx, t.s.query(`UPDATE TABLE_ SET metadata = ?, positions = ?`+whose+` AND epoch = ?`), args...)
	if err != nil {
		return t.fail("what it holds", err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return t.fail("what it holds", errors.Join(err, ErrFenced))
	}
	return nil
}

// Commit implements connectors.Transaction.
func (t *transaction) Commit(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tx == nil {
		return t.fail("commit", errors.New("nothing is prepared"))
	}
	err := t.tx.Commit()
	t.tx = nil
	for _, w := range t.writers {
		w.settle(err == nil)
	}
	if err != nil {
		return t.fail("commit", err)
	}
	return nil
}

// Abort implements connectors.Transaction.
func (t *transaction) Abort(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.writers {
		w.settle(false)
	}
	if t.tx == nil {
		return nil
	}
	err := t.tx.Rollback()
	t.tx = nil
	if err != nil && !errors.Is(err, sql.ErrTxDone) {
		return t.fail("rollback", err)
	}
	committed, _, _, err := t.Committed(ctx) // Prepare may have added some
	if err == nil {
		t.positions = committed
	}
	return err
}

// Close implements connectors.Transaction.
func (t *transaction) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tx != nil {
		t.tx.Rollback() //nolint:errcheck // it is given up
		t.tx = nil
	}
	return nil
}

// Timeout implements connectors.Timed.
func (t *transaction) Timeout() time.Duration {
	if t.s.cfg.Timeout == 0 {
		return 1<<63 - 1
	}
	return t.s.cfg.Timeout
}

// taskWriter is one task's way into a transaction.
type taskWriter struct {
	s       *Sink
	env     connectors.WriterEnv
	of      *transaction
	pending []connectors.Origin // of rows that are in and not settled
}

// insert passes the gate and writes a row.
func (w *taskWriter) insert(ctx context.Context, tx *sql.Tx, r *connectors.Record, o *connectors.Origin) error {
	args, err := w.s.cfg.Args(r, o)
	if err == nil {
		if _, err = tx.ExecContext(ctx, w.s.cfg.Insert, args...); err == nil {
			var at connectors.Origin
			if o != nil {
				at = *o
			}
			w.pending = append(w.pending, at)
			w.env.Gate.Leave(1, 0) // the database has answered; acknowledged is what it has committed
			return nil
		}
	}
	w.env.Gate.Leave(1, 0)
	return fmt.Errorf("sql sink %s: %w", w.env.Node, err)
}

// settle tells what became of the rows since the last time.
func (w *taskWriter) settle(there bool) {
	if there {
		w.env.Gate.Leave(0, int64(len(w.pending)))
		if w.env.Acked != nil {
			for _, o := range w.pending {
				w.env.Acked(o)
			}
		}
	}
	w.pending = w.pending[:0]
}

// Write implements connectors.Writer. The gate is passed with the transaction open:
// who waits for the database's lock has nothing on its way.
func (w *taskWriter) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	w.of.mu.Lock()
	tx, err := w.of.begin(ctx)
	w.of.mu.Unlock()
	if err != nil {
		return err
	}
	if err := w.env.Gate.Enter(ctx); err != nil {
		return err
	}
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	return w.insert(ctx, tx, r, o)
}

// Flush implements connectors.Writer: rows are in the database's hands.
func (w *taskWriter) Flush(context.Context) error { return nil }

// InFlight implements connectors.Writer.
func (w *taskWriter) InFlight() (records, bytes int64) { return 0, 0 }

// The rest of connectors.Writer belongs to the transaction as a whole.

// Prepare implements connectors.Writer.
func (w *taskWriter) Prepare(context.Context) (connectors.Committable, error) { return nil, nil }

// Commit implements connectors.Writer.
func (w *taskWriter) Commit(context.Context, connectors.Committable) error { return nil }

// Release implements connectors.Writer.
func (w *taskWriter) Release(connectors.Committable) {}

// Abort implements connectors.Writer.
func (w *taskWriter) Abort(context.Context) error { return nil }

// Close implements connectors.Writer.
func (w *taskWriter) Close() error { return nil }
