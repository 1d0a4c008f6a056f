// Package avro reads and writes messages in Avro's binary encoding, by the
// schema that the job gives, through github.com/hamba/avro.
//
// Avro's encoding does not describe itself: a message is read with the schema it
// was written with. Topics of the Confluent registry say which in front of each
// message; package codec/confluent takes that off. Where the writer's schema is
// older or newer than the job's, WrittenWith reads the one as the other by
// Avro's rules of resolution.
package avro

import (
	"errors"
	"fmt"
	"io"

	"github.com/hamba/avro/v2"

	"streamduel/codec"
)

// A message that claims longer strings or lists is refused, not allocated for.
const (
	maxBytes = 16 << 20
	maxItems = 1 << 20
)

// Unions that a type has no place for are refused, not read as generic maps.
var config = avro.Config{UnionResolutionError: true, MaxByteSliceSize: maxBytes, MaxSliceAllocSize: maxItems}.Freeze()

// Option configures New.
type Option func(*options)

type options struct{ writer string }

// WrittenWith says that messages were written with another schema than the
// job's. It holds for reading; what is written has the job's schema.
func WrittenWith(schema string) Option { return func(o *options) { o.writer = schema } }

// New returns the format of a schema. Fields of T are matched with the schema's
// by their name or the tag `avro:"name"`. A schema that makes no sense or that T
// does not fit is an error.
func New[T any](schema string, opts ...Option) (codec.Format[T], error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	// A cache of its own: the library's would mix up schemas of one name.
	own, err := avro.ParseWithCache(schema, "", &avro.SchemaCache{})
	if err != nil {
		return nil, fmt.Errorf("the Avro schema: %w", err)
	}
	f := &format[T]{read: own, write: own}
	if o.writer != "" {
		writer, err := avro.ParseWithCache(o.writer, "", &avro.SchemaCache{})
		if err != nil {
			return nil, fmt.Errorf("the Avro schema that messages are written with: %w", err)
		}
		if f.read, err = avro.NewSchemaCompatibility().Resolve(own, writer); err != nil {
			return nil, fmt.Errorf("the Avro schema cannot read what the other has written: %w", err)
		}
	}
	// The library looks at T when it reads. Nothing to read shows whether it
	// finds T's fields: what is wrong besides that is T.
	var v T
	r := avro.NewReader(nil, 0, avro.WithReaderConfig(config)).Reset(nil)
	r.ReadVal(f.read, &v)
	if r.Error != nil && !errors.Is(r.Error, io.EOF) {
		return nil, fmt.Errorf("the Avro schema and %T: %w", v, r.Error)
	}
	return f, nil
}

type format[T any] struct{ read, write avro.Schema }

// guard turns a panic of the library into an error: a message must not be able
// to end the job in any other way than a bad record does.
func guard(what string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("avro: %s: %v", what, p)
	}
}

func (f *format[T]) Parse(b []byte) (v T, err error) {
	defer guard("reading", &err)
	r := avro.NewReader(nil, 0, avro.WithReaderConfig(config)).Reset(b)
	r.ReadVal(f.read, &v)
	if r.Error != nil {
		return v, f.explain(b, r.Error)
	}
	if r.Peek(); r.Error == nil {
		return v, fmt.Errorf("avro: byte %d: bytes follow the message's end", f.end(b))
	}
	return v, nil
}

// counter hands out a message byte by byte and so knows where its reader is.
type counter struct {
	b  []byte
	at int
}

func (c *counter) Read(p []byte) (int, error) {
	if c.at == len(c.b) {
		return 0, io.EOF
	}
	n := copy(p, c.b[c.at:])
	c.at += n
	return n, nil
}

// end reads a message again, slowly, and returns where that ended.
func (f *format[T]) end(b []byte) (at int) {
	c := &counter{b: b}
	defer func() {
		if recover() != nil {
			at = c.at
		}
	}()
	var v T
	r := avro.NewReader(c, 1, avro.WithReaderConfig(config))
	r.ReadVal(f.read, &v)
	return c.at
}

func (f *format[T]) explain(b []byte, err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("avro: byte %d: the message ends inside a value", len(b))
	}
	return fmt.Errorf("avro: byte %d: %w", f.end(b), err)
}

func (f *format[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := f.marshal(v)
	return append(dst, b...), err
}

func (f *format[T]) marshal(v T) (b []byte, err error) {
	defer guard("writing", &err)
	if b, err = config.Marshal(f.write, v); err != nil {
		return nil, fmt.Errorf("avro: %w", err)
	}
	return b, nil
}
