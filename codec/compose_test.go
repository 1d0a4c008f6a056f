package codec

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// celsius is written as a float64 and has a lowest value.
type celsius float64

var errCold = errors.New("below absolute zero")

func celsiusCodec() Codec[celsius] {
	return Convert[celsius, float64]("celsius/1", Float64{}, func(c celsius) float64 { return float64(c) }, func(f float64) (celsius, error) {
		if f < -273.15 {
			return 0, errCold
		}
		return celsius(f), nil
	})
}

func deep[T any](a, b T) bool { return reflect.DeepEqual(a, b) }

func TestMoreRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		s := rapid.String().Draw(t, "s")
		n >>= uint64(n) & 63
		roundTrip(t, Codec[int64](Varint{}), n, equal)
		roundTrip(t, Codec[uint64](Uvarint{}), uint64(n), equal)
		if got := len(Varint{}.Append(nil, n)); got != SizeVarint(n) {
			t.Fatalf("%d takes %d bytes, SizeVarint says %d", n, got, SizeVarint(n))
		}
		roundTrip(t, of[int16](t), int16(n), equal)
		roundTrip(t, of[uint16](t), uint16(n), equal)
		roundTrip(t, of[int8](t), int8(n), equal)
		roundTrip(t, of[uint8](t), uint8(n), equal)
		roundTrip(t, of[float32](t), math.Float32frombits(uint32(n)), func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
		roundTrip(t, of[time.Duration](t), time.Duration(n), equal)
		roundTrip(t, of[time.Time](t), time.Unix(n>>8, n&0xffff).UTC(), equal)
		roundTrip(t, of[time.Time](t), time.Time{}, equal)
		list := make([]string, rapid.IntRange(1, 3).Draw(t, "length"))
		for i := range list {
			list[i] = fmt.Sprint(s, i)
		}
		roundTrip(t, Slice[string](StringView{}), list, slices.Equal[[]string])
		roundTrip(t, Slice[string](String{}), nil, slices.Equal[[]string])
		roundTrip(t, Map[string, int64](StringView{}, Varint{}), map[string]int64{s: n, s + "2": n + 1}, maps.Equal[map[string]int64])
		roundTrip(t, Optional[string](StringView{}), &s, deep)
		roundTrip(t, Optional[string](StringView{}), nil, deep)
		roundTrip(t, PairOf[string, int64](StringView{}, Int64{}), Pair[string, int64]{s, n}, equal)
		roundTrip(t, celsiusCodec(), celsius(max(float64(n), -273)), equal)
	})
}

func TestMoreBadBytes(t *testing.T) {
	if _, _, err := (Time{}).Decode([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0xca, 0x9a, 0x3b}); err == nil {
		t.Error("10⁹ nanoseconds are a second")
	}
	if _, _, err := (Uvarint{}).Decode(bytes.Repeat([]byte{0xff}, 11)); err == nil || errors.Is(err, ErrShort) {
		t.Errorf("a varint of 77 bits: %v", err)
	}
	if _, _, err := (Optional[int64](Int64{})).Decode([]byte{2}); !errors.Is(err, ErrBool) {
		t.Errorf("a value is there or not: %v", err)
	}
	if _, _, err := celsiusCodec().Decode(Float64{}.Append(nil, -300)); !errors.Is(err, errCold) {
		t.Errorf("−300 °C: %v", err)
	}
	// Lengths that the input has no room for allocate nothing.
	huge := Uvarint{}.Append(nil, math.MaxUint64)
	if _, _, err := Slice[int64](Int64{}).Decode(huge); !errors.Is(err, ErrShort) {
		t.Error(err)
	}
	if _, _, err := Map[int64, int64](Int64{}, Int64{}).Decode(append(Uvarint{}.Append(nil, 3), 1, 2, 3, 4, 5)); !errors.Is(err, ErrShort) {
		t.Error(err)
	}
}

// grown is a codec that reads what Int64 wrote.
type grown struct{ Int64 }

func (grown) ID() string { return "grown/2" }
func (grown) Reads(id string) Codec[int64] {
	if id == (Int64{}).ID() {
		return Int64{}
	}
	return nil
}

// Codecs made of others read what their parts read, at any depth.
func TestPartsEvolve(t *testing.T) {
	type deepest = Pair[*int64, map[string][]int64]
	make := func(part Codec[int64]) Codec[deepest] {
		return PairOf(Optional(part), Map[string](String{}, Slice(Convert("same/1", part, func(v int64) int64 { return v }, func(v int64) (int64, error) { return v, nil }))))
	}
	old, now := make(Int64{}), make(grown{})
	n := int64(7)
	v := deepest{&n, map[string][]int64{"a": {1, 2}}}
	reader := Reading(now, old.ID())
	if reader == nil {
		t.Fatalf("%s does not read %s", now.ID(), old.ID())
	}
	got, _, err := reader.Decode(old.Append(nil, v))
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%+v, %v", got, err)
	}
	if Reading(old, now.ID()) != nil {
		t.Error("the old one reads the new one")
	}
	for _, id := range []string{"", "both/1", "both/1(a)", "both/1(" + Int64{}.ID() + ",x)", "both/1(a,b,c)", old.ID() + ")", "slice/1(" + old.ID() + ")"} {
		if Reading(now, id) != nil {
			t.Errorf("%q is read", id)
		}
	}
}

func TestParts(t *testing.T) {
	for id, want := range map[string][]string{
		"a/1(x,y)": {"x", "y"}, "a/1(b(x,y),c)": {"b(x,y)", "c"}, "a/1(,)": {"", ""},
		"a/1(x)": nil, "a/1(x,y": nil, "a/1(x),(y)": nil, "a/1(x,y,z)": nil, "b/1(x,y)": nil,
	} {
		got, ok := Parts(id, "a/1", 2)
		if ok != (want != nil) || ok && !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", id, got, ok)
		}
	}
}

func FuzzCompose(f *testing.F) {
	c := PairOf(Slice[string](StringView{}), Map(of[uint8](f), Optional(PairOf[time.Time, int64](Time{}, Varint{}))))
	n := Pair[time.Time, int64]{time.Unix(1, 2).UTC(), -5}
	f.Add(c.Append(nil, Pair[[]string, map[uint8]*Pair[time.Time, int64]]{[]string{"a", ""}, map[uint8]*Pair[time.Time, int64]{1: &n, 2: nil}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := c.Decode(b)
		if err != nil {
			return
		}
		if n > len(b) {
			t.Fatalf("%d bytes of %d", n, len(b))
		}
		w := c.Append(nil, v)
		again, n, err := c.Decode(w)
		if err != nil || n != len(w) || !reflect.DeepEqual(again, v) || !reflect.DeepEqual(c.Clone(v), v) {
			t.Fatalf("%+v came back as %+v, %d of %d, %v", v, again, n, len(w), err)
		}
	})
}

func FuzzIDs(f *testing.F) {
	f.Add("a.b/1#0123456789+c.d/2#abc")
	f.Add("both/1(a,b(c,d))")
	layouts := []Layout{{"a.b", []string{"0123456789"}}, {"c.d", []string{"x", "abc"}}}
	f.Fuzz(func(t *testing.T, id string) {
		if v, ok := ParseVersions(id, layouts); ok && (v.Of("a.b") != 1 || v.ID() != id) {
			t.Fatalf("%q: %+v", id, v)
		}
		if p, ok := Parts(id, "both/1", 2); ok && len(p) != 2 {
			t.Fatalf("%q: %q", id, p)
		}
	})
}
