package microbatch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
	"streamduel/connectors/kafka"
	"streamduel/pipeline"
)

// TestKafka runs the keyed count from Kafka to Kafka on an embedded broker and
// kills it at the points where the sink's transaction decides: the outcome is
// what a read_committed reader sees.
func TestKafka(t *testing.T) {
	const records, keys, partitions = 4000, 37, 3
	for _, c := range []struct {
		guarantee connectors.Guarantee
		point     string
		broken    bool
		way       Way
	}{
		{connectors.AtLeastOnce, "M3", false, ""}, {connectors.AtMostOnce, "M3", false, ""},
		{connectors.ExactlyOnce, "M1", false, BatchTransaction}, {connectors.ExactlyOnce, "M2", false, BatchTransaction},
		{connectors.ExactlyOnce, "T1", false, BatchTransaction}, {connectors.ExactlyOnce, "T2", false, BatchTransaction},
		{connectors.ExactlyOnce, "M3", false, BatchTransaction}, {connectors.ExactlyOnce, "M4", false, BatchTransaction},
		{connectors.ExactlyOnce, "M3", true, BatchTransaction},
		{connectors.ExactlyOnce, "M2", false, OutputPartition}, {connectors.ExactlyOnce, "T1", false, OutputPartition},
		{connectors.ExactlyOnce, "T2", false, OutputPartition}, {connectors.ExactlyOnce, "M3", false, OutputPartition},
		{connectors.ExactlyOnce, "M3", true, OutputPartition},
		{connectors.ExactlyOnce, "M2", false, OffsetRange}, {connectors.ExactlyOnce, "T2", false, OffsetRange}, {connectors.ExactlyOnce, "M3", false, OffsetRange},
	} {
		t.Run(fmt.Sprint(c.guarantee, c.way, "/", c.point, "/", c.broken), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "in"), kfake.SeedTopics(2, "out"), kfake.SleepOutOfOrder())
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			produce(ctx, t, cluster.ListenAddrs(), records, keys, partitions)

			b := newBed(t, partitions, c.guarantee)
			b.config.BreakExactlyOnce = c.broken
			if c.way != "" {
				b.config.ExactlyOnce = c.way
			}
			b.config.Rate.MaxRecordsPerBatch = 600
			b.graph = func() *pipeline.Graph {
				in, err := kafka.NewSource(kafka.SourceConfig{Brokers: cluster.ListenAddrs(), Topics: []string{"in"}, FetchWaitMillis: 5})
				if err != nil {
					t.Fatal(err)
				}
				out, err := kafka.NewSink(kafka.SinkConfig{Brokers: cluster.ListenAddrs(), Topic: "out"})
				if err != nil {
					t.Fatal(err)
				}
				if c.way == OffsetRange {
					return mapGraph(in, out)
				}
				return countGraph(in, out)
			}
			p := b.startArmed(c.point, 3)
			if err := p.Wait(); err == nil {
				t.Fatal("no crash")
			}
			p.cancel()
			told := <-p.crashed
			p = b.start()
			p.durable(records)
			p.stopNow()
			b.store.visible = consume(ctx, t, cluster.ListenAddrs())
			for i := range records { // so that verdict knows the inputs
				b.topic.add(i%partitions, int64(i%keys))
			}
			copies := 0
			if c.guarantee == connectors.AtLeastOnce || c.broken {
				copies = int(told.recovery.Records)
			}
			b.expect(copies, 0)
			if c.guarantee == connectors.AtLeastOnce && told.acked != told.recovery.Records {
				t.Errorf("the point announced %d copies of %d", told.acked, told.recovery.Records)
			}
			if copies == 0 && c.way != OffsetRange {
				if err := b.counts(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func produce(ctx context.Context, t *testing.T, brokers []string, n, keys, partitions int) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("in"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	next := make([]int64, partitions)
	rs := make([]*kgo.Record, n)
	for i := range rs {
		p := i % partitions
		rs[i] = &kgo.Record{Partition: int32(p), Value: event{int32(p), next[p], int64(i % keys), 0}.bytes()}
		next[p]++
	}
	if err := cl.ProduceSync(ctx, rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// consume reads the output to its end as a read_committed reader.
func consume(ctx context.Context, t testing.TB, brokers []string) (rows []row) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	stable, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, "out")
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{} // partitions to read, with their ends
	stable.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("the output does not reach %v", left)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			e, err := eventOf(r.Value)
			if err != nil {
				t.Error(err)
			}
			rows = append(rows, row{e.partition, e.sequence, e.key, e.time})
		})
	}
	return rows
}
