// Package checkpoints keeps the checkpoints of a dataflow job in a folder.
//
// A checkpoint is one metadata file, checkpoint-N, and one state file for each
// stateful subtask, state-N-…. The metadata file appears last and whole, so it
// is what makes a checkpoint durable; state files that no metadata names are
// leftovers of a checkpoint that never completed.
package checkpoints

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"streamduel/connectors"
	"streamduel/state"
)

const version = 1

// errVersion means that another version of the program wrote a checkpoint.
var errVersion = errors.New("another version wrote it")

// Metadata describes one completed checkpoint.
type Metadata struct {
	Version        int      `json:"version"`
	ID             int64    `json:"id"`
	Attempt        int      `json:"attempt"`
	MaxParallelism int      `json:"maxParallelism"`
	Sources        []Source `json:"sources"`
	States         []State  `json:"states,omitempty"`
	Sinks          []Sink   `json:"sinks,omitempty"`
	// Taken is when it was triggered, in Unix milliseconds.
	Taken int64 `json:"taken,omitempty"`
	// Channels hold what an unaligned checkpoint's barriers have overtaken.
	Channels []Channels `json:"channels,omitempty"`
	// SharedIn is the folder of the shared files, in the job's.
	SharedIn string `json:"sharedIn,omitempty"`
}

// Source is a source operator's splits.
type Source struct {
	Operator string  `json:"operator"`
	Splits   []Split `json:"splits"`
}

// Split is how far a split has been read.
type Split struct {
	ID        connectors.SplitID  `json:"id"`
	Partition int32               `json:"partition"`
	Position  connectors.Position `json:"position"`
	// Until is where a bounded split ends; absent where its reader knows.
	Until *connectors.Position `json:"until,omitempty"`
	// Watermark is what the split's generator had reached, in Unix milliseconds;
	// absent when there was none.
	Watermark *int64 `json:"watermark,omitempty"`
}

// State names one subtask's state file.
type State struct {
	Operator string `json:"operator"` // the keyed operator at the head of the task
	Subtask  int    `json:"subtask"`
	File     string `json:"file"`
	Bytes    int64  `json:"bytes"`
	// Shared are the files that it shares with other checkpoints, where the
	// state's backend has such.
	Shared []state.SharedFile `json:"shared,omitempty"`
}

// Sink lists what a sink's subtask has prepared and not yet committed.
type Sink struct {
	Operator     string                   `json:"operator"`
	Subtask      int                      `json:"subtask"`
	Committables []connectors.Committable `json:"committables"`
}

// Committables returns all of one sink's committables.
func (m *Metadata) Committables(operator string) (cs []connectors.Committable) {
	for _, s := range m.Sinks {
		if s.Operator == operator {
			cs = append(cs, s.Committables...)
		}
	}
	return cs
}

// Positions returns the positions of all sources.
func (m *Metadata) Positions() map[connectors.SplitID]connectors.Position {
	ps := map[connectors.SplitID]connectors.Position{}
	for _, s := range m.Sources {
		for _, sp := range s.Splits {
			ps[sp.ID] = sp.Position
		}
	}
	return ps
}

// Watermarks returns what the generators of a source's splits had reached, nil
// where there was no watermark yet.
func (m *Metadata) Watermarks(operator string) map[connectors.SplitID]*int64 {
	ts := map[connectors.SplitID]*int64{}
	for _, s := range m.Sources {
		if s.Operator != operator {
			continue
		}
		for _, sp := range s.Splits {
			ts[sp.ID] = sp.Watermark
		}
	}
	return ts
}

// Bytes returns the size of all state files, shared ones included.
func (m *Metadata) Bytes() (n int64) {
	for _, s := range m.States {
		n += s.Bytes
		for _, f := range s.Shared {
			n += f.Bytes
		}
	}
	return n
}

// NewBytes returns how much of Bytes another checkpoint does not have.
func (m *Metadata) NewBytes(before *Metadata) int64 {
	n := m.Bytes()
	if before == nil {
		return n
	}
	known := map[string]bool{}
	before.shared(known)
	for _, s := range m.States {
		for _, f := range s.Shared {
			if known[f.Name] {
				n -= f.Bytes
			}
		}
	}
	return n
}

// shared adds the shared files' names to a set.
func (m *Metadata) shared(to map[string]bool) {
	for _, s := range m.States {
		for _, f := range s.Shared {
			to[f.Name] = true
		}
	}
}

// Checkpoint is a checkpoint that was read back. Its state files are open until
// it is closed.
type Checkpoint struct {
	*Metadata
	states map[string]*state.File // by file
}

