package pipeline

import (
	"streamduel/codec"
	"streamduel/connectors"
)

// Receiver takes the values of a stream inside a task.
type Receiver[T any] func(v T, c *Ctx)

// Decode turns a source's record into a value, which may alias the record's
// bytes. An error fails the job, naming the split and the position.
type Decode[T any] func(r *connectors.Record) (T, error)

// Encode writes a value into a sink's record: append to r.Key and r.Value,
// which come empty; set Timestamp and Headers if wanted. A record whose key stays
// as it came has none; []byte{} is a key of no bytes. One without a value has r.Value
// set to nil.
type Encode[T any] func(v T, r *connectors.Record)

// SourceOption configures From.
type SourceOption[T any] func(n *Node, h *sourceConfig[T])

type sourceConfig[T any] struct {
	eventTime func(T) int64
	stamp     bool // records get the time at which they are taken in
	generator func() Generator[T]
}

// From reads a source.
func From[T any](g *Graph, name string, src connectors.Source, decode Decode[T], opts ...SourceOption[T]) *Stream[T] {
	return RichFrom(g, name, src, func(*RuntimeContext) Decode[T] { return decode }, opts...)
}

// RichFrom is From with a decoder that is made once per subtask.
func RichFrom[T any](g *Graph, name string, src connectors.Source, open func(r *RuntimeContext) Decode[T], opts ...SourceOption[T]) *Stream[T] {
	var cfg sourceConfig[T]
	n := g.add(&Node{Name: name, Kind: KindSource, Source: src})
	for _, o := range opts {
		o(n, &cfg)
	}
	cfg.check(g, n)
	n.build = func(b *builder, n *Node) any {
		h := &sourceHead[T]{task: b.task, node: n, decode: open(&RuntimeContext{b, n}), sourceConfig: cfg, dead: outputOf[BadRecord](b, n, deadSide), splits: map[connectors.SplitID]*splitTime[T]{}}
		var chained []*Node
		next := outputOf[T](b, n, "")
		for _, e := range n.Out {
			if e.Side == "" {
				chained = append(chained, e.To)
			}
		}
		h.keep, h.next = headFilter(b, next, chained...)
		if w := n.Watermarks; w != nil {
			h.delay = w.Delay.Milliseconds()
		}
		return h
	}
	return streamOf[T](n)
}

// To writes a stream to a sink.
func To[T any](s *Stream[T], name string, sink connectors.Sink, encode Encode[T]) {
	RichTo(s, name, sink, func(*RuntimeContext) Encode[T] { return encode })
}

// RichTo is To with an encoder that is made once per subtask.
func RichTo[T any](s *Stream[T], name string, sink connectors.Sink, open func(r *RuntimeContext) Encode[T]) {
	n := attach(s, &Node{Name: name, Kind: KindSink, Sink: sink}, Forward, nil)
	n.build = func(b *builder, n *Node) any {
		o, encode := sinkOf(b, n), open(&RuntimeContext{b, n})
		return Receiver[T](func(v T, c *Ctx) {
			encode(v, o.empty())
			o.write(c)
		})
	}
}

// sinkEnd is a sink's end of a chain.
type sinkEnd struct {
	task   *Task
	writer connectors.Writer
	record connectors.Record
	origin connectors.Origin
	// key and value are what the next record's are appended to. They have room, which
	// tells them from []byte{}, and the record's may be nil: it is not told by the one
	// before whether it has a key and a value.
	key, value []byte
}

func sinkOf(b *builder, n *Node) *sinkEnd {
	return &sinkEnd{task: b.task, writer: b.sink(n), key: make([]byte, 0, 64), value: make([]byte, 0, 64)}
}

// empty returns the record that is written next, to be filled.
func (o *sinkEnd) empty() *connectors.Record {
	r := &o.record
	r.Key, r.Value, r.Headers, r.Timestamp = o.key, o.value, r.Headers[:0], 0
	return r
}

func (o *sinkEnd) write(c *Ctx) {
	r := &o.record
	switch {
	case len(r.Key) > 0:
		o.key = r.Key[:0]
	case cap(r.Key) > 0: // nobody put a key there
		r.Key = nil
	}
	if r.Value != nil {
		o.value = r.Value[:0]
	}
	var origin *connectors.Origin
	if o.task.origins {
		o.origin = c.Origin // a copy that does not escape into the writer's hands
		origin = &o.origin
	}
	if err := o.writer.Write(o.task.context, r, origin); err != nil {
		c.Fail(err)
		return
	}
	o.task.written++
}

// writeTo is To with an encoder that may fail, which fails the job.
func writeTo[T any](s *Stream[T], name string, sink connectors.Sink, encode func(v T, r *connectors.Record) error) {
	n := attach(s, &Node{Name: name, Kind: KindSink, Sink: sink}, Forward, nil)
	n.build = func(b *builder, n *Node) any {
		o := sinkOf(b, n)
		return Receiver[T](func(v T, c *Ctx) {
			if err := encode(v, o.empty()); err != nil {
				c.Fail(err)
				return
			}
			o.write(c)
		})
	}
}

// transform adds a stateless operator behind a stream.
func transform[A, B any](s *Stream[A], name string, make func(next Receiver[B]) Receiver[A]) *Stream[B] {
	n := attach(s, &Node{Name: name, Kind: KindTransform}, Forward, nil)
	n.build = func(b *builder, n *Node) any { return make(outputOf[B](b, n, "")) }
	return streamOf[B](n)
}

// Map turns each value into one.
func Map[A, B any](s *Stream[A], name string, f func(A) B) *Stream[B] {
	return transform(s, name, func(next Receiver[B]) Receiver[A] {
		return func(v A, c *Ctx) { next(f(v), c) }
	})
}

