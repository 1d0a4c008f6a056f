package observer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/harness/ledger"
	"streamduel/harness/plan"
	"streamduel/pipeline"
	"streamduel/workloads"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(brokerMode); mode != "" {
		if err := serve(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// parseRow reads the tests' output format: partition, sequence, value, all big
// endian, and a key. A value of -1 is a closing row.
func parseRow(r *connectors.Record, late bool, row *workloads.Row) error {
	if len(r.Value) != 20 {
		return fmt.Errorf("%d bytes", len(r.Value))
	}
	row.HasID = true
	row.Partition = int32(binary.BigEndian.Uint32(r.Value))
	row.Sequence = int64(binary.BigEndian.Uint64(r.Value[4:]))
	row.Value = int64(binary.BigEndian.Uint64(r.Value[12:]))
	row.Key = r.Key
	row.Closing = row.Value < 0
	return nil
}

func appendRow(dst []byte, partition int32, sequence, value int64) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(partition))
	dst = binary.BigEndian.AppendUint64(dst, uint64(sequence))
	return binary.BigEndian.AppendUint64(dst, uint64(value))
}

// rig is an embedded broker with the topics out and late, and a load of n
// records over two partitions that was due a moment ago.
type rig struct {
	t       *testing.T
	cluster *kfake.Cluster
	plan    *plan.Plan
	sent    []int64

	committed, uncommitted *ledger.Ledger
}

func newRig(t *testing.T, n int64, opts ...kfake.Opt) *rig {
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(2, "out"), kfake.SeedTopics(1, "late")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	p, err := plan.New(plan.Constant(1e6), plan.Partitions("in", 2))
	if err != nil {
		t.Fatal(err)
	}
	p.Begin(clock.Mono()-int64(time.Second), 0)
	if err := p.Stop(n); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, cluster: cluster, plan: p, sent: []int64{p.Sequences(0, n), p.Sequences(1, n)}}
	for _, l := range []**ledger.Ledger{&r.committed, &r.uncommitted} {
		*l, err = ledger.New(ledger.Config{Plan: p, Latency: true,
			Accounting: workloads.Accounting{Kind: workloads.OneToOne, Parse: parseRow}})
		if err != nil {
			t.Fatal(err)
		}
		(*l).Phase("steady", 0)
	}
	return r
}

