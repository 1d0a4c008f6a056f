package microbatch

import (
	"context"
	"errors"
	"sync"
	"time"
)

// awayStream is a task that reads until it is told to end, in an executor.
type awayStream struct {
	mu     sync.Mutex
	orders []order  // from before there is a reading
	x      *reading // nil before
}

func (s *awayStream) give(o order) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.x == nil {
		s.orders = append(s.orders, o)
		return
	}
	s.x.give(o)
}

func (s *awayStream) begin(x *reading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.x = x
	for _, o := range s.orders {
		x.give(o)
	}
	s.orders = nil
}

// streaming takes a message about such tasks.
func (p *memberProcess) streaming(kind string, decode func(any) error) error {
	switch kind {
	case kindStream:
		var l streaming
		if err := decode(&l); err != nil {
			return err
		}
		g := p.generation(l.Generation)
		ctx, cancel := context.WithCancel(g.ctx)
		s := &awayStream{}
		p.mu.Lock()
		p.running[l.Attempt], p.streams[l.Attempt] = cancel, s
		p.mu.Unlock()
		go func() {
			out := ended{Attempt: l.Attempt}
			err := guard(func() error { return p.stream(ctx, g, l, s, &out.Outcome) })
			p.mu.Lock()
			delete(p.streams, l.Attempt)
			p.mu.Unlock()
			p.tellEnded(out, err)
		}()
	case kindOrder:
		var o ordered
		if err := decode(&o); err != nil {
			return err
		}
		p.mu.Lock()
		s := p.streams[o.Attempt]
		p.mu.Unlock()
		if s != nil {
			s.give(o.Order)
		}
	}
	return nil
}

// stream runs a task until its last order.
func (p *memberProcess) stream(ctx context.Context, g *residents, l streaming, s *awayStream, out *outcome) (err error) {
	at := place{l.Attempt.Stage, l.Attempt.Task}
	t := g.take(at)
	if t == nil {
		if t, err = p.build(g, at, 0, noTime); err != nil {
			return err
		}
	}
	began := time.Now()
	defer func() {
		if err != nil {
			if x, ok := errors.AsType[*panicked](err); ok {
				x.at = t.At()
			}
			t.close(false)
			return
		}
		t.took = time.Since(began)
		*out = t.outcome()
		g.put(at, t)
	}()
	return guard(func() error {
		x := newReading(t.task)
		x.src.assign = x.src.assign[:0]
		say := func(epoch int64, r *report) error {
			return p.calls.Post(kindSaid, said{l.Attempt, epoch, r})
		}
		if l.Batch == nil {
			s.begin(x)
			return x.run(ctx, func(o order) error {
				r, err := x.report(ctx)
				if err != nil {
					return err
				}
				return say(o.Epoch, &r)
			})
		}
		x.exhausted = func() { _ = say(0, nil) } // a driver that cannot be told is gone
		s.begin(x)
		b := &batch{entry: &offsetEntry{Batch: l.Batch.Batch, Time: l.Batch.Time}, watermark: l.Batch.Watermark}
		r, err := x.batch(ctx, g.generation, b)
		if err != nil {
			return err
		}
		return say(0, &r)
	})
}
