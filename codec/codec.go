// Package codec turns values into bytes and back, where a value crosses an
// exchange or goes into a snapshot. Inside a chain of operators values are
// never encoded.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unsafe"
)

// Codec encodes values of one type. An encoding is self-delimiting: Decode
// finds its end. It takes at least one byte, because a buffer of records ends
// where its bytes end.
type Codec[T any] interface {
	// ID names the encoding and its version; a snapshot refuses to be read by
	// another.
	ID() string
	// Append appends the encoding of v to dst.
	Append(dst []byte, v T) []byte
	// Decode reads one value from the start of src and returns it with the
	// number of bytes it took. The value may alias src.
	Decode(src []byte) (v T, n int, err error)
	// Clone returns a value that does not alias a decoder's input. Operators
	// call it for what they keep beyond one push.
	Clone(v T) T
}

// ErrShort means that the input ended inside a value.
var ErrShort = errors.New("codec: input ends inside a value")

// What generated codecs refuse besides: bytes that no value has.
var (
	ErrBool  = errors.New("codec: a bool is a byte of 0 or 1")
	ErrRange = errors.New("codec: a number is out of its type's range")
)

// Of returns the built-in codec of T: fixed-width integers and floats, bool,
// time.Time and time.Duration, string (copied when decoded) and []byte
// (likewise). ok is false for others.
func Of[T any]() (c Codec[T], ok bool) {
	var zero T
	var found any
	switch any(zero).(type) {
	case int64:
		found = Int64{}
	case uint64:
		found = fixed64[uint64]{"uint64/1"}
	case int:
		found = fixed64[int]{"int/1"}
	case int32:
		found = fixed32[int32]{"int32/1"}
	case uint32:
		found = fixed32[uint32]{"uint32/1"}
	case int16:
		found = fixed16[int16]{"int16/1"}
	case uint16:
		found = fixed16[uint16]{"uint16/1"}
	case int8:
		found = fixed8[int8]{"int8/1"}
	case uint8:
		found = fixed8[uint8]{"uint8/1"}
	case float32:
		found = Float32{}
	case float64:
		found = Float64{}
	case time.Time:
		found = Time{}
	case time.Duration:
		found = Duration{}
	case bool:
		found = Bool{}
	case string:
		found = String{}
	case []byte:
		found = Bytes{}
	case struct{}:
		found = Unit{}
	}
	c, ok = found.(Codec[T])
	return c, ok
}

// Int64 encodes an int64 in eight bytes, little endian.
type Int64 struct{}

// ID names the encoding.
func (Int64) ID() string { return "int64/1" }

// Append appends v.
func (Int64) Append(dst []byte, v int64) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(v))
}

// Decode reads eight bytes.
func (Int64) Decode(src []byte) (int64, int, error) {
	if len(src) < 8 {
		return 0, 0, ErrShort
	}
	return int64(binary.LittleEndian.Uint64(src)), 8, nil
}

// Clone returns v.
func (Int64) Clone(v int64) int64 { return v }

type fixed64[T ~int | ~uint64 | ~int64] struct{ id string }

func (c fixed64[T]) ID() string { return c.id }
func (fixed64[T]) Append(dst []byte, v T) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(v))
}
func (fixed64[T]) Decode(src []byte) (T, int, error) {
	if len(src) < 8 {
		return 0, 0, ErrShort
	}
	return T(binary.LittleEndian.Uint64(src)), 8, nil
}
func (fixed64[T]) Clone(v T) T { return v }

type fixed32[T ~int32 | ~uint32] struct{ id string }

func (c fixed32[T]) ID() string { return c.id }
func (fixed32[T]) Append(dst []byte, v T) []byte {
	return binary.LittleEndian.AppendUint32(dst, uint32(v))
}
func (fixed32[T]) Decode(src []byte) (T, int, error) {
	if len(src) < 4 {
		return 0, 0, ErrShort
	}
	return T(binary.LittleEndian.Uint32(src)), 4, nil
}
func (fixed32[T]) Clone(v T) T { return v }

// Float64 encodes a float64 by its IEEE 754 bits.
type Float64 struct{}

// ID names the encoding.
func (Float64) ID() string { return "float64/1" }

