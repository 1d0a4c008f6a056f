package state

import "fmt"

// Set is all state of one subtask: its keyed tables and its operator state, by
// operator and name.
type Set struct {
	SetConfig
	groups    GroupRange
	tables    []named
	operators []operatorState
	backend   Backend // nil for memory
	store     Store
	err       error
	onError   func(error)
}

// SetConfig says whose state a set is.
type SetConfig struct {
	// Job is the job's name; a snapshot of another job is refused. When either
	// side has none, nothing is compared.
	Job            string
	Subtask        int
	Parallelism    int
	MaxParallelism int // the number of key groups
}

type named struct {
	operator, name string
	table          table
}

// table is what a Set knows of a Table.
type table interface {
	codecs() (keys, values string)
	aged() bool // has a time to live
	image(full bool) image
	reader(c *tableContents, entries int, moved bool) (applier, error)
	rewriter(c *tableContents, moved bool) rewriter
	place() (prefix uint32, scanned bool)
	limitCache(bytes int64)
	Len() int
	bytes() int64
	changes() (updated, removed int64)
}

// NewSet returns an empty set for a subtask that owns the given key groups and
// is alone.
func NewSet(groups GroupRange, maxParallelism int) *Set {
	s := NewSetOf(SetConfig{Parallelism: 1, MaxParallelism: maxParallelism})
	s.groups = groups
	return s
}

// NewSetOf returns an empty set for a subtask, which owns the key groups that
// fall to it.
func NewSetOf(c SetConfig) *Set {
	c.Parallelism = max(c.Parallelism, 1)
	s := &Set{SetConfig: c, groups: GroupRange{1, 0}}
	if c.Parallelism <= c.MaxParallelism { // else it can have no keyed state
		s.groups = RangeOf(c.Subtask, c.Parallelism, c.MaxParallelism)
	}
	return s
}

func (s *Set) add(operator, name string, t table) error {
	if err := s.check(operator, name); err != nil {
		return err
	}
	s.tables = append(s.tables, named{operator, name, t})
	if s.backend != nil {
		for _, n := range s.tables {
			n.table.limitCache(s.backend.CacheBytes() / int64(len(s.tables)))
		}
	}
	return nil
}

func (s *Set) check(operator, name string) error {
	for _, n := range s.tables {
		if n.operator == operator && n.name == name {
			return fmt.Errorf("%s: state %q is declared twice", operator, name)
		}
		if s.store != nil && tablePrefix(n.operator, n.name) == tablePrefix(operator, name) {
			return fmt.Errorf("%s: state %q has the same hash as %s/%s: rename one of them", operator, name, n.operator, n.name)
		}
	}
	for _, o := range s.operators {
		if op, n := o.id(); op == operator && n == name {
			return fmt.Errorf("%s: state %q is declared twice", operator, name)
		}
	}
	return nil
}

// Empty reports whether the set has no state at all declared.
func (s *Set) Empty() bool { return len(s.tables) == 0 && len(s.operators) == 0 }

// Keys returns the number of keys over all tables.
func (s *Set) Keys() (n int) {
	for _, t := range s.tables {
		n += t.table.Len()
	}
	return n
}

// Usage is what one table takes.
type Usage struct {
	Operator, Name string
	Keys           int
	// Bytes is the memory of the table's slots and index, without what its keys
	// and values point to.
	Bytes int64
	// Updated is how many keys have been put or changed since the set was made and
	// are there, Removed how many of those before have gone: a key counts once
	// between two snapshots, with a backend also each time that it has left the
	// table's cache in between.
	Updated, Removed int64
}

// Usage returns what each table takes.
func (s *Set) Usage() []Usage {
	us := make([]Usage, len(s.tables))
	for i, n := range s.tables {
		us[i] = Usage{Operator: n.operator, Name: n.name, Keys: n.table.Len(), Bytes: n.table.bytes()}
		us[i].Updated, us[i].Removed = n.table.changes()
	}
	return us
}

// Footprint is what all keyed state of a subtask takes.
type Footprint struct {
	Keys int64 // expired ones that have not been cleaned up among them
	// MemoryBytes are those of the tables, without what keys and values point to,
	// and with a backend those of its store that the subtask does not share.
	MemoryBytes int64
	DiskBytes   int64
}

// Footprint returns what the set takes.
func (s *Set) Footprint() (f Footprint) {
	for _, n := range s.tables {
		f.Keys += int64(n.table.Len())
		f.MemoryBytes += n.table.bytes()
	}
	if s.store != nil {
		memory, disk := s.store.Usage()
		f.MemoryBytes += memory
		f.DiskBytes = disk
	}
	return f
}

// OnError sets what is called with the first error that a table meets where its
// caller cannot be given one: the task fails with it.
func (s *Set) OnError(f func(error)) {
	s.onError = f
	if s.err != nil {
		f(s.err)
	}
}

// Err returns that first error.
func (s *Set) Err() error { return s.err }

func (s *Set) fail(err error) {
	if err == nil || s.err != nil {
		return
	}
	s.err = err
	if s.onError != nil {
		s.onError(err)
	}
}

func (s *Set) find(operator, name string) table {
	for _, n := range s.tables {
		if n.operator == operator && n.name == name {
			return n.table
		}
	}
	return nil
}
