package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pattern"
	"streamduel/workloads"
)

// Params are what a scenario may set under workload.params.
type Params struct {
	Cards  int           `json:"cards"`  // a card is charged once in so many payments
	Within time.Duration `json:"within"` // from the probe to the strike
	Delay  time.Duration `json:"delay"`  // of the watermark
	Oracle bool          `json:"oracle"` // false leaves the judgement to what copies show
}

// Validate is called after a scenario was read: its text goes to the user.
func (p *Params) Validate() error {
	var errs []error
	if p.Cards < 1 || p.Cards > 1_000_000 {
		errs = append(errs, errors.New("cards: 1 to 1000000"))
	}
	if p.Within < time.Millisecond || p.Within > time.Hour {
		errs = append(errs, errors.New("within: 1ms to 1h"))
	}
	if p.Delay < 0 || p.Delay > time.Hour {
		errs = append(errs, errors.New("delay: 0s to 1h"))
	}
	return errors.Join(errs...)
}

func (p *Params) horizon() workloads.Horizon {
	return workloads.Horizon{After: p.Within, Delay: p.Delay}
}

func fraud() *workloads.Workload {
	return &workloads.Workload{
		Name: "fraud",
		Doc:  "Alarms where a small charge is followed by a large one on the same card, with no confirmation between.",
		Params: func() any {
			return &Params{Cards: 1000, Within: time.Minute, Delay: 200 * time.Millisecond, Oracle: true}
		},
		Generator: func(params any, seed uint64) (workloads.Generator, error) {
			return newGenerator(params.(*Params), seed), nil
		},
		Pipeline:    func(params any, io workloads.IO) (*pipeline.Graph, error) { return build(params.(*Params), io), nil },
		Accounting:  func(params any, _ uint64) (workloads.Accounting, error) { return accounting(params.(*Params)), nil },
		NeedsOrigin: true, // a payment has no id of the benchmark's: it comes in a header
	}
}

// payment is one line of the input.
type payment struct {
	Card  string `json:"card"`
	Kind  string `json:"kind"`  // charge, confirm; closing ends a partition
	Cents int64  `json:"cents"` // of a charge
	At    int64  `json:"at"`    // Unix milliseconds

	partition int32 // which input it was
	sequence  int64
}

const (
	smallest = 200    // cents: charges up to this are probes
	largest  = 50_000 // cents: charges from this on are strikes
)

func probe(p payment) bool     { return p.Kind == "charge" && p.Cents <= smallest }
func confirmed(p payment) bool { return p.Kind == "confirm" }
func strike(p payment) bool    { return p.Kind == "charge" && p.Cents >= largest }
func closing(p payment) bool   { return p.Kind == "closing" }

// rule is the pattern: a probe, no confirmation, a strike.
func rule(within time.Duration) *pattern.Pattern[payment] {
	return pattern.Begin("probe", probe).
		NotFollowedBy("confirmed", confirmed).
		FollowedBy("strike", strike).
		Within(within).SkipPastLast()
}

// alarm names the strike's input, so that copies and losses can be told.
type alarm struct {
	Card      string `json:"card"`
	Probe     int64  `json:"probe"`  // event times, Unix milliseconds
	Strike    int64  `json:"strike"` //
	Partition int32  `json:"partition"`
	Sequence  int64  `json:"sequence"`
	Closing   bool   `json:"closing,omitempty"`
}

func alarms(payments *pipeline.Stream[payment], within time.Duration) *pipeline.Stream[alarm] {
	byCard := pipeline.KeyBy(payments, func(p payment) string { return p.Card })
	return pattern.Match(byCard, "rule", rule(within), pattern.Functions[payment, alarm]{
		Match: func(s *pattern.Sequence[payment], emit func(alarm)) {
			a, b := s.Of("probe")[0], s.Of("strike")[0]
			emit(alarm{Card: b.Card, Probe: a.At, Strike: b.At, Partition: b.partition, Sequence: b.sequence})
		},
	}).Codec(alarmCodec)
}