// Append appends v.
func (Float64) Append(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// Decode reads eight bytes.
func (Float64) Decode(src []byte) (float64, int, error) {
	if len(src) < 8 {
		return 0, 0, ErrShort
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(src)), 8, nil
}

// Clone returns v.
func (Float64) Clone(v float64) float64 { return v }

// Bool encodes a bool in one byte.
type Bool struct{}

// ID names the encoding.
func (Bool) ID() string { return "bool/1" }

// Append appends v.
func (Bool) Append(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// Decode reads one byte, which must be 0 or 1.
func (Bool) Decode(src []byte) (bool, int, error) {
	if len(src) < 1 {
		return false, 0, ErrShort
	}
	if src[0] > 1 {
		return false, 0, ErrBool
	}
	return src[0] == 1, 1, nil
}

// Clone returns v.
func (Bool) Clone(v bool) bool { return v }

// Unit encodes the empty struct in one byte.
type Unit struct{}

// ID names the encoding.
func (Unit) ID() string { return "unit/1" }

// Append appends a zero byte.
func (Unit) Append(dst []byte, _ struct{}) []byte { return append(dst, 0) }

// Decode reads one byte, which must be zero.
func (Unit) Decode(src []byte) (struct{}, int, error) {
	if len(src) < 1 {
		return struct{}{}, 0, ErrShort
	}
	if src[0] != 0 {
		return struct{}{}, 0, fmt.Errorf("codec: byte %d is no unit", src[0])
	}
	return struct{}{}, 1, nil
}

// Clone returns v.
func (Unit) Clone(v struct{}) struct{} { return v }

// Bytes encodes a byte slice with its length in front; decoding copies.
type Bytes struct{}

// ID names the encoding.
func (Bytes) ID() string { return "bytes/1" }

// Append appends the length as a varint and the bytes.
func (Bytes) Append(dst []byte, v []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// Decode copies the bytes out of src.
func (Bytes) Decode(src []byte) ([]byte, int, error) {
	v, n, err := BytesView{}.Decode(src)
	return append([]byte(nil), v...), n, err
}

// Clone copies v.
func (Bytes) Clone(v []byte) []byte { return append([]byte(nil), v...) }

// BytesView is Bytes without the copy: a decoded value aliases its input and is
// valid only during one push.
type BytesView struct{}

// ID names the encoding.
func (BytesView) ID() string { return "bytes/1" }

// Append appends the length as a varint and the bytes.
func (BytesView) Append(dst []byte, v []byte) []byte { return Bytes{}.Append(dst, v) }

// Decode returns a view into src.
func (BytesView) Decode(src []byte) ([]byte, int, error) {
	// Short values, the common case, have a one-byte length.
	if len(src) > 0 && src[0] < 0x80 {
		n := int(src[0])
		if len(src) <= n {
			return nil, 0, ErrShort
		}
		return src[1 : 1+n : 1+n], 1 + n, nil
	}
	l, n := binary.Uvarint(src)
	if n <= 0 || l > uint64(len(src)-n) {
		return nil, 0, ErrShort
	}
	end := n + int(l)
	return src[n:end:end], end, nil
}

// Clone copies v.
func (BytesView) Clone(v []byte) []byte { return append([]byte(nil), v...) }

// String encodes a string with its length in front; decoding copies.
type String struct{}

// ID names the encoding.
func (String) ID() string { return "string/1" }

// Append appends the length as a varint and the bytes.
func (String) Append(dst []byte, v string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// Decode copies the string out of src.
func (String) Decode(src []byte) (string, int, error) {
	v, n, err := BytesView{}.Decode(src)
	return string(v), n, err
}

// Clone returns v.
func (String) Clone(v string) string { return v }

// StringView is String without the copy: a decoded value aliases its input and
// is valid only during one push. Keyed state clones the keys it keeps, so it is
// the right codec for a stream keyed by a word.
type StringView struct{}

// ID names the encoding.
func (StringView) ID() string { return "string/1" }

// Append appends the length as a varint and the bytes.
func (StringView) Append(dst []byte, v string) []byte { return String{}.Append(dst, v) }

// Decode returns a view into src.
func (StringView) Decode(src []byte) (string, int, error) {
	v, n, err := BytesView{}.Decode(src)
	return unsafe.String(unsafe.SliceData(v), len(v)), n, err
}

// Clone copies v.
func (StringView) Clone(v string) string { return strings.Clone(v) }

// Struct makes a codec from two functions, which pass values rather than
// pointers so that nothing escapes to the heap. Clone must be given for types
// that alias a decoder's input; nil means that T holds no views.
func Struct[T any](id string, appendTo func(dst []byte, v T) []byte, decode func(src []byte) (v T, n int, err error), clone func(T) T) Codec[T] {
	return &structCodec[T]{id, appendTo, decode, clone}
}

// structCodec is used by pointer: its methods are called for every record, and a
// receiver of five words would go over the stack together with the value.
type structCodec[T any] struct {
	id     string
	append func([]byte, T) []byte
	decode func([]byte) (T, int, error)
	clone  func(T) T
}

func (c *structCodec[T]) ID() string                        { return c.id }
func (c *structCodec[T]) Append(dst []byte, v T) []byte     { return c.append(dst, v) }
func (c *structCodec[T]) Decode(src []byte) (T, int, error) { return c.decode(src) }
func (c *structCodec[T]) Clone(v T) T {
	if c.clone == nil {
		return v
	}
	return c.clone(v)
}

// Functions returns a codec's two functions for use in a loop. For a Struct
// they are the ones that it was made from, and for a generated codec what its
// method Functions returns, which saves a call a record.
func Functions[T any](c Codec[T]) (appendTo func(dst []byte, v T) []byte, decode func(src []byte) (v T, n int, err error)) {
	if s, ok := c.(*structCodec[T]); ok {
		return s.append, s.decode
	}
	if f, ok := c.(interface {
		Functions() (func(dst []byte, v T) []byte, func(src []byte) (T, int, error))
	}); ok {
		return f.Functions()
	}
	return c.Append, c.Decode
}
