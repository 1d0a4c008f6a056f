package json

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

// read takes the fields of an object and fails the test where it must not fail.
func read(t *testing.T, text string, names ...string) []Value {
	t.Helper()
	v := make([]Value, len(names))
	if err := MustFields(names...).Read([]byte(text), v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func TestFieldsAreTakenOut(t *testing.T) {
	v := read(t, " {\t\"a\" : \"x\\ty\\u00e9\\ud83d\\ude00\" , \"b\":-9223372036854775808,\r\n"+
		`"skip":{"a":"no","l":[1,"]}",{"b":2}]},"c":1.5e3,"d":true,"e":null,"\u0066":"key with an escape","o":{"in":7}} `,
		"a", "b", "c", "d", "e", "f", "o", "absent")
	if s, err := v[0].Str(); err != nil || s != "x\tyé😀" {
		t.Errorf("a: %q, %v", s, err)
	}
	if n, err := v[1].Int(); err != nil || n != math.MinInt64 {
		t.Errorf("b: %d, %v", n, err)
	}
	if f, err := v[2].Float(); err != nil || f != 1500 {
		t.Errorf("c: %v, %v", f, err)
	}
	if b, err := v[3].Bool(); err != nil || !b {
		t.Errorf("d: %v, %v", b, err)
	}
	if !v[4].IsNull() || !v[4].Present() {
		t.Error("e is null")
	}
	if s, err := v[5].Str(); err != nil || s != "key with an escape" {
		t.Errorf("f: %q, %v", s, err)
	}
	in := v[6].Scan()
	if name, inner, ok := in.Next(); !ok || string(name) != "in" || string(inner.Raw()) != "7" {
		t.Errorf("o: %q %q %v", name, inner.Raw(), in.Err())
	}
	if v[7].Present() || v[7].IsNull() {
		t.Error("absent is there")
	}
}

func TestTheLastOfOneNameCounts(t *testing.T) {
	v := read(t, `{"a":1,"b":2,"a":3}`, "a")
	if n, err := v[0].Int(); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
}

// Names that share length, first and last byte share a place in the table.
func TestNamesThatLookAlike(t *testing.T) {
	v := read(t, `{"abba":1,"axba":2,"ayba":3}`, "ayba", "abba", "axba")
	for i, want := range []int64{3, 1, 2} {
		if n, err := v[i].Int(); err != nil || n != want {
			t.Errorf("%d: %d, %v", i, n, err)
		}
	}
}

func TestNamesThatMakeNoSense(t *testing.T) {
	for _, names := range [][]string{{}, {"a", "a"}, {""}, make([]string, 65)} {
		if _, err := NewFields(names...); err == nil {
			t.Errorf("%q are accepted", names)
		}
	}
	if err := MustFields("a").Read([]byte(`{}`), nil); err == nil {
		t.Error("no room for the values, and no error")
	}
}

// Broken text is refused, with the byte that is wrong.
func TestBrokenTextHasItsPlace(t *testing.T) {
	for text, at := range map[string]int{
		``: 0, `  `: 2, `[]`: 0, `"a"`: 0, `7`: 0,
		`{`: 1, `{"a`: 3, `{"a"`: 4, `{"a":`: 5, `{"a":1`: 6, `{"a":"x`: 7, `{"a":"\`: 7, `{"a":"\u12`: 10, `{"a":tr`: 7, `{"a":-`: 6, `{"a":1.`: 7, `{"a":1e+`: 8,
		`{"a":[1`: 7, `{"a":{"b":1`: 11, `{"a":1,`: 7,
		`{a:1}`: 1, `{"a" 1}`: 5, `{"a":1,}`: 7, `{"a":1 "b":2}`: 7, `{"a":1}x`: 7, `{"a":1}{}`: 7,
		`{"a":01}`: 6, `{"a":+1}`: 5, `{"a":.5}`: 5, `{"a":1.}`: 5, `{"a":1.e3}`: 5, `{"a":-x}`: 5, `{"a":NaN}`: 5, `{"a":tru}`: 5, `{"a":nulL}`: 5,
		`{"a":"\q"}`: 6, `{"a":"\u12x4"}`: 6, "{\"a\":\"\x01\"}": 6, "{\"a\":\"12345678\n\"}": 14,
		`{"a":[1 2]}`: 8, `{"a":[1,]}`: 8, `{"a":[}`: 6, `{"a":{"b":}}`: 10, `{"a":{b:1}}`: 6, `{"a":{"b" 1}}`: 10, `{"a":{"b":1]}`: 11, `{"a":{"b":1,}}`: 12,
	} {
		err := MustFields("z").Read([]byte(text), make([]Value, 1))
		var e *Error
		if !errors.As(err, &e) || e.Offset != at || e.Reason == "" {
			t.Errorf("%s: %v, want byte %d", text, err, at)
		}
	}
}

func TestNestingHasAnEnd(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n))
	}
	f, v := MustFields("a"), make([]Value, 1)
	if err := f.Read(nested(MaxDepth), v); err != nil {
		t.Error(err)
	}
	for _, b := range [][]byte{nested(MaxDepth + 1), []byte(`{"a":` + strings.Repeat("[", 1_000_000))} {
		if err := f.Read(b, v); err == nil || !strings.Contains(err.Error(), "nested deeper") {
			t.Errorf("%.20s…: %v", b, err)
		}
	}
}

