package kafka

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"streamduel/connectors"
)

func (f *fixture) transaction(s *Sink, env connectors.WriterEnv) connectors.Transaction {
	f.t.Helper()
	tx, err := s.Transaction(f.ctx, env)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { tx.Close() })
	return tx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) committed(tx connectors.Transaction, want string, at connectors.Position, id connectors.SplitID) {
	f.t.Helper()
	pos, meta, ok, err := tx.Committed(f.ctx)
	must(f.t, err)
	if want == "" {
		if ok {
			f.t.Fatalf("committed %v %q, want none", pos, meta)
		}
		return
	}
	if !ok || meta != want || pos[id] != at {
		f.t.Fatalf("committed %v %q %v, want %d %q", pos, meta, ok, at, want)
	}
}

func TestBatchHoldsOutputAndPositions(t *testing.T) {
	f := setup(t)
	in, out := f.topic(2), f.topic(2)
	s, env := f.sink(SinkConfig{Topic: out, Group: out}), f.job(connectors.ExactlyOnce)
	tx := f.transaction(s, env)
	id := splitID(in, 1)
	f.committed(tx, "", 0, id)
	at := func(p connectors.Position) map[connectors.SplitID]connectors.Position {
		return map[connectors.SplitID]connectors.Position{splitID(in, 0): 1, id: p}
	}

	must(t, tx.Begin(f.ctx))
	var wg sync.WaitGroup
	for task := range 4 {
		w := tx.Writer(task)
		wg.Go(func() { f.write(w, fmt.Sprint("a", task)) })
	}
	wg.Wait()
	must(t, tx.Prepare(f.ctx, at(10), "batch 0"))
	must(t, tx.Commit(f.ctx))
	f.committed(tx, "batch 0", 10, id)

	must(t, tx.Begin(f.ctx)) // an aborted batch leaves no trace
	f.write(tx.Writer(0), "gone")
	must(t, tx.Prepare(f.ctx, at(20), "batch 1"))
	must(t, tx.Abort(f.ctx))
	f.committed(tx, "batch 0", 10, id)

	must(t, tx.Begin(f.ctx)) // a filter dropped all of it
	must(t, tx.Prepare(f.ctx, at(20), "batch 1"))
	must(t, tx.Commit(f.ctx))
	f.committed(tx, "batch 1", 20, id)

	must(t, tx.Begin(f.ctx)) // an empty one that is aborted
	must(t, tx.Abort(f.ctx))

	must(t, tx.Begin(f.ctx))
	f.write(tx.Writer(3), "b")
	must(t, tx.Prepare(f.ctx, map[connectors.SplitID]connectors.Position{id: 30}, "batch 2"))
	must(t, tx.Commit(f.ctx))
	f.committed(tx, "batch 2", 30, id) // although the other partition says "batch 1"

	f.expect(out, "a0", "a1", "a2", "a3", "b")
	again := f.transaction(s, env)
	f.committed(again, "batch 2", 30, id)
	must(t, again.Begin(f.ctx))
	f.write(again.Writer(0), "c")
	must(t, again.Prepare(f.ctx, at(40), "batch 3"))
	must(t, again.Commit(f.ctx))
	f.committed(again, "batch 3", 40, id)
}

func TestOpeningATransactionFencesTheOlder(t *testing.T) {
	f := setup(t)
	in, out := f.topic(1), f.topic(1)
	s, env := f.sink(SinkConfig{Topic: out, Group: out}), f.job(connectors.ExactlyOnce)
	positions := map[connectors.SplitID]connectors.Position{splitID(in, 0): 5}
	for _, empty := range []bool{false, true} {
		old := f.transaction(s, env)
		must(t, old.Begin(f.ctx))
		if !empty {
			f.write(old.Writer(0), "old")
		}
		must(t, old.Prepare(f.ctx, positions, "old"))
		tx := f.transaction(s, env)
		f.committed(tx, "", 0, "")
		if err := old.Commit(f.ctx); err == nil {
			t.Fatalf("empty %v: the older transaction committed", empty)
		}
		f.committed(tx, "", 0, "")
		f.expect(out)
	}
}

func TestLargestStampWins(t *testing.T) {
	for _, meta := range []string{"", "x", "sd1:9:y", "a:b"} {
		if n, m := unstamp(stamp(7, meta)); n != 7 || m != meta {
			t.Fatalf("%q: %d %q", meta, n, m)
		}
		if !strings.HasPrefix(meta, "sd1:") {
			if n, m := unstamp(meta); n != 0 || m != meta {
				t.Fatalf("foreign %q: %d %q", meta, n, m)
			}
		}
	}
}

