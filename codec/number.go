package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Varint encodes an int64 in one to ten bytes, fewer for values near zero
// (zigzag). It is smaller than Int64 where values are mostly small, and slower.
type Varint struct{}

// ID names the encoding.
func (Varint) ID() string { return "varint/1" }

// Append appends v.
func (Varint) Append(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

// Decode reads a varint.
func (Varint) Decode(src []byte) (int64, int, error) {
	u, n, err := Uvarint{}.Decode(src)
	return int64(u>>1) ^ -int64(u&1), n, err
}

// Clone returns v.
func (Varint) Clone(v int64) int64 { return v }

// Uvarint encodes an uint64 in one to ten bytes, fewer for small values.
type Uvarint struct{}

// ID names the encoding.
func (Uvarint) ID() string { return "uvarint/1" }

// Append appends v.
func (Uvarint) Append(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

var errVarint = errors.New("codec: a varint is longer than 64 bits")

// Decode reads a varint.
func (Uvarint) Decode(src []byte) (uint64, int, error) {
	if len(src) > 0 && src[0] < 0x80 {
		return uint64(src[0]), 1, nil
	}
	v, n := binary.Uvarint(src)
	if n > 0 {
		return v, n, nil
	}
	if n < 0 {
		return 0, 0, errVarint
	}
	return 0, 0, ErrShort
}

// Clone returns v.
func (Uvarint) Clone(v uint64) uint64 { return v }

// Count reads the number of elements of a list, each of which takes at least
// size bytes, and the bytes that the number takes. A number that the input has no
// room for is ErrShort, so that a list may be allocated for it.
func Count(src []byte, size int) (count, n int, err error) {
	c, n, err := Uvarint{}.Decode(src)
	if err != nil {
		return 0, 0, err
	}
	if c > uint64(len(src)-n)/uint64(size) {
		return 0, 0, ErrShort
	}
	return int(c), n, nil
}

// SizeUvarint returns how many bytes Uvarint takes for v.
func SizeUvarint(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// SizeVarint returns how many bytes Varint takes for v.
func SizeVarint(v int64) int { return SizeUvarint(uint64(v<<1) ^ uint64(v>>63)) }

type fixed16[T ~int16 | ~uint16] struct{ id string }

func (c fixed16[T]) ID() string { return c.id }
func (fixed16[T]) Append(dst []byte, v T) []byte {
	return binary.LittleEndian.AppendUint16(dst, uint16(v))
}
func (fixed16[T]) Decode(src []byte) (T, int, error) {
	if len(src) < 2 {
		return 0, 0, ErrShort
	}
	return T(binary.LittleEndian.Uint16(src)), 2, nil
}
func (fixed16[T]) Clone(v T) T { return v }

type fixed8[T ~int8 | ~uint8] struct{ id string }

func (c fixed8[T]) ID() string                  { return c.id }
func (fixed8[T]) Append(dst []byte, v T) []byte { return append(dst, byte(v)) }
func (fixed8[T]) Decode(src []byte) (T, int, error) {
	if len(src) < 1 {
		return 0, 0, ErrShort
	}
	return T(src[0]), 1, nil
}
func (fixed8[T]) Clone(v T) T { return v }

// Float32 encodes a float32 by its IEEE 754 bits.
type Float32 struct{}

// ID names the encoding.
func (Float32) ID() string { return "float32/1" }

// Append appends v.
func (Float32) Append(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// Decode reads four bytes.
func (Float32) Decode(src []byte) (float32, int, error) {
	if len(src) < 4 {
		return 0, 0, ErrShort
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(src)), 4, nil
}

// Clone returns v.
func (Float32) Clone(v float32) float32 { return v }

// Time encodes an instant to the nanosecond in twelve bytes. Its location and
// its monotonic reading are not kept: it comes back in UTC.
type Time struct{}

// ID names the encoding.
func (Time) ID() string { return "time/1" }

// Append appends v.
func (Time) Append(dst []byte, v time.Time) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(v.Unix()))
	return binary.LittleEndian.AppendUint32(dst, uint32(v.Nanosecond()))
}

// Decode reads twelve bytes.
func (Time) Decode(src []byte) (time.Time, int, error) {
	if len(src) < 12 {
		return time.Time{}, 0, ErrShort
	}
	ns := binary.LittleEndian.Uint32(src[8:])
	if ns >= 1e9 {
		return time.Time{}, 0, fmt.Errorf("codec: %d are no nanoseconds of a second", ns)
	}
	return time.Unix(int64(binary.LittleEndian.Uint64(src)), int64(ns)).UTC(), 12, nil
}

// Clone returns v.
func (Time) Clone(v time.Time) time.Time { return v }

// Duration encodes a time.Duration in eight bytes.
type Duration struct{}

// ID names the encoding.
func (Duration) ID() string { return "duration/1" }

// Append appends v.
func (Duration) Append(dst []byte, v time.Duration) []byte { return Int64{}.Append(dst, int64(v)) }

// Decode reads eight bytes.
func (Duration) Decode(src []byte) (time.Duration, int, error) {
	v, n, err := Int64{}.Decode(src)
	return time.Duration(v), n, err
}

// Clone returns v.
func (Duration) Clone(v time.Duration) time.Duration { return v }
