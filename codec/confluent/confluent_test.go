package confluent

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"streamduel/codec"
	"streamduel/codec/avro"
	"streamduel/codec/json"
	"streamduel/codec/protobuf"
)

type order struct {
	ID       int64  `avro:"id" json:"id"`
	Currency string `avro:"currency" json:"currency"`
}

const (
	schema1 = `{"type":"record","name":"Order","fields":[{"name":"id","type":"int"}]}`
	schema2 = `{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"currency","type":"string","default":"EUR"}]}`
)

func orders(t testing.TB) codec.Format[order] {
	now, err1 := avro.New[order](schema2)
	before, err2 := avro.New[order](schema2, avro.WrittenWith(schema1))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	f, err := New(Topic[order]{Formats: map[int]codec.Format[order]{41: before, 42: now}, Write: 42})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAvro(t *testing.T) {
	f := orders(t)
	b, err := f.Append([]byte("before"), order{27, "USD"})
	if want := "before\x00\x00\x00\x00\x2a\x36\x06USD"; err != nil || string(b) != want {
		t.Fatalf("%q, %v", b, err)
	}
	if v, err := f.Parse(b[len("before"):]); err != nil || v != (order{27, "USD"}) {
		t.Errorf("%+v, %v", v, err)
	}
	// A message of the older schema.
	if v, err := f.Parse([]byte("\x00\x00\x00\x00\x29\x36")); err != nil || v != (order{27, "EUR"}) {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestBadFraming(t *testing.T) {
	f := orders(t)
	for text, want := range map[string]string{
		"":                              "confluent: byte 0: the message ends inside its schema id",
		"\x00\x00\x00":                  "confluent: byte 3: the message ends inside its schema id",
		`{"id":1}`:                      "confluent: byte 0: the first byte is 123, a registry's producer writes 0",
		"\x00\x00\x00\x00\x07\x36":      "confluent: byte 1: schema 7 is not known to the job, which knows 41, 42",
		"\x00\x00\x00\x00\x2a\x36\x06U": "confluent: schema 42, behind 5 bytes of framing: avro: byte 3: ",
	} {
		if _, err := f.Parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestProtobufHasAnIndex(t *testing.T) {
	for _, c := range []struct {
		index []int
		head  string
	}{{[]int{0}, "\x00\x00\x00\x00\x05\x00"}, {[]int{2, 1}, "\x00\x00\x00\x00\x05\x04\x04\x02"}} {
		f, err := New(Topic[*wrapperspb.Int32Value]{Formats: map[int]codec.Format[*wrapperspb.Int32Value]{5: protobuf.New[*wrapperspb.Int32Value]()}, Write: 5, Index: c.index})
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.Append(nil, wrapperspb.Int32(150))
		if err != nil || string(b) != c.head+"\x08\x96\x01" {
			t.Errorf("%v: % x, %v", c.index, b, err)
		}
		if v, err := f.Parse(b); err != nil || v.GetValue() != 150 {
			t.Errorf("%v: %v, %v", c.index, v, err)
		}
		for _, bad := range []string{"\x00\x00\x00\x00\x05", "\x00\x00\x00\x00\x05\x02\x06\x08\x01", "\x00\x00\x00\x00\x05\x80"} {
			if _, err := f.Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), "byte 5: the message has another type") {
				t.Errorf("%v: %q: %v", c.index, bad, err)
			}
		}
	}
}

func TestTopicsThatMakeNoSense(t *testing.T) {
	j := json.Format[order]()
	for _, topic := range []Topic[order]{
		{},
		{Formats: map[int]codec.Format[order]{1: j}, Write: 2},
		{Formats: map[int]codec.Format[order]{-1: j}, Write: -1},
		{Formats: map[int]codec.Format[order]{1: j}, Write: 1, Index: []int{-1}},
	} {
		if _, err := New(topic); err == nil {
			t.Errorf("%+v is accepted", topic)
		}
	}
}

func FuzzParse(f *testing.F) {
	format := orders(f)
	proto, err := New(Topic[*wrapperspb.Int32Value]{Formats: map[int]codec.Format[*wrapperspb.Int32Value]{5: protobuf.New[*wrapperspb.Int32Value]()}, Write: 5, Index: []int{2, 1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x00\x00\x00\x00\x2a\x36\x06USD"))
	f.Add([]byte("\x00\x00\x00\x00\x05\x04\x04\x02\x08\x96\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := format.Parse(b); err == nil {
			out, err := format.Append(nil, v)
			if err != nil {
				t.Fatalf("% x: %v", b, err)
			}
			if again, err := format.Parse(out); err != nil || again != v {
				t.Fatalf("% x: %+v came back as %+v, %v", b, v, again, err)
			}
		}
		if v, err := proto.Parse(b); err == nil {
			out, err := proto.Append(nil, v)
			if err != nil || !bytes.HasPrefix(out, []byte{0, 0, 0, 0, 5}) {
				t.Fatalf("% x: % x, %v", b, out, err)
			}
		}
	})
}
