package dataflow

import (
	"fmt"
	"time"

	"streamduel/connectors"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/pipeline"
	"streamduel/state"
)

// sinkWriter is one sink's writer in one subtask, with its prepared epochs.
type sinkWriter struct {
	node      *pipeline.Node
	writer    connectors.Writer
	pending   []prepared // prepared and not committed
	committed []prepared // committed, but a durable checkpoint still lists it
}

type prepared struct {
	committable connectors.Committable
	epoch       int64 // checkpoint whose barrier closed it
	listed      int64 // newest checkpoint that lists it
}

// checkpoint takes the subtask's part of a checkpoint. Its barrier has arrived
// on all channels, or its source is between two records.
func (t *task) checkpoint(id int64, alignment time.Duration) error {
	if t.source != nil {
		t.run.failpoint("D0", id)
	}
	// The barrier leaves first, so that downstream subtasks work meanwhile.
	t.broadcast(barrier{id})
	a := ack{task: t, id: id, alignment: alignment}
	if t.source != nil {
		a.splits = t.source.positions()
	}
	var snapshot *state.Snapshot
	if !t.pipe.State.Empty() {
		snapshot = t.pipe.State.SnapshotAsync(true)
	}
	if len(t.sinks) > 0 {
		t.run.failpoint("D2", id)
		for _, s := range t.sinks {
			if err := t.prepare(s, id); err != nil {
				return fmt.Errorf("sink %q: checkpoint %d: %w", s.node.Name, id, err)
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
	if snapshot == nil {
		t.run.coordinator.tell(a)
		return nil
	}
	t.region.background(func() {
		var st checkpoints.State
		data, err := snapshot.Append(nil)
		if err == nil {
			st, err = t.run.store.WriteState(id, t.run.attempt.Number, t.fragment.Index, t.index, data)
			st.Operator = statefulOperator(t.fragment).UID
		}
		if err != nil {
			t.run.coordinator.tell(declined{t, id, fmt.Errorf("%s: writing its state: %w", t.name, err)})
			return
		}
		a.state = &st
		t.run.coordinator.tell(a)
	})
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

// commit makes the epochs up to a durable checkpoint visible.
func (t *task) commit(m durable) error {
	for _, s := range t.sinks {
		for len(s.pending) > 0 && s.pending[0].epoch <= m.id {
			// A process that was stopped between the coordinator's word and here
			// must not commit any more.
			if err := t.run.attempt.Check(); err != nil {
				return err
			}
			p := s.pending[0]
			if err := s.writer.Commit(t.ctx, p.committable); err != nil {
				return fmt.Errorf("sink %q: committing checkpoint %d: %w", s.node.Name, p.epoch, err)
			}
			s.pending = s.pending[1:]
			s.committed = append(s.committed, p)
		}
		for len(s.committed) > 0 && s.committed[0].listed < m.oldest {
			s.writer.Release(s.committed[0].committable)
			s.committed = s.committed[1:]
		}
	}
	t.run.coordinator.committed(t, m.id)
	return nil
}

// statefulOperator returns the fragment's operator with state. There is at most
// one: keyed input is always an exchange, and an operator with operator state
// begins a chain.
func statefulOperator(f *pipeline.Fragment) *pipeline.Node {
	for _, n := range f.Nodes {
		if n.Stateful() {
			return n
		}
	}
	return nil
}
