// Package confluent wraps formats in the framing that producers with a Confluent
// schema registry write: a byte of 0, the schema's id in four bytes, for Protobuf
// the index of the message type within the schema, and the message.
//
// The job gives the schemas; no registry is asked. So a job runs where there is
// none, and a schema that the job does not know is refused with its id instead of
// being fetched while records wait.
package confluent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"

	"streamduel/codec"
)

// Topic says which schemas a topic's messages have.
type Topic[T any] struct {
	// Formats by schema id: what messages with that id are read with. An Avro
	// topic whose schema evolved has one for each, made by avro.WrittenWith.
	Formats map[int]codec.Format[T]
	// Write is the id that messages are written with; it is one of Formats.
	Write int
	// Index is, for Protobuf, the path of the message type within its schema:
	// {0} for the first. Avro and JSON have none.
	Index []int
}

// New returns the format of a topic.
func New[T any](t Topic[T]) (codec.Format[T], error) {
	if _, ok := t.Formats[t.Write]; !ok {
		return nil, fmt.Errorf("confluent: schema %d is written and has no format", t.Write)
	}
	for id := range t.Formats {
		if id < 0 || id > 1<<31-1 {
			return nil, fmt.Errorf("confluent: %d is no schema id", id)
		}
	}
	for _, i := range t.Index {
		if i < 0 {
			return nil, fmt.Errorf("confluent: %v is no path of a message type", t.Index)
		}
	}
	return &format[T]{Topic: t}, nil
}

type format[T any] struct {
	Topic[T]
	header sr.ConfluentHeader
}

// headerBytes are the zero and the id.
const headerBytes = 5

func (f *format[T]) Parse(b []byte) (v T, err error) {
	id, rest, err := f.header.DecodeID(b)
	switch {
	case err != nil && len(b) >= headerBytes:
		return v, fmt.Errorf("confluent: byte 0: the first byte is %d, a registry's producer writes 0: the topic has no such framing", b[0])
	case err != nil:
		return v, fmt.Errorf("confluent: byte %d: the message ends inside its schema id", len(b))
	}
	inner, ok := f.Formats[id]
	if !ok {
		return v, fmt.Errorf("confluent: byte 1: schema %d is not known to the job, which knows %s", id, f.known())
	}
	if len(f.Index) > 0 {
		index, after, err := f.header.DecodeIndex(rest, len(f.Index))
		if err != nil || !slices.Equal(index, f.Index) {
			return v, fmt.Errorf("confluent: byte %d: the message has another type than %v in schema %d", headerBytes, f.Index, id)
		}
		rest = after
	}
	if v, err = inner.Parse(rest); err != nil {
		return v, fmt.Errorf("confluent: schema %d, behind %d bytes of framing: %w", id, len(b)-len(rest), err)
	}
	return v, nil
}

func (f *format[T]) known() string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(f.Formats)) {
		ids = append(ids, fmt.Sprint(id))
	}
	return strings.Join(ids, ", ")
}

func (f *format[T]) Append(dst []byte, v T) ([]byte, error) {
	out, err := f.header.AppendEncode(dst, f.Write, f.Index)
	if err != nil {
		return dst, fmt.Errorf("confluent: %w", err)
	}
	if out, err = f.Formats[f.Write].Append(out, v); err != nil {
		return dst, err
	}
	return out, nil
}
