package microbatch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"sync"

	"streamduel/state"
)

const (
	deltaPrefix = "delta-"
	fullPrefix  = "full-"
)

// partitionState keeps the versions of one stage partition's state: a delta
// file for each version, which makes the batch durable, and now and then a full
// one, which only shortens the way back and is written beside.
type partitionState struct {
	folder *state.Folder
	every  int
	deltas int // since the last full one
	// whole makes the next version a full one: the version before it may be
	// another than the number says.
	whole  bool
	buffer []byte
	// backend is nil for memory. With one every version is a full file, which
	// says on which shared files it relies; shared remembers those by version.
	backend state.Backend
	// apart: executors in other processes write the versions, and the driver
	// deletes what no version needs.
	apart  bool
	mu     sync.Mutex
	shared map[int64][]state.SharedFile
}

// write makes version durable and returns how many bytes it took.
func (p *partitionState) write(s *state.Set, version int64) (int, error) {
	prefix, whole := deltaPrefix, p.whole || p.backend != nil
	if whole {
		prefix = fullPrefix
	}
	b, err := p.put(s.SnapshotAsync(whole), prefix, version, p.buffer[:0])
	if err != nil {
		return 0, err
	}
	p.buffer = b
	if whole {
		p.whole, p.deltas = false, 0
		return len(b), nil
	}
	p.deltas++
	return len(b), nil
}

// shorten hands a full snapshot of a version to later, if one is due. It is called
// when the batch that starts from the version begins, and the version is known to be
// a complete batch's. Taken when the version is written, the snapshot of an attempt
// that then failed might come into the folder after what the attempt left there had
// been discarded.
func (p *partitionState) shorten(s *state.Set, version int64, later *maintenance) {
	if p == nil || p.backend != nil || p.whole || p.deltas < p.every {
		return
	}
	p.deltas = 0
	full := s.SnapshotAsync(true)
	later.do(func() error {
		_, err := p.put(full, fullPrefix, version, nil)
		return err
	})
}

// put writes a snapshot into a version's file, by way of the buffer, which it
// returns.
func (p *partitionState) put(s *state.Snapshot, prefix string, version int64, buffer []byte) ([]byte, error) {
	b, err := s.Append(buffer)
	if err == nil && !p.apart {
		err = p.relies(version, bytes.NewReader(b))
	}
	if err == nil {
		err = p.folder.Write(logName(prefix, version), b)
	}
	if err != nil {
		return nil, fmt.Errorf("state version %d: %w", version, err)
	}
	return b, nil
}

// relies notes the shared files of a version.
func (p *partitionState) relies(version int64, snapshot state.Reader) error {
	if p.backend == nil {
		return nil
	}
	files, err := state.SharedFiles(p.backend, snapshot)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shared == nil {
		p.shared = map[int64][]state.SharedFile{}
	}
	p.shared[version] = files
	return nil
}

