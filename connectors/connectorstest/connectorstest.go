// Package connectorstest tells whether a source or a sink keeps the contract of
// package connectors, on which both engines rely: a user runs it on his own, and
// ours pass it too.
//
//	func TestMySource(t *testing.T) {
//		connectorstest.Source(t, func(t *testing.T) connectors.Source { return mySource(t) }, "a", "b", "c")
//	}
package connectorstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"streamduel/connectors"
)

// Source checks a bounded or unbounded source that holds the given values, in
// any split and in the order of each split. open is called again for what a
// restarted job would see: the same source, opened anew.
func Source(t *testing.T, open func(t *testing.T) connectors.Source, values ...string) {
	ctx := t.Context()
	src := open(t)
	if !src.Describe().Replayable {
		t.Fatal("the source says that it cannot be read again; nothing but at-most-once is possible then, and nothing here applies")
	}
	e, err := src.Enumerator(ctx, connectors.Env{Job: "connectorstest", Node: "source"})
	must(t, err)
	defer e.Close()
	splits, err := e.Discover(ctx)
	must(t, err)
	if !slices.IsSortedFunc(splits, func(a, b connectors.Split) int { return compare(a.ID, b.ID) }) {
		t.Errorf("splits are not sorted by id: %v", splits)
	}
	var ids []connectors.SplitID
	for _, s := range splits {
		ids = append(ids, s.ID)
	}
	bounds, err := e.Bounds(ctx, ids)
	must(t, err)
	var all []string
	whole := map[connectors.SplitID][]connectors.Record{}
	for _, s := range splits {
		b, ok := bounds[s.ID]
		if !ok || b.Earliest > b.Latest {
			t.Fatalf("split %s: bounds %+v", s.ID, b)
		}
		whole[s.ID] = read(t, src, s, b.Earliest, b.Latest)
		for _, r := range whole[s.ID] {
			all = append(all, string(r.Value))
		}
	}
	want := slices.Clone(values)
	slices.Sort(all)
	slices.Sort(want)
	if !slices.Equal(all, want) {
		t.Fatalf("read from the beginning: %d records %.200q, want %d %.200q", len(all), all, len(want), want)
	}
	t.Run("from any position", func(t *testing.T) {
		again := open(t)
		for _, s := range splits {
			rs := whole[s.ID]
			for i := range rs {
				if i > 0 && rs[i].Offset <= rs[i-1].Offset {
					t.Fatalf("split %s: position %d after %d: positions grow along a split", s.ID, rs[i].Offset, rs[i-1].Offset)
				}
				if len(rs) > 64 && i%(len(rs)/32) != 0 {
					continue
				}
				same(t, s, rs[i:], read(t, again, s, connectors.Position(rs[i].Offset), bounds[s.ID].Latest))
			}
		}
	})
	t.Run("ranges of one reader", func(t *testing.T) { // as micro-batch reads
		r := reader(t, src)
		for _, s := range splits {
			rs, latest := whole[s.ID], bounds[s.ID].Latest
			if len(rs) < 2 {
				continue
			}
			middle := connectors.Position(rs[len(rs)/2].Offset)
			first := readWith(t, r, s, bounds[s.ID].Earliest, middle)
			same(t, s, rs, append(first, readWith(t, r, s, middle, latest)...))
			same(t, s, rs[:len(rs)/2], readWith(t, r, s, bounds[s.ID].Earliest, middle)) // a batch that is run again
		}
	})
	t.Run("committed positions are there", func(t *testing.T) {
		at := map[connectors.SplitID]connectors.Position{}
		for _, s := range splits {
			at[s.ID] = bounds[s.ID].Latest
		}
		if len(at) == 0 {
			return
		}
		must(t, e.Commit(ctx, at))
		got, err := e.Committed(ctx, ids)
		must(t, err)
		if !maps.Equal(got, at) {
			t.Errorf("committed %v, found are %v", at, got)
		}
	})
	t.Run("what was handed out stays", func(t *testing.T) {
		for _, s := range splits {
			for _, r := range whole[s.ID] { // read long ago
				if !slices.Contains(values, string(r.Value)) {
					t.Fatalf("split %s: the bytes of a record changed to %q: they must never be overwritten", s.ID, r.Value)
				}
			}
		}
	})
}

