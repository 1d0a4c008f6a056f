package pipeline

import (
	"streamduel/connectors"
	"streamduel/exchange"
	"streamduel/state"
)

// warmer is what an operator looks ahead with: one whose state is far larger than
// the processor's caches, or lies on disk.
type warmer[T any] struct {
	wanted func() bool
	warm   func(vs []T)
	// stored says that the state lies on disk, where reading many keys together
	// costs half of reading them one by one.
	stored bool
}

// ahead is an input that decodes a few records before it pushes the first of
// them.
type ahead[T any] struct {
	warmer[T]
	values  [state.WarmKeys]T
	times   [state.WarmKeys]int64
	origins [state.WarmKeys]connectors.Origin
	ends    [state.WarmKeys]int // offsets behind the records

	// Of state on disk: how far the keys of a buffer have been read.
	buffer *exchange.Buffer
	until  int
	many   []T
}

// fill decodes records from off on. It returns an error only when the first
// does not decode: the others' turn will come.
func (in *input[T]) fill(d []byte, off int, flags exchange.Flags) (n int, err error) {
	a := in.ahead
	c := Ctx{Timestamp: in.task.ctx.Timestamp, Origin: in.task.ctx.Origin}
	for n < len(a.values) && off < len(d) {
		var m int
		if flags != 0 {
			if m, err = readFrameHead(d[off:], flags, &c); err != nil {
				break
			}
			off += m
		}
		if a.values[n], m, err = in.decode(d[off:]); err != nil {
			break
		}
		off += m
		a.times[n], a.origins[n], a.ends[n] = c.Timestamp, c.Origin, off
		n++
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// feedAhead is Feed with a look at the records that come next. A pause forgets
// what was decoded and not pushed; it is decoded again.
func (in *input[T]) feedAhead(b *exchange.Buffer) (done bool, err error) {
	t, c, a := in.task, &in.task.ctx, in.ahead
	flags := b.Flags & (exchange.Timestamps | exchange.Origins)
	d, off := b.Data, b.Off
	end := in.task.sliceEnd(off, len(d))
	for off < end {
		n, err := in.fill(d, off, flags)
		if err != nil {
			b.Off = off
			return false, t.fail(err)
		}
		a.warm(a.values[:n])
		for i := range n {
			if t.pressure.Starved > 0 || t.err != nil {
				b.Off = off
				return false, t.err
			}
			c.Timestamp, c.Origin = a.times[i], a.origins[i]
			off = a.ends[i]
			if v := a.values[i]; in.keep == nil || in.keep(v) {
				in.next(v, c)
			}
		}
	}
	b.Off = off
	return off == len(d), t.err
}

// feedStored is Feed for an operator whose state lies on disk: what the records
// that come next will ask for is read before them, for as many as a slice and
// more.
func (in *input[T]) feedStored(b *exchange.Buffer) (done bool, err error) {
	a := in.ahead
	end := in.task.sliceEnd(b.Off, len(b.Data))
	for b.Off < end {
		if a.buffer != b || b.Off == 0 || b.Off >= a.until {
			a.buffer, a.until = b, in.look(b)
		}
		to := min(end, a.until)
		if _, err := in.feedUntil(b, to); err != nil || b.Off < to {
			return false, err
		}
	}
	return b.Off == len(b.Data), in.task.err
}

// look decodes the records that come next and has what they ask for read. It
// returns the offset behind them. What does not decode is left to its turn.
func (in *input[T]) look(b *exchange.Buffer) (off int) {
	a, flags := in.ahead, b.Flags&(exchange.Timestamps|exchange.Origins)
	var c Ctx
	a.many = a.many[:0]
	for off = b.Off; off < len(b.Data) && len(a.many) < state.WarmStored; {
		n := 0
		if flags != 0 {
			var err error
			if n, err = readFrameHead(b.Data[off:], flags, &c); err != nil {
				off = len(b.Data)
				break
			}
		}
		v, m, err := in.decode(b.Data[off+n:])
		if err != nil {
			off = len(b.Data)
			break
		}
		off += n + m
		a.many = append(a.many, v)
	}
	if len(a.many) > 0 {
		a.warm(a.many)
	}
	clear(a.many) // they are views
	return off
}
