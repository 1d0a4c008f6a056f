package window

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
)

// Elements are the records of a window in the order in which they came, with
// their times where an evictor wants them.
type Elements[T any] struct {
	values []T
	times  []int64
}

// Len returns the number of records.
func (e *Elements[T]) Len() int { return len(e.values) }

// Value returns a record.
func (e *Elements[T]) Value(i int) T { return e.values[i] }

// Timestamp returns a record's event time, NoTime if it has none.
func (e *Elements[T]) Timestamp(i int) int64 { return e.times[i] }

// Keep removes the records for which keep is false; it is called for each, in
// order.
func (e *Elements[T]) Keep(keep func(i int) bool) {
	n := 0
	for i := range e.values {
		if keep(i) {
			e.values[n], e.times[n] = e.values[i], e.times[i]
			n++
		}
	}
	clear(e.values[n:])
	e.values, e.times = e.values[:n], e.times[:n]
}

// Evictor removes records of a window around its evaluation. Before is called
// in front of the function, After behind it; each may be nil. A window with an
// evictor keeps all its records.
type Evictor[T any] struct {
	Name          string
	Before, After func(e *Elements[T])
	err           error
}

// AfterFunction makes an evictor run behind the window's function instead of in
// front of it.
func (e Evictor[T]) AfterFunction() Evictor[T] {
	e.Before, e.After = e.After, e.Before
	return e
}

// CountEvictor keeps the last n records: Flink's CountEvictor.
func CountEvictor[T any](n int) Evictor[T] {
	v := Evictor[T]{Name: "count", Before: func(e *Elements[T]) {
		drop := e.Len() - n
		if drop > 0 {
			e.Keep(func(i int) bool { return i >= drop })
		}
	}}
	if n < 0 {
		v.err = fmt.Errorf("count evictor: %d records must not be below zero", n)
	}
	return v
}

// TimeEvictor keeps the records that are younger than the latest one less keep:
// Flink's TimeEvictor. Records without event time are all kept.
func TimeEvictor[T any](keep time.Duration) Evictor[T] {
	v := Evictor[T]{Name: "time", Before: func(e *Elements[T]) {
		if e.Len() == 0 || e.Timestamp(0) == pipeline.NoTime {
			return
		}
		cut := slices.Max(e.times) - keep.Milliseconds()
		e.Keep(func(i int) bool { return e.Timestamp(i) > cut })
	}, err: whole("time of a time evictor", keep)}
	if keep < 0 {
		v.err = fmt.Errorf("time evictor: %v must not be below zero", keep)
	}
	return v
}

// DeltaEvictor removes the records that are at the threshold or farther from
// the window's last: Flink's DeltaEvictor.
func DeltaEvictor[T any](threshold float64, delta func(v, last T) float64) Evictor[T] {
	v := Evictor[T]{Name: "delta", Before: func(e *Elements[T]) {
		if e.Len() == 0 {
			return
		}
		last := e.Value(e.Len() - 1)
		e.Keep(func(i int) bool { return delta(e.Value(i), last) < threshold })
	}}
	if delta == nil {
		v.err = fmt.Errorf("delta evictor: it has no function")
	}
	return v
}

// elementsCodec writes a window's records.
type elementsCodec[T any] struct{ values codec.Codec[T] }

func (c elementsCodec[T]) ID() string { return "elements/1(" + c.values.ID() + ")" }

func (c elementsCodec[T]) Append(dst []byte, e Elements[T]) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(e.values)))
	for i, v := range e.values {
		dst = c.values.Append(binary.AppendVarint(dst, e.times[i]), v)
	}
	return dst
}

func (c elementsCodec[T]) Decode(src []byte) (e Elements[T], n int, err error) {
	l, n := binary.Uvarint(src)
	if n <= 0 || l > uint64(len(src)) {
		return e, 0, codec.ErrShort
	}
	for range l {
		var at int64
		if at, n, err = varint(src, n); err != nil {
			return e, n, err
		}
		v, used, err := c.values.Decode(src[n:])
		if err != nil {
			return e, n, err
		}
		n += used
		e.values, e.times = append(e.values, v), append(e.times, at)
	}
	return e, n, nil
}

func (c elementsCodec[T]) Clone(e Elements[T]) Elements[T] {
	e.values, e.times = slices.Clone(e.values), slices.Clone(e.times)
	for i, v := range e.values {
		e.values[i] = c.values.Clone(v)
	}
	return e
}

// Isolate copies the lists; a record in them is never changed.
func (c elementsCodec[T]) Isolate(e Elements[T]) Elements[T] {
	e.values, e.times = slices.Clone(e.values), slices.Clone(e.times)
	return e
}
