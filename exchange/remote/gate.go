package remote

import (
	"sync"

	"streamduel/exchange"
	"streamduel/exchange/credit"
)

// Gate holds the receive buffers of one task's remote input channels: some for
// each channel and some that float between them. Its channels may come from
// several connections.
type Gate struct {
	mu       sync.Mutex
	account  *credit.Gate
	free     []*exchange.Buffer
	channels []*receiver // by Tag of a buffer
	grants   []credit.Grant

	// With flow control by TCP there is no account, only what is left.
	total   int
	left    int // below 0 where more are out than there should be
	beyond  bool
	waiting sync.Cond
}

// NewGate returns a gate of so many channels, which own exclusive buffers each
// and share the floating ones. They are made when first needed.
func NewGate(flow FlowControl, channels, exclusive, floating int) (*Gate, error) {
	account, err := credit.NewGate(channels, exclusive, floating)
	if err != nil {
		return nil, err
	}
	g := &Gate{channels: make([]*receiver, 0, channels), total: channels*exclusive + floating}
	g.waiting.L = &g.mu
	if flow == TCP {
		g.left = g.total
	} else {
		g.account = account
	}
	return g, nil
}

// receiver is the receiving end of a channel.
type receiver struct {
	conn *Conn
	gate *Gate
	id   uint32
	tag  int // index in the gate
	ring *exchange.Ring
}

// buffer returns the buffer that a frame has been given credit for.
func (g *Gate) buffer(r *receiver) (*exchange.Buffer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.account != nil {
		if err := g.account.Arrived(r.tag); err != nil {
			return nil, err
		}
	} else {
		for g.left <= 0 && !g.beyond {
			if err := r.conn.Err(); err != nil {
				return nil, err
			}
			g.waiting.Wait()
		}
		g.left--
	}
	var b *exchange.Buffer
	if n := len(g.free); n > 0 {
		b, g.free = g.free[n-1], g.free[:n-1]
	} else {
		b = exchange.NewBuffer(g)
	}
	b.Tag = r.tag
	return b, nil
}

// backlog passes a sender's report on to the account.
func (g *Gate) backlog(r *receiver, n int) {
	if g.account == nil {
		return
	}
	g.mu.Lock()
	g.grants = g.account.Backlog(r.tag, n, g.grants[:0])
	g.announce()
	g.mu.Unlock()
}

// Take implements exchange.Owner: the task has read the buffer.
func (g *Gate) Take(b *exchange.Buffer) {
	g.mu.Lock()
	if len(g.free) < g.total { // else it was one beyond the bound
		g.free = append(g.free, b)
	}
	if g.account == nil {
		g.left++
		g.waiting.Signal()
	} else {
		g.grants = g.account.Released(b.Tag, g.grants[:0])
		g.announce()
	}
	g.mu.Unlock()
}

// Beyond lets buffers come beyond the gate's bound, or ends that. It has an effect
// with flow control by TCP only, where a task needs it while it takes nothing of
// some channels until something has come on the others: what the former have sent
// would fill the gate and keep the connection from the latter for ever. With credit
// each channel has buffers of its own.
func (g *Gate) Beyond(on bool) {
	if g.account != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.beyond = on
	g.waiting.Broadcast()
}

// announce hands the new grants to their connections. A gate's lock may be held
// while a connection's is taken, never the other way round.
func (g *Gate) announce() {
	for _, n := range g.grants {
		r := g.channels[n.Channel]
		r.conn.grant(r.id, n.Credits)
	}
}

// wake lets a connection go that has failed while it waited for a buffer.
func (g *Gate) wake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting.Broadcast()
}

// Backlog returns how many buffers wait at the sender of the gate's n-th channel, as
// last heard; with flow control by TCP nobody tells.
func (g *Gate) Backlog(n int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.account == nil {
		return 0
	}
	return g.account.BacklogOf(n)
}

// Bound returns how many buffers the gate has.
func (g *Gate) Bound() int { return g.total }

// InUse returns how many buffers hold data.
func (g *Gate) InUse() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.account == nil {
		return g.total - g.left
	}
	return g.account.Filled()
}
