// Package printer is a sink that prints records as lines, for a look at what a
// job does.
package printer

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"streamduel/connectors"
)

// Sink prints each record as "<subtask>> <value>", or "<subtask>> <key>\t<value>"
// if the record has a key. Lines of several subtasks never mix.
type Sink struct {
	mu  sync.Mutex
	out io.Writer
	buf []byte
}

var _ connectors.Sink = (*Sink)(nil)

// New returns a sink that prints to out, or to standard output if out is nil.
// (A worker's standard output belongs to its protocol: give it another there.)
func New(out io.Writer) *Sink {
	if out == nil {
		out = os.Stdout
	}
	return &Sink{out: out}
}

// Describe implements connectors.Sink. What is printed cannot be taken back.
func (s *Sink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "print", Guarantees: []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce}}
}

// Writer implements connectors.Sink.
func (s *Sink) Writer(_ context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	if !s.Describe().Supports(env.Guarantee) {
		return nil, fmt.Errorf("print sink %s: %s is not possible; allowed are at-most-once, at-least-once", env.Node, env.Guarantee)
	}
	return &writer{s: s, env: env}, nil
}

type writer struct {
	s   *Sink
	env connectors.WriterEnv
}

// Write implements connectors.Writer. The line is out when it returns.
func (w *writer) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if err := w.env.Gate.Enter(ctx); err != nil {
		return err
	}
	if err := w.s.print(w.env.Subtask, r); err != nil {
		w.env.Gate.Leave(1, 0)
		return fmt.Errorf("print sink %s: %w", w.env.Node, err)
	}
	if w.env.Acked != nil {
		var at connectors.Origin
		if o != nil {
			at = *o
		}
		w.env.Acked(at)
	}
	w.env.Gate.Leave(1, 1)
	return nil
}

func (s *Sink) print(subtask int, r *connectors.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = strconv.AppendInt(s.buf[:0], int64(subtask), 10)
	s.buf = append(s.buf, "> "...)
	if r.Key != nil {
		s.buf = append(append(s.buf, r.Key...), '\t')
	}
	s.buf = append(append(s.buf, r.Value...), '\n')
	_, err := s.out.Write(s.buf)
	return err
}

// Flush implements connectors.Writer.
func (w *writer) Flush(context.Context) error { return nil }

// Prepare implements connectors.Writer.
func (w *writer) Prepare(context.Context) (connectors.Committable, error) { return nil, nil }

// Commit implements connectors.Writer.
func (w *writer) Commit(context.Context, connectors.Committable) error { return nil }

// Release implements connectors.Writer.
func (w *writer) Release(connectors.Committable) {}

// Abort implements connectors.Writer.
func (w *writer) Abort(context.Context) error { return nil }

// InFlight implements connectors.Writer.
func (w *writer) InFlight() (records, bytes int64) { return 0, 0 }

// Close implements connectors.Writer.
func (w *writer) Close() error { return nil }
