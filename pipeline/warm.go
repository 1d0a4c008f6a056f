package pipeline

import (
	"streamduel/connectors"
	"streamduel/exchange"
	"streamduel/state"
)

// warmer is what an operator whose state is far larger than the processor's
// caches looks ahead with.
type warmer[T any] struct {
	wanted func() bool
	warm   func(vs []T)
}

// ahead is an input that decodes a few records before it pushes the first of
// them.
type ahead[T any] struct {
	warmer[T]
	values  [state.WarmKeys]T
	times   [state.WarmKeys]int64
	origins [state.WarmKeys]connectors.Origin
	ends    [state.WarmKeys]int // offsets behind the records
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
			in.next(a.values[i], c)
		}
	}
	b.Off = off
	return off == len(d), t.err
}
