package fetch

import (
	"context"
	"fmt"
	"sync"

	"streamduel/exchange"
	"streamduel/exchange/remote"
)

// Lost is an output that cannot be had from where it should lie.
type Lost struct {
	Addr string
	Err  error
}

func (l *Lost) Error() string { return l.Err.Error() }

// Unwrap returns the reason.
func (l *Lost) Unwrap() error { return l.Err }

// Client fetches from other executors. It is safe for concurrent use.
type Client struct {
	self  remote.Greeting
	mu    sync.Mutex
	peers map[string]*peer
}

// NewClient returns a client without connections.
func NewClient(self remote.Greeting) *Client { return &Client{self: self, peers: map[string]*peer{}} }

// peer is another executor, with the connection to it while there is one.
type peer struct {
	mu    sync.Mutex
	conn  *remote.Conn
	asks  *exchange.Ring
	next  uint32
	ids   int64
	lanes []*lane // that nobody reads
}

// lane is a channel on which answers come.
type lane struct {
	conn *remote.Conn
	id   uint32
	ring *exchange.Ring
	wake chan struct{}
}

// Close ends all connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		p.mu.Lock()
		if p.conn != nil {
			p.conn.Abort()
		}
		p.mu.Unlock()
	}
}

// Fetch asks the executor at an address for outputs, which come by the stream's
// Read. The stream has to be closed.
func (c *Client) Fetch(ctx context.Context, addr string, r Request) (*Stream, error) {
	c.mu.Lock()
	p := c.peers[addr]
	if p == nil {
		p = &peer{}
		c.peers[addr] = p
	}
	c.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.lane(ctx, addr, c.self)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Lost{addr, err}
	}
	p.ids++
	p.asks.Push(exchange.Element{Event: message{ID: p.ids, Lane: l.id, Asked: &r}})
	return &Stream{peer: p, lane: l, addr: addr, id: p.ids}, nil
}

// lane returns one that nobody reads. The lock is held.
func (p *peer) lane(ctx context.Context, addr string, self remote.Greeting) (*lane, error) {
	if p.conn == nil || p.conn.Err() != nil {
		conn, err := remote.Dial(ctx, addr, self, config())
		if err != nil {
			return nil, err
		}
		asks, err := conn.Send(requests)
		if err != nil {
			conn.Abort()
			return nil, err
		}
		p.conn, p.asks, p.next, p.lanes = conn, asks, firstLane, nil
	}
	if n := len(p.lanes); n > 0 {
		l := p.lanes[n-1]
		p.lanes = p.lanes[:n-1]
		return l, nil
	}
	gate, err := remote.NewGate(remote.Credit, 1, laneExclusive, laneFloating)
	if err != nil {
		return nil, err
	}
	l := &lane{conn: p.conn, id: p.next, wake: make(chan struct{}, 1)}
	l.ring = exchange.NewRing(func() { signal(l.wake) })
	p.next++
	return l, p.conn.Receive(l.id, gate, l.ring)
}

// Stream is the answer to one request. It is used by one goroutine.
type Stream struct {
	peer *peer
	lane *lane
	addr string
	id   int64
	at   *message // the newest of this request
}

// Close lets others use the lane.
func (s *Stream) Close() {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	if s.lane.conn == s.peer.conn {
		s.peer.lanes = append(s.peer.lanes, s.lane)
	}
}

// Read calls f with each buffer of a task's output, which f must release. Tasks
// are read in the order of the request.
func (s *Stream) Read(ctx context.Context, up int, f func(*exchange.Buffer) error) error {
	if s.at == nil {
		if _, err := s.until(ctx, nil); err != nil {
			return err
		}
	}
	switch {
	case s.at.Error != "":
		return &Lost{s.addr, fmt.Errorf("%s", s.at.Error)}
	case s.at.Begin == nil || *s.at.Begin != up:
		return fmt.Errorf("the output of task %d was fetched out of turn", up)
	}
	m, err := s.until(ctx, f)
	if err == nil && m.Broken {
		err = &Lost{s.addr, fmt.Errorf("%s", m.Error)}
	}
	return err
}

// until hands buffers to f until the request's next message; what is of earlier
// requests is skipped.
func (s *Stream) until(ctx context.Context, f func(*exchange.Buffer) error) (message, error) {
	for {
		e, ok := s.lane.ring.Pop()
		switch {
		case !ok:
			select {
			case <-s.lane.wake:
			case <-s.lane.conn.Done():
				if s.lane.ring.Len() == 0 {
					return message{}, &Lost{s.addr, s.lane.conn.Err()}
				}
			case <-ctx.Done():
				return message{}, ctx.Err()
			}
		case e.Buffer != nil:
			if s.at == nil || f == nil {
				e.Buffer.Release()
				continue
			}
			if err := f(e.Buffer); err != nil {
				return message{}, err
			}
		default:
			if m, ok := e.Event.(message); ok && m.ID == s.id {
				s.at = &m
				return m, nil
			}
		}
	}
}
