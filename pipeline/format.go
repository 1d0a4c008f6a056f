package pipeline

import (
	"fmt"

	"streamduel/codec"
	"streamduel/connectors"
)

// Parse returns the decoder of a source whose records' values are messages of a
// format:
//
//	pipeline.From(g, "orders", src, pipeline.Parse(json.Format[Order]()))
//
// A record that does not parse is treated as any that does not decode.
func Parse[T any](f codec.Format[T]) Decode[T] {
	return func(r *connectors.Record) (T, error) { return f.Parse(r.Value) }
}

// ToFormat writes a stream to a sink whose records' values are messages of a
// format. key appends a value's record key; nil for records without keys. A value
// that the format cannot write fails the job with the sink's name.
func ToFormat[T any](s *Stream[T], name string, sink connectors.Sink, f codec.Format[T], key func(dst []byte, v T) []byte) {
	writeTo(s, name, sink, func(v T, r *connectors.Record) (err error) {
		if key != nil {
			r.Key = key(r.Key, v)
		}
		if r.Value, err = f.Append(r.Value, v); err != nil {
			return fmt.Errorf("sink %q: a value cannot be written: %w", name, err)
		}
		return nil
	})
}
