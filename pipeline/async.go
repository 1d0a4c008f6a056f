package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/state"
)

// Async configures AsyncMap.
type Async struct {
	// Capacity is how many records may be under way in a subtask; 0 is 100. When
	// so many are, the task takes no more input.
	Capacity int
	// Unordered emits results as they come, between two watermarks; otherwise in
	// the order of the records.
	Unordered bool
	// Timeout bounds the time of one record, its retries included; 0 does not.
	Timeout time.Duration
	// Attempts is how often a record is tried before its error fails the job; 0
	// is once. Between attempts lies Backoff, doubled each time up to MaxBackoff.
	Attempts            int
	Backoff, MaxBackoff time.Duration
}

// AsyncMap asks something outside about each record, many at a time: call runs
// on goroutines of its own and may wait; it must return when its context ends.
// timedOut, if not nil, gives the results of a record whose time is over;
// otherwise the job fails. Records under way are in the snapshot and are asked
// about again after a restore, so call may see a record more than once.
func AsyncMap[T, R any](s *Stream[T], name string, o Async, call func(ctx context.Context, v T) ([]R, error), timedOut func(v T) []R) *Stream[R] {
	if o.Capacity == 0 {
		o.Capacity = 100
	}
	o.Attempts = max(o.Attempts, 1)
	for _, d := range []struct {
		what string
		v    time.Duration
	}{{"timeout", o.Timeout}, {"back-off", o.Backoff}, {"largest back-off", o.MaxBackoff}} {
		if d.v < 0 {
			s.g.fail("operator %q: %s %s: 0s (none) or more is allowed", name, d.what, d.v)
		}
	}
	if o.Capacity < 0 {
		s.g.fail("operator %q: capacity %d: 0 (for 100 records under way) or more is allowed", name, o.Capacity)
	}
	if call == nil {
		s.g.fail("operator %q: there is no function to call for a record", name)
	}
	values := s.codec
	if values == nil {
		values, _ = codec.Of[T]()
	}
	if values == nil {
		var zero T
		s.g.fail("operator %q: records of type %T under way go into the snapshot and have no codec: call Stream.Codec", name, zero)
	}
	n := attach(s, &Node{Name: name, Kind: KindOperator, StartsChain: true}, Forward, nil)
	n.build = func(b *builder, n *Node) any {
		a := &async[T, R]{task: b.task, node: n, o: o, call: call, timedOut: timedOut, values: values, next: outputOf[R](b, n, "")}
		list, err := state.NewList(b.task.State, n.UID, "under way", askedCodec(values))
		if err != nil {
			b.fail(err)
			return Receiver[T](a.push)
		}
		list.Fill(a.snapshot)
		op := idle(n)
		op.watermark = a.watermark
		op.restored = func() {
			for _, x := range list.Items() {
				a.add(&request[T, R]{asked: x})
			}
		}
		b.task.operators = append(b.task.operators, op)
		b.task.waiting = append(b.task.waiting, a)
		return Receiver[T](a.push)
	}
	return streamOf[R](n)
}

// asked is a record that something was asked about.
type asked[T any] struct {
	v      T
	ts     int64
	origin connectors.Origin
}

func askedCodec[T any](values codec.Codec[T]) codec.Codec[asked[T]] {
	return codec.Struct("asked/1("+values.ID()+")", func(d []byte, a asked[T]) []byte {
		d = connectors.AppendOrigin(codec.Int64{}.Append(d, a.ts), a.origin)
		return values.Append(d, a.v)
	}, func(b []byte) (a asked[T], n int, err error) {
		if len(b) < 8+connectors.OriginSize {
			return a, 0, codec.ErrShort
		}
		a.ts, _, _ = codec.Int64{}.Decode(b)
		a.origin, _ = connectors.ParseOrigin(b[8:])
		a.v, n, err = values.Decode(b[8+connectors.OriginSize:])
		return a, 8 + connectors.OriginSize + n, err
	}, func(a asked[T]) asked[T] { a.v = values.Clone(a.v); return a })
}

// request is a record under way. It belongs to the task; its goroutine hands
// the answer over by mail.
type request[T, R any] struct {
	asked[T]
	started, done bool
	results       []R
	err           error
}

type async[T, R any] struct {
	task     *Task
	node     *Node
	o        Async
	call     func(context.Context, T) ([]R, error)
	timedOut func(T) []R
	values   codec.Codec[T]
	next     Receiver[R]
	queue    []*request[T, R]
	active   int
	holding  bool // it holds the task's input back
	draining bool // until the queue is empty, before a watermark
}

func (a *async[T, R]) snapshot() []asked[T] {
	out := make([]asked[T], len(a.queue))
	for i, r := range a.queue {
		out[i] = r.asked
	}
	return out
}

