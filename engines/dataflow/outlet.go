package dataflow

import (
	"context"
	"sync/atomic"

	"streamduel/exchange"
)

// outlet is one exchange edge's output of one subtask: its channels' rings and
// the buffers that may be on their way in them.
//
// Every channel has a few buffers of its own, and the channels share the
// floating ones. A channel's own buffers are what excludes deadlock: whatever
// the others hold, a channel whose reader keeps reading gets one back. A third
// pool is the overdraft: a record that a task is in the middle of may use it,
// and only when that is used up too does the record wait, outside the mailbox.
// So no more buffers than Bound are ever out.
type outlet struct {
	ctx       context.Context
	rings     []*exchange.Ring // nil where a forward edge leads nowhere
	exclusive []*exchange.Pool
	floating  *exchange.Pool
	overdraft *exchange.Pool
	freed     chan struct{} // a buffer came back after there was none
	waits     *usage
	records   atomic.Int64 // emitted
	bytes     atomic.Int64
	buffers   atomic.Int64
	nowhere   exchange.Buffer // stands in for a channel's buffer where rings has nil
}

// newOutlet makes an outlet. room is called from any goroutine when a buffer
// came back after there was none.
func newOutlet(ctx context.Context, rings []*exchange.Ring, b Buffers, room func(), waits *usage) *outlet {
	o := &outlet{ctx: ctx, rings: rings, exclusive: make([]*exchange.Pool, len(rings)), freed: make(chan struct{}, 1), waits: waits}
	available := func() {
		select {
		case o.freed <- struct{}{}:
		default:
		}
		room()
	}
	for ch, r := range rings {
		if r != nil {
			o.exclusive[ch] = exchange.NewPool(b.ExclusivePerChannel, available)
		}
	}
	o.floating = exchange.NewPool(b.FloatingPerGate, available)
	o.overdraft = exchange.NewPool(b.Overdraft, available)
	return o
}

// Bound returns how many buffers can be out at once.
func (o *outlet) Bound() int {
	n := o.floating.Bound() + o.overdraft.Bound()
	for _, p := range o.exclusive {
		if p != nil {
			n += p.Bound()
		}
	}
	return n
}

// InUse returns how many buffers are out.
func (o *outlet) InUse() int {
	n := o.floating.InUse() + o.overdraft.InUse()
	for _, p := range o.exclusive {
		if p != nil {
			n += p.InUse()
		}
	}
	return n
}

// Acquire implements exchange.Outlet.
func (o *outlet) Acquire(ch int) *exchange.Buffer {
	if o.rings[ch] == nil {
		return &o.nowhere
	}
	if b := o.exclusive[ch].TryGet(); b != nil {
		return b
	}
	return o.floating.TryGet()
}

// BufferSize implements exchange.Sizer: what the channel's reader wants.
func (o *outlet) BufferSize(ch int) int {
	if o.rings[ch] == nil {
		return 0
	}
	return o.rings[ch].Size()
}

// Overdraft implements exchange.Outlet. It blocks when the overdraft is used up,
// which only a record of many buffers or many outputs brings about.
func (o *outlet) Overdraft(ch int) *exchange.Buffer {
	if b := o.overdraw(ch); b != nil {
		return b
	}
	o.waits.begin(waitHard)
	defer o.waits.end()
	for {
		select {
		case <-o.freed:
		case <-o.ctx.Done():
			// The job is over; let the record come to its end.
			return o.overdraft.Overdraft()
		}
		if b := o.overdraw(ch); b != nil {
			return b
		}
	}
}

func (o *outlet) overdraw(ch int) *exchange.Buffer {
	if b := o.Acquire(ch); b != nil {
		return b
	}
	return o.overdraft.TryGet()
}

// Emit implements exchange.Outlet.
func (o *outlet) Emit(ch int, b *exchange.Buffer) {
	o.records.Add(int64(b.Records))
	o.bytes.Add(int64(len(b.Data)))
	o.buffers.Add(1)
	o.rings[ch].Push(exchange.Element{Buffer: b})
}

// overtake puts a barrier before everything that waits in the channels, with
// copies of it: a snapshot that the barrier causes must hold them.
func (o *outlet) overtake(b barrier) {
	for _, r := range o.rings {
		if r != nil {
			r.Overtake(func(waiting []exchange.Element) any { return b.over(waiting) })
		}
	}
}

// promote does that to a barrier that is already on its way.
func (o *outlet) promote(id int64) {
	for _, r := range o.rings {
		if r != nil {
			promote(r, id)
		}
	}
}

// broadcast puts an event into all channels, behind what was emitted.
func (o *outlet) broadcast(event any) {
	for _, r := range o.rings {
		if r != nil {
			r.Push(exchange.Element{Event: event})
		}
	}
}