// childBatches runs micro-batches and dies at a point of batch `last`.
func childBatches(args []string) error {
	brokers, in, out, job, point := args[0], args[1], args[2], args[3], args[5]
	last, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := NewSink(SinkConfig{Brokers: strings.Split(brokers, ","), Topic: out, Group: out})
	if err != nil {
		return err
	}
	tx, err := s.Transaction(ctx, connectors.WriterEnv{Env: connectors.Env{Job: job, Node: "out"}, Guarantee: connectors.ExactlyOnce})
	if err != nil {
		return err
	}
	first, err := nextBatch(ctx, tx)
	if err != nil {
		return err
	}
	for b := first; ; b++ {
		if err := runBatch(ctx, tx, in, b, func(at string) {
			if b == last && at == point {
				die()
			}
		}); err != nil {
			return err
		}
	}
}

// nextBatch is where a restart goes on: behind the batch that Kafka knows.
func nextBatch(ctx context.Context, tx connectors.Transaction) (int, error) {
	_, meta, ok, err := tx.Committed(ctx)
	if err != nil || !ok {
		return 0, err
	}
	n, err := strconv.Atoi(meta)
	return n + 1, err
}

const perBatch = 50

// runBatch writes batch b; every third batch has no output.
func runBatch(ctx context.Context, tx connectors.Transaction, in string, b int, at func(string)) error {
	if err := tx.Begin(ctx); err != nil {
		return err
	}
	at("begun")
	for i := range perBatch {
		if b%3 == 2 {
			break
		}
		v := fmt.Appendf(nil, "%d:%d", b, i)
		if err := tx.Writer(i%2).Write(ctx, &connectors.Record{Key: v, Value: v}, nil); err != nil {
			return err
		}
		if i == perBatch/2 {
			if err := tx.Writer(0).Flush(ctx); err != nil {
				return err
			}
			at("half")
		}
	}
	positions := map[connectors.SplitID]connectors.Position{
		splitID(in, 0): connectors.Position(b + 1), splitID(in, 1): connectors.Position(2 * (b + 1)),
	}
	if err := tx.Prepare(ctx, positions, strconv.Itoa(b)); err != nil {
		return err
	}
	at("prepared")
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	at("committed")
	return nil
}

func TestBatchesSurviveSIGKILL(t *testing.T) {
	f := setup(t)
	points := []string{"begun", "half", "prepared", "committed"}
	for k := range kills {
		in, out, job := f.topic(2), f.topic(3), f.job(connectors.ExactlyOnce)
		last := 2 + k%5
		point := points[k%len(points)]
		if last%3 == 2 && point == "half" {
			point = "prepared"
		}
		f.killed("batches", strings.Join(f.brokers, ","), in, out, job.Job, strconv.Itoa(last), point)
		tx := f.transaction(f.sink(SinkConfig{Topic: out, Group: out}), job)
		next, err := nextBatch(f.ctx, tx)
		must(t, err)
		if want := last; point == "committed" && next != want+1 || point != "committed" && next != want {
			t.Fatalf("kill %d at %s of batch %d: goes on with %d", k, point, last, next)
		}
		for b := next; b < last+3; b++ {
			must(t, runBatch(f.ctx, tx, in, b, func(string) {}))
		}
		var want []string
		for b := range last + 3 {
			for i := range perBatch {
				if b%3 != 2 {
					want = append(want, fmt.Sprintf("%d:%d", b, i))
				}
			}
		}
		f.expect(out, want...)
		must(t, tx.Close())
	}
	t.Logf("%d of %d kills resumed", kills, kills)
}

// The coordinator may be busy with the transaction before: wait it out.
func TestCommittedWaitsForAPendingTransaction(t *testing.T) {
	calls := 0
	must(t, untilStable(t.Context(), func() error {
		if calls++; calls < 4 {
			return fmt.Errorf("wrapped: %w", []error{kerr.UnstableOffsetCommit, kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress}[calls-1])
		}
		return nil
	}))
	if calls != 4 {
		t.Fatal(calls)
	}
}

