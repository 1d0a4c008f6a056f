package microbatch

import (
	"fmt"

	"streamduel/connectors"
	"streamduel/pipeline"
)

// Way names how a job is exactly-once: what is written in one piece, and how a
// restart knows it (docs/microbatch.md).
type Way string

// The ways. They differ in what one transaction holds beside the rows.
const (
	// BatchTransaction holds the whole batch, its positions and its number.
	BatchTransaction Way = "batch-transaction"
	// OffsetRange holds a partition's rows and the range of offsets they are made
	// of. There may be no shuffle.
	OffsetRange Way = "offset-range"
	// OutputPartition holds an output partition's rows of a batch and (query,
	// batch, partition). The batch runs again as a whole; what is there is skipped.
	OutputPartition Way = "output-partition"
	// BatchID leaves it to the sink, which is told (query, batch, partition) and
	// must be idempotent by it, as foreachBatch is.
	BatchID Way = "batch-id"
)

var ways = []Way{BatchTransaction, OffsetRange, OutputPartition, BatchID}

// byPartition reports whether each task has a transaction of its own.
func (r *run) byPartition() bool { return r.way == OffsetRange || r.way == OutputPartition }

// borrowsWriters reports whether writers belong to a transaction, which outlives
// the tasks.
func (r *run) borrowsWriters() bool { return r.exactlyOnce && r.way != BatchID }

// checkWay refuses jobs for which the way would not be exactly-once.
func (r *run) checkWay() error {
	sinks := 0
	for _, f := range r.fragments {
		sinks += len(f.Sinks)
		for _, n := range f.Sinks {
			if err := r.checkSink(f, n); err != nil {
				return fmt.Errorf("exactlyOnce: %s: sink %q %w", r.way, n.Name, err)
			}
		}
	}
	if r.way == OffsetRange && sinks > 1 {
		return fmt.Errorf("exactlyOnce: %s: the job has %d sinks, and one that has a range could not be told from one that lacks it: take %s or %s", r.way, sinks, OutputPartition, BatchTransaction)
	}
	return nil
}

func (r *run) checkSink(f *pipeline.Fragment, n *pipeline.Node) error {
	switch r.way {
	case BatchID:
		if _, ok := n.Sink.(connectors.Idempotent); !ok {
			return fmt.Errorf("(%s) does not take batch ids: take %s, or a sink that is connectors.Idempotent", n.Sink.Describe().Kind, BatchTransaction)
		}
		return nil
	case OffsetRange, OutputPartition:
		if _, ok := n.Sink.(connectors.PartitionTransactor); !ok {
			return fmt.Errorf("(%s) has no transactions by partition: take %s, or a sink that is a connectors.PartitionTransactor", n.Sink.Describe().Kind, BatchTransaction)
		}
	}
	if r.way == OffsetRange {
		if len(f.In) > 0 {
			return fmt.Errorf("lies behind the shuffle from %q, where a row belongs to no range of offsets: take %s or %s", f.In[0].From.Name, OutputPartition, BatchTransaction)
		}
		if f.Stateful() {
			return fmt.Errorf("writes rows that depend on state (%s), which a range that is skipped would not reach: take %s", f.Name, BatchTransaction)
		}
	}
	if r.way == OutputPartition {
		if len(f.Sources) > 0 {
			return fmt.Errorf("has rows of source %q without a shuffle between, and a restart may give its splits to other tasks: take %s or %s", f.Sources[0].Name, OffsetRange, BatchTransaction)
		}
		for _, e := range f.In {
			switch p := e.Effective(r.job.Parallelism); p {
			case pipeline.Rebalance, pipeline.Rescale, pipeline.Shuffle:
				return fmt.Errorf("gets its rows from %q by %s, which may take other ways when the batch runs again: put a key before it or take %s", e.From.Name, p, BatchTransaction)
			}
		}
	}
	return nil
}

// pins are the query file's record of what a restart relies on.
func (r *run) pins() (Way, []querySink) {
	var sinks []querySink
	if r.byPartition() {
		for _, f := range r.fragments {
			for _, n := range f.Sinks {
				sinks = append(sinks, querySink{Node: n.UID, Partitions: f.Parallelism})
			}
		}
	}
	return r.way, sinks
}
