package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// Sink writes to one Kafka topic under any of the three guarantees.
type Sink struct{ cfg SinkConfig }

var (
	_ connectors.Sink                = (*Sink)(nil)
	_ connectors.Recoverer           = (*Sink)(nil)
	_ connectors.Transactor          = (*Sink)(nil)
	_ connectors.PartitionTransactor = (*Sink)(nil)
)

// NewSink checks the configuration and completes it with its defaults.
func NewSink(cfg SinkConfig) (*Sink, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	return &Sink{cfg: cfg}, nil
}

// Describe implements connectors.Sink.
func (s *Sink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "kafka", Guarantees: []connectors.Guarantee{
		connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce,
	}}
}

// Writer implements connectors.Sink.
func (s *Sink) Writer(ctx context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	if env.Guarantee == connectors.ExactlyOnce {
		return s.openTwoPhase(ctx, env)
	}
	cl, err := s.producer(ctx, env, "")
	if err != nil {
		return nil, err
	}
	return &writer{outlet: newOutlet(&s.cfg, env), cl: cl}, nil
}

// producer opens a client that produces, transactionally if it gets an id.
func (s *Sink) producer(ctx context.Context, env connectors.WriterEnv, txnID string, more ...kgo.Opt) (*kgo.Client, error) {
	c := &s.cfg
	compression, err := codec(c.Compression)
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(time.Duration(c.LingerMillis) * time.Millisecond),
		kgo.ProducerBatchMaxBytes(int32(c.BatchBytes)),
		kgo.ProducerBatchCompression(compression),
		kgo.MaxBufferedRecords(1 << 30), // outlet bounds them
		kgo.RecordPartitioner(partitioner(c.Partitioner, env.Subtask)),
	}
	opts = append(opts, more...)
	if txnID != "" {
		opts = append(opts, kgo.TransactionalID(txnID),
			kgo.TransactionTimeout(time.Duration(c.TransactionMillis)*time.Millisecond))
	}
	cl, err := openClient(ctx, c.Brokers, waits(env.Env, c.DeliveryMillis), fmt.Sprintf("streamduel-%s-%s-%d", env.Job, env.Node, env.Subtask), c.ClientOptions, opts...)
	if err != nil {
		return nil, err
	}
	if err := awaitTopic(ctx, cl, c.Topic); err != nil {
		cl.Close()
		return nil, fmt.Errorf("kafka sink %s: %w", env.Node, err)
	}
	return cl, nil
}

// awaitTopic is an error if the topic does not exist. A topic that was created
// a moment ago may not have reached every broker yet.
func awaitTopic(ctx context.Context, cl *kgo.Client, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer cancel()
	var bo backoff
	for {
		metas, err := requestMetadata(ctx, cl, []string{topic})
		if err != nil {
			return err
		}
		if m := metas[topic]; m != nil && len(m.leaders) == int(m.count) {
			return nil
		}
		if bo.wait(ctx) != nil {
			return fmt.Errorf("topic %s does not exist, or has a partition without leader", topic)
		}
	}
}

func partitioner(p Partitioner, subtask int) kgo.Partitioner {
	switch p {
	case ByOrigin:
		return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(r *kgo.Record, n int) int { return int(r.Partition) % n }
		})
	case BySubtask:
		return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(_ *kgo.Record, n int) int { return subtask % n }
		})
	case RoundRobin:
		return kgo.RoundRobinPartitioner()
	}
	return kgo.StickyKeyPartitioner(nil)
}

// writer is the sink's writer without transactions.
type writer struct {
	*outlet
	cl *kgo.Client
}

var _ connectors.Writer = (*writer)(nil)

// Write implements connectors.Writer.
func (w *writer) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	return w.write(ctx, w.cl, r, o)
}

// Flush implements connectors.Writer.
func (w *writer) Flush(ctx context.Context) error { return w.flush(ctx, w.cl) }

// InFlight implements connectors.Writer.
func (w *writer) InFlight() (records, bytes int64) { return w.inFlight() }

// Prepare implements connectors.Writer: without transactions it only flushes.
func (w *writer) Prepare(ctx context.Context) (connectors.Committable, error) {
	return nil, w.Flush(ctx)
}

// Commit implements connectors.Writer.
func (w *writer) Commit(context.Context, connectors.Committable) error { return nil }

// Release implements connectors.Writer.
func (w *writer) Release(connectors.Committable) {}

// Abort implements connectors.Writer: what was sent cannot be taken back.
func (w *writer) Abort(context.Context) error { return nil }

// Close implements connectors.Writer. What is not acknowledged is given up;
// call Flush before.
func (w *writer) Close() error {
	w.cl.Close()
	w.lane.Close()
	return nil
}
