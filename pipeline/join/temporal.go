package join

import (
	"fmt"

	"streamduel/codec"
	"streamduel/pipeline"
)

// AsOf joins each left row with the version of a table that was valid at the
// row's event time: the right row of its key with the largest time at or before
// it. A left row waits until the watermark has reached its time, because until
// then a version may still come. deleted, if not nil, says that a right row is
// the end of the versions before it. f.Left, if set, is for rows that find no
// version; f.Right must be nil. Versions that no row can ask for any more are
// let go, the newest of a key never. Left rows behind the watermark go to the
// side output LateLeft.
func AsOf[K comparable, A, B, R any](left *pipeline.Keyed[K, A], versions *pipeline.Keyed[K, B], name string, deleted func(B) bool, f Functions[A, B, R]) *pipeline.Stream[R] {
	functions := f.makes(name, left.Fail, func(f *Functions[A, B, R]) string {
		if f.Both == nil || f.Right != nil {
			return "a join with a versioned table has the functions Both and, if wanted, Left"
		}
		return ""
	})
	values := sidesOf(left, versions, name)
	return pipeline.CoProcess(pipeline.Connect(left, versions), name, func(s *pipeline.Setup[K]) pipeline.CoFunction[K, A, B, R] {
		late := LateLeft[A]()
		j := &asOf[K, A, B, R]{f: functions(s.Runtime()), deleted: deleted, table: pipeline.Table(s, "rows", values), a: left.Values(), b: versions.Values(), name: name, late: pipeline.LateEmitter(s, &late)}
		return pipeline.CoFunction[K, A, B, R]{First: j.left, Second: j.right, EventTimer: j.due}
	})
}

type asOf[K comparable, A, B, R any] struct {
	name    string
	f       Functions[A, B, R]
	deleted func(B) bool
	table   table[K, sides[A, B]]
	a       codec.Codec[A]
	b       codec.Codec[B]
	late    func(A)
}

func (j *asOf[K, A, B, R]) sides(c *pipeline.KeyedCtx[K]) *sides[A, B] {
	s, fresh := j.table.Ref(c.Key())
	if fresh {
		s.due = never
	}
	return s
}

func (j *asOf[K, A, B, R]) timed(c *pipeline.KeyedCtx[K]) bool {
	if c.Timestamp == pipeline.NoTime {
		c.Fail(fmt.Errorf("operator %q joins by event time, and its input has none: give the source pipeline.EventTime", j.name))
		return false
	}
	return true
}

func (j *asOf[K, A, B, R]) left(v A, c *pipeline.KeyedCtx[K], _ func(R)) {
	if !j.timed(c) {
		return
	}
	if c.Timestamp < c.Watermark() {
		j.late(v)
		return
	}
	s := j.sides(c)
	s.left.add(item[A]{ts: c.Timestamp, value: j.a.Clone(v)})
	if c.Timestamp < s.due {
		s.due = c.Timestamp
		c.EventTimer(s.due)
	}
}

// right takes a version. Of two with one time the later to come counts.
func (j *asOf[K, A, B, R]) right(v B, c *pipeline.KeyedCtx[K], _ func(R)) {
	if !j.timed(c) {
		return
	}
	s := j.sides(c)
	s.right.add(item[B]{ts: c.Timestamp, value: j.b.Clone(v)})
	j.forget(s, c.Watermark())
}

// forget lets go of versions that were replaced at or before the watermark.
func (j *asOf[K, A, B, R]) forget(s *sides[A, B], wm int64) {
	rs := s.right.live()
	n := 0
	for n+1 < len(rs) && rs[n+1].ts <= wm {
		n++
	}
	// A left row that waits has a time at or after the watermark, or its timer is
	// about to come; so it asks for none of these unless it is due now.
	if ls := s.left.live(); n > 0 && len(ls) > 0 && ls[0].ts < wm {
		return
	}
	s.right.drop(n)
}

func (j *asOf[K, A, B, R]) due(ts int64, c *pipeline.KeyedCtx[K], emit func(R)) {
	s := j.sides(c)
	if s.due != ts {
		if s.empty() { // an earlier timer has let go of the key, which asking brought back
			j.table.Delete(c.Key())
		}
		return
	}
	wm, ls, rs, n, at := c.Watermark(), s.left.live(), s.right.live(), 0, 0
	for ; n < len(ls) && ls[n].ts <= wm; n++ {
		for at < len(rs) && rs[at].ts <= ls[n].ts {
			at++
		}
		c.Timestamp = ls[n].ts
		switch {
		case at > 0 && (j.deleted == nil || !j.deleted(rs[at-1].value)):
			emit(j.f.Both(ls[n].value, rs[at-1].value))
		case j.f.Left != nil:
			emit(j.f.Left(ls[n].value))
		}
	}
	s.left.drop(n)
	j.forget(s, wm)
	if s.empty() {
		j.table.Delete(c.Key())
		return
	}
	s.due = never
	if ls := s.left.live(); len(ls) > 0 {
		s.due = ls[0].ts
		c.EventTimer(s.due)
	}
}
