package dataflow

import (
	"context"
	"encoding/binary"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"streamduel/exchange"
)

// TestNoBufferIsLostAndNoWriterWaitsForEver writes records of any size, up to
// several buffers each, to channels whose readers read when they like. However
// they interleave: never more buffers are out than the bound, every record
// arrives whole and in order, the writer always comes to its end when the
// readers go on, and all buffers come back.
func TestNoBufferIsLostAndNoWriterWaitsForEver(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		channels := rapid.IntRange(1, 4).Draw(rt, "channels")
		buffers := Buffers{
			ExclusivePerChannel: rapid.IntRange(1, 3).Draw(rt, "exclusive"),
			FloatingPerGate:     rapid.IntRange(0, 3).Draw(rt, "floating"),
			Overdraft:           rapid.IntRange(1, 3).Draw(rt, "overdraft"),
		}
		type record struct{ ch, size int }
		var records []record
		for range rapid.IntRange(0, 40).Draw(rt, "records") {
			size := rapid.OneOf(rapid.IntRange(8, 200), rapid.IntRange(10_000, exchange.Size), rapid.IntRange(exchange.Size, 6*exchange.Size)).Draw(rt, "size")
			records = append(records, record{rapid.IntRange(0, channels-1).Draw(rt, "channel"), size})
		}
		order := rapid.SliceOfN(rapid.IntRange(0, channels-1), 1, 50).Draw(rt, "order")
		var failure string
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			box := newMailbox()
			in := newInlet(box)
			rings := make([]*exchange.Ring, channels)
			for ch := range rings {
				rings[ch] = in.add(nil, 0)
			}
			writerBox := newMailbox()
			o := newOutlet(ctx, rings, buffers, func() { writerBox.signal(sigRoom) }, &usage{})
			var pressure exchange.Pressure
			w := exchange.NewWriter(channels, 0, o, &pressure)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i, r := range records {
					for {
						w.Refill()
						if pressure.Starved == 0 {
							break
						}
						<-writerBox.wake
						writerBox.take()
					}
					b := w.Begin(r.ch)
					d := binary.LittleEndian.AppendUint64(b.Data, uint64(i))
					w.End(r.ch, b, append(d, make([]byte, r.size-8)...))
				}
				w.Flush()
			}()
			got := make([][]int, channels)
			part := make([]int, channels)
			next := make([]int, channels) // index into records of the channel's next
			take := func(ch int) bool {
				e, ok := rings[ch].Pop()
				if !ok {
					return false
				}
				if n := o.InUse(); n > o.Bound() {
					failure = "more buffers are out than there are"
				}
				for off := 0; off < len(e.Buffer.Data); {
					for next[ch] < len(records) && records[next[ch]].ch != ch {
						next[ch]++
					}
					r := records[next[ch]]
					if part[ch] == 0 {
						got[ch] = append(got[ch], int(binary.LittleEndian.Uint64(e.Buffer.Data[off:])))
					}
					n := min(r.size-part[ch], len(e.Buffer.Data)-off)
					off += n
					if part[ch] += n; part[ch] == r.size {
						part[ch] = 0
						next[ch]++
					}
				}
				e.Buffer.Release()
				return true
			}
			for i := 0; ; i++ {
				synctest.Wait() // the writer has ended or waits
				taken := take(order[i%len(order)])
				for ch := 0; !taken && ch < channels; ch++ {
					taken = take(ch)
				}
				if !taken {
					select {
					case <-done:
					default:
						failure = "the writer waits though everything was read"
						cancel()
						return
					}
					break
				}
			}
			w.Close()
			var want = make([][]int, channels)
			for i, r := range records {
				want[r.ch] = append(want[r.ch], i)
			}
			expect(t, got, want)
			if n := o.InUse(); n != 0 {
				failure = "buffers did not come back"
			}
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// TestAFullChannelDoesNotKeepTheOthersWaiting: the inlet is fair.
func TestAFullChannelDoesNotKeepTheOthersWaiting(t *testing.T) {
	in := newInlet(newMailbox())
	a, b := in.add(nil, 0), in.add(nil, 0)
	for range 5 {
		a.Push(exchange.Element{Event: "a"})
	}
	for range 2 {
		b.Push(exchange.Element{Event: "b"})
	}
	var order []any
	blocked := []bool{false, false}
	for {
		_, e, ok := in.next(blocked)
		if !ok {
			break
		}
		order = append(order, e.Event)
	}
	expect(t, order, "[a b a b a a a]")
	// A blocked channel keeps its place for later.
	a.Push(exchange.Element{Event: "a"})
	b.Push(exchange.Element{Event: "b"})
	blocked[0] = true
	_, e, _ := in.next(blocked)
	expect(t, e.Event, "b")
	_, _, ok := in.next(blocked)
	expect(t, ok, false)
	blocked[0] = false
	in.unblock()
	_, e, _ = in.next(blocked)
	expect(t, e.Event, "a")
}
