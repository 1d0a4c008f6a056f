package dataflow

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/state"
)

// The job of most tests: a running count a key, one output an input that
// carries the input's id. So copies, losses and state are all visible.

type item struct {
	partition int32
	sequence  int64
	key       int64
	count     int64
}

var itemCodec = codec.Struct("item/1", func(dst []byte, v item) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(v.partition))
	for _, x := range []int64{v.sequence, v.key, v.count} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(x))
	}
	return dst
}, func(src []byte) (v item, n int, err error) {
	if len(src) < 28 {
		return v, 0, codec.ErrShort
	}
	v.partition = int32(binary.LittleEndian.Uint32(src))
	v.sequence = int64(binary.LittleEndian.Uint64(src[4:]))
	v.key = int64(binary.LittleEndian.Uint64(src[12:]))
	v.count = int64(binary.LittleEndian.Uint64(src[20:]))
	return v, 28, nil
}, nil)

// input makes the record of a sequence number; it carries partition and key.
func input(partition int, sequence int64, keys int64) connectors.Record {
	v := binary.LittleEndian.AppendUint32(nil, uint32(partition))
	v = binary.LittleEndian.AppendUint64(v, uint64((sequence*7+int64(partition))%keys))
	return connectors.Record{Value: v}
}

func decodeItem(r *connectors.Record) (item, error) {
	if len(r.Value) < 12 {
		return item{}, codec.ErrShort
	}
	return item{partition: int32(binary.LittleEndian.Uint32(r.Value)), sequence: r.Offset, key: int64(binary.LittleEndian.Uint64(r.Value[4:]))}, nil
}

// counting builds the job's graph.
func counting(src connectors.Source, sink connectors.Sink) *pipeline.Graph {
	g := pipeline.New("counting")
	in := pipeline.From(g, "in", src, decodeItem).Codec(itemCodec)
	pipeline.To(countBy(in), "out", sink, encodeItem)
	return g
}

// countingTwice is counting behind one more exchange.
func countingTwice(src connectors.Source, sink connectors.Sink) *pipeline.Graph {
	g := pipeline.New("two exchanges")
	in := pipeline.From(g, "in", src, decodeItem).Codec(itemCodec)
	again := pipeline.Map(in.Rebalance(), "again", func(v item) item { return v }).Codec(itemCodec)
	pipeline.To(countBy(again), "out", sink, encodeItem)
	return g
}

func countBy(in *pipeline.Stream[item]) *pipeline.Stream[item] {
	return pipeline.Process(pipeline.KeyBy(in, func(v item) int64 { return v.key }), "count", countFunction).Codec(itemCodec)
}

func countFunction(s *pipeline.Setup[int64]) pipeline.Function[int64, item, item] {
	counts := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
	seen, keys := s.Metrics().Counter("seen"), s.Metrics().Histogram("keys")
	return pipeline.Function[int64, item, item]{Element: func(v item, c *pipeline.KeyedCtx[int64], emit func(item)) {
		seen.Inc()
		keys.Update(v.key)
		n, _ := counts.Ref(c.Key())
		*n++
		v.count = *n
		emit(v)
	}}
}

func encodeItem(v item, r *connectors.Record) { r.Value = itemCodec.Append(r.Value, v) }

// world is a test's surroundings: a broker, a folder, and the events of all
// attempts.
type world struct {
	t      testing.TB
	b      *broker
	folder *state.Folder
	job    engines.Job
	cfg    *Config
	rt     engines.Runtime

	mu     sync.Mutex
	events []engines.Event
}

func newWorld(t testing.TB, g connectors.Guarantee, parallelism int) *world {
	f, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, b: newBroker(), folder: f}
	c := DefaultConfig()
	c.Checkpoint.Interval = Duration(100 * time.Millisecond)
	w.cfg = &c
	w.job = engines.Job{Name: "job", Parallelism: parallelism, Guarantee: g, Folder: f, Origins: true, Discovery: time.Second}
	w.rt = engines.Runtime{Acks: engines.NewAckLog(), Gate: connectors.NewGate(), Failpoints: &engines.Failpoints{}, Events: func(e engines.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
	return w
}

func (w *world) start(ctx context.Context) engines.Run {
	w.t.Helper()
	if w.job.Graph == nil {
		w.job.Graph = counting(topic{w.b, "in"}, output{w.b})
	}
	r, err := New().Start(ctx, w.job, w.cfg, w.rt)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// fill appends n records to each partition.
func (w *world) fill(topic string, n int, keys int64) {
	w.b.mu.Lock()
	partitions := len(w.b.input[topic])
	w.b.mu.Unlock()
	for p := range partitions {
		w.fillOne(topic, p, n, keys)
	}
}

func (w *world) fillOne(topic string, p, n int, keys int64) {
	w.b.mu.Lock()
	at := len(w.b.input[topic][p])
	w.b.mu.Unlock()
	var rs []connectors.Record
	for i := range n {
		rs = append(rs, input(p, int64(at+i), keys))
	}
	w.b.append(topic, p, rs...)
}

// tally is what the output looks like beside the input.
type tally struct {
	copies, losses int
	overcount      int // outputs whose running count is not the next of its key
}

func (w *world) tally(topic string) (t tally) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	seen := map[[2]int64]int{}
	counts := map[int64]map[int64]int{}
	for _, r := range w.b.visible {
		v, _, err := itemCodec.Decode(r.Value)
		if err != nil {
			w.t.Fatal(err)
		}
		seen[[2]int64{int64(v.partition), v.sequence}]++
		if counts[v.key] == nil {
			counts[v.key] = map[int64]int{}
		}
		counts[v.key][v.count]++
	}
	for p, rs := range w.b.input[topic] {
		for i := range rs {
			n := seen[[2]int64{int64(p), int64(i)}]
			delete(seen, [2]int64{int64(p), int64(i)})
			if n == 0 {
				t.losses++
			} else {
				t.copies += n - 1
			}
		}
	}
	if len(seen) > 0 {
		w.t.Errorf("%d outputs answer no input", len(seen))
	}
	for _, of := range counts {
		for i := range len(of) {
			if of[int64(i+1)] != 1 {
				t.overcount++
			}
		}
	}
	return t
}

func (w *world) kinds(kind string) (es []engines.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind() == kind {
			es = append(es, e)
		}
	}
	return es
}

func guarantees() []connectors.Guarantee {
	return []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce}
}

func expect(t testing.TB, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
