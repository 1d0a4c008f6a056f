package remote

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/exchange"
	"streamduel/exchange/credit"
)

// FlowControl is what keeps a sender from sending more than a receiver holds.
type FlowControl string

// The two ways; see the package comment.
const (
	Credit FlowControl = "credit"
	TCP    FlowControl = "tcp"
)

// Events encodes what a ring holds beside buffers.
type Events interface {
	Append(b []byte, event any) ([]byte, error)
	Decode(b []byte) (any, error)
}

// Config is what both ends of a connection agree on.
type Config struct {
	Flow   FlowControl
	Events Events
	// Overtake makes the event that goes before everything that waits in a
	// receiving ring of one that has overtaken at the sender; nil leaves it as it is.
	// The ring is locked meanwhile.
	Overtake func(event any, waiting []exchange.Element) any
	// Silence is how long a peer may send nothing before it counts as dead; it
	// sends something at least four times as often. 0 means 10 s.
	Silence time.Duration
}

// batchBytes is about how much goes out in one system call. With flow control
// by TCP it is also the mark up to which a sender takes buffers from its rings
// while the socket accepts nothing.
const batchBytes = 256 << 10

// keptBody is the largest event for which memory is kept.
const keptBody = 64 << 10

// ErrClosed is what a connection that was closed in order ends with.
var ErrClosed = errors.New("the connection was closed")

// Conn is the connection between two processes.
type Conn struct {
	net  net.Conn
	peer string
	cfg  Config

	wake chan struct{} // capacity 1: the writer has something to do
	done chan struct{} // closed when the connection is over
	wg   sync.WaitGroup

	mu        sync.Mutex
	err       error
	closing   bool
	senders   map[uint32]*sender
	receivers map[uint32]*receiver
	early     map[uint32]int // credits for channels whose sender is not there yet
	ready     []*sender
	grants    map[uint32]int // to announce
	sizes     map[uint32]int // likewise
	bye       atomic.Bool    // is said: a peer that is gone then has heard it
	sent      atomic.Int64
	received  atomic.Int64
}

// sender is the sending end of a channel. Its account belongs to Conn.mu.
type sender struct {
	conn    *Conn
	id      uint32
	ring    *exchange.Ring
	account credit.Sender
	open    bool // the receiver is there: it has granted something
	queued  bool
}

// newConn starts the two goroutines of a connection whose peer was greeted.
func newConn(nc net.Conn, peer string, cfg Config) *Conn {
	if cfg.Silence == 0 {
		cfg.Silence = 10 * time.Second
	}
	c := &Conn{
		net: nc, peer: peer, cfg: cfg, wake: make(chan struct{}, 1), done: make(chan struct{}),
		senders: make(map[uint32]*sender), receivers: make(map[uint32]*receiver),
		early: make(map[uint32]int), grants: make(map[uint32]int), sizes: make(map[uint32]int),
	}
	c.wg.Add(2)
	go func() { defer c.wg.Done(); c.end(c.write()) }()
	go func() { defer c.wg.Done(); c.end(c.read()) }()
	return c
}

// Peer returns the name that the other process gave itself.
func (c *Conn) Peer() string { return c.peer }

// Done is closed when the connection is over; Err says why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns nil while the connection lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Bytes returns what bodies of data frames have gone out and come in.
func (c *Conn) Bytes() (sent, received int64) { return c.sent.Load(), c.received.Load() }

