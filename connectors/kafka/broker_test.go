package kafka

import (
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

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
