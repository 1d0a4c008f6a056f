package observer

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"streamduel/connectors"
	"streamduel/harness/ledger"
	"streamduel/workloads"
)

// exactly waits until both views have seen n rows and checks that they are the
// first n inputs, each once and in order.
func (r *rig) exactly(o *Observer, n int64) {
	r.t.Helper()
	r.await("all rows", func() bool {
		return o.Err() != nil || r.committed.Counts().Rows >= n && r.uncommitted.Counts().Rows >= n
	})
	if err := o.Close(); err != nil {
		r.t.Fatal(err)
	}
	for level, l := range map[Isolation]*ledger.Ledger{Committed: r.committed, Uncommitted: r.uncommitted} {
		if got := l.Finish(r.sent); got.Visible != n || got.Duplicates+got.Losses+got.Unexpected+got.Reordered != 0 {
			r.t.Errorf("%s: %+v", level, got)
		}
	}
}

// TestLeadersMove: rows stay in order and each is seen once, whoever leads.
func TestLeadersMove(t *testing.T) {
	const n = 600
	r := newRig(t, n, kfake.NumBrokers(3))
	o := r.observe()
	c := r.client()
	for i := int64(0); i < n; i++ {
		if i%20 == 0 {
			if err := r.cluster.MoveTopicPartition("out", int32(i/20%2), int32(i/40%3)); err != nil {
				t.Fatal(err)
			}
		}
		r.produce(c, r.row(i, 1))
	}
	r.exactly(o, n)
}

// door is a listener that can be shut: what came through it is cut off, and
// nobody gets in. From outside, that is a broker that restarts.
type door struct {
	net.Listener
	mu   sync.Mutex
	shut bool
	in   []net.Conn
}

func (d *door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		c.Close()
	}
	d.in = append(d.in, c)
	return c, nil
}

func (d *door) set(shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = shut
	for _, c := range d.in {
		c.Close()
	}
	d.in = nil
}

// TestBrokerRestarts: it is away for a moment again and again.
func TestBrokerRestarts(t *testing.T) {
	const n = 200
	var d *door
	r := newRig(t, n, kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		d = &door{Listener: l}
		return d, err
	}))
	o := r.observe()
	c := r.client()
	for i := int64(0); i < n; i++ {
		r.produce(c, r.row(i, 1))
		if i%50 == 20 {
			d.set(true)
			failed := o.views[0].nodes[r.cluster.LeaderFor("out", 0)]
			r.await("a try in vain", func() bool { return failed.tries.Load() > 0 })
			d.set(false)
		}
	}
	r.exactly(o, n)
}

// TestBrokersComeAndGo: partitions move to brokers that were not there before.
func TestBrokersComeAndGo(t *testing.T) {
	const n = 200
	r := newRig(t, n, kfake.NumBrokers(2))
	o := r.observe()
	c := r.client()
	for i := int64(0); i < n; i++ {
		if i%100 == 10 {
			if err := r.cluster.RemoveNode(int32(i / 100)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.cluster.AddNode(-1, 0); err != nil {
				t.Fatal(err)
			}
		}
		r.produce(c, r.row(i, 1))
	}
	r.exactly(o, n)
}

// fetches answers fetches as f says while it says so.
func (r *rig) fetches(f func(*kmsg.FetchRequest) (kmsg.Response, error, bool)) {
	r.cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		return f(req.(*kmsg.FetchRequest))
	})
}

// TestConnectionsBreak: every seventh fetch is answered by hanging up.
func TestConnectionsBreak(t *testing.T) {
	const n = 300
	r := newRig(t, n)
	var asked atomic.Int64
	r.fetches(func(*kmsg.FetchRequest) (kmsg.Response, error, bool) {
		if asked.Add(1)%7 == 0 {
			return nil, errors.New("hang up"), true
		}
		return nil, nil, false
	})
	o := r.observe()
	c := r.client()
	for i := int64(0); i < n; i++ {
		r.produce(c, r.row(i, 1))
	}
	r.exactly(o, n)
}

// TestPassingErrors are got over without a word.
func TestPassingErrors(t *testing.T) {
	const n = 200
	r := newRig(t, n)
	fetch := []kmsg.Key{kmsg.Fetch}
	for _, e := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.UnknownTopicOrPartition,
		kerr.UnknownTopicID, kerr.OffsetNotAvailable, kerr.ReplicaNotAvailable, kerr.KafkaStorageError} {
		r.cluster.Fault(kfake.Fault{Keys: fetch, Topic: "out", Err: e, Count: 3})
	}
	o := r.observe()
	c := r.client()
	for i := int64(0); i < n; i++ {
		r.produce(c, r.row(i, 1))
	}
	r.exactly(o, n)
}

