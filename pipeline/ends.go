package pipeline

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"streamduel/clock"
	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/exchange"
)

// The ends of a task's chain, where types meet bytes.

// noOrigin is the origin of what a timer emits: it answers no single input.
var noOrigin = connectors.Origin{Partition: -1}

// outputOf returns the receiver that a node's output goes into: the chained
// consumers and the exchange writers of its edges.
func outputOf[T any](b *builder, n *Node, side string) Receiver[T] {
	var rs []Receiver[T]
	for _, e := range n.Out {
		if e.Side != side {
			continue
		}
		if b.written[e] {
			b.fail(fmt.Errorf("operator %q: side output %q is declared twice", n.Name, side))
			continue
		}
		b.written[e] = true
		var r any
		if b.fragment.chained[e] {
			r = b.port(e)
		} else {
			var err error
			if r, err = e.write(b, e); err != nil {
				b.fail(err)
				continue
			}
		}
		typed, ok := r.(Receiver[T])
		if !ok {
			b.fail(fmt.Errorf("operator %q: output %q is read as another type than it is written", n.Name, side))
			continue
		}
		rs = append(rs, typed)
	}
	switch len(rs) {
	case 0:
		return unread[T](b, n, side)
	case 1:
		return rs[0]
	}
	return func(v T, c *Ctx) {
		for _, r := range rs {
			r(v, c)
		}
	}
}

// unread returns what drops the records of an output that has no reader. Of a side
// output that is told, once: it may be forgotten. (Flink drops them in silence.)
func unread[T any](b *builder, n *Node, side string) Receiver[T] {
	tell := b.cfg.Unread
	if tell == nil || side == "" || side == deadSide {
		return func(T, *Ctx) {}
	}
	told := false
	return func(T, *Ctx) {
		if !told {
			told = true
			tell(n.Name, side)
		}
	}
}

// sourceHead decodes a source's records.
type sourceHead[T any] struct {
	sourceConfig[T]
	task   *Task
	node   *Node
	decode Decode[T]
	delay  int64        // of the watermark, milliseconds
	keep   func(T) bool // of a filter that comes first; nil without one
	next   Receiver[T]
	dead   Receiver[BadRecord]
	splits map[connectors.SplitID]*splitTime[T]
}

func (h *sourceHead[T]) Push(b *connectors.Batch, i int) (next int, err error) {
	next = i
	returned := false
	defer func() {
		if !returned && next < len(b.Records) { // a panic: say at which record
			h.task.at = fmt.Sprintf("source %q, split %s, position %d", h.node.Name, b.Split.ID, b.Records[next].Offset)
		}
	}()
	if h.eventTime == nil && !h.stamp && !h.task.origins {
		err = h.pushPlain(b, &next)
	} else {
		err = h.push(b, &next)
	}
	returned = true
	return next, err
}

func (h *sourceHead[T]) push(b *connectors.Batch, i *int) error {
	t, c := h.task, &h.task.ctx
	timed := h.eventTime != nil || h.stamp
	split := h.split(b.Split.ID)
	earliest, latest := h.bounds()
	var intake int64
	if t.origins {
		intake = clock.Mono()
	}
	for ; *i < len(b.Records); *i++ {
		if t.pressure.Starved > 0 || t.err != nil {
			break
		}
		r := &b.Records[*i]
		v, err := h.decode(r)
		if err != nil {
			if !h.bad(b, r, undecodable(err)) {
				break
			}
			continue
		}
		c.Timestamp = NoTime
		if timed {
			ts := max(t.now, split.largest)
			if !h.stamp {
				if ts = h.eventTime(v); ts < earliest || ts > latest {
					if !h.bad(b, r, untimely(ts, latest)) {
						break
					}
					continue
				}
			}
			c.Timestamp = ts
			if ts > split.largest {
				split.largest = ts
			}
			if split.generator != nil {
				split.generator.OnEvent(v, ts, &split.out)
			}
		}
		if t.origins {
			o, ok := connectors.FindOrigin(r.Headers)
			if !ok {
				o = connectors.Origin{Partition: b.Split.Partition, Sequence: r.Offset}
			}
			o.Intake = intake
			c.Origin = o
		}
		if h.keep == nil || h.keep(v) {
			h.next(v, c)
		}
	}
	return t.err
}

// pushPlain is Push for records that carry nothing but their value.
func (h *sourceHead[T]) pushPlain(b *connectors.Batch, i *int) error {
	t, c := h.task, &h.task.ctx
	c.Timestamp = NoTime
	decode, keep, next, rs := h.decode, h.keep, h.next, b.Records
	for ; *i < len(rs); *i++ {
		if t.pressure.Starved > 0 || t.err != nil {
			break
		}
		v, err := decode(&rs[*i])
		if err != nil {
			if !h.bad(b, &rs[*i], undecodable(err)) {
				break
			}
			continue
		}
		if keep == nil || keep(v) {
			next(v, c)
		}
	}
	return t.err
}

func undecodable(err error) string { return "the record does not decode: " + err.Error() }

// usesEventTime reports whether any source of the job assigns event time.
func (g *Graph) usesEventTime() bool {
	for _, n := range g.nodes {
		if n.Watermarks != nil {
			return true
		}
	}
	return false
}

func readFrameHead(d []byte, flags exchange.Flags, c *Ctx) (n int, err error) {
	if flags&exchange.Timestamps != 0 {
		if len(d) < 8 {
			return 0, codec.ErrShort
		}
		c.Timestamp = int64(binary.LittleEndian.Uint64(d))
		n = 8
	}
	if flags&exchange.Origins != 0 {
		o, ok := connectors.ParseOrigin(d[n:])
		if !ok {
			return 0, codec.ErrShort
		}
		c.Origin = o
		n += connectors.OriginSize
	}
	return n, nil
}

