package microbatch

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"streamduel/connectors"
	"streamduel/connectors/kafka"
	"streamduel/pipeline"
)

// TestOutlastedTransaction is X3: a batch longer than its transaction may be open
// is run once more, then the job fails and says why; nothing of it shows.
func TestOutlastedTransaction(t *testing.T) {
	run := func(t *testing.T, freed time.Duration) (*bed, *process) {
		b := newBed(t, 2, connectors.ExactlyOnce)
		b.config.Interval = Duration(time.Second)
		b.config.Rate.MaxRecordsPerBatch = 100
		b.store.timeout = 4 * time.Second
		b.gate = connectors.NewGate()
		b.gate.Throttle(20) // 5 s a batch
		b.topic.fill(300, 7)
		p := b.start()
		if freed > 0 {
			<-time.After(freed)
			b.gate.Throttle(0)
		}
		return b, p
	}
	t.Run("for good", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, p := run(t, 0)
			err := p.Wait()
			p.cancel()
			if err == nil || !strings.Contains(err.Error(), "longer than its transaction timeout of 4s; the interval is 1s and the cap on a batch (rate.maxRecordsPerBatch) 100 records") || b.store.begun != 2 {
				t.Errorf("after %d attempts the job ended with %v", b.store.begun, err)
			}
			if n := len(b.store.rows()); n > 0 {
				t.Errorf("%d rows can be seen", n)
			}
			b.gate = nil // and it can go on
			p = b.start()
			p.drained()
			p.stopNow()
			b.expect(0, 0)
		})
	})
	t.Run("once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, p := run(t, 6*time.Second)
			p.drained()
			p.stopNow()
			b.expect(0, 0)
			if err := b.counts(); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestOutlastedInKafka: the same against a broker that aborts by itself.
func TestOutlastedInKafka(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "in"), kfake.SeedTopics(2, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	const records = 200
	produce(ctx, t, cluster.ListenAddrs(), records, 7, 2)
	b := newBed(t, 2, connectors.ExactlyOnce)
	b.gate = connectors.NewGate()
	b.gate.Throttle(100) // two seconds
	b.graph = func() *pipeline.Graph {
		in, err := kafka.NewSource(kafka.SourceConfig{Brokers: cluster.ListenAddrs(), Topics: []string{"in"}, FetchWaitMillis: 5})
		if err != nil {
			t.Fatal(err)
		}
		out, err := kafka.NewSink(kafka.SinkConfig{Brokers: cluster.ListenAddrs(), Topic: "out", TransactionMillis: 500})
		if err != nil {
			t.Fatal(err)
		}
		return countGraph(in, out)
	}
	p := b.start()
	err = p.Wait()
	p.cancel()
	if err == nil || !strings.Contains(err.Error(), "longer than its transaction timeout of 500ms") {
		t.Fatalf("the job ended with %v", err)
	}
	if rows := consume(ctx, t, cluster.ListenAddrs()); len(rows) > 0 {
		t.Errorf("%d rows can be seen", len(rows))
	}
	b.gate.Throttle(0)
	p = b.start()
	p.durable(records)
	p.stopNow()
	b.store.visible = consume(ctx, t, cluster.ListenAddrs())
	for i := range records {
		b.topic.add(i%2, int64(i%7))
	}
	b.expect(0, 0)
}
