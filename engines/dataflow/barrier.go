package dataflow

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/exchange"
	"streamduel/pipeline"
	"streamduel/state"
)

// A subtask's part of a checkpoint.

// part is a snapshot that has been taken and not written.
type part struct {
	ack      ack
	snapshot *state.Snapshot
}

// overtaking is a checkpoint whose barrier has overtaken records at this
// subtask: the snapshot is taken, and what comes from a channel before its
// barrier does is kept with it.
type overtaking struct {
	part
	frames [][]checkpoints.Frames // by channel, in order
}

// over returns the barrier as one that overtakes what waits.
func (b barrier) over(waiting []exchange.Element) barrier {
	b.unaligned = true
	for _, e := range waiting {
		if e.Buffer != nil {
			b.overtaken = append(b.overtaken, framesOf(e.Buffer))
		}
	}
	return b
}

// promote makes a barrier that waits in a ring overtake what is before it.
func promote(r *exchange.Ring, id int64) {
	var found barrier
	match := func(event any) bool {
		b, ok := event.(barrier)
		if ok = ok && b.id == id; ok {
			found = b
		}
		return ok
	}
	r.Promote(match, func(before []exchange.Element) any { return found.over(before) })
}

// further is over for a barrier that has overtaken at its sender and overtakes what
// waits here, which comes before that.
func (b barrier) further(waiting []exchange.Element) barrier {
	there := b.overtaken
	b.overtaken = nil
	b = b.over(waiting)
	b.overtaken = append(b.overtaken, there...)
	return b
}

// framesOf copies what a reader has not taken of a buffer.
func framesOf(b *exchange.Buffer) checkpoints.Frames {
	return checkpoints.Frames{Flags: uint8(b.Flags), Records: b.Records, Data: slices.Clone(b.Data[b.Off:])}
}

// barrier takes a barrier of an input channel.
func (t *task) barrier(ch int, b barrier) error {
	unaligned := b.unaligned || t.overtakes == b.id
	v := t.align.barrier(ch, b.id, unaligned)
	if v.aborted != 0 {
		t.drop(v.aborted)
		t.run.coordinator.tell(declined{t, v.aborted, fmt.Errorf("%s: the barrier of checkpoint %d came first", t.name, b.id)})
	}
	if v.first {
		if t.since == nil {
			t.since = map[int64]int64{}
		}
		t.since[b.id] = clock.Mono()
		t.run.failpoint("D1", b.id)
	}
	if v.aborted != 0 || v.complete || v.overtakes {
		t.in.unblock()
	}
	t.in.beyond(t.align)
	if v.overtakes {
		if err := t.beginOvertaking(b); err != nil {
			return err
		}
	}
	if t.over != nil && t.over.ack.id == b.id {
		t.over.frames[ch] = append(t.over.frames[ch], b.overtaken...)
		if v.complete {
			o := t.over
			t.over = nil
			o.ack.times.Alignment = t.aligned(b.id)
			t.write(o.part, o.frames)
		}
		return nil
	}
	if !v.complete {
		return nil
	}
	return t.checkpoint(b, t.since[b.id])
}

// aligned returns how many milliseconds have passed since a checkpoint's first
// barrier, and forgets it.
func (t *task) aligned(id int64) float64 {
	d := millis(time.Duration(clock.Mono() - t.since[id]))
	t.forget(id)
	return d
}

// forget forgets when the barriers of checkpoints up to this one began to come.
func (t *task) forget(id int64) {
	maps.DeleteFunc(t.since, func(k, _ int64) bool { return k <= id })
}

// urgent takes the priority elements.
func (t *task) urgent() error {
	for {
		ch, e, ok := t.in.nextUrgent()
		if !ok {
			if t.in.urgent.Load() == 0 {
				return nil
			}
			continue
		}
		if b, is := e.Event.(barrier); is {
			if err := t.barrier(ch, b); err != nil {
				return err
			}
		}
	}
}

// overtake makes a checkpoint's barriers overtake: those that this subtask has
// sent on, or those that it will send, at once if one has come.
func (t *task) overtake(id int64) error {
	if t.passed.id == id {
		for _, o := range t.outlets {
			o.promote(id)
		}
		return nil
	}
	t.overtakes = id
	t.hastens.Store(id)
	if t.in != nil {
		for i := range t.in.channels {
			if c := &t.in.channels[i]; c.remote {
				promote(c.ring, id) // its sender cannot any more
			}
		}
	}
	if t.align == nil || !t.align.overtake(id) {
		return nil
	}
	t.in.unblock()
	t.in.beyond(t.align)
	return t.beginOvertaking(barrier{id: id, started: t.since[id]})
}

