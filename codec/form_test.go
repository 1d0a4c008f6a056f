package codec

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"
)

type flatRow struct {
	a int64
	b [2]uint32
	c float64
	d int16
	e uint16
	f inner
}

type inner struct {
	x int8
	_ [3]uint8
}

func TestFlat(t *testing.T) {
	c := Flat[flatRow]("row/1")
	if want := "row/1(int64,uint32,uint32,float64,int16,uint16,int8,uint8,uint8,uint8)"; c.ID() != want {
		t.Errorf("id %q, want %q", c.ID(), want)
	}
	v := flatRow{a: -5, b: [2]uint32{7, 1 << 31}, c: math.Pi, d: -2, e: 65535, f: inner{x: -1}}
	want := binary.LittleEndian.AppendUint64(nil, uint64(v.a))
	want = binary.LittleEndian.AppendUint32(want, v.b[0])
	want = binary.LittleEndian.AppendUint32(want, v.b[1])
	want = binary.LittleEndian.AppendUint64(want, math.Float64bits(v.c))
	want = binary.LittleEndian.AppendUint16(want, uint16(v.d))
	want = binary.LittleEndian.AppendUint16(want, v.e)
	want = append(want, 0xff, 0, 0, 0)
	got := c.Append([]byte("before"), v)
	if string(got[:6]) != "before" || !bytes.Equal(got[6:], want) {
		t.Errorf("encoded % x, want % x", got[6:], want)
	}
	w, n, err := c.Decode(append(want, 1, 2, 3))
	if err != nil || n != len(want) || w != v || c.Clone(v) != v {
		t.Errorf("decoded %+v, %d, %v", w, n, err)
	}
	if _, _, err := c.Decode(want[:len(want)-1]); err != ErrShort {
		t.Errorf("a short input: %v", err)
	}
	// What a big-endian machine does: numbers turned round, each by itself, and
	// twice is not at all.
	f := c.(*flatCodec[flatRow])
	b := bytes.Clone(want)
	f.reverse(b)
	if binary.BigEndian.Uint64(b) != uint64(v.a) || binary.BigEndian.Uint32(b[12:]) != v.b[1] || binary.BigEndian.Uint16(b[24:]) != uint16(v.d) || b[28] != 0xff {
		t.Errorf("reversed % x", b)
	}
	if f.reverse(b); !bytes.Equal(b, want) {
		t.Errorf("reversed twice % x, want % x", b, want)
	}
}

func TestFlatRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		make func()
		want string
	}{
		"a gap between": {func() {
			Flat[struct {
				a int32
				b int64
			}]("x/1")
		}, "a gap of 4 bytes before field b"},
		"a gap behind": {func() {
			Flat[struct {
				a int64
				b int8
			}]("x/1")
		}, "a gap of 7 bytes at its end"},
		"a bool":         {func() { Flat[struct{ a bool }]("x/1") }, "field a: bool is no number of fixed width"},
		"an int":         {func() { Flat[int]("x/1") }, "int is no number of fixed width"},
		"a string":       {func() { Flat[struct{ a string }]("x/1") }, "field a: string is no number"},
		"a slice within": {func() { Flat[[2]struct{ b []byte }]("x/1") }, "field b: slice is no number"},
		"nothing":        {func() { Flat[struct{}]("x/1") }, "it holds nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p, _ := recover().(string); !strings.Contains(p, c.want) {
					t.Errorf("panic %q, want one with %q", p, c.want)
				}
			}()
			c.make()
		})
	}
}

// TestForm checks that what a form says of a codec's bytes is so.
func TestForm(t *testing.T) {
	memory(t, Codec[int64](Int64{}), -3)
	memory(t, Codec[float64](Float64{}), 1.5)
	memory(t, Codec[time.Duration](Duration{}), time.Second)
	memory(t, Flat[flatRow]("row/1"), flatRow{a: 1, c: 2})
	ofType(t, uint64(1<<63+1))
	ofType(t, int(-9))
	ofType(t, int32(-9))
	ofType(t, uint32(1<<31+1))
	ofType(t, int16(-9))
	ofType(t, uint16(9))
	ofType(t, int8(-9))
	ofType(t, uint8(9))
	ofType(t, float32(2.5))
	for name, f := range map[string]Form{
		"bytes": FormOf[[]byte](Bytes{}), "string": FormOf[string](String{}),
	} {
		if f != Prefixed {
			t.Errorf("%s: form %d", name, f)
		}
	}
	if f := FormOf[[]byte](BytesView{}); f != PrefixedView {
		t.Errorf("view of bytes: form %d", f)
	}
	if f := FormOf[string](StringView{}); f != PrefixedView {
		t.Errorf("view of a string: form %d", f)
	}
	if got := (StringView{}).Append(nil, "ab"); string(got) != "\x02ab" {
		t.Errorf("a prefixed value is %q", got)
	}
	if f := FormOf[bool](Bool{}); f != Opaque { // not every byte is one
		t.Errorf("bool: form %d", f)
	}
	if f := FormOf[int64](Varint{}); f != Opaque {
		t.Errorf("varint: form %d", f)
	}
}

func ofType[T any](t *testing.T, v T) {
	t.Helper()
	c, ok := Of[T]()
	if !ok {
		t.Fatalf("%T has no codec", v)
	}
	memory(t, c, v)
}

func memory[T any](t *testing.T, c Codec[T], v T) {
	t.Helper()
	want := Memory
	if !plainMemory {
		want = Opaque
	}
	if f := FormOf(c); f != want {
		t.Errorf("%s: form %d, want %d", c.ID(), f, want)
	}
	if b := c.Append(nil, v); littleEndian && !bytes.Equal(b, unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))) {
		t.Errorf("%s: % x is not the memory of %v", c.ID(), b, v)
	}
}
