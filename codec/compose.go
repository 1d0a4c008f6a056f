package codec

import "encoding/binary"

// Codecs made of others. Each evolves as its parts do: a list of structs that
// got a field is read from a list of those without it.

// Slice returns the codec of a list: its length and its elements. An empty list
// comes back as nil.
func Slice[T any](of Codec[T]) Codec[[]T] { return &slice[T]{of} }

type slice[T any] struct{ of Codec[T] }

func (c *slice[T]) ID() string { return "slice/1(" + c.of.ID() + ")" }

func (c *slice[T]) Append(dst []byte, v []T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	for i := range v {
		dst = c.of.Append(dst, v[i])
	}
	return dst
}

func (c *slice[T]) Decode(src []byte) (v []T, n int, err error) {
	count, n, err := Count(src, 1)
	if err != nil || count == 0 {
		return nil, n, err
	}
	v = make([]T, count)
	for i := range v {
		var m int
		if v[i], m, err = c.of.Decode(src[n:]); err != nil {
			return nil, n, err
		}
		n += m
	}
	return v, n, nil
}

func (c *slice[T]) Clone(v []T) []T {
	if len(v) == 0 {
		return nil
	}
	w := make([]T, len(v))
	for i := range v {
		w[i] = c.of.Clone(v[i])
	}
	return w
}

func (c *slice[T]) Reads(id string) Codec[[]T] {
	if p, ok := Parts(id, "slice/1", 1); ok {
		if of := Reading(c.of, p[0]); of != nil {
			return Slice(of)
		}
	}
	return nil
}

// Map returns the codec of a map. Its entries have no order, so equal maps may
// have different encodings; an empty map comes back as nil.
func Map[K comparable, V any](keys Codec[K], values Codec[V]) Codec[map[K]V] {
	return &mapping[K, V]{keys, values}
}

type mapping[K comparable, V any] struct {
	keys   Codec[K]
	values Codec[V]
}

func (c *mapping[K, V]) ID() string { return "map/1(" + c.keys.ID() + "," + c.values.ID() + ")" }

func (c *mapping[K, V]) Append(dst []byte, v map[K]V) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	for k, e := range v {
		dst = c.values.Append(c.keys.Append(dst, k), e)
	}
	return dst
}

func (c *mapping[K, V]) Decode(src []byte) (v map[K]V, n int, err error) {
	count, n, err := Count(src, 2)
	if err != nil || count == 0 {
		return nil, n, err
	}
	v = make(map[K]V, count)
	for range count {
		k, m, err := c.keys.Decode(src[n:])
		if err != nil {
			return nil, n, err
		}
		n += m
		e, m, err := c.values.Decode(src[n:])
		if err != nil {
			return nil, n, err
		}
		n += m
		v[k] = e
	}
	return v, n, nil
}

func (c *mapping[K, V]) Clone(v map[K]V) map[K]V {
	if len(v) == 0 {
		return nil
	}
	w := make(map[K]V, len(v))
	for k, e := range v {
		w[c.keys.Clone(k)] = c.values.Clone(e)
	}
	return w
}

func (c *mapping[K, V]) Reads(id string) Codec[map[K]V] {
	if p, ok := Parts(id, "map/1", 2); ok {
		if k, v := Reading(c.keys, p[0]), Reading(c.values, p[1]); k != nil && v != nil {
			return Map(k, v)
		}
	}
	return nil
}

// Optional returns the codec of a value that may be missing, which is nil.
func Optional[T any](of Codec[T]) Codec[*T] { return &optional[T]{of} }

type optional[T any] struct{ of Codec[T] }

func (c *optional[T]) ID() string { return "optional/1(" + c.of.ID() + ")" }

func (c *optional[T]) Append(dst []byte, v *T) []byte {
	if v == nil {
		return append(dst, 0)
	}
	return c.of.Append(append(dst, 1), *v)
}