// beginOvertaking takes the snapshot, between two records, and what has come
// before it and is not in it.
func (t *task) beginOvertaking(b barrier) error {
	b.unaligned = true
	b.overtaken = nil // kept here: those behind the outputs have overtaken something else
	p, err := t.part(b, t.since[b.id])
	if err != nil {
		return err
	}
	o := &overtaking{part: p, frames: make([][]checkpoints.Frames, len(t.in.channels))}
	for ch := range t.in.channels {
		if parts := t.in.channels[ch].input.Part(); len(parts) > 0 {
			o.frames[ch] = append(o.frames[ch], checkpoints.Frames{Flags: uint8(exchange.Part) | t.in.channels[ch].flags, Data: slices.Clone(parts)})
		}
	}
	if t.current != nil {
		o.frames[t.currentCh] = append(o.frames[t.currentCh], framesOf(t.current))
	}
	t.over = o
	return nil
}

// keep keeps a buffer that comes before its channel's barrier, behind the
// snapshot.
func (t *task) keep(ch int, b *exchange.Buffer) {
	t.in.channels[ch].flags = uint8(b.Flags &^ (exchange.Part | exchange.PartEnd))
	if t.over != nil && !t.align.arrived(ch, t.over.ack.id) {
		t.over.frames[ch] = append(t.over.frames[ch], framesOf(b))
	}
}

// abort gives up a checkpoint.
func (t *task) abort(id int64) {
	if t.align != nil && t.align.abort(id) {
		t.in.unblock()
		t.in.beyond(t.align)
	}
	t.drop(id)
}

func (t *task) drop(id int64) {
	t.forget(id)
	if t.over != nil && t.over.ack.id <= id {
		if t.over.snapshot != nil {
			t.over.snapshot.Discard()
		}
		t.over = nil
	}
}

// checkpoint takes and writes the subtask's part of a checkpoint. Its barrier has
// arrived on all channels, the first at since, or its source is between two
// records.
func (t *task) checkpoint(b barrier, since int64) error {
	p, err := t.part(b, since)
	if err != nil {
		return err
	}
	if t.source == nil {
		p.ack.times.Alignment = t.aligned(b.id)
	}
	t.write(p, nil)
	return nil
}

// part takes the subtask's part of a checkpoint.
func (t *task) part(b barrier, since int64) (part, error) {
	id, begun := b.id, clock.Mono()
	if t.source != nil {
		t.run.failpoint("D0", id)
	}
	// The barrier leaves first, so that downstream subtasks work meanwhile.
	b.unaligned = b.unaligned || t.overtakes == id
	t.flush()
	for _, o := range t.outlets {
		if b.unaligned {
			o.overtake(b)
		} else {
			o.broadcast(b)
		}
	}
	t.passed = barrier{id: id, started: b.started}
	a := ack{task: t, id: id}
	a.times.StartDelay = millis(time.Duration(since - b.started))
	if t.source != nil {
		a.splits = t.source.positions()
	}
	var snapshot *state.Snapshot
	if !t.pipe.State.Empty() {
		snapshot = t.pipe.State.SnapshotAsync(true)
		a.times.Add(t.pipe.State.Footprint())
	}
	if len(t.sinks) > 0 {
		t.run.failpoint("D2", id)
		for _, s := range t.sinks {
			if err := t.prepare(s, id); err != nil {
				if snapshot != nil {
					snapshot.Discard()
				}
				return part{}, fmt.Errorf("sink %q: checkpoint %d: %w", s.node.Name, id, err)
			}
			sink := checkpoints.Sink{Operator: s.node.UID, Subtask: t.index}
			for i := range s.pending {
				s.pending[i].listed = id
				sink.Committables = append(sink.Committables, s.pending[i].committable)
			}
			if len(sink.Committables) > 0 {
				a.sinks = append(a.sinks, sink)
			}
		}
		t.shown.written.Store(t.before + t.pipe.Written())
		t.run.failpoint("D3", id)
	}
	a.times.Sync = millis(time.Duration(clock.Mono() - begun))
	return part{a, snapshot}, nil
}

