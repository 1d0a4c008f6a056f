package window

import (
	"encoding/binary"
	"reflect"

	"streamduel/codec"
	"streamduel/state"
)

func appendVarints(dst []byte, vs ...int64) []byte {
	for _, v := range vs {
		dst = binary.AppendVarint(dst, v)
	}
	return dst
}

func varint(src []byte, n int) (int64, int, error) {
	v, m := binary.Varint(src[n:])
	if m <= 0 {
		return 0, n, codec.ErrShort
	}
	return v, n + m, nil
}

// reader reads an encoding up to its first error.
type reader struct {
	src []byte
	n   int
	err error
}

func (r *reader) int() (v int64) {
	if r.err == nil {
		v, r.n, r.err = varint(r.src, r.n)
	}
	return v
}

// count reads the length of a list, which takes at least a byte an element.
func (r *reader) count() int64 {
	l := r.int()
	if r.err == nil && (l < 0 || l > int64(len(r.src)-r.n)) {
		r.err = codec.ErrShort
		return 0
	}
	return l
}

func (r *reader) byte() (b byte) {
	if r.err == nil && r.n >= len(r.src) {
		r.err = codec.ErrShort
	}
	if r.err == nil {
		b = r.src[r.n]
		r.n++
	}
	return b
}

func read[T any](r *reader, c codec.Codec[T]) (v T) {
	if r.err != nil {
		return v
	}
	v, n, err := c.Decode(r.src[r.n:])
	r.n += n
	r.err = err
	return v
}

// flat reports whether a copy of an A shares nothing that can be changed.
func flat[A any]() bool { return flatType(reflect.TypeFor[A]()) }

func flatType(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return flatType(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !flatType(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	}
	return true
}

// isolate returns an accumulator equal to a that shares nothing with it.
func isolate[A any](c codec.Codec[A], a A) A {
	if i, ok := c.(state.Isolator[A]); ok {
		return i.Isolate(a)
	}
	b, _, err := c.Decode(c.Append(nil, a))
	if err != nil {
		return a // restoring would fail, too, and then by name
	}
	return b // its bytes are not used again, so a view of them is a copy
}
