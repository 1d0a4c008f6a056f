package avro

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"time"

	"streamduel/codec"
)

const orderSchema = `{"type":"record","name":"Order","fields":[
	{"name":"id","type":"long"},
	{"name":"customer","type":"string"},
	{"name":"price","type":["null","double"],"default":null},
	{"name":"status","type":{"type":"enum","name":"Status","symbols":["open","paid"]}},
	{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"item","type":"string"},{"name":"count","type":"int"}]}}},
	{"name":"tags","type":{"type":"map","values":"string"}},
	{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}
]}`

type order struct {
	ID       int64             `avro:"id"`
	Customer string            `avro:"customer"`
	Price    *float64          `avro:"price"`
	Status   string            `avro:"status"`
	Lines    []line            `avro:"lines"`
	Tags     map[string]string `avro:"tags"`
	At       time.Time         `avro:"at"`
}

type line struct {
	Item  string `avro:"item"`
	Count int32  `avro:"count"`
}

func orders(t testing.TB) codec.Format[order] {
	f, err := New[order](orderSchema)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func sample() order {
	price := 9.5
	return order{7, "ann", &price, "paid", []line{{"pen", 2}, {"ink", 1}}, map[string]string{"a": "b"}, time.UnixMilli(1_700_000_000_123).UTC()}
}

func TestRoundTrip(t *testing.T) {
	f := orders(t)
	b, err := f.Append([]byte("before"), sample())
	if err != nil || !bytes.HasPrefix(b, []byte("before")) {
		t.Fatalf("%q, %v", b, err)
	}
	b = b[len("before"):]
	v, err := f.Parse(b)
	if err != nil || !reflect.DeepEqual(v, sample()) {
		t.Errorf("%+v, %v", v, err)
	}
	// A message that is cut off anywhere is refused where it ends; one that goes
	// on, where it should have ended.
	for cut := range b {
		if _, err := f.Parse(b[:cut]); err == nil || !strings.Contains(err.Error(), "avro: byte ") {
			t.Errorf("cut to %d of %d bytes: %v", cut, len(b), err)
		}
	}
	if _, err := f.Parse(append(bytes.Clone(b), 0)); err == nil || !strings.Contains(err.Error(), "bytes follow the message's end") {
		t.Errorf("one byte more: %v", err)
	}
}

// The bytes that the specification gives for its example: the record
// {"a": 27, "b": "foo"} is 36 06 66 6f 6f (Apache Avro 1.11 Specification,
// "Complex Types", records).
func TestSpecification(t *testing.T) {
	type test struct {
		A int64  `avro:"a"`
		B string `avro:"b"`
	}
	f, err := New[test](`{"type":"record","name":"test","fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{0x36, 0x06, 0x66, 0x6f, 0x6f}
	if b, err := f.Append(nil, test{27, "foo"}); err != nil || !bytes.Equal(b, want) {
		t.Errorf("% x, %v", b, err)
	}
	if v, err := f.Parse(want); err != nil || v != (test{27, "foo"}) {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := f.Parse(append(want, 0)); err == nil || !strings.Contains(err.Error(), "byte 5: ") {
		t.Errorf("%v", err)
	}
}

func TestSchemasEvolve(t *testing.T) {
	const before = `{"type":"record","name":"Order","fields":[{"name":"id","type":"int"},{"name":"old","type":"string"}]}`
	const now = `{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"currency","type":"string","default":"EUR"}]}`
	type old struct {
		ID  int32  `avro:"id"`
		Old string `avro:"old"`
	}
	type current struct {
		ID       int64  `avro:"id"`
		Currency string `avro:"currency"`
	}
	w, err := New[old](before)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New[current](now, WrittenWith(before))
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.Append(nil, old{7, "gone"})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := r.Parse(b); err != nil || v != (current{7, "EUR"}) {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := New[current](now, WrittenWith(`{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}`)); err == nil {
		t.Error("a long is read from a string")
	}
}

func TestRefusals(t *testing.T) {
	if _, err := New[order](`{"type":"nonsense"}`); err == nil || !strings.Contains(err.Error(), "the Avro schema") {
		t.Errorf("nonsense: %v", err)
	}
	if _, err := New[order](orderSchema, WrittenWith("nonsense")); err == nil || !strings.Contains(err.Error(), "written with") {
		t.Errorf("nonsense written: %v", err)
	}
	type wrong struct {
		ID string `avro:"id"`
	}
	if _, err := New[wrong](orderSchema); err == nil || !strings.Contains(err.Error(), "wrong") {
		t.Errorf("a long as a string: %v", err)
	}
	v := sample()
	v.Status = "lost"
	if b, err := orders(t).Append([]byte("before"), v); err == nil || string(b) != "before" {
		t.Errorf("an enum has other symbols: %q, %v", b, err)
	}
}

// A message that claims a thousand billion entries is refused at once, not read
// to the end of them.
func TestClaimsAreNotBelieved(t *testing.T) {
	type holder struct {
		Lines []line           `avro:"lines"`
		Tags  map[string]int64 `avro:"tags"`
		Nulls []any            `avro:"nulls"`
	}
	f, err := New[holder](`{"type":"record","name":"Holder","fields":[
		{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[{"name":"item","type":"string"},{"name":"count","type":"int"}]}}},
		{"name":"tags","type":{"type":"map","values":"long"}},
		{"name":"nulls","type":{"type":"array","items":["null","long"]}}
	]}`)
	if err != nil {
		t.Fatal(err)
	}
	many := binary.AppendVarint(nil, 1<<40)
	for _, b := range [][]byte{many, append([]byte{0}, many...), append([]byte{0, 0}, many...), binary.AppendVarint([]byte{1}, 1<<40)} {
		if _, err := f.Parse(b); err == nil {
			t.Errorf("% x was read", b)
		}
	}
}

func FuzzParse(f *testing.F) {
	format := orders(f)
	b, err := format.Append(nil, sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{2, 2, 'x', 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := format.Parse(b)
		if err != nil {
			if !strings.Contains(err.Error(), "avro: ") {
				t.Fatalf("% x: %v", b, err)
			}
			return
		}
		out, err := format.Append(nil, v)
		if err != nil {
			t.Fatalf("% x: %+v cannot be written: %v", b, v, err)
		}
		if _, err := format.Parse(out); err != nil {
			t.Fatalf("% x: written as % x: %v", b, out, err)
		}
	})
}

func BenchmarkOrder(b *testing.B) {
	f := orders(b)
	text, err := f.Append(nil, sample())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
