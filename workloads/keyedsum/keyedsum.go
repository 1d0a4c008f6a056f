// Package keyedsum is an aggregation a key in one stage or in two: what a job
// with a hot key is faced with. Its outputs are the running count of a key and
// the sum of its inputs' hashes:
//
//	count,hash,kind,window,key
//
// as package windowrow writes them, with window 0. In one stage every input has
// an output; in two a part of a key's records has one, and the last output of a
// key is the same. A record may be given work to do, so that a key's share of the
// records is a share of the processor.
package keyedsum

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"streamduel/clock"
	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
	"streamduel/workloads/internal/windowrow"
)

//go:generate go run streamduel/cmd/codecgen -type event,sum,row

// The ways to aggregate.
const (
	Plain    = "plain"
	TwoStage = "two-stage"
)

// Params are the workload's parameters.
type Params struct {
	Keys        int           `json:"keys"`
	RecordBytes int           `json:"recordBytes"`
	HotKey      float64       `json:"hotKey"`      // share of the records that have key 0
	Aggregation string        `json:"aggregation"` // plain or two-stage
	Salts       int           `json:"salts"`       // two-stage: parts of a key
	Records     int           `json:"records"`     // two-stage: a part goes on after so many records
	Interval    time.Duration `json:"interval"`    // two-stage: and after so long
	Work        time.Duration `json:"work"`        // for which a record keeps its task busy
}

func (p *Params) input() idrecord.Params {
	return idrecord.Params{Keys: p.Keys, RecordBytes: p.RecordBytes, HotKey: p.HotKey}
}

// Validate says what is allowed where a parameter is impossible.
func (p *Params) Validate() error {
	in := p.input()
	errs := []error{in.Validate()}
	check := func(ok bool, allowed string) {
		if !ok {
			errs = append(errs, errors.New(allowed))
		}
	}
	check(p.Aggregation == Plain || p.Aggregation == TwoStage, "aggregation: plain or two-stage")
	check(p.Salts >= 2 && p.Salts <= 1<<15, "salts: 2 to 32768")
	check(p.Records >= 0, "records: 0 (by time alone) or more")
	check(p.Interval >= time.Millisecond && p.Interval <= time.Minute && p.Interval%time.Millisecond == 0, "interval: whole milliseconds from 1ms to 1m")
	check(p.Work >= 0 && p.Work <= 10*time.Millisecond, "work: 0s to 10ms")
	return errors.Join(errs...)
}

// horizon: records have the millisecond of their schedule as event time, which
// ends the intervals of the first stage.
func (p *Params) horizon() workloads.Horizon { return workloads.Horizon{After: p.Interval} }

// Workload returns the workload.
func Workload() *workloads.Workload {
	return &workloads.Workload{
		Name: "keyed-sum",
		Doc:  "A count per key that may have a hot key, aggregated plainly or in two stages, with work for each record.",
		Params: func() any {
			return &Params{Keys: 1000, RecordBytes: 100, Aggregation: Plain, Salts: 16, Records: 256, Interval: 50 * time.Millisecond}
		},
		Generator: func(params any, seed uint64) (workloads.Generator, error) {
			p, err := of(params)
			if err != nil {
				return nil, err
			}
			return generator{idrecord.NewGenerator(p.input(), seed), p.horizon()}, nil
		},
		Pipeline:   build,
		Accounting: accounting,
		Bad:        []workloads.BadKind{workloads.Undecodable},
	}
}

func of(params any) (*Params, error) {
	p, ok := params.(*Params)
	if !ok {
		return nil, fmt.Errorf("keyed-sum: parameters of type %T", params)
	}
	return p, p.Validate()
}

// generator makes idrecords; closing ones are scheduled past every interval.
type generator struct {
	*idrecord.Generator
	h workloads.Horizon
}

func (g generator) Closing(dst []byte, in workloads.Input) (value, key []byte) {
	in.Scheduled = g.h.ClosingTime(in.Scheduled/1e6) * 1e6
	return g.Generator.Closing(dst, in)
}

// event is what the job keeps of an input.
type event struct {
	sequence  int64
	time      int64 // milliseconds
	key       int64
	partition int32
	closing   bool
}