// Filter keeps the values for which keep is true.
func Filter[T any](s *Stream[T], name string, keep func(T) bool) *Stream[T] {
	n := attach(s, &Node{Name: name, Kind: KindTransform}, Forward, nil)
	n.build = func(b *builder, n *Node) any {
		return filtered(b, n, keep)
	}
	t := streamOf[T](n)
	t.codec = s.codec
	return t
}

func filtered[T any](b *builder, n *Node, keep func(T) bool) Receiver[T] {
	next := outputOf[T](b, n, "")
	b.filters[n] = &filter[T]{keep, next}
	return func(v T, c *Ctx) {
		if keep(v) {
			next(v, c)
		}
	}
}

// filter is an operator that the loop before it can do itself, which saves a
// call a record.
type filter[T any] struct {
	keep func(T) bool
	next Receiver[T]
}

// headFilter returns what a loop does that pushes into r, the receiver of nodes:
// where that is a filter alone, what it keeps and what is behind it.
func headFilter[T any](b *builder, r Receiver[T], nodes ...*Node) (keep func(T) bool, next Receiver[T]) {
	if len(nodes) == 1 {
		if f, ok := b.filters[nodes[0]].(*filter[T]); ok {
			return f.keep, f.next
		}
	}
	return nil, r
}

// FlatMap turns each value into any number of values.
func FlatMap[A, B any](s *Stream[A], name string, f func(v A, emit func(B))) *Stream[B] {
	return FlatMapWith(s, name, func() func(v A, emit func(B)) { return f })
}

// FlatMapWith is FlatMap with a function that keeps memory of its own, a
// scratch buffer for instance: make is called once per subtask. What is emitted
// is used up when emit returns, so it may be a view of that memory.
func FlatMapWith[A, B any](s *Stream[A], name string, make func() func(v A, emit func(B))) *Stream[B] {
	n := attach(s, &Node{Name: name, Kind: KindTransform}, Forward, nil)
	n.build = func(b *builder, n *Node) any { return flatMapped(b, n, make()) }
	return streamOf[B](n)
}

func flatMapped[A, B any](b *builder, n *Node, f func(v A, emit func(B))) Receiver[A] {
	next, c := outputOf[B](b, n, ""), &b.task.ctx
	emit := func(v B) { next(v, c) } // made once: Ctx is the same for every record
	return func(v A, _ *Ctx) { f(v, emit) }
}

// Union merges streams of one type.
func Union[T any](first *Stream[T], others ...*Stream[T]) *Stream[T] {
	u := &Stream[T]{g: first.g, codec: first.codec}
	for _, s := range append([]*Stream[T]{first}, others...) {
		if s.g != first.g {
			first.g.fail("union: the streams belong to different jobs")
		}
		u.from = append(u.from, s.from...)
	}
	return u
}

// Tag names a typed side output.
type Tag[T any] struct{ name string }

// NewTag returns a side output's tag; its name is unique within the operator.
func NewTag[T any](name string) Tag[T] { return Tag[T]{name} }

// Side returns a side output of the operator that the stream came out of.
func Side[R, T any](s *Stream[R], tag Tag[T]) *Stream[T] {
	t := &Stream[T]{g: s.g}
	for _, o := range s.from {
		t.from = append(t.from, output{node: o.node, side: tag.name})
	}
	return t
}

// Keyed is a stream partitioned by a key: all records of a key meet the same
// subtask, in the order in which one upstream subtask sent them.
type Keyed[K comparable, T any] struct {
	s     *Stream[T]
	key   func(T) K
	codec codec.Codec[K]
}

// KeyBy partitions a stream by a key.
func KeyBy[K comparable, T any](s *Stream[T], key func(T) K) *Keyed[K, T] {
	k := &Keyed[K, T]{s: s, key: key}
	k.codec, _ = codec.Of[K]()
	return k
}

// KeyCodec sets the codec of the key. Basic types have one already.
func (k *Keyed[K, T]) KeyCodec(c codec.Codec[K]) *Keyed[K, T] {
	t := *k
	t.codec = c
	return &t
}

// Reduce combines each value with the key's previous result and emits the new
// result: one output an input, unless the job has an output mode. The first value
// of a key is emitted as it is. f may return acc or what acc refers to; what it
// takes out of v it must copy, because v may be a view that ends with the push.
// Where values are combined before the exchange v may be a result, too: f must be
// associative.
func Reduce[K comparable, T any](k *Keyed[K, T], name string, f func(acc, v T) T) *Stream[T] {
	return reduced(k, name, true, func(*RuntimeContext) func(acc, v T) T { return f })
}

// RichReduce is Reduce with a function that is made once per subtask. It is not
// combined before an exchange, where it would be made too.
func RichReduce[K comparable, T any](k *Keyed[K, T], name string, open func(r *RuntimeContext) func(acc, v T) T) *Stream[T] {
	return reduced(k, name, false, open)
}

func reduced[K comparable, T any](k *Keyed[K, T], name string, merges bool, open func(r *RuntimeContext) func(acc, v T) T) *Stream[T] {
	values := k.Values()
	out := aggregation(k, name, "value", values, merges, func(r *RuntimeContext) running[T, T, T] {
		f := open(r)
		add := func(acc *T, fresh bool, v T) int {
			if fresh {
				*acc = values.Clone(v)
			} else {
				*acc = f(*acc, v)
			}
			return 0
		}
		return running[T, T, T]{add: add, merge: add, rows: same[T]}
	})
	out.codec = k.s.codec
	return out
}

// same is the row of an aggregation that keeps what it emits.
func same[T any](acc *T, _ int, next Receiver[T], c *Ctx) { next(*acc, c) }
