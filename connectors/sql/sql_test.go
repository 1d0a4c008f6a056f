package sql_test

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver of these tests

	"streamduel/connectors"
	"streamduel/connectors/connectorstest"
	"streamduel/connectors/sql"
)

func database(t *testing.T) *stdsql.DB {
	t.Helper()
	db, err := stdsql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "test.db")+"?_txlock=immediate&_pragma=busy_timeout(20000)&_pragma=synchronous(OFF)")
	must(t, err)
	t.Cleanup(func() { db.Close() })
	_, err = db.Exec(`CREATE TABLE rows (value TEXT NOT NULL)`)
	must(t, err)
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sink(t *testing.T, db *stdsql.DB) *sql.Sink {
	t.Helper()
	s, err := sql.NewSink(sql.Config{DB: db, Insert: `INSERT INTO rows (value) VALUES (?)`,
		Args: func(r *connectors.Record, _ *connectors.Origin) ([]any, error) { return []any{string(r.Value)}, nil }})
	must(t, err)
	return s
}

func visible(t *testing.T, db *stdsql.DB) (out []string) {
	t.Helper()
	rows, err := db.Query(`SELECT value FROM rows ORDER BY value`)
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		var v string
		must(t, rows.Scan(&v))
		out = append(out, v)
	}
	must(t, rows.Err())
	return out
}

// TestSink are the checks that every sink has to pass.
func TestSink(t *testing.T) {
	db := database(t)
	connectorstest.Sink(t, func(t *testing.T) connectors.Sink { return sink(t, db) }, func(t *testing.T) []string { return visible(t, db) })
}

// TestPartitionsHoldWhatTheyHaveWritten: rows, positions and metadata are there
// together or not at all, partition by partition, and opening one again fences it
// and no other.
func TestPartitionsHoldWhatTheyHaveWritten(t *testing.T) {
	ctx, db := t.Context(), database(t)
	s := sink(t, db)
	open := func(part int) connectors.Transaction {
		env := connectors.WriterEnv{Env: connectors.Env{Job: "job", Node: "out"}, Subtask: part, Guarantee: connectors.ExactlyOnce}
		tx, err := s.PartitionTransaction(ctx, env)
		must(t, err)
		t.Cleanup(func() { tx.Close() })
		return tx
	}
	write := func(tx connectors.Transaction, values ...string) {
		t.Helper()
		must(t, tx.Begin(ctx))
		for _, v := range values {
			must(t, tx.Writer(0).Write(ctx, &connectors.Record{Value: []byte(v)}, nil))
		}
	}
	holds := func(tx connectors.Transaction, want string, at map[connectors.SplitID]connectors.Position) {
		t.Helper()
		positions, metadata, ok, err := tx.Committed(ctx)
		must(t, err)
		if metadata != want || ok != (want != "") || fmt.Sprint(positions) != fmt.Sprint(at) {
			t.Fatalf("it holds %v %q %v, want %v %q", positions, metadata, ok, at, want)
		}
	}
	type at = map[connectors.SplitID]connectors.Position
	a, b := open(0), open(1)
	holds(a, "", at{})
	write(a, "a1")
	must(t, a.Prepare(ctx, at{"in/0": 5}, "batch 1"))
	must(t, a.Commit(ctx))
	holds(a, "batch 1", at{"in/0": 5})
	holds(b, "", at{})

	write(a, "gone") // prepared and aborted
	must(t, a.Prepare(ctx, at{"in/0": 9, "in/7": 1}, "batch 2"))
	must(t, a.Abort(ctx))
	holds(a, "batch 1", at{"in/0": 5})
	write(a, "a2")
	must(t, a.Prepare(ctx, at{"in/2": 3}, "batch 2"))
	must(t, a.Commit(ctx))
	holds(a, "batch 2", at{"in/0": 5, "in/2": 3})

	again := open(0)
	holds(again, "batch 2", at{"in/0": 5, "in/2": 3})
	write(a, "of the old process")
	if err := a.Prepare(ctx, at{"in/0": 8}, "batch 3"); !errors.Is(err, sql.ErrFenced) {
		t.Fatalf("the old process prepares: %v", err)
	}
	must(t, a.Abort(ctx))
	write(again, "a3")
	must(t, again.Prepare(ctx, nil, "batch 3"))
	must(t, again.Commit(ctx))
	write(b, "b3")
	must(t, b.Prepare(ctx, nil, "batch 3"))
	must(t, b.Commit(ctx))
	if got, want := visible(t, db), []string{"a1", "a2", "a3", "b3"}; !slices.Equal(got, want) {
		t.Errorf("visible are %q, want %q", got, want)
	}
	if err := again.Commit(ctx); err == nil {
		t.Error("a commit of nothing")
	}
}

// TestAcknowledged: a row counts as acknowledged when its transaction has ended.
func TestAcknowledged(t *testing.T) {
	db := database(t)
	gate := connectors.NewGate()
	var acked int
	env := connectors.WriterEnv{Env: connectors.Env{Job: "job", Node: "out", Gate: gate}, Guarantee: connectors.AtLeastOnce, Acked: func(connectors.Origin) { acked++ }}
	w, err := sink(t, db).Writer(t.Context(), env)
	must(t, err)
	for _, v := range []string{"x", "y"} {
		must(t, w.Write(t.Context(), &connectors.Record{Value: []byte(v)}, nil))
	}
	gate.Close()
	must(t, gate.Drain(t.Context())) // nothing is on its way, although nothing is committed
	if written, ok, _ := gate.Counts(); written != 2 || ok != 0 || acked != 0 {
		t.Errorf("before: %d written, %d and %d acknowledged", written, ok, acked)
	}
	must(t, w.Flush(t.Context()))
	if _, ok, _ := gate.Counts(); ok != 2 || acked != 2 {
		t.Errorf("behind: %d and %d acknowledged", ok, acked)
	}
	must(t, w.Close())
}

func TestRefused(t *testing.T) {
	db := database(t)
	args := func(*connectors.Record, *connectors.Origin) ([]any, error) { return nil, errors.New("no number") }
	for name, c := range map[string]struct {
		cfg  sql.Config
		want string
	}{
		"nothing": {sql.Config{}, "DB, Insert and Args must be given"},
		"table":   {sql.Config{DB: db, Insert: "x", Args: args, Table: "a; b"}, `table "a; b": letters, digits and underscores`},
		"timeout": {sql.Config{DB: db, Insert: "x", Args: args, Timeout: -time.Second}, "timeout -1s: 0 or more"},
	} {
		if _, err := sql.NewSink(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := sql.NewSink(sql.Config{DB: db, Insert: "INSERT INTO rows (value) VALUES (?)", Args: args})
	must(t, err)
	env := connectors.WriterEnv{Env: connectors.Env{Job: "job", Node: "out"}}
	env.Guarantee = connectors.ExactlyOnce
	if _, err := s.Writer(context.Background(), env); err == nil || !strings.Contains(err.Error(), "exactly-once needs the micro-batch engine") {
		t.Errorf("a writer of two phases: %v", err)
	}
	env.Guarantee = connectors.AtLeastOnce
	w, err := s.Writer(context.Background(), env)
	must(t, err)
	if err := w.Write(t.Context(), &connectors.Record{}, nil); err == nil || !strings.Contains(err.Error(), "sql sink out: no number") {
		t.Errorf("a row without arguments: %v", err)
	}
	must(t, w.Close())
	if sql.Dollar(3) != "$3" {
		t.Error(sql.Dollar(3))
	}
}
