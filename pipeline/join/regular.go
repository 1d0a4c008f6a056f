package join

import (
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
)

// Regular joins every left row with every right row of its key, in whichever
// order they come, as long as both are younger than a time to live in processing
// time; 0 keeps all rows for ever. It is an inner join: an outer one would have
// to take back what it has said.
func Regular[K comparable, A, B, R any](left *pipeline.Keyed[K, A], right *pipeline.Keyed[K, B], name string, ttl time.Duration, both func(left A, right B) R) *pipeline.Stream[R] {
	if both == nil {
		left.Fail("operator %q: a join needs a function", name)
	}
	return RichRegular(left, right, name, ttl, func(*pipeline.RuntimeContext) func(A, B) R { return both })
}

// RichRegular is Regular with a function that is made once per subtask.
func RichRegular[K comparable, A, B, R any](left *pipeline.Keyed[K, A], right *pipeline.Keyed[K, B], name string, ttl time.Duration, open func(r *pipeline.RuntimeContext) func(left A, right B) R) *pipeline.Stream[R] {
	if ttl < 0 || ttl > 0 && ttl < time.Millisecond {
		left.Fail("operator %q: a time to live of %v: allowed are 0 and 1 ms or more", name, ttl)
	}
	values := sidesOf(left, right, name)
	return pipeline.CoProcess(pipeline.Connect(left, right), name, func(s *pipeline.Setup[K]) pipeline.CoFunction[K, A, B, R] {
		j := &regular[K, A, B, R]{ttl: ttl.Milliseconds(), both: open(s.Runtime()), table: pipeline.Table(s, "rows", values), a: left.Values(), b: right.Values()}
		f := pipeline.CoFunction[K, A, B, R]{First: j.left, Second: j.right}
		if ttl > 0 {
			f.ProcessingTimer = j.expire
		}
		return f
	})
}

type regular[K comparable, A, B, R any] struct {
	ttl   int64 // milliseconds
	both  func(A, B) R
	table table[K, sides[A, B]]
	a     codec.Codec[A]
	b     codec.Codec[B]
}

// open returns a key's rows without the expired ones.
func (j *regular[K, A, B, R]) open(c *pipeline.KeyedCtx[K]) *sides[A, B] {
	s, fresh := j.table.Ref(c.Key())
	if fresh {
		s.due = never
	}
	if now := c.ProcessingTime(); j.ttl > 0 && now != pipeline.NoTime {
		s.left.drop(s.left.from(now - j.ttl + 1))
		s.right.drop(s.right.from(now - j.ttl + 1))
	}
	return s
}

func (j *regular[K, A, B, R]) left(v A, c *pipeline.KeyedCtx[K], emit func(R)) {
	s := j.open(c)
	for _, r := range s.right.live() {
		emit(j.both(v, r.value))
	}
	s.left.add(item[A]{ts: c.ProcessingTime(), value: j.a.Clone(v)})
	j.wake(s, c)
}

func (j *regular[K, A, B, R]) right(v B, c *pipeline.KeyedCtx[K], emit func(R)) {
	s := j.open(c)
	for _, l := range s.left.live() {
		emit(j.both(l.value, v))
	}
	s.right.add(item[B]{ts: c.ProcessingTime(), value: j.b.Clone(v)})
	j.wake(s, c)
}

// wake keeps one timer a key, for the oldest row.
func (j *regular[K, A, B, R]) wake(s *sides[A, B], c *pipeline.KeyedCtx[K]) {
	if j.ttl == 0 {
		return
	}
	oldest := never
	if ls := s.left.live(); len(ls) > 0 {
		oldest = ls[0].ts
	}
	if rs := s.right.live(); len(rs) > 0 {
		oldest = min(oldest, rs[0].ts)
	}
	if at := oldest + j.ttl; oldest != never && oldest != pipeline.NoTime && at < s.due {
		s.due = at
		c.ProcessingTimer(at)
	}
}

func (j *regular[K, A, B, R]) expire(ts int64, c *pipeline.KeyedCtx[K], _ func(R)) {
	s := j.open(c)
	if s.empty() {
		j.table.Delete(c.Key())
		return
	}
	if s.due == ts {
		s.due = never
	}
	j.wake(s, c)
}
