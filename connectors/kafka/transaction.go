package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
)

// transaction is the sink under the micro-batch engine: one transactional
// client, whose transactions hold a batch's output and its positions.
type transaction struct {
	sink  *Sink
	env   connectors.WriterEnv
	id    string
	group string
	cl    *kgo.Client
	two   bool // transaction.version 2
	metas map[string]*topicMeta
	// mark is the split of the sink's own topic at whose committed position the
	// metadata is kept beside the positions: there may be none, and when a topic that
	// was read is deleted the broker forgets those of it.
	mark connectors.SplitID

	mu      sync.Mutex
	writers map[int]*taskWriter

	serial    int64 // of the newest positions, see stamp
	produced  bool  // by the batch that was prepared
	positions map[connectors.SplitID]connectors.Position
	metadata  string
	marked    connectors.SplitID // the mark, where it is among the positions
}

var _ connectors.Transaction = (*transaction)(nil)

// Transaction implements connectors.Transactor.
func (s *Sink) Transaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	return s.openTransaction(ctx, &transaction{id: txnPrefix(env.Env) + "batch", group: s.group(env), env: env, mark: splitID(s.cfg.Topic, 0)})
}

// group is where positions and metadata of a job's transactions are kept.
func (s *Sink) group(env connectors.WriterEnv) string {
	if s.cfg.Group != "" {
		return s.cfg.Group
	}
	return "streamduel-" + env.Job
}

// PartitionTransaction implements connectors.PartitionTransactor: a transactional
// id and a group for each output partition.
func (s *Sink) PartitionTransaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	return s.openTransaction(ctx, &transaction{
		id: fmt.Sprintf("%spart-%d", txnPrefix(env.Env), env.Subtask), group: fmt.Sprintf("%s-%s-%d", s.group(env), env.Node, env.Subtask),
		env: env, mark: splitID(s.cfg.Topic, 0),
	})
}

func (s *Sink) openTransaction(ctx context.Context, t *transaction) (*transaction, error) {
	env := t.env
	t.sink, t.metas, t.writers = s, make(map[string]*topicMeta), make(map[int]*taskWriter)
	// The order matters: the id is initialized first, and only then are the
	// committed positions read, stable ones.
	cl, err := s.pinned(ctx, func(opts ...kgo.Opt) (*kgo.Client, error) {
		return s.transactional(ctx, env, t.id, opts...)
	})
	if err != nil {
		return nil, err
	}
	t.cl = cl
	if t.two, err = epochPerTransaction(ctx, cl); err == nil {
		_, _, _, err = t.Committed(ctx)
	}
	if err != nil {
		cl.Close()
		return nil, err
	}
	return t, nil
}

// stamp numbers the metadata. Partitions that a later batch does not name keep
// what an earlier one said, so the newest has to be told from the rest.
func stamp(serial int64, metadata string) string {
	return "sd1:" + strconv.FormatInt(serial, 10) + ":" + metadata
}

// markPrefix tells a mark's metadata from that of a position. Sinks of one job may
// share a group: the mark of another one says nothing of this one.
const markPrefix = "mark:"

// stampAt is the metadata that goes with a split's position.
func (t *transaction) stampAt(id connectors.SplitID) string {
	if id == t.marked {
		return markPrefix + t.metadata
	}
	return t.metadata
}

func unstamp(s string) (serial int64, metadata string) {
	rest, ok := strings.CutPrefix(s, "sd1:")
	n, m, ok2 := strings.Cut(rest, ":")
	serial, err := strconv.ParseInt(n, 10, 64)
	if !ok || !ok2 || err != nil || serial < 0 {
		return 0, s
	}
	return serial, m
}

// Committed implements connectors.Transaction.
func (t *transaction) Committed(ctx context.Context) (map[connectors.SplitID]connectors.Position, string, bool, error) {
	if err := t.waitEnded(ctx); err != nil {
		return nil, "", false, fmt.Errorf("kafka sink %s: %w", t.env.Node, err)
	}
	positions, stamps, err := fetchOffsets(ctx, t.cl, t.group, true)
	if err != nil {
		return nil, "", false, err
	}
	newest, metadata, ok := int64(-1), "", false
	for id, s := range stamps {
		s, mark := strings.CutPrefix(s, markPrefix)
		if mark {
			delete(positions, id)
			if id != t.mark {
				continue
			}
		}
		ok = true
		// Where several sinks share the positions, their newest may be another's.
		if n, m := unstamp(s); n > newest || n == newest && mark {
			newest, metadata = n, m
		}
	}
	t.serial = max(t.serial, newest)
	return positions, metadata, ok || len(positions) > 0, nil
}