// States returns the snapshots of all subtasks of a keyed operator.
func (c *Checkpoint) States(operator string) (snapshots []state.Reader) {
	for _, s := range c.Metadata.States {
		if s.Operator == operator {
			snapshots = append(snapshots, c.states[s.File])
		}
	}
	return snapshots
}

// Close closes the state files.
func (c *Checkpoint) Close() {
	for _, f := range c.states {
		f.Close()
	}
}

const (
	metaPrefix  = "checkpoint-"
	statePrefix = "state-"
)

// Store is the folder of one job's checkpoints. Of its methods, WriteState may
// be called from any goroutine.
type Store struct {
	folder   *state.Folder
	retained int
	backend  state.Backend
	log      *slog.Logger
}

// Open returns the store in a folder; retained is how many checkpoints Subsume
// leaves. The backend, nil for memory, has the files that checkpoints share.
func Open(f *state.Folder, retained int, backend state.Backend, log *slog.Logger) *Store {
	return &Store{folder: f, retained: retained, backend: backend, log: log}
}

// Newest opens the newest checkpoint that can be read, or nil when there is none.
// One that is torn or of another version is logged and the one before is used.
func (s *Store) Newest() (*Checkpoint, error) {
	ids, err := s.folder.Numbered(metaPrefix)
	if err != nil {
		return nil, err
	}
	var newest error
	for i := len(ids) - 1; i >= 0; i-- {
		c, err := s.open(ids[i])
		if err == nil {
			return c, nil
		}
		unusable := slices.ContainsFunc([]error{state.ErrTorn, fs.ErrNotExist, state.ErrNoSnapshot, state.ErrVersion, errVersion}, func(e error) bool { return errors.Is(err, e) })
		if !unusable {
			return nil, err
		}
		s.log.Warn("a checkpoint cannot be used, trying the one before", "checkpoint", ids[i], "error", err)
		if newest == nil {
			newest = err
		}
	}
	if newest != nil {
		return nil, fmt.Errorf("none of the %d checkpoints in %s can be used: begin in an empty folder, from a savepoint (restoreFrom) if there is one; the newest: %w", len(ids), s.folder.Path(), newest)
	}
	return nil, nil
}

// At opens a checkpoint.
func (s *Store) At(id int64) (*Checkpoint, error) { return s.open(id) }

func (s *Store) read(id int64) (*Metadata, error) {
	b, err := s.folder.Read(metaPrefix + strconv.FormatInt(id, 10))
	if err != nil {
		return nil, err
	}
	m := &Metadata{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("checkpoint %d: %w", id, err)
	}
	if m.Version != version {
		return nil, fmt.Errorf("checkpoint %d has version %d, this program reads %d: %w", id, m.Version, version, errVersion)
	}
	return m, nil
}

func (s *Store) open(id int64) (c *Checkpoint, err error) {
	m, err := s.read(id)
	if err != nil {
		return nil, err
	}
	states := map[string]*state.File{}
	c = &Checkpoint{Metadata: m, states: states}
	defer func() {
		if err != nil {
			(&Checkpoint{states: states}).Close()
		}
	}()
	for _, ch := range m.Channels {
		f, err := s.folder.Open(ch.File)
		if err != nil {
			return nil, fmt.Errorf("checkpoint %d, operator %q, subtask %d, records on their way: %w", id, ch.Operator, ch.Subtask, err)
		}
		states[ch.File] = f
	}
	for _, st := range m.States {
		f, err := s.folder.Open(st.File)
		if err == nil {
			states[st.File] = f
			_, err = state.Inspect(f)
		}
		if err == nil && s.backend != nil {
			err = s.backend.Check(st.Shared)
		}
		if err != nil {
			return nil, fmt.Errorf("checkpoint %d, operator %q, subtask %d: %w", id, st.Operator, st.Subtask, err)
		}
	}
	return c, nil
}

// NextID returns a number above all that files in the folder carry, those of
// torn and unfinished checkpoints included.
func (s *Store) NextID() (int64, error) {
	names, err := s.folder.List("")
	if err != nil {
		return 0, err
	}
	next := int64(1)
	for _, n := range names {
		if id, ok := idOf(n); ok {
			next = max(next, id+1)
		}
	}
	return next, nil
}

// idOf returns the checkpoint that a file belongs to.
func idOf(name string) (id int64, ok bool) {
	rest, ok := strings.CutPrefix(name, metaPrefix)
	if !ok {
		if rest, ok = strings.CutPrefix(name, statePrefix); !ok {
			return 0, false
		}
		rest, _, _ = strings.Cut(rest, "-")
	}
	id, err := strconv.ParseInt(rest, 10, 64)
	return id, err == nil
}

