package kafka

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"streamduel/connectors"
)

// What only an embedded broker can be made to do; these tests use one always.

func setupFake(t *testing.T, opts ...kfake.Opt) *fixture {
	t.Setenv(brokersEnv, "")
	return setup(t, opts...)
}

func TestReadingFollowsTheLeader(t *testing.T) {
	f := setupFake(t)
	topic := f.topic(1)
	r := f.reader(f.source(SourceConfig{Topics: []string{topic}}))
	e := f.enumerator(f.source(SourceConfig{Topics: []string{topic}}))
	id := splitID(topic, 0)
	must(t, r.Assign(assign(topic, 0, 0, connectors.NoEnd)))
	for i := range 6 {
		must(t, f.fake.MoveTopicPartition(topic, 0, int32(i%3)))
		f.produce(topic, 0, i, 1)
		b, err := r.Poll(f.ctx)
		must(t, err)
		if len(b.Records) != 1 || b.Next != connectors.Position(i+1) {
			t.Fatalf("move %d: %d records, next %d", i, len(b.Records), b.Next)
		}
		bounds, err := e.Bounds(f.ctx, []connectors.SplitID{id})
		must(t, err)
		if bounds[id].Latest != connectors.Position(i+1) {
			t.Fatal(bounds)
		}
	}
}

// Brokers before KIP-890 part 2 want a group to be added to a transaction and
// keep a producer's epoch from transaction to transaction.
func TestTransactionsOfOlderBrokers(t *testing.T) {
	f := setupFake(t, kfake.MaxVersions(kversion.V3_6_0()))
	in, out := f.topic(2), f.topic(2)
	s, env := f.sink(SinkConfig{Topic: out, Group: out}), f.job(connectors.ExactlyOnce)
	tx := f.transaction(s, env)
	if tx.(*transaction).two {
		t.Fatal("the broker claims transaction.version 2")
	}
	for b := range 4 {
		must(t, runBatch(f.ctx, tx, in, b, func(string) {}))
	}
	_, meta, ok, err := f.transaction(s, env).Committed(f.ctx)
	must(t, err)
	if !ok || meta != "3" {
		t.Fatal(meta, ok)
	}
	if n := len(f.visible(out)); n != 3*perBatch {
		t.Fatal(n)
	}
	out = f.topic(1)
	s = f.sink(SinkConfig{Topic: out})
	w := f.writer(s, env)
	f.write(w, "a")
	c := f.prepare(w)
	f.write(w, "open")
	must(t, w.Flush(f.ctx))
	for range 2 {
		must(t, s.Recover(f.ctx, env, []connectors.Committable{c}))
	}
	f.expect(out, "a")
}

// TestBoundsOfAPartitionWithoutALeader: it is waited for, with pauses, and not for ever.
func TestBoundsOfAPartitionWithoutALeader(t *testing.T) {
	f := setupFake(t)
	topic := f.topic(1)
	e := f.enumerator(f.source(SourceConfig{Topics: []string{topic}, PatienceMillis: 200}))
	var brokers []kmsg.MetadataResponseBroker
	for i, addr := range f.brokers {
		host, port, err := net.SplitHostPort(addr)
		must(t, err)
		n, err := strconv.Atoi(port)
		must(t, err)
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = int32(i), host, int32(n)
		brokers = append(brokers, b)
	}
	var asked atomic.Int64
	f.fake.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		f.fake.KeepControl()
		asked.Add(1)
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.Brokers = brokers
		x := kmsg.NewMetadataResponseTopic()
		x.Topic = &topic
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		x.Partitions = append(x.Partitions, p)
		resp.Topics = append(resp.Topics, x)
		return resp, nil, true
	})
	_, err := e.Bounds(f.ctx, []connectors.SplitID{splitID(topic, 0)})
	if err == nil || !strings.Contains(err.Error(), "a partition has no leader, or it does not answer, since 400ms") || asked.Load() > 50 {
		t.Errorf("%d times asked: %v", asked.Load(), err)
	}
}

// TestAPartitionThatIsNotServedIsAnError: a broker that goes on refusing a
// partition, although the metadata name it as the leader, is asked less and less
// often, and not for ever.
func TestAPartitionThatIsNotServedIsAnError(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.KafkaStorageError, kerr.CorruptMessage} {
		t.Run(refusal.Message, func(t *testing.T) {
			f := setupFake(t)
			topic := f.topic(1)
			var asked atomic.Int64
			f.fake.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				f.fake.KeepControl()
				asked.Add(1)
				req := kreq.(*kmsg.FetchRequest)
				resp := req.ResponseKind().(*kmsg.FetchResponse)
				for _, rt := range req.Topics {
					x := kmsg.NewFetchResponseTopic()
					x.Topic, x.TopicID = rt.Topic, rt.TopicID
					p := kmsg.NewFetchResponseTopicPartition()
					p.Partition, p.ErrorCode = rt.Partitions[0].Partition, refusal.Code
					x.Partitions = append(x.Partitions, p)
					resp.Topics = append(resp.Topics, x)
				}
				return resp, nil, true
			})
			r := f.reader(f.source(SourceConfig{Topics: []string{topic}, PatienceMillis: 500}))
			must(t, r.Assign(assign(topic, 0, 0, connectors.NoEnd)))
			_, err := r.Poll(f.ctx)
			if !errors.Is(err, refusal) || !strings.Contains(err.Error(), topic+"/0 at position 0") {
				t.Errorf("Poll: %v", err)
			}
			if n := asked.Load(); n > 50 {
				t.Errorf("asked %d times in half a second", n)
			}
		})
	}
}

// TestTroubleEndsWithCalm: what failed once, and was then asked nothing for long,
// has not failed all that time.
func TestTroubleEndsWithCalm(t *testing.T) {
	const patience = 30 * time.Second
	start := time.Unix(0, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var x trouble
	for _, f := range []struct {
		began, now int
		over       bool
	}{
		{0, 1, false}, {2, 22, false}, {23, 31, false}, // it counts from the first failure
		{3600, 3601, false}, {3602, 3632, true},
	} {
		if over := x.over(at(f.began), at(f.now), patience); over != f.over {
			t.Errorf("a request from %d to %d s fails: over is %v", f.began, f.now, over)
		}
	}
	x = trouble{}
	if x.over(at(3640), at(3641), patience) {
		t.Error("over at once after a success")
	}
}

// TestADamagedBatchIsNamedByWhereItWasFetched and not by how far Poll has come,
// which another goroutine is changing.
func TestADamagedBatchIsNamedByWhereItWasFetched(t *testing.T) {
	cfg := SourceConfig{Brokers: []string{"x"}, Topics: []string{"t"}}
	must(t, cfg.setDefaults())
	r := newReader(cfg, connectors.Env{Node: "in"}, nil)
	defer r.stop()
	s := &split{Split: connectors.Split{ID: "t/0"}, topic: "t", active: true, fetchPos: 10, pos: 3, until: int64(connectors.NoEnd)}
	r.splits[s.ID], r.changed = s, true
	resp := kmsg.NewPtrFetchResponse()
	topic, part := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
	batch := kmsg.RecordBatch{FirstOffset: 10, Length: 49, Magic: 2}
	part.RecordBatches = batch.AppendTo(nil)
	topic.Topic, topic.Partitions = "t", append(topic.Partitions, part)
	resp.Topics = append(resp.Topics, topic)
	r.receive([]flight{{s: s, from: 10}}, resp)
	if _, err := r.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "t/0 at position 10: record batch at offset 10 is damaged") {
		t.Errorf("Poll: %v", err)
	}
}
