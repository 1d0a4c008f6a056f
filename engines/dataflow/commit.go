package dataflow

import (
	"fmt"

	"streamduel/connectors"
	"streamduel/pipeline"
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