// sum is the aggregate of a key.
type sum struct {
	key   int64
	count int64
	hash  uint64
}

// row is a result, or a closing record with its partition for a key.
type row struct {
	sum
	closing bool
}

func build(params any, io workloads.IO) (*pipeline.Graph, error) {
	p, err := of(params)
	if err != nil {
		return nil, err
	}
	g := pipeline.New("keyed-sum")
	events := pipeline.From(g, "events", io.Source(io.Input), decode,
		pipeline.EventTime(func(e event) int64 { return e.time }, pipeline.Watermarks{})).Codec(eventCodec{})
	open := pipeline.Filter(events, "open", func(e event) bool { return !e.closing })
	byKey := pipeline.KeyBy(open, func(e event) int64 { return e.key })
	var sums *pipeline.Stream[sum]
	if p.Aggregation == TwoStage {
		sums = pipeline.AggregateTwoStage(byKey, "sum", pipeline.TwoStage{Salts: p.Salts, Records: p.Records, Interval: p.Interval},
			function(p.Work), codec.Codec[sum](sumCodec{})).Codec(sumCodec{})
	} else {
		sums = pipeline.Aggregate(byKey, "sum", function(p.Work), codec.Codec[sum](sumCodec{})).Codec(sumCodec{})
	}
	rows := pipeline.Map(sums, "rows", func(s sum) row { return row{sum: s} }).Codec(rowCodec{})
	closings := pipeline.Filter(events, "closing", func(e event) bool { return e.closing })
	ends := pipeline.Map(workloads.Closings(closings, "end", p.horizon(), func(e event) int32 { return e.partition }), "ended",
		func(partition int32) row { return row{sum{key: int64(partition)}, true} }).Codec(rowCodec{})
	pipeline.To(pipeline.Union(rows, ends), "sums", io.Sink(io.Output), encode)
	return g, nil
}

func decode(r *connectors.Record) (event, error) {
	in, err := idrecord.Parse(r.Value)
	return event{in.Sequence, in.Scheduled / 1e6, in.Key, in.Partition, in.Closing}, err
}

// function adds up, and keeps the processor for as long as the work takes. Time
// and not a number of rounds: the same share of a task on every machine.
func function(work time.Duration) pipeline.AggregateFunction[event, sum, sum] {
	return pipeline.AggregateFunction[event, sum, sum]{
		Add: func(s sum, e event) sum {
			h := workloads.HashID(e.partition, e.sequence)
			if work > 0 {
				for end := clock.Mono() + int64(work); clock.Mono() < end; {
				}
			}
			return sum{e.key, s.count + 1, s.hash + h}
		},
		Merge:  func(a, b sum) sum { return sum{b.key, a.count + b.count, a.hash + b.hash} },
		Result: func(s sum) sum { return s },
	}
}

const keyWidth = idrecord.KeyWidth

func encode(r row, out *connectors.Record) {
	if r.closing {
		windowrow.Append(out, 0, 0, 0, true, int32(r.key), "")
		return
	}
	var key [keyWidth]byte
	windowrow.Append(out, 0, r.count, r.hash, false, 0, string(idrecord.AppendUint(key[:0], uint64(r.key), keyWidth)))
}

func accounting(params any, _ uint64) (workloads.Accounting, error) {
	if _, err := of(params); err != nil {
		return workloads.Accounting{}, err
	}
	return workloads.Accounting{
		Kind: workloads.Running,
		Parse: func(r *connectors.Record, late bool, row *workloads.Row) error {
			if late {
				return errLate
			}
			return windowrow.Parse(r.Value, row)
		},
		Oracle: func() workloads.Oracle { return oracle{} },
	}, nil
}

var errLate = errors.New("the job has no late records")

// oracle counts each input once under the key in its text.
type oracle struct{}

func (oracle) Add(_ workloads.Input, payload []byte, _ bool, emit func(key []byte, window, value int64)) {
	const at = idrecord.PartitionWidth + idrecord.SequenceWidth + idrecord.ScheduledWidth + 3
	if key := payload[at : at+keyWidth]; payload[at-1] == ',' {
		if _, err := strconv.Atoi(string(key)); err == nil {
			emit(key, 0, 1)
		}
	}
}
