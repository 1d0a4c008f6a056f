package kafka

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"streamduel/connectors"
)

// At a failpoint the gate is closed while writers are at work. After Drain the
// counts are final, and exactly what was acknowledged is in the topic.
func TestClosedGateDrainsToExactCounts(t *testing.T) {
	f := setup(t)
	topic := f.topic(2)
	gate := connectors.NewGate()
	env := f.job(connectors.AtLeastOnce)
	env.Gate = gate
	var acked sync.Map
	env.Acked = func(o connectors.Origin) {
		if _, twice := acked.LoadOrStore(o, true); twice {
			t.Errorf("%+v acknowledged twice", o)
		}
	}
	s := f.sink(SinkConfig{Topic: topic, LingerMillis: 3})
	ctx, cancel := context.WithCancel(f.ctx)
	var wg sync.WaitGroup
	started := make(chan struct{}, 2)
	for sub := range 2 {
		env.Subtask = sub
		w := f.writer(s, env)
		wg.Go(func() {
			for i := 0; ; i++ {
				o := connectors.Origin{Partition: int32(sub), Sequence: int64(i)}
				if w.Write(ctx, &connectors.Record{Value: fmt.Appendf(nil, "%d:%d", sub, i)}, &o) != nil {
					return
				}
				if i == 500 {
					started <- struct{}{}
				}
			}
		})
	}
	<-started
	<-started
	gate.Close()
	must(t, gate.Drain(f.ctx))
	written, ack, in := gate.Counts()
	if in != 0 || written != ack {
		t.Fatal(written, ack, in)
	}
	if n := len(f.visible(topic)); int64(n) != ack {
		t.Fatalf("%d records in the topic, %d acknowledged", n, ack)
	}
	var counted int64
	acked.Range(func(any, any) bool { counted++; return true })
	if counted != ack {
		t.Fatal(counted, ack)
	}
	cancel()
	wg.Wait()
	if w, a, in := gate.Counts(); w != written || a != ack || in != 0 {
		t.Fatal("counts moved after the drain", w, a, in)
	}
}

// What a broker refuses is a final error, and it settles the gate.
func TestRefusedRecordIsAFinalError(t *testing.T) {
	f := setup(t)
	topic := f.topic(1)
	gate := connectors.NewGate()
	env := f.job(connectors.AtLeastOnce)
	env.Gate = gate
	w := f.writer(f.sink(SinkConfig{Topic: topic}), env)
	must(t, w.Write(f.ctx, &connectors.Record{Value: make([]byte, 3<<20)}, nil)) // over max.message.bytes
	err := w.Flush(f.ctx)
	if err == nil || !strings.Contains(err.Error(), topic) {
		t.Fatal(err)
	}
	if again := w.Write(f.ctx, &connectors.Record{}, nil); again == nil || again.Error() != err.Error() {
		t.Fatal(again)
	}
	if wr, ac, in := gate.Counts(); wr != 1 || ac != 0 || in != 0 {
		t.Fatal(wr, ac, in)
	}
}

func TestMissingTopicIsRefusedAtOnce(t *testing.T) {
	f := setup(t)
	_, err := f.sink(SinkConfig{Topic: "no-such-topic"}).Writer(f.ctx, f.job(connectors.AtLeastOnce))
	if err == nil || !strings.Contains(err.Error(), "no-such-topic") {
		t.Fatal(err)
	}
}

// Reading and writing allocate for batches and requests, not for records.
func TestNoAllocationPerRecord(t *testing.T) {
	f := setup(t)
	in, out := f.topic(1), f.topic(1)
	const n = 20_000
	f.produce(in, 0, 0, n)
	r := f.reader(f.source(SourceConfig{Topics: []string{in}}))
	read := testing.AllocsPerRun(1, func() {
		must(t, r.Assign(assign(in, 0, 0, n)))
		for {
			if _, err := r.Poll(f.ctx); err == io.EOF {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
	env := f.job(connectors.AtLeastOnce)
	env.Acked = func(connectors.Origin) {}
	w := newOutlet(&SinkConfig{Topic: out, OriginHeader: true, BufferRecords: n, BufferBytes: 1 << 30}, env)
	rec := connectors.Record{Key: []byte("key"), Value: make([]byte, 100)}
	var o connectors.Origin
	write := testing.AllocsPerRun(3, func() { // without the client, whose own allocations are not ours
		batch := make([]*pooled, 0, n)
		for range n {
			p := w.get()
			w.fill(p, &rec, &o)
			batch = append(batch, p)
		}
		for _, p := range batch {
			w.settle(&p.rec, nil)
		}
	})
	if read > n/20 {
		t.Errorf("reading %d records: %.0f allocations", n, read)
	}
	if write > n/20 {
		t.Errorf("writing %d records: %.0f allocations", n, write)
	}
	t.Logf("%d records: %.0f allocations to read, %.0f to write", n, read, write)
}
