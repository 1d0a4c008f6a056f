package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
)

// transactions writes values in transactions of one record each and ends them
// by turns with commit and abort. A committed one takes two offsets, an aborted
// one too.
func (f *fixture) transactions(topic string, n int) {
	f.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.TransactionalID("t-"+topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(1e7))
	must(f.t, err)
	defer cl.Close()
	for i := range n {
		must(f.t, cl.BeginTransaction())
		must(f.t, cl.ProduceSync(f.ctx, &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)}).FirstErr())
		if i%2 == 0 {
			must(f.t, commitTransaction(f.ctx, cl, topic))
		} else {
			must(f.t, cl.EndTransaction(f.ctx, kgo.TryAbort))
		}
	}
}

func TestPositionsPassMarkersAndAbortedRecords(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.transactions(topic, 8)
	f.settled(topic)
	src := f.source(SourceConfig{Topics: []string{topic}})
	r := f.reader(src)
	id := splitID(topic, 0)
	const end = 16
	e := f.enumerator(src)
	bounds, err := e.Bounds(f.ctx, []connectors.SplitID{id})
	must(t, err)
	if bounds[id] != (connectors.Bounds{Latest: end}) {
		t.Fatal(bounds)
	}
	// Every cut into two ranges gives the same records, each once, and each
	// range ends exactly at its end, be that a marker or an aborted record.
	for cut := connectors.Position(0); cut <= end; cut++ {
		var got []string
		for _, a := range []connectors.Assignment{assign(topic, 0, 0, cut), assign(topic, 0, cut, end)} {
			must(t, r.Assign(a))
			values, next := f.drain(r)
			if next[id] != a.Until {
				t.Fatalf("range %d–%d ended at %d", a.From, a.Until, next[id])
			}
			got = append(got, values[id]...)
		}
		if want := []string{"0", "2", "4", "6"}; !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %v", cut, got)
		}
	}
	r = f.reader(f.source(SourceConfig{Topics: []string{topic}, Isolation: ReadUncommitted}))
	must(t, r.Assign(assign(topic, 0, 0, end)))
	values, next := f.drain(r)
	if want := []string{"0", "1", "2", "3", "4", "5", "6", "7"}; !slices.Equal(values[id], want) || next[id] != end {
		t.Fatal(values, next)
	}
}

func TestReadCommittedStopsAtAnOpenTransaction(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.produce(topic, 0, 0, 3)
	s := f.sink(SinkConfig{Topic: topic})
	w := f.writer(s, f.job(connectors.ExactlyOnce))
	f.write(w, "open")
	must(t, w.Flush(f.ctx))
	f.produce(topic, 0, 3, 2)
	id := splitID(topic, 0)
	for iso, latest := range map[Isolation]connectors.Position{ReadCommitted: 3, ReadUncommitted: 6} {
		e := f.enumerator(f.source(SourceConfig{Topics: []string{topic}, Isolation: iso}))
		b, err := e.Bounds(f.ctx, []connectors.SplitID{id})
		must(t, err)
		if b[id].Latest != latest {
			t.Fatal(iso, b)
		}
	}
	r := f.reader(f.source(SourceConfig{Topics: []string{topic}}))
	must(t, r.Assign(assign(topic, 0, 0, connectors.NoEnd)))
	b, err := r.Poll(f.ctx)
	must(t, err)
	if len(b.Records) != 3 || b.Next != 3 || b.Latest != 3 {
		t.Fatal(len(b.Records), b.Next, b.Latest)
	}
	must(t, w.Abort(f.ctx))
	for seen := 3; seen < 5; {
		b, err := r.Poll(f.ctx)
		must(t, err)
		for _, rec := range b.Records {
			if want := fmt.Sprint("0:", seen); string(rec.Value) != want {
				t.Fatalf("%q, want %q", rec.Value, want)
			}
			seen++
		}
	}
}

// ranged counts fetches: what was fetched beyond a range's end is kept.
func TestNextRangeIsReadFromWhatWasFetched(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.produce(topic, 0, 0, 100)
	fetches := new(fetchCounter)
	r := f.reader(f.source(SourceConfig{Topics: []string{topic}, ClientOptions: []kgo.Opt{kgo.WithHooks(fetches)}}))
	for from := connectors.Position(0); from < 100; from += 10 {
		must(t, r.Assign(assign(topic, 0, from, from+10)))
		if v, _ := f.drain(r); len(v[splitID(topic, 0)]) != 10 {
			t.Fatal(from, v)
		}
		r.Unassign(splitID(topic, 0)) // as a task does between batches
	}
	if n := fetches.Load(); n != 1 {
		t.Fatalf("%d fetches for one chunk of records", n)
	}
	// Another position is another fetch.
	must(t, r.Assign(assign(topic, 0, 42, 43)))
	if v, _ := f.drain(r); !slices.Equal(v[splitID(topic, 0)], []string{"0:42"}) {
		t.Fatal(v)
	}
	if n := fetches.Load(); n != 2 {
		t.Fatalf("%d fetches", n)
	}
}

