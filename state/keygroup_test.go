package state

import (
	"encoding/json"
	"os"
	"testing"

	"pgregory.net/rapid"

	"streamduel/codec"
)

func TestKeyGroupsAreFlinks(t *testing.T) {
	b, err := os.ReadFile("testdata/flink_key_groups.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Intersections []struct {
			A, B   [2]KeyGroup
			Expect *[2]KeyGroup
		}
		Keys []struct {
			Key    string
			Hash   int32
			Murmur uint32
			Groups [][2]int
			Owners [][3]int
		}
		Ranges []struct {
			Max, Parallelism int
			Ranges           [][2]KeyGroup
		}
		Defaults [][2]int
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Intersections) == 0 || len(v.Keys) == 0 || len(v.Ranges) == 0 || len(v.Defaults) == 0 {
		t.Fatal("the vectors are not there")
	}
	for _, c := range v.Intersections {
		got, ok := GroupRange{c.A[0], c.A[1]}.Intersect(GroupRange{c.B[0], c.B[1]})
		if ok != (c.Expect != nil) || ok && got != (GroupRange{c.Expect[0], c.Expect[1]}) {
			t.Errorf("%v ∩ %v = %v, %v; want %v", c.A, c.B, got, ok, c.Expect)
		}
	}
	for _, c := range v.Keys {
		h := StringHash(c.Key)
		if int32(h) != c.Hash || Murmur(h) != c.Murmur {
			t.Errorf("%q: hash %d, murmur %d; want %d, %d", c.Key, int32(h), Murmur(h), c.Hash, c.Murmur)
		}
		for _, g := range c.Groups {
			if got := GroupOf(h, g[0]); int(got) != g[1] {
				t.Errorf("%q of %d: group %d, want %d", c.Key, g[0], got, g[1])
			}
		}
		for _, o := range c.Owners {
			if got := OwnerOf(GroupOf(h, o[0]), o[1], o[0]); got != o[2] {
				t.Errorf("%q of %d over %d: owner %d, want %d", c.Key, o[0], o[1], got, o[2])
			}
		}
	}
	for _, c := range v.Ranges {
		for i, r := range c.Ranges {
			if got := RangeOf(i, c.Parallelism, c.Max); got != (GroupRange{r[0], r[1]}) {
				t.Errorf("range %d of %d over %d groups: %v, want %v", i, c.Parallelism, c.Max, got, r)
			}
		}
	}
	for _, d := range v.Defaults {
		if got := DefaultMaxParallelism(d[0]); got != d[1] {
			t.Errorf("default for %d: %d, want %d", d[0], got, d[1])
		}
	}
}

func TestAGroupLiesInItsOwnersRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, MaxParallelismLimit).Draw(t, "max")
		p := rapid.IntRange(1, most).Draw(t, "parallelism")
		g := KeyGroup(rapid.IntRange(0, most-1).Draw(t, "group"))
		owner := OwnerOf(g, p, most)
		for _, i := range []int{owner - 1, owner, owner + 1} {
			if i >= 0 && i < p && RangeOf(i, p, most).Contains(g) != (i == owner) {
				t.Fatalf("group %d belongs to %d; the range of %d is %v", g, owner, i, RangeOf(i, p, most))
			}
		}
		if owner < 0 || owner >= p {
			t.Fatalf("owner %d of %d", owner, p)
		}
	})
}

func TestHashersGiveJavasHashCodes(t *testing.T) {
	check := func(name string, got uint32, want int32) {
		t.Helper()
		if int32(got) != want {
			t.Errorf("%s: %d, want %d", name, int32(got), want)
		}
	}
	// Long.hashCode, Integer.hashCode, Short.hashCode, Boolean.hashCode,
	// String.hashCode and Arrays.hashCode(byte[]), worked out by hand.
	check("long 1", must(Hasher[int64](nil))(1), 1)
	check("long −1", must(Hasher[int64](nil))(-1), 0)
	check("long 2³²+7", must(Hasher[int64](nil))(1<<32+7), 6)
	check("uint64", must(Hasher[uint64](nil))(1<<63), -1<<31)
	check("int −5", must(Hasher[int32](nil))(-5), -5)
	check("short −5", must(Hasher[int16](nil))(-5), -5)
	check("true", must(Hasher[bool](nil))(true), 1231)
	check("false", must(Hasher[bool](nil))(false), 1237)
	check("é", StringHash("é"), 0xe9)
	check("aé", StringHash("aé"), 97*31+0xe9)
	check("𝄞, two UTF-16 units", StringHash("𝄞"), 0xd834*31+0xdd1e)
	check("bytes 1, −1", BytesHash([]byte{1, 0xff}), (1*31+1)*31-1)

	type composite struct{ a, b int32 }
	if _, err := Hasher[composite](nil); err == nil {
		t.Error("a key of any type has a hash without a codec")
	}
	encode := func(dst []byte, k composite) []byte { return append(dst, byte(k.a), byte(k.b)) }
	check("encoded", must(Hasher[composite](encode))(composite{1, -1}), (1*31+1)*31-1)

	type word string // not the basic type: its hash is over the encoding
	h := must(Hasher[word](func(dst []byte, k word) []byte { return codec.String{}.Append(dst, string(k)) }))
	check("named string", h("a"), (1*31+1)*31+97)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
