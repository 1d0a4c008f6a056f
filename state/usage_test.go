package state

import (
	"testing"

	"streamduel/codec"
)

// TestUsageCountsChanges: a key that was put or changed counts once between two
// snapshots if it is there behind it, and one that was there before and is gone.
func TestUsageCountsChanges(t *testing.T) {
	s := NewSet(GroupRange{0, 127}, 128)
	table, err := NewTable(s, "op", "t", codec.Codec[string](codec.String{}), codec.Codec[int64](codec.Int64{}))
	if err != nil {
		t.Fatal(err)
	}
	put := func(keys ...string) {
		for _, k := range keys {
			table.Put(k, 1)
		}
	}
	remove := func(keys ...string) {
		for _, k := range keys {
			table.Delete(k)
		}
	}
	var before Usage
	for i, c := range []struct {
		do               func()
		keys             int
		updated, removed int64
	}{
		{func() { put("a", "b", "a") }, 2, 2, 0},
		{func() {}, 2, 0, 0},
		{func() { put("b", "c", "d"); remove("a", "d") }, 2, 2, 1}, // d never was
		{func() { remove("b"); put("b") }, 2, 1, 0},                // b is there again
		{func() { put("a"); remove("a"); put("a") }, 3, 1, 0},
		{func() { put("a"); remove("a", "b", "c", "e") }, 0, 0, 3},
		{func() { put("a"); remove("a") }, 0, 0, 0}, // dead slots are used again
		{func() { put("x", "y", "z") }, 3, 3, 0},
	} {
		c.do()
		now := s.Usage()[0]
		if now.Keys != c.keys || now.Updated-before.Updated != c.updated || now.Removed-before.Removed != c.removed {
			t.Errorf("step %d: %d keys, %d updated, %d removed, want %d, %d, %d", i, now.Keys, now.Updated-before.Updated, now.Removed-before.Removed, c.keys, c.updated, c.removed)
		}
		before = now
		s.Snapshot(nil, i%2 == 0)
	}
}
