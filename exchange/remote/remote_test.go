package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/exchange"
)

// numbers encodes events that are ints.
type numbers struct{}

func (numbers) Append(b []byte, e any) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(b, uint64(e.(int))), nil
}

func (numbers) Decode(b []byte) (any, error) {
	if len(b) != 8 {
		return nil, fmt.Errorf("an event of %d bytes", len(b))
	}
	return int(binary.LittleEndian.Uint64(b)), nil
}

// pair returns the two ends of a connection over loopback.
func pair(t testing.TB, flow FlowControl) (a, b *Conn) {
	t.Helper()
	return pairOf(t, Config{Flow: flow, Events: numbers{}})
}

func pairOf(t testing.TB, cfg Config) (a, b *Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan *Conn, 1)
	go func() {
		c, err := Accept(l, Greeting{"b", "token"}, cfg)
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	a, err = Dial(context.Background(), l.Addr().String(), Greeting{"a", "token"}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	b = <-accepted
	if a.Peer() != "b" || b.Peer() != "a" {
		t.Fatalf("greeted %q and %q", a.Peer(), b.Peer())
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// inlet is a receiving channel with a signal.
type inlet struct {
	ring *exchange.Ring
	data chan struct{}
}

func newInlet() *inlet {
	in := &inlet{data: make(chan struct{}, 1)}
	in.ring = exchange.NewRing(func() {
		select {
		case in.data <- struct{}{}:
		default:
		}
	})
	return in
}

// next waits for an element.
func (in *inlet) next(t testing.TB, c *Conn) exchange.Element {
	t.Helper()
	for {
		if e, ok := in.ring.Pop(); ok {
			return e
		}
		select {
		case <-in.data:
		case <-c.Done():
			if e, ok := in.ring.Pop(); ok {
				return e
			}
			t.Errorf("the connection ended: %v", c.Err())
			return exchange.Element{Event: -1}
		}
	}
}

// outlet makes buffers of a bounded pool and waits while there is none.
type outlet struct {
	pool *exchange.Pool
	room chan struct{}
}

func newOutlet(n int) *outlet {
	o := &outlet{room: make(chan struct{}, 1)}
	o.pool = exchange.NewPool(n, func() {
		select {
		case o.room <- struct{}{}:
		default:
		}
	})
	return o
}

func (o *outlet) buffer() *exchange.Buffer {
	for {
		if b := o.pool.TryGet(); b != nil {
			return b
		}
		<-o.room
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Everything arrives once, in order, with its flags and counts, on many
// channels in both directions, with few buffers.
func TestEverythingArrives(t *testing.T) {
	for _, flow := range []FlowControl{Credit, TCP} {
		t.Run(string(flow), func(t *testing.T) {
			a, b := pair(t, flow)
			const channels, elements = 8, 300
			var wg sync.WaitGroup
			for _, dir := range []struct {
				from, to *Conn
				base     uint32
			}{{a, b, 0}, {b, a, 100}} {
				g, err := NewGate(flow, channels, 1, 3)
				must(t, err)
				for ch := range uint32(channels) {
					in := newInlet()
					id := dir.base + ch
					out, err := dir.from.Send(id) // before or after Receive: the order does not matter
					must(t, err)
					wg.Add(2)
					go func() {
						defer wg.Done()
						o := newOutlet(2)
						r := rand.New(rand.NewPCG(uint64(id), 1))
						for i := range elements {
							if i%10 == 9 {
								out.Push(exchange.Element{Event: i})
								continue
							}
							buf := o.buffer()
							buf.Data = append(buf.Data[:0], bytes.Repeat([]byte{byte(i)}, 1+r.IntN(exchange.MaxData-1))...)
							buf.Records, buf.Flags = i, exchange.Flags(i%16)
							out.Push(exchange.Element{Buffer: buf})
						}
					}()
					must(t, dir.to.Receive(id, g, in.ring))
					go func() {
						defer wg.Done()
						r := rand.New(rand.NewPCG(uint64(id), 1))
						for i := range elements {
							e := in.next(t, dir.to)
							if i%10 == 9 {
								if e.Event != i {
									t.Errorf("channel %d: element %d is %v, want the event", id, i, e)
									return
								}
								continue
							}
							n := 1 + r.IntN(exchange.MaxData-1)
							if e.Buffer == nil || len(e.Buffer.Data) != n || e.Buffer.Records != i || e.Buffer.Flags != exchange.Flags(i%16) ||
								bytes.Count(e.Buffer.Data, []byte{byte(i)}) != n {
								t.Errorf("channel %d: element %d is not what was sent", id, i)
								return
							}
							e.Buffer.Release()
						}
					}()
				}
			}
			wg.Wait()
		})
	}
}

// fill pushes n one-byte buffers.
func fill(out *exchange.Ring, n int) {
	pool := exchange.NewPool(n, nil)
	for range n {
		b := pool.TryGet()
		b.Data = append(b.Data, 1)
		out.Push(exchange.Element{Buffer: b})
	}
}

// With credit a channel that nobody reads holds exactly its share of buffers
// and no other channel up; events and priority events pass it.
func TestASlowChannelHoldsUpItselfOnly(t *testing.T) {
	a, b := pair(t, Credit)
	g, err := NewGate(Credit, 2, 2, 3)
	must(t, err)
	slow, fast := newInlet(), newInlet()
	for id, in := range []*inlet{slow, fast} {
		must(t, b.Receive(uint32(id), g, in.ring))
	}
	stuck, err := a.Send(0)
	must(t, err)
	free, err := a.Send(1)
	must(t, err)
	fill(stuck, 100)
	for range 20 {
		fill(free, 10)
		for range 10 {
			fast.next(t, b).Buffer.Release()
		}
	}
	stuck.PushPriority(7)
	for {
		if e, _, ok := slow.ring.PopAffordable(false); ok {
			if e.Event != 7 || !e.Priority {
				t.Errorf("%v, want the priority event", e)
			}
			break
		}
		<-slow.data
	}
	if n := g.InUse(); n > 2+3 {
		t.Errorf("a slow channel holds %d buffers, 2 are its own and 3 float", n)
	}
}

// With flow control by TCP one slow channel stops the whole connection.
func TestHeadOfLineBlocking(t *testing.T) {
	a, b := pair(t, TCP)
	slow, fast := newInlet(), newInlet()
	gs, err := NewGate(TCP, 1, 1, 1)
	must(t, err)
	gf, err := NewGate(TCP, 1, 1, 1)
	must(t, err)
	must(t, b.Receive(0, gs, slow.ring))
	must(t, b.Receive(1, gf, fast.ring))
	stuck, err := a.Send(0)
	must(t, err)
	free, err := a.Send(1)
	must(t, err)
	fill(stuck, 10)
	// The slow gate is full and the reader of the connection waits for it.
	first, second := slow.next(t, b), slow.next(t, b)
	fill(free, 1)
	for a.mustHaveSent(11) {
		runtime.Gosched()
	}
	if gs.InUse() != 2 || fast.ring.Len() != 0 {
		t.Fatalf("%d buffers in the slow gate, %d elements in the fast channel", gs.InUse(), fast.ring.Len())
	}
	first.Buffer.Release()
	second.Buffer.Release()
	for range 8 {
		slow.next(t, b).Buffer.Release()
	}
	fast.next(t, b).Buffer.Release()
}

// TestBeyondTheBound: a task that takes nothing of one channel until something has
// come on the other gets it, and the gate shrinks back.
func TestBeyondTheBound(t *testing.T) {
	a, b := pair(t, TCP)
	blocked, awaited := newInlet(), newInlet()
	g, err := NewGate(TCP, 2, 1, 1)
	must(t, err)
	must(t, b.Receive(0, g, blocked.ring))
	must(t, b.Receive(1, g, awaited.ring))
	first, err := a.Send(0)
	must(t, err)
	second, err := a.Send(1)
	must(t, err)
	fill(first, 10)
	for blocked.ring.Len() < g.Bound() {
		runtime.Gosched()
	}
	g.Beyond(true)
	fill(second, 1)
	awaited.next(t, b).Buffer.Release()
	for range 10 {
		blocked.next(t, b).Buffer.Release()
	}
	g.Beyond(false)
	if len(g.free) > g.Bound() || g.InUse() != 0 {
		t.Errorf("%d buffers are kept of %d, %d are in use", len(g.free), g.Bound(), g.InUse())
	}
	fill(first, 10)
	for blocked.ring.Len() < g.Bound() {
		runtime.Gosched()
	}
	if n := g.InUse(); n != g.Bound() {
		t.Errorf("%d buffers are out, %d is the bound again", n, g.Bound())
	}
}

func (c *Conn) mustHaveSent(bytes int64) bool { sent, _ := c.Bytes(); return sent < bytes }

func TestPeerGone(t *testing.T) {
	a, b := pair(t, Credit)
	b.net.Close()
	<-a.Done()
	if err := a.Err(); err == nil || !strings.Contains(err.Error(), "connection to b") {
		t.Errorf("%v", err)
	}
}

func TestCloseInOrder(t *testing.T) {
	a, b := pair(t, Credit)
	in := newInlet()
	g, err := NewGate(Credit, 1, 4, 0)
	must(t, err)
	must(t, b.Receive(1, g, in.ring))
	out, err := a.Send(1)
	must(t, err)
	fill(out, 3)
	in.next(t, b)
	must(t, a.Close())
	for range 2 {
		in.next(t, b)
	}
	<-b.Done()
	if err := b.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("the peer of an orderly close saw: %v", err)
	}
}

// A peer that is silent, as behind a half-open connection, has failed.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		go io.Copy(io.Discard, there) //nolint:errcheck // it swallows and never answers
		c := newConn(here, "mute", Config{Flow: Credit, Events: numbers{}, Silence: 8 * time.Second})
		start := time.Now()
		<-c.Done()
		if d := time.Since(start); d != 8*time.Second || !strings.Contains(c.Err().Error(), "mute: nothing was heard for 8s") {
			t.Errorf("after %s: %v", d, c.Err())
		}
		there.Close()
	})
}

// Two idle ends keep each other alive.
func TestIdleIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		a := newConn(here, "b", Config{Flow: Credit, Silence: 4 * time.Second})
		b := newConn(there, "a", Config{Flow: Credit, Silence: 4 * time.Second})
		time.Sleep(time.Hour) // virtual
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("%v, %v", a.Err(), b.Err())
		}
		go a.Close()
		<-b.Done()
		<-a.Done()
	})
}

