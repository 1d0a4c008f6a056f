// Package ysb is the Yahoo streaming benchmark: how often the ads of each
// campaign were viewed in each window of event time.
//
//	parse → views → project → join ad with campaign → count per campaign and window
//
// Events are JSON as in the original, whose results leave once a second; here a
// window's row leaves when the window fires, so latency below a second can be
// seen. An event carries no id, so it comes by connectors.OriginHeader and goes
// with the event to the count. Outputs are
//
//	count,hash,kind,window,campaign
//
// and, on the late topic, partition,sequence of events whose window had fired.
package ysb

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"time"

	"streamduel/codec/json"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/window"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
	"streamduel/workloads/internal/windowrow"
)

//go:generate go run streamduel/cmd/codecgen -type parsed,projected,viewed,tally,row

// Params are the workload's parameters.
type Params struct {
	Campaigns      int           `json:"campaigns"`
	AdsPerCampaign int           `json:"adsPerCampaign"`
	Window         time.Duration `json:"window"` // of event time, whole milliseconds
	Delay          time.Duration `json:"delay"`  // of the watermark, whole milliseconds
	// Idle leaves a partition out of the watermark when it gave nothing for so
	// long; 0 waits for it for ever.
	Idle time.Duration `json:"idle"`
	// Skew shifts event times by up to 50 ms either way, and of one event in
	// LateOneIn by up to LateBy into the past.
	Skew      bool          `json:"skew"`
	LateOneIn int           `json:"lateOneIn"`
	LateBy    time.Duration `json:"lateBy"`
}

func (p *Params) horizon() workloads.Horizon {
	return workloads.Horizon{After: p.Window, Delay: p.Delay}
}

// Validate says what is allowed where a parameter is impossible.
func (p *Params) Validate() error {
	var errs []error
	check := func(ok bool, allowed string) {
		if !ok {
			errs = append(errs, errors.New(allowed))
		}
	}
	whole := func(d time.Duration) bool { return d%time.Millisecond == 0 && d <= 24*time.Hour }
	check(p.Campaigns >= 1 && p.Campaigns <= 1_000_000, "campaigns: 1 to 1000000")
	check(p.AdsPerCampaign >= 1 && p.AdsPerCampaign <= 1000, "adsPerCampaign: 1 to 1000")
	check(p.Window >= time.Millisecond && whole(p.Window), "window: whole milliseconds from 1ms to 24h")
	check(p.Delay >= 0 && whole(p.Delay), "delay: whole milliseconds from 0s to 24h")
	check(p.Idle >= 0 && whole(p.Idle), "idle: 0s (never idle) or whole milliseconds to 24h")
	check(p.LateOneIn >= 1, "lateOneIn: 1 (every event) or more")
	check(p.LateBy >= 0 && whole(p.LateBy), "lateBy: whole milliseconds from 0s to 24h")
	return errors.Join(errs...)
}

// Workload returns the workload.
func Workload() *workloads.Workload {
	return &workloads.Workload{
		Name: "ysb",
		Doc:  "The Yahoo streaming benchmark: views per advertising campaign in tumbling windows of event time.",
		Params: func() any {
			return &Params{
				Campaigns: 100, AdsPerCampaign: 10, Window: 10 * time.Second, Delay: 2 * jitter * time.Millisecond,
				LateOneIn: 100_000, LateBy: time.Minute,
			}
		},
		Generator: func(params any, seed uint64) (workloads.Generator, error) {
			p, err := of(params)
			if err != nil {
				return nil, err
			}
			return newGenerator(p, seed), nil
		},
		Pipeline:    build,
		Accounting:  accounting,
		NeedsOrigin: true,
		Bad:         workloads.BadKinds(),
	}
}

func of(params any) (*Params, error) {
	p, ok := params.(*Params)
	if !ok {
		return nil, fmt.Errorf("ysb: parameters of type %T", params)
	}
	return p, p.Validate()
}

// parsed is what the job needs of an event. The ad's id is a view.
type parsed struct {
	ad        []byte `codec:"view"`
	time      int64
	sequence  int64
	partition int32
	kind      kind
}

type kind uint8

const (
	other kind = iota
	view
	closing
)

var errNoOrigin = errors.New("the record has no " + connectors.OriginHeader + " header, from which its id is taken")

var eventFields = json.MustFields("ad_id", "event_type", "event_time")

// parse finds the three fields that the job needs, in any order.
func parse(b []byte) (e parsed, err error) {
	var f [3]json.Value
	if err := eventFields.Read(b, f[:]); err != nil {
		return e, err
	}
	if e.ad, err = f[0].Text(); err != nil {
		return e, err
	}
	kind, err := f[1].Text()
	if err != nil {
		return e, err
	}
	switch string(kind) {
	case "view":
		e.kind = view
	case closingType:
		e.kind = closing
	}
	if !f[2].Present() {
		e.time = pipeline.NoTime // which the source takes for bad input
		return e, nil
	}
	e.time, err = f[2].QuotedInt()
	return e, err
}

func decode(r *connectors.Record) (parsed, error) {
	o, ok := connectors.FindOrigin(r.Headers)
	if !ok {
		return parsed{}, errNoOrigin
	}
	e, err := parse(r.Value)
	e.partition, e.sequence = o.Partition, o.Sequence
	return e, err
}

// viewed is a view that was joined with its campaign.
type viewed struct {
	campaign  int64
	sequence  int64
	partition int32
}

// row is a finished window of a campaign, or a closing record.
type row struct {
	campaign int64 // or the partition of a closing record
	window   int64
	tally
	closing bool
}

// tally is how many, and the sum of their ids' hashes.
type tally struct {
	count int64
	hash  uint64
}

