package credit

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestOneChannel(t *testing.T) {
	g, err := NewGate(1, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	var s Sender
	s.Grant(g.Open(0).Credits)
	for _, backlog := range []int{5, 4} {
		if !s.Spend(backlog) {
			t.Fatal("no credit for the exclusive buffers")
		}
		if err := g.Arrived(0); err != nil {
			t.Fatal(err)
		}
	}
	if s.Spend(3) {
		t.Fatal("a third buffer went out on two credits")
	}
	// Two are filled; all three floating ones go to a backlog of four.
	if got := g.Backlog(0, 4, nil); !slices.Equal(got, []Grant{{0, 3}}) {
		t.Fatalf("granted %v", got)
	}
	// A floating buffer that comes back is granted again: the backlog is longer.
	if got := g.Released(0, nil); !slices.Equal(got, []Grant{{0, 1}}) {
		t.Fatalf("granted %v", got)
	}
	if g.Bound() != 5 {
		t.Fatalf("bound %d, 2 exclusive and 3 floating", g.Bound())
	}
}

func TestFloatingGoInTheOrderOfAsking(t *testing.T) {
	g, _ := NewGate(3, 1, 1)
	for ch := range 3 {
		g.Open(ch)
		if err := g.Arrived(ch); err != nil {
			t.Fatal(err)
		}
	}
	if got := g.Backlog(0, 9, nil); !slices.Equal(got, []Grant{{0, 1}}) {
		t.Fatal(got)
	}
	if got := append(g.Backlog(2, 9, nil), g.Backlog(1, 9, nil)...); len(got) != 0 {
		t.Fatal(got)
	}
	// Channel 0 took the floating buffer and asked for more before the others,
	// so what comes back goes round: 0, 2, 1.
	for _, step := range []struct{ release, want int }{{0, 0}, {0, 2}, {2, 1}} {
		got := g.Released(step.release, nil)
		if !slices.Equal(got, []Grant{{step.want, 1}}) {
			t.Fatalf("%d released: granted %v, want one to %d", step.release, got, step.want)
		}
		if step.want == 0 {
			if err := g.Arrived(0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAnnounceOnlyWhatIsStuckAndNews(t *testing.T) {
	var s Sender
	if !s.Announce(1) || s.Announce(1) || !s.Announce(2) {
		t.Fatal("a backlog without credit is announced once for each value")
	}
	s.Grant(1)
	if s.Announce(3) {
		t.Fatal("with credit the backlog travels with the buffer")
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range [][3]int{{0, 1, 1}, {1, 0, 1}, {1, 1, -1}} {
		if _, err := NewGate(c[0], c[1], c[2]); err == nil {
			t.Errorf("%v accepted", c)
		}
	}
	g, _ := NewGate(1, 1, 0)
	if err := g.Arrived(0); !errors.Is(err, ErrOverrun) {
		t.Errorf("a buffer before any credit: %v", err)
	}
}

// message travels between the two ends: a buffer with the backlog behind it, an
// announcement, or a grant.
type message struct {
	ch, n  int
	buffer bool
}

// model is both ends of a gate with the wires between them, each first in first
// out, and every step of anyone a choice of the test.
type model struct {
	t                   *testing.T
	g                   *Gate
	send                []Sender
	queue, sent         []int       // buffers that wait at the sender, and that ever left
	filled              []int       // at the reader
	out                 [][]message // sender → receiver, by channel's connection
	back                [][]message
	exclusive, floating int
}

func (m *model) grants(gs []Grant) {
	for _, g := range gs {
		m.back[g.Channel] = append(m.back[g.Channel], message{ch: g.Channel, n: g.Credits})
	}
}

// check compares the ends' books with what is on the wires.
func (m *model) check() {
	m.t.Helper()
	taken := 0
	for ch := range m.send {
		onWire := m.send[ch].Credit()
		for _, msg := range m.out[ch] {
			if msg.buffer {
				onWire++
			}
		}
		for _, msg := range m.back[ch] {
			onWire += msg.n
		}
		c := m.g.channels[ch]
		if onWire != c.granted {
			m.t.Fatalf("channel %d: %d credits at the sender or on their way, %d granted: one was lost or made", ch, onWire, c.granted)
		}
		if c.filled != m.filled[ch] || c.granted < 0 {
			m.t.Fatalf("channel %d: %+v, %d filled", ch, c, m.filled[ch])
		}
		taken += max(0, c.buffers()-m.exclusive)
	}
	if taken+m.g.floating != m.floating || m.g.floating < 0 {
		m.t.Fatalf("%d floating taken and %d free of %d", taken, m.g.floating, m.floating)
	}
}

// step does one thing that can be done now, chosen by r. With drain, nothing
// new is written. It returns false when nothing is left to do.
func (m *model) step(r *rand.Rand, drain bool) bool {
	var can []func()
	for ch := range m.send {
		if !drain && m.queue[ch] < 20 {
			can = append(can, func() {
				m.queue[ch]++
				if m.send[ch].Announce(m.queue[ch]) {
					m.out[ch] = append(m.out[ch], message{ch: ch, n: m.queue[ch]})
				}
			})
		}
		if m.queue[ch] > 0 && m.send[ch].Credit() > 0 {
			can = append(can, func() {
				m.queue[ch]--
				m.send[ch].Spend(m.queue[ch])
				m.sent[ch]++
				m.out[ch] = append(m.out[ch], message{ch, m.queue[ch], true})
				if m.send[ch].Announce(m.queue[ch]) {
					m.out[ch] = append(m.out[ch], message{ch: ch, n: m.queue[ch]})
				}
			})
		}
		if len(m.out[ch]) > 0 {
			can = append(can, func() {
				msg := m.out[ch][0]
				m.out[ch] = m.out[ch][1:]
				if msg.buffer {
					if err := m.g.Arrived(ch); err != nil {
						m.t.Fatalf("channel %d: %v", ch, err)
					}
					m.filled[ch]++
				}
				m.grants(m.g.Backlog(ch, msg.n, nil))
			})
		}
		if len(m.back[ch]) > 0 {
			can = append(can, func() {
				m.send[ch].Grant(m.back[ch][0].n)
				m.back[ch] = m.back[ch][1:]
			})
		}
		if m.filled[ch] > 0 {
			can = append(can, func() {
				m.filled[ch]--
				m.grants(m.g.Released(ch, nil))
			})
		}
	}
	if len(can) == 0 {
		return false
	}
	can[r.IntN(len(can))]()
	return true
}

// Under any interleaving no credit is lost or made, no buffer arrives without
// one, no bound is passed, and once nothing new is written everything arrives.
func TestAnyInterleaving(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		n, exclusive, floating := 1+r.IntN(5), 1+r.IntN(3), r.IntN(9)
		g, err := NewGate(n, exclusive, floating)
		if err != nil {
			t.Fatal(err)
		}
		m := &model{
			t: t, g: g, send: make([]Sender, n), queue: make([]int, n), sent: make([]int, n), filled: make([]int, n),
			out: make([][]message, n), back: make([][]message, n), exclusive: exclusive, floating: floating,
		}
		for ch := range n {
			m.grants([]Grant{g.Open(ch)})
		}
		for range 400 {
			m.step(r, false)
			m.check()
		}
		for m.step(r, true) {
			m.check()
		}
		for ch, q := range m.queue {
			if q > 0 {
				t.Fatalf("seed %d: channel %d: %d buffers never left: deadlock", seed, ch, q)
			}
		}
		if g.Bound() != n*exclusive+floating {
			t.Fatalf("seed %d: bound %d", seed, g.Bound())
		}
	}
}
