package join

import (
	"fmt"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
)

// Interval bounds an interval join: a right row is a left one's partner when
// left + Lower ≤ right ≤ left + Upper in event time.
type Interval struct {
	Lower, Upper time.Duration // whole milliseconds; bounds are inclusive unless
	// these are set.
	LowerExclusive, UpperExclusive bool
}

// Between joins each left row with the right rows of its key whose event time
// lies in an interval around its own. A row behind the watermark goes to a side
// output (LateLeft, LateRight) and is not joined. Rows go from the state when
// the watermark has passed the last time at which a partner can come; an outer
// join tells then of those that had none.
func Between[K comparable, A, B, R any](left *pipeline.Keyed[K, A], right *pipeline.Keyed[K, B], name string, in Interval, f Functions[A, B, R]) *pipeline.Stream[R] {
	lower, upper := in.Lower.Milliseconds(), in.Upper.Milliseconds()
	if in.Lower%time.Millisecond != 0 || in.Upper%time.Millisecond != 0 {
		left.Fail("operator %q: the interval's bounds %v and %v are not whole milliseconds", name, in.Lower, in.Upper)
	}
	if in.LowerExclusive {
		lower++
	}
	if in.UpperExclusive {
		upper--
	}
	if lower > upper {
		left.Fail("operator %q: the interval from %v to %v is empty", name, in.Lower, in.Upper)
	}
	functions := f.makes(name, left.Fail, func(f *Functions[A, B, R]) string {
		if f.Both == nil {
			return "an interval join needs the function Both"
		}
		return ""
	})
	values := sidesOf(left, right, name)
	a, b := left.Values(), right.Values()
	return pipeline.CoProcess(pipeline.Connect(left, right), name, func(s *pipeline.Setup[K]) pipeline.CoFunction[K, A, B, R] {
		left, right := LateLeft[A](), LateRight[B]()
		j := &interval[K, A, B, R]{
			lower: lower, upper: upper, f: functions(s.Runtime()), table: pipeline.Table(s, "rows", values), a: a, b: b, name: name,
			lateLeft: pipeline.LateEmitter(s, &left), lateRight: pipeline.LateEmitter(s, &right),
		}
		return pipeline.CoFunction[K, A, B, R]{First: j.left, Second: j.right, EventTimer: j.expire}
	})
}

type interval[K comparable, A, B, R any] struct {
	name         string
	lower, upper int64
	f            Functions[A, B, R]
	table        table[K, sides[A, B]]
	a            codec.Codec[A]
	b            codec.Codec[B]
	lateLeft     func(A)
	lateRight    func(B)
	spare        []sides[A, B] // emptied, for keys that come again
}

// table is the part of state.Table that a join uses.
type table[K comparable, V any] interface {
	Ref(k K) (v *V, fresh bool)
	Delete(k K)
}

// ready reports whether a row can be joined: it has an event time, and not one
// behind the watermark.
func (j *interval[K, A, B, R]) ready(c *pipeline.KeyedCtx[K]) (ok, late bool) {
	ts := c.Timestamp
	if ts == pipeline.NoTime {
		c.Fail(fmt.Errorf("operator %q joins by event time, and its input has none: give the source pipeline.EventTime", j.name))
		return false, false
	}
	return ts >= c.Watermark(), ts < c.Watermark()
}

func (j *interval[K, A, B, R]) left(v A, c *pipeline.KeyedCtx[K], emit func(R)) {
	ok, late := j.ready(c)
	if late {
		j.lateLeft(v)
	}
	if !ok {
		return
	}
	ts := c.Timestamp
	s := j.sides(c.Key())
	x := item[A]{ts: ts}
	rs := s.right.live()
	for i := s.right.from(ts + j.lower); i < len(rs) && rs[i].ts <= ts+j.upper; i++ {
		x.matched, rs[i].matched = true, true
		c.Timestamp = max(ts, rs[i].ts)
		emit(j.f.Both(v, rs[i].value))
	}
	c.Timestamp = ts
	x.value = j.a.Clone(v)
	s.left.add(x)
	j.wake(s, j.leftEnds(ts), c)
}

