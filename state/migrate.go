package state

import (
	"encoding/binary"
	"fmt"

	"streamduel/codec"
)

// migration is a table whose entries lie in the store as another version of its
// codecs wrote them. They are written anew when they are restored: what reads
// entries later knows one encoding only, and a compaction never meets two.
type migration struct {
	table    table
	contents *tableContents
	// moved says that keys have another encoding too, so that they may belong to
	// other groups than they lie in, and to other subtasks.
	moved bool
	cut   []byte // of a table with moved keys: where its entries are read from
}

// rewriter writes an entry of the store as the table itself would.
type rewriter func(key, value []byte) error

// rewriteAtOnce is how many entries are written between two flushes.
const rewriteAtOnce = 1024

// migrate writes restored entries anew that another codec wrote.
func (s *Set) migrate(old []migration) error {
	if len(old) == 0 {
		return nil
	}
	// In this order: keys that move may come to lie among those of another old
	// subtask, and one may be encoded as another was.
	for _, m := range old {
		if m.moved {
			continue
		}
		if err := s.each(m, m.table.rewriter(m.contents, false)); err != nil {
			return m.wrap(err)
		}
	}
	for _, m := range old {
		if !m.moved {
			continue
		}
		_, scanned := m.table.place()
		if err := s.each(m, func(key, _ []byte) error { return s.store.Delete(key, scanned) }); err != nil {
			return m.wrap(err)
		}
	}
	for _, m := range old {
		if !m.moved {
			continue
		}
		prefix, _ := m.table.place()
		write := s.flushing(m.table.rewriter(m.contents, true))
		var bad error
		err := s.store.Read(m.cut, nil, nil, func(key, value []byte) bool {
			if len(key) >= prefixBytes && binary.BigEndian.Uint32(key[2:]) == prefix {
				bad = write(key, value)
			}
			return bad == nil
		})
		if bad != nil {
			err = bad
		}
		if err != nil {
			return m.wrap(err)
		}
	}
	if err := s.store.Flush(); err != nil {
		return err
	}
	// What goes through the store's files alone must not meet the old entries.
	return s.store.Settle()
}

func (m migration) wrap(err error) error {
	return fmt.Errorf("state: %s/%s: writing what %s→%s wrote anew: %w", m.contents.operator, m.contents.name, m.contents.keys, m.contents.values, err)
}

// each calls f for the restored entries of a table.
func (s *Set) each(m migration, f rewriter) error {
	prefix, _ := m.table.place()
	f = s.flushing(f)
	for _, g := range m.contents.groups {
		if !s.groups.Contains(g.group) {
			continue
		}
		from := binary.BigEndian.AppendUint32(groupStart(int(g.group)), prefix)
		to := after(append([]byte(nil), from...))
		var bad error
		err := s.store.Scan(from, to, func(key, value []byte) bool {
			bad = f(key, value)
			return bad == nil
		})
		if bad != nil {
			return bad
		}
		if err != nil {
			return err
		}
	}
	return s.store.Flush()
}

// flushing makes what f writes take effect now and then, so that it does not
// gather in memory.
func (s *Set) flushing(f rewriter) rewriter {
	n := 0
	return func(key, value []byte) error {
		if err := f(key, value); err != nil {
			return err
		}
		if n++; n%rewriteAtOnce == 0 {
			return s.store.Flush()
		}
		return nil
	}
}

// place returns the table's prefix in the store, and whether its keys are scanned.
func (t *Table[K, V]) place() (prefix uint32, scanned bool) { return t.stored.prefix, t.stored.scanned }

// rewriter returns what writes an entry with those contents as the table would.
// Where keys have moved only the subtask's own are written.
func (t *Table[K, V]) rewriter(c *tableContents, moved bool) rewriter {
	_, decodeKey := codec.Functions(codec.Reading(t.keys, c.keys))
	_, decodeValue := codec.Functions(codec.Reading(t.values, c.values))
	now := int64(0)
	if t.ttl != nil {
		now = t.ttl.Clock()
	}
	return func(key, value []byte) error {
		at := now // of a table that had no time to live before
		if c.aged {
			if len(value) < 8 {
				return codec.ErrShort
			}
			at, value = int64(binary.LittleEndian.Uint64(value)), value[8:]
		}
		v, n, err := decodeValue(value)
		if err != nil {
			return err
		}
		if n != len(value) {
			return fmt.Errorf("%d bytes behind a value", len(value)-n)
		}
		if moved {
			k, _, err := decodeKey(key[prefixBytes:])
			if err != nil {
				return err
			}
			g := GroupOf(t.hash(k), t.set.MaxParallelism)
			if !t.set.groups.Contains(g) {
				return nil
			}
			t.live++
			t.counted(g, 1)
			key = t.storeKey(k, g)
		}
		return t.stored.store.Put(key, t.storeValue(v, at), t.stored.scanned)
	}
}