// Begin implements connectors.Transaction.
func (t *transaction) Begin(context.Context) error {
	if err := t.cl.BeginTransaction(); err != nil {
		return fmt.Errorf("kafka sink %s: begin under id %s: %w", t.env.Node, t.id, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.writers {
		w.base = w.written.Load()
	}
	return nil
}

// Writer implements connectors.Transaction.
func (t *transaction) Writer(subtask int) connectors.Writer {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.writers[subtask]
	if w == nil {
		w = &taskWriter{writer: writer{outlet: newOutlet(&t.sink.cfg, t.env), cl: t.cl}}
		t.writers[subtask] = w
	}
	return w
}

// taskWriter is one task's way into the transaction.
type taskWriter struct {
	writer
	base int64 // records written before this transaction
}

// Close implements connectors.Writer. The client belongs to the transaction.
func (w *taskWriter) Close() error { return nil }

// Prepare implements connectors.Transaction.
func (t *transaction) Prepare(ctx context.Context, positions map[connectors.SplitID]connectors.Position, metadata string) error {
	t.produced, t.marked, t.metadata = false, "", stamp(t.serial+1, metadata)
	t.positions = make(map[connectors.SplitID]connectors.Position, len(positions)+1)
	maps.Copy(t.positions, positions)
	if _, read := positions[t.mark]; !read { // else the job reads what it writes
		t.marked = t.mark
		t.positions[t.mark] = connectors.Position(t.serial + 1)
	}
	t.mu.Lock()
	ws := make([]*taskWriter, 0, len(t.writers))
	for _, w := range t.writers {
		ws = append(ws, w)
		t.produced = t.produced || w.written.Load() > w.base
	}
	t.mu.Unlock()
	for _, w := range ws { // the first flush is everybody's; the rest look for errors
		if err := w.Flush(ctx); err != nil {
			return err
		}
	}
	if err := t.knowTopics(ctx); err != nil || !t.produced {
		return err
	}
	return t.addOffsets(ctx)
}

func (t *transaction) knowTopics(ctx context.Context) error {
	var unknown []string
	for id := range t.positions {
		topic, _, err := parseSplit(id)
		if err != nil {
			return err
		}
		if t.metas[topic] == nil && !slices.Contains(unknown, topic) {
			unknown = append(unknown, topic)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	fresh, err := requestMetadata(ctx, t.cl, unknown)
	if err != nil {
		return err
	}
	for _, topic := range unknown {
		if topic == t.sink.cfg.Topic && fresh[topic] == nil && t.marked != "" && len(t.positions) > 1 {
			delete(t.positions, t.marked) // it will be there with its first record
			t.marked = ""
			continue
		}
		if fresh[topic] == nil {
			return fmt.Errorf("kafka sink %s: positions name topic %s, which does not exist", t.env.Node, topic)
		}
		t.metas[topic] = fresh[topic]
	}
	return nil
}

// addOffsets puts the positions into the open transaction.
func (t *transaction) addOffsets(ctx context.Context) error {
	if len(t.positions) == 0 {
		return nil
	}
	pid, epoch, err := t.cl.ProducerID(ctx)
	if err != nil {
		return fmt.Errorf("kafka sink %s: transactional id %s: %w", t.env.Node, t.id, err)
	}
	if !t.two { // newer brokers add the group by the commit itself
		err := untilStable(ctx, func() error {
			req := kmsg.NewPtrAddOffsetsToTxnRequest()
			req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = t.id, pid, epoch, t.group
			resp, err := req.RequestWith(ctx, t.cl)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(resp.ErrorCode)
		})
		if err != nil {
			return fmt.Errorf("kafka sink %s: add group %s to transaction %s: %w", t.env.Node, t.group, t.id, err)
		}
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group = t.id, t.group
	req.ProducerID, req.ProducerEpoch = pid, epoch
	req.Generation = -1
	for id, pos := range t.positions {
		topic, n, _ := parseSplit(id) //nolint:errcheck // knowTopics has parsed it
		k := slices.IndexFunc(req.Topics, func(rt kmsg.TxnOffsetCommitRequestTopic) bool { return rt.Topic == topic })
		if k < 0 {
			rt := kmsg.NewTxnOffsetCommitRequestTopic()
			rt.Topic, rt.TopicID = topic, t.metas[topic].id
			req.Topics = append(req.Topics, rt)
			k = len(req.Topics) - 1
		}
		p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.Metadata = n, int64(pos), kmsg.StringPtr(t.stampAt(id))
		req.Topics[k].Partitions = append(req.Topics[k].Partitions, p)
	}
	err = untilStable(ctx, func() error {
		resp, err := req.RequestWith(ctx, t.cl)
		if err != nil {
			return err
		}
		for _, rt := range resp.Topics {
			for _, rp := range rt.Partitions {
				if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
					return fmt.Errorf("partition %d: %w", rp.Partition, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("kafka sink %s: positions of group %s in transaction %s: %w", t.env.Node, t.group, t.id, err)
	}
	return nil
}

// Commit implements connectors.Transaction.
func (t *transaction) Commit(ctx context.Context) error {
	var err error
	if t.produced {
		err = commitTransaction(ctx, t.cl, t.sink.cfg.Topic)
	} else {
		err = t.commitEmpty(ctx)
	}
	if err != nil {
		err = fmt.Errorf("kafka sink %s: commit of transaction %s: %w", t.env.Node, t.id, err)
		if errors.Is(err, kerr.OperationNotAttempted) || errors.Is(err, kerr.TransactionAbortable) {
			err = fmt.Errorf("%w: %w", connectors.ErrRetriable, err)
		}
		return err
	}
	t.serial++
	return nil
}

// commitEmpty stores the positions of a batch without output. The client sends
// no EndTxn when nothing was produced, so they go by a plain commit. That one
// is not fenced: whether the id is still ours is looked up just before.
func (t *transaction) commitEmpty(ctx context.Context) error {
	if err := t.cl.EndTransaction(ctx, kgo.TryAbort); err != nil {
		return err
	}
	if err := t.checkOwner(ctx); err != nil {
		return err
	}
	return commitOffsets(ctx, t.cl, t.group, t.positions, t.stampAt, t.metas)
}

// describe returns what the coordinator says of the id.
func (t *transaction) describe(ctx context.Context) (kmsg.DescribeTransactionsResponseTransactionState, error) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{t.id}
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		return kmsg.DescribeTransactionsResponseTransactionState{}, err
	}
	for _, s := range resp.TransactionStates {
		if s.TransactionalID == t.id {
			return s, kerr.ErrorForCode(s.ErrorCode)
		}
	}
	return kmsg.DescribeTransactionsResponseTransactionState{}, fmt.Errorf("brokers do not know transactional id %s: %w", t.id, kerr.TransactionalIDNotFound)
}

// waitEnded waits until no transaction of the id is being ended. A stable read
// is not enough: a broker that is asked for all positions of a group leaves
// those out whose first commit is still on its way.
func (t *transaction) waitEnded(ctx context.Context) error {
	return untilStable(ctx, func() error {
		s, err := t.describe(ctx)
		if err == nil && strings.HasPrefix(s.State, "Prepare") {
			err = fmt.Errorf("transaction %s: %w", t.id, kerr.ConcurrentTransactions)
		}
		return err
	})
}

// checkOwner is an error if a newer process has initialized the id.
func (t *transaction) checkOwner(ctx context.Context) error {
	pid, epoch, err := t.cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	return untilStable(ctx, func() error {
		s, err := t.describe(ctx)
		if err != nil {
			return err
		}
		if s.ProducerID != pid || s.ProducerEpoch != epoch {
			return fmt.Errorf("a newer process holds it (producer %d epoch %d, ours %d epoch %d): %w", s.ProducerID, s.ProducerEpoch, pid, epoch, kerr.ProducerFenced)
		}
		return nil
	})
}

// Abort implements connectors.Transaction. No writer may be in use.
func (t *transaction) Abort(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.metas) // a topic may be another one by now
	for _, w := range t.writers {
		w.aborting.Store(true)
	}
	err := abortTransaction(ctx, t.cl)
	for _, w := range t.writers {
		w.aborting.Store(false)
		if err == nil {
			w.failure.Store(nil)
		}
	}
	if err != nil {
		return fmt.Errorf("kafka sink %s: abort of transaction %s: %w", t.env.Node, t.id, err)
	}
	return nil
}

// Timeout implements connectors.Timed.
func (t *transaction) Timeout() time.Duration {
	return time.Duration(t.sink.cfg.TransactionMillis) * time.Millisecond
}

// Close implements connectors.Transaction. What is open is left to the next
// Transaction, which aborts it when it opens.
func (t *transaction) Close() error {
	t.cl.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.writers {
		w.lane.Close()
	}
	return nil
}
