package microbatch

import (
	"context"
	"errors"

	"streamduel/engines/cluster"
	"streamduel/engines/microbatch/schedule"
)

// Tasks that read until they are told to end, on executors: the driver's orders go
// to wherever they run, and what they say of an epoch comes back.

// streaming is all that an executor must know to run such a task.
type streaming struct {
	Attempt    schedule.Attempt `json:"attempt"`
	Generation int64            `json:"generation"`
	// Batch is that of trigger real-time; nil under continuous.
	Batch *streamingBatch `json:"batch,omitempty"`
}

type streamingBatch struct {
	Batch     int64 `json:"batch"`
	Time      int64 `json:"time"`
	Watermark int64 `json:"watermark"`
}

// ordered is an order for a task.
type ordered struct {
	Attempt schedule.Attempt `json:"attempt"`
	Order   order            `json:"order"`
}

// said is what a task says of an epoch, or, without a report, that it has nothing
// left to read.
type said struct {
	Attempt schedule.Attempt `json:"attempt"`
	Epoch   int64            `json:"epoch,omitempty"`
	Report  *report          `json:"report,omitempty"`
}

// farStream is the driver's side of such a task while it runs.
type farStream struct {
	reading *reading
	said    *cluster.Queue // in order; who listens to the executor must not wait
	over    context.CancelFunc
}

// launchStream begins an attempt. The dispatcher is locked.
func (e *remoteExecutor) launchStream(a *attempt) {
	g := a.work.generation
	t := g.stages[a.Stage].tasks[a.Task]
	x := a.work.stream(t)
	f := &farAttempt{attempt: a, t: t, on: e, stream: &farStream{reading: x, said: cluster.NewQueue()}}
	f.ctx, f.cancel = context.WithCancel(a.work.ctx)
	ctx, over := context.WithCancel(e.of.ctx)
	f.stream.over = over
	e.of.wg.Go(func() { f.stream.said.Serve(ctx, func(do any) { do.(func())() }) })
	e.mu.Lock()
	e.attempts[a.Attempt] = f
	e.mu.Unlock()
	l := streaming{Attempt: a.Attempt, Generation: g.number}
	if b := x.of; b != nil {
		l.Batch = &streamingBatch{b.entry.Batch, b.entry.Time, b.watermark}
	}
	e.tell(kindStream, l)
	x.begun(f)
	context.AfterFunc(f.ctx, func() {
		if e.runs(f) {
			e.tell(kindKill, a.Attempt)
		}
	})
}

// begun hands the task the orders that have waited for it.
func (s *reading) begun(f *farAttempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = f
	for _, o := range s.orders {
		f.order(o)
	}
	s.orders = nil
	if s.exhausted != nil && len(s.src.assign) == 0 {
		s.exhausted()
	}
}

func (f *farAttempt) order(o order) { f.on.tell(kindOrder, ordered{f.Attempt, o}) }

// streamEnded takes in how the task ended, behind all that it has said.
func (e *remoteExecutor) streamEnded(f *farAttempt, x ended) {
	defer e.landing.Done()
	defer f.stream.over()
	defer f.cancel()
	var err error
	if x.Error != "" {
		err = errors.New(x.Error)
	} else {
		f.settled = func() {
			f.t.last, f.t.where, f.t.took = x.Outcome, e, x.Outcome.Took
			for _, s := range x.Outcome.Seen {
				f.t.sources[s.Source].head.(*farHead).seen[s.Split] = s
			}
		}
	}
	e.of.run.dispatcher.ended(f.attempt, err)
}
