package protobuf

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestRoundTrip(t *testing.T) {
	f := New[*timestamppb.Timestamp]()
	want := &timestamppb.Timestamp{Seconds: 1_700_000_000, Nanos: 5}
	b, err := f.Append([]byte("before"), want)
	if err != nil || !bytes.HasPrefix(b, []byte("before")) {
		t.Fatalf("%q, %v", b, err)
	}
	got, err := f.Parse(b[len("before"):])
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := f.Parse(nil); err != nil || got == nil {
		t.Errorf("a message without fields has no bytes: %v, %v", got, err)
	}
}

// The bytes that the encoding guide gives: field 1 with value 150 is 08 96 01
// (protobuf.dev, "Encoding", "A Simple Message").
func TestSpecification(t *testing.T) {
	f := New[*wrapperspb.Int32Value]()
	want := []byte{0x08, 0x96, 0x01}
	if b, err := f.Append(nil, wrapperspb.Int32(150)); err != nil || !bytes.Equal(b, want) {
		t.Errorf("% x, %v", b, err)
	}
	if v, err := f.Parse(want); err != nil || v.GetValue() != 150 {
		t.Errorf("%v, %v", v, err)
	}
}

func TestBadMessagesHaveTheirPlace(t *testing.T) {
	f := New[*timestamppb.Timestamp]()
	for _, c := range []struct {
		b    []byte
		want string
	}{
		{[]byte{0x08}, "protobuf: byte 0: "},
		{[]byte{0x08, 1, 0x10}, "protobuf: byte 2: "},
		{[]byte{0x08, 1, 0x10, 1, 0x1a, 9, 'x'}, "protobuf: byte 4: "},
	} {
		if v, err := f.Parse(c.b); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("% x: %v, %v", c.b, v, err)
		}
	}
	if _, err := New[*wrapperspb.StringValue]().Parse([]byte{0x0a, 1, 0xff}); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("not UTF-8: %v", err)
	}
	if b, err := New[*wrapperspb.StringValue]().Append([]byte("before"), wrapperspb.String("\xff")); err == nil || string(b) != "before" {
		t.Errorf("not UTF-8: %q, %v", b, err)
	}
}

func FuzzParse(f *testing.F) {
	format := New[*structpb.Struct]()
	s, err := structpb.NewStruct(map[string]any{"a": 1.5, "b": []any{"x", nil, true}, "c": map[string]any{"d": "e"}})
	if err != nil {
		f.Fatal(err)
	}
	b, err := format.Append(nil, s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := format.Parse(b)
		if err != nil {
			return
		}
		out, err := format.Append(nil, v)
		if err != nil {
			t.Fatalf("% x: %v", b, err)
		}
		again, err := format.Parse(out)
		if err != nil {
			t.Fatalf("% x: %v", b, err)
		}
		if second, err := format.Append(nil, again); err != nil || !bytes.Equal(out, second) {
			t.Fatalf("% x: % x, then % x, %v", b, out, second, err)
		}
	})
}
