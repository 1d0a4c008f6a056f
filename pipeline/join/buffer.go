package join

import (
	"fmt"
	"sort"

	"streamduel/codec"
	"streamduel/pipeline"
)

// Functions make a join's results. Left and Right are for rows that find no
// partner: setting Left makes a join a left outer one, setting both a full outer
// one. Values are views that end with the call, or belong to the join's state:
// they must not be changed.
type Functions[A, B, R any] struct {
	Both  func(left A, right B) R
	Left  func(left A) R
	Right func(right B) R
	// Open, if set, makes the functions once per subtask, in place of those above,
	// so that they can keep memory and metrics of their own.
	Open func(r *pipeline.RuntimeContext) Functions[A, B, R]
}

// makes returns what makes the functions in a subtask. wrong says what is wrong
// with some, nothing if they will do; fail refuses them by name.
func (f Functions[A, B, R]) makes(name string, fail func(format string, a ...any), wrong func(f *Functions[A, B, R]) string) func(r *pipeline.RuntimeContext) Functions[A, B, R] {
	const refused = "operator %q: %s"
	if f.Open == nil {
		if w := wrong(&f); w != "" {
			fail(refused, name, w)
		}
		return func(*pipeline.RuntimeContext) Functions[A, B, R] { return f }
	}
	return func(r *pipeline.RuntimeContext) Functions[A, B, R] {
		opened := f.Open(r)
		if w := wrong(&opened); w != "" {
			r.Fail(fmt.Errorf(refused, name, w))
		}
		return opened
	}
}

// LateLeft is the side output of left rows behind the watermark.
func LateLeft[A any]() pipeline.Tag[A] { return pipeline.NewTag[A]("late left") }

// LateRight is the side output of right rows behind the watermark.
func LateRight[B any]() pipeline.Tag[B] { return pipeline.NewTag[B]("late right") }

// item is a row that is kept.
type item[T any] struct {
	ts      int64
	value   T
	matched bool
}

// buffer keeps one side's rows of one key in the order of their times. Its front
// is taken away now and then, so it has a head that moves.
type buffer[T any] struct {
	items []item[T]
	head  int
}

func (b *buffer[T]) live() []item[T] { return b.items[b.head:] }

// from returns the index in live of the first item at or after ts.
func (b *buffer[T]) from(ts int64) int {
	l := b.live()
	// Rows come nearly in order, so what is looked for is mostly near an end.
	if len(l) == 0 || l[0].ts >= ts {
		return 0
	}
	return sort.Search(len(l), func(i int) bool { return l[i].ts >= ts })
}

// add puts a row behind those of its time.
func (b *buffer[T]) add(x item[T]) {
	if b.head > 32 && b.head > len(b.items)/2 {
		n := copy(b.items, b.items[b.head:])
		clear(b.items[n:])
		b.items, b.head = b.items[:n], 0
	}
	b.items = append(b.items, x)
	for i := len(b.items) - 1; i > b.head && b.items[i-1].ts > x.ts; i-- {
		b.items[i], b.items[i-1] = b.items[i-1], b.items[i]
	}
}

// drop takes the first n rows away.
func (b *buffer[T]) drop(n int) {
	clear(b.items[b.head : b.head+n])
	if b.head += n; b.head == len(b.items) {
		b.items, b.head = b.items[:0], 0
	}
}

// sides is what a join keeps of one key.
type sides[A, B any] struct {
	left  buffer[A]
	right buffer[B]
	// due is the time of the key's timer that counts, or never.
	due int64
}

func (s *sides[A, B]) empty() bool { return len(s.left.live()) == 0 && len(s.right.live()) == 0 }

const never = int64(1<<63 - 1)

// sidesCodec writes both sides.
type sidesCodec[A, B any] struct {
	left  codec.Codec[A]
	right codec.Codec[B]
}

func (c sidesCodec[A, B]) ID() string { return "join/1(" + c.left.ID() + "," + c.right.ID() + ")" }