// With flow control by TCP a receiver may not read for longer than silence is
// allowed: in between two frames, and in between a frame's header and its body.
func TestSlowIsNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		cfg := Config{Flow: TCP, Events: numbers{}, Silence: 4 * time.Second}
		a, b := newConn(here, "b", cfg), newConn(there, "a", cfg)
		in := newInlet()
		g, err := NewGate(TCP, 1, 1, 0)
		must(t, err)
		must(t, b.Receive(0, g, in.ring))
		out, err := a.Send(0)
		must(t, err)
		fill(out, 10)
		for range 10 {
			e := in.next(t, b)
			time.Sleep(15 * time.Second)
			if e.Buffer == nil {
				break
			}
			e.Buffer.Release()
		}
		if a.Err() != nil || b.Err() != nil {
			t.Errorf("%v, %v", a.Err(), b.Err())
		}
		go a.Close()
		<-b.Done()
		<-a.Done()
	})
}

func TestGreetings(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	cfg := Config{Flow: Credit}
	for name, dial := range map[string]func() error{
		"another job or attempt": func() error {
			c, err := Dial(t.Context(), l.Addr().String(), Greeting{"a", "old"}, cfg)
			if err == nil {
				<-c.Done()
				err = c.Err()
			}
			return err
		},
		"not of this protocol": func() error {
			nc, err := net.Dial("tcp", l.Addr().String())
			must(t, err)
			defer nc.Close()
			_, err = nc.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			must(t, err)
			_, err = io.Copy(io.Discard, nc)
			return errors.Join(err, io.EOF)
		},
	} {
		refused := make(chan error, 1)
		go func() {
			c, err := Accept(l, Greeting{"b", "new"}, cfg)
			if err == nil {
				c.Close()
			}
			refused <- err
		}()
		if dial() == nil {
			t.Errorf("%s: the dialling side was accepted", name)
		}
		if err := <-refused; err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A sender that ignores its credit is cut off.
func TestOverrun(t *testing.T) {
	here, there := net.Pipe()
	c := newConn(here, "greedy", Config{Flow: Credit})
	g, err := NewGate(Credit, 1, 1, 0)
	must(t, err)
	must(t, c.Receive(1, g, exchange.NewRing(nil)))
	go io.Copy(io.Discard, there) //nolint:errcheck // credits
	var b []byte
	for range 2 {
		b = append(header{kind: kindData, channel: 1, length: 1, count: 1}.append(b), 'x')
	}
	there.Write(b) //nolint:errcheck // it is cut off in the middle
	<-c.Done()
	if err := c.Err(); !strings.Contains(err.Error(), "without credit") {
		t.Errorf("%v", err)
	}
}

// A thousand channels between two processes need two goroutines an end, and
// little memory beyond their buffers.
func TestManyChannelsFewGoroutines(t *testing.T) {
	a, b := pair(t, Credit)
	before, held := runtime.NumGoroutine(), heap()
	g, err := NewGate(Credit, 1000, 2, 8)
	must(t, err)
	ins := make([]*inlet, 1000)
	for id := range ins {
		ins[id] = newInlet()
		must(t, b.Receive(uint32(id), g, ins[id].ring))
		out, err := a.Send(uint32(id))
		must(t, err)
		fill(out, 3)
	}
	for _, in := range ins {
		for range 3 {
			in.next(t, b).Buffer.Release()
		}
	}
	if n := runtime.NumGoroutine(); n > before+4 {
		t.Errorf("%d goroutines for 1000 channels, %d before", n, before)
	}
	const buffers = (1000*2 + 8) * exchange.Size
	if n := heap() - held; n > buffers+64<<20 {
		t.Errorf("1000 channels hold %d MiB, their buffers are %d", n>>20, buffers>>20)
	} else {
		t.Logf("%d MiB held by both ends, receiving buffers included (%d MiB if all are made)", n>>20, buffers>>20)
	}
	runtime.KeepAlive(ins)
}

// heap is what lives on it, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func FuzzStream(f *testing.F) {
	data := append(header{kind: kindData, channel: 1, length: 3, count: 1, backlog: 5}.append(nil), 1, 2, 3)
	event := append(header{kind: kindEvent, channel: 1, length: 8}.append(nil), 1, 0, 0, 0, 0, 0, 0, 0)
	f.Add(append(bytes.Clone(data), event...))
	f.Add(header{kind: kindCredit, channel: 1, count: 1 << 30}.append(nil))
	f.Add(header{kind: kindBacklog, channel: 1, backlog: 1 << 30}.append(nil))
	f.Add(header{kind: kindBye}.append(nil))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, stream []byte) {
		here, there := net.Pipe()
		c := newConn(here, "peer", Config{Flow: Credit, Events: numbers{}})
		g, err := NewGate(Credit, 1, 2, 2)
		must(t, err)
		if err := c.Receive(1, g, exchange.NewRing(nil)); err != nil && c.Err() == nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, there) //nolint:errcheck // what it answers does not matter
		there.Write(stream)           //nolint:errcheck // a malformed one is cut off
		there.Close()
		<-c.Done()
		if n := g.InUse(); n > 4 {
			t.Fatalf("%d buffers of a gate of 4", n)
		}
	})
}