// open leaves out the closing records, and counts the strikes: how many of them were
// alarms is what the rule is worth (docs/metrics.md says where the count is seen).
func open(payments *pipeline.Stream[payment]) *pipeline.Stream[payment] {
	return pipeline.RichFilter(payments, "open", func(r *pipeline.RuntimeContext) func(payment) bool {
		strikes := r.Metrics().Counter("strikes")
		return func(p payment) bool {
			if strike(p) {
				strikes.Inc()
			}
			return !closing(p)
		}
	})
}

func build(p *Params, io workloads.IO) *pipeline.Graph {
	g := pipeline.New("fraud")
	payments := pipeline.From(g, "payments", io.Source(io.Input), decode,
		pipeline.EventTime(func(p payment) int64 { return p.At }, pipeline.Watermarks{Delay: p.Delay})).Codec(paymentCodec)

	found := alarms(open(payments), p.Within)

	// The closing records show when the watermark has passed everything.
	ends := workloads.Closings(pipeline.Filter(payments, "closing", closing), "end", p.horizon(),
		func(p payment) int32 { return p.partition })
	ended := pipeline.Map(ends, "ended", func(partition int32) alarm { return alarm{Closing: true, Partition: partition} }).Codec(alarmCodec)

	pipeline.To(pipeline.Union(found, ended), "alarms", io.Sink(io.Output), func(a alarm, r *connectors.Record) {
		r.Key = append(r.Key, a.Card...)
		r.Value = appendJSON(r.Value, a)
	})
	// Payments behind the watermark are not lost without trace.
	late := pipeline.Side(found, pattern.Late[payment]()).Codec(paymentCodec)
	pipeline.To(late, "late", io.Sink(io.Late), func(p payment, r *connectors.Record) {
		r.Value = appendJSON(r.Value, alarm{Card: p.Card, Partition: p.partition, Sequence: p.sequence})
	})
	return g
}

func appendJSON(dst []byte, a alarm) []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // an alarm always has a text
	}
	return append(dst, b...)
}

func decode(r *connectors.Record) (p payment, err error) {
	origin, ok := connectors.FindOrigin(r.Headers)
	if !ok {
		return p, fmt.Errorf("no header %s", connectors.OriginHeader)
	}
	err = json.Unmarshal(r.Value, &p)
	p.partition, p.sequence = origin.Partition, origin.Sequence
	return p, err
}

// Where values cross from task to task, and in snapshots, they are bytes.
var paymentCodec = codec.Struct("fraud payment/1", func(dst []byte, p payment) []byte {
	dst = codec.String{}.Append(dst, p.Card)
	dst = codec.String{}.Append(dst, p.Kind)
	for _, n := range []int64{p.Cents, p.At, int64(p.partition), p.sequence} {
		dst = codec.Int64{}.Append(dst, n)
	}
	return dst
}, func(src []byte) (p payment, n int, err error) {
	r := reader{src: src}
	p = payment{Card: r.string(), Kind: r.string(), Cents: r.int(), At: r.int(), partition: int32(r.int()), sequence: r.int()}
	return p, r.n, r.err
}, nil)

var alarmCodec = codec.Struct("fraud alarm/1", func(dst []byte, a alarm) []byte {
	dst = codec.String{}.Append(dst, a.Card)
	for _, n := range []int64{a.Probe, a.Strike, int64(a.Partition), a.Sequence} {
		dst = codec.Int64{}.Append(dst, n)
	}
	return codec.Bool{}.Append(dst, a.Closing)
}, func(src []byte) (a alarm, n int, err error) {
	r := reader{src: src}
	a = alarm{Card: r.string(), Probe: r.int(), Strike: r.int(), Partition: int32(r.int()), Sequence: r.int(), Closing: r.bool()}
	return a, r.n, r.err
}, nil)

// reader decodes one field after the other.
type reader struct {
	src []byte
	n   int
	err error
}

func (r *reader) string() string { return field(r, codec.String{}.Decode) }
func (r *reader) int() int64     { return field(r, codec.Int64{}.Decode) }
func (r *reader) bool() bool     { return field(r, codec.Bool{}.Decode) }

func field[T any](r *reader, decode func([]byte) (T, int, error)) (v T) {
	if r.err == nil {
		var n int
		v, n, r.err = decode(r.src[r.n:])
		r.n += n
	}
	return v
}
