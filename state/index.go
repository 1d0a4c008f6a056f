package state

import (
	"hash/maphash"
	"math/bits"
	"unsafe"
)

// index leads from a key to its slot. It holds no keys, only 32 bits of a hash
// beside each slot: the key is compared where the entry lies, which is looked at
// anyway. So a key that is there costs two loads from memory, not three, and a
// key of any size about a dozen bytes.
//
// Its parts grow each by itself, and by little: none takes long to move, and
// the room that is free is a quarter at most, but for the smallest.
type index[K comparable] struct {
	seed  maphash.Seed
	word  uint64 // the seed of keys that are integers of 64 bits, and not 0; 0 for others
	parts [indexParts]indexPart
	n     int
}

const (
	indexParts    = 1 << indexPartBits
	indexPartBits = 6
	leastPlaces   = 8
	indexBytes    = 14 // of a key at most, in a part that has just grown
)

// indexPart is a table of places by linear probing. A place is the hash's 32
// bits above the slot's number plus one, and 0 when it is free. The hash scales
// to a key's first place, so that any number of places will do.
type indexPart struct {
	places []uint64
	n      int
}

func newIndex[K comparable](keys int) index[K] {
	x := index[K]{seed: maphash.MakeSeed()}
	if words[K]() {
		x.word = maphash.Comparable(x.seed, 0) | 1
	}
	if per := keys / indexParts; per > leastPlaces {
		for i := range x.parts {
			x.parts[i].places = make([]uint64, per+per/2)
		}
	}
	return x
}

// hash spreads a key. Integers take the multiplication that wyhash is made of,
// because calling the runtime costs more than looking the key up does.
func (x *index[K]) hash(k K) uint64 {
	if x.word != 0 {
		hi, lo := bits.Mul64(*(*uint64)(unsafe.Pointer(&k))^x.word, 0x9e3779b97f4a7c15)
		return hi ^ lo
	}
	return maphash.Comparable(x.seed, k)
}

func (p *indexPart) home(tag uint32) int { return int(uint64(tag) * uint64(len(p.places)) >> 32) }

// find returns a key's slot.
func (t *Table[K, V]) find(k K) (slot uint32, ok bool) {
	h := t.index.hash(k)
	p := &t.index.parts[h>>(64-indexPartBits)]
	if p.n == 0 {
		return 0, false
	}
	tag := uint32(h)
	for i := p.home(tag); ; {
		place := p.places[i]
		if place == 0 {
			return 0, false
		}
		if uint32(place>>32) == tag {
			if slot := uint32(place) - 1; t.at(slot).key == k {
				return slot, true
			}
		}
		if i++; i == len(p.places) {
			i = 0
		}
	}
}

// guess is find without a look at the entry: nearly always it is right.
func (x *index[K]) guess(k K) (slot uint32, ok bool) {
	h := x.hash(k)
	p := &x.parts[h>>(64-indexPartBits)]
	if p.n == 0 {
		return 0, false
	}
	tag := uint32(h)
	for i := p.home(tag); i < len(p.places) && p.places[i] != 0; i++ {
		if uint32(p.places[i]>>32) == tag {
			return uint32(p.places[i]) - 1, true
		}
	}
	return 0, false
}

// put adds a key that is not there.
func (x *index[K]) put(k K, slot uint32) {
	h := x.hash(k)
	p := &x.parts[h>>(64-indexPartBits)]
	if p.n >= len(p.places)*3/4 {
		p.grow()
	}
	p.put(uint64(uint32(h))<<32 | uint64(slot+1))
	x.n++
}

func (p *indexPart) put(place uint64) {
	i := p.home(uint32(place >> 32))
	for p.places[i] != 0 {
		if i++; i == len(p.places) {
			i = 0
		}
	}
	p.places[i] = place
	p.n++
}

func (p *indexPart) grow() {
	old := p.places
	*p = indexPart{places: make([]uint64, max(leastPlaces, len(old)+len(old)/4))}
	for _, place := range old {
		if place != 0 {
			p.put(place)
		}
	}
}

// remove takes away a key that is there.
func (x *index[K]) remove(k K, slot uint32) {
	h := x.hash(k)
	p := &x.parts[h>>(64-indexPartBits)]
	place := uint64(uint32(h))<<32 | uint64(slot+1)
	n := len(p.places)
	i := p.home(uint32(h))
	for p.places[i] != place {
		if i++; i == n {
			i = 0
		}
	}
	// What comes behind moves up, unless it is at its first place already.
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		next := p.places[j]
		if next == 0 {
			break
		}
		if home := p.home(uint32(next >> 32)); (j-home+n)%n < (j-i+n)%n {
			continue // its way from home does not pass the gap
		}
		p.places[i] = next
		i = j
	}
	p.places[i] = 0
	p.n--
	x.n--
}

func (x *index[K]) bytes() (n int64) {
	for i := range x.parts {
		n += 8 * int64(cap(x.parts[i].places))
	}
	return n
}
