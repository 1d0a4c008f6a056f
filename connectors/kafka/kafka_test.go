package kafka

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// The tests of this package run against an embedded broker, or against a real
// one: STREAMDUEL_TEST_BROKERS=host:port[,host:port] (see doc.go).
const brokersEnv = "STREAMDUEL_TEST_BROKERS"

var topicNumber atomic.Int64

type fixture struct {
	t       testing.TB
	brokers []string
	fake    *kfake.Cluster // nil with a real broker
	cl      *kgo.Client
	adm     *kadm.Client
	ctx     context.Context
}

func setup(t testing.TB, opts ...kfake.Opt) *fixture {
	t.Helper()
	f := &fixture{t: t}
	var cancel context.CancelFunc
	f.ctx, cancel = context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	if v := os.Getenv(brokersEnv); v != "" {
		f.brokers = strings.Split(v, ",")
	} else {
		c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3), kfake.SleepOutOfOrder()}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		f.fake, f.brokers = c, c.ListenAddrs()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	f.cl, f.adm = cl, kadm.NewClient(cl)
	return f
}

// topic creates a topic under a name of its own.
func (f *fixture) topic(partitions int32) string {
	f.t.Helper()
	name := fmt.Sprintf("t%d-%d-%d", os.Getpid(), time.Now().UnixNano()%1e9, topicNumber.Add(1))
	if _, err := f.adm.CreateTopic(f.ctx, partitions, 1, nil, name); err != nil {
		f.t.Fatal(err)
	}
	return name
}

// produce appends n values "<partition>:<i>", i from first, to a partition.
func (f *fixture) produce(topic string, partition int32, first, n int) {
	f.t.Helper()
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = &kgo.Record{Topic: topic, Partition: partition, Value: fmt.Appendf(nil, "%d:%d", partition, first+i)}
	}
	for {
		err := f.cl.ProduceSync(f.ctx, rs...).FirstErr()
		if err == nil {
			return
		}
		f.t.Fatal(err)
	}
}

