package dataflow

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/connectors/kafka"
	"streamduel/engines"
)

// TestExactlyOnceOverKafka runs the counting job from Kafka to Kafka, abandons
// it twice between a checkpoint and the next, and reads what a read_committed
// reader sees: each input once, each count of a key once.
func TestExactlyOnceOverKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SleepOutOfOrder())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const partitions, each, keys = 3, 4000, 41
	if _, err := kadm.NewClient(cl).CreateTopics(ctx, partitions, 1, nil, "in", "out"); err != nil {
		t.Fatal(err)
	}
	produce := func(from, until int64) {
		for p := range partitions {
			for s := from; s < until; s++ {
				r := input(p, s, keys)
				cl.Produce(ctx, &kgo.Record{Topic: "in", Partition: int32(p), Value: r.Value}, nil)
			}
		}
		if err := cl.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	source, err := kafka.NewSource(kafka.SourceConfig{Brokers: cluster.ListenAddrs(), Topics: []string{"in"}, BatchRecords: 100})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := kafka.NewSink(kafka.SinkConfig{Brokers: cluster.ListenAddrs(), Topic: "out"})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, connectors.ExactlyOnce, 2)
	w.job.Graph = counting(source, sink)

	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-ctx.Done():
				t.Fatalf("waited too long for: %s", what)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	for i := range int64(3) {
		run, abandon := context.WithCancel(ctx)
		r := w.start(run)
		from := i * each / 3
		produce(from, from+each/6)
		checkpoints := len(w.kinds("checkpointCompleted"))
		until("two checkpoints", func() bool { return len(w.kinds("checkpointCompleted")) >= checkpoints+2 })
		produce(from+each/6, from+each/3)
		if i == 2 {
			produce(2*each/3+each/3, each)
			until("a durable end of the input", func() bool {
				es := w.kinds("durable")
				for _, p := range es[len(es)-1].(engines.Durable).Positions {
					if p < each {
						return false
					}
				}
				return true
			})
			if err := r.Stop(ctx, engines.StopDrain); err != nil {
				t.Fatal(err)
			}
		}
		abandon()
		if err := r.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}

	reader, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for p := range partitions {
		w.b.grow("in", partitions)
		w.fillOne("in", p, each, keys)
	}
	for len(w.b.visible) < partitions*each {
		fs := reader.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("after %d records: %v", len(w.b.visible), err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			w.b.visible = append(w.b.visible, connectors.Record{Value: r.Value})
		})
	}
	expect(t, w.tally("in"), tally{})
	lso, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, "out")
	if err != nil {
		t.Fatal(err)
	}
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "out")
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if c, _ := lso.Lookup("out", o.Partition); c.Offset != o.Offset {
			t.Errorf("partition %d: last stable offset %d, high watermark %d: a transaction is open", o.Partition, c.Offset, o.Offset)
		}
	})
}
