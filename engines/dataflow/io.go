package dataflow

import (
	"sync/atomic"
	"time"

	"streamduel/engines"
	"streamduel/exchange"
	"streamduel/pipeline"
)

// traffic is what a subtask counts of its input, buffer by buffer. The subtask
// writes it, anyone reads it.
type traffic struct {
	records                     atomic.Int64
	bytesLocal, bytesRemote     atomic.Int64
	buffersLocal, buffersRemote atomic.Int64
	consumedBefore              int64        // by the tasks that were in the seat before
	watermark                   atomic.Int64 // last come in
}

// arrived counts a buffer of an input channel.
func (t *traffic) arrived(b *exchange.Buffer, remote bool) {
	t.records.Add(int64(b.Records))
	if remote {
		t.bytesRemote.Add(int64(len(b.Data)))
		t.buffersRemote.Add(1)
		return
	}
	t.bytesLocal.Add(int64(len(b.Data)))
	t.buffersLocal.Add(1)
}

// view shows what the subtask takes in and puts out, since it was started.
func (t *task) view() *engines.TaskIO {
	if t.away != nil {
		return t.shown.io.Load()
	}
	s := &t.shown
	v := &engines.TaskIO{
		RecordsIn:    s.in.records.Load(),
		BytesInLocal: s.in.bytesLocal.Load(), BytesInRemote: s.in.bytesRemote.Load(),
		BuffersInLocal: s.in.buffersLocal.Load(), BuffersInRemote: s.in.buffersRemote.Load(),
		RecordsOut: s.partial.Load() + s.written.Load() - t.before, BytesOut: s.partBytes.Load(),
		BackPressured:   waitReason(t.waits.reason.Load()).blocked(),
		InputWatermark:  known(s.in.watermark.Load()),
		OutputWatermark: known(s.watermark.Load()),
	}
	if e := t.seat.source; e != nil {
		v.RecordsIn = s.consumed.Load() - s.in.consumedBefore
		pending := e.pending(t.seat)
		v.Pending = &pending
		v.Splits = e.splitTimes(t.seat)
	}
	if t.alive.Load() {
		t.box.show(v)
	}
	if t.in != nil {
		for i := range t.in.channels {
			buffers, bytes := t.in.channels[i].ring.Waiting()
			v.InputQueue += buffers
			v.InputQueueBytes += bytes
		}
		for _, g := range t.in.gates {
			v.DebloatedSize = max(v.DebloatedSize, g.size.Load())
			v.EstimatedMillis = max(v.EstimatedMillis, millis(time.Duration(g.estimate.Load())))
		}
		if g := t.in.gate; g != nil {
			v.BuffersInUse = g.InUse()
			v.InPoolUsage = float64(v.BuffersInUse) / float64(g.Bound())
		}
	}
	pool := 0
	for _, o := range t.outlets {
		v.RecordsOut += o.records.Load()
		v.BytesOut += o.bytes.Load()
		v.BuffersOut += o.buffers.Load()
		v.BuffersOutInUse += o.InUse()
		pool += o.Bound() - o.overdraft.Bound()
		for _, r := range o.rings {
			if r != nil {
				buffers, bytes := r.Waiting()
				v.OutputQueue += buffers
				v.OutputQueueBytes += bytes
			}
		}
	}
	if pool > 0 {
		v.OutPoolUsage = float64(v.BuffersOutInUse) / float64(pool)
	}
	return v
}

// known returns a time that there is.
func known(ms int64) *int64 {
	if ms == pipeline.NoTime {
		return nil
	}
	return &ms
}

// pending returns how many records a subtask's splits are behind, as far as known.
func (s *enumeration) pending(of *seat) (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, seat := range s.seats {
		if seat != of || i >= len(s.dealt) {
			continue
		}
		for _, a := range s.dealt[i] {
			n += max(a.view.latest.Load()-a.view.position.Load(), 0)
		}
	}
	return n
}

// splitTimes returns the event time of a subtask's splits, nothing of a source
// without.
func (s *enumeration) splitTimes(of *seat) (out []engines.SplitIO) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, seat := range s.seats {
		if seat != of || i >= len(s.dealt) || s.node.Watermarks == nil {
			continue
		}
		for _, a := range s.dealt[i] {
			out = append(out, engines.SplitIO{
				Split: string(a.Split.ID), Watermark: known(a.view.watermark.Load()),
				Active: a.view.active.Load() / 1e6, Paused: a.view.paused.Load() / 1e6, Idle: a.view.idle.Load() / 1e6,
			})
		}
	}
	return out
}