// TestOvertakingInTheReceivingRing: an event that has overtaken at the sender goes
// before what waits at the receiver, and is told of it.
func TestOvertakingInTheReceivingRing(t *testing.T) {
	a, b := pairOf(t, Config{Flow: Credit, Events: numbers{}, Overtake: func(event any, waiting []exchange.Element) any {
		return event.(int)*100 + len(waiting)
	}})
	in := newInlet()
	came := make(chan any, 3)
	in.ring.OnEvent(func(event any) { came <- event })
	urgent := make(chan struct{}, 1)
	in.ring.OnPriority(func() { urgent <- struct{}{} })
	g, err := NewGate(Credit, 1, 2, 0)
	if err == nil {
		err = b.Receive(1, g, in.ring)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.Send(1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		out.Push(exchange.Element{Event: i})
		if e := <-came; e != i {
			t.Fatalf("event %v came", e)
		}
	}
	out.PushPriority(7)
	<-urgent
	for _, want := range []any{703, 0, 1, 2} {
		if e := in.next(t, b); e.Event != want {
			t.Errorf("%v, want %v", e.Event, want)
		}
	}
}

// TestASizeReachesTheSender before what the receiver says behind it.
func TestASizeReachesTheSender(t *testing.T) {
	for _, flow := range []FlowControl{Credit, TCP} {
		a, b := pair(t, flow)
		out, err := a.Send(1)
		must(t, err)
		gate := func() *Gate {
			g, err := NewGate(flow, 1, 2, 0)
			must(t, err)
			return g
		}
		in, back := newInlet(), newInlet()
		must(t, b.Receive(1, gate(), in.ring))
		answers, err := b.Send(2)
		must(t, err)
		must(t, a.Receive(2, gate(), back.ring))
		if out.Size() != 0 {
			t.Errorf("a size of %d that nobody wants", out.Size())
		}
		for _, size := range []int{1000, 4000} {
			in.ring.Resize(size)
			answers.Push(exchange.Element{Event: size})
			if e := back.next(t, a); e.Event != size || out.Size() != size {
				t.Errorf("%s: event %v, size %d, want %d", flow, e.Event, out.Size(), size)
			}
		}
	}
}
