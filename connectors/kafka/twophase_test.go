package kafka

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

func (f *fixture) sink(cfg SinkConfig) *Sink {
	f.t.Helper()
	cfg.Brokers = f.brokers
	s, err := NewSink(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// job returns the environment of a sink whose transactional ids nothing else
// uses.
func (f *fixture) job(guarantee connectors.Guarantee) connectors.WriterEnv {
	return connectors.WriterEnv{
		Env:       connectors.Env{Job: fmt.Sprintf("job-%d-%d", time.Now().UnixNano(), topicNumber.Add(1)), Node: "out"},
		Guarantee: guarantee, Pool: 3, Parallelism: 1,
	}
}

func (f *fixture) writer(s *Sink, env connectors.WriterEnv) connectors.Writer {
	f.t.Helper()
	w, err := s.Writer(f.ctx, env)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { w.Close() })
	return w
}

func (f *fixture) write(w connectors.Writer, values ...string) {
	f.t.Helper()
	for _, v := range values {
		if err := w.Write(f.ctx, &connectors.Record{Value: []byte(v), Key: []byte(v)}, nil); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *fixture) prepare(w connectors.Writer) connectors.Committable {
	f.t.Helper()
	c, err := w.Prepare(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) commit(w connectors.Writer, c connectors.Committable) {
	f.t.Helper()
	if err := w.Commit(f.ctx, c); err != nil {
		f.t.Fatal(err)
	}
}

// visible returns what a reader of committed records sees in a topic, sorted.
// It waits until no transaction is undecided there.
func (f *fixture) visible(topic string) []string {
	f.t.Helper()
	f.settled(topic)
	return f.readCommitted(topic)
}

// readCommitted returns what a reader of committed records sees now.
func (f *fixture) readCommitted(topic string) []string {
	f.t.Helper()
	src := f.source(SourceConfig{Topics: []string{topic}})
	e := f.enumerator(src)
	splits, err := e.Discover(f.ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	var ids []connectors.SplitID
	for _, s := range splits {
		ids = append(ids, s.ID)
	}
	bounds, err := e.Bounds(f.ctx, ids)
	if err != nil {
		f.t.Fatal(err)
	}
	r := f.reader(src)
	for _, s := range splits {
		b := bounds[s.ID]
		if err := r.Assign(connectors.Assignment{Split: s, From: b.Earliest, Until: b.Latest}); err != nil {
			f.t.Fatal(err)
		}
	}
	values, next := f.drain(r)
	var all []string
	for _, s := range splits {
		all = append(all, values[s.ID]...)
		if next[s.ID] != bounds[s.ID].Latest {
			f.t.Fatalf("%s ended at %d, its bound is %d", s.ID, next[s.ID], bounds[s.ID].Latest)
		}
	}
	slices.Sort(all)
	return all
}

// settled waits until the last stable offset is the high watermark everywhere.
func (f *fixture) settled(topic string) {
	f.t.Helper()
	for {
		stable, err := f.adm.ListCommittedOffsets(f.ctx, topic)
		if err != nil {
			f.t.Fatal(err)
		}
		end, err := f.adm.ListEndOffsets(f.ctx, topic)
		if err != nil {
			f.t.Fatal(err)
		}
		open := false
		for p, o := range end[topic] {
			if s, _ := stable.Lookup(topic, p); s.Offset != o.Offset {
				open = true
			}
		}
		if !open {
			return
		}
		if (&backoff{}).wait(f.ctx) != nil {
			f.t.Fatalf("topic %s: a transaction stays undecided", topic)
		}
	}
}

func (f *fixture) expect(topic string, want ...string) {
	f.t.Helper()
	slices.Sort(want)
	if got := f.visible(topic); !slices.Equal(got, want) {
		f.t.Fatalf("visible: %v\nwant:    %v", got, want)
	}
}

func TestEpochsBecomeVisibleOneByOne(t *testing.T) {
	f := setup(t)
	topic := f.topic(2)
	w := f.writer(f.sink(SinkConfig{Topic: topic}), f.job(connectors.ExactlyOnce))
	if c := f.prepare(w); c != nil {
		t.Fatal("an epoch without a record has a committable")
	}
	f.write(w, "a", "b")
	c1 := f.prepare(w)
	f.write(w, "c") // the next epoch goes to another id
	c2 := f.prepare(w)
	f.commit(w, c1)
	f.commit(w, c1) // twice is harmless
	f.write(w, "d")
	if err := w.Abort(f.ctx); err != nil {
		t.Fatal(err)
	}
	f.commit(w, c2)
	f.expect(topic, "a", "b", "c")
	w.Release(c1)
	w.Release(c2)
	for i := range 10 { // ids go round
		f.write(w, strconv.Itoa(i))
		c := f.prepare(w)
		f.commit(w, c)
		w.Release(c)
	}
	f.expect(topic, append(strings.Split("0123456789", ""), "a", "b", "c")...)
}

// lateClient comes to know its topic only when it has been asked a few times,
// and ends a transaction before that as kgo does.
type lateClient struct {
	asked int
	ended *kgo.TransactionEndTry
}

func (c *lateClient) PartitionLeader(string, int32) (int32, int32, error) {
	if c.asked++; c.asked < 4 {
		return -1, -1, nil
	}
	return 0, 0, nil
}

func (c *lateClient) EndTransaction(_ context.Context, try kgo.TransactionEndTry) error {
	if c.asked < 4 {
		try = kgo.TryAbort
	}
	c.ended = &try
	return nil
}

// A first transaction that was ended before the client had come to know its
// topic was aborted, and reported as committed.
func TestCommitOfAFirstTransactionIsNoAbort(t *testing.T) {
	var c lateClient
	must(t, commitTransaction(t.Context(), &c, "t"))
	if c.ended == nil || *c.ended != kgo.TryCommit {
		t.Fatalf("the commit of a transaction that was produced to became an abort")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c = (lateClient{}); commitTransaction(ctx, &c, "t") == nil || c.ended != nil {
		t.Fatal("a commit that cannot be awaited was reported as done")
	}
}

func TestPoolIsBounded(t *testing.T) {
	f := setup(t)
	env := f.job(connectors.ExactlyOnce)
	env.Pool = 2
	w := f.writer(f.sink(SinkConfig{Topic: f.topic(1)}), env)
	f.write(w, "a")
	c1 := f.prepare(w)
	f.write(w, "b")
	f.prepare(w)
	f.commit(w, c1) // committed, but a checkpoint may still list it
	err := w.Write(f.ctx, &connectors.Record{Value: []byte("c")}, nil)
	if err == nil || !strings.Contains(err.Error(), "all 2 transactional ids") {
		t.Fatal(err)
	}
	w.Release(c1)
	f.write(w, "c")
}

func TestTransactionTimeoutBeyondTheBrokersIsRefusedAtOnce(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	s := f.sink(SinkConfig{Topic: topic, TransactionMillis: 3_600_000})
	_, err := s.Writer(f.ctx, f.job(connectors.ExactlyOnce))
	if err == nil || !strings.Contains(err.Error(), "transaction.max.timeout.ms") {
		t.Fatal(err)
	}
	// Also where a recovery is the first to find out.
	env := f.job(connectors.ExactlyOnce)
	w := f.writer(f.sink(SinkConfig{Topic: topic}), env)
	f.write(w, "a")
	f.prepare(w)
	if err = s.Recover(f.ctx, env, nil); err == nil || !strings.Contains(err.Error(), "lower it, or raise their transaction.max.timeout.ms") {
		t.Fatal(err)
	}
	if _, err = s.Transaction(f.ctx, f.job(connectors.ExactlyOnce)); err == nil || !strings.Contains(err.Error(), "transaction.max.timeout.ms") {
		t.Fatal(err)
	}
}

func TestRecoverAbortsWhatWasNotPreparedAtAnyParallelism(t *testing.T) {
	f := setup(t)
	topic := f.topic(2)
	s := f.sink(SinkConfig{Topic: topic})
	env := f.job(connectors.ExactlyOnce)
	var cs []connectors.Committable
	for subtask := range 3 {
		env.Subtask = subtask
		w := f.writer(s, env)
		f.write(w, fmt.Sprint("prepared ", subtask))
		cs = append(cs, f.prepare(w))
		f.write(w, fmt.Sprint("open ", subtask))
		if err := w.Flush(f.ctx); err != nil {
			t.Fatal(err)
		}
	}
	// The third subtask's checkpoint was not durable: prepared, but to abort.
	if err := s.Recover(f.ctx, env, append(cs[:2:2], cs[0])); err != nil {
		t.Fatal(err)
	}
	f.expect(topic, "prepared 0", "prepared 1")
}

func TestRecoverAgainAfterIdsWereInitialized(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	s := f.sink(SinkConfig{Topic: topic})
	env := f.job(connectors.ExactlyOnce)
	w := f.writer(s, env)
	f.write(w, "a")
	c := f.prepare(w)
	// Each attempt dies before its first checkpoint: the next one restores the
	// same committable, whose id was initialized since.
	for attempt := range 3 {
		if err := s.Recover(f.ctx, env, []connectors.Committable{c}); err != nil {
			t.Fatal("attempt", attempt, err)
		}
		w := f.writer(s, env)
		f.write(w, "never committed")
		if err := w.Flush(f.ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Recover(f.ctx, env, nil); err != nil {
		t.Fatal(err)
	}
	f.expect(topic, "a")
}

func TestRecoverReportsALostTransaction(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	s := f.sink(SinkConfig{Topic: topic})
	env := f.job(connectors.ExactlyOnce)
	w := f.writer(s, env)
	f.write(w, "a")
	lost := f.prepare(w)
	f.write(w, "b")
	kept := f.prepare(w)
	f.commit(w, kept)
	// X2 of the catalogue: ids initialized before the second commit.
	if err := s.Recover(f.ctx, env, nil); err != nil {
		t.Fatal(err)
	}
	err := s.Recover(f.ctx, env, []connectors.Committable{kept, lost})
	if err == nil || !strings.Contains(err.Error(), "1 of 2 prepared transactions") || !strings.Contains(err.Error(), env.Job+"/out/0/0") {
		t.Fatal(err)
	}
	f.expect(topic, "b")
}

// A worker that wakes up after its replacement has recovered cannot commit.
// TestATransactionThatIsOpenForTooLongSaysSo: the broker gives it up, whoever writes
// hears of it, and the error names the timeout.
func TestATransactionThatIsOpenForTooLongSaysSo(t *testing.T) {
	f := setup(t)
	w := f.writer(f.sink(SinkConfig{Topic: f.topic(1), TransactionMillis: 300}), f.job(connectors.ExactlyOnce))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := w.Write(f.ctx, &connectors.Record{Value: []byte("v")}, nil)
		if err == nil {
			err = w.Flush(f.ctx)
		}
		if err != nil {
			if !strings.Contains(err.Error(), "older than its transaction timeout of 300ms") {
				t.Errorf("ended with %v", err)
			}
			return
		}
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			t.Fatal("the transaction was never given up")
		}
	}
}

func TestRecoverFencesAnOldWorker(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	s := f.sink(SinkConfig{Topic: topic})
	env := f.job(connectors.ExactlyOnce)
	old := f.writer(s, env)
	f.write(old, "a")
	c := f.prepare(old)
	if err := s.Recover(f.ctx, env, nil); err != nil {
		t.Fatal(err)
	}
	if err := old.Commit(f.ctx, c); err == nil {
		t.Fatal("the old worker committed")
	}
	f.expect(topic)
}

// Roles of a child process that kills itself, see TestMain.
const roleEnv = "STREAMDUEL_KAFKA_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		if err := child(role, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(role string, args []string) error {
	switch role {
	case "prepare":
		return childPrepare(args)
	case "batches":
		return childBatches(args)
	case "broker":
		return childBroker(args)
	}
	return fmt.Errorf("no role %s", role)
}

func die() { syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }

// killed runs a child that is expected to kill itself and returns the lines
// that it has printed.
func (f *fixture) killed(role string, args ...string) []string {
	f.t.Helper()
	cmd := exec.CommandContext(f.ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	var lines []string
	for sc := bufio.NewScanner(out); sc.Scan(); {
		lines = append(lines, sc.Text())
	}
	cmd.Wait() //nolint:errcheck // it was killed
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		f.t.Fatalf("child %s: %v", role, cmd.ProcessState)
	}
	return lines
}

// childPrepare commits one epoch, prepares a second, writes into a third and
// dies, with its committables on standard output.
func childPrepare(args []string) error {
	brokers, topic, job, n, openNext := args[0], args[1], args[2], args[3], args[4]
	ctx := context.Background()
	s, err := NewSink(SinkConfig{Brokers: strings.Split(brokers, ","), Topic: topic})
	if err != nil {
		return err
	}
	env := connectors.WriterEnv{Env: connectors.Env{Job: job, Node: "out"}, Guarantee: connectors.ExactlyOnce, Pool: 3}
	w, err := s.Writer(ctx, env)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	for epoch := range 3 {
		if epoch == 2 && openNext != "open" {
			break
		}
		for i := range count {
			v := fmt.Appendf(nil, "%d:%d", epoch, i)
			if err := w.Write(ctx, &connectors.Record{Key: v, Value: v}, nil); err != nil {
				return err
			}
		}
		if epoch == 2 {
			if err := w.Flush(ctx); err != nil {
				return err
			}
			break
		}
		c, err := w.Prepare(ctx)
		if err != nil {
			return err
		}
		fmt.Println(hex.EncodeToString(c))
		if epoch == 0 {
			if err := w.Commit(ctx, c); err != nil {
				return err
			}
		}
	}
	die()
	return nil
}

const kills = 20

func TestPreparedTransactionsSurviveSIGKILL(t *testing.T) {
	f := setup(t)
	for k := range kills {
		topic := f.topic(3)
		env := f.job(connectors.ExactlyOnce)
		open := "open"
		if k%2 == 1 {
			open = "none"
		}
		const n = 200
		lines := f.killed("prepare", strings.Join(f.brokers, ","), topic, env.Job, strconv.Itoa(n), open)
		if len(lines) != 2 {
			t.Fatalf("kill %d: child printed %q", k, lines)
		}
		var cs []connectors.Committable
		for _, l := range lines {
			c, err := hex.DecodeString(l)
			if err != nil {
				t.Fatal(err)
			}
			cs = append(cs, c)
		}
		s := f.sink(SinkConfig{Topic: topic})
		for range 2 { // a crash during recovery: all of it again
			if err := s.Recover(f.ctx, env, cs); err != nil {
				t.Fatalf("kill %d: %v", k, err)
			}
		}
		var want []string
		for epoch := range 2 {
			for i := range n {
				want = append(want, fmt.Sprintf("%d:%d", epoch, i))
			}
		}
		f.expect(topic, want...)
		w := f.writer(s, env)
		f.write(w, "after")
		f.commit(w, f.prepare(w))
		f.expect(topic, append(want, "after")...)
		w.Close()
	}
	t.Logf("%d of %d kills resumed", kills, kills)
}

func FuzzCommittable(f *testing.F) {
	p := prepared{txnID: "j/n/0/0", producer: 1 << 40, epoch: 7, topic: "out", partition: 3, offset: 99}
	f.Add([]byte(p.encode()))
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeCommittable(b)
		if err != nil {
			return
		}
		if got := p.encode(); string(got) != string(b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x", b, p, got)
		}
	})
}
