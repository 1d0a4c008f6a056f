package ledger

import "math/bits"

// pageBits is the number of ids in one page of a bitmap: 4 KiB, so that a
// cell of a few thousand records stays small.
const (
	pageShift = 15
	pageBits  = 1 << pageShift
	pageMask  = pageBits - 1
)

// sparse is a set of small non-negative integers for the many keys of an
// aggregate, of which most have few values: the first 64 cost nothing extra.
type sparse struct {
	low  uint64
	high map[int64]uint64 // by i/64
}

// add puts i in and reports whether it was new.
func (s *sparse) add(i int64) bool {
	if i < 64 {
		was := s.low
		s.low |= 1 << uint(i)
		return s.low != was
	}
	if s.high == nil {
		s.high = map[int64]uint64{}
	}
	was := s.high[i>>6]
	now := was | 1<<uint(i&63)
	if now == was {
		return false
	}
	s.high[i>>6] = now
	return true
}

func (s *sparse) bytes() int64 { return int64(len(s.high)) * 32 }

type page [pageBits / 64]uint64

// bitmap is a set of small non-negative integers in pages. The zero value is
// empty. It allocates once for 32,768 neighbouring ids.
type bitmap struct {
	pages []*page
	count int64
}

func (b *bitmap) has(i int64) bool {
	n := int(i >> pageShift)
	if n >= len(b.pages) || b.pages[n] == nil {
		return false
	}
	o := i & pageMask
	return b.pages[n][o>>6]&(1<<(o&63)) != 0
}

// add puts i in and reports whether it was new.
func (b *bitmap) add(i int64) bool {
	n := int(i >> pageShift)
	if n >= len(b.pages) || b.pages[n] == nil {
		b.grow(n)
	}
	o := i & pageMask
	w, m := &b.pages[n][o>>6], uint64(1)<<(o&63)
	if *w&m != 0 {
		return false
	}
	*w |= m
	b.count++
	return true
}

func (b *bitmap) grow(n int) {
	for len(b.pages) <= n {
		b.pages = append(b.pages, nil)
	}
	b.pages[n] = new(page)
}

// word returns the 64 ids from 64·n on.
func (b *bitmap) word(n int64) uint64 {
	p := int(n >> (pageShift - 6))
	if p >= len(b.pages) || b.pages[p] == nil {
		return 0
	}
	return b.pages[p][n&(pageMask>>6)]
}

// limit is a bound above every id in the set.
func (b *bitmap) limit() int64 { return int64(len(b.pages)) << pageShift }

// countRange is the number of ids in [from, to).
func (b *bitmap) countRange(from, to int64) int64 {
	var n int64
	to = min(to, b.limit())
	for base := from &^ 63; base < to; base += 64 {
		n += int64(bits.OnesCount64(b.word(base>>6) & window(base, from, to)))
	}
	return n
}

// each calls f for the ids in [from, to) in order until it returns false.
func (b *bitmap) each(from, to int64, f func(int64) bool) {
	to = min(to, b.limit())
	for base := from &^ 63; base < to; base += 64 {
		for w := b.word(base>>6) & window(base, from, to); w != 0; w &= w - 1 {
			if !f(base + int64(bits.TrailingZeros64(w))) {
				return
			}
		}
	}
}

// window has the bits of [from, to) set within the 64 ids from base on.
func window(base, from, to int64) uint64 {
	m := ^uint64(0)
	if from > base {
		m <<= uint(from - base)
	}
	if to < base+64 {
		m &= 1<<uint(to-base) - 1
	}
	return m
}

// missing calls f for each id in [from, to) that is in none of the sets, until
// f returns false, and returns how many there are in all.
func missing(from, to int64, f func(int64) bool, sets ...*bitmap) int64 {
	var n int64
	more := f != nil
	for base := from &^ 63; base < to; base += 64 {
		free := window(base, from, to)
		for _, b := range sets {
			free &^= b.word(base >> 6)
		}
		n += int64(bits.OnesCount64(free))
		for ; more && free != 0; free &= free - 1 {
			more = f(base + int64(bits.TrailingZeros64(free)))
		}
	}
	return n
}

// clone returns an independent copy.
func (b *bitmap) clone() bitmap {
	c := bitmap{pages: make([]*page, len(b.pages)), count: b.count}
	for i, p := range b.pages {
		if p != nil {
			q := *p
			c.pages[i] = &q
		}
	}
	return c
}

// bytes is the memory that the pages hold.
func (b *bitmap) bytes() int64 {
	var n int64
	for _, p := range b.pages {
		if p != nil {
			n += pageBits / 8
		}
	}
	return n + int64(cap(b.pages))*8
}
