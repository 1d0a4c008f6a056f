// Package credit is the account of credit-based flow control between the two
// ends of many channels that share one connection: who may send how many
// buffers, and to whom the receiver's floating buffers go. It is Flink's
// protocol (RemoteInputChannel, CreditBasedSequenceNumberingViewReader) without
// the network: numbers in, numbers out, nothing blocks.
//
// A buffer on its way costs one credit, and a credit stands for a buffer that
// the receiver has set aside, so whatever arrives finds room and no channel can
// hold up another one's connection. Events cost nothing.
//
// # The life of a receiver's buffer
//
//	free ──grant──► granted ──arrived──► filled ──released──► free
//
// Each channel owns exclusive buffers, which only it can use: they are what
// excludes deadlock, because a channel whose reader keeps reading always gets
// one back. The floating ones go to the channels whose sender reports a backlog,
// one at a time in the order in which they asked.
package credit

import (
	"errors"
	"fmt"
)

// Sender is the sending end's account of one channel.
type Sender struct {
	credit int
	told   int // the backlog that the receiver knows of
}

// Grant adds credits.
func (s *Sender) Grant(n int) { s.credit += n }

// Credit returns how many buffers may be sent now.
func (s *Sender) Credit() int { return s.credit }

// Spend takes the credit of one buffer, whose frame carries the backlog behind
// it. It returns false, and nothing may be sent, without credit.
func (s *Sender) Spend(backlog int) bool {
	if s.credit == 0 {
		return false
	}
	s.credit--
	s.told = backlog
	return true
}

// Announce reports whether a backlog has to be announced by itself: there are
// buffers that no credit lets go, and the receiver does not know of them.
func (s *Sender) Announce(backlog int) bool {
	if s.credit > 0 || backlog <= s.told {
		return false
	}
	s.told = backlog
	return true
}

// ErrOverrun means that a buffer arrived that no credit had been given for.
var ErrOverrun = errors.New("a buffer arrived without credit")

// Grant is what the receiver announces to one channel's sender.
type Grant struct{ Channel, Credits int }

// Gate is the receiving end's account of the channels of one task's input.
type Gate struct {
	exclusive int
	floating  int // free
	channels  []channel
	waiting   []int // channels that want a floating buffer, longest first
}

type channel struct {
	granted int // announced, not yet used
	filled  int // arrived, not yet released
	backlog int // at the sender, as last heard
	waits   bool
}

// buffers returns how many buffers the channel holds in one way or another.
func (c *channel) buffers() int { return c.granted + c.filled }

// NewGate returns a gate whose channels own so many buffers each and share the
// floating ones. At least one must be exclusive.
func NewGate(channels, exclusive, floating int) (*Gate, error) {
	if channels < 1 || exclusive < 1 || floating < 0 {
		return nil, fmt.Errorf("credit: a gate of %d channels with %d exclusive buffers each and %d floating: channels and exclusive start at 1, floating at 0", channels, exclusive, floating)
	}
	return &Gate{exclusive: exclusive, floating: floating, channels: make([]channel, channels)}, nil
}

// Bound returns how many buffers can be granted or filled at once.
func (g *Gate) Bound() int {
	n := g.floating
	for i := range g.channels {
		n += max(g.exclusive, g.channels[i].buffers())
	}
	return n
}

// Filled returns how many buffers hold data.
func (g *Gate) Filled() int {
	n := 0
	for i := range g.channels {
		n += g.channels[i].filled
	}
	return n
}

// BacklogOf returns what a channel's sender has last said still waits there.
func (g *Gate) BacklogOf(ch int) int { return g.channels[ch].backlog }

// Open grants a channel's exclusive buffers, once, when its sender may start.
func (g *Gate) Open(ch int) Grant {
	g.channels[ch].granted = g.exclusive
	return Grant{ch, g.exclusive}
}

// Arrived accounts for a buffer that came in.
func (g *Gate) Arrived(ch int) error {
	c := &g.channels[ch]
	if c.granted == 0 {
		return ErrOverrun
	}
	c.granted--
	c.filled++
	return nil
}

// Backlog accounts for what a sender says still waits there, and appends what
// is granted to it in return.
func (g *Gate) Backlog(ch, buffers int, grants []Grant) []Grant {
	g.channels[ch].backlog = buffers
	return g.settle(ch, grants)
}

// Released accounts for a buffer that its reader gave back, and appends what
// is granted for it, to its own channel or to one that has waited longer.
func (g *Gate) Released(ch int, grants []Grant) []Grant {
	c := &g.channels[ch]
	if c.buffers() > g.exclusive {
		g.floating++
	}
	c.filled--
	for g.floating > 0 && len(g.waiting) > 0 {
		next := g.waiting[0]
		g.waiting = g.waiting[:copy(g.waiting, g.waiting[1:])]
		w := &g.channels[next]
		w.waits = false
		if !g.wants(w) {
			continue
		}
		g.floating--
		w.granted++
		grants = append(grants, Grant{next, 1})
		if g.wants(w) {
			g.wait(next)
		}
	}
	return g.settle(ch, grants)
}

// wants reports whether more credit would be of use: enough for the backlog
// and for what may be written while the announcement travels.
func (g *Gate) wants(c *channel) bool { return c.granted < c.backlog+g.exclusive }

func (g *Gate) wait(ch int) {
	if c := &g.channels[ch]; !c.waits {
		c.waits = true
		g.waiting = append(g.waiting, ch)
	}
}

// settle grants a channel what it wants and can have.
func (g *Gate) settle(ch int, grants []Grant) []Grant {
	c := &g.channels[ch]
	n := 0
	for g.wants(c) {
		if c.buffers() >= g.exclusive {
			// Behind those that wait already, even when one is free just now:
			// none is free while one waits.
			if c.backlog == 0 {
				break
			}
			if g.floating == 0 {
				g.wait(ch)
				break
			}
			g.floating--
		}
		c.granted++
		n++
	}
	if n == 0 {
		return grants
	}
	return append(grants, Grant{ch, n})
}