// TestPartitionsHoldWhatTheyHaveWritten: each output partition's transaction says
// what it holds, with positions and without, and opening it again fences only it.
func TestPartitionsHoldWhatTheyHaveWritten(t *testing.T) {
	f := setup(t)
	in, out := f.topic(2), f.topic(1)
	s, env := f.sink(SinkConfig{Topic: out, Group: out}), f.job(connectors.ExactlyOnce)
	env.Parallelism = 2
	open := func(k int) connectors.Transaction {
		env.Subtask = k
		tx, err := s.PartitionTransaction(f.ctx, env)
		must(t, err)
		t.Cleanup(func() { tx.Close() })
		return tx
	}
	holds := func(tx connectors.Transaction, want string, positions int) {
		t.Helper()
		pos, meta, ok, err := tx.Committed(f.ctx)
		must(t, err)
		if ok != (want != "") || meta != want || len(pos) != positions {
			t.Fatalf("it holds %v %q %v, want %q and %d positions", pos, meta, ok, want, positions)
		}
	}
	write := func(tx connectors.Transaction, k int, value string, positions map[connectors.SplitID]connectors.Position) {
		t.Helper()
		must(t, tx.Begin(f.ctx))
		f.write(tx.Writer(k), value)
		must(t, tx.Prepare(f.ctx, positions, value))
	}
	a, b := open(0), open(1)
	holds(a, "", 0)
	write(a, 0, "a7", nil)
	write(b, 1, "b7", map[connectors.SplitID]connectors.Position{splitID(in, 1): 3})
	must(t, b.Commit(f.ctx))
	holds(a, "", 0)
	holds(b, "b7", 1)
	must(t, a.Commit(f.ctx))
	holds(a, "a7", 0)
	write(a, 0, "a8", nil)
	again := open(0)
	holds(again, "a7", 0)
	if err := a.Commit(f.ctx); err == nil {
		t.Fatal("the older transaction committed")
	}
	write(again, 0, "a8 again", nil)
	must(t, again.Commit(f.ctx))
	write(b, 1, "b8", map[connectors.SplitID]connectors.Position{splitID(in, 1): 4})
	must(t, b.Commit(f.ctx)) // the other partition has not noticed
	holds(open(1), "b8", 1)
	f.expect(out, "a7", "a8 again", "b7", "b8")
}

// TestADeletedTopicTakesNoMemoryWithIt: a broker forgets a group's positions in a topic
// that is deleted. What the sink holds is known all the same, also where a second
// sink of the job shares the group and was behind.
func TestADeletedTopicTakesNoMemoryWithIt(t *testing.T) {
	f := setupFake(t)
	in, outs := f.topic(2), []string{f.topic(1), f.topic(1)}
	env := f.job(connectors.ExactlyOnce)
	var txs []connectors.Transaction
	for i, out := range outs {
		e := env
		e.Node = fmt.Sprint("sink", i)
		txs = append(txs, f.transaction(f.sink(SinkConfig{Topic: out, Group: in}), e))
	}
	at := func(p connectors.Position) map[connectors.SplitID]connectors.Position {
		return map[connectors.SplitID]connectors.Position{splitID(in, 0): p, splitID(in, 1): p}
	}
	write := func(i int, batch string, p connectors.Position) {
		t.Helper()
		must(t, txs[i].Begin(f.ctx))
		if batch != "1" { // one without output
			f.write(txs[i].Writer(0), batch)
		}
		must(t, txs[i].Prepare(f.ctx, at(p), fmt.Sprint(batch, " of sink ", i)))
		must(t, txs[i].Commit(f.ctx))
	}
	for b, p := range []connectors.Position{10, 20, 30} {
		write(0, fmt.Sprint(b), p)
		write(1, fmt.Sprint(b), p)
	}
	f.committed(txs[0], "2 of sink 0", 30, splitID(in, 0))
	f.committed(txs[1], "2 of sink 1", 30, splitID(in, 0))
	write(0, "3", 40) // the second one has not
	f.committed(txs[0], "3 of sink 0", 40, splitID(in, 0))
	f.committed(txs[1], "3 of sink 0", 40, splitID(in, 0))
	if _, err := f.adm.DeleteTopics(f.ctx, in); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"3 of sink 0", "2 of sink 1"} {
		if pos, meta, ok, err := txs[i].Committed(f.ctx); err != nil || !ok || meta != want || len(pos) > 0 {
			t.Errorf("sink %d holds %v %q %v, %v", i, pos, meta, ok, err)
		}
	}
	must(t, txs[1].Begin(f.ctx)) // what is created anew has another id
	if _, err := f.adm.CreateTopic(f.ctx, 2, 1, nil, in); err != nil {
		t.Fatal(err)
	}
	f.write(txs[1].Writer(0), "3")
	if err := txs[1].Prepare(f.ctx, at(1), "3 of sink 1"); err != nil {
		must(t, txs[1].Abort(f.ctx)) // the engine runs the batch again
		must(t, txs[1].Begin(f.ctx))
		f.write(txs[1].Writer(0), "3")
		must(t, txs[1].Prepare(f.ctx, at(1), "3 of sink 1"))
	}
	must(t, txs[1].Commit(f.ctx))
	f.committed(txs[1], "3 of sink 1", 1, splitID(in, 0))
	f.expect(outs[1], "0", "2", "3")
}
