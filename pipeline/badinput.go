package pipeline

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"streamduel/codec"
	"streamduel/connectors"
)

// BadPolicy says what becomes of bad input: a record that does not decode, or
// whose event time is missing, before 1970 or too far ahead (see Watermarks).
type BadPolicy string

// The policies.
const (
	FailOnBad   BadPolicy = "fail"        // the job fails, naming split, position and reason; the default
	DropBad     BadPolicy = "drop"        // it is counted, sampled and left out
	DeadLetters BadPolicy = "dead-letter" // the same, and it goes to the source's side output
)

// BadPolicies lists them.
func BadPolicies() []BadPolicy { return []BadPolicy{FailOnBad, DropBad, DeadLetters} }

// BadRecord is one record of bad input.
type BadRecord struct {
	Source   string
	Split    connectors.SplitID
	Position connectors.Position
	Reason   string
	// Record is as the source gave it. Its bytes are views.
	Record connectors.Record
}

// Error says where the record is and what is wrong with it.
func (b *BadRecord) Error() string {
	return fmt.Sprintf("source %q: split %s, position %d: %s", b.Source, b.Split, b.Position, b.Reason)
}

// Headers of dead letters, beside those that the record came with.
const (
	DeadSplit    = "sd-split"
	DeadPosition = "sd-position"
	DeadReason   = "sd-reason"
)

const deadSide = "dead-letters"

var deadTag = NewTag[BadRecord](deadSide)

// badCodec writes a bad record for an exchange: as fields of text.
var badCodec = codec.Struct("bad record/2", func(dst []byte, b BadRecord) []byte {
	put := func(v []byte) { dst = codec.BytesView{}.Append(dst, v) }
	put([]byte(b.Source))
	put([]byte(b.Split))
	put([]byte(b.Reason))
	dst = codec.Bool{}.Append(codec.Bool{}.Append(dst, b.Record.Key != nil), b.Record.Value != nil)
	put(b.Record.Key)
	put(b.Record.Value)
	dst = codec.Int64{}.Append(codec.Int64{}.Append(dst, int64(b.Position)), b.Record.Timestamp)
	dst = codec.Int64{}.Append(dst, int64(len(b.Record.Headers)))
	for _, h := range b.Record.Headers {
		put([]byte(h.Key))
		put(h.Value)
	}
	return dst
}, func(src []byte) (b BadRecord, n int, err error) {
	field := func() (v []byte) {
		if err == nil {
			var l int
			v, l, err = codec.BytesView{}.Decode(src[n:])
			n += l
		}
		return v
	}
	number := func() (v int64) {
		if err == nil {
			var l int
			v, l, err = codec.Int64{}.Decode(src[n:])
			n += l
		}
		return v
	}
	there := func() (v bool) {
		if err == nil {
			var l int
			v, l, err = codec.Bool{}.Decode(src[n:])
			n += l
		}
		return v
	}
	b.Source, b.Split, b.Reason = string(field()), connectors.SplitID(field()), string(field())
	keyed, valued := there(), there()
	if b.Record.Key = field(); !keyed {
		b.Record.Key = nil
	}
	if b.Record.Value = field(); !valued {
		b.Record.Value = nil
	}
	b.Position, b.Record.Timestamp = connectors.Position(number()), number()
	for range number() {
		if err != nil {
			break
		}
		b.Record.Headers = append(b.Record.Headers, connectors.Header{Key: string(field()), Value: field()})
	}
	b.Record.Offset = int64(b.Position)
	return b, n, err
}, func(b BadRecord) BadRecord {
	r := b.Record
	r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	r.Headers = append([]connectors.Header(nil), r.Headers...)
	for i := range r.Headers {
		r.Headers[i].Value = append([]byte(nil), r.Headers[i].Value...)
	}
	b.Record = r
	return b
})

// OnBadInput sets a source's policy. Without it the graph's holds.
func OnBadInput[T any](p BadPolicy) SourceOption[T] {
	return func(n *Node, _ *sourceConfig[T]) { n.Bad = p }
}

// DeadLettersOf returns the bad records of a source with the policy DeadLetters.
func DeadLettersOf[T any](s *Stream[T]) *Stream[BadRecord] {
	for _, o := range s.from {
		if o.node.Kind != KindSource {
			s.g.fail("operator %q: only sources have dead letters", o.node.Name)
		}
	}
	return Side(s, deadTag).Codec(badCodec)
}

