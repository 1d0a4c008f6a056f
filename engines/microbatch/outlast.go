package microbatch

import (
	"context"
	"fmt"
	"time"

	"streamduel/connectors"
)

// outlasted returns the name of the sink whose transaction the outside system has
// given up because it was open for longer than its timeout; "" when none was. A
// batch's is open while the batch is attempted, a partition's from its first row.
func (r *run) outlasted(took time.Duration) (sink string, timeout time.Duration) {
	for _, t := range r.transactions {
		if timed, ok := t.tx.(connectors.Timed); ok && took >= timed.Timeout() {
			return t.node.Name, timed.Timeout()
		}
	}
	for _, p := range r.parts.all {
		if timed, ok := p.tx.(connectors.Timed); ok && p.lasted >= timed.Timeout() {
			return p.node.Name, timed.Timeout()
		}
	}
	return "", 0
}

// reopen opens the sinks' transactions anew: the ones before may be beyond use,
// and what became of them is only known from what the sink then says it holds.
// An attempt that was superseded must not: it would fence the newer one.
func (r *run) reopen(ctx context.Context) error {
	if err := r.attempt.Check(); err != nil {
		return final{err}
	}
	for _, t := range r.transactions {
		if err := t.tx.Close(); err != nil {
			r.rt.Log.Warn("closing a transaction", "sink", t.node.Name, "error", err)
		}
	}
	r.transactions = nil
	for _, p := range r.parts.all {
		if err := r.reopenPart(ctx, p); err != nil {
			return err
		}
	}
	if r.way != BatchTransaction {
		return nil
	}
	return openTransactions(ctx, r)
}

// reopenUnknown opens those transactions anew of which it is not known whether they
// are still open, or whether they were carried out.
func (r *run) reopenUnknown(ctx context.Context) error {
	if r.unaborted {
		if err := r.reopen(ctx); err != nil {
			return err
		}
		r.unaborted = false
	}
	for _, p := range r.parts.all {
		if p.anew {
			if err := r.reopenPart(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// tooLong is the error of a batch that has outlasted its transaction twice.
func (r *run) tooLong(sink string, timeout time.Duration, took []time.Duration, cause error) error {
	limit := "none"
	if n := r.cfg.Rate.MaxRecordsPerBatch; n > 0 {
		limit = fmt.Sprintf("%d records", n)
	}
	return fmt.Errorf("sink %q: the batch took %v and again %v, longer than its transaction timeout of %v; the interval is %v and the cap on a batch (rate.maxRecordsPerBatch) %s: lower one of them or raise the timeout: %w",
		sink, took[0].Round(time.Millisecond), took[1].Round(time.Millisecond), timeout, r.cfg.Interval.Std(), limit, cause)
}