func (f *fixture) source(cfg SourceConfig) *Source {
	f.t.Helper()
	cfg.Brokers = f.brokers
	s, err := NewSource(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func (f *fixture) env(job string) connectors.Env {
	return connectors.Env{Job: job, Node: "node", Attempt: 1}
}

func (f *fixture) reader(s *Source) connectors.Reader {
	f.t.Helper()
	r, err := s.Reader(f.ctx, f.env("job"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { r.Close() })
	return r
}

func (f *fixture) enumerator(s *Source) connectors.Enumerator {
	f.t.Helper()
	e, err := s.Enumerator(f.ctx, f.env("job"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { e.Close() })
	return e
}

func assign(topic string, p int32, from, until connectors.Position) connectors.Assignment {
	return connectors.Assignment{Split: connectors.Split{ID: splitID(topic, p), Partition: p}, From: from, Until: until}
}

// drain polls until the reader is at its ends and returns the values by split,
// and each split's last position.
func (f *fixture) drain(r connectors.Reader) (map[connectors.SplitID][]string, map[connectors.SplitID]connectors.Position) {
	f.t.Helper()
	values := make(map[connectors.SplitID][]string)
	next := make(map[connectors.SplitID]connectors.Position)
	for {
		b, err := r.Poll(f.ctx)
		if err == io.EOF {
			return values, next
		}
		if err != nil {
			f.t.Fatal(err)
		}
		for i := range b.Records {
			values[b.Split.ID] = append(values[b.Split.ID], string(b.Records[i].Value))
		}
		if b.Split.ID != "" {
			next[b.Split.ID] = b.Next
		}
	}
}

func TestSourceReadsRangesInOrder(t *testing.T) {
	f := setup(t)
	topic := f.topic(2)
	f.produce(topic, 0, 0, 1000)
	f.produce(topic, 1, 0, 10)
	s := f.source(SourceConfig{Topics: []string{topic}})
	e := f.enumerator(s)
	splits, err := e.Discover(f.ctx)
	if err != nil || len(splits) != 2 {
		t.Fatal(splits, err)
	}
	ids := []connectors.SplitID{splits[0].ID, splits[1].ID}
	bounds, err := e.Bounds(f.ctx, ids)
	if err != nil {
		t.Fatal(err)
	}
	if b := bounds[ids[0]]; b != (connectors.Bounds{Earliest: 0, Latest: 1000}) {
		t.Fatal(b)
	}
	r := f.reader(s)
	// Ranges one after the other, the first of them in the middle of a batch.
	for from := connectors.Position(0); from < 1000; from += 250 {
		if err := r.Assign(assign(topic, 0, from, from+250), assign(topic, 1, from/100, (from+250)/100)); err != nil {
			t.Fatal(err)
		}
		values, next := f.drain(r)
		got := values[ids[0]]
		if len(got) != 250 || got[0] != fmt.Sprintf("0:%d", from) || got[249] != fmt.Sprintf("0:%d", from+249) {
			t.Fatalf("from %d: %d records", from, len(got))
		}
		if next[ids[0]] != from+250 {
			t.Fatal(next)
		}
		if n := int((from+250)/100 - from/100); len(values[ids[1]]) != n {
			t.Fatalf("split 1 from %d: %v", from, values[ids[1]])
		}
	}
}

// TestOriginSample: a sample of the origins is written, and every record is.
func TestOriginSample(t *testing.T) {
	f := setup(t)
	env := f.job(connectors.AtLeastOnce)
	w := newOutlet(&SinkConfig{Topic: f.topic(1), OriginHeader: true, OriginEvery: 4, BufferRecords: 100, BufferBytes: 1 << 20}, env)
	for i := range int64(12) {
		p := w.get()
		w.fill(p, &connectors.Record{Value: []byte("v"), Headers: []connectors.Header{{Key: "h"}}}, &connectors.Origin{Sequence: i, Intake: i + 1})
		var hs []connectors.Header
		for _, h := range p.rec.Headers {
			hs = append(hs, connectors.Header{Key: h.Key, Value: h.Value})
		}
		o, ok := connectors.FindOrigin(hs)
		if ok != (i%4 == 0) || ok && o.Intake != i+1 || hs[0].Key != "h" {
			t.Errorf("sequence %d: origin %+v %v of %v", i, o, ok, hs)
		}
		w.settle(&p.rec, nil)
	}
}

func TestWriterAcknowledgesEachRecordOnce(t *testing.T) {
	f := setup(t)
	topic := f.topic(4)
	sink, err := NewSink(SinkConfig{Brokers: f.brokers, Topic: topic, Partitioner: ByOrigin, OriginHeader: true, BufferRecords: 100})
	if err != nil {
		t.Fatal(err)
	}
	const n = 10_000
	var acked [4]atomic.Int64
	gate := connectors.NewGate()
	w, err := sink.Writer(f.ctx, connectors.WriterEnv{
		Env: connectors.Env{Job: "j", Node: "out", Gate: gate}, Guarantee: connectors.AtLeastOnce,
		Acked: func(o connectors.Origin) {
			if got := acked[o.Partition].Add(1) - 1; got != o.Sequence {
				t.Errorf("partition %d: acknowledged %d, want %d", o.Partition, o.Sequence, got)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	buf := make([]byte, 0, 64)
	for i := range n {
		buf = fmt.Appendf(buf[:0], "%d:%d", i%4, i/4)
		rec := connectors.Record{Value: buf, Headers: []connectors.Header{{Key: "h", Value: buf}}}
		o := connectors.Origin{Partition: int32(i % 4), Sequence: int64(i / 4), Scheduled: 7, Intake: 8}
		if err := w.Write(f.ctx, &rec, &o); err != nil {
			t.Fatal(err)
		}
		if in, _ := w.InFlight(); in > 100 {
			t.Fatalf("%d records in flight, the bound is 100", in)
		}
	}
	if err := w.Flush(f.ctx); err != nil {
		t.Fatal(err)
	}
	if in, bytes := w.InFlight(); in != 0 || bytes != 0 {
		t.Fatal(in, bytes)
	}
	if wr, ac, in := gate.Counts(); wr != n || ac != n || in != 0 {
		t.Fatal(wr, ac, in)
	}
	r := f.reader(f.source(SourceConfig{Topics: []string{topic}}))
	for p := range int32(4) {
		if err := r.Assign(assign(topic, p, 0, n/4)); err != nil {
			t.Fatal(err)
		}
	}
	seen := make([]int64, 4)
	for {
		b, err := r.Poll(f.ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Records {
			rec := &b.Records[i]
			o, ok := connectors.FindOrigin(rec.Headers)
			want := fmt.Sprintf("%d:%d", b.Split.Partition, seen[b.Split.Partition])
			if !ok || string(rec.Value) != want || o.Partition != b.Split.Partition || o.Sequence != seen[b.Split.Partition] ||
				o.Scheduled != 7 || o.Intake != 8 || string(rec.Headers[0].Value) != want || rec.Headers[0].Key != "h" {
				t.Fatalf("record %q of %s, want %q; origin %+v %v", rec.Value, b.Split.ID, want, o, ok)
			}
			seen[b.Split.Partition]++
		}
	}
	for p, n := range seen {
		if n != 2500 {
			t.Fatalf("partition %d: %d records", p, n)
		}
	}
}
