package pipeline

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"streamduel/clock"
	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/exchange"
	"streamduel/state"
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
		return func(T, *Ctx) {}
	case 1:
		return rs[0]
	}
	return func(v T, c *Ctx) {
		for _, r := range rs {
			r(v, c)
		}
	}
}

// sourceHead decodes a source's records.
type sourceHead[T any] struct {
	sourceConfig[T]
	task   *Task
	node   *Node
	decode Decode[T]
	delay  int64 // of the watermark, milliseconds
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
		h.next(v, c)
	}
	return t.err
}

// pushPlain is Push for records that carry nothing but their value.
func (h *sourceHead[T]) pushPlain(b *connectors.Batch, i *int) error {
	t, c := h.task, &h.task.ctx
	c.Timestamp = NoTime
	decode, next, rs := h.decode, h.next, b.Records
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
		next(v, c)
	}
	return t.err
}

func undecodable(err error) string { return "the record does not decode: " + err.Error() }

// keyer makes, for one task, the function that picks a record's channel.
type keyer[T any] func(maxParallelism, channels int) (func(T) int, error)

func hashKey[K comparable, T any](k *Keyed[K, T]) keyer[T] {
	return func(maxParallelism, channels int) (func(T) int, error) {
		var encode func([]byte, K) []byte
		if k.codec != nil {
			encode = k.codec.Append
		}
		hash, err := state.Hasher[K](encode)
		if err != nil {
			return nil, err
		}
		owner := make([]int32, maxParallelism)
		for g := range owner {
			owner[g] = int32(state.OwnerOf(state.KeyGroup(g), channels, maxParallelism))
		}
		return func(v T) int { return int(owner[state.GroupOf(hash(k.key(v)), maxParallelism)]) }, nil
	}
}

// exchangeWriter makes the receiver that serializes into an exchange edge.
func exchangeWriter[T any](b *builder, e *Edge, c codec.Codec[T], key keyer[T]) (Receiver[T], error) {
	outlet, channels := b.cfg.Host.Outlet(e)
	if outlet == nil {
		return nil, fmt.Errorf("edge %q → %q has no outlet", e.From.Name, e.To.Name)
	}
	var flags exchange.Flags
	if e.From.g.usesEventTime() {
		flags |= exchange.Timestamps
	}
	if b.cfg.Origins {
		flags |= exchange.Origins
	}
	w := exchange.NewWriter(channels, flags, outlet, &b.task.pressure)
	b.task.outputs = append(b.task.outputs, Output{Edge: e, Writer: w})
	appendTo, _ := codec.Functions(c)
	// A job without event time and origins takes the short way: a call less a
	// record.
	plain := flags == 0
	put := func(ch int, v T, x *Ctx) {
		buf := w.Begin(ch)
		d := buf.Data
		if !plain {
			d = appendFrameHead(d, flags, x)
		}
		w.End(ch, buf, appendTo(d, v))
	}
	switch p := e.Effective(b.cfg.Job); p {
	case Hash, Custom:
		channel, err := key(b.cfg.MaxParallelism, channels)
		if err != nil {
			return nil, fmt.Errorf("operator %q: %w", e.To.Name, err)
		}
		if p == Custom {
			return func(v T, x *Ctx) {
				ch := channel(v)
				if uint(ch) >= uint(channels) {
					x.Fail(fmt.Errorf("operator %q: its partitioner returned %d of %d partitions", e.To.Name, ch, channels))
					return
				}
				put(ch, v, x)
			}, nil
		}
		if plain {
			return func(v T, _ *Ctx) {
				ch := channel(v)
				buf := w.Begin(ch)
				w.End(ch, buf, appendTo(buf.Data, v))
			}, nil
		}
		return func(v T, x *Ctx) { put(channel(v), v, x) }, nil
	case Rebalance, Rescale:
		first, end := 0, channels
		if p == Rescale {
			first, end = shareOf(b.cfg.Subtask, ParallelismOf(e.From, b.cfg.Job), channels)
		}
		next := first + b.cfg.Subtask%(end-first)
		if plain {
			return func(v T, _ *Ctx) {
				ch := next
				if next++; next == end {
					next = first
				}
				buf := w.Begin(ch)
				w.End(ch, buf, appendTo(buf.Data, v))
			}, nil
		}
		return func(v T, x *Ctx) {
			ch := next
			if next++; next == end {
				next = first
			}
			put(ch, v, x)
		}, nil
	case Shuffle:
		rng := rand.New(rand.NewPCG(uint64(b.cfg.Subtask), uint64(e.ID)))
		return func(v T, x *Ctx) { put(rng.IntN(channels), v, x) }, nil
	case Forward, Global:
		ch := 0
		if p == Forward {
			ch = b.cfg.Subtask
		}
		if plain {
			return func(v T, _ *Ctx) {
				buf := w.Begin(ch)
				w.End(ch, buf, appendTo(buf.Data, v))
			}, nil
		}
		return func(v T, x *Ctx) { put(ch, v, x) }, nil
	case Broadcast:
		return func(v T, x *Ctx) {
			for ch := range channels {
				put(ch, v, x)
			}
		}, nil
	default:
		return nil, fmt.Errorf("edge %q → %q: partitioning %q is unknown", e.From.Name, e.To.Name, p)
	}
}

// shareOf returns the downstream subtasks [first, end) that an upstream one
// sends to when it rescales: each a contiguous share, or one subtask for several
// where there are more upstream than downstream.
func shareOf(subtask, up, down int) (first, end int) {
	first = subtask * down / up
	return first, max((subtask+1)*down/up, first+1)
}

// usesEventTime reports whether any source of the job assigns event time.
func (g *Graph) usesEventTime() bool {
	for _, n := range g.nodes {
		if n.Watermarks != nil {
			return true
		}
	}
	return false
}

func appendFrameHead(d []byte, flags exchange.Flags, c *Ctx) []byte {
	if flags&exchange.Timestamps != 0 {
		d = binary.LittleEndian.AppendUint64(d, uint64(c.Timestamp))
	}
	if flags&exchange.Origins != 0 {
		d = connectors.AppendOrigin(d, c.Origin)
	}
	return d
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
	t, c, next, decode := in.task, &in.task.ctx, in.next, in.decode
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
		next(v, c)
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
