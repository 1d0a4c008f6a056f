package codec

import "fmt"

// Format reads and writes the messages of other programs, a topic's records for
// instance. It is what a Codec is not: a message is a record's whole value, its
// form is another's, and writing may fail. Formats are shared by subtasks, so
// their methods may be called by several goroutines.
type Format[T any] interface {
	// Parse reads a message. The value may alias b. An error says where in the
	// message and why.
	Parse(b []byte) (T, error)
	// Append appends the message of v to dst. Where it fails it returns dst as
	// it came.
	Append(dst []byte, v T) ([]byte, error)
}

// Binary returns the format whose messages are a codec's encodings, for topics
// between jobs of this module.
func Binary[T any](c Codec[T]) Format[T] { return binaryFormat[T]{c} }

type binaryFormat[T any] struct{ c Codec[T] }

func (f binaryFormat[T]) Parse(b []byte) (v T, err error) {
	v, n, err := f.c.Decode(b)
	if err != nil {
		return v, fmt.Errorf("%s: byte %d of %d: %w", f.c.ID(), n, len(b), err)
	}
	if n != len(b) {
		return v, fmt.Errorf("%s: byte %d: %d bytes follow the value's end", f.c.ID(), n, len(b)-n)
	}
	return v, nil
}

func (f binaryFormat[T]) Append(dst []byte, v T) ([]byte, error) { return f.c.Append(dst, v), nil }