// input decodes one upstream channel's buffers.
type input[T any] struct {
	task   *Task
	decode func(src []byte) (v T, n int, err error)
	form   codec.Form
	keep   func(T) bool // of a filter that comes first; nil without one
	next   Receiver[T]
	parts  []byte    // of a record that spans buffers
	ahead  *ahead[T] // nil where the operator does not look ahead
}

func (in *input[T]) Feed(b *exchange.Buffer) (done bool, err error) {
	if b.Flags&exchange.Part != 0 {
		return in.feedPart(b)
	}
	if in.ahead != nil {
		if in.ahead.stored {
			return in.feedStored(b)
		}
		if in.ahead.wanted() {
			return in.feedAhead(b)
		}
	}
	return in.feedUntil(b, in.task.sliceEnd(b.Off, len(b.Data)))
}

// feedUntil pushes the records that begin before an offset.
func (in *input[T]) feedUntil(b *exchange.Buffer, end int) (done bool, err error) {
	if b.Flags&exchange.Origins == 0 {
		switch in.form {
		case codec.Memory:
			return in.feedMemory(b, end)
		case codec.PrefixedView:
			return in.feedViews(b, end)
		}
	}
	t, c, keep, next, decode := in.task, &in.task.ctx, in.keep, in.next, in.decode
	flags := b.Flags & (exchange.Timestamps | exchange.Origins)
	d := b.Data
	off := b.Off
	for off < end {
		if t.pressure.Starved > 0 || t.err != nil {
			b.Off = off
			return false, t.err
		}
		if flags != 0 {
			n, err := readFrameHead(d[off:], flags, c)
			if err != nil {
				return false, t.fail(err)
			}
			off += n
		}
		v, n, err := decode(d[off:])
		if err != nil {
			return false, t.fail(err)
		}
		off += n
		if keep == nil || keep(v) {
			next(v, c)
		}
	}
	b.Off = off
	return off == len(d), t.err
}

// feedMemory is feedUntil for values whose encoding is their memory: they are read
// without a call.
func (in *input[T]) feedMemory(b *exchange.Buffer, end int) (done bool, err error) {
	t, c, keep, next := in.task, &in.task.ctx, in.keep, in.next
	size, head := int(unsafe.Sizeof(*new(T))), 0
	if b.Flags&exchange.Timestamps != 0 {
		head = 8
	}
	d, off := b.Data, b.Off
	for off < end {
		if t.pressure.Starved > 0 || t.err != nil {
			b.Off = off
			return false, t.err
		}
		frame := d[off:]
		if len(frame) < head+size {
			return false, t.fail(codec.ErrShort)
		}
		if head != 0 {
			c.Timestamp = int64(binary.LittleEndian.Uint64(frame))
		}
		off += head + size
		if v := *(*T)(unsafe.Pointer(&frame[head])); keep == nil || keep(v) {
			next(v, c)
		}
	}
	b.Off = off
	return off == len(d), t.err
}

// feedViews is feedUntil for strings and slices of bytes that alias the buffer: short
// ones are read without a call.
func (in *input[T]) feedViews(b *exchange.Buffer, end int) (done bool, err error) {
	t, c, keep, next := in.task, &in.task.ctx, in.keep, in.next
	timed := b.Flags&exchange.Timestamps != 0
	d, off := b.Data, b.Off
	for off < end {
		if t.pressure.Starved > 0 || t.err != nil {
			b.Off = off
			return false, t.err
		}
		frame := d[off:]
		if timed {
			n, err := readFrameHead(frame, exchange.Timestamps, c)
			if err != nil {
				return false, t.fail(err)
			}
			off += n
			frame = frame[n:]
		}
		if len(frame) > 0 {
			if n := int(frame[0]); n < 0x80 && n < len(frame) {
				view := frame[1 : 1+n : 1+n]
				off += 1 + n
				if v := *(*T)(unsafe.Pointer(&view)); keep == nil || keep(v) { // a string begins as a []byte does
					next(v, c)
				}
				continue
			}
		}
		v, n, err := in.decode(frame)
		if err != nil {
			return false, t.fail(err)
		}
		off += n
		if keep == nil || keep(v) {
			next(v, c)
		}
	}
	b.Off = off
	return off == len(d), t.err
}

func (in *input[T]) Part() []byte { return in.parts }

// sliceEnd returns where a slice of a buffer of n bytes ends.
func (t *Task) sliceEnd(off, n int) int {
	if t.slice > 0 {
		return min(n, off+t.slice)
	}
	return n
}

func (in *input[T]) feedPart(b *exchange.Buffer) (done bool, err error) {
	t := in.task
	if t.pressure.Starved > 0 || t.err != nil {
		return false, t.err
	}
	in.parts = append(in.parts, b.Data...)
	if b.Flags&exchange.PartEnd == 0 {
		return true, nil
	}
	whole := exchange.Buffer{Data: in.parts, Flags: b.Flags &^ (exchange.Part | exchange.PartEnd), Records: 1}
	in.parts = nil // the record may be kept as a view of these bytes
	return in.Feed(&whole)
}

func (t *Task) fail(err error) error {
	t.err = fmt.Errorf("%s: a record in an exchange buffer does not decode: %w", t.Fragment.Name, err)
	return t.err
}