// write writes the part, with what was on its way to it, and acknowledges.
func (t *task) write(p part, frames [][]checkpoints.Frames) {
	a, r := p.ack, t.run
	var on []checkpoints.Frames
	for ch := range frames {
		for _, f := range frames[ch] {
			if len(f.Data) > 0 {
				f.Channel = ch
				on = append(on, f)
			}
		}
	}
	if p.snapshot == nil && len(on) == 0 {
		r.coordinator.tell(a)
		return
	}
	begun := clock.Mono()
	t.region.background(func() {
		err := func() error {
			if p.snapshot != nil {
				data, err := p.snapshot.Append(nil)
				if err != nil {
					return err
				}
				st, err := r.store.WriteState(a.id, r.attempt.Number, t.fragment.Index, t.index, data)
				if err != nil {
					return err
				}
				st.Operator = statefulOperator(t.fragment).UID
				a.state, a.times.Bytes = &st, st.Bytes
			}
			if len(on) == 0 {
				return nil
			}
			a.channels = t.described()
			err := r.store.WriteChannels(a.id, r.attempt.Number, t.fragment.Index, a.channels, on)
			a.times.InFlightBytes = a.channels.Bytes
			return err
		}()
		if err != nil {
			r.coordinator.tell(declined{t, a.id, fmt.Errorf("%s: writing its state: %w", t.name, err)})
			return
		}
		a.times.Async = millis(time.Duration(clock.Mono() - begun))
		r.coordinator.tell(a)
	})
}

// described names the subtask's channels as they are in this execution graph.
func (t *task) described() *checkpoints.Channels {
	c := &checkpoints.Channels{Operator: t.fragment.Nodes[0].UID, Subtask: t.index, Parallelism: t.fragment.Parallelism}
	for i := range t.in.channels {
		ch := &t.in.channels[i]
		c.From = append(c.From, checkpoints.Channel{
			Edge: edgeName(ch.edge), Subtask: ch.from, Parallelism: pipeline.ParallelismOf(ch.edge.From, t.run.job.Parallelism),
		})
	}
	return c
}

// edgeName identifies an edge over code changes.
func edgeName(e *pipeline.Edge) string {
	return fmt.Sprintf("%s > %s %d %s", e.From.UID, e.To.UID, e.Port, e.Side)
}

// onlyThere refuses to go back to a checkpoint with records on their way unless
// the subtasks are the same.
func (r *run) onlyThere(from *checkpoints.Checkpoint) error {
	for _, c := range from.Channels {
		i := slices.IndexFunc(r.fragments, func(f *pipeline.Fragment) bool { return f.Nodes[0].UID == c.Operator })
		if i < 0 {
			return fmt.Errorf("checkpoint %d is unaligned, with records on their way to operator %q, which now heads no task: take a savepoint with the job as it was", from.ID, c.Operator)
		}
		f := r.fragments[i]
		if f.Parallelism != c.Parallelism {
			return fmt.Errorf("checkpoint %d is unaligned, with records on their way to operator %q at parallelism %d, now %d: go on at the same parallelism, or take a savepoint there first", from.ID, c.Operator, c.Parallelism, f.Parallelism)
		}
		for _, up := range c.From {
			k := slices.IndexFunc(f.In, func(e *pipeline.Edge) bool { return edgeName(e) == up.Edge })
			if k < 0 || pipeline.ParallelismOf(f.In[k].From, r.job.Parallelism) != up.Parallelism {
				return fmt.Errorf("checkpoint %d is unaligned, with records on their way from %s at parallelism %d, which is not there: go on with the same graph, or take a savepoint there first", from.ID, up.Edge, up.Parallelism)
			}
		}
	}
	return nil
}

// refill puts what was on its way to the subtask back into its channels.
func (t *task) refill(from *checkpoints.Checkpoint) error {
	of, fs, err := from.Frames(t.fragment.Nodes[0].UID, t.index)
	if err != nil {
		return err
	}
	for _, f := range fs {
		up := of.From[f.Channel]
		i := slices.IndexFunc(t.in.channels, func(c channel) bool { return edgeName(c.edge) == up.Edge && c.from == up.Subtask })
		if i < 0 {
			return fmt.Errorf("%s: records were on their way from %s (%d)", t.name, up.Edge, up.Subtask+1)
		}
		t.in.channels[i].ring.Push(exchange.Element{Buffer: &exchange.Buffer{Data: f.Data, Flags: exchange.Flags(f.Flags), Records: f.Records}})
	}
	return nil
}

// prepare closes a sink's epoch.
func (t *task) prepare(s *sinkWriter, id int64) error {
	if t.run.job.Guarantee != connectors.ExactlyOnce {
		return s.writer.Flush(t.ctx)
	}
	c, err := s.writer.Prepare(t.ctx)
	if err != nil || c == nil {
		return err
	}
	s.pending = append(s.pending, prepared{committable: c, epoch: id})
	return nil
}