// TestLastingErrors end the observation, and say where.
func TestLastingErrors(t *testing.T) {
	for want, change := range map[string]func(*kmsg.FetchResponseTopicPartition){
		"deleted before": func(p *kmsg.FetchResponseTopicPartition) { p.ErrorCode = kerr.OffsetOutOfRange.Code },
		"TOPIC_AUTH":     func(p *kmsg.FetchResponseTopicPartition) { p.ErrorCode = kerr.TopicAuthorizationFailed.Code },
		"lost what was":  func(p *kmsg.FetchResponseTopicPartition) { p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = 1, 7 },
		"checksum": func(p *kmsg.FetchResponseTopicPartition) {
			p.RecordBatches = make([]byte, 61)
			binary.BigEndian.PutUint32(p.RecordBatches[8:], 49)
			p.RecordBatches[16] = 2
		},
		"only format 2": func(p *kmsg.FetchResponseTopicPartition) {
			p.RecordBatches = make([]byte, 61)
			binary.BigEndian.PutUint32(p.RecordBatches[8:], 49)
		},
	} {
		t.Run(want, func(t *testing.T) {
			r := newRig(t, 10)
			r.fetches(func(req *kmsg.FetchRequest) (kmsg.Response, error, bool) {
				resp := req.ResponseKind().(*kmsg.FetchResponse)
				for _, rt := range req.Topics {
					st := kmsg.NewFetchResponseTopic()
					st.Topic, st.TopicID = rt.Topic, rt.TopicID
					for _, rp := range rt.Partitions {
						sp := kmsg.NewFetchResponseTopicPartition()
						sp.Partition = rp.Partition
						change(&sp)
						st.Partitions = append(st.Partitions, sp)
					}
					resp.Topics = append(resp.Topics, st)
				}
				return resp, nil, true
			})
			o := r.observe()
			r.await("the error", func() bool { return o.Err() != nil })
			err := o.Close()
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "offset 0") &&
				!strings.Contains(err.Error(), "offset 1") || !strings.Contains(err.Error(), "read_") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestTopicMadeAnew(t *testing.T) {
	r := newRig(t, 10)
	o := r.observe()
	r.produce(r.client(), r.row(0, 1))
	r.await("the row", func() bool { return r.committed.Counts().Rows == 1 })
	if err := errors.Join(r.cluster.DeleteTopic("out"), r.cluster.CreateTopic("out", 2, nil)); err != nil {
		t.Fatal(err)
	}
	r.await("the error", func() bool { return o.Err() != nil })
	if err := o.Close(); err == nil || !strings.Contains(err.Error(), "created again") {
		t.Errorf("error %v", err)
	}
}

// TestOlderBrokers name topics by name, or answer without flexible headers.
func TestOlderBrokers(t *testing.T) {
	for _, v := range []*kversion.Versions{kversion.V2_4_0(), kversion.V2_8_0()} {
		const n = 50
		r := newRig(t, n, kfake.MaxVersions(v))
		o := r.observe()
		c := r.client()
		for i := int64(0); i < n; i++ {
			r.produce(c, r.row(i, 1))
		}
		r.exactly(o, n)
	}
}

// TestTooOldBroker has no transactions.
func TestTooOldBroker(t *testing.T) {
	r := newRig(t, 10)
	r.cluster.ControlKey(int16(kmsg.ApiVersions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if req.GetVersion() != 0 { // the client's
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 1, MaxVersion: 3}}
		return resp, nil, true
	})
	o := r.observe()
	r.await("the error", func() bool { return o.Err() != nil })
	if err := o.Close(); !errors.Is(err, errVersions) || !strings.Contains(err.Error(), "0 to 3") {
		t.Errorf("error %v", err)
	}
}

// TestCompressedRows: what a workload's parser gets is the record,
// however it was written.
func TestCompressedRows(t *testing.T) {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	n := int64(200 * len(codecs))
	r := newRig(t, n)
	const created = 1_600_000_000_000
	var wrong atomic.Int64
	o, err := Start(t.Context(), Config{Brokers: r.cluster.ListenAddrs(), Output: "out", Committed: r.committed, Uncommitted: r.uncommitted,
		Parse: func(rec *connectors.Record, late bool, row *workloads.Row) error {
			if rec.Timestamp != created || len(rec.Headers) != 2 || rec.Headers[0].Key != "a" || string(rec.Headers[0].Value) != "x" || rec.Headers[1].Value != nil {
				wrong.Add(1)
			}
			return parseRow(rec, late, row)
		}})
	if err != nil {
		t.Fatal(err)
	}
	for k, codec := range codecs {
		c := r.client(kgo.ProducerBatchCompression(codec))
		var rows []*kgo.Record
		for i := n / int64(len(codecs)) * int64(k); i < n/int64(len(codecs))*int64(k+1); i++ {
			row := r.row(i, 1)
			row.Timestamp = time.UnixMilli(created)
			row.Headers = []kgo.RecordHeader{{Key: "a", Value: []byte("x")}, {Key: "b"}}
			rows = append(rows, row)
		}
		r.produce(c, rows...)
	}
	r.exactly(o, n)
	if wrong.Load() != 0 {
		t.Errorf("%d records came out differently", wrong.Load())
	}
}

// TestLargeRowsTakeTurns: a batch beyond the bounds of a fetch comes all the
// same, and does not starve the other partition.
func TestLargeRowsTakeTurns(t *testing.T) {
	const n = 40
	r := newRig(t, n)
	c := r.client(kgo.ProducerBatchMaxBytes(1_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for i := int64(0); i < n; i++ {
		row := r.row(i, 1)
		row.Headers = []kgo.RecordHeader{{Key: "padding", Value: slices.Repeat([]byte{'x'}, 600_000)}}
		r.produce(c, row)
	}
	r.exactly(r.observe(), n)
}
