// Package replay plays the user's own file: JSON lines, or CSV with a header.
// A record goes out as its bytes in the file, in the file's order, at the rate
// of the scenario or at the times of the file itself (workloads.Timeline). When
// the file is used up it begins again; event times then begin again too.
//
// The job counts by a field of the user's choice: a running count with one
// output per input, or, where a window is set, one final row per (key, window)
// of event time with the late records on a topic of their own. A record carries
// no id of ours, so the job carries origins from input to output.
//
// Outputs are count,kind,key of a running count, the rows of package windowrow
// of windows, and the key of a late record.
package replay

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"streamduel/codec"
	"streamduel/codec/json"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/window"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
	"streamduel/workloads/internal/windowrow"
)

//go:generate go run streamduel/cmd/codecgen -type item,counted,counts,row

// Workload returns the workload.
func Workload() *workloads.Workload {
	return &workloads.Workload{
		Name:   "replay",
		Doc:    "Your own JSON-lines or CSV file, at its own times or at a set rate: counts by a field, running or in event-time windows.",
		Params: func() any { return &Params{EventTimeUnit: unitMs} },
		Generator: func(params any, _ uint64) (workloads.Generator, error) {
			p, err := of(params)
			if err != nil {
				return nil, err
			}
			return newGenerator(p)
		},
		Pipeline:     build,
		Accounting:   accounting,
		NeedsOrigin:  true,
		EchoesOrigin: true,
		Bad:          workloads.BadKinds(),
	}
}

func of(params any) (*Params, error) {
	p, ok := params.(*Params)
	if !ok {
		return nil, fmt.Errorf("replay: parameters of type %T", params)
	}
	return p, p.Validate()
}

// item is what the job keeps of a record. The key is a view.
type item struct {
	key       string `codec:"view"`
	time      int64  // Unix milliseconds
	sequence  int64  // with the partition the record's id, where there are windows
	partition int32  // also of a closing record
	closing   bool
}

