package microbatch

import (
	"errors"
	"fmt"
	"io/fs"
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
}

// write makes version durable and returns how many bytes it took. A full
// snapshot, when one is due, is handed to later.
func (p *partitionState) write(s *state.Set, version int64, later *maintenance) (int, error) {
	prefix := deltaPrefix
	if p.whole {
		prefix = fullPrefix
	}
	b, err := p.put(s.SnapshotAsync(p.whole), prefix, version, p.buffer[:0])
	if err != nil {
		return 0, err
	}
	p.buffer = b
	if p.whole {
		p.whole, p.deltas = false, 0
		return len(b), nil
	}
	if p.deltas++; p.deltas >= p.every {
		p.deltas = 0
		full := s.SnapshotAsync(true)
		later.do(func() error {
			_, err := p.put(full, fullPrefix, version, nil)
			return err
		})
	}
	return len(b), nil
}

// put writes a snapshot into a version's file, by way of the buffer, which it
// returns.
func (p *partitionState) put(s *state.Snapshot, prefix string, version int64, buffer []byte) ([]byte, error) {
	b, err := s.Append(buffer)
	if err == nil {
		err = p.folder.Write(logName(prefix, version), b)
	}
	if err != nil {
		return nil, fmt.Errorf("state version %d: %w", version, err)
	}
	return b, nil
}

// errVersion means that a state version cannot be rebuilt from its files.
var errVersion = errors.New("cannot be rebuilt")

// snapshots returns what rebuilds a version: the newest intact full file at or
// before it and the deltas behind. Version 0 is empty.
func (p *partitionState) snapshots(version int64) ([][]byte, error) {
	fulls, err := p.folder.Numbered(fullPrefix)
	if err != nil {
		return nil, err
	}
	base, found := int64(0), [][]byte(nil)
	for _, v := range slices.Backward(fulls) {
		if v > version {
			continue
		}
		b, err := p.folder.Read(logName(fullPrefix, v))
		if errors.Is(err, state.ErrTorn) {
			continue // an older one and more deltas do as well
		}
		if err != nil {
			return nil, err
		}
		base, found = v, [][]byte{b}
		break
	}
	for v := base + 1; v <= version; v++ {
		b, err := p.folder.Read(logName(deltaPrefix, v))
		if errors.Is(err, state.ErrTorn) || errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("state version %d %w: %w", version, errVersion, err)
		}
		if err != nil {
			return nil, err
		}
		found = append(found, b)
	}
	p.deltas = int(version - base)
	return found, nil
}

// newest returns the highest version up to limit that can be rebuilt.
func (p *partitionState) newest(limit int64) (int64, error) {
	for v := limit; v > 0; v-- {
		_, err := p.snapshots(v)
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
