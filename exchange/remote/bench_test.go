package remote

import (
	"io"
	"net"
	"testing"

	"streamduel/exchange"
)

// BenchmarkLoopback compares full buffers through a channel with a bare loop
// that copies as many bytes in writes of the same size. "ratio" is the first's
// speed by the second's, in one run, alternating.
func BenchmarkLoopback(b *testing.B) {
	for _, c := range []struct {
		name     string
		channels int
	}{{"1-channel", 1}, {"1000-channels", 1000}} {
		b.Run(c.name, func(b *testing.B) {
			const rounds = 512
			exchanged := newRig(b, c.channels)
			bare := newBare(b)
			b.ReportAllocs()
			b.SetBytes(rounds * exchange.Size)
			var ours, theirs, done int64
			for b.Loop() {
				t0 := b.Elapsed()
				exchanged.run(b, rounds)
				t1 := b.Elapsed()
				bare.run(b, rounds)
				theirs += int64(b.Elapsed() - t1)
				ours += int64(t1 - t0)
				done += rounds * exchange.Size
			}
			b.ReportMetric(float64(done)*1e3/float64(ours), "remote-MB/s")
			b.ReportMetric(float64(done)*1e3/float64(theirs), "bare-MB/s")
			b.ReportMetric(float64(theirs)/float64(ours), "ratio")
		})
	}
}

type rig struct {
	to    *Conn
	gate  *Gate
	ins   []*exchange.Ring
	outs  []*exchange.Ring
	ready chan int
	pool  *outlet
}

func newRig(b *testing.B, channels int) *rig {
	from, to := pair(b, Credit)
	g, err := NewGate(Credit, channels, 2, 8)
	if err != nil {
		b.Fatal(err)
	}
	r := &rig{to: to, gate: g, ready: make(chan int, 2*channels), pool: newOutlet(10)}
	for id := range channels {
		in := exchange.NewRing(func() { r.ready <- id })
		if err := to.Receive(uint32(id), g, in); err != nil {
			b.Fatal(err)
		}
		out, err := from.Send(uint32(id))
		if err != nil {
			b.Fatal(err)
		}
		r.ins, r.outs = append(r.ins, in), append(r.outs, out)
	}
	return r
}

func (r *rig) run(b *testing.B, rounds int) {
	go func() {
		for i := range rounds {
			buf := r.pool.buffer()
			buf.Data, buf.Records = buf.Data[:exchange.Size], 1
			r.outs[i%len(r.outs)].Push(exchange.Element{Buffer: buf})
		}
	}()
	for n := 0; n < rounds; {
		select {
		case ch := <-r.ready:
			for {
				e, ok := r.ins[ch].Pop()
				if !ok {
					break
				}
				e.Buffer.Release()
				n++
			}
		case <-r.to.Done():
			b.Fatal(r.to.Err())
		}
	}
}

type bare struct{ from, to net.Conn }

func newBare(b *testing.B) *bare {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	from, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	to, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { from.Close(); to.Close() })
	return &bare{from, to}
}

func (c *bare) run(b *testing.B, rounds int) {
	go func() {
		buf := make([]byte, exchange.Size)
		for range rounds {
			if _, err := c.from.Write(buf); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	buf := make([]byte, exchange.Size)
	for range rounds {
		if _, err := io.ReadFull(c.to, buf); err != nil {
			b.Fatal(err)
		}
	}
}