func (c *optional[T]) Decode(src []byte) (*T, int, error) {
	there, n, err := Bool{}.Decode(src)
	if err != nil || !there {
		return nil, n, err
	}
	v, m, err := c.of.Decode(src[n:])
	if err != nil {
		return nil, n, err
	}
	return &v, n + m, nil
}

func (c *optional[T]) Clone(v *T) *T {
	if v == nil {
		return nil
	}
	w := c.of.Clone(*v)
	return &w
}

func (c *optional[T]) Reads(id string) Codec[*T] {
	if p, ok := Parts(id, "optional/1", 1); ok {
		if of := Reading(c.of, p[0]); of != nil {
			return Optional(of)
		}
	}
	return nil
}

// Pair is two values.
type Pair[A, B any] struct {
	First  A
	Second B
}

// PairOf returns the codec of a pair. With Convert it makes codecs of small
// structs, and pairs of pairs of larger ones.
func PairOf[A, B any](a Codec[A], b Codec[B]) Codec[Pair[A, B]] { return &pair[A, B]{a, b} }

type pair[A, B any] struct {
	a Codec[A]
	b Codec[B]
}

func (c *pair[A, B]) ID() string { return "both/1(" + c.a.ID() + "," + c.b.ID() + ")" }

func (c *pair[A, B]) Append(dst []byte, v Pair[A, B]) []byte {
	return c.b.Append(c.a.Append(dst, v.First), v.Second)
}

func (c *pair[A, B]) Decode(src []byte) (v Pair[A, B], n int, err error) {
	if v.First, n, err = c.a.Decode(src); err != nil {
		return v, n, err
	}
	var m int
	v.Second, m, err = c.b.Decode(src[n:])
	return v, n + m, err
}

func (c *pair[A, B]) Clone(v Pair[A, B]) Pair[A, B] {
	return Pair[A, B]{c.a.Clone(v.First), c.b.Clone(v.Second)}
}

func (c *pair[A, B]) Reads(id string) Codec[Pair[A, B]] {
	if p, ok := Parts(id, "both/1", 2); ok {
		if a, b := Reading(c.a, p[0]), Reading(c.b, p[1]); a != nil && b != nil {
			return PairOf(a, b)
		}
	}
	return nil
}

// Convert returns the codec of a type that is written as another:
//
//	codec.Convert("point/1", codec.PairOf(codec.Codec[int64](codec.Int64{}), codec.Codec[int64](codec.Int64{})),
//		func(p point) codec.Pair[int64, int64] { return codec.Pair[int64, int64]{p.x, p.y} },
//		func(p codec.Pair[int64, int64]) (point, error) { return point{p.First, p.Second}, nil })
//
// name says what the value means and its version; the ID holds it and the ID of
// what is written. An error of from refuses a value that is written well and
// makes no sense.
func Convert[T, W any](name string, written Codec[W], to func(T) W, from func(W) (T, error)) Codec[T] {
	return &converted[T, W]{name, written, to, from}
}

type converted[T, W any] struct {
	name    string
	written Codec[W]
	to      func(T) W
	from    func(W) (T, error)
}

func (c *converted[T, W]) ID() string { return c.name + "(" + c.written.ID() + ")" }

func (c *converted[T, W]) Append(dst []byte, v T) []byte { return c.written.Append(dst, c.to(v)) }

func (c *converted[T, W]) Decode(src []byte) (v T, n int, err error) {
	w, n, err := c.written.Decode(src)
	if err != nil {
		return v, n, err
	}
	v, err = c.from(w)
	return v, n, err
}

// Clone goes by what is written. What from has accepted once it accepts again.
func (c *converted[T, W]) Clone(v T) T {
	w, err := c.from(c.written.Clone(c.to(v)))
	if err != nil {
		return v
	}
	return w
}

func (c *converted[T, W]) Reads(id string) Codec[T] {
	if p, ok := Parts(id, c.name, 1); ok {
		if w := Reading(c.written, p[0]); w != nil {
			return Convert(c.name, w, c.to, c.from)
		}
	}
	return nil
}