// OnBadInput sets the policy of all sources that have none of their own. Under
// DeadLetters their bad records go to the sink: key, value and headers as they
// came, with headers that say where they were and what is wrong.
func (g *Graph) OnBadInput(p BadPolicy, sink connectors.Sink) {
	for _, n := range append([]*Node(nil), g.nodes...) {
		if n.Kind != KindSource || n.Bad != "" {
			continue
		}
		n.Bad = p
		if p == DeadLetters && sink != nil {
			s := &Stream[BadRecord]{g: g, from: []output{{node: n, side: deadSide}}, codec: badCodec}
			To(s, n.Name+"-dead-letters", sink, EncodeDeadLetter)
		}
	}
}

// EncodeDeadLetter writes a bad record for a sink.
func EncodeDeadLetter(b BadRecord, r *connectors.Record) {
	if r.Key = append(r.Key, b.Record.Key...); b.Record.Key != nil && len(r.Key) == 0 {
		r.Key = []byte{}
	}
	r.Value = append(r.Value, b.Record.Value...)
	if b.Record.Value == nil {
		r.Value = nil
	}
	r.Timestamp = b.Record.Timestamp
	r.Headers = append(append(r.Headers, b.Record.Headers...),
		connectors.Header{Key: DeadSplit, Value: []byte(b.Split)},
		connectors.Header{Key: DeadPosition, Value: strconv.AppendInt(nil, int64(b.Position), 10)},
		connectors.Header{Key: DeadReason, Value: []byte(b.Reason)})
}

// checkBad refuses policies that cannot work.
func (n *Node) checkBad() error {
	switch n.Bad {
	case "", FailOnBad, DropBad:
		return nil
	case DeadLetters:
		for _, e := range n.Out {
			if e.Side == deadSide {
				return nil
			}
		}
		return fmt.Errorf("source %q: bad input is to go to dead letters, which nobody reads: use DeadLettersOf or give Graph.OnBadInput a sink", n.Name)
	}
	return fmt.Errorf("source %q: bad input %q: allowed are %v", n.Name, n.Bad, BadPolicies())
}

// latestTime is the last millisecond of the year 9999: what bounds event times
// where the engine has told no time yet.
const latestTime int64 = 253_402_300_799_999

// bounds are the event times that a source admits now.
func (h *sourceHead[T]) bounds() (earliest, latest int64) {
	w := h.node.Watermarks
	if w == nil {
		return math.MinInt64, math.MaxInt64
	}
	if w.BeforeEpoch {
		earliest = NoTime + 1
	}
	ahead := w.Ahead
	if ahead == 0 {
		ahead = DefaultAhead
	}
	latest = latestTime
	if now := h.task.now; now != NoTime && now < math.MaxInt64-ahead.Milliseconds() {
		latest = now + ahead.Milliseconds()
	}
	return earliest, latest
}

// untimely says what is wrong with an event time.
func untimely(ts, latest int64) string {
	switch {
	case ts == NoTime:
		return "the record has no event time"
	case ts < 0:
		return fmt.Sprintf("the record's event time %d ms lies before 1970", ts)
	}
	return fmt.Sprintf("the record's event time %d ms lies too far ahead: up to %d is taken now", ts, latest)
}

// bad deals with a record of bad input and reports whether the task goes on.
func (h *sourceHead[T]) bad(b *connectors.Batch, r *connectors.Record, reason string) bool {
	t := h.task
	x := BadRecord{Source: h.node.Name, Split: b.Split.ID, Position: connectors.Position(r.Offset), Reason: reason, Record: *r}
	if t.badInput != nil {
		t.badInput(&x)
	}
	if h.node.Bad != DropBad && h.node.Bad != DeadLetters {
		t.err = &x
		return false
	}
	if h.node.Bad == DeadLetters {
		c := &t.ctx
		c.Timestamp = NoTime
		if t.origins {
			o, ok := connectors.FindOrigin(r.Headers)
			if !ok {
				o = connectors.Origin{Partition: b.Split.Partition, Sequence: r.Offset}
			}
			c.Origin = o
		}
		h.dead(x, c)
	}
	return true
}
