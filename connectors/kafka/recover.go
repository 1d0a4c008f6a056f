package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
)

// Recover implements connectors.Recoverer.
//
// Each committable is committed with the producer id and epoch that it was
// written with. The broker answers OK again for a transaction that is already
// committed, but only until its id is initialized for another epoch; a process
// that died between that and its next checkpoint leaves a committable that the
// broker calls fenced although its records are there for all to see. So a
// refused committable is not yet a lost one: recovery reads the record whose
// place it names, and reports a loss only when that was aborted.
//
// Then every id of this sink, of any parallelism, is initialized: it fences
// processes that still run and aborts what they left open.
func (s *Sink) Recover(ctx context.Context, env connectors.WriterEnv, committables []connectors.Committable) error {
	cl, err := s.admin(ctx, env)
	if err != nil {
		return err
	}
	defer cl.Close()
	var refused []refusal
	seen := make(map[prepared]bool)
	for _, c := range committables {
		if c == nil {
			continue
		}
		p, err := decodeCommittable(c)
		if err != nil {
			return err
		}
		if seen[p] {
			continue
		}
		seen[p] = true
		err = endTxn(ctx, cl, p)
		switch {
		case err == nil:
		case final(err):
			refused = append(refused, refusal{p, err})
		default: // nothing is known yet, so nothing may be aborted yet
			return fmt.Errorf("kafka sink %s: commit again of transaction %s: %w", env.Node, p.txnID, err)
		}
	}
	if err := s.abortLingering(ctx, cl, env); err != nil {
		return err
	}
	return lostError(ctx, cl, env, refused, len(seen))
}

// admin opens a client for the requests of recovery.
func (s *Sink) admin(ctx context.Context, env connectors.WriterEnv) (*kgo.Client, error) {
	id := fmt.Sprintf("streamduel-%s-%s-recovery", env.Job, env.Node)
	return s.pinned(ctx, func(opts ...kgo.Opt) (*kgo.Client, error) {
		return openClient(ctx, s.cfg.Brokers, 0, id, s.cfg.ClientOptions, opts...)
	})
}

// refusal is a committable that the broker would not commit.
type refusal struct {
	prepared
	err error
}

// final reports whether the broker knows no such transaction that is open.
func final(err error) bool {
	for _, e := range []*kerr.Error{
		kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState,
		kerr.InvalidProducerIDMapping, kerr.UnknownProducerID, kerr.TransactionalIDNotFound,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// endTxn commits a transaction whose producer is dead.
func endTxn(ctx context.Context, cl *kgo.Client, p prepared) error {
	return untilStable(ctx, func() error {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.txnID, p.producer, p.epoch, true
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
}

// abortLingering initializes all ids of the job's sink that brokers know.
func (s *Sink) abortLingering(ctx context.Context, cl *kgo.Client, env connectors.WriterEnv) error {
	ids, err := listTransactions(ctx, cl, func(id string) bool { return txnPattern(env.Env).MatchString(id) })
	if err != nil {
		return fmt.Errorf("kafka sink %s: %w", env.Node, err)
	}
	for _, id := range ids {
		err := untilStable(ctx, func() error {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.TransactionalID = kmsg.StringPtr(id)
			req.TransactionTimeoutMillis = int32(s.cfg.TransactionMillis)
			req.ProducerID, req.ProducerEpoch = -1, -1
			resp, err := req.RequestWith(ctx, cl)
			if err != nil {
				return err
			}
			return kerr.ErrorForCode(resp.ErrorCode)
		})
		if errors.Is(err, kerr.InvalidTransactionTimeout) {
			return s.tooLong(env.Env, err)
		}
		if err != nil {
			return fmt.Errorf("kafka sink %s: abort of what transactional id %s left open: %w", env.Node, id, err)
		}
	}
	return nil
}

// listTransactions returns the transactional ids that all brokers know, once
// each, in any state: an id without a transaction may still have a producer.
func listTransactions(ctx context.Context, cl *kgo.Client, match func(string) bool) ([]string, error) {
	var ids []string
	err := untilStable(ctx, func() error {
		ids = ids[:0]
		for _, shard := range cl.RequestSharded(ctx, kmsg.NewPtrListTransactionsRequest()) {
			if shard.Err != nil {
				return fmt.Errorf("list of transactions: %w", shard.Err)
			}
			resp := shard.Resp.(*kmsg.ListTransactionsResponse)
			if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
				return fmt.Errorf("list of transactions: %w", err)
			}
			for _, t := range resp.TransactionStates {
				if match(t.TransactionalID) && t.TransactionState != "Dead" {
					ids = append(ids, t.TransactionalID)
				}
			}
		}
		return nil
	})
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// lostError looks after what was refused. It returns nil when all of it had
// been committed before.
func lostError(ctx context.Context, cl *kgo.Client, env connectors.WriterEnv, refused []refusal, of int) error {
	var lost []string
	for _, f := range refused {
		committed, err := isCommitted(ctx, cl, f.prepared)
		if err != nil {
			lost = append(lost, fmt.Sprintf("%s (producer %d epoch %d: %v; whether it was committed before cannot be told: %v)", f.txnID, f.producer, f.epoch, f.err, err))
		} else if !committed {
			lost = append(lost, fmt.Sprintf("%s (producer %d epoch %d: %v)", f.txnID, f.producer, f.epoch, f.err))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("kafka sink %s: %d of %d prepared transactions cannot be committed any more, %w "+
		"(the broker aborted them: was the job down for longer than the transaction timeout?): %s",
		env.Node, len(lost), of, connectors.ErrLost, strings.Join(lost, "; "))
}

// isCommitted reports whether a reader of committed records sees the one whose
// place the committable names.
func isCommitted(ctx context.Context, cl *kgo.Client, p prepared) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	id := splitID(p.topic, p.partition)
	var bo backoff
	for { // the end of the last transaction may still be on its way
		bounds, err := listBounds(ctx, cl, ReadCommitted, []connectors.SplitID{id}, nil)
		if err != nil {
			return false, err
		}
		if int64(bounds[id].Latest) > p.offset {
			if int64(bounds[id].Earliest) > p.offset {
				return false, fmt.Errorf("topic %s partition %d offset %d is deleted", p.topic, p.partition, p.offset)
			}
			break
		}
		if err := bo.wait(ctx); err != nil {
			return false, fmt.Errorf("topic %s partition %d offset %d is behind the last stable offset %d: %w", p.topic, p.partition, p.offset, bounds[id].Latest, err)
		}
	}
	cfg := SourceConfig{Brokers: []string{"open already"}, Topics: []string{p.topic}}
	if err := cfg.setDefaults(); err != nil {
		return false, err
	}
	r := newReader(cfg, connectors.Env{Node: "recovery"}, cl)
	defer r.stop()
	at := connectors.Position(p.offset)
	if err := r.Assign(connectors.Assignment{Split: connectors.Split{ID: id, Partition: p.partition}, From: at, Until: at + 1}); err != nil {
		return false, err
	}
	for {
		b, err := r.Poll(ctx)
		if err != nil {
			return false, err
		}
		if len(b.Records) > 0 {
			return b.Records[0].Offset == p.offset, nil
		}
		if b.Done {
			return false, nil
		}
	}
}
