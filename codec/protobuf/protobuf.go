// Package protobuf reads and writes Protobuf messages of types that protoc-gen-go
// has generated, through google.golang.org/protobuf.
package protobuf

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"streamduel/codec"
)

// New returns the format of a generated message type, a pointer as generated:
// New[*pb.Order]().
func New[T proto.Message]() codec.Format[T] { return format[T]{} }

type format[T proto.Message] struct{}

func (format[T]) Parse(b []byte) (T, error) {
	var none T
	v := none.ProtoReflect().New().Interface().(T)
	if err := proto.Unmarshal(b, v); err != nil {
		return none, fmt.Errorf("protobuf: byte %d: %w", firstBad(b), err)
	}
	return v, nil
}

// firstBad returns where the field begins that is broken: the first that does
// not end within the message, else 0, as for text that is not UTF-8.
func firstBad(b []byte) int {
	for at := 0; at < len(b); {
		_, _, n := protowire.ConsumeField(b[at:])
		if n < 0 {
			return at
		}
		at += n
	}
	return 0
}

// Append writes deterministically: equal messages have equal bytes as long as
// the program is the same.
func (format[T]) Append(dst []byte, v T) ([]byte, error) {
	out, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, v)
	if err != nil {
		return dst, fmt.Errorf("protobuf: %w", err)
	}
	return out, nil
}