// kept adds the names of the shared files on which versions in the folder rely.
// Those up to final will not be written again.
func (p *partitionState) kept(to map[string]bool, final int64) error {
	versions, err := p.folder.Numbered(fullPrefix)
	if err != nil {
		return err
	}
	for _, v := range versions {
		p.mu.Lock()
		files, known := p.shared[v]
		p.mu.Unlock()
		if !known || (p.apart && v > final) { // written by an earlier start or elsewhere
			err := p.opened(fullPrefix, v, func(f *state.File) error { return p.relies(v, f) })
			if unusable(err) {
				continue
			}
			if err != nil {
				return err
			}
			p.mu.Lock()
			files = p.shared[v]
			p.mu.Unlock()
		}
		for _, f := range files {
			to[f.Name] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.shared, func(v int64, _ []state.SharedFile) bool { return len(versions) > 0 && v < versions[0] })
	return nil
}

// opened calls f with a version's file while it is open.
func (p *partitionState) opened(prefix string, version int64, f func(*state.File) error) error {
	file, err := p.folder.Open(logName(prefix, version))
	if err != nil {
		return err
	}
	defer file.Close()
	return f(file)
}

// usable checks that a version's file can be read, without its entries.
func (p *partitionState) usable(f *state.File) error {
	if _, err := state.Inspect(f); err != nil || p.backend == nil {
		return err
	}
	files, err := state.SharedFiles(p.backend, f)
	if err != nil {
		return err
	}
	return p.backend.Check(files)
}

// unusable reports whether a version's file cannot be used, so that another way
// to its state or an older one is looked for.
func unusable(err error) bool {
	return slices.ContainsFunc([]error{state.ErrTorn, state.ErrNoSnapshot, state.ErrVersion, fs.ErrNotExist}, func(e error) bool { return errors.Is(err, e) })
}

// errVersion means that a state version cannot be rebuilt from its files.
var errVersion = errors.New("cannot be rebuilt")

// snapshots opens what rebuilds a version: the newest usable full file at or
// before it and the deltas behind. Version 0 is empty.
func (p *partitionState) snapshots(version int64) (found []*state.File, err error) {
	fulls, err := p.folder.Numbered(fullPrefix)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeAll(found)
			found = nil
		}
	}()
	open := func(prefix string, v int64) error {
		f, err := p.folder.Open(logName(prefix, v))
		if err != nil {
			return err
		}
		if err := p.usable(f); err != nil {
			f.Close()
			return fmt.Errorf("%s: %w", logName(prefix, v), err)
		}
		found = append(found, f)
		return nil
	}
	base, damaged := int64(0), error(nil)
	for _, v := range slices.Backward(fulls) {
		if v > version {
			continue
		}
		err := open(fullPrefix, v)
		if unusable(err) {
			if damaged == nil {
				damaged = err
			}
			continue // an older one and more deltas do as well
		}
		if err != nil {
			return found, err
		}
		base = v
		break
	}
	for v := base + 1; v <= version; v++ {
		err := open(deltaPrefix, v)
		if errors.Is(err, fs.ErrNotExist) && damaged != nil {
			err = damaged // which is why the delta is needed
		}
		if unusable(err) {
			return found, fmt.Errorf("state version %d %w: %w", version, errVersion, err)
		}
		if err != nil {
			return found, err
		}
	}
	p.deltas = int(version - base)
	return found, nil
}

func closeAll(files []*state.File) {
	for _, f := range files {
		f.Close()
	}
}

// newest returns the highest version up to limit that can be rebuilt.
func (p *partitionState) newest(limit int64) (int64, error) {
	for v := limit; v > 0; v-- {
		files, err := p.snapshots(v)
		closeAll(files)
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, errVersion) {
			return 0, err
		}
	}
	return 0, nil
}

// discard removes the versions above one: they belong to a batch that will be
// run again, and must not be mixed with what it gives then.
func (p *partitionState) discard(above int64) error {
	return p.each(func(prefix string, v int64) bool { return v > above })
}

// purge removes what no version from oldest on needs.
func (p *partitionState) purge(oldest int64) error {
	fulls, err := p.folder.Numbered(fullPrefix)
	if err != nil {
		return err
	}
	base := int64(0)
	for _, v := range fulls {
		if v <= oldest {
			base = v
		}
	}
	return p.each(func(prefix string, v int64) bool { return v < base || (prefix == deltaPrefix && v == base) })
}

func (p *partitionState) each(drop func(prefix string, v int64) bool) error {
	for _, prefix := range []string{deltaPrefix, fullPrefix} {
		vs, err := p.folder.Numbered(prefix)
		if err != nil {
			return err
		}
		for _, v := range vs {
			if drop(prefix, v) {
				if err := p.folder.Remove(prefix + strconv.FormatInt(v, 10)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// maintenance does what need not keep a batch waiting: full snapshots and
// purging, one after the other. The first error fails the job at its next
// batch.
type maintenance struct {
	jobs chan func() error
	done chan struct{}
	mu   sync.Mutex
	err  error
}

func newMaintenance() *maintenance {
	m := &maintenance{jobs: make(chan func() error, 256), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for job := range m.jobs {
			if err := job(); err != nil {
				m.mu.Lock()
				if m.err == nil {
					m.err = fmt.Errorf("maintenance: %w", err)
				}
				m.mu.Unlock()
			}
		}
	}()
	return m
}

func (m *maintenance) do(job func() error) { m.jobs <- job }

func (m *maintenance) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// close finishes what waits.
func (m *maintenance) close() {
	close(m.jobs)
	<-m.done
}
