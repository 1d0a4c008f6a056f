package lsm

import (
	"bytes"
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

	// What was put and is not scanned is in the buffer until that is full. A full
	// one is frozen: the background makes a file of it.
	buffer *buffer
	frozen *frozen
	files  int     // that have been made of buffers
	spare  *buffer // to be used again

	found []found // scratch
	bytes []byte

	mu     sync.Mutex
	shared map[string]string // a database's file → its name in the shared folder
	closed bool
}

// Get returns a key's value.
func (s *store) Get(key []byte) ([]byte, bool, error) {
	if v, ok, known := s.recent(key); known {
		return v, ok, nil
	}
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

// found is the value of a key that was asked for.
type found struct {
	from, to int // in bytes
	ok       bool
}

// GetAll gets many keys, in their order. All are read before f is told of the
// first: what f writes may turn a buffer into a file behind the iterator's back.
func (s *store) GetAll(keys [][]byte, f func(i int, value []byte, ok bool)) error {
	s.found, s.bytes = s.found[:0], s.bytes[:0]
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	for _, k := range keys {
		v, ok, known := s.recent(k)
		if !known {
			if ok = it.SeekPrefixGE(k); ok {
				v, err = it.ValueAndErr()
			} else {
				err = it.Error() // which the next seek forgets
			}
			if err != nil {
				break
			}
		}
		from := len(s.bytes)
		s.bytes = append(s.bytes, v...)
		s.found = append(s.found, found{from, len(s.bytes), ok})
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return err
	}
	for i, r := range s.found {
		f(i, s.bytes[r.from:r.to], r.ok)
	}
	return nil
}

// recent returns what the buffers know of a key.
func (s *store) recent(key []byte) (v []byte, ok, known bool) {
	if v, ok, known = s.buffer.get(key); known || s.frozen == nil {
		return v, ok, known
	}
	return s.frozen.buffer.get(key)
}

// Put stores a value: at once, or, if the key is scanned, with the next Flush.
func (s *store) Put(key, value []byte, scanned bool) error {
	if scanned {
		s.wait()
		return s.batch.Set(key, value, nil)
	}
	s.buffer.put(key, value, false)
	return nil
}

// Delete removes a key, as Put stores one.
func (s *store) Delete(key []byte, scanned bool) error {
	if scanned {
		s.wait()
		return s.batch.Delete(key, nil)
	}
	s.buffer.put(key, nil, true)
	return nil
}

// Flush makes puts and deletions take effect.
func (s *store) Flush() error {
	if s.buffer.bytes() >= s.backend.bufferBytes {
		if err := s.freeze(); err != nil {
			return err
		}
	}
	if s.batch.Empty() {
		return nil
	}
	s.wait()
	err := s.batch.Commit(pebble.NoSync)
	s.batch.Reset()
	return err
}

// Busy reports whether a write would wait.
func (s *store) Busy(scanned bool) bool {
	if !s.held() {
		return false
	}
	// Room is left for what is written at once.
	return scanned || s.buffer.bytes() >= s.backend.bufferBytes*7/8
}

// held reports whether a cut is not yet written.
func (s *store) held() bool {
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

// Settle makes what is in the buffers part of the database.
func (s *store) Settle() error {
	if err := s.freeze(); err != nil {
		return err
	}
	return s.melt()
}

// Usage returns the bytes of the buffers, and those of the database's files.
func (s *store) Usage() (memory, disk int64) {
	for _, b := range []*buffer{s.buffer, s.spare} {
		if b != nil {
			memory += b.takes()
		}
	}
	if s.frozen != nil {
		memory += s.frozen.size
	}
	return memory, int64(s.db.Metrics().DiskSpaceUsage())
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
	err := s.melt()
	if s.value != nil {
		err = errors.Join(err, s.value.Close())
		s.value = nil
	}
	err = errors.Join(err, s.batch.Close(), s.db.Close())
	s.db = nil
	return err
}

// cut is a database at one moment.
type cut struct {
	store   *store
	frozen  *frozen // the last buffer that belongs to it
	flushed <-chan struct{}
	done    chan struct{} // closed when the database may be written again
	once    sync.Once
}

// Cut rotates the buffer and the memtable: all that was written so far will be in
// files when they have been flushed.
func (s *store) Cut() (state.Cut, error) {
	if err := s.Flush(); err != nil {
		return nil, err
	}
	if err := s.freeze(); err != nil {
		return nil, err
	}
	s.wait()
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return nil, err
	}
	s.pending = &cut{store: s, frozen: s.frozen, flushed: flushed, done: make(chan struct{})}
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
	if c.frozen != nil {
		<-c.frozen.done
		if c.frozen.err != nil {
			return dst, c.frozen.err
		}
	}
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
	defer func() { _ = s.backend.fs.RemoveAll(dir) }()
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
// largest is linked, if nothing of it is outside the range.
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
		took := false
		if empty && i == 0 {
			var err error
			if took, err = s.become(m, from, to); err != nil {
				return err
			}
		}
		if took {
			continue
		}
		if err := s.take(m, from, to); err != nil {
			return err
		}
	}
	return nil
}

