package dataflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"streamduel/engines/cluster"
)

// calls are the messages between the coordinator and a task manager, some of
// which have an answer. It is used by either end.
type calls struct {
	send func(cluster.Message) error

	mu   sync.Mutex
	next int64
	open map[int64]chan envelope
	over error
}

// envelope is the body of every message.
type envelope struct {
	Call  int64           `json:"call,omitempty"` // to be answered, or answered
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

const kindAnswer = "answer"

func newCalls(send func(cluster.Message) error) *calls {
	return &calls{send: send, open: map[int64]chan envelope{}}
}

func (c *calls) write(kind string, e envelope, body any) (err error) {
	if body != nil {
		if e.Body, err = json.Marshal(body); err != nil {
			return fmt.Errorf("message %s: %w", kind, err)
		}
	}
	m, err := cluster.Encode(kind, e)
	if err != nil {
		return err
	}
	return c.send(m)
}

// post sends a message that has no answer.
func (c *calls) post(kind string, body any) error { return c.write(kind, envelope{}, body) }

// call sends a message and waits for its answer, until the peer is lost or the
// context ends.
func (c *calls) call(ctx context.Context, kind string, body, answer any) error {
	c.mu.Lock()
	if c.over != nil {
		c.mu.Unlock()
		return c.over
	}
	c.next++
	id, ch := c.next, make(chan envelope, 1)
	c.open[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.open, id)
		c.mu.Unlock()
	}()
	if err := c.write(kind, envelope{Call: id}, body); err != nil {
		return err
	}
	select {
	case e, ok := <-ch:
		switch {
		case !ok:
			return c.over
		case e.Error != "":
			return errors.New(e.Error)
		case answer == nil:
			return nil
		}
		return json.Unmarshal(e.Body, answer)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer answers a call.
func (c *calls) answer(call int64, body any, failed error) {
	e := envelope{Call: call}
	if failed != nil {
		e.Error, body = failed.Error(), nil
	}
	// A peer that cannot be told is lost, which it notices by itself.
	_ = c.write(kindAnswer, e, body)
}

// receive takes a message apart; answers go to whoever waits for them.
func (c *calls) receive(m cluster.Message) (e envelope, mine bool, err error) {
	if err := m.Decode(&e); err != nil {
		return e, false, err
	}
	if m.Kind != kindAnswer {
		return e, true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.open[e.Call]; ch != nil {
		delete(c.open, e.Call)
		ch <- e
	}
	return e, false, nil
}

// end ends all calls that wait: the peer is lost.
func (c *calls) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = err
	for id, ch := range c.open {
		delete(c.open, id)
		close(ch)
	}
}

// queue passes messages on in their order, without ever holding up who brings
// them.
type queue struct {
	mu    sync.Mutex
	items []any
	wake  chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(x any) {
	q.mu.Lock()
	q.items = append(q.items, x)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// serve calls f for each message until the context ends.
func (q *queue) serve(ctx context.Context, f func(any)) {
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
		q.mu.Lock()
		items := q.items
		q.items = nil
		q.mu.Unlock()
		for _, x := range items {
			f(x)
		}
	}
}
