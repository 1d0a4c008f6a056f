package floors

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/harness/proc"
)

// progress is what the paced loop has done so far. It is sent every
// progressEvery.
type progress struct {
	Acked    int64 `json:"acked"`    // records whose output is acknowledged
	CPUNanos int64 `json:"cpuNanos"` // of the process, since its start
}

const progressEvery = 20 * time.Millisecond

// pacedLoop moves every record from the input to the output as it comes, until
// the context ends. With an interval, output is committed in a transaction each
// time that it has passed, as an exactly-once engine's is.
func pacedLoop(ctx context.Context, j job, s *proc.Server) error {
	commit := time.Duration(j.CommitMillis) * time.Millisecond
	options := loopOptions(j)
	if commit > 0 {
		options = append(options, kgo.TransactionalID(j.Output), kgo.TransactionTimeout(time.Minute))
	}
	cl, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, _, err := cl.ProducerID(ctx); err != nil {
		return err
	}
	l := &passer{cl: cl, output: j.Output}
	s.Emit("ready", struct{}{})
	reported := make(chan struct{})
	defer func() { <-reported }()
	reporting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(reported)
		t := time.NewTicker(progressEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				s.Emit("progress", progress{Acked: l.acked.Load(), CPUNanos: int64(cpuTime())})
			case <-reporting.Done():
				return
			}
		}
	}()
	if commit > 0 {
		err = l.transactions(ctx, commit)
	} else {
		err = l.pass(ctx, ctx)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // ended from outside, which is how it ends
	}
	return err
}

// passer is the loop's body.
type passer struct {
	cl     *kgo.Client
	output string
	acked  atomic.Int64
	failed atomic.Pointer[error]
	passed int64
}

func (l *passer) promise(_ *kgo.Record, err error) {
	if err != nil {
		l.failed.CompareAndSwap(nil, &err)
		return
	}
	l.acked.Add(1)
}

// pass moves records until the context until ends.
func (l *passer) pass(ctx, until context.Context) error {
	for {
		fs := l.cl.PollFetches(until)
		err, over := fs.Err(), until.Err() != nil
		if err != nil && !over {
			return err
		}
		// What came together with the end is passed on, too.
		fs.EachRecord(func(r *kgo.Record) {
			r.Topic = l.output
			l.cl.Produce(ctx, r, l.promise)
			l.passed++
		})
		if e := l.failed.Load(); e != nil {
			return *e
		}
		if over {
			return nil //nolint:nilerr // the poll's error says only that the time is over
		}
	}
}

// transactions passes records on and commits them every interval.
func (l *passer) transactions(ctx context.Context, interval time.Duration) error {
	due := time.Now()
	for {
		if err := l.cl.BeginTransaction(); err != nil {
			return err
		}
		if due = due.Add(interval); due.Before(time.Now()) {
			due = time.Now().Add(interval)
		}
		until, cancel := context.WithDeadline(ctx, due)
		before := l.passed
		err := l.pass(ctx, until)
		cancel()
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && l.passed > before {
			err = l.cl.Flush(ctx)
		}
		if err != nil {
			return err
		}
		if err := l.cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return errors.Join(errors.New("committing"), err)
		}
	}
}
