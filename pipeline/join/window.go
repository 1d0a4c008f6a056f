package join

import (
	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/pipeline/window"
)

// Either is a row of one of two streams that were put together.
type Either[A, B any] struct {
	Left    A
	Right   B
	IsRight bool
}

// CoGroup puts the rows of two streams with the same key and window together
// and calls f once for each window in which there is any. configure, if not nil,
// sets trigger, evictor, allowed lateness or the late side output of the windows,
// which then see rows of both streams.
func CoGroup[K comparable, A, B, R any](left *pipeline.Keyed[K, A], right *pipeline.Keyed[K, B], name string, a window.Assigner, configure func(*window.Windowed[K, Either[A, B]]) *window.Windowed[K, Either[A, B]], f func(c *window.Context[K], left []A, right []B, emit func(R))) *pipeline.Stream[R] {
	if f == nil {
		left.Fail("operator %q: a cogroup needs a function", name)
	}
	return RichCoGroup(left, right, name, a, configure, func(*pipeline.RuntimeContext) func(*window.Context[K], []A, []B, func(R)) { return f })
}

// RichCoGroup is CoGroup with a function that is made once per subtask.
func RichCoGroup[K comparable, A, B, R any](left *pipeline.Keyed[K, A], right *pipeline.Keyed[K, B], name string, a window.Assigner, configure func(*window.Windowed[K, Either[A, B]]) *window.Windowed[K, Either[A, B]], open func(r *pipeline.RuntimeContext) func(c *window.Context[K], left []A, right []B, emit func(R))) *pipeline.Stream[R] {
	values := eitherOf(left, right, name)
	put := pipeline.CoMap(left.Stream(), right.Stream(), name+" both",
		func(v A) Either[A, B] { return Either[A, B]{Left: v} },
		func(v B) Either[A, B] { return Either[A, B]{Right: v, IsRight: true} })
	keyed := pipeline.KeyBy(put.Codec(values), func(e Either[A, B]) K {
		if e.IsRight {
			return right.Key(e.Right)
		}
		return left.Key(e.Left)
	})
	keys := left.Keys()
	if keys == nil {
		keys = right.Keys()
	}
	if keys != nil {
		keyed = keyed.KeyCodec(keys)
	}
	w := window.On(keyed, a)
	if configure != nil {
		w = configure(w)
	}
	return window.RichProcess(w, name, func(r *pipeline.RuntimeContext) func(*window.Context[K], []Either[A, B], func(R)) {
		f := open(r)
		return func(c *window.Context[K], rows []Either[A, B], emit func(R)) {
			ls, rs := make([]A, 0, len(rows)), make([]B, 0, len(rows))
			for _, e := range rows {
				if e.IsRight {
					rs = append(rs, e.Right)
				} else {
					ls = append(ls, e.Left)
				}
			}
			f(c, ls, rs, emit)
		}
	}).As(pipeline.Role{Does: pipeline.Joins})
}

// Window joins every left row with every right row of its key and window; the
// result's event time is the window's last millisecond. f.Left and f.Right, if
// set, are for rows whose window has none of the other side.
func Window[K comparable, A, B, R any](left *pipeline.Keyed[K, A], right *pipeline.Keyed[K, B], name string, a window.Assigner, configure func(*window.Windowed[K, Either[A, B]]) *window.Windowed[K, Either[A, B]], f Functions[A, B, R]) *pipeline.Stream[R] {
	functions := f.makes(name, left.Fail, func(f *Functions[A, B, R]) string {
		if f.Both == nil {
			return "a window join needs the function Both"
		}
		return ""
	})
	return RichCoGroup(left, right, name, a, configure, func(r *pipeline.RuntimeContext) func(*window.Context[K], []A, []B, func(R)) {
		f := functions(r)
		return func(_ *window.Context[K], ls []A, rs []B, emit func(R)) {
			for _, l := range ls {
				for _, r := range rs {
					emit(f.Both(l, r))
				}
				if len(rs) == 0 && f.Left != nil {
					emit(f.Left(l))
				}
			}
			if len(ls) == 0 && f.Right != nil {
				for _, r := range rs {
					emit(f.Right(r))
				}
			}
		}
	})
}

func eitherOf[K comparable, A, B any](left *pipeline.Keyed[K, A], right *pipeline.Keyed[K, B], name string) codec.Codec[Either[A, B]] {
	a, b := left.Values(), right.Values()
	if a == nil || b == nil {
		left.Fail("operator %q: a window keeps rows of both sides: set their codecs with Stream.Codec", name)
		return nil
	}
	return codec.Struct("either/1("+a.ID()+","+b.ID()+")", func(d []byte, e Either[A, B]) []byte {
		if e.IsRight {
			return b.Append(append(d, 1), e.Right)
		}
		return a.Append(append(d, 0), e.Left)
	}, func(src []byte) (e Either[A, B], n int, err error) {
		if e.IsRight, n, err = (codec.Bool{}).Decode(src); err != nil {
			return e, n, err
		}
		var m int
		if e.IsRight {
			e.Right, m, err = b.Decode(src[n:])
		} else {
			e.Left, m, err = a.Decode(src[n:])
		}
		return e, n + m, err
	}, func(e Either[A, B]) Either[A, B] {
		if e.IsRight {
			e.Right = b.Clone(e.Right)
		} else {
			e.Left = a.Clone(e.Left)
		}
		return e
	})
}