func (f *fields) decode(r *connectors.Record) (item, error) {
	if bytes.HasPrefix(r.Value, closingMark) {
		return decodeClosing(r.Value)
	}
	v, err := f.pick(r.Value)
	if err != nil {
		return item{}, err
	}
	at := pipeline.NoTime
	if len(v.event) > 0 && string(v.event) != "null" {
		if at, err = millis(v.event, f.unit); err != nil {
			return item{}, fmt.Errorf("field %q: %w", f.event, err)
		}
	}
	e := item{key: view(v.key), time: at}
	if f.ids {
		o, ok := connectors.FindOrigin(r.Headers)
		if !ok {
			return e, errNoID
		}
		e.partition, e.sequence = o.Partition, o.Sequence
	}
	return e, nil
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

var (
	errClosing    = errors.New("not a closing record")
	closingFields = json.MustFields("sd-closing", "time")
)

func decodeClosing(b []byte) (item, error) {
	e := item{closing: true, key: view(b)} // spreads closing records over the key groups
	var f [2]json.Value
	if err := closingFields.Read(b, f[:]); err != nil {
		return e, errClosing
	}
	partition, err1 := f[0].Int()
	at, err2 := f[1].Int()
	if err1 != nil || err2 != nil || partition != int64(int32(partition)) {
		return e, errClosing
	}
	e.partition, e.time = int32(partition), at
	return e, nil
}

// counted is a record with the count that it raised its key to.
type counted struct {
	item
	count int64
}

// row is a finished window of a key, or a closing record.
type row struct {
	key    string `codec:"view"`
	window int64
	counts
	closing   bool
	partition int32 // of a closing record
}

// counts are how many records, and the sum of their ids' hashes.
type counts struct {
	count int64
	hash  uint64
}

var counting = window.Aggregator[item, counts, counts]{
	Add: func(c counts, e item) counts {
		return counts{c.count + 1, c.hash + workloads.HashID(e.partition, e.sequence)}
	},
	Merge:  func(a, b counts) counts { return counts{a.count + b.count, a.hash + b.hash} },
	Result: func(c counts) counts { return c },
	Codec:  countsCodec{},
}

func build(params any, io workloads.IO) (*pipeline.Graph, error) {
	p, err := of(params)
	if err != nil {
		return nil, err
	}
	var header []byte
	if p.format() == formatCSV {
		if header, err = head(p.File, true); err != nil {
			return nil, err
		}
	}
	f, err := newFields(p, header)
	if err != nil {
		return nil, err
	}
	f.ids = p.Window > 0
	g := pipeline.New("replay")
	records := pipeline.From(g, "records", io.Source(io.Input), f.decode,
		pipeline.EventTime(func(e item) int64 { return e.time }, pipeline.Watermarks{Delay: p.Delay})).Codec(itemCodec{})
	counted := records
	if p.Window > 0 {
		counted = pipeline.Filter(records, "open", func(e item) bool { return !e.closing })
	}
	byKey := pipeline.KeyBy(counted, func(e item) string { return e.key }).KeyCodec(codec.StringView{})
	if p.Window == 0 {
		pipeline.To(pipeline.Process(byKey, "count", count).Codec(countedCodec{}), "counts", io.Sink(io.Output), encode)
		return g, nil
	}
	late := pipeline.NewTag[item]("late")
	windows := window.On(byKey, window.TumblingEventTime(p.Window)).SideOutputLate(late)
	rows := window.AggregateWith(windows, "count", counting, func(c *window.Context[string], n counts, emit func(row)) {
		emit(row{key: c.Key(), window: c.Window().Start, counts: n})
	}).Codec(rowCodec{})
	closings := pipeline.Filter(records, "closing", func(e item) bool { return e.closing })
	ends := pipeline.Map(workloads.Closings(closings, "end", p.horizon(), func(e item) int32 { return e.partition }), "ended",
		func(partition int32) row { return row{closing: true, partition: partition} }).Codec(rowCodec{})
	pipeline.To(pipeline.Union(rows, ends), "counts", io.Sink(io.Output), func(r row, out *connectors.Record) {
		windowrow.Append(out, r.window, r.count, r.hash, r.closing, r.partition, r.key)
	})
	pipeline.To(pipeline.Side(rows, late).Codec(itemCodec{}), "late", io.Sink(io.Late), func(e item, out *connectors.Record) {
		out.Key = append(out.Key, e.key...)
		out.Value = append(out.Value, e.key...)
	})
	return g, nil
}

func count(s *pipeline.Setup[string]) pipeline.Function[string, item, counted] {
	counts := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
	return pipeline.Function[string, item, counted]{Element: func(e item, c *pipeline.KeyedCtx[string], emit func(counted)) {
		if e.closing {
			emit(counted{item: e})
			return
		}
		n, _ := counts.Ref(e.key)
		*n++
		emit(counted{e, *n})
	}}
}

const (
	countWidth = 12
	kindAt     = countWidth + 1
	keyAt      = kindAt + 2
)

func encode(c counted, r *connectors.Record) {
	v := idrecord.AppendUint(r.Value, uint64(c.count), countWidth)
	if c.closing {
		v = append(v, ',', idrecord.Closing, ',')
		r.Value = strconv.AppendInt(v, int64(c.partition), 10)
		r.Key = append(r.Key, r.Value[keyAt:]...)
		return
	}
	v = append(v, ',', idrecord.Plain, ',')
	r.Value = append(v, c.key...)
	r.Key = append(r.Key, c.key...)
}

func accounting(params any, _ uint64) (workloads.Accounting, error) {
	p, err := of(params)
	if err != nil {
		return workloads.Accounting{}, err
	}
	var header []byte
	if p.format() == formatCSV {
		if header, err = head(p.File, true); err != nil {
			return workloads.Accounting{}, err
		}
	}
	a := workloads.Accounting{Kind: workloads.Running, Parse: parse, Oracle: func() workloads.Oracle { return newOracle(p, header) }}
	if p.Window > 0 {
		a.Kind, a.Parse = workloads.Windows, parseWindows
	}
	return a, nil
}

var (
	errOutput = errors.New("not an output of the form count,kind,key with widths 12, 1 and any")
	errNoID   = errors.New("the record has no " + connectors.OriginHeader + " header, from which its id is taken")
)

func parse(r *connectors.Record, late bool, row *workloads.Row) error {
	v := r.Value
	if late || len(v) < keyAt || v[kindAt-1] != ',' || v[keyAt-1] != ',' {
		return errOutput
	}
	n, ok := idrecord.ParseUint(v[:countWidth])
	if !ok {
		return errOutput
	}
	key := v[keyAt:]
	switch v[kindAt] {
	case idrecord.Plain:
		o, ok := connectors.FindOrigin(r.Headers)
		if !ok {
			return errNoID
		}
		*row = workloads.Row{HasID: true, Partition: o.Partition, Sequence: o.Sequence, Key: key, Value: int64(n)}
	case idrecord.Closing:
		p, ok := idrecord.ParseUint(key)
		if !ok || len(key) == 0 || p >= 1<<31 {
			return errOutput
		}
		*row = workloads.Row{Partition: int32(p), Closing: true}
	default:
		return errOutput
	}
	return nil
}

func parseWindows(r *connectors.Record, late bool, row *workloads.Row) error {
	if !late {
		return windowrow.Parse(r.Value, row)
	}
	o, ok := connectors.FindOrigin(r.Headers)
	if !ok {
		return errNoID
	}
	*row = workloads.Row{HasID: true, Partition: o.Partition, Sequence: o.Sequence, Key: r.Value}
	return nil
}