func compare(a, b connectors.SplitID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func reader(t *testing.T, src connectors.Source) connectors.Reader {
	t.Helper()
	r, err := src.Reader(t.Context(), connectors.Env{Job: "connectorstest", Node: "source"})
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

func read(t *testing.T, src connectors.Source, s connectors.Split, from, until connectors.Position) []connectors.Record {
	t.Helper()
	r, err := src.Reader(t.Context(), connectors.Env{Job: "connectorstest", Node: "source"})
	must(t, err)
	defer func() { must(t, r.Close()) }()
	return readWith(t, r, s, from, until)
}

func readWith(t *testing.T, r connectors.Reader, s connectors.Split, from, until connectors.Position) (all []connectors.Record) {
	t.Helper()
	if from == until {
		return nil
	}
	must(t, r.Assign(connectors.Assignment{Split: s, From: from, Until: until}))
	defer r.Unassign(s.ID)
	at := from
	for at < until {
		b, err := r.Poll(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if len(b.Records) == 0 && b.Next <= at && !b.Done {
			continue // woken
		}
		if b.Split.ID != s.ID || b.Next < at || b.Next > until {
			t.Fatalf("split %s in [%d, %d): a batch of %s up to %d", s.ID, from, until, b.Split.ID, b.Next)
		}
		for _, rec := range b.Records { // the bytes stay, the records do not
			if p := connectors.Position(rec.Offset); p < at || p >= b.Next {
				t.Fatalf("split %s: a record at %d in a batch of [%d, %d)", s.ID, p, at, b.Next)
			}
			all = append(all, rec)
		}
		at = b.Next
	}
	return all
}

func same(t *testing.T, s connectors.Split, want, got []connectors.Record) {
	t.Helper()
	text := func(rs []connectors.Record) (out []string) {
		for _, r := range rs {
			out = append(out, fmt.Sprintf("%d %q %q", r.Offset, r.Key, r.Value))
		}
		return out
	}
	if a, b := text(want), text(got); !slices.Equal(a, b) {
		t.Fatalf("split %s read again:\n%.300v\nwant\n%.300v", s.ID, b, a)
	}
}

// Sink checks what a sink does under the guarantees that it says it can give.
// open gives the sink as a new process would open it, over the same outside;
// visible returns the values that a reader of committed output sees there. A
// Transactor is asked to keep the positions of splits beside its output: name
// some where it does not take any.
func Sink(t *testing.T, open func(t *testing.T) connectors.Sink, visible func(t *testing.T) []string, splits ...connectors.SplitID) {
	d := open(t).Describe()
	k := &kit{open: open, visible: visible}
	if len(splits) == 0 {
		splits = []connectors.SplitID{"connectorstest/0"}
	}
	if d.Supports(connectors.AtLeastOnce) {
		t.Run("flushed is there", func(t *testing.T) {
			w := k.writer(t, connectors.AtLeastOnce)
			k.write(t, w, "f1", "f2")
			must(t, w.Flush(t.Context()))
			k.expect(t, "f1", "f2")
			if n, _ := w.InFlight(); n != 0 {
				t.Errorf("%d records are in flight behind Flush", n)
			}
			must(t, w.Close())
		})
	}
	if _, ok := open(t).(connectors.Recoverer); ok && d.Supports(connectors.ExactlyOnce) {
		k.epochs(t)
	}
	if _, ok := open(t).(connectors.Transactor); ok && d.Supports(connectors.ExactlyOnce) {
		k.batches(t, splits)
	}
}

// epochs checks exactly-once as dataflow uses it.
func (k *kit) epochs(t *testing.T) {
	t.Run("prepared is not visible, committed is, twice is once", func(t *testing.T) {
		w := k.writer(t, connectors.ExactlyOnce)
		k.write(t, w, "c1", "c2")
		c := k.prepare(t, w)
		k.expect(t)
		for range 2 {
			must(t, w.Commit(t.Context(), c))
		}
		k.expect(t, "c1", "c2")
		w.Release(c)
		must(t, w.Close())
	})
	t.Run("nothing written, nothing to commit", func(t *testing.T) {
		w := k.writer(t, connectors.ExactlyOnce)
		c, err := w.Prepare(t.Context())
		must(t, err)
		if c != nil {
			t.Errorf("an empty epoch gave a committable %q", c)
		}
		must(t, w.Close())
	})
	t.Run("aborted leaves nothing", func(t *testing.T) {
		w := k.writer(t, connectors.ExactlyOnce)
		k.write(t, w, "a1")
		must(t, w.Abort(t.Context()))
		k.write(t, w, "a2")
		c := k.prepare(t, w)
		must(t, w.Commit(t.Context(), c))
		k.expect(t, "a2")
		must(t, w.Close())
	})
	t.Run("prepared survives its process", func(t *testing.T) {
		w := k.writer(t, connectors.ExactlyOnce)
		k.write(t, w, "p1")
		c := k.prepare(t, w)
		k.write(t, w, "open") // of the next epoch, which no checkpoint knows
		must(t, w.Close())
		for range 2 {
			must(t, k.open(t).(connectors.Recoverer).Recover(t.Context(), k.env(connectors.ExactlyOnce), []connectors.Committable{c}))
			k.expectOnly(t, "p1")
		}
		k.seen = append(k.seen, "p1")
	})
	t.Run("what no checkpoint lists is gone", func(t *testing.T) {
		w := k.writer(t, connectors.ExactlyOnce)
		k.write(t, w, "g1")
		k.prepare(t, w)
		must(t, w.Close())
		must(t, k.open(t).(connectors.Recoverer).Recover(t.Context(), k.env(connectors.ExactlyOnce), nil))
		k.expect(t)
	})
}

// batches checks exactly-once as micro-batch uses it: a batch's output and its
// positions become visible together.
func (k *kit) batches(t *testing.T, splits []connectors.SplitID) {
	at := func(n int) map[connectors.SplitID]connectors.Position {
		m := map[connectors.SplitID]connectors.Position{}
		for i, s := range splits {
			m[s] = connectors.Position(n + i)
		}
		return m
	}
	open := func(t *testing.T) connectors.Transaction {
		tx, err := k.open(t).(connectors.Transactor).Transaction(t.Context(), k.env(connectors.ExactlyOnce))
		must(t, err)
		return tx
	}
	committed := func(t *testing.T, tx connectors.Transaction, n int) {
		t.Helper()
		positions, metadata, ok, err := tx.Committed(t.Context())
		must(t, err)
		if !ok || !maps.Equal(positions, at(n)) || metadata != fmt.Sprint("batch ", n) {
			t.Errorf("committed are %v, %q, %v, want %v of batch %d", positions, metadata, ok, at(n), n)
		}
	}
	prepare := func(t *testing.T, tx connectors.Transaction, n int, values ...string) {
		t.Helper()
		must(t, tx.Begin(t.Context()))
		for i, v := range values {
			k.write(t, tx.Writer(i), v)
		}
		must(t, tx.Prepare(t.Context(), at(n), fmt.Sprint("batch ", n)))
	}
	t.Run("a batch and its positions are one", func(t *testing.T) {
		tx := open(t)
		prepare(t, tx, 1, "b1", "b2")
		k.expect(t)
		must(t, tx.Commit(t.Context()))
		k.expect(t, "b1", "b2")
		committed(t, tx, 1)
		prepare(t, tx, 2) // an empty batch moves the positions
		must(t, tx.Commit(t.Context()))
		k.expect(t)
		committed(t, tx, 2)
		must(t, tx.Close())
	})
	t.Run("an aborted batch leaves nothing", func(t *testing.T) {
		tx := open(t)
		prepare(t, tx, 3, "x1")
		must(t, tx.Abort(t.Context()))
		k.expect(t)
		committed(t, tx, 2)
		prepare(t, tx, 4, "b3")
		must(t, tx.Commit(t.Context()))
		k.expect(t, "b3")
		committed(t, tx, 4)
		must(t, tx.Close())
	})
	t.Run("a batch that its process did not commit is gone", func(t *testing.T) {
		tx := open(t)
		prepare(t, tx, 5, "x2")
		must(t, tx.Close())
		next := open(t)
		committed(t, next, 4)
		k.expect(t)
		must(t, next.Close())
	})
}

// kit remembers what must be visible so far.
type kit struct {
	open    func(t *testing.T) connectors.Sink
	visible func(t *testing.T) []string
	seen    []string
	attempt int
}

func (k *kit) env(g connectors.Guarantee) connectors.WriterEnv {
	k.attempt++
	return connectors.WriterEnv{
		Env:         connectors.Env{Job: "connectorstest", Node: "sink", Attempt: k.attempt, Gate: connectors.NewGate()},
		Parallelism: 1, Guarantee: g, Pool: 3,
	}
}

// writer opens a writer as a job's next attempt does: after recovery.
func (k *kit) writer(t *testing.T, g connectors.Guarantee) connectors.Writer {
	t.Helper()
	sink, env := k.open(t), k.env(g)
	if r, ok := sink.(connectors.Recoverer); ok && g == connectors.ExactlyOnce {
		must(t, r.Recover(t.Context(), env, nil))
	}
	w, err := sink.Writer(t.Context(), env)
	must(t, err)
	return w
}

func (k *kit) write(t *testing.T, w connectors.Writer, values ...string) {
	t.Helper()
	buffer := make([]byte, 0, 64) // used again: a writer copies before it returns
	for _, v := range values {
		buffer = append(buffer[:0], v...)
		must(t, w.Write(context.WithoutCancel(t.Context()), &connectors.Record{Value: buffer}, nil))
	}
	clear(buffer[:cap(buffer)])
}

func (k *kit) prepare(t *testing.T, w connectors.Writer) connectors.Committable {
	t.Helper()
	c, err := w.Prepare(t.Context())
	must(t, err)
	if c == nil {
		t.Fatal("an epoch with records gave no committable")
	}
	return c
}

// expect checks that new values, and nothing else, have become visible.
func (k *kit) expect(t *testing.T, more ...string) {
	t.Helper()
	k.expectOnly(t, more...)
	k.seen = append(k.seen, more...)
}

func (k *kit) expectOnly(t *testing.T, more ...string) {
	t.Helper()
	got, want := slices.Clone(k.visible(t)), slices.Concat(k.seen, more)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("visible are %q, want %q", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
