package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"streamduel/connectors"
)

// Config describes what is written and where. DB, Insert and Args must be given.
type Config struct {
	// DB is the database. The sink does not close it.
	DB *sql.DB
	// Insert is the statement for one record, in the database's own dialect.
	Insert string
	// Args returns the statement's arguments of a record. Bytes of the record are
	// valid until it returns.
	Args func(r *connectors.Record, o *connectors.Origin) ([]any, error)
	// Table keeps what was written of which batch; "streamduel_progress" if
	// empty. It is created where it is missing.
	Table string
	// Placeholder writes the n-th parameter of the sink's own statements, from 1;
	// "?" if nil. PostgreSQL's is Dollar.
	Placeholder func(n int) string
	// Timeout is how long the database lets a transaction stay open, 0 if it does
	// not say: a batch that lasts longer is run once more, and then fails.
	Timeout time.Duration
}

// Dollar writes parameters as PostgreSQL does.
func Dollar(n int) string { return fmt.Sprintf("$%d", n) }

// Sink writes to a database.
type Sink struct{ cfg Config }

var (
	_ connectors.Sink                = (*Sink)(nil)
	_ connectors.Transactor          = (*Sink)(nil)
	_ connectors.PartitionTransactor = (*Sink)(nil)
)

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

// NewSink checks the configuration and completes it with its defaults.
func NewSink(cfg Config) (*Sink, error) {
	if cfg.DB == nil || cfg.Insert == "" || cfg.Args == nil {
		return nil, errors.New("sql sink: DB, Insert and Args must be given")
	}
	if cfg.Table == "" {
		cfg.Table = "streamduel_progress"
	}
	if !identifier.MatchString(cfg.Table) {
		return nil, fmt.Errorf("sql sink: table %q: letters, digits and underscores, with a schema before a dot if need be", cfg.Table)
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("sql sink: timeout %v: 0 or more", cfg.Timeout)
	}
	if cfg.Placeholder == nil {
		cfg.Placeholder = func(int) string { return "?" }
	}
	return &Sink{cfg}, nil
}

// Describe implements connectors.Sink.
func (s *Sink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "sql", Guarantees: []connectors.Guarantee{
		connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce,
	}}
}

// Writer implements connectors.Sink.
func (s *Sink) Writer(_ context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	if env.Guarantee == connectors.ExactlyOnce {
		return nil, fmt.Errorf("sql sink %s: exactly-once needs the micro-batch engine: database/sql has no commit that survives its process", env.Node)
	}
	return &writer{taskWriter: taskWriter{s: s, env: env}}, nil
}

// Transaction implements connectors.Transactor.
func (s *Sink) Transaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	return s.open(ctx, env, wholeBatch)
}

// PartitionTransaction implements connectors.PartitionTransactor.
func (s *Sink) PartitionTransaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	return s.open(ctx, env, env.Subtask)
}

// wholeBatch is the partition under which a transaction of all tasks is kept.
const wholeBatch = -1

// writer is the sink's writer without exactly-once: what Flush has not ended is
// rolled back with the process.
type writer struct {
	taskWriter
	tx *sql.Tx
}

// Write implements connectors.Writer.
func (w *writer) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if w.tx == nil {
		tx, err := w.s.cfg.DB.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("sql sink %s: begin: %w", w.env.Node, err)
		}
		w.tx = tx
	}
	if err := w.env.Gate.Enter(ctx); err != nil {
		return err
	}
	return w.insert(ctx, w.tx, r, o)
}

// Flush implements connectors.Writer.
func (w *writer) Flush(context.Context) error {
	if w.tx == nil {
		return nil
	}
	err := w.tx.Commit()
	w.tx = nil
	w.settle(err == nil)
	if err != nil {
		return fmt.Errorf("sql sink %s: commit: %w", w.env.Node, err)
	}
	return nil
}

// Prepare implements connectors.Writer: without exactly-once it only flushes.
func (w *writer) Prepare(ctx context.Context) (connectors.Committable, error) {
	return nil, w.Flush(ctx)
}

// Close implements connectors.Writer. What was not flushed is given up.
func (w *writer) Close() error {
	if w.tx != nil {
		w.tx.Rollback() //nolint:errcheck // it is given up
		w.tx = nil
	}
	w.settle(false)
	return nil
}
