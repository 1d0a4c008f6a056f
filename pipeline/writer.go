package pipeline

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"unsafe"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/exchange"
	"streamduel/state"
)

// The writing end of an exchange.

// keyer makes, for one task, the function that picks a record's channel.
type keyer[T any] func(maxParallelism, channels int) (func(T) int, error)

func hashKey[K comparable, T any](k *Keyed[K, T]) keyer[T] {
	return func(maxParallelism, channels int) (func(T) int, error) {
		var encode func([]byte, K) []byte
		if k.codec != nil {
			encode = k.codec.Append
		}
		owner, err := state.Owner(encode, channels, maxParallelism)
		if err != nil {
			return nil, err
		}
		key := k.key
		return func(v T) int { return owner(key(v)) }, nil
	}
}

// route says which channel a record goes to: what channel says, and without it
// those from first up to end in turn.
type route[T any] struct {
	channel          func(T) int
	next, first, end int
}

// turn returns the next channel in turn.
func (r *route[T]) turn() int {
	ch := r.next
	if r.next++; r.next == r.end {
		r.next = r.first
	}
	return ch
}

// routeOf returns an edge's route from this subtask. A broadcast has none.
func routeOf[T any](b *builder, e *Edge, channels int, key keyer[T]) (*route[T], error) {
	switch p := e.Effective(b.cfg.Job); p {
	case Hash, Custom:
		channel, err := key(b.cfg.MaxParallelism, channels)
		if err != nil {
			return nil, fmt.Errorf("operator %q: %w", e.To.Name, err)
		}
		if p == Hash && channels == 1 {
			return &route[T]{end: 1}, nil // whatever the key
		}
		return &route[T]{channel: channel}, nil
	case Rebalance:
		return &route[T]{next: b.cfg.Subtask % channels, end: channels}, nil
	case Rescale:
		first, end := shareOf(b.cfg.Subtask, ParallelismOf(e.From, b.cfg.Job), channels)
		return &route[T]{next: first + b.cfg.Subtask%(end-first), first: first, end: end}, nil
	case Shuffle:
		rng := rand.New(rand.NewPCG(uint64(b.cfg.Subtask), uint64(e.ID)))
		return &route[T]{channel: func(T) int { return rng.IntN(channels) }}, nil
	case Forward:
		ch := b.cfg.Subtask
		return &route[T]{next: ch, first: ch, end: ch + 1}, nil
	case Global:
		return &route[T]{end: 1}, nil
	default:
		return nil, fmt.Errorf("edge %q → %q: partitioning %q is unknown", e.From.Name, e.To.Name, p)
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
	put := func(ch int, v T, x *Ctx) {
		buf := w.Begin(ch)
		w.End(ch, buf, appendTo(appendFrameHead(buf.Data, flags, x), v))
	}
	if e.Effective(b.cfg.Job) == Broadcast {
		return func(v T, x *Ctx) {
			for ch := range channels {
				put(ch, v, x)
			}
		}, nil
	}
	r, err := routeOf(b, e, channels, key)
	if err != nil {
		return nil, err
	}
	if channel := r.channel; e.Effective(b.cfg.Job) == Custom {
		return func(v T, x *Ctx) {
			ch := channel(v)
			if uint(ch) >= uint(channels) {
				x.Fail(fmt.Errorf("operator %q: its partitioner returned %d of %d partitions", e.To.Name, ch, channels))
				return
			}
			put(ch, v, x)
		}, nil
	}
	l := lean[T]{w: w, route: r, appendTo: appendTo, slow: put}
	if flags&exchange.Timestamps != 0 {
		l.head = 8
	}
	switch {
	case flags&exchange.Origins != 0 && r.channel != nil:
		return func(v T, x *Ctx) { put(r.channel(v), v, x) }, nil
	case flags&exchange.Origins != 0:
		return func(v T, x *Ctx) { put(r.turn(), v, x) }, nil
	case r.channel != nil:
		return l.routed(codec.FormOf(c)), nil
	}
	return l.inTurn(codec.FormOf(c)), nil
}

// lean writes frames without an origin. Its receivers are many so that each does
// just what it needs: what codecs of a known form write needs no call, and what
// happens once a buffer is left to slow, so that the values of all the other
// records stay in registers. The methods that make them are not inlined
// themselves, because within a large function the compiler inlines nothing.
type lean[T any] struct {
	w        *exchange.Writer
	route    *route[T]
	appendTo func([]byte, T) []byte
	slow     func(ch int, v T, x *Ctx) // any record
	head     int                       // bytes before the value: its timestamp, or none
}

// routed is the receiver for a channel that a function picks.
//
//go:noinline
func (l lean[T]) routed(form codec.Form) Receiver[T] {
	w, channel, appendTo, slow, head := l.w, l.route.channel, l.appendTo, l.slow, l.head
	switch form {
	case codec.Memory:
		return func(v T, x *Ctx) {
			ch := channel(v)
			buf := w.Current(ch)
			if buf == nil || !roomFor(buf, head+int(unsafe.Sizeof(v))) {
				slow(ch, v, x)
				return
			}
			w.End(ch, buf, addMemory(buf.Data, head, v, x))
		}
	case codec.Prefixed, codec.PrefixedView:
		return func(v T, x *Ctx) {
			ch := channel(v)
			buf, n := w.Current(ch), length(v)
			if buf == nil || n >= 0x80 || !roomFor(buf, head+1+n) {
				slow(ch, v, x)
				return
			}
			w.End(ch, buf, addPrefixed(buf.Data, head, v, x))
		}
	}
	return func(v T, x *Ctx) {
		ch := channel(v)
		buf := w.Current(ch)
		if buf == nil || head != 0 {
			slow(ch, v, x)
			return
		}
		w.End(ch, buf, appendTo(buf.Data, v))
	}
}

// inTurn is the receiver for channels in turn.
//
//go:noinline
func (l lean[T]) inTurn(form codec.Form) Receiver[T] {
	w, r, appendTo, slow, head := l.w, l.route, l.appendTo, l.slow, l.head
	switch form {
	case codec.Memory:
		return func(v T, x *Ctx) {
			ch := r.turn()
			buf := w.Current(ch)
			if buf == nil || !roomFor(buf, head+int(unsafe.Sizeof(v))) {
				slow(ch, v, x)
				return
			}
			w.End(ch, buf, addMemory(buf.Data, head, v, x))
		}
	case codec.Prefixed, codec.PrefixedView:
		return func(v T, x *Ctx) {
			ch := r.turn()
			buf, n := w.Current(ch), length(v)
			if buf == nil || n >= 0x80 || !roomFor(buf, head+1+n) {
				slow(ch, v, x)
				return
			}
			w.End(ch, buf, addPrefixed(buf.Data, head, v, x))
		}
	}
	return func(v T, x *Ctx) {
		ch := r.turn()
		buf := w.Current(ch)
		if buf == nil || head != 0 {
			slow(ch, v, x)
			return
		}
		w.End(ch, buf, appendTo(buf.Data, v))
	}
}

func roomFor(b *exchange.Buffer, n int) bool { return len(b.Data)+n <= cap(b.Data) }

// addMemory adds a frame of the form codec.Memory where there is room.
func addMemory[T any](d []byte, head int, v T, x *Ctx) []byte {
	n := len(d)
	d = d[:n+head+int(unsafe.Sizeof(v))]
	if head != 0 {
		binary.LittleEndian.PutUint64(d[n:], uint64(x.Timestamp))
		n += 8
	}
	*(*T)(unsafe.Pointer(&d[n])) = v
	return d
}

// length is that of a string or []byte: both begin alike.
func length[T any](v T) int { return len(*(*string)(unsafe.Pointer(&v))) }

// addPrefixed adds a frame of the form codec.Prefixed, with a length of one byte,
// where there is room.
func addPrefixed[T any](d []byte, head int, v T, x *Ctx) []byte {
	s := *(*string)(unsafe.Pointer(&v))
	n := len(d)
	d = d[:n+head+1+len(s)]
	if head != 0 {
		binary.LittleEndian.PutUint64(d[n:], uint64(x.Timestamp))
		n += 8
	}
	d[n] = byte(len(s))
	copy(d[n+1:], s)
	return d
}

// shareOf returns the downstream subtasks [first, end) that an upstream one
// sends to when it rescales: each a contiguous share, or one subtask for several
// where there are more upstream than downstream.
func shareOf(subtask, up, down int) (first, end int) {
	first = subtask * down / up
	return first, max((subtask+1)*down/up, first+1)
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