func (r *rig) observe() *Observer {
	o, err := Start(r.t.Context(), Config{Brokers: r.cluster.ListenAddrs(), Output: "out", Late: "late",
		Committed: r.committed, Uncommitted: r.uncommitted, Discover: 20 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rig) client(opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(r.cluster.ListenAddrs()...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10*time.Millisecond), kgo.MetadataMaxAge(50*time.Millisecond))...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// row is the output record of input i. A negative value makes a closing row.
func (r *rig) row(i, value int64) *kgo.Record {
	p, s := r.plan.Locate(i)
	return &kgo.Record{Topic: "out", Partition: p % 2, Key: fmt.Appendf(nil, "k%d", i%5), Value: appendRow(nil, p, s, value)}
}

func (r *rig) produce(c *kgo.Client, rows ...*kgo.Record) {
	r.t.Helper()
	if err := c.ProduceSync(r.t.Context(), rows...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// await polls a condition on the real clock: a broker and its clients run.
func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			r.t.Fatalf("still waiting: %s", what)
		case <-tick.C:
		}
	}
}

func (r *rig) settle(o *Observer) *Ends {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	e, err := o.Settle(ctx, 5*time.Millisecond)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func TestCommittedAndAborted(t *testing.T) {
	r := newRig(t, 100, kfake.SeedTopics(1, "other"))
	o := r.observe()
	c := r.client(kgo.TransactionalID("sink"))
	// Somebody else's open transaction, on a topic of its own.
	other := r.client(kgo.TransactionalID("somebody else"))
	if err := other.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	r.produce(other, &kgo.Record{Topic: "other", Value: []byte("x")})
	transaction := func(from, to int64, end kgo.TransactionEndTry) {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := from; i < to; i++ {
			r.produce(c, r.row(i, 1))
		}
		if end == kgo.TryAbort {
			// Rows of an open transaction are seen by one view only.
			r.await("uncommitted rows", func() bool { return r.uncommitted.Counts().Rows == to })
			if n := r.committed.Counts().Rows; n != from {
				t.Errorf("read_committed shows %d rows, want %d", n, from)
			}
			e, err := o.Ends(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Stuck()) == 0 || len(e.Ongoing) != 1 || e.Ongoing[0] != "sink" {
				t.Errorf("an open transaction does not show: %+v", e)
			}
		}
		// A client that has not stored the topic yet would abort, whatever is
		// asked of it (see commitTransaction in connectors/kafka).
		r.await("the client knows its topic", func() bool {
			leader, _, _ := c.PartitionLeader("out", 0)
			return leader >= 0
		})
		if err := c.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	transaction(0, 40, kgo.TryCommit)
	r.await("first transaction", func() bool { return r.committed.Counts().Rows == 40 })
	transaction(40, 60, kgo.TryAbort)
	transaction(40, 100, kgo.TryCommit)
	e := r.settle(o)
	if len(e.Stuck()) != 0 || len(e.Ongoing) != 0 || e.Unread() != 0 {
		t.Errorf("not settled: %+v", e)
	}
	ahead := *e
	ahead.Partitions = slices.Clone(e.Partitions)
	ahead.Partitions[0].LastStable++
	if !o.SeenStable(e) || o.SeenStable(&ahead) {
		t.Errorf("what was committed by then is not told from what comes: %+v", e)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	got, all := r.committed.Finish(r.sent), r.uncommitted.Finish(r.sent)
	if got.Visible != 100 || got.Duplicates+got.Losses+got.Unexpected+got.Reordered != 0 {
		t.Errorf("committed: %+v", got)
	}
	if aborted := ledger.Aborted(r.committed, r.uncommitted); aborted != 20 || all.Duplicates != 20 {
		t.Errorf("%d aborted rows, %d copies; want 20", aborted, all.Duplicates)
	}
	if got.Samples != 100 || got.Clipped.Total() != 0 {
		t.Errorf("%d samples, clipped %+v", got.Samples, got.Clipped)
	}
	for _, s := range o.Stats() {
		if s.Polls == 0 || s.Rows < 100 {
			t.Errorf("stats %+v", s)
		}
	}
}

// TestDeadLettersAreRead: from their own topic, by their headers, in both views.
func TestDeadLettersAreRead(t *testing.T) {
	r := newRig(t, 40, kfake.SeedTopics(1, "dead"))
	o, err := Start(t.Context(), Config{Brokers: r.cluster.ListenAddrs(), Output: "out", Late: "late", Dead: "dead",
		Committed: r.committed, Uncommitted: r.uncommitted})
	if err != nil {
		t.Fatal(err)
	}
	c := r.client()
	dead := func(split, position string) *kgo.Record {
		return &kgo.Record{Topic: "dead", Value: []byte("rubbish"), Headers: []kgo.RecordHeader{
			{Key: pipeline.DeadSplit, Value: []byte(split)}, {Key: pipeline.DeadPosition, Value: []byte(position)}}}
	}
	r.produce(c, dead("in/0", "3"), dead("in/1", "4"), dead("in/1", "4"), dead("nowhere/0", "1"))
	r.await("dead letters", func() bool { return r.committed.Counts().Dead == 2 && r.uncommitted.Counts().Dead == 2 })
	r.settle(o)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.committed.Finish(r.sent); got.Malformed != 1 || got.Dead.Rows != 3 || got.Dead.Unexpected != 3 || got.Visible != 0 {
		t.Errorf("%+v", got)
	}
}

func TestGrownOutputLateRowsAndClosings(t *testing.T) {
	r := newRig(t, 60)
	o := r.observe()
	c := r.client()
	for i := int64(0); i < 20; i++ {
		r.produce(c, r.row(i, 1))
	}
	admin := kadm.NewClient(c)
	if _, err := admin.UpdatePartitions(t.Context(), 4, "out"); err != nil {
		t.Fatal(err)
	}
	grown := func(i int64) *kgo.Record {
		row := r.row(i, 1)
		row.Partition = 2 + int32(i%2)
		return row
	}
	r.await("the producer's view of the new partitions", func() bool {
		return c.ProduceSync(t.Context(), grown(20)).FirstErr() == nil
	})
	for i := int64(21); i < 50; i++ {
		r.produce(c, grown(i))
	}
	for i := int64(50); i < 58; i++ { // 58 and 59 are lost
		late := r.row(i, 1)
		late.Topic, late.Partition = "late", 0
		r.produce(c, late)
	}
	r.produce(c, &kgo.Record{Topic: "out", Partition: 0, Value: []byte("rubbish")})
	if r.committed.Drained() {
		t.Error("drained before any closing record")
	}
	r.produce(c, r.row(60, -1), r.row(61, -1))
	r.await("both closing rows", r.committed.Drained)
	r.settle(o)
	positions := map[string]int64{}
	for _, p := range o.Positions() {
		positions[fmt.Sprint(p.Topic, "/", p.Partition)] = p.Next
	}
	if len(positions) != 5 || positions["late/0"] != 8 || positions["out/2"]+positions["out/3"] != 30 {
		t.Errorf("positions %v", positions)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	got := r.committed.Finish(r.sent)
	if got.Visible != 50 || got.Late != 8 || got.Losses != 2 || got.Unexpected != 1 || got.Malformed != 1 || got.Duplicates != 0 {
		t.Errorf("%+v", got)
	}
	if err := got.Balanced(); err != nil {
		t.Error(err)
	}
}

func TestIntakeGivesProcessingLatency(t *testing.T) {
	r := newRig(t, 10)
	o := r.observe()
	c := r.client()
	for i := int64(0); i < 10; i++ {
		row := r.row(i, 1)
		p, s := r.plan.Locate(i)
		row.Headers = []kgo.RecordHeader{{Key: connectors.OriginHeader,
			Value: connectors.AppendOrigin(nil, connectors.Origin{Partition: p, Sequence: s, Intake: clock.Mono()})}}
		r.produce(c, row)
	}
	r.settle(o)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	largest := map[string]int64{}
	if err := r.committed.Flush(clock.Mono(), func(i ledger.Interval) error {
		counts[i.Kind+"/"+i.Phase] = i.Histogram.TotalCount()
		largest[i.Kind] = i.Histogram.Max()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if counts["event/steady"] != 10 || counts["processing/steady"] != 10 {
		t.Errorf("samples %v", counts)
	}
	// Inputs were due a second before they were taken in.
	if largest["event"] < int64(900*time.Millisecond) || largest["processing"] >= largest["event"] {
		t.Errorf("largest latencies %v", largest)
	}
}

// TestTrimmedUnderTheObserver: what was deleted before it was seen must not
// pass for an output that never was.
func TestTrimmedUnderTheObserver(t *testing.T) {
	r := newRig(t, 10)
	c := r.client()
	for i := int64(0); i < 10; i++ {
		r.produce(c, r.row(i, 1))
	}
	admin := kadm.NewClient(c)
	var offsets kadm.Offsets
	offsets.AddOffset("out", 0, 3, -1)
	if _, err := admin.DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	o := r.observe()
	r.await("the error", func() bool { return o.Err() != nil })
	if err := o.Close(); err == nil {
		t.Error("no error")
	}
}

func TestStartErrors(t *testing.T) {
	r := newRig(t, 10)
	cfg := Config{Brokers: r.cluster.ListenAddrs(), Output: "absent", Committed: r.committed}
	if _, err := Start(t.Context(), cfg); err == nil {
		t.Error("a topic that does not exist was accepted")
	}
	cfg.Output, cfg.Committed = "out", nil
	if _, err := Start(t.Context(), cfg); err == nil {
		t.Error("no ledger was accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cfg.Committed = r.committed
	if _, err := Start(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
