package window

import (
	"encoding/binary"

	"streamduel/codec"
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
