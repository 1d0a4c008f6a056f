package lsm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// buffer holds the newest values of keys that are asked for one by one. Where a
// skip list costs twenty loads from memory a key, a hash table costs two, and
// sorting happens once for all of it, in the background.
type buffer struct {
	seed maphash.Seed
	data []byte   // entries: length of the key, of the value or gone (u32 each), key, value
	at   []uint32 // by hash, with linear probing: where an entry begins plus one
	n    int
	// sorted is scratch.
	sorted []sortedEntry
}

const (
	entryHead   = 8
	leastPlaces = 256
	gone        = ^uint32(0) // a value's length: the key is deleted
	maxBuffer   = 1 << 30    // offsets have 32 bits
)

func newBuffer() *buffer {
	return &buffer{seed: maphash.MakeSeed(), at: make([]uint32, leastPlaces)}
}

// bytes is what the buffer takes.
func (b *buffer) bytes() int { return len(b.data) + 4*len(b.at) }

// place returns where a key's entry is noted, or where it would be.
func (b *buffer) place(key []byte) int {
	mask := len(b.at) - 1
	for i := int(maphash.Bytes(b.seed, key)) & mask; ; i = (i + 1) & mask {
		if b.at[i] == 0 || bytes.Equal(b.key(b.at[i]-1), key) {
			return i
		}
	}
}

func (b *buffer) key(at uint32) []byte {
	d := b.data[at:]
	n := binary.LittleEndian.Uint32(d)
	return d[entryHead : entryHead+n]
}

// value returns an entry's value; ok is false when the key is deleted.
func (b *buffer) value(at uint32) (v []byte, ok bool) {
	d := b.data[at:]
	k, n := binary.LittleEndian.Uint32(d), binary.LittleEndian.Uint32(d[4:])
	if n == gone {
		return nil, false
	}
	return d[entryHead+k : entryHead+k+n], true
}

// get returns what the buffer knows of a key: known is false when nothing, and
// ok when it is deleted.
func (b *buffer) get(key []byte) (v []byte, ok, known bool) {
	if b.n == 0 {
		return nil, false, false
	}
	at := b.at[b.place(key)]
	if at == 0 {
		return nil, false, false
	}
	v, ok = b.value(at - 1)
	return v, ok, true
}

// put notes a key's value, or that it is deleted.
func (b *buffer) put(key, value []byte, deleted bool) {
	if 4*b.n >= 3*len(b.at) {
		b.grow()
	}
	length := uint32(len(value))
	if deleted {
		length = gone
	}
	i := b.place(key)
	if b.at[i] != 0 {
		if old, ok := b.value(b.at[i] - 1); ok && !deleted && len(old) == len(value) {
			copy(old, value) // most values keep their size
			return
		}
	} else {
		b.n++
	}
	b.at[i] = uint32(len(b.data)) + 1
	b.data = binary.LittleEndian.AppendUint32(b.data, uint32(len(key)))
	b.data = binary.LittleEndian.AppendUint32(b.data, length)
	b.data = append(append(b.data, key...), value...)
}

func (b *buffer) grow() {
	old := b.at
	b.at = make([]uint32, 2*len(old))
	for _, at := range old {
		if at != 0 {
			b.at[b.place(b.key(at-1))] = at
		}
	}
}

func (b *buffer) reset() {
	b.data, b.n = b.data[:0], 0
	clear(b.at)
}

// sortedEntry is an entry with the bytes of its key that tell it apart most
// often, so that the entry itself is hardly looked at while sorting.
type sortedEntry struct {
	first, second uint64
	at            uint32
}

// sort returns the entries in the order of their keys.
func (b *buffer) sort() []sortedEntry {
	b.sorted = b.sorted[:0]
	for _, at := range b.at {
		if at != 0 {
			k := b.key(at - 1)
			b.sorted = append(b.sorted, sortedEntry{word(k, 0), word(k, 8), at - 1})
		}
	}
	slices.SortFunc(b.sorted, func(x, y sortedEntry) int {
		if x.first != y.first {
			return cmp.Compare(x.first, y.first)
		}
		if x.second != y.second {
			return cmp.Compare(x.second, y.second)
		}
		return bytes.Compare(b.key(x.at), b.key(y.at))
	})
	return b.sorted
}

// word returns eight bytes of a key as a number that orders as they do; what the
// key lacks is zero.
func word(key []byte, from int) uint64 {
	if len(key) >= from+8 {
		return binary.BigEndian.Uint64(key[from:])
	}
	var w [8]byte
	copy(w[:], key[min(from, len(key)):])
	return binary.BigEndian.Uint64(w[:])
}