// WriteState writes one subtask's state and returns where it is. The
// attempt is part of the name, so that an old process that wakes up cannot
// overwrite what the new one wrote.
func (s *Store) WriteState(id int64, attempt, fragment, subtask int, data []byte) (st State, err error) {
	st = State{Subtask: subtask, File: fmt.Sprintf("%s%d-%d-%d-%d", statePrefix, id, attempt, fragment, subtask), Bytes: int64(len(data))}
	if s.backend != nil {
		if st.Shared, err = state.SharedFiles(s.backend, bytes.NewReader(data)); err != nil {
			return st, err
		}
	}
	return st, s.folder.Write(st.File, data)
}

// Complete writes a checkpoint's metadata: when it returns, the checkpoint is
// durable. It fails when another process has written this checkpoint.
func (s *Store) Complete(m *Metadata) error {
	if s.backend != nil {
		m.SharedIn, _, _ = strings.Cut(s.backend.Name(), "/")
	}
	b, err := encode(m)
	if err != nil {
		return err
	}
	return s.folder.Create(metaPrefix+strconv.FormatInt(m.ID, 10), b)
}

func encode(m *Metadata) ([]byte, error) {
	m.Version = version
	return json.Marshal(m)
}

// Subsume deletes the checkpoints before the newest ones that are retained, and
// returns the oldest that is left.
func (s *Store) Subsume() (oldest int64, err error) {
	ids, err := s.folder.Numbered(metaPrefix)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	keep := ids[max(len(ids)-s.retained, 0):]
	// Metadata first: a state file without metadata is a leftover, metadata
	// without its state file would be torn.
	for _, id := range ids[:len(ids)-len(keep)] {
		if err := s.folder.Remove(metaPrefix + strconv.FormatInt(id, 10)); err != nil {
			return keep[0], err
		}
	}
	return keep[0], s.Sweep()
}

// Sweep deletes state files of checkpoints older than the newest that no
// metadata names.
func (s *Store) Sweep() error {
	ids, err := s.folder.Numbered(metaPrefix)
	if err != nil || len(ids) == 0 {
		return err
	}
	known := map[int64]bool{}
	for _, id := range ids {
		known[id] = true
	}
	names, err := s.folder.List(statePrefix)
	if err != nil {
		return err
	}
	for _, n := range names {
		if id, ok := idOf(n); ok && !known[id] && id < ids[len(ids)-1] {
			if err := s.folder.Remove(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// SweepShared deletes the shared files that no checkpoint needs any more, nor
// what relied returns: those on which stores in other processes rely. It may be
// called from any goroutine.
func (s *Store) SweepShared(relied func() (map[string]bool, error)) error {
	if s.backend == nil {
		return nil
	}
	return s.backend.Sweep(func() (map[string]bool, error) {
		kept, err := relied() // before the metadata: a store lets go of a file when they name it
		if err != nil {
			return nil, err
		}
		ids, err := s.folder.Numbered(metaPrefix)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			m, err := s.read(id)
			switch {
			case err == nil:
				m.shared(kept)
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, state.ErrTorn): // subsumed meanwhile, or of no use
			default:
				return nil, err // another version may need any of them
			}
		}
		return kept, nil
	})
}

// Recovered tells that a checkpoint has been gone back to and the committables
// of the sinks for which of is true have all been committed: the newer, unusable
// ones are deleted, and no checkpoint lists those committables any more, because
// their transactional ids are now going to be used again.
func (s *Store) Recovered(c *Checkpoint, of func(operator string) bool) error {
	gone := func(s Sink) bool { return of(s.Operator) }
	ids, err := s.folder.Numbered(metaPrefix)
	if err != nil {
		return err
	}
	for _, id := range ids {
		name := metaPrefix + strconv.FormatInt(id, 10)
		if id > c.ID {
			if err := s.folder.Remove(name); err != nil {
				return err
			}
			continue
		}
		// An older one may be torn; then it lists nothing that could be used.
		old, err := s.read(id)
		if err != nil || !slices.ContainsFunc(old.Sinks, gone) {
			continue
		}
		old.Sinks = slices.DeleteFunc(old.Sinks, gone)
		b, err := encode(old)
		if err != nil {
			return err
		}
		if err := s.folder.Write(name, b); err != nil {
			return err
		}
	}
	c.Sinks = slices.DeleteFunc(c.Sinks, gone)
	return nil
}
