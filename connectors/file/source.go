// Package file reads lines of text files and writes records as lines.
//
// A file is a split, a line is a record, and a position is a line's number,
// counted from 0. Line ends are LF or CR LF and belong to no record.
package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"streamduel/connectors"
)

// SourceConfig describes which files to read. It survives JSON.
type SourceConfig struct {
	// Paths are files, folders (all regular files below, except those whose
	// name begins with a dot or an underscore) and glob patterns. Files that
	// appear later are found by the next Discover.
	Paths []string `json:"paths"`
	// Follow waits for lines to be appended instead of ending with the file. A
	// last line without a line end is then not read until it has one.
	Follow bool                 `json:"follow,omitempty"`
	Start  connectors.StartFrom `json:"start,omitempty"`
	// BatchRecords bounds what one Poll returns. Default 1024.
	BatchRecords int `json:"batchRecords,omitempty"`
	// PollMillis is how often a followed file is looked at. Default 20.
	PollMillis int `json:"pollMillis,omitempty"`
}

// Source reads files. Files must only grow.
type Source struct {
	cfg SourceConfig

	mu        sync.Mutex
	indexes   map[string]*index
	committed map[connectors.SplitID]connectors.Position
}

var _ connectors.Source = (*Source)(nil)

// NewSource checks the configuration and completes it with its defaults.
func NewSource(cfg SourceConfig) (*Source, error) {
	if len(cfg.Paths) == 0 {
		return nil, errors.New("file source: no paths")
	}
	for _, p := range cfg.Paths {
		if _, err := filepath.Match(p, ""); err != nil {
			return nil, fmt.Errorf("file source: pattern %q: %w", p, err)
		}
	}
	switch cfg.Start {
	case "", connectors.StartEarliest, connectors.StartLatest, connectors.StartCommitted:
	default:
		return nil, fmt.Errorf("file source: start %q: allowed are earliest, latest, committed", cfg.Start)
	}
	if cfg.BatchRecords < 0 || cfg.PollMillis < 0 {
		return nil, fmt.Errorf("file source: batchRecords %d and pollMillis %d must not be negative", cfg.BatchRecords, cfg.PollMillis)
	}
	if cfg.BatchRecords == 0 {
		cfg.BatchRecords = 1024
	}
	if cfg.PollMillis == 0 {
		cfg.PollMillis = 20
	}
	return &Source{cfg: cfg, indexes: make(map[string]*index), committed: make(map[connectors.SplitID]connectors.Position)}, nil
}

// Describe implements connectors.Source.
func (s *Source) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "file", Replayable: true, Bounded: !s.cfg.Follow}
}

func (s *Source) index(path string) *index {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.indexes[path]
	if x == nil {
		x = newIndex(path)
		s.indexes[path] = x
	}
	return x
}

// latest is the number of lines of a file that can be read.
func (s *Source) latest(path string) (int64, error) {
	lines, tail, err := s.index(path).extend()
	if tail && !s.cfg.Follow {
		lines++
	}
	return lines, err
}

// Enumerator implements connectors.Source.
func (s *Source) Enumerator(context.Context, connectors.Env) (connectors.Enumerator, error) {
	return enumerator{s}, nil
}

type enumerator struct{ s *Source }

// Discover implements connectors.Enumerator.
func (e enumerator) Discover(context.Context) ([]connectors.Split, error) {
	found := make(map[string]bool)
	for _, p := range e.s.cfg.Paths {
		matches := []string{p}
		if strings.ContainsAny(p, "*?[") {
			var err error
			if matches, err = filepath.Glob(p); err != nil {
				return nil, fmt.Errorf("file source: pattern %q: %w", p, err)
			}
		}
		for _, m := range matches {
			if err := walk(m, found); err != nil {
				return nil, fmt.Errorf("file source: %w", err)
			}
		}
	}
	var out []connectors.Split
	for _, path := range slices.Sorted(maps.Keys(found)) {
		out = append(out, Split(path))
	}
	return out, nil
}

