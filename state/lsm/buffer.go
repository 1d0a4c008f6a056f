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
	data []byte // entries: length of the key, of the value or gone (u32 each), key, value
	// at says where an entry begins plus one, below 32 bits of its key's hash,
	// which spare nearly every look at another's key; linear probing.
	at []uint64
	n  int
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
	return &buffer{seed: maphash.MakeSeed(), at: make([]uint64, leastPlaces)}
}

// bytes is what the buffer takes.
func (b *buffer) bytes() int { return len(b.data) + 8*len(b.at) }

// takes is the memory that it keeps, empty or not.
func (b *buffer) takes() int64 { return int64(cap(b.data) + 8*len(b.at) + 24*cap(b.sorted)) }

// place returns where a key's entry is noted, or where it would be, and the hash's
// bits that are noted with it.
func (b *buffer) place(key []byte) (i int, tag uint64) {
	h := maphash.Bytes(b.seed, key)
	tag = h &^ offsetMask
	mask := len(b.at) - 1
	for i = int(h) & mask; ; i = (i + 1) & mask {
		at := b.at[i]
		if at == 0 || at&^offsetMask == tag && bytes.Equal(b.key(offset(at)), key) {
			return i, tag
		}
	}
}

const offsetMask = 1<<32 - 1

func offset(at uint64) uint32 { return uint32(at) - 1 }

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
	i, _ := b.place(key)
	if b.at[i] == 0 {
		return nil, false, false
	}
	v, ok = b.value(offset(b.at[i]))
	return v, ok, true
}

// put notes a key's value, or that it is deleted.
func (b *buffer) put(key, value []byte, deleted bool) {
	if 3*b.n >= 2*len(b.at) {
		b.grow()
	}
	length := uint32(len(value))
	if deleted {
		length = gone
	}
	i, tag := b.place(key)
	if b.at[i] != 0 {
		if old, ok := b.value(offset(b.at[i])); ok && !deleted && len(old) == len(value) {
			copy(old, value) // most values keep their size
			return
		}
	} else {
		b.n++
	}
	b.at[i] = tag | uint64(len(b.data)+1)
	b.data = binary.LittleEndian.AppendUint32(b.data, uint32(len(key)))
	b.data = binary.LittleEndian.AppendUint32(b.data, length)
	b.data = append(append(b.data, key...), value...)
}

func (b *buffer) grow() {
	old := b.at
	b.at = make([]uint64, 2*len(old))
	mask := len(b.at) - 1
	for _, at := range old {
		if at == 0 {
			continue
		}
		i := int(maphash.Bytes(b.seed, b.key(offset(at)))) & mask
		for b.at[i] != 0 {
			i = (i + 1) & mask
		}
		b.at[i] = at
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
			k := b.key(offset(at))
			b.sorted = append(b.sorted, sortedEntry{word(k, 0), word(k, 8), offset(at)})
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