func (j *interval[K, A, B, R]) right(v B, c *pipeline.KeyedCtx[K], emit func(R)) {
	ok, late := j.ready(c)
	if late {
		j.lateRight(v)
	}
	if !ok {
		return
	}
	ts := c.Timestamp
	s := j.sides(c.Key())
	x := item[B]{ts: ts}
	ls := s.left.live()
	for i := s.left.from(ts - j.upper); i < len(ls) && ls[i].ts <= ts-j.lower; i++ {
		x.matched, ls[i].matched = true, true
		c.Timestamp = max(ts, ls[i].ts)
		emit(j.f.Both(ls[i].value, v))
	}
	c.Timestamp = ts
	x.value = j.b.Clone(v)
	s.right.add(x)
	j.wake(s, j.rightEnds(ts), c)
}

func (j *interval[K, A, B, R]) sides(k K) *sides[A, B] {
	s, fresh := j.table.Ref(k)
	if fresh {
		if n := len(j.spare); n > 0 {
			*s = j.spare[n-1]
			j.spare = j.spare[:n-1]
		}
		s.due = never
	}
	return s
}

// forget lets go of a key without rows. Its lists are used again: Ref has parted
// them from any snapshot.
func (j *interval[K, A, B, R]) forget(k K, s *sides[A, B]) {
	if len(j.spare) < 1024 {
		s.left.head, s.right.head = 0, 0
		j.spare = append(j.spare, sides[A, B]{left: buffer[A]{items: s.left.items[:0]}, right: buffer[B]{items: s.right.items[:0]}})
	}
	j.table.Delete(k)
}

// leftEnds returns the watermark at which a left row of a time has no more
// partner to come: those up to ts + upper, and it is itself on time until ts.
func (j *interval[K, A, B, R]) leftEnds(ts int64) int64  { return ts + max(j.upper, 0) }
func (j *interval[K, A, B, R]) rightEnds(ts int64) int64 { return ts + max(-j.lower, 0) }

// wake keeps one timer a key: the earliest. One that was set before and lies
// later stays, and finds that it does not count.
func (j *interval[K, A, B, R]) wake(s *sides[A, B], at int64, c *pipeline.KeyedCtx[K]) {
	if at < s.due {
		s.due = at
		c.EventTimer(at)
	}
}

// expire lets go of all rows that the watermark has passed.
func (j *interval[K, A, B, R]) expire(ts int64, c *pipeline.KeyedCtx[K], emit func(R)) {
	s := j.sides(c.Key())
	if s.due != ts {
		if s.empty() {
			j.forget(c.Key(), s)
		}
		return
	}
	wm, n := c.Watermark(), 0
	ls := s.left.live()
	for ; n < len(ls) && j.leftEnds(ls[n].ts) <= wm; n++ {
		if j.f.Left != nil && !ls[n].matched {
			c.Timestamp = j.leftEnds(ls[n].ts)
			emit(j.f.Left(ls[n].value))
		}
	}
	s.left.drop(n)
	rs := s.right.live()
	for n = 0; n < len(rs) && j.rightEnds(rs[n].ts) <= wm; n++ {
		if j.f.Right != nil && !rs[n].matched {
			c.Timestamp = j.rightEnds(rs[n].ts)
			emit(j.f.Right(rs[n].value))
		}
	}
	s.right.drop(n)
	if s.empty() {
		j.forget(c.Key(), s)
		return
	}
	// One call, at the end: a timer is state too, after which s may have moved.
	s.due = never
	at := never
	if ls := s.left.live(); len(ls) > 0 {
		at = j.leftEnds(ls[0].ts)
	}
	if rs := s.right.live(); len(rs) > 0 {
		at = min(at, j.rightEnds(rs[0].ts))
	}
	j.wake(s, at, c)
}