var count = window.Aggregator[viewed, tally, tally]{
	Add: func(n tally, v viewed) tally {
		n.count++
		n.hash += workloads.HashID(v.partition, v.sequence)
		return n
	},
	Merge:  func(a, b tally) tally { return tally{a.count + b.count, a.hash + b.hash} },
	Result: func(n tally) tally { return n },
	Codec:  tallyCodec{},
}

// projected is what is left of a view: which ad, and which input it was.
type projected struct {
	ad        []byte `codec:"view"`
	sequence  int64
	partition int32
}

func build(params any, io workloads.IO) (*pipeline.Graph, error) {
	p, err := of(params)
	if err != nil {
		return nil, err
	}
	g := pipeline.New("ysb")
	events := pipeline.From(g, "events", io.Source(io.Input), decode,
		pipeline.EventTime(func(e parsed) int64 { return e.time }, pipeline.Watermarks{Delay: p.Delay, Idle: p.Idle})).Codec(parsedCodec{})
	views := pipeline.Filter(events, "views", func(e parsed) bool { return e.kind == view })
	// Event time goes on beside the record, as its timestamp.
	ads := pipeline.Map(views, "project", func(e parsed) projected {
		return projected{e.ad, e.sequence, e.partition}
	}).Codec(projectedCodec{})

	campaignOf := make(map[string]int64, p.Campaigns*p.AdsPerCampaign) // never written again
	for i := range p.Campaigns * p.AdsPerCampaign {
		campaignOf[uuid("ad", i)] = int64(i / p.AdsPerCampaign)
	}
	joined := pipeline.FlatMap(ads, "join", func(e projected, emit func(viewed)) {
		if campaign, ok := campaignOf[string(e.ad)]; ok {
			emit(viewed{campaign, e.sequence, e.partition})
		}
	}).Codec(viewedCodec{})
	late := pipeline.NewTag[viewed]("late")
	byCampaign := pipeline.KeyBy(joined, func(v viewed) int64 { return v.campaign })
	windows := window.On(byCampaign, window.TumblingEventTime(p.Window)).SideOutputLate(late)
	rows := window.AggregateWith(windows, "count", count, func(c *window.Context[int64], n tally, emit func(row)) {
		emit(row{campaign: c.Key(), window: c.Window().Start, tally: n})
	}).Codec(rowCodec{})

	closings := pipeline.Filter(events, "closing", func(e parsed) bool { return e.kind == closing })
	ends := pipeline.Map(workloads.Closings(closings, "end", p.horizon(), func(e parsed) int32 { return e.partition }), "ended",
		func(partition int32) row { return row{campaign: int64(partition), closing: true} }).Codec(rowCodec{})

	names := uuids("campaign", p.Campaigns)
	pipeline.To(pipeline.Union(rows, ends), "counts", io.Sink(io.Output), func(r row, out *connectors.Record) { encode(r, names, out) })
	pipeline.To(pipeline.Side(rows, late).Codec(viewedCodec{}), "late", io.Sink(io.Late), encodeLate)
	return g, nil
}

const lateBytes = idrecord.PartitionWidth + 1 + idrecord.SequenceWidth

func encode(r row, names []string, out *connectors.Record) {
	if r.closing {
		windowrow.Append(out, 0, 0, 0, true, int32(r.campaign), "")
		return
	}
	windowrow.Append(out, r.window, r.count, r.hash, false, 0, names[r.campaign])
}

func encodeLate(v viewed, out *connectors.Record) {
	b := idrecord.AppendUint(out.Value, uint64(v.partition), idrecord.PartitionWidth)
	b = append(b, ',')
	out.Value = idrecord.AppendUint(b, uint64(v.sequence), idrecord.SequenceWidth)
}

func accounting(params any, _ uint64) (workloads.Accounting, error) {
	p, err := of(params)
	if err != nil {
		return workloads.Accounting{}, err
	}
	return workloads.Accounting{Kind: workloads.Windows, Parse: parseRow, Oracle: func() workloads.Oracle { return newOracle(p) }}, nil
}

var errLate = errors.New("not a late record of the form partition,sequence with widths 5,12")

func parseRow(r *connectors.Record, late bool, out *workloads.Row) error {
	v := r.Value
	if late {
		if len(v) != lateBytes || v[idrecord.PartitionWidth] != ',' {
			return errLate
		}
		p, ok1 := idrecord.ParseUint(v[:idrecord.PartitionWidth])
		s, ok2 := idrecord.ParseUint(v[idrecord.PartitionWidth+1:])
		if !ok1 || !ok2 {
			return errLate
		}
		*out = workloads.Row{HasID: true, Partition: int32(p), Sequence: int64(s)}
		return nil
	}
	return windowrow.Parse(v, out)
}

// oracle evaluates an event with the library's JSON reader and a table of its
// own.
type oracle struct {
	campaigns map[string][]byte
	window    int64
}

func newOracle(p *Params) *oracle {
	o := &oracle{campaigns: map[string][]byte{}, window: int64(p.Window / time.Millisecond)}
	for c := range p.Campaigns {
		for a := range p.AdsPerCampaign {
			o.campaigns[uuid("ad", c*p.AdsPerCampaign+a)] = []byte(uuid("campaign", c))
		}
	}
	return o
}

func (o *oracle) Add(_ workloads.Input, payload []byte, late bool, emit func(key []byte, window, value int64)) {
	var e struct {
		Ad   string `json:"ad_id"`
		Type string `json:"event_type"`
		Time int64  `json:"event_time,string"`
	}
	if late || stdjson.Unmarshal(payload, &e) != nil || e.Type != "view" {
		return
	}
	if campaign, ok := o.campaigns[e.Ad]; ok {
		emit(campaign, e.Time/o.window*o.window, 1)
	}
}
