package codec

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// roundTrip checks the contract of a codec for one value: it appends behind
// what is there, finds its own end, refuses every shorter input with ErrShort,
// and a clone survives the input.
func roundTrip[T any](t interface{ Fatalf(string, ...any) }, c Codec[T], v T, same func(a, b T) bool) {
	prefix := []byte("prefix")
	b := c.Append(bytes.Clone(prefix), v)
	if !bytes.HasPrefix(b, prefix) || len(b) == len(prefix) {
		t.Fatalf("%s: %v was appended as %q", c.ID(), v, b)
	}
	b = b[len(prefix):]
	input := append(bytes.Clone(b), "behind"...)
	got, n, err := c.Decode(input)
	if err != nil || n != len(b) || !same(got, v) {
		t.Fatalf("%s: %v came back as %v, %d bytes of %d, %v", c.ID(), v, got, n, len(b), err)
	}
	clone := c.Clone(got)
	clear(input)
	if !same(clone, v) {
		t.Fatalf("%s: the clone of %v changed with its input: %v", c.ID(), v, clone)
	}
	for cut := range b {
		if _, _, err := c.Decode(b[:cut]); !errors.Is(err, ErrShort) {
			t.Fatalf("%s: %v cut to %d of %d bytes: %v", c.ID(), v, cut, len(b), err)
		}
	}
}

func equal[T comparable](a, b T) bool { return a == b }

type sample struct {
	name  string
	count int64
}

var sampleCodec = Struct("sample/1", func(dst []byte, s sample) []byte {
	return Int64{}.Append(StringView{}.Append(dst, s.name), s.count)
}, func(src []byte) (s sample, n int, err error) {
	if s.name, n, err = (StringView{}).Decode(src); err != nil {
		return s, n, err
	}
	v, m, err := Int64{}.Decode(src[n:])
	s.count = v
	return s, n + m, err
}, func(s sample) sample { s.name = StringView{}.Clone(s.name); return s })

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		s := rapid.String().Draw(t, "s")
		b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "b")
		roundTrip(t, Codec[int64](Int64{}), n, equal)
		roundTrip(t, of[uint64](t), uint64(n), equal)
		roundTrip(t, of[int](t), int(n), equal)
		roundTrip(t, of[int32](t), int32(n), equal)
		roundTrip(t, of[uint32](t), uint32(n), equal)
		roundTrip(t, Codec[float64](Float64{}), math.Float64frombits(uint64(n)), func(a, b float64) bool {
			return math.Float64bits(a) == math.Float64bits(b)
		})
		roundTrip(t, Codec[bool](Bool{}), n&1 == 1, equal)
		roundTrip(t, Codec[struct{}](Unit{}), struct{}{}, equal)
		roundTrip(t, Codec[string](String{}), s, equal)
		roundTrip(t, Codec[string](StringView{}), s, equal)
		roundTrip(t, Codec[[]byte](Bytes{}), b, bytes.Equal)
		roundTrip(t, Codec[[]byte](BytesView{}), b, bytes.Equal)
		roundTrip(t, sampleCodec, sample{s, n}, equal)
	})
}

func of[T any](t interface{ Fatalf(string, ...any) }) Codec[T] {
	c, ok := Of[T]()
	if !ok {
		t.Fatalf("no codec of %v", reflect.TypeFor[T]())
	}
	return c
}

func TestLongLengths(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 129, 16383, 16384, 1 << 20} {
		v := bytes.Repeat([]byte{'x'}, n)
		b := Bytes{}.Append(nil, v)
		got, used, err := BytesView{}.Decode(b)
		if err != nil || used != len(b) || !bytes.Equal(got, v) {
			t.Errorf("%d bytes: %d used of %d, %v", n, used, len(b), err)
		}
	}
}

// What a view's owner appends to it must not run into the next record.
func TestViewsHaveNoRoomBehind(t *testing.T) {
	b := BytesView{}.Append(BytesView{}.Append(nil, []byte("one")), []byte("two"))
	v, n, err := BytesView{}.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(v, "XXX"...)
	if next, _, err := (BytesView{}).Decode(b[n:]); err != nil || string(next) != "two" {
		t.Errorf("the next record became %q, %v", next, err)
	}
}

func TestIDsTellEncodingsApart(t *testing.T) {
	ids := map[string]bool{}
	for _, id := range []string{
		Int64{}.ID(), of[uint64](t).ID(), of[int](t).ID(), of[int32](t).ID(), of[uint32](t).ID(),
		Float64{}.ID(), Bool{}.ID(), Unit{}.ID(), String{}.ID(), Bytes{}.ID(), sampleCodec.ID(),
	} {
		if ids[id] {
			t.Errorf("%s names two encodings", id)
		}
		ids[id] = true
	}
	if (StringView{}).ID() != (String{}).ID() || (BytesView{}).ID() != (Bytes{}).ID() {
		t.Error("a view reads what its owner wrote: one encoding, one id")
	}
	type word string
	if _, ok := Of[word](); ok {
		t.Error("a named type must not get the basic type's codec: it may mean more")
	}
}

func TestBadBytesAreRefused(t *testing.T) {
	if _, _, err := (Bool{}).Decode([]byte{2}); err == nil {
		t.Error("2 is a bool")
	}
	if _, _, err := (Unit{}).Decode([]byte{1}); err == nil {
		t.Error("1 is a unit")
	}
	for _, b := range [][]byte{
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1}, // 2⁶⁴−1 bytes
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, // no varint
		{0x80}, {0x81, 0x01},
	} {
		if v, n, err := (BytesView{}).Decode(b); err == nil {
			t.Errorf("% x was read as %q, %d", b, v, n)
		}
	}
}

// Whatever decodes is written back as something that decodes to the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{3, 'a', 'b', 'c', 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{0x80, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, n, err := sampleCodec.Decode(b); err == nil {
			if n > len(b) {
				t.Fatalf("%d bytes of %d", n, len(b))
			}
			roundTrip(t, sampleCodec, s, equal)
		}
		if v, n, err := (Bytes{}).Decode(b); err == nil {
			if n > len(b) {
				t.Fatalf("%d bytes of %d", n, len(b))
			}
			roundTrip(t, Codec[[]byte](Bytes{}), v, bytes.Equal)
		}
	})
}

func TestCodingDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 64)
	v := sample{"word", 5}
	if n := testing.AllocsPerRun(100, func() {
		buf = sampleCodec.Append(buf[:0], v)
		if _, _, err := sampleCodec.Decode(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}
