package lsm

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"streamduel/state"
)

// store is a subtask's database.
type store struct {
	backend *Backend
	id      string
	dir     string
	opened  int // how many databases there have been in dir
	db      *pebble.DB
	batch   *pebble.Batch
	value   io.Closer // of the last Get
	pending *cut      // not yet written

	mu     sync.Mutex
	shared map[string]string // a database's file → its name in the shared folder
	closed bool
}

// Get returns a key's value.
func (s *store) Get(key []byte) ([]byte, bool, error) {
	if s.value != nil {
		s.value.Close()
		s.value = nil
	}
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	s.value = closer
	return v, true, nil
}

// Put stores a value with the next Flush.
func (s *store) Put(key, value []byte) error {
	s.wait()
	return s.batch.Set(key, value, nil)
}

// Delete removes a key with the next Flush.
func (s *store) Delete(key []byte) error {
	s.wait()
	return s.batch.Delete(key, nil)
}

// Flush makes puts and deletions take effect.
func (s *store) Flush() error {
	if s.batch.Empty() {
		return nil
	}
	s.wait()
	err := s.batch.Commit(pebble.NoSync)
	s.batch.Reset()
	return err
}

// Busy reports whether a write would wait.
func (s *store) Busy() bool {
	if s.pending != nil {
		select {
		case <-s.pending.done:
			s.pending = nil
		default:
			return true
		}
	}
	return false
}

func (s *store) wait() {
	if s.pending != nil {
		<-s.pending.done
		s.pending = nil
	}
}

// Scan calls f for a range of keys.
func (s *store) Scan(from, to []byte, f func(key, value []byte) bool) error {
	return scan(s.db, from, to, f)
}

func scan(db *pebble.DB, from, to []byte, f func(key, value []byte) bool) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if !f(it.Key(), v) {
			break
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// Close closes the database and deletes it. A cut that is being written fails.
func (s *store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.backend.mu.Lock()
	delete(s.backend.open, s)
	s.backend.mu.Unlock()
	return errors.Join(s.closeDB(), s.backend.fs.RemoveAll(s.dir))
}

func (s *store) closeDB() error {
	if s.db == nil {
		return nil // a restore failed
	}
	var err error
	if s.value != nil {
		err = s.value.Close()
		s.value = nil
	}
	err = errors.Join(err, s.batch.Close(), s.db.Close())
	s.db = nil
	return err
}

// cut is a database at one moment.
type cut struct {
	store   *store
	flushed <-chan struct{}
	done    chan struct{} // closed when the database may be written again
	once    sync.Once
}

// Cut rotates the memtable: all that was written so far will be in files when it
// has been flushed.
func (s *store) Cut() (state.Cut, error) {
	if err := s.Flush(); err != nil {
		return nil, err
	}
	s.wait()
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return nil, err
	}
	s.pending = &cut{store: s, flushed: flushed, done: make(chan struct{})}
	return s.pending, nil
}

func (c *cut) release() { c.once.Do(func() { close(c.done) }) }

// Discard lets the database be written again.
func (c *cut) Discard() { c.release() }

// Append takes the files, gives names in the shared folder to those that are new,
// and appends the list of all.
func (c *cut) Append(dst []byte) ([]byte, error) {
	defer c.release()
	<-c.flushed
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return dst, errors.New("lsm: the database is closed")
	}
	dir := filepath.Join(s.dir, "cut")
	if err := s.backend.fs.RemoveAll(dir); err != nil {
		return dst, err
	}
	if err := s.db.Checkpoint(dir); err != nil {
		return dst, fmt.Errorf("lsm: taking the files: %w", err)
	}
	c.release()
	defer s.backend.fs.RemoveAll(dir)
	files, err := s.backend.fs.List(dir)
	if err != nil {
		return dst, err
	}
	var m manifest
	links, now := map[string]string{}, map[string]string{}
	for _, local := range files {
		path := filepath.Join(dir, local)
		if !strings.HasSuffix(local, ".sst") {
			b, err := readFile(s.backend.fs, path)
			if err != nil {
				return dst, err
			}
			m = append(m, file{name: local, content: b, size: int64(len(b))})
			continue
		}
		info, err := s.backend.fs.Stat(path)
		if err != nil {
			return dst, err
		}
		name, ok := s.shared[local]
		if !ok {
			name = s.sharedName(local)
			links[name] = path
		}
		now[local] = name
		m = append(m, file{name: local, shared: name, size: info.Size()})
	}
	if err := s.backend.shared.Link(links); err != nil {
		return dst, fmt.Errorf("lsm: keeping the files: %w", err)
	}
	s.shared = now
	slices.SortFunc(m, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return m.append(dst), nil
}

// Restore adds what cuts hold of a range of keys. Into an empty database the
// largest is linked.
func (s *store) Restore(cuts [][]byte, from, to []byte) error {
	ms := make([]manifest, len(cuts))
	for i, b := range cuts {
		var err error
		if ms[i], err = parseManifest(b); err != nil {
			return err
		}
	}
	slices.SortStableFunc(ms, func(a, b manifest) int { return int(min(max(b.size()-a.size(), -1), 1)) })
	empty := true
	if err := s.Scan(nil, nil, func(_, _ []byte) bool { empty = false; return false }); err != nil {
		return err
	}
	for i, m := range ms {
		var err error
		if empty && i == 0 {
			err = s.become(m, from, to)
		} else {
			err = s.take(m, from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// become opens a cut's files as the database and deletes what is outside the
// range.
func (s *store) become(m manifest, from, to []byte) error {
	if err := s.closeDB(); err != nil {
		return err
	}
	if err := s.backend.fs.RemoveAll(s.path()); err != nil {
		return err
	}
	s.opened++
	s.shared = map[string]string{}
	if err := s.backend.materialise(m, s.path()); err != nil {
		return err
	}
	db, err := pebble.Open(s.path(), s.backend.options(false))
	if err != nil {
		return fmt.Errorf("lsm: opening a snapshot's files: %w", err)
	}
	s.db = db
	s.batch = s.db.NewBatch()
	for _, f := range m {
		if f.shared != "" {
			s.shared[f.name] = f.shared
		}
	}
	for _, r := range [][2][]byte{{{}, from}, {to, {0xff, 0xff, 0xff}}} {
		if string(r[0]) < string(r[1]) {
			if err := s.db.DeleteRange(r[0], r[1], pebble.NoSync); err != nil {
				return err
			}
		}
	}
	return nil
}

// take copies a cut's range into the database.
func (s *store) take(m manifest, from, to []byte) (err error) {
	dir := filepath.Join(s.dir, "other")
	if err := s.backend.materialise(m, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.backend.fs.RemoveAll(dir)) }()
	db, err := pebble.Open(dir, s.backend.options(true))
	if err != nil {
		return fmt.Errorf("lsm: opening a snapshot's files: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var bad error
	err = scan(db, from, to, func(k, v []byte) bool {
		if bad = s.Put(k, v); bad == nil && s.batch.Len() > 1<<20 {
			bad = s.Flush()
		}
		return bad == nil
	})
	return errors.Join(err, bad, s.Flush())
}