// Send returns the ring of a channel that leads to the peer. What is pushed
// into it goes out as flow control allows; buffers are released when they have.
func (c *Conn) Send(id uint32) (*exchange.Ring, error) {
	s := &sender{conn: c, id: id}
	s.ring = exchange.NewRing(func() { c.enqueue(s) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.senders[id] != nil {
		return nil, fmt.Errorf("connection to %s: channel %d is sent to already", c.peer, id)
	}
	c.senders[id] = s
	if n := c.early[id]; n > 0 {
		delete(c.early, id)
		s.account.Grant(n)
		s.open = true
	}
	return s.ring, nil
}

// Receive has what arrives on a channel pushed into a ring, in buffers of the
// gate, and gives the sender its first credits. Each call takes the gate's next
// channel.
func (c *Conn) Receive(id uint32, g *Gate, ring *exchange.Ring) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if (g.account == nil) != (c.cfg.Flow == TCP) {
		return fmt.Errorf("connection to %s: its gate has another kind of flow control", c.peer)
	}
	if len(g.channels) == cap(g.channels) {
		return fmt.Errorf("connection to %s: channel %d is one more than its gate has", c.peer, id)
	}
	r := &receiver{conn: c, gate: g, id: id, tag: len(g.channels), ring: ring}
	c.mu.Lock()
	if c.receivers[id] != nil {
		c.mu.Unlock()
		return fmt.Errorf("connection to %s: channel %d is received already", c.peer, id)
	}
	c.receivers[id] = r
	c.mu.Unlock()
	ring.OnResize(func(bytes int) { c.resize(id, bytes) })
	g.channels = append(g.channels, r)
	first := 1 // with flow control by TCP: you may start
	if g.account != nil {
		first = g.account.Open(r.tag).Credits
	}
	c.grant(id, first)
	return nil
}

// grant has credits announced.
func (c *Conn) grant(id uint32, n int) {
	c.mu.Lock()
	c.grants[id] += n
	c.mu.Unlock()
	c.signal()
}

// resize has a size of buffers announced.
func (c *Conn) resize(id uint32, bytes int) {
	c.mu.Lock()
	c.sizes[id] = bytes
	c.mu.Unlock()
	c.signal()
}

// enqueue is called when a ring that was empty has an element.
func (c *Conn) enqueue(s *sender) {
	c.mu.Lock()
	c.push(s)
	c.mu.Unlock()
	c.signal()
}

func (c *Conn) push(s *sender) {
	if !s.queued {
		s.queued = true
		c.ready = append(c.ready, s)
	}
}

func (c *Conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Close ends the connection in order: what is in the rings and can be sent goes
// out first. It returns the error that the connection ended with, if it failed.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.signal()
	c.wg.Wait()
	if err := c.Err(); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// Abort ends the connection at once; what is on its way is lost.
func (c *Conn) Abort() {
	c.end(ErrClosed)
	c.wg.Wait()
}

// end records why the connection is over, once, and wakes whoever waits.
func (c *Conn) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("connection to %s: %w", c.peer, err)
	}
	c.err = err
	gates := make(map[*Gate]bool)
	for _, r := range c.receivers {
		gates[r.gate] = true
	}
	c.mu.Unlock()
	c.net.Close()
	close(c.done)
	c.signal()
	for g := range gates {
		g.wake()
	}
}

