package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// Transactional ids are stable over restarts, so that a new attempt finds and
// fences what an old one left: <job>/<node>/<subtask>/<k>.
func txnPrefix(env connectors.Env) string { return env.Job + "/" + env.Node + "/" }

// txnPattern matches the ids of all subtasks, whatever the parallelism was.
func txnPattern(env connectors.Env) *regexp.Regexp {
	return regexp.MustCompile("^" + regexp.QuoteMeta(txnPrefix(env)) + `\d+/\d+$`)
}

// slot is one transactional id of a subtask, with its client. An id holds one
// transaction, so each epoch that is open, prepared, or committed but still
// listed by a checkpoint occupies one.
type slot struct {
	id        string
	cl        *kgo.Client // nil until first used
	state     slotState
	committed bool
	opened    time.Time // when its transaction began
	c         connectors.Committable
}

type slotState uint8

const (
	slotFree     slotState = iota
	slotOpen               // the current epoch
	slotPrepared           // until Release
)

// twoPhase is a subtask's writer under exactly-once.
type twoPhase struct {
	*outlet
	sink  *Sink
	env   connectors.WriterEnv
	slots []*slot
	cur   *slot // nil until the epoch's first record
}

var _ connectors.Writer = (*twoPhase)(nil)

func (s *Sink) openTwoPhase(ctx context.Context, env connectors.WriterEnv) (*twoPhase, error) {
	if env.Pool < 1 {
		return nil, fmt.Errorf("kafka sink %s: exactly-once needs a pool of at least 1 transactional id, not %d", env.Node, env.Pool)
	}
	w := &twoPhase{outlet: newOutlet(&s.cfg, env), sink: s, env: env}
	w.track = true
	for k := range env.Pool {
		w.slots = append(w.slots, &slot{id: fmt.Sprintf("%s%d/%d", txnPrefix(env.Env), env.Subtask, k)})
	}
	// The first id is initialized now: whatever the broker refuses (the
	// transaction timeout, for want of a right) it refuses before the job runs.
	if err := w.connect(ctx, w.slots[0]); err != nil {
		return nil, err
	}
	return w, nil
}

// connect opens a slot's client and initializes its id, which fences and aborts
// what an older process left open under it.
func (w *twoPhase) connect(ctx context.Context, s *slot) error {
	cl, err := w.sink.transactional(ctx, w.env, s.id)
	if err != nil {
		return err
	}
	s.cl = cl
	return nil
}

// transactional opens a client with a transactional id and initializes the id.
func (s *Sink) transactional(ctx context.Context, env connectors.WriterEnv, id string, opts ...kgo.Opt) (*kgo.Client, error) {
	cl, err := s.producer(ctx, env, id, opts...)
	if err != nil {
		return nil, err
	}
	var bo backoff
	for {
		_, _, err = cl.ProducerID(ctx)
		if err == nil || !transient(err) {
			break
		}
		if bo.wait(ctx) != nil {
			break
		}
	}
	if err == nil {
		return cl, nil
	}
	cl.Close()
	if errors.Is(err, kerr.InvalidTransactionTimeout) {
		return nil, s.tooLong(env.Env, err)
	}
	return nil, fmt.Errorf("kafka sink %s: transactional id %s: %w", env.Node, id, err)
}

// tooLong is the error of a transaction timeout that the brokers refuse.
func (s *Sink) tooLong(env connectors.Env, err error) error {
	return fmt.Errorf("kafka sink %s: transactionMillis %d is longer than the brokers allow: lower it, or raise their transaction.max.timeout.ms: %w",
		env.Node, s.cfg.TransactionMillis, err)
}

// begin takes a free id for the epoch that starts with this record.
func (w *twoPhase) begin(ctx context.Context) error {
	for _, s := range w.slots {
		if s.state != slotFree {
			continue
		}
		if s.cl == nil {
			if err := w.connect(ctx, s); err != nil {
				return err
			}
		}
		if err := s.cl.BeginTransaction(); err != nil {
			return fmt.Errorf("kafka sink %s: begin under id %s: %w", w.node, s.id, err)
		}
		s.state, s.committed, s.opened, s.c = slotOpen, false, time.Now(), nil
		w.cur = s
		w.sampled.Store(nil)
		return nil
	}
	return fmt.Errorf("kafka sink %s: all %d transactional ids hold an epoch that was not released: the pool is too small for the epochs in flight", w.node, len(w.slots))
}

// Write implements connectors.Writer.
func (w *twoPhase) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if w.cur == nil {
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
	if err := w.write(ctx, w.cur.cl, r, o); err != nil {
		return w.outlasted(w.cur, err)
	}
	return nil
}

// outlasted adds to the error of a transaction that the broker knows no more that
// it was open for longer than it may be, where it was.
func (w *twoPhase) outlasted(s *slot, err error) error {
	if !final(err) || !w.tooOld(s) {
		return err
	}
	return w.givenUp(s, err)
}

