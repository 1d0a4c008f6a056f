package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// Calls are the messages between a leader and a member, some of which have an
// answer. It is used by either end, by any goroutine. Every body is an Envelope.
type Calls struct {
	send func(Message) error

	mu   sync.Mutex
	next int64
	open map[int64]chan Envelope
	over error
}

// Envelope is the body of every message of Calls.
type Envelope struct {
	Kind  string          `json:"-"`              // of the message, for whoever receives it
	Call  int64           `json:"call,omitempty"` // to be answered, or answered
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// Decode reads the body.
func (e Envelope) Decode(v any) error {
	if err := json.Unmarshal(e.Body, v); err != nil {
		return fmt.Errorf("message %s: %w", e.Kind, err)
	}
	return nil
}

const kindAnswer = "answer"

// NewCalls returns the calls over whatever send sends with.
func NewCalls(send func(Message) error) *Calls {
	return &Calls{send: send, open: map[int64]chan Envelope{}}
}

func (c *Calls) write(kind string, e Envelope, body any) (err error) {
	if body != nil {
		if e.Body, err = json.Marshal(body); err != nil {
			return fmt.Errorf("message %s: %w", kind, err)
		}
	}
	m, err := Encode(kind, e)
	if err != nil {
		return err
	}
	return c.send(m)
}

// Post sends a message that has no answer.
func (c *Calls) Post(kind string, body any) error { return c.write(kind, Envelope{}, body) }

// Call sends a message and waits for its answer, until the peer is lost or the
// context ends.
func (c *Calls) Call(ctx context.Context, kind string, body, answer any) error {
	c.mu.Lock()
	if c.over != nil {
		c.mu.Unlock()
		return c.over
	}
	c.next++
	id, ch := c.next, make(chan Envelope, 1)
	c.open[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.open, id)
		c.mu.Unlock()
	}()
	if err := c.write(kind, Envelope{Call: id}, body); err != nil {
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

// Answer answers a call.
func (c *Calls) Answer(call int64, body any, failed error) {
	e := Envelope{Call: call}
	if failed != nil {
		e.Error, body = failed.Error(), nil
	}
	// A peer that cannot be told is lost, which it notices by itself.
	_ = c.write(kindAnswer, e, body)
}

// Receive takes a message apart; answers go to whoever waits for them.
func (c *Calls) Receive(m Message) (e Envelope, mine bool, err error) {
	if err := m.Decode(&e); err != nil {
		return e, false, err
	}
	if e.Kind = m.Kind; m.Kind != kindAnswer {
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

// Serve has obey do what a member's leader says until the leader is gone, which is a
// member's ordinary end: there is nobody left to say anything to, and nothing to put
// in order, since what did not end is done again. An error of obey ends it as well.
func (c *Calls) Serve(m *Membership, obey func(Envelope) error) error {
	for {
		msg, err := m.Receive()
		if err != nil {
			c.End(err)
			return nil //nolint:nilerr // a leader ends its members by leaving them
		}
		e, mine, err := c.Receive(msg)
		if err == nil && mine {
			err = obey(e)
		}
		if err != nil {
			return err
		}
	}
}

// End ends all calls that wait: the peer is lost.
func (c *Calls) End(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = err
	for id, ch := range c.open {
		delete(c.open, id)
		close(ch)
	}
}