func (c sidesCodec[A, B]) Append(d []byte, s sides[A, B]) []byte {
	d = codec.Int64{}.Append(d, s.due)
	return appendItems(c.right, appendItems(c.left, d, s.left.live()), s.right.live())
}

func (c sidesCodec[A, B]) Decode(b []byte) (s sides[A, B], n int, err error) {
	if s.due, n, err = (codec.Int64{}).Decode(b); err != nil {
		return s, n, err
	}
	for _, part := range []func([]byte) (int, error){
		func(b []byte) (m int, err error) { s.left.items, m, err = decodeItems(c.left, b); return m, err },
		func(b []byte) (m int, err error) { s.right.items, m, err = decodeItems(c.right, b); return m, err },
	} {
		m, err := part(b[n:])
		n += m
		if err != nil {
			return s, n, err
		}
	}
	return s, n, nil
}

// Clone copies views of a decoder's input.
func (c sidesCodec[A, B]) Clone(s sides[A, B]) sides[A, B] {
	return sides[A, B]{left: cloneItems(c.left, s.left), right: cloneItems(c.right, s.right), due: s.due}
}

// Isolate parts the state from a snapshot that is being written: rows
// themselves are never changed, only the lists of them.
func (c sidesCodec[A, B]) Isolate(s sides[A, B]) sides[A, B] {
	s.left = buffer[A]{items: append([]item[A](nil), s.left.live()...)}
	s.right = buffer[B]{items: append([]item[B](nil), s.right.live()...)}
	return s
}

// Reads evolves as the rows of either side do.
func (c sidesCodec[A, B]) Reads(id string) codec.Codec[sides[A, B]] {
	if p, ok := codec.Parts(id, "join/1", 2); ok {
		if left, right := codec.Reading(c.left, p[0]), codec.Reading(c.right, p[1]); left != nil && right != nil {
			return sidesCodec[A, B]{left, right}
		}
	}
	return nil
}

func cloneItems[T any](c codec.Codec[T], b buffer[T]) buffer[T] {
	out := make([]item[T], len(b.live()))
	for i, x := range b.live() {
		x.value = c.Clone(x.value)
		out[i] = x
	}
	return buffer[T]{items: out}
}

func appendItems[T any](c codec.Codec[T], d []byte, items []item[T]) []byte {
	d = codec.Int64{}.Append(d, int64(len(items)))
	for i := range items {
		d = codec.Bool{}.Append(codec.Int64{}.Append(d, items[i].ts), items[i].matched)
		d = c.Append(d, items[i].value)
	}
	return d
}

func decodeItems[T any](c codec.Codec[T], b []byte) (items []item[T], n int, err error) {
	count, n, err := codec.Int64{}.Decode(b)
	if err != nil {
		return nil, n, err
	}
	if count < 0 || count > int64(len(b)-n)/10 { // of ten bytes at least
		return nil, n, codec.ErrShort
	}
	items = make([]item[T], count)
	for i := range items {
		x := &items[i]
		if len(b)-n < 9 {
			return nil, n, codec.ErrShort
		}
		x.ts, _, _ = codec.Int64{}.Decode(b[n:])
		if x.matched, _, err = (codec.Bool{}).Decode(b[n+8:]); err != nil {
			return nil, n, err
		}
		var m int
		if x.value, m, err = c.Decode(b[n+9:]); err != nil {
			return nil, n, err
		}
		n += 9 + m
	}
	return items, n, nil
}

// sidesOf returns the codec of a join's state, or refuses the job.
func sidesOf[K comparable, A, B any](left *pipeline.Keyed[K, A], right *pipeline.Keyed[K, B], name string) codec.Codec[sides[A, B]] {
	a, b := left.Values(), right.Values()
	if a == nil || b == nil {
		left.Fail("operator %q: a join keeps rows of both sides: set their codecs with Stream.Codec", name)
		return nil
	}
	return sidesCodec[A, B]{a, b}
}
