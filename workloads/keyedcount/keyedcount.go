// Package keyedcount is the ledger's own workload: a running count per key in
// keyed state, with exactly one output for each input.
//
// An output names its input and the count that the input raised its key to. So
// copies and losses are counted by id, order is seen per key, and state is
// checked exactly: the counts of a key must be 1 … n, each once. There is no
// combining before the exchange, because it would merge inputs.
//
// Inputs are records of package idrecord. Outputs are
//
//	partition,sequence,key,count,kind
//	00003,000000012345,0000042,000000000017,r
//
// with the key as the outgoing record's key as well, so that a key's outputs
// keep their order in one output partition. The closing record of a partition
// does not count; its output has kind c and count 0.
package keyedcount

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
)

// Workload returns the workload.
func Workload() *workloads.Workload {
	return &workloads.Workload{
		Name:          "keyed-count",
		Doc:           "A running count per key in keyed state, one output per input that carries its id: checks copies, losses, order and state exactly.",
		Params:        func() any { p := idrecord.Defaults(); return &p },
		Generator:     generator,
		Pipeline:      build,
		Accounting:    accounting,
		SamplesOrigin: true,
		Bad:           []workloads.BadKind{workloads.Undecodable},
	}
}

func of(params any) (*idrecord.Params, error) {
	p, ok := params.(*idrecord.Params)
	if !ok {
		return nil, fmt.Errorf("keyed-count: parameters of type %T", params)
	}
	return p, p.Validate()
}

func generator(params any, seed uint64) (workloads.Generator, error) {
	p, err := of(params)
	if err != nil {
		return nil, err
	}
	return idrecord.NewGenerator(*p, seed), nil
}

// event is what the job keeps of an input; the rest of the record is dropped
// where it is read.
type event struct {
	sequence  int64
	key       int64
	partition int32
	closing   bool
}

const eventSize = 8 + 4 + 4 // the key has seven digits; the closing mark is the partition's top bit

var eventCodec = codec.Struct("keyed-count event/1", func(dst []byte, e event) []byte {
	p := uint32(e.partition)
	if e.closing {
		p |= 1 << 31
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.sequence))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(e.key))
	return binary.LittleEndian.AppendUint32(dst, p)
}, func(src []byte) (event, int, error) {
	if len(src) < eventSize {
		return event{}, 0, codec.ErrShort
	}
	p := binary.LittleEndian.Uint32(src[12:])
	return event{
		sequence:  int64(binary.LittleEndian.Uint64(src)),
		key:       int64(binary.LittleEndian.Uint32(src[8:])),
		partition: int32(p &^ (1 << 31)),
		closing:   p>>31 == 1,
	}, eventSize, nil
}, nil)

// counted is an input with the count that it raised its key to.
type counted struct {
	event
	count int64
}

// countedCodec serves a sink of another parallelism than the count's.
var countedCodec = codec.Struct("keyed-count counted/1", func(dst []byte, c counted) []byte {
	return codec.Int64{}.Append(eventCodec.Append(dst, c.event), c.count)
}, func(src []byte) (c counted, n int, err error) {
	if c.event, n, err = eventCodec.Decode(src); err != nil {
		return c, n, err
	}
	v, m, err := codec.Int64{}.Decode(src[n:])
	c.count = v
	return c, n + m, err
}, nil)

func build(params any, io workloads.IO) (*pipeline.Graph, error) {
	if _, err := of(params); err != nil {
		return nil, err
	}
	g := pipeline.New("keyed-count")
	events := pipeline.From(g, "events", io.Source(io.Input), decode).Codec(eventCodec)
	counts := pipeline.Process(pipeline.KeyBy(events, func(e event) int64 { return e.key }), "count", count).Codec(countedCodec)
	pipeline.To(counts, "counts", io.Sink(io.Output), encode)
	return g, nil
}

func decode(r *connectors.Record) (event, error) {
	in, err := idrecord.Parse(r.Value)
	return event{sequence: in.Sequence, key: in.Key, partition: in.Partition, closing: in.Closing}, err
}

func count(s *pipeline.Setup[int64]) pipeline.Function[int64, event, counted] {
	counts := pipeline.Table(s, "count", codec.Codec[int64](codec.Int64{}))
	return pipeline.Function[int64, event, counted]{Element: func(e event, c *pipeline.KeyedCtx[int64], emit func(counted)) {
		if e.closing {
			emit(counted{event: e})
			return
		}
		n, _ := counts.Ref(c.Key())
		*n++
		emit(counted{e, *n})
	}}
}

const (
	countWidth = 12

	outSequence = idrecord.PartitionWidth + 1
	outKey      = outSequence + idrecord.SequenceWidth + 1
	outCount    = outKey + idrecord.KeyWidth + 1
	outKind     = outCount + countWidth + 1
	outBytes    = outKind + 1
)

func encode(c counted, r *connectors.Record) {
	kind := byte(idrecord.Plain)
	if c.closing {
		kind = idrecord.Closing
	}
	v := idrecord.AppendUint(r.Value, uint64(c.partition), idrecord.PartitionWidth)
	v = append(v, ',')
	v = idrecord.AppendUint(v, uint64(c.sequence), idrecord.SequenceWidth)
	v = append(v, ',')
	v = idrecord.AppendUint(v, uint64(c.key), idrecord.KeyWidth)
	r.Key = append(r.Key, v[outKey:outKey+idrecord.KeyWidth]...)
	v = append(v, ',')
	v = idrecord.AppendUint(v, uint64(c.count), countWidth)
	r.Value = append(v, ',', kind)
}

func accounting(params any, _ uint64) (workloads.Accounting, error) {
	if _, err := of(params); err != nil {
		return workloads.Accounting{}, err
	}
	return workloads.Accounting{Kind: workloads.Running, Parse: parse, Oracle: func() workloads.Oracle { return oracle{} }}, nil
}

var errOutput = errors.New("not an output of the form partition,sequence,key,count,kind with widths 5,12,7,12,1")

func parse(r *connectors.Record, late bool, row *workloads.Row) error {
	v := r.Value
	if late || len(v) != outBytes || v[outSequence-1] != ',' || v[outKey-1] != ',' || v[outCount-1] != ',' || v[outKind-1] != ',' {
		return errOutput
	}
	p, ok1 := idrecord.ParseUint(v[:idrecord.PartitionWidth])
	s, ok2 := idrecord.ParseUint(v[outSequence : outKey-1])
	n, ok3 := idrecord.ParseUint(v[outCount : outKind-1])
	kind := v[outKind]
	if !(ok1 && ok2 && ok3) || kind != idrecord.Plain && kind != idrecord.Closing {
		return errOutput
	}
	*row = workloads.Row{
		HasID: true, Partition: int32(p), Sequence: int64(s),
		Key: v[outKey : outCount-1], Value: int64(n), Closing: kind == idrecord.Closing,
	}
	return nil
}

// oracle counts each input once under the fourth field of its text. It reads
// the text its own way, so that a mistake in the job's parser would show.
type oracle struct{}

func (oracle) Add(_ workloads.Input, payload []byte, _ bool, emit func(key []byte, window, value int64)) {
	for range 3 {
		_, payload, _ = bytes.Cut(payload, []byte{','})
	}
	key, _, _ := bytes.Cut(payload, []byte{','})
	emit(key, 0, 1)
}
