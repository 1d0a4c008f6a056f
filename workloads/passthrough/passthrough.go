// Package passthrough is the workload that does nothing: the bytes that come
// in go out, key included. What it costs is the engine's and the connectors'
// own cost.
//
// Inputs are records of package idrecord, so every output carries its input's
// id and the accounting is one to one.
package passthrough

import (
	"bytes"
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
		Name:          "pass-through",
		Doc:           "Bytes in, the same bytes out: what the engine and the connectors cost by themselves.",
		Params:        func() any { p := idrecord.Defaults(); return &p },
		Generator:     generator,
		Pipeline:      build,
		Accounting:    accounting,
		SamplesOrigin: true,
		NoBad:         "it passes bytes on without reading them, so none are bad; keyed-count reads the same records",
	}
}

func of(params any) (*idrecord.Params, error) {
	p, ok := params.(*idrecord.Params)
	if !ok {
		return nil, fmt.Errorf("pass-through: parameters of type %T", params)
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

// message is a record's key and value, both views of the source's bytes.
type message struct{ key, value []byte }

// messageCodec is used only where an engine puts an exchange between the
// source and the sink, for want of equal parallelism.
var messageCodec = codec.Struct("pass-through message/1", func(dst []byte, m message) []byte {
	dst = codec.Bool{}.Append(dst, m.key != nil)
	return codec.BytesView{}.Append(codec.BytesView{}.Append(dst, m.key), m.value)
}, func(src []byte) (m message, n int, err error) {
	keyed, n, err := codec.Bool{}.Decode(src)
	if err != nil {
		return m, n, err
	}
	key, k, err := codec.BytesView{}.Decode(src[n:])
	if err != nil {
		return m, n, err
	}
	n += k
	if keyed {
		m.key = key // a key of no bytes is not the same as no key
	}
	v, k, err := codec.BytesView{}.Decode(src[n:])
	m.value = v
	return m, n + k, err
}, func(m message) message { return message{bytes.Clone(m.key), bytes.Clone(m.value)} })

func build(params any, io workloads.IO) (*pipeline.Graph, error) {
	if _, err := of(params); err != nil {
		return nil, err
	}
	g := pipeline.New("pass-through")
	in := pipeline.From(g, "in", io.Source(io.Input), func(r *connectors.Record) (message, error) {
		return message{r.Key, r.Value}, nil
	}).Codec(messageCodec)
	pipeline.To(in, "out", io.Sink(io.Output), func(m message, r *connectors.Record) {
		if r.Key = append(r.Key, m.key...); m.key != nil && len(m.key) == 0 {
			r.Key = []byte{} // a key of no bytes is not the same as no key
		}
		r.Value = append(r.Value, m.value...)
	})
	return g, nil
}

func accounting(params any, _ uint64) (workloads.Accounting, error) {
	if _, err := of(params); err != nil {
		return workloads.Accounting{}, err
	}
	return workloads.Accounting{Kind: workloads.OneToOne, Parse: parse}, nil
}

func parse(r *connectors.Record, _ bool, row *workloads.Row) error {
	in, err := idrecord.Parse(r.Value)
	*row = workloads.Row{HasID: true, Partition: in.Partition, Sequence: in.Sequence, Closing: in.Closing}
	return err
}
