package lsm

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// frozen is a buffer that is being made a file of the database.
type frozen struct {
	buffer *buffer
	size   int64 // of the buffer, which the background may be sorting
	done   chan struct{}
	err    error // valid when done
}

// freeze begins a new buffer. The database changes behind it, so a cut that is
// being written is waited for, and so is the buffer before.
func (s *store) freeze() error {
	if err := s.melted(); err != nil || s.buffer.n == 0 {
		return err
	}
	s.wait()
	if err := s.melt(); err != nil {
		return err
	}
	f := &frozen{buffer: s.buffer, size: s.buffer.takes(), done: make(chan struct{})}
	if s.buffer, s.spare = s.spare, nil; s.buffer == nil {
		s.buffer = newBuffer()
	}
	s.frozen = f
	s.files++
	path := filepath.Join(s.dir, fmt.Sprint("buffer-", s.files))
	go func() {
		defer close(f.done)
		if err := f.buffer.ingest(s.db, s.backend, path); err != nil {
			f.err = fmt.Errorf("lsm: making a file of what was written: %w", err)
		}
	}()
	return nil
}

// melt waits until the frozen buffer is a file.
func (s *store) melt() error {
	if s.frozen == nil {
		return nil
	}
	<-s.frozen.done
	return s.melted()
}

// melted forgets the frozen buffer if it is a file.
func (s *store) melted() error {
	if s.frozen == nil {
		return nil
	}
	select {
	case <-s.frozen.done:
	default:
		return nil
	}
	if s.frozen.err != nil {
		return s.frozen.err // and it stays: nothing that was written is lost sight of
	}
	s.spare, s.frozen = s.frozen.buffer, nil
	s.spare.reset()
	return nil
}

// ingest makes the buffer a file of the database.
func (b *buffer) ingest(db *pebble.DB, backend *Backend, path string) (err error) {
	f, err := backend.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	o := backend.options(false)
	o.EnsureDefaults()
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), o.MakeWriterOptions(0, db.TableFormat()))
	for _, e := range b.sort() {
		if v, ok := b.value(e.at); ok {
			err = w.Set(b.key(e.at), v)
		} else {
			err = w.Delete(b.key(e.at))
		}
		if err != nil {
			_ = w.Close()
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return db.Ingest(context.Background(), []string{path})
}
