package state

import "reflect"

// slotState says what a slot of a table holds.
type slotState uint8

const (
	slotFree slotState = iota
	slotLive
	slotDead // deleted: a mark that waits for the delta that tells of it
)

// entry is one slot of a table.
type entry[K comparable, V any] struct {
	key   K
	value V
	epoch uint32 // of the last change; the slot is listed in that epoch's changes
	group KeyGroup
	state slotState
	// born means that no snapshot before this epoch holds the key, so that its
	// deletion needs no mark.
	born bool
}

// chunk is a run of slots, the unit of copy on write: as long as a snapshot is
// being written, a chunk from before it is never changed but replaced.
type chunk[K comparable, V any] struct {
	version uint32 // epoch in which it was made or last replaced
	entries []entry[K, V]
	times   []int64 // last use in Unix milliseconds, of tables with a time to live
}

// chunkBytes is what a chunk takes: small, so that the copy before the first
// change in it costs about a microsecond; large, so that a million keys are a
// few thousand chunks, whose list is copied while processing waits.
const chunkBytes = 8 << 10

// chunkShift returns the power of two of slots whose entries fill a chunk.
func chunkShift(entryBytes uintptr) uint {
	shift := uint(0)
	for entryBytes<<(shift+1) <= chunkBytes {
		shift++
	}
	return shift
}

func (c *chunk[K, V]) clone(version uint32) *chunk[K, V] {
	n := &chunk[K, V]{version: version, entries: make([]entry[K, V], len(c.entries))}
	copy(n.entries, c.entries)
	if c.times != nil {
		n.times = make([]int64, len(c.times))
		copy(n.times, c.times)
	}
	return n
}

// flat reports whether copying a value of the type shares nothing that can be
// changed: no slice, map, pointer or interface. Strings cannot be changed.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	}
	return true
}