func (w *twoPhase) timeout() time.Duration {
	return time.Duration(w.sink.cfg.TransactionMillis) * time.Millisecond
}

// tooOld reports whether a slot's transaction is open for longer than it may be.
func (w *twoPhase) tooOld(s *slot) bool { return time.Since(s.opened) >= w.timeout() }

func (w *twoPhase) givenUp(s *slot, err error) error {
	return fmt.Errorf("the transaction under id %s is %v old, older than its transaction timeout of %v, and the broker has given it up: "+
		"a checkpoint takes too long or comes too seldom: shorten its interval, or raise the timeout: %w", s.id, time.Since(s.opened).Round(time.Millisecond), w.timeout(), err)
}

// errTooOld stands for what a broker would say that is asked for nothing.
var errTooOld = errors.New("nothing was written of late that could have failed")

// Flush implements connectors.Writer.
func (w *twoPhase) Flush(ctx context.Context) error {
	if w.cur == nil {
		return w.err()
	}
	if err := w.flush(ctx, w.cur.cl); err != nil {
		return w.outlasted(w.cur, err)
	}
	return nil
}

// Prepare implements connectors.Writer.
func (w *twoPhase) Prepare(ctx context.Context) (connectors.Committable, error) {
	if w.cur == nil {
		return nil, w.err()
	}
	if err := w.flush(ctx, w.cur.cl); err != nil {
		return nil, w.outlasted(w.cur, err)
	}
	// All may have been acknowledged long ago: then it is only a commit that would
	// fail, when a checkpoint lists it already.
	if w.tooOld(w.cur) {
		return nil, fmt.Errorf("kafka sink %s: %w", w.node, w.givenUp(w.cur, errTooOld))
	}
	at := w.sampled.Load()
	if at == nil { // the gate refused the epoch's only record
		return nil, fmt.Errorf("kafka sink %s: nothing was written under id %s", w.node, w.cur.id)
	}
	pid, epoch, err := w.cur.cl.ProducerID(ctx)
	if err != nil {
		return nil, fmt.Errorf("kafka sink %s: transactional id %s: %w", w.node, w.cur.id, err)
	}
	if pid != at.producer || epoch != at.epoch {
		return nil, fmt.Errorf("kafka sink %s: transactional id %s changed its epoch within a transaction", w.node, w.cur.id)
	}
	p := prepared{txnID: w.cur.id, producer: pid, epoch: epoch, topic: w.topic, partition: at.partition, offset: at.offset}
	w.cur.c, w.cur.state = p.encode(), slotPrepared
	c := w.cur.c
	w.cur = nil
	return c, nil
}

// Commit implements connectors.Writer: the client that wrote the epoch ends its
// own transaction, so that it knows the epoch the broker gives it for the next.
func (w *twoPhase) Commit(ctx context.Context, c connectors.Committable) error {
	if c == nil {
		return nil
	}
	s := w.find(c)
	if s == nil {
		return fmt.Errorf("kafka sink %s: commit of an epoch that this writer did not prepare; those of a dead process are for Recover", w.node)
	}
	if s.committed {
		return nil
	}
	if err := commitTransaction(ctx, s.cl, w.topic); err != nil {
		return w.outlasted(s, fmt.Errorf("kafka sink %s: commit under id %s: %w", w.node, s.id, err))
	}
	s.committed = true
	return nil
}

func (w *twoPhase) find(c connectors.Committable) *slot {
	for _, s := range w.slots {
		if s.state == slotPrepared && bytes.Equal(s.c, c) {
			return s
		}
	}
	return nil
}

// Release implements connectors.Writer.
func (w *twoPhase) Release(c connectors.Committable) {
	if s := w.find(c); s != nil && s.committed {
		s.state, s.c = slotFree, nil
	}
}

// Abort implements connectors.Writer.
func (w *twoPhase) Abort(ctx context.Context) error {
	if w.cur == nil {
		return nil
	}
	s := w.cur
	w.aborting.Store(true)
	defer w.aborting.Store(false)
	if err := abortTransaction(ctx, s.cl); err != nil {
		return fmt.Errorf("kafka sink %s: abort under id %s: %w", w.node, s.id, err)
	}
	w.cur = nil
	s.state = slotFree
	w.failure.Store(nil)
	return nil
}

func abortTransaction(ctx context.Context, cl *kgo.Client) error {
	return errors.Join(cl.AbortBufferedRecords(ctx), cl.EndTransaction(ctx, kgo.TryAbort))
}

// InFlight implements connectors.Writer.
func (w *twoPhase) InFlight() (records, bytes int64) { return w.inFlight() }

// Close implements connectors.Writer. The current epoch is aborted, so that
// readers need not wait for its timeout; prepared ones stay as they are.
func (w *twoPhase) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := w.Abort(ctx)
	for _, s := range w.slots {
		if s.cl != nil {
			s.cl.Close()
		}
	}
	w.lane.Close()
	return err
}
