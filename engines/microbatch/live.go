package microbatch

import (
	"sync/atomic"

	"streamduel/exchange"
)

// liveBuffers is how many buffers a channel between two stages that run at the
// same time may hold before its writer waits.
const liveBuffers = 8

// live is the exchange between two stages of real-time mode: what one writes the
// other reads at once. It is bounded, so that a slow stage holds up the ones
// before it; the blocking shuffle of other batches is not, because there nobody
// reads before the writer has ended.
type live struct {
	rings [][]*exchange.Ring // by upstream task, then downstream partition
	pools [][]*exchange.Pool
	bytes *atomic.Int64 // kept in buffers, over the whole job
}

// newLive makes the channels; up and down are the tasks' wakes.
func newLive(up, down []chan struct{}, bytes *atomic.Int64) *live {
	l := &live{bytes: bytes}
	for _, writer := range up {
		var rings []*exchange.Ring
		var pools []*exchange.Pool
		for _, reader := range down {
			rings = append(rings, exchange.NewRing(func() { wakeUp(reader) }))
			pools = append(pools, exchange.NewPool(liveBuffers, func() { wakeUp(writer) }))
		}
		l.rings, l.pools = append(l.rings, rings), append(l.pools, pools)
	}
	return l
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// end tells the readers of an upstream task that the batch has no more from it.
func (l *live) end(up int) {
	for _, ring := range l.rings[up] {
		ring.Push(exchange.Element{Event: liveEnd{}})
	}
}

func (l *live) release(b *exchange.Buffer) {
	l.bytes.Add(-int64(len(b.Data)))
	b.Release()
}

type liveEnd struct{}

// liveOutput is one upstream task's side.
type liveOutput struct {
	l    *live
	task int
}

func (o liveOutput) Acquire(ch int) *exchange.Buffer   { return o.l.pools[o.task][ch].TryGet() }
func (o liveOutput) Overdraft(ch int) *exchange.Buffer { return o.l.pools[o.task][ch].Overdraft() }
func (o liveOutput) Emit(ch int, b *exchange.Buffer) {
	o.l.bytes.Add(int64(len(b.Data)))
	o.l.rings[o.task][ch].Push(exchange.Element{Buffer: b})
}
