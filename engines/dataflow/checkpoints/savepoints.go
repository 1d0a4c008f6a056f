package checkpoints

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"streamduel/state"
)

// Export copies a checkpoint whose output has been committed into a folder of its
// own, in which it lists nothing to be committed.
func (s *Store) Export(m *Metadata, path string) error {
	to, err := state.OpenFolder(path, s.folder.Durability())
	if err != nil {
		return err
	}
	copied := *m
	copied.Sinks = nil
	return copyCheckpoint(&copied, s.folder, to)
}

// Adopt copies the one checkpoint of a savepoint's folder into a job's folder
// that has none, as its first. The job's attempts then count on from the
// savepoint's, so that names of files do not meet.
func Adopt(from, to *state.Folder) error {
	ids, err := from.Numbered(metaPrefix)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return errors.New("there is no checkpoint in it")
	}
	m, err := (&Store{folder: from}).read(ids[len(ids)-1])
	if err != nil {
		return err
	}
	if len(m.Sinks) > 0 {
		return fmt.Errorf("checkpoint %d lists transactions that only its own job may commit: take a savepoint", m.ID)
	}
	if err := to.Create("attempt-"+strconv.Itoa(m.Attempt), nil); err != nil && !errors.Is(err, state.ErrExists) {
		return err
	}
	return copyCheckpoint(m, from, to)
}

// copyCheckpoint copies the metadata last, so that what is there is whole.
func copyCheckpoint(m *Metadata, from, to *state.Folder) error {
	var names []string
	shared := map[string]string{}
	for _, st := range m.States {
		names = append(names, st.File)
		for _, f := range st.Shared {
			shared[f.Name] = filepath.Join(from.Path(), m.SharedIn, f.Name)
		}
	}
	for _, c := range m.Channels {
		names = append(names, c.File)
	}
	for _, name := range names {
		b, err := from.Read(name)
		if err == nil {
			err = to.Write(name, b)
		}
		if err != nil {
			return err
		}
	}
	if len(shared) > 0 {
		sub, err := to.Sub(m.SharedIn)
		if err == nil {
			err = sub.Link(shared)
		}
		if err != nil {
			return err
		}
	}
	b, err := encode(m)
	if err != nil {
		return err
	}
	return to.Write(metaPrefix+strconv.FormatInt(m.ID, 10), b)
}

// Listed is a checkpoint as a folder shows it.
type Listed struct {
	*Metadata
	// Problem says why it cannot be gone back to; empty if it can.
	Problem string `json:"problem,omitempty"`
}

// List describes the checkpoints, or the savepoint, in a folder, newest last. Of
// shared files it checks their presence and size.
func List(f *state.Folder) ([]Listed, error) {
	ids, err := f.Numbered(metaPrefix)
	if err != nil {
		return nil, err
	}
	var out []Listed
	s := &Store{folder: f}
	for _, id := range ids {
		l := Listed{Metadata: &Metadata{ID: id}}
		if m, err := s.read(id); err != nil {
			l.Problem = err.Error()
		} else {
			l.Metadata = m
			if err := s.whole(m); err != nil {
				l.Problem = err.Error()
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// whole reports what is missing of a checkpoint, or torn.
func (s *Store) whole(m *Metadata) error {
	c, err := s.open(m.ID)
	if err != nil {
		return err
	}
	c.Close()
	for _, st := range m.States {
		for _, f := range st.Shared {
			info, err := s.folder.Stat(filepath.Join(m.SharedIn, f.Name))
			if err != nil {
				return err
			}
			if info.Size() != f.Bytes {
				return fmt.Errorf("%s has %d bytes, %d were written: %w", f.Name, info.Size(), f.Bytes, state.ErrTorn)
			}
		}
	}
	return nil
}