func walk(root string, found map[string]bool) error {
	// WalkDir does not follow a link to a folder, unless its name says that it is one.
	if st, err := os.Stat(root); err == nil && st.IsDir() {
		root = filepath.Clean(root) + string(filepath.Separator)
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path != root && errors.Is(err, fs.ErrNotExist) {
				return nil // it went away as we looked
			}
			return err
		}
		if hidden := strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_"); hidden && path != root {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
				found[filepath.Clean(path)] = true
			}
			return nil
		}
		if d.Type().IsRegular() {
			found[filepath.Clean(path)] = true
		}
		return nil
	})
}

// Split is the split of a file. Its number is a hash of the path, so that it
// stays the same as files come and go.
func Split(path string) connectors.Split {
	h := fnv.New32a()
	io.WriteString(h, path) //nolint:errcheck // a hash does not fail
	return connectors.Split{ID: connectors.SplitID(path), Partition: int32(h.Sum32() >> 1)}
}

// Bounds implements connectors.Enumerator.
func (e enumerator) Bounds(_ context.Context, splits []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	out := make(map[connectors.SplitID]connectors.Bounds, len(splits))
	for _, id := range splits {
		n, err := e.s.latest(string(id))
		if err != nil {
			return nil, err
		}
		out[id] = connectors.Bounds{Latest: connectors.Position(n)}
	}
	return out, nil
}

// Start implements connectors.Enumerator.
func (e enumerator) Start(ctx context.Context, splits []connectors.SplitID, initial bool) (map[connectors.SplitID]connectors.Position, error) {
	out := make(map[connectors.SplitID]connectors.Position, len(splits))
	for _, id := range splits {
		out[id] = 0
	}
	if !initial {
		return out, nil
	}
	switch e.s.cfg.Start {
	case connectors.StartLatest:
		bounds, err := e.Bounds(ctx, splits)
		for id, b := range bounds {
			out[id] = b.Latest
		}
		return out, err
	case connectors.StartCommitted:
		c, err := e.Committed(ctx, splits)
		maps.Copy(out, c)
		return out, err
	}
	return out, nil
}

// Commit implements connectors.Enumerator. A file has no place for positions:
// they live as long as the Source.
func (e enumerator) Commit(_ context.Context, positions map[connectors.SplitID]connectors.Position) error {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	maps.Copy(e.s.committed, positions)
	return nil
}

// Committed implements connectors.Enumerator.
func (e enumerator) Committed(_ context.Context, splits []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	out := make(map[connectors.SplitID]connectors.Position)
	for _, id := range splits {
		if p, ok := e.s.committed[id]; ok {
			out[id] = p
		}
	}
	return out, nil
}

// Close implements connectors.Enumerator.
func (e enumerator) Close() error { return nil }

// Reader implements connectors.Source.
func (s *Source) Reader(context.Context, connectors.Env) (connectors.Reader, error) {
	return &reader{s: s, wake: make(chan struct{}, 1)}, nil
}

// reader reads its splits in turn. Its files are open only while it reads.
type reader struct {
	s       *Source
	wake    chan struct{} // capacity 1
	splits  []*split
	turn    int
	batch   connectors.Batch
	records []connectors.Record
}

type split struct {
	connectors.Split
	pos, until int64
	offset     int64 // of line pos; -1: not known
	told       bool
}

// Assign implements connectors.Reader.
func (r *reader) Assign(as ...connectors.Assignment) error {
	for _, a := range as {
		if a.From < 0 || a.Until < a.From {
			return fmt.Errorf("file source: assignment of %s from %d until %d", a.Split.ID, a.From, a.Until)
		}
		k := slices.IndexFunc(r.splits, func(s *split) bool { return s.ID == a.Split.ID })
		if k < 0 {
			r.splits = append(r.splits, &split{Split: a.Split, pos: -1})
			k = len(r.splits) - 1
		}
		s := r.splits[k]
		if s.pos != int64(a.From) {
			s.pos, s.offset = int64(a.From), -1
		}
		s.until, s.told = int64(a.Until), false
	}
	return nil
}

