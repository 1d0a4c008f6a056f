package window

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"

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

// cellCodec writes a key's panes.
type cellCodec[A any] struct {
	g       *geometry
	accs    codec.Codec[A]
	flat    bool // an accumulator refers to nothing
	inverse bool
}

func (c *cellCodec[A]) ID() string {
	id := fmt.Sprintf("panes/1(%d,%d,%d,%s", c.g.size, c.g.slide, c.g.offset, c.accs.ID())
	if c.inverse {
		id += ",run"
	}
	return id + ")"
}

// Reads returns a codec for panes of the same windows whose accumulators have an
// encoding that is read.
func (c *cellCodec[A]) Reads(id string) codec.Codec[cell[A]] {
	n := 4
	if c.inverse {
		n = 5
	}
	parts, ok := codec.Parts(id, "panes/1", n)
	if !ok || c.inverse && parts[4] != "run" || strings.Join(parts[:3], ",") != fmt.Sprintf("%d,%d,%d", c.g.size, c.g.slide, c.g.offset) {
		return nil
	}
	accs := codec.Reading(c.accs, parts[3])
	if accs == nil {
		return nil
	}
	old := *c
	old.accs = accs
	return &old
}

func (c *cellCodec[A]) Append(dst []byte, v cell[A]) []byte {
	hot, rest := v.hot.start != noPane, v.rest()
	n := int64(len(rest))
	if hot {
		n++
	}
	dst = appendVarints(dst, v.next, v.at, n)
	for _, p := range rest {
		dst = c.accs.Append(appendVarints(dst, p.start), p.acc)
	}
	if hot {
		dst = c.accs.Append(appendVarints(dst, v.hot.start), v.hot.acc)
	}
	if !c.inverse {
		return dst
	}
	if v.more == nil || v.more.runs == 0 {
		return appendVarints(dst, 0)
	}
	return c.accs.Append(appendVarints(dst, int64(v.more.runs)), v.more.run)
}

func (c *cellCodec[A]) Decode(src []byte) (v cell[A], n int, err error) {
	r := reader{src: src}
	v.hot.start, v.next, v.at = noPane, r.int(), r.int()
	l := r.count()
	if l > 1 || c.inverse {
		v.more = &more[A]{rest: make([]pane[A], 0, max(l-1, 0))}
	}
	for ; l > 0 && r.err == nil; l-- {
		p := pane[A]{start: r.int()}
		if r.err == nil && !inRange(p.start, c.g.reach()) {
			return v, r.n, fmt.Errorf("window: a pane at %d is out of range", p.start)
		}
		p.acc = read(&r, c.accs)
		if l == 1 {
			v.hot = p
		} else {
			v.more.rest = append(v.more.rest, p)
		}
	}
	if c.inverse {
		if v.more.runs = int(r.int()); v.more.runs > 0 {
			v.more.run = read(&r, c.accs)
		}
	}
	return v, r.n, r.err
}

func (c *cellCodec[A]) Clone(v cell[A]) cell[A] { return v.each(c.accs.Clone) }

// Isolate parts a value from its copy in a snapshot that is being written.
func (c *cellCodec[A]) Isolate(v cell[A]) cell[A] {
	if c.flat {
		return v.each(func(a A) A { return a })
	}
	return v.each(func(a A) A { return isolate(c.accs, a) })
}

// each returns a copy whose accumulators went through f.
func (c cell[A]) each(f func(A) A) cell[A] {
	if c.hot.start != noPane {
		c.hot.acc = f(c.hot.acc)
	}
	if c.more != nil {
		m := *c.more
		if m.runs > 0 {
			m.run = f(m.run)
		}
		m.rest = slices.Clone(m.rest)
		for i := range m.rest {
			m.rest[i].acc = f(m.rest[i].acc)
		}
		c.more = &m
	}
	return c
}

// slotsCodec writes a key's windows. Its ID names the assigner, because windows
// of another one would not fit.
type slotsCodec[T, A any] struct {
	accs     codec.Codec[A]
	values   codec.Codec[T] // nil when the trigger keeps no record
	assigner string
	flat     bool // contents refer to nothing
}