func TestWrongTypesHaveTheirPlace(t *testing.T) {
	v := read(t, `{"s":"text","n":12.5,"big":9223372036854775808,"huge":1e999,"b":true,"o":{},"l":[],"z":null,"q":"12x"}`,
		"s", "n", "big", "huge", "b", "o", "l", "z", "q", "absent")
	s, n, big, huge, b, o, l, z, q, absent := v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9]
	first := func(_ any, err error) error { return err }
	for want, err := range map[string]error{
		`json: byte 5, field "s": an integer is expected, this is a string`:            first(s.Int()),
		`json: byte 16, field "n": 12.5 is no integer of 64 bits`:                      first(n.Int()),
		`json: byte 27, field "big": 9223372036854775808 is no integer of 64 bits`:     first(big.Int()),
		`json: byte 54, field "huge": 1e999 is too large for a float of 64 bits`:       first(huge.Float()),
		`json: byte 64, field "b": a string is expected, this is a bool`:               first(b.Text()),
		`json: byte 73, field "o": a number is expected, this is an object`:            first(o.Float()),
		`json: byte 80, field "l": a bool is expected, this is a list`:                 first(l.Bool()),
		`json: byte 87, field "z": a string is expected, this is null`:                 first(z.Str()),
		`json: byte 96, field "q": "12x" is no integer of 64 bits in quotes`:           first(q.QuotedInt()),
		`json: byte 102, field "absent": the field is missing; an integer is expected`: first(absent.Int()),
		`json: byte 102, field "absent": the field is missing; a string is expected`:   first(absent.Text()),
		`json: byte 5, field "s": allowed are a and b`:                                 s.Err("allowed are a and b"),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestIntegersAreExact(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-0": 0, "9223372036854775807": math.MaxInt64, "-9223372036854775808": math.MinInt64, "9007199254740993": 9007199254740993,
	} {
		if got, err := read(t, `{"n":`+text+`}`, "n")[0].Int(); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"9223372036854775808", "-9223372036854775809", "1.0", "1e2", "10000000000000000000", "99999999999999999999"} {
		if got, err := read(t, `{"n":`+text+`}`, "n")[0].Int(); err == nil {
			t.Errorf("%s was read as %d", text, got)
		}
	}
}

func TestIntegersInQuotes(t *testing.T) {
	v := read(t, `{"q":"-12","n":-12,"f":1.5}`, "q", "n", "f")
	for _, v := range v[:2] {
		if n, err := v.QuotedInt(); err != nil || n != -12 {
			t.Errorf("%s: %d, %v", v.Name(), n, err)
		}
	}
	if _, err := v[2].QuotedInt(); err == nil {
		t.Error("1.5 is an integer")
	}
}

