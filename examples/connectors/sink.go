package connectors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"streamduel/connectors"
)

func sorted[V any](m map[connectors.SplitID]V) []connectors.SplitID {
	return slices.Sorted(maps.Keys(m))
}

// Sink writes lines into files of a folder, exactly once under the dataflow
// engine: an epoch is a file that nobody sees until a rename commits it. The
// micro-batch engine would also need connectors.Transactor, which puts output
// and positions into one commit; connectors/file does that.
type Sink struct{ Dir string }

var (
	_ connectors.Sink      = (*Sink)(nil)
	_ connectors.Recoverer = (*Sink)(nil)
)

// Describe names what the sink can give; a job that asks for more is refused.
func (s *Sink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "renamed files", Guarantees: []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce}}
}

// pending is where what is not committed lies.
func (s *Sink) pending() string { return filepath.Join(s.Dir, ".pending") }

// Writer opens a subtask's writer. The attempt is in the names, so that no two
// processes write to one file.
func (s *Sink) Writer(_ context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	if err := os.MkdirAll(s.pending(), 0o755); err != nil {
		return nil, err
	}
	return &writer{sink: s, env: env, base: fmt.Sprintf("%s-%d-%d", env.Node, env.Attempt, env.Subtask)}, nil
}

// Recover commits what the restored checkpoint lists and drops what it does not.
func (s *Sink) Recover(_ context.Context, _ connectors.WriterEnv, cs []connectors.Committable) error {
	for _, c := range cs {
		if err := s.commit(c); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.pending())
}

// commit renames an epoch's file; a second time it finds that it was done.
func (s *Sink) commit(c connectors.Committable) error {
	name := string(c)
	if name != filepath.Base(name) {
		return fmt.Errorf("committable %q names no file", name)
	}
	err := os.Rename(filepath.Join(s.pending(), name), filepath.Join(s.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(s.Dir, name)); err != nil {
			return fmt.Errorf("epoch %s is neither pending nor committed: its output is lost: %w", name, err)
		}
		return nil
	}
	return err
}

type writer struct {
	sink    *Sink
	env     connectors.WriterEnv
	base    string
	epoch   int
	text    strings.Builder
	origins []connectors.Origin
	waiting int64
}

// Write keeps the line until the epoch ends. It passes the gate: that is where a
// run throttles and where it counts.
func (w *writer) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if w.env.Gate != nil {
		if err := w.env.Gate.Enter(ctx); err != nil {
			return err
		}
	}
	w.text.Write(r.Value) // copied: the caller uses its bytes again
	w.text.WriteByte('\n')
	w.waiting++
	if o != nil {
		w.origins = append(w.origins, *o)
	}
	return nil
}

// Flush makes lines visible at once, which only the weaker guarantees want.
func (w *writer) Flush(ctx context.Context) error {
	if w.env.Guarantee == connectors.ExactlyOnce {
		return nil // nothing is acknowledged before Prepare
	}
	c, err := w.Prepare(ctx)
	if err != nil || c == nil {
		return err
	}
	return w.sink.commit(c)
}

// Prepare seals the epoch: behind it a crash loses nothing.
func (w *writer) Prepare(context.Context) (connectors.Committable, error) {
	if w.waiting == 0 {
		return nil, nil
	}
	w.epoch++
	name := fmt.Sprintf("%s-%d.txt", w.base, w.epoch)
	f, err := os.Create(filepath.Join(w.sink.pending(), name))
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(w.text.String())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	w.done(true)
	return connectors.Committable(name), nil
}

// done forgets the epoch's lines and takes them out of the gate.
func (w *writer) done(acknowledged bool) {
	if w.env.Gate != nil {
		acked := w.waiting
		if !acknowledged {
			acked = 0
		}
		w.env.Gate.Leave(w.waiting, acked)
	}
	if acknowledged && w.env.Acked != nil {
		for _, o := range w.origins {
			w.env.Acked(o)
		}
	}
	w.text.Reset()
	w.origins, w.waiting = w.origins[:0], 0
}

func (w *writer) Commit(_ context.Context, c connectors.Committable) error { return w.sink.commit(c) }
func (w *writer) Release(connectors.Committable)                           {}

// Abort drops what was written since the last Prepare.
func (w *writer) Abort(context.Context) error {
	w.done(false)
	return nil
}

func (w *writer) InFlight() (records, bytes int64) { return w.waiting, int64(w.text.Len()) }

func (w *writer) Close() error {
	w.done(false)
	return nil
}