type fetchCounter struct{ atomic.Int64 }

func (c *fetchCounter) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == kmsg.Fetch.Int16() {
		c.Add(1)
	}
}

func TestEmptyRangeIsReportedDone(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.produce(topic, 0, 0, 1)
	r := f.reader(f.source(SourceConfig{Topics: []string{topic}}))
	must(t, r.Assign(assign(topic, 0, 1, 1)))
	b, err := r.Poll(f.ctx)
	if err != nil || !b.Done || len(b.Records) != 0 || b.Next != 1 || b.Split.ID != splitID(topic, 0) {
		t.Fatal(b, err)
	}
	if _, err := r.Poll(f.ctx); err != io.EOF {
		t.Fatal(err)
	}
}

func TestWakeAndContextEndAWaitingPoll(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	r := f.reader(f.source(SourceConfig{Topics: []string{topic}}))
	must(t, r.Assign(assign(topic, 0, 0, connectors.NoEnd)))
	go r.Wake()
	b, err := r.Poll(f.ctx)
	if err != nil || b.Split.ID != "" || len(b.Records) != 0 {
		t.Fatal(b, err)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	go cancel()
	if _, err := r.Poll(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// A reader without splits waits, too.
	r.Unassign(splitID(topic, 0))
	go r.Wake()
	if b, err = r.Poll(f.ctx); err != nil || b.Split.ID != "" {
		t.Fatal(b, err)
	}
}

func TestPartitionGrowth(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.produce(topic, 0, 0, 5)
	src := f.source(SourceConfig{Topics: []string{topic}, Start: connectors.StartLatest})
	e, r := f.enumerator(src), f.reader(src)
	splits, err := e.Discover(f.ctx)
	must(t, err)
	start, err := e.Start(f.ctx, ids(splits), true)
	must(t, err)
	if len(splits) != 1 || start[splits[0].ID] != 5 {
		t.Fatal(splits, start)
	}
	must(t, r.Assign(assign(topic, 0, 5, connectors.NoEnd)))
	_, err = f.adm.CreatePartitions(f.ctx, 2, topic)
	must(t, err)
	for len(splits) < 3 { // every Discover asks brokers anew; a real one needs a moment
		splits, err = e.Discover(f.ctx)
		must(t, err)
	}
	grown, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	defer grown.Close()
	for p := int32(1); p < 3; p++ { // written before the reader hears of them
		must(t, grown.ProduceSync(f.ctx, &kgo.Record{Topic: topic, Partition: p, Value: fmt.Append(nil, "new ", p)}).FirstErr())
	}
	resetting := f.enumerator(f.source(SourceConfig{Topics: []string{topic}, Reset: connectors.StartLatest}))
	start, err = resetting.Start(f.ctx, ids(splits[1:]), false)
	must(t, err)
	if start[splits[1].ID] != 1 {
		t.Fatalf("with reset latest a new partition starts at %d, behind its only record is 1", start[splits[1].ID])
	}
	start, err = e.Start(f.ctx, ids(splits[1:]), false)
	must(t, err)
	for _, s := range splits[1:] {
		if start[s.ID] != 0 {
			t.Fatalf("%s starts at %d: what was written before discovery would be lost", s.ID, start[s.ID])
		}
		must(t, r.Assign(connectors.Assignment{Split: s, From: start[s.ID], Until: connectors.NoEnd}))
	}
	var got []string
	for len(got) < 2 {
		b, err := r.Poll(f.ctx)
		must(t, err)
		for i := range b.Records {
			got = append(got, string(b.Records[i].Value))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"new 1", "new 2"}) {
		t.Fatal(got)
	}
}

func ids(splits []connectors.Split) []connectors.SplitID {
	out := make([]connectors.SplitID, len(splits))
	for i, s := range splits {
		out[i] = s.ID
	}
	return out
}

func TestPatternFindsNewTopics(t *testing.T) {
	f := setup(t)
	first := f.topic(2)
	e := f.enumerator(f.source(SourceConfig{Pattern: first + ".*"}))
	count := func(want int) {
		t.Helper()
		for { // a real broker needs a moment to hear of a new topic
			splits, err := e.Discover(f.ctx)
			must(t, err)
			if len(splits) == want {
				if !slices.IsSortedFunc(splits, func(a, b connectors.Split) int { return strings.Compare(string(a.ID), string(b.ID)) }) {
					t.Fatal(splits)
				}
				return
			}
			if len(splits) > want || f.ctx.Err() != nil {
				t.Fatal(splits)
			}
		}
	}
	count(2)
	_, err := f.adm.CreateTopics(f.ctx, 3, 1, nil, first+"b", "x"+first)
	must(t, err)
	count(5)
}

func TestStartAtCommittedPositions(t *testing.T) {
	f := setup(t)
	topic := f.topic(3)
	for p := range int32(3) {
		f.produce(topic, p, 0, 9)
	}
	src := f.source(SourceConfig{Topics: []string{topic}, Start: connectors.StartCommitted, Group: topic})
	e := f.enumerator(src)
	all := []connectors.SplitID{splitID(topic, 0), splitID(topic, 1), splitID(topic, 2)}
	c, err := e.Committed(f.ctx, all)
	if err != nil || len(c) != 0 {
		t.Fatal(c, err)
	}
	must(t, e.Commit(f.ctx, map[connectors.SplitID]connectors.Position{all[0]: 4}))
	must(t, e.Commit(f.ctx, map[connectors.SplitID]connectors.Position{all[0]: 7, all[1]: 2}))
	e = f.enumerator(src)
	c, err = e.Committed(f.ctx, all)
	if err != nil || len(c) != 2 || c[all[0]] != 7 || c[all[1]] != 2 {
		t.Fatal(c, err)
	}
	s, err := e.Start(f.ctx, all, true)
	if err != nil || s[all[0]] != 7 || s[all[1]] != 2 || s[all[2]] != 0 {
		t.Fatal(s, err)
	}
}

func TestDeletedRecordsAreAnErrorNotAReset(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.produce(topic, 0, 0, 10)
	off := make(kadm.Offsets)
	off.Add(kadm.Offset{Topic: topic, Partition: 0, At: 6})
	_, err := f.adm.DeleteRecords(f.ctx, off)
	must(t, err)
	for _, at := range []connectors.Position{2, 99} {
		r := f.reader(f.source(SourceConfig{Topics: []string{topic}}))
		must(t, r.Assign(assign(topic, 0, at, connectors.NoEnd)))
		_, err := r.Poll(f.ctx)
		if err == nil {
			t.Fatalf("reading from %d succeeded", at)
		}
		for _, part := range []string{topic, "partition 0", fmt.Sprintf("position %d", at), "6 to 10"} {
			if !strings.Contains(err.Error(), part) {
				t.Fatalf("%v: does not say %q", err, part)
			}
		}
		if _, again := r.Poll(f.ctx); again == nil || again.Error() != err.Error() {
			t.Fatal(again)
		}
	}
}

func TestDeletedTopicIsAnError(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.produce(topic, 0, 0, 10)
	src := f.source(SourceConfig{Topics: []string{topic}, PatienceMillis: 200})
	r, e := f.reader(src), f.enumerator(src)
	must(t, r.Assign(assign(topic, 0, 0, connectors.NoEnd)))
	_, err := r.Poll(f.ctx)
	must(t, err)
	_, err = f.adm.DeleteTopics(f.ctx, topic)
	must(t, err)
	for err == nil {
		_, err = r.Poll(f.ctx)
	}
	if !strings.Contains(err.Error(), topic) || !strings.Contains(err.Error(), "position 10") {
		t.Fatal(err)
	}
	if _, err := e.Bounds(f.ctx, []connectors.SplitID{splitID(topic, 0)}); err == nil || !strings.Contains(err.Error(), topic) {
		t.Fatal(err)
	}
}

// TestATopicMadeAnewIsRefused: whoever was assigned the one before is told, also a
// reader that has never seen it; with the new one's splits it is read.
func TestATopicMadeAnewIsRefused(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	f.produce(topic, 0, 0, 10)
	src := f.source(SourceConfig{Topics: []string{topic}})
	r, e := f.reader(src), f.enumerator(src)
	old, err := e.Discover(f.ctx)
	must(t, err)
	from := func(r connectors.Reader, sp connectors.Split, at connectors.Position) error {
		must(t, r.Assign(connectors.Assignment{Split: sp, From: at, Until: at + 5}))
		b, err := r.Poll(f.ctx)
		if err == nil && (!b.Done || b.Split != sp) {
			t.Errorf("read %+v", b)
		}
		return err
	}
	must(t, from(r, old[0], 0))
	_, err = f.adm.DeleteTopics(f.ctx, topic)
	must(t, err)
	_, err = f.adm.CreateTopic(f.ctx, 1, 1, nil, topic)
	must(t, err)
	// The fixture's client goes on with the id that it knows.
	f.cl, err = kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	t.Cleanup(f.cl.Close)
	f.produce(topic, 0, 100, 20)
	now, err := e.Discover(f.ctx)
	must(t, err)
	if len(now) != 1 || now[0].ID != old[0].ID || now[0].Incarnation == old[0].Incarnation || now[0].Incarnation == "" {
		t.Fatalf("%+v, then %+v", old, now)
	}
	if err := from(f.reader(src), old[0], 5); err == nil || !strings.Contains(err.Error(), "position 5: the topic was deleted and created again") {
		t.Error(err)
	}
	fresh := f.reader(src)
	must(t, from(fresh, now[0], 5))
	must(t, r.Assign(connectors.Assignment{Split: now[0], From: 0, Until: 5})) // one that has read the old one
	values, _ := f.drain(r)
	if got := values[now[0].ID]; !slices.Equal(got, []string{"0:100", "0:101", "0:102", "0:103", "0:104"}) {
		t.Errorf("read %v", got)
	}
}

func TestCompressedAndKeyedRecords(t *testing.T) {
	f := setup(t)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := f.topic(1)
		w := f.writer(f.sink(SinkConfig{Topic: topic, Compression: codec}), f.job(connectors.AtLeastOnce))
		in := []connectors.Record{
			{Key: []byte("k"), Value: []byte(strings.Repeat("v", 500)), Timestamp: 1_700_000_000_123},
			{Key: nil, Value: nil, Timestamp: 1_700_000_000_456},
			{Key: []byte{}, Value: []byte{}, Headers: []connectors.Header{{Key: "a", Value: nil}, {Key: "b", Value: []byte{}}}, Timestamp: 1},
		}
		for i := range in {
			must(t, w.Write(f.ctx, &in[i], nil))
		}
		must(t, w.Flush(f.ctx))
		r := f.reader(f.source(SourceConfig{Topics: []string{topic}}))
		must(t, r.Assign(assign(topic, 0, 0, 3)))
		var n int
		for {
			b, err := r.Poll(f.ctx)
			if err == io.EOF {
				break
			}
			must(t, err)
			for _, got := range b.Records {
				want := in[n]
				want.Offset = int64(n)
				if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
					t.Fatalf("%s: got %#v\nwant %#v", codec, got, want)
				}
				n++
			}
		}
		if n != 3 {
			t.Fatal(codec, n)
		}
	}
}