func (c *slotsCodec[T, A]) ID() string {
	id := "windows/1(" + c.assigner + "," + c.accs.ID()
	if c.values != nil {
		id += "," + c.values.ID()
	}
	return id + ")"
}

// Reads returns a codec for windows of the same assigner whose contents have an
// encoding that is read.
func (c *slotsCodec[T, A]) Reads(id string) codec.Codec[slots[T, A]] {
	n := 2
	if c.values != nil {
		n = 3
	}
	parts, ok := codec.Parts(id, "windows/1", n)
	if !ok || parts[0] != c.assigner {
		return nil
	}
	old := *c
	if old.accs = codec.Reading(c.accs, parts[1]); old.accs == nil {
		return nil
	}
	if c.values != nil {
		if old.values = codec.Reading(c.values, parts[2]); old.values == nil {
			return nil
		}
	}
	return &old
}

func (c *slotsCodec[T, A]) Append(dst []byte, v slots[T, A]) []byte {
	dst = appendVarints(dst, v.eventAt, v.procAt, int64(len(v.list)))
	for i := range v.list {
		s := &v.list[i]
		var flags byte
		if s.has {
			flags |= 1
		}
		if s.last != nil {
			flags |= 2
		}
		dst = append(dst, flags)
		dst = appendVarints(dst, s.w.Start, s.w.End, s.state.Count, s.state.Time, int64(len(s.event)))
		dst = appendVarints(dst, s.event...)
		dst = appendVarints(dst, int64(len(s.proc)))
		dst = appendVarints(dst, s.proc...)
		if s.has {
			dst = c.accs.Append(dst, s.acc)
		}
		if s.last != nil {
			dst = c.values.Append(dst, *s.last)
		}
	}
	return dst
}

func (c *slotsCodec[T, A]) Decode(src []byte) (v slots[T, A], n int, err error) {
	r := reader{src: src}
	v.eventAt, v.procAt = r.int(), r.int()
	for l := r.count(); l > 0 && r.err == nil; l-- {
		var s slot[T, A]
		flags := r.byte()
		s.w.Start, s.w.End, s.state.Count, s.state.Time = r.int(), r.int(), r.int(), r.int()
		for m := r.count(); m > 0 && r.err == nil; m-- {
			s.event = append(s.event, r.int())
		}
		for m := r.count(); m > 0 && r.err == nil; m-- {
			s.proc = append(s.proc, r.int())
		}
		if s.has = flags&1 != 0; s.has {
			s.acc = read(&r, c.accs)
		}
		if flags&2 != 0 {
			if c.values == nil {
				return v, r.n, fmt.Errorf("window: the snapshot has a record that the trigger does not keep")
			}
			last := read(&r, c.values)
			s.last = &last
		}
		v.list = append(v.list, s)
	}
	return v, r.n, r.err
}

func (c *slotsCodec[T, A]) Clone(v slots[T, A]) slots[T, A] {
	v.list = slices.Clone(v.list)
	for i := range v.list {
		s := &v.list[i]
		s.event, s.proc = slices.Clone(s.event), slices.Clone(s.proc)
		if s.has {
			s.acc = c.accs.Clone(s.acc)
		}
		if s.last != nil {
			last := c.values.Clone(*s.last)
			s.last = &last
		}
	}
	return v
}

// Isolate parts a value from its copy in a snapshot that is being written. What
// last points to is changed in place, too.
func (c *slotsCodec[T, A]) Isolate(v slots[T, A]) slots[T, A] {
	v.list = slices.Clone(v.list)
	for i := range v.list {
		s := &v.list[i]
		s.event, s.proc = slices.Clone(s.event), slices.Clone(s.proc)
		if !c.flat && s.has {
			s.acc = isolate(c.accs, s.acc)
		}
		if s.last != nil {
			last := *s.last
			s.last = &last
		}
	}
	return v
}
