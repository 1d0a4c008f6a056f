package codec

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"unsafe"
)

// Form says how a codec's bytes lie, for code that moves many values: what it
// knows it can read and write without a call a value. The bytes are the same
// either way.
type Form uint8

// The forms.
const (
	// Opaque says nothing: Append and Decode are the way.
	Opaque Form = iota
	// Memory is the value's own memory, unsafe.Sizeof of it; every such sequence
	// of bytes is a value.
	Memory
	// Prefixed is a varint of the length and the bytes of a string or []byte,
	// whose decoded values must be copies.
	Prefixed
	// PrefixedView is Prefixed with decoded values that alias the input.
	PrefixedView
)

// FormOf returns the form of a codec's encoding on this machine. A codec of
// another package says it by a method Form, as generated ones do.
func FormOf[T any](c Codec[T]) Form {
	switch any(c).(type) {
	case Int64, Float64, Float32, Duration, fixed64[int], fixed64[uint64], fixed32[int32], fixed32[uint32], fixed16[int16], fixed16[uint16], fixed8[int8], fixed8[uint8]:
		if plainMemory {
			return Memory
		}
	case *flatCodec[T]:
		if plainMemory {
			return Memory
		}
	case Bytes, String:
		return Prefixed
	case BytesView, StringView:
		return PrefixedView
	}
	if f, ok := any(c).(interface{ Form() Form }); ok {
		return f.Form()
	}
	return Opaque
}

// MemoryOf is for the method Form of a generated codec, whose encoding of T is
// that of its numbers one behind the other, little endian, in size bytes: the
// same as its memory where there are no gaps and the machine's order is so.
func MemoryOf[T any](size uintptr) Form {
	if plainMemory && unsafe.Sizeof(*new(T)) == size {
		return Memory
	}
	return Opaque
}

// plainMemory says that this machine is little endian, has words of 64 bits and
// reads and writes them at any address.
var plainMemory = runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"

// Flat returns the codec of a struct (or array, or number) that holds nothing but
// numbers of fixed width, without gaps between them: its encoding is its memory,
// little endian. It is the quickest codec there is. Its ID holds the types of the
// fields, so a snapshot of another layout is refused.
//
// A type that is not so is a mistake in the program, which panics and says what
// is in the way: int and uint, whose width is the machine's, bool, of which not
// every byte is one, strings, slices, pointers, and gaps.
func Flat[T any](id string) Codec[T] {
	c := &flatCodec[T]{size: int(unsafe.Sizeof(*new(T)))}
	var names []string
	end, err := c.fields(reflect.TypeFor[T](), 0, &names)
	if err == nil && end != uintptr(c.size) {
		err = fmt.Errorf("a gap of %d bytes at its end: add a field _ that fills it", uintptr(c.size)-end)
	}
	if err == nil && c.size == 0 {
		err = fmt.Errorf("it holds nothing")
	}
	if err != nil {
		panic(fmt.Sprintf("codec.Flat of %T (%s): %v", *new(T), id, err))
	}
	c.id = id + "(" + strings.Join(names, ",") + ")"
	return c
}

type flatCodec[T any] struct {
	id      string
	size    int
	numbers []number
}

// number is one of a flat value's.
type number struct{ offset, size int }

// fields lists the numbers of a type that lies at an offset, and returns where
// it ends.
func (c *flatCodec[T]) fields(t reflect.Type, at uintptr, names *[]string) (end uintptr, err error) {
	switch t.Kind() {
	case reflect.Struct:
		end = at
		for i := range t.NumField() {
			f := t.Field(i)
			if at+f.Offset != end {
				return 0, fmt.Errorf("a gap of %d bytes before field %s: order the fields by size", at+f.Offset-end, f.Name)
			}
			if end, err = c.fields(f.Type, end, names); err != nil {
				return 0, fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
		return end, nil
	case reflect.Array:
		for range t.Len() {
			if at, err = c.fields(t.Elem(), at, names); err != nil {
				return 0, err
			}
		}
		return at, nil
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		c.numbers = append(c.numbers, number{int(at), int(t.Size())})
		*names = append(*names, t.Kind().String())
		return at + t.Size(), nil
	}
	return 0, fmt.Errorf("%s is no number of fixed width", t.Kind())
}

func (c *flatCodec[T]) ID() string { return c.id }

func (c *flatCodec[T]) Append(dst []byte, v T) []byte {
	n := len(dst)
	dst = append(dst, unsafe.Slice((*byte)(unsafe.Pointer(&v)), c.size)...)
	if !littleEndian {
		c.reverse(dst[n:])
	}
	return dst
}

func (c *flatCodec[T]) Decode(src []byte) (v T, n int, err error) {
	if len(src) < c.size {
		return v, 0, ErrShort
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&v)), c.size)
	copy(b, src)
	if !littleEndian {
		c.reverse(b)
	}
	return v, c.size, nil
}

func (c *flatCodec[T]) Clone(v T) T { return v }

// reverse turns each number's bytes round.
func (c *flatCodec[T]) reverse(b []byte) {
	for _, f := range c.numbers {
		for i, j := f.offset, f.offset+f.size-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