// Unassign implements connectors.Reader.
func (r *reader) Unassign(ids ...connectors.SplitID) {
	r.splits = slices.DeleteFunc(r.splits, func(s *split) bool { return slices.Contains(ids, s.ID) })
}

// Poll implements connectors.Reader.
func (r *reader) Poll(ctx context.Context) (*connectors.Batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		select {
		case <-r.wake:
			r.batch = connectors.Batch{}
			return &r.batch, nil
		default:
		}
		open := len(r.splits) == 0
		for k := range r.splits {
			s := r.splits[(r.turn+k)%len(r.splits)]
			if s.told {
				continue
			}
			open = true
			b, err := r.read(s)
			if err != nil {
				return nil, err
			}
			if b != nil {
				r.turn = (r.turn + k + 1) % len(r.splits)
				return b, nil
			}
		}
		if !open {
			return nil, io.EOF
		}
		t := time.NewTimer(time.Duration(r.s.cfg.PollMillis) * time.Millisecond)
		select {
		case <-t.C:
		case <-r.wake:
			signal(r.wake)
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// read returns the next lines of a split, nil if there are none yet.
func (r *reader) read(s *split) (*connectors.Batch, error) {
	latest, err := r.s.latest(string(s.ID))
	if err != nil {
		return nil, err
	}
	if s.pos > latest {
		return nil, fmt.Errorf("file source: %s has %d lines; position %d is behind its end", s.ID, latest, s.pos)
	}
	until := s.until
	if !r.s.cfg.Follow {
		until = min(until, latest)
	}
	n := min(until, latest) - s.pos
	if n <= 0 && s.pos < until {
		return nil, nil
	}
	r.records = r.records[:0]
	if n > 0 {
		if err := r.lines(s, int(min(n, int64(r.s.cfg.BatchRecords)))); err != nil {
			return nil, fmt.Errorf("file source: %w", err)
		}
	}
	s.told = s.pos >= until
	r.batch = connectors.Batch{Split: s.Split, Records: r.records, Next: connectors.Position(s.pos),
		Latest: connectors.Position(latest), Done: s.told}
	return &r.batch, nil
}

// lines reads n lines that are there, from s.pos on.
func (r *reader) lines(s *split, n int) error {
	var skip int64
	if s.offset < 0 {
		s.offset, skip = r.s.index(string(s.ID)).seek(s.pos)
	}
	f, err := os.Open(string(s.ID))
	if err != nil {
		return err
	}
	defer f.Close()
	// A fresh buffer each time: operators may keep views of its lines.
	for size := 64 << 10; ; size *= 2 {
		buf := make([]byte, size)
		got, err := f.ReadAt(buf, s.offset)
		if err != nil && err != io.EOF {
			return err
		}
		atEnd := err == io.EOF
		b := buf[:got]
		for len(b) > 0 && n > 0 {
			k := bytes.IndexByte(b, '\n')
			line, used := b, len(b)
			if k >= 0 {
				line, used = b[:k], k+1
			} else if !atEnd {
				break
			}
			b = b[used:]
			s.offset += int64(used)
			if skip > 0 {
				skip--
				continue
			}
			line = bytes.TrimSuffix(line, []byte{'\r'})
			r.records = append(r.records, connectors.Record{Value: line[:len(line):len(line)], Offset: s.pos})
			s.pos++
			n--
		}
		if len(r.records) > 0 {
			return nil
		}
		if atEnd {
			return fmt.Errorf("%s ends before line %d, which was there", s.ID, s.pos)
		}
	}
}

// Wake implements connectors.Reader.
func (r *reader) Wake() { signal(r.wake) }

// Close implements connectors.Reader.
func (r *reader) Close() error { return nil }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
