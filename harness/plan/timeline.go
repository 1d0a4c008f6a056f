package plan

import (
	"math"
	"math/bits"
)

// Never is the due time of a record that the load does not reach.
const Never int64 = math.MaxInt64

// timeline is a shape with its integral summed up: segment ends, and counts at
// them. Times are nanoseconds since the start of the load.
type timeline struct {
	segs []span
	loop int     // index of the first repeated segment; len(segs) if none
	endT int64   // where the segments end
	endN float64 // records up to there
	loT  int64   // where the loop begins
	loN  float64
	tail float64
}

type span struct {
	t0, t1 int64
	n0, n1 float64
	rate   float64 // records per second at t0
	slope  float64 // records per second²
}

func newTimeline(s Shape) *timeline {
	l := &timeline{loop: len(s.Segments) - s.Loop, tail: s.Tail}
	var t int64
	var n float64
	for i, g := range s.Segments {
		if i == l.loop {
			l.loT, l.loN = t, n
		}
		sec := g.Length.Seconds()
		p := span{t0: t, t1: t + int64(g.Length), n0: n, n1: n + float64((g.From+g.To)/2*sec), rate: g.From}
		if sec > 0 {
			p.slope = (g.To - g.From) / sec
		}
		t, n = p.t1, p.n1
		l.segs = append(l.segs, p)
	}
	l.endT, l.endN = t, n
	if s.Loop == 0 {
		l.loT, l.loN = t, n
	}
	return l
}

// due returns when record i is due. hint is a segment to try first and becomes
// the one that was used; it never changes the result.
func (l *timeline) due(i int64, hint *int) int64 {
	x := float64(i)
	if x < l.loN {
		return l.inSegment(x, 0, hint)
	}
	if l.loop == len(l.segs) {
		if l.tail <= 0 {
			return Never
		}
		return after(l.endT, x-l.endN, l.tail)
	}
	// Inside the loop: whole turns, then the place in the turn.
	turn := l.endN - l.loN
	x -= l.loN
	c := math.Floor(x / turn)
	rest := x - float64(c*turn)
	if rest < 0 {
		c--
		rest = x - float64(c*turn)
	} else if rest >= turn {
		c++
		rest = max(0, x-float64(c*turn))
	}
	return l.inSegment(min(l.loN+rest, math.Nextafter(l.endN, 0)), int64(c)*(l.endT-l.loT), hint)
}

// inSegment inverts the integral for a count below endN, plus an offset.
func (l *timeline) inSegment(x float64, offset int64, hint *int) int64 {
	k := *hint
	if k >= len(l.segs) || x < l.segs[k].n0 || x >= l.segs[k].n1 {
		k = l.search(x)
		*hint = k
	}
	s := &l.segs[k]
	d := x - s.n0
	t := s.t0
	switch {
	case d == 0:
	case s.slope == 0:
		t = after(t, d, s.rate)
	default:
		// The root of rate·t + slope/2·t² = d in the form that does not cancel.
		root := math.Sqrt(max(0, float64(s.rate*s.rate)+float64(2*s.slope*d)))
		t = add(t, 2*d/(s.rate+root))
	}
	return min(t, s.t1) + offset
}

// search returns the segment with n0 ≤ x < n1; segments that offer nothing are
// never it.
func (l *timeline) search(x float64) int {
	lo, hi := 0, len(l.segs)-1
	for lo < hi {
		mid := (lo + hi) / 2
		if l.segs[mid].n1 > x {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// after returns t plus the time in which n records pass at a rate. Whole numbers
// are divided as such, so that a plain rate is right to the nanosecond however
// long the load lasts.
func after(t int64, n, rate float64) int64 {
	if whole, r := uint64(n), uint64(rate); float64(whole) == n && float64(r) == rate && n < 1<<53 {
		hi, lo := bits.Mul64(whole, 1e9)
		if hi >= r {
			return Never
		}
		if q, _ := bits.Div64(hi, lo, r); q < uint64(Never-t) {
			return t + int64(q)
		}
		return Never
	}
	return add(t, n/rate)
}

func add(t int64, sec float64) int64 {
	ns := math.Floor(sec * 1e9)
	if ns >= float64(Never-t) {
		return Never
	}
	return t + int64(ns)
}

// integral returns the records offered in [0, t), as a real number.
func (l *timeline) integral(t int64) float64 {
	if t <= 0 {
		return 0
	}
	var turns float64
	if t >= l.endT {
		if l.loop == len(l.segs) {
			return l.endN + float64(t-l.endT)/1e9*l.tail
		}
		length := l.endT - l.loT
		c := (t - l.loT) / length
		turns = float64(c) * (l.endN - l.loN)
		t -= c * length
	}
	s := l.at(t)
	sec := float64(t-s.t0) / 1e9
	return turns + s.n0 + s.rate*sec + s.slope/2*sec*sec
}

// rate returns the offered rate at t in records per second.
func (l *timeline) rateAt(t int64) float64 {
	if t < 0 {
		return 0
	}
	if t >= l.endT {
		if l.loop == len(l.segs) {
			return l.tail
		}
		t = l.loT + (t-l.loT)%(l.endT-l.loT)
	}
	s := l.at(t)
	return s.rate + s.slope*float64(t-s.t0)/1e9
}

// at returns the segment with t0 ≤ t < t1, for t below endT.
func (l *timeline) at(t int64) *span {
	lo, hi := 0, len(l.segs)-1
	for lo < hi {
		mid := (lo + hi) / 2
		if l.segs[mid].t1 > t {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return &l.segs[lo]
}
