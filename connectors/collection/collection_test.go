package collection

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"streamduel/connectors"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func drain(t *testing.T, r connectors.Reader) (values []string, next connectors.Position) {
	t.Helper()
	for {
		b, err := r.Poll(t.Context())
		if err == io.EOF {
			return values, next
		}
		must(t, err)
		for _, rec := range b.Records {
			values = append(values, string(rec.Value))
		}
		next = b.Next
	}
}

func TestBoundedSourceEnds(t *testing.T) {
	s := NewSource(Values("a", "b", "c"))
	s.BatchRecords = 2
	r, err := s.Reader(t.Context(), connectors.Env{})
	must(t, err)
	split := connectors.Split{ID: SplitID(0)}
	must(t, r.Assign(connectors.Assignment{Split: split, From: 0, Until: connectors.NoEnd}))
	if v, next := drain(t, r); !slices.Equal(v, []string{"a", "b", "c"}) || next != 3 {
		t.Fatal(v, next)
	}
	must(t, r.Assign(connectors.Assignment{Split: split, From: 1, Until: 2}))
	if v, next := drain(t, r); !slices.Equal(v, []string{"b"}) || next != 2 {
		t.Fatal(v, next)
	}
	if err := r.Assign(connectors.Assignment{Split: split, From: 4, Until: 5}); err == nil {
		t.Fatal("position behind the end")
	}
}

func TestOpenSourceWaitsAndGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewOpenSource(1)
		e, err := s.Enumerator(t.Context(), connectors.Env{})
		must(t, err)
		r, err := s.Reader(t.Context(), connectors.Env{})
		must(t, err)
		must(t, r.Assign(connectors.Assignment{Split: connectors.Split{ID: SplitID(0)}, Until: connectors.NoEnd}))
		got := make(chan string)
		go func() {
			for {
				b, err := r.Poll(context.Background())
				if err != nil {
					close(got)
					return
				}
				for _, rec := range b.Records {
					got <- string(rec.Value)
				}
			}
		}()
		synctest.Wait()
		s.Append(0, Values("x")...)
		if v := <-got; v != "x" {
			t.Fatal(v)
		}
		s.Grow(1)
		splits, err := e.Discover(t.Context())
		must(t, err)
		if len(splits) != 2 {
			t.Fatal(splits)
		}
		s.Append(1, Values("y")...)
		must(t, r.Assign(connectors.Assignment{Split: splits[1], Until: connectors.NoEnd}))
		if v := <-got; v != "y" {
			t.Fatal(v)
		}
		s.Finish()
		if v, ok := <-got; ok {
			t.Fatal(v)
		}
	})
}

func env(g connectors.Guarantee) connectors.WriterEnv {
	return connectors.WriterEnv{Env: connectors.Env{Job: "j", Node: "n", Gate: connectors.NewGate()}, Guarantee: g, Pool: 2}
}

func write(t *testing.T, w connectors.Writer, vs ...string) {
	t.Helper()
	for _, v := range vs {
		must(t, w.Write(t.Context(), &connectors.Record{Value: []byte(v)}, nil))
	}
}

func expect(t *testing.T, s *Sink, want ...string) {
	t.Helper()
	if got := s.Values(); !slices.Equal(got, want) {
		t.Fatalf("visible %v, want %v", got, want)
	}
}

func TestTwoPhases(t *testing.T) {
	s := NewSink()
	w, err := s.Writer(t.Context(), env(connectors.ExactlyOnce))
	must(t, err)
	write(t, w, "a")
	c1, err := w.Prepare(t.Context())
	must(t, err)
	write(t, w, "b")
	c2, err := w.Prepare(t.Context())
	must(t, err)
	expect(t, s)
	must(t, w.Commit(t.Context(), c1))
	must(t, w.Commit(t.Context(), c1))
	expect(t, s, "a")
	if err := w.Write(t.Context(), &connectors.Record{}, nil); err == nil {
		t.Fatal("the pool is used up")
	}
	w.Release(c1)
	write(t, w, "open")
	must(t, s.Recover(t.Context(), env(connectors.ExactlyOnce), []connectors.Committable{c1, c2, nil}))
	expect(t, s, "a", "b")
	if err := w.Write(t.Context(), &connectors.Record{}, nil); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	if s.Undecided() != 0 {
		t.Fatal(s.Undecided())
	}
	w2, err := s.Writer(t.Context(), env(connectors.ExactlyOnce))
	must(t, err)
	write(t, w2, "lost")
	c3, err := w2.Prepare(t.Context())
	must(t, err)
	must(t, s.Recover(t.Context(), env(connectors.ExactlyOnce), nil))
	if err := s.Recover(t.Context(), env(connectors.ExactlyOnce), []connectors.Committable{c3}); !errors.Is(err, ErrLost) {
		t.Fatal(err)
	}
}

func TestFailuresAndTheGate(t *testing.T) {
	s := NewSink()
	boom := errors.New("boom")
	s.Fail = func(op Op, before int) error {
		if op == OpWrite && before == 1 {
			return boom
		}
		return nil
	}
	e := env(connectors.AtLeastOnce)
	var acked int
	e.Acked = func(connectors.Origin) { acked++ }
	w, err := s.Writer(t.Context(), e)
	must(t, err)
	write(t, w, "a")
	if err := w.Write(t.Context(), &connectors.Record{}, nil); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	e.Gate.Close()
	closed, cancel := context.WithCancel(t.Context())
	cancel() // a closed gate holds the writer until its context ends
	if err := w.Write(closed, &connectors.Record{}, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	must(t, e.Gate.Drain(t.Context()))
	if wr, ac, in := e.Gate.Counts(); wr != 2 || ac != 1 || in != 0 || acked != 1 {
		t.Fatal(wr, ac, in, acked)
	}
	expect(t, s, "a")
}

func TestTransactionHoldsPositions(t *testing.T) {
	s := NewSink()
	lost := errors.New("answer lost")
	s.Fail = func(op Op, before int) error {
		if op == OpAfterCommit && before == 1 {
			return lost
		}
		return nil
	}
	open := func() connectors.Transaction {
		tx, err := s.Transaction(t.Context(), env(connectors.ExactlyOnce))
		must(t, err)
		return tx
	}
	at := func(p connectors.Position) map[connectors.SplitID]connectors.Position {
		return map[connectors.SplitID]connectors.Position{SplitID(0): p}
	}
	tx := open()
	if _, _, ok, _ := tx.Committed(t.Context()); ok {
		t.Fatal("positions before any commit")
	}
	must(t, tx.Begin(t.Context()))
	write(t, tx.Writer(0), "a")
	must(t, tx.Prepare(t.Context(), at(1), "0"))
	must(t, tx.Commit(t.Context()))
	must(t, tx.Begin(t.Context()))
	write(t, tx.Writer(0), "b")
	must(t, tx.Prepare(t.Context(), at(2), "1"))
	if err := tx.Commit(t.Context()); !errors.Is(err, lost) || errors.Is(err, connectors.ErrRetriable) {
		t.Fatal(err)
	}
	next := open()
	if p, m, ok, _ := next.Committed(t.Context()); !ok || m != "1" || p[SplitID(0)] != 2 {
		t.Fatal(p, m, ok)
	}
	if err := tx.Begin(t.Context()); !errors.Is(err, ErrFenced) {
		t.Fatal(err)
	}
	must(t, next.Begin(t.Context()))
	write(t, next.Writer(1), "gone")
	must(t, next.Abort(t.Context()))
	expect(t, s, "a", "b")
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(encode(7)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := decode(b); err == nil && !slices.Equal(encode(id), b) {
			t.Fatal(b)
		}
	})
}