// Bytes that a batch showed must stay as they are for ever.
func TestRecordBytesAreNeverOverwritten(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	r := f.reader(f.source(SourceConfig{Topics: []string{topic}, BatchRecords: 7}))
	f.produce(topic, 0, 0, 500)
	must(t, r.Assign(assign(topic, 0, 0, 500)))
	var kept [][]byte
	for {
		b, err := r.Poll(f.ctx)
		if err == io.EOF {
			break
		}
		must(t, err)
		if len(b.Records) > 7 {
			t.Fatal(len(b.Records))
		}
		for i := range b.Records {
			kept = append(kept, b.Records[i].Value)
		}
	}
	for i, v := range kept {
		if string(v) != fmt.Sprint("0:", i) {
			t.Fatalf("record %d is now %q", i, v)
		}
	}
}

func TestUnreachableBroker(t *testing.T) {
	src, err := NewSource(SourceConfig{Brokers: []string{"127.0.0.1:1"}, Topics: []string{"t"}})
	must(t, err)
	if _, err := src.Reader(t.Context(), connectors.Env{}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Fatal(err)
	}
}

func TestBadConfigurations(t *testing.T) {
	b := []string{"x:1"}
	for want, cfg := range map[string]SourceConfig{
		"no brokers":   {Topics: []string{"t"}},
		"exactly one":  {Brokers: b, Topics: []string{"t"}, Pattern: "u"},
		"pattern":      {Brokers: b, Pattern: "("},
		"start":        {Brokers: b, Topics: b, Start: "middle"},
		"isolation":    {Brokers: b, Topics: b, Isolation: "none"},
		"batchRecords": {Brokers: b, Topics: b, BatchRecords: -1},
		"partitionBytes is 4294967296: must be at most 2147483647": {Brokers: b, Topics: b, PartitionBytes: 1 << 32},
	} {
		if _, err := NewSource(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for want, cfg := range map[string]SinkConfig{
		"no brokers":  {Topic: "t"},
		"no topic":    {Brokers: b},
		"partitioner": {Brokers: b, Topic: "t", Partitioner: "x"},
		"compression": {Brokers: b, Topic: "t", Compression: "rar"},
		"linger":      {Brokers: b, Topic: "t", LingerMillis: -1},
		"batchBytes":  {Brokers: b, Topic: "t", BatchBytes: -1},
		"transactionMillis is 4294967296: must be at most 2147483647": {Brokers: b, Topic: "t", TransactionMillis: 1 << 32},
	} {
		if _, err := NewSink(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
