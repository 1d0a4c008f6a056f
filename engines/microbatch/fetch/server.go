package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"streamduel/engines/cluster"
	"streamduel/exchange"
	"streamduel/exchange/remote"
)

// Serve answers requests from a store until the listener is closed, then ends the
// connections and returns.
func Serve(l net.Listener, self remote.Greeting, store *Store, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		c, err := remote.Accept(l, self, config())
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Warn("a connection was not taken", "error", err)
			select {
			case <-time.After(10 * time.Millisecond): // it may be the lack of something
			case <-ctx.Done():
			}
			continue
		}
		wg.Go(func() {
			if err := (&server{conn: c, store: store, lanes: map[uint32]*answers{}}).serve(ctx); err != nil {
				log.Warn("serving shuffle outputs", "to", c.Peer(), "error", err)
			}
		})
	}
}

// server is one connection's.
type server struct {
	conn  *remote.Conn
	store *Store
	lanes map[uint32]*answers
	wait  sync.WaitGroup
}

// answers is a lane: what goes out, and what has been asked for.
type answers struct {
	ring   *exchange.Ring
	asked  *cluster.Queue
	window chan *exchange.Buffer // for what is read from files
	made   int                   // buffers of it
}

// Take implements exchange.Owner: a buffer of the window has gone out.
func (l *answers) Take(b *exchange.Buffer) { l.window <- b }

// serve returns nil when the connection or the context ends.
func (s *server) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		s.conn.Abort()
		cancel()
		s.wait.Wait()
		for _, l := range s.lanes { // what did not go out any more
			for e, ok := l.ring.Pop(); ok; e, ok = l.ring.Pop() {
				if e.Buffer != nil {
					e.Buffer.Release()
				}
			}
		}
	}()
	wake := make(chan struct{}, 1)
	in := exchange.NewRing(func() { signal(wake) })
	gate, err := remote.NewGate(remote.Credit, 1, 1, 0)
	if err == nil {
		err = s.conn.Receive(requests, gate, in)
	}
	if err != nil {
		return err
	}
	for {
		e, ok := in.Pop()
		if !ok {
			select {
			case <-wake:
				continue
			case <-s.conn.Done():
			case <-ctx.Done():
			}
			return nil
		}
		m, ok := e.Event.(message)
		if !ok || m.Asked == nil || m.Lane < firstLane {
			return fmt.Errorf("%v is no request", e.Event)
		}
		lane, err := s.lane(ctx, m.Lane)
		if err != nil {
			return err
		}
		lane.asked.Put(m)
	}
}

// lane returns a lane, on which one request is answered after the other.
func (s *server) lane(ctx context.Context, id uint32) (*answers, error) {
	if l := s.lanes[id]; l != nil {
		return l, nil
	}
	ring, err := s.conn.Send(id)
	if err != nil {
		return nil, err
	}
	l := &answers{ring: ring, asked: cluster.NewQueue(), window: make(chan *exchange.Buffer, laneExclusive)}
	s.lanes[id] = l
	s.wait.Go(func() { l.asked.Serve(ctx, func(m any) { s.answer(ctx, l, m.(message)) }) })
	return l, nil
}

// answer puts everything that was asked for into the lane's ring. Of what is in
// memory that costs the views: the ring's contents go out as credit allows. What
// lies in files is read a few buffers ahead of what has gone out.
func (s *server) answer(ctx context.Context, lane *answers, m message) {
	end := message{ID: m.ID, End: true}
	free := func() (*exchange.Buffer, error) {
		if lane.made < laneExclusive && len(lane.window) == 0 {
			lane.made++
			return exchange.NewBuffer(lane), nil
		}
		select {
		case b := <-lane.window:
			return b, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for _, up := range m.Asked.Ups {
		loan, ok := s.store.Lend(m.Asked.key(up), m.Asked.Batch, m.Asked.Down)
		if !ok {
			end.Error = fmt.Sprintf("the output of task %d of stage %d in batch %d is not here", up, m.Asked.Stage, m.Asked.Batch)
			break
		}
		lane.ring.Push(exchange.Element{Event: message{ID: m.ID, Begin: &up}})
		err := loan.Read(free, func(b *exchange.Buffer) error {
			lane.ring.Push(exchange.Element{Buffer: b})
			return nil
		})
		if err != nil {
			end.Error, end.Broken = fmt.Sprintf("the output of task %d of stage %d in batch %d cannot be read: %v", up, m.Asked.Stage, m.Asked.Batch, err), true
			break
		}
	}
	lane.ring.Push(exchange.Element{Event: end})
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
