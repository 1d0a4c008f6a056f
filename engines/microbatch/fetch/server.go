package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

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
			if err := (&server{conn: c, store: store, lanes: map[uint32]*exchange.Ring{}}).serve(ctx); err != nil {
				log.Warn("serving shuffle outputs", "to", c.Peer(), "error", err)
			}
		})
	}
}

// server is one connection's.
type server struct {
	conn  *remote.Conn
	store *Store
	lanes map[uint32]*exchange.Ring
}

// serve returns nil when the connection or the context ends.
func (s *server) serve(ctx context.Context) error {
	defer s.conn.Abort()
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
		if err := s.answer(m); err != nil {
			return err
		}
	}
}

// answer puts everything that was asked for into the lane's ring. It costs no
// memory but for the views: the ring's contents go out as credit allows.
func (s *server) answer(m message) error {
	lane := s.lanes[m.Lane]
	if lane == nil {
		var err error
		if lane, err = s.conn.Send(m.Lane); err != nil {
			return err
		}
		s.lanes[m.Lane] = lane
	}
	end := message{ID: m.ID, End: true}
	for _, up := range m.Asked.Ups {
		views, ok := s.store.Lend(m.Asked.key(up), m.Asked.Batch, m.Asked.Down)
		if !ok {
			end.Error = fmt.Sprintf("the output of task %d of stage %d in batch %d is not here", up, m.Asked.Stage, m.Asked.Batch)
			break
		}
		lane.Push(exchange.Element{Event: message{ID: m.ID, Begin: &up}})
		for _, v := range views {
			lane.Push(exchange.Element{Buffer: v})
		}
	}
	lane.Push(exchange.Element{Event: end})
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