func (a *async[T, R]) push(v T, c *Ctx) {
	a.add(&request[T, R]{asked: asked[T]{a.values.Clone(v), c.Timestamp, c.Origin}})
	// Without an engine that wakes the task, this is where it waits.
	for a.task.wake == nil && len(a.queue) >= a.o.Capacity && a.task.err == nil {
		a.task.await()
	}
}

func (a *async[T, R]) add(r *request[T, R]) {
	a.queue = append(a.queue, r)
	a.start()
	a.hold()
}

// start sends off what there is room for. A record that emits many values may
// overfill the queue, but not what is under way.
func (a *async[T, R]) start() {
	for _, r := range a.queue {
		if a.active >= a.o.Capacity {
			return
		}
		if r.started {
			continue
		}
		r.started = true
		a.active++
		go func() {
			results, err := a.ask(r.v)
			a.task.post(func() {
				r.results, r.err, r.done = results, err, true
				a.active--
				a.start()
			})
		}()
	}
}

// hold takes part in the task's pressure: while the queue is full, or must be
// empty before a watermark, the task takes no input.
func (a *async[T, R]) hold() {
	if len(a.queue) == 0 {
		a.draining = false
	}
	want := a.task.wake != nil && (a.draining || len(a.queue) >= a.o.Capacity)
	if want == a.holding {
		return
	}
	a.holding = want
	d := -1
	if want {
		d = 1
	}
	a.task.held += d
	a.task.pressure.Starved += d
}

// watermark lets no watermark overtake a record.
func (a *async[T, R]) watermark(int64) bool {
	for a.task.wake == nil && len(a.queue) > 0 && a.task.err == nil {
		a.task.await()
	}
	if len(a.queue) == 0 || a.task.err != nil {
		return true
	}
	a.draining = true
	a.hold()
	return false
}

func (a *async[T, R]) underWay() int { return len(a.queue) }

// emit passes on what has been answered, as long as outputs have room.
func (a *async[T, R]) emit() (progressed bool) {
	c := &a.task.ctx
	ts, origin := c.Timestamp, c.Origin
	kept := a.queue[:0]
	for i, r := range a.queue {
		if !r.done || a.task.pressure.Starved > a.task.held || a.task.err != nil {
			if !a.o.Unordered {
				kept = append(kept, a.queue[i:]...)
				break
			}
			kept = append(kept, r)
			continue
		}
		progressed = true
		if r.err != nil {
			c.Fail(fmt.Errorf("operator %q: %w", a.node.Name, r.err))
			kept = append(kept, a.queue[i:]...)
			break
		}
		c.Timestamp, c.Origin = r.ts, r.origin
		for _, v := range r.results {
			a.next(v, c)
		}
	}
	clear(a.queue[len(kept):])
	a.queue = kept
	c.Timestamp, c.Origin = ts, origin
	a.hold()
	return progressed
}

// ask calls the function until it succeeds, gives up or time is over.
func (a *async[T, R]) ask(v T) ([]R, error) {
	ctx := a.task.context
	if a.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.o.Timeout)
		defer cancel()
	}
	wait := a.o.Backoff
	for attempt := 1; ; attempt++ {
		results, err := a.try(ctx, v)
		if err == nil {
			return results, nil
		}
		if ctx.Err() == nil && attempt < a.o.Attempts {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
			if wait *= 2; a.o.MaxBackoff > 0 {
				wait = min(wait, a.o.MaxBackoff)
			}
		}
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			if a.timedOut != nil {
				return a.timedOut(v), nil
			}
			return nil, fmt.Errorf("no answer within %v, attempt %d: %w", a.o.Timeout, attempt, err)
		case ctx.Err() != nil || attempt >= a.o.Attempts:
			return nil, fmt.Errorf("attempt %d of %d: %w", attempt, a.o.Attempts, err)
		}
	}
}

// try is one attempt; it ends with the context even if the function does not.
func (a *async[T, R]) try(ctx context.Context, v T) ([]R, error) {
	if a.o.Timeout == 0 {
		return a.guarded(ctx, v)
	}
	type answer struct {
		results []R
		err     error
	}
	got := make(chan answer, 1)
	go func() {
		results, err := a.guarded(ctx, v)
		got <- answer{results, err}
	}()
	select {
	case x := <-got:
		return x.results, x.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// guarded calls the function; its panic is an error, which would otherwise end
// the process and name nobody.
func (a *async[T, R]) guarded(ctx context.Context, v T) (results []R, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New(DescribePanic(p, "", PanicPlace()))
		}
	}()
	return a.call(ctx, v)
}