// become opens a cut's files as the database, if all of it is within the range;
// otherwise the database stays empty. Deleting what is outside by a range would
// be cheaper than copying what is inside, but with pebble 2.1.7 what a range had
// deleted was back in the open database later, in one of four runs of dataflow's
// TestRescaleThroughSavepoints under the race detector: the next snapshot held
// what another subtask had long changed, and overwrote it when both were
// restored into one.
func (s *store) become(m manifest, from, to []byte) (bool, error) {
	if err := s.reopen(m); err != nil {
		return false, err
	}
	all, err := inside(s.db, from, to)
	if err != nil {
		return false, err
	}
	if !all {
		return false, s.reopen(nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range m {
		if f.shared != "" {
			s.shared[f.name] = f.shared
		}
	}
	return true, nil
}

// reopen begins a database of a cut's files, or without any, in place of the one
// there is.
func (s *store) reopen(m manifest) error {
	if err := s.closeDB(); err != nil {
		return err
	}
	if err := s.backend.fs.RemoveAll(s.path()); err != nil {
		return err
	}
	s.opened++
	s.mu.Lock()
	s.shared = map[string]string{}
	s.mu.Unlock()
	if m != nil {
		if err := s.backend.materialise(m, s.path()); err != nil {
			return err
		}
	}
	db, err := pebble.Open(s.path(), s.backend.options(false))
	if err != nil {
		return fmt.Errorf("lsm: opening a snapshot's files: %w", err)
	}
	s.db = db
	s.batch = s.db.NewBatch()
	return nil
}

// inside reports whether all keys are in a range.
func inside(db *pebble.DB, from, to []byte) (bool, error) {
	it, err := db.NewIter(nil)
	if err != nil {
		return false, err
	}
	yes := !it.First() || bytes.Compare(it.Key(), from) >= 0
	err = it.Error() // which the next move forgets
	yes = yes && (!it.Last() || bytes.Compare(it.Key(), to) < 0)
	return yes, errors.Join(err, it.Error(), it.Close())
}

// take copies a cut's range into the database.
func (s *store) take(m manifest, from, to []byte) error {
	var bad error
	err := s.read(m, from, to, func(k, v []byte) bool {
		if bad = s.Put(k, v, true); bad == nil && s.batch.Len() > 1<<20 {
			bad = s.Flush()
		}
		return bad == nil
	})
	return errors.Join(err, bad, s.Flush())
}

// Read calls f for a range of what a cut holds.
func (s *store) Read(cut []byte, from, to []byte, f func(key, value []byte) bool) error {
	m, err := parseManifest(cut)
	if err != nil {
		return err
	}
	return s.read(m, from, to, f)
}

// read goes through a range of a cut in a folder of its own.
func (s *store) read(m manifest, from, to []byte, f func(key, value []byte) bool) (err error) {
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
	return scan(db, from, to, f)
}