func TestWriter(t *testing.T) {
	w := Begin([]byte("before"))
	w.Text("a\"b", "x\n\x01\u2028é\xff\\")
	w.Int("i", math.MinInt64)
	w.Uint("u", math.MaxUint64)
	w.Float("f", 1e-7)
	w.Float("nan", math.NaN())
	w.Bool("y", true)
	w.Null("z")
	w.Raw("r", []byte("[1]"))
	w.Object("o", func(w *Writer) { w.Int("n", 1) })
	w.Object("e", func(*Writer) {})
	got := string(w.End())
	want := "before{\"a\\\"b\":\"x\\n\\u0001\u2028é\ufffd\\\\\",\"i\":-9223372036854775808,\"u\":18446744073709551615,\"f\":1e-07,\"nan\":null," +
		`"y":true,"z":null,"r":[1],"o":{"n":1},"e":{}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !json.Valid([]byte(got[len("before"):])) {
		t.Error("the library does not read it")
	}
}

// The scanner accepts exactly the objects that encoding/json accepts, and reads
// the same in them.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":"x\"y\\" } `, `{"a":{"b":[1,"]"]},"c":null,"d":-1.5e9,"e":true}`, `{"a":1,"a":"two"}`,
		`{"a":1}x`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1]`, `{"a":"`, "{\"\\u0061\":\"\\n\"}", `{"a":"\ud800\u0041"}`, `{"a":"\ud83d\ude00\ud83d"}`,
		"{\"a\":\"\xff long enough for a word\"}", `{"a":01}`, `{"a":1e5,"b":-0.0,"":[]}`, `{"a":9223372036854775807}`, `{"a":[[[{}]]],"b":"` + "\x7f" + `"}`,
	} {
		f.Add([]byte(s))
	}
	fields := MustFields("a", "b", "longer name")
	f.Fuzz(func(t *testing.T, b []byte) {
		v := make([]Value, 3)
		err := fields.Read(b, v)
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(b, &want)
		if bytes.Equal(bytes.TrimLeft(b, " \t\r\n")[:min(4, len(bytes.TrimLeft(b, " \t\r\n")))], []byte("null")) {
			wantErr = errors.New("no object")
		}
		if (err == nil) != (wantErr == nil) {
			if err != nil && strings.Contains(err.Error(), "nested deeper") {
				return
			}
			t.Fatalf("%q: %v, the library says %v", b, err, wantErr)
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b) {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		for i, name := range []string{"a", "b", "longer name"} {
			raw, ok := want[name]
			if ok != v[i].Present() || !bytes.Equal(raw, v[i].Raw()) {
				t.Fatalf("%q: field %q is %q, the library says %q", b, name, v[i].Raw(), raw)
			}
			compare(t, v[i], raw)
		}
		n := 0
		for s := Scan(b); ; n++ {
			name, _, ok := s.Next()
			if !ok {
				break
			}
			if _, ok := want[string([]rune(string(name)))]; !ok {
				t.Fatalf("%q: the library has no field %q", b, name)
			}
		}
		if n < len(want) {
			t.Fatalf("%q: %d fields, the library has %d", b, n, len(want))
		}
	})
}

// compare reads a value as every type and wants what the library reads.
func compare(t *testing.T, v Value, raw []byte) {
	if raw == nil {
		return
	}
	same := func(what string, err, wantErr error, equal bool) {
		// The library takes null for any type and leaves the zero there.
		if (err == nil) != (wantErr == nil && !v.IsNull()) || err == nil && !equal {
			t.Fatalf("%q as %s: %v, the library says %v; equal %v", raw, what, err, wantErr, equal)
		}
	}
	var s string
	wantErr := json.Unmarshal(raw, &s)
	text, err := v.Str()
	same("a string", err, wantErr, string([]rune(text)) == s)
	var n int64
	wantErr = json.Unmarshal(raw, &n)
	i, err := v.Int()
	same("an integer", err, wantErr, i == n)
	var x float64
	wantErr = json.Unmarshal(raw, &x)
	y, err := v.Float()
	same("a number", err, wantErr, x == y)
	var p bool
	wantErr = json.Unmarshal(raw, &p)
	q, err := v.Bool()
	same("a bool", err, wantErr, p == q)
}

// What is written is what encoding/json writes, and reads back.
func FuzzWrite(f *testing.F) {
	f.Add("name", "text with \" and \\ and \x00", int64(-5), 1.5)
	f.Add("\u2028", "\xff\xc0é😀", int64(math.MaxInt64), 1e300)
	f.Fuzz(func(t *testing.T, name, text string, n int64, x float64) {
		w := Begin(nil)
		w.Text(name, text)
		w.Int("n\x00", n)
		w.Float("x\x00", x)
		b := w.End()
		var got map[string]any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if got[string([]rune(name))] != string([]rune(text)) {
			t.Fatalf("%q: field %q is %q", b, name, got[name])
		}
		v := make([]Value, 2)
		if err := MustFields("n\x00", "x\x00").Read(b, v); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if i, err := v[0].Int(); err != nil || i != n {
			t.Fatalf("%q: %d, %v", b, i, err)
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			if !v[1].IsNull() {
				t.Fatalf("%q: %v", b, x)
			}
		} else if y, err := v[1].Float(); err != nil || y != x {
			t.Fatalf("%q: %v, %v", b, y, err)
		}
	})
}

func TestReadingAndWritingDoNotAllocate(t *testing.T) {
	fields := MustFields("a", "b")
	in := []byte(`{"z":{"a":[1,2]},"a":"text","b":12}`)
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		var v [2]Value
		if err := fields.Read(in, v[:]); err != nil {
			t.Fatal(err)
		}
		text, _ := v[0].Text()
		n, _ := v[1].Int()
		w := Begin(buf[:0])
		w.Text("a", string(text[:0]))
		w.Int("b", n)
		buf = w.End()
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}