// write is the writer's loop.
func (c *Conn) write() error {
	var b batch
	ping := time.NewTicker(c.cfg.Silence / 4)
	defer ping.Stop()
	for {
		closing, err := c.fill(&b)
		if err != nil {
			return err
		}
		if b.empty() {
			if closing {
				b.header(header{kind: kindBye})
				c.bye.Store(true)
				if err := b.flush(c.net); err != nil {
					return err
				}
				return ErrClosed
			}
			select {
			case <-c.wake:
			case <-ping.C:
				b.header(header{kind: kindPing})
			case <-c.done:
				return ErrClosed
			}
			if b.empty() {
				continue
			}
		}
		c.sent.Add(b.data)
		if err := b.flush(c.net); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
}

// fill takes what can be sent: all credits, then one element of each channel
// in turn, so that a full one does not starve the others.
func (c *Conn) fill(b *batch) (closing bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.grants {
		b.header(header{kind: kindCredit, channel: id, count: n})
	}
	clear(c.grants)
	for id, n := range c.sizes {
		b.header(header{kind: kindSize, channel: id, count: n})
	}
	clear(c.sizes)
	i := 0
	for ; i < len(c.ready) && b.bytes < batchBytes; i++ {
		s := c.ready[i]
		s.queued = false
		if !s.open {
			continue // its first credit puts it back
		}
		e, backlog, ok := s.ring.PopAffordable(s.account.Credit() > 0)
		switch {
		case !ok:
			if s.account.Announce(backlog) {
				b.header(header{kind: kindBacklog, channel: s.id, backlog: backlog})
			}
			continue
		case e.Buffer != nil:
			if c.cfg.Flow == Credit {
				s.account.Spend(backlog)
			}
			b.buffer(s.id, e.Buffer, backlog)
		default:
			if err := b.event(c.cfg.Events, s.id, e); err != nil {
				return false, err
			}
		}
		c.push(s) // looks again: what remains may be an event, a buffer, or a backlog to tell
	}
	c.ready = c.ready[:copy(c.ready, c.ready[i:])]
	return c.closing, nil
}

// patient reads from a connection and allows it so long a silence from each read
// on. Time in which nobody reads, because a gate has no free buffer, is no silence.
type patient struct {
	net     net.Conn
	silence time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.net.SetReadDeadline(time.Now().Add(p.silence)); err != nil {
		return 0, err
	}
	return p.net.Read(b)
}

// read is the reader's loop.
func (c *Conn) read() error {
	in := bufio.NewReaderSize(patient{c.net, c.cfg.Silence}, 64<<10)
	var raw [headerSize]byte
	var body []byte
	for {
		if _, err := io.ReadFull(in, raw[:]); err != nil {
			return c.readError(err)
		}
		h, err := parseHeader(&raw)
		if err != nil {
			return err
		}
		switch h.kind {
		case kindBye:
			return ErrClosed
		case kindCredit:
			c.granted(h.channel, h.count)
		case kindSize:
			c.mu.Lock()
			if s := c.senders[h.channel]; s != nil { // without one nothing waits that is too large
				s.ring.Resize(h.count)
			}
			c.mu.Unlock()
		case kindBacklog:
			if r := c.receiver(h.channel); r != nil {
				r.gate.backlog(r, h.backlog)
			}
		case kindData:
			r := c.receiver(h.channel)
			if r == nil {
				return fmt.Errorf("data for channel %d, which nobody receives", h.channel)
			}
			buf, err := r.gate.buffer(r)
			if err != nil {
				return fmt.Errorf("channel %d: %w", h.channel, err)
			}
			buf.Data = buf.Data[:h.length]
			if _, err := io.ReadFull(in, buf.Data); err != nil {
				buf.Release()
				return c.readError(err)
			}
			buf.Records, buf.Flags = h.count, exchange.Flags(h.flags)
			c.received.Add(int64(h.length))
			r.gate.backlog(r, h.backlog)
			r.ring.Push(exchange.Element{Buffer: buf})
		case kindEvent:
			if cap(body) < h.length {
				body = make([]byte, h.length)
			}
			body = body[:h.length]
			if _, err := io.ReadFull(in, body); err != nil {
				return c.readError(err)
			}
			r := c.receiver(h.channel)
			if r == nil {
				return fmt.Errorf("an event for channel %d, which nobody receives", h.channel)
			}
			e, err := c.cfg.Events.Decode(body)
			if err != nil {
				return fmt.Errorf("channel %d: %w", h.channel, err)
			}
			switch {
			case h.flags&1 == 0:
				r.ring.Push(exchange.Element{Event: e})
			case c.cfg.Overtake == nil:
				r.ring.PushPriority(e)
			default:
				r.ring.Overtake(func(waiting []exchange.Element) any { return c.cfg.Overtake(e, waiting) })
			}
			if cap(body) > keptBody {
				body = nil
			}
		}
	}
}

func (c *Conn) readError(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("nothing was heard for %s", c.cfg.Silence)
	}
	if c.bye.Load() {
		return ErrClosed
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the peer is gone")
	}
	return fmt.Errorf("read: %w", err)
}

func (c *Conn) receiver(id uint32) *receiver {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.receivers[id]
}

func (c *Conn) granted(id uint32, n int) {
	c.mu.Lock()
	if s := c.senders[id]; s != nil {
		s.account.Grant(n)
		s.open = true
		c.push(s)
	} else {
		c.early[id] += n
	}
	c.mu.Unlock()
	c.signal()
}
