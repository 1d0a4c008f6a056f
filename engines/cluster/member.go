package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// Membership is a member's side.
type Membership struct {
	Index int
	Token string // for data connections to other members
	wire  *wire
	ctx   context.Context
}

// Join reads the invitation from standard input and presents this process to
// its leader. data is the address where it takes connections of other members.
// The membership's context ends with the leader, for whatever reason.
func Join(ctx context.Context, stdin io.Reader, data string) (*Membership, error) {
	in := bufio.NewReader(stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("no invitation on standard input: %w", err)
	}
	var inv invitation
	if err := json.Unmarshal(line, &inv); err != nil {
		return nil, fmt.Errorf("the invitation does not decode: %w", err)
	}
	if inv.Silence <= 0 {
		return nil, errors.New("the invitation allows no silence at all")
	}
	nc, err := (&net.Dialer{Timeout: inv.Silence}).DialContext(ctx, "tcp", inv.Address)
	if err != nil {
		return nil, fmt.Errorf("the leader: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	m := &Membership{Index: inv.Index, Token: inv.Token, wire: newWire(nc, inv.Silence), ctx: ctx}
	hello, err := Encode("join", presentation{inv.Token, inv.Index, os.Getpid(), data})
	if err == nil {
		err = m.wire.send(hello)
	}
	if err != nil {
		m.wire.end(err)
		cancel(err)
		return nil, fmt.Errorf("the leader: %w", err)
	}
	go m.wire.ping()
	go func() {
		_, err := io.Copy(io.Discard, in)
		m.wire.end(errors.Join(errors.New("the leader is dead"), err))
	}()
	go func() {
		<-m.wire.done
		cancel(m.wire.err)
	}()
	return m, nil
}

// Context ends when the leader is gone; its cause says how.
func (m *Membership) Context() context.Context { return m.ctx }

// Send sends a message to the leader.
func (m *Membership) Send(msg Message) error {
	if err := m.wire.send(msg); err != nil {
		m.wire.end(err)
		return fmt.Errorf("the leader: %w", err)
	}
	return nil
}

// Receive returns the leader's next message. It is for one goroutine.
func (m *Membership) Receive() (Message, error) {
	msg, err := m.wire.receive()
	if err != nil {
		m.wire.end(err)
		return Message{}, fmt.Errorf("the leader: %w", m.wire.err)
	}
	return msg, nil
}

// Leave ends the membership.
func (m *Membership) Leave() { m.wire.end(errors.New("left")) }
