package pipeline_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"streamduel/codec"
	"streamduel/codec/avro"
	"streamduel/codec/confluent"
	"streamduel/codec/json"
	"streamduel/codec/protobuf"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

type sale struct {
	Shop   string `avro:"shop" json:"shop"`
	Amount int64  `avro:"amount" json:"amount"`
}

var saleCodec = codec.Convert("sale/1", codec.PairOf(codec.Codec[string](codec.String{}), codec.Codec[int64](codec.Int64{})),
	func(s sale) codec.Pair[string, int64] {
		return codec.Pair[string, int64]{First: s.Shop, Second: s.Amount}
	},
	func(p codec.Pair[string, int64]) (sale, error) { return sale{p.First, p.Second}, nil })

// A job reads and writes messages of every format, and a message that does not
// parse has its split, its position and the byte in the error.
func TestFormats(t *testing.T) {
	const schema = `{"type":"record","name":"Sale","fields":[{"name":"shop","type":"string"},{"name":"amount","type":"long"}]}`
	inAvro, err := avro.New[sale](schema)
	if err != nil {
		t.Fatal(err)
	}
	framed, err := confluent.New(confluent.Topic[sale]{Formats: map[int]codec.Format[sale]{9: inAvro}, Write: 9})
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]codec.Format[sale]{
		"json": json.Format[sale](), "avro": inAvro, "confluent": framed, "binary": codec.Binary(saleCodec),
	} {
		everyWay(t, func(t *testing.T, opt pipelinetest.Options) {
			through(t, name, opt, f, func(s sale) sale { return sale{s.Shop, s.Amount * 2} }, saleCodec,
				[]sale{{"a", 1}, {"b", 2}}, []sale{{"a", 2}, {"b", 4}}, func(s sale) string { return s.Shop })
		})
	}
	numbers := codec.Convert("number/1", codec.Codec[int64](codec.Int64{}), func(v *wrapperspb.Int64Value) int64 { return v.GetValue() },
		func(n int64) (*wrapperspb.Int64Value, error) { return wrapperspb.Int64(n), nil })
	everyWay(t, func(t *testing.T, opt pipelinetest.Options) {
		through(t, "protobuf", opt, protobuf.New[*wrapperspb.Int64Value](), func(v *wrapperspb.Int64Value) *wrapperspb.Int64Value { return wrapperspb.Int64(v.GetValue() + 1) }, numbers,
			[]*wrapperspb.Int64Value{wrapperspb.Int64(150)}, []*wrapperspb.Int64Value{wrapperspb.Int64(151)}, func(*wrapperspb.Int64Value) string { return "k" })
	})
}

func through[T any](t *testing.T, name string, opt pipelinetest.Options, f codec.Format[T], change func(T) T, c codec.Codec[T], in, want []T, key func(T) string) {
	t.Helper()
	build := func() *pipelinetest.Host {
		g := pipeline.New("test")
		s := pipeline.From(g, "in", source("in"), pipeline.Parse(f)).Codec(c)
		changed := pipeline.Map(s, "change", change).Codec(c)
		pipeline.ToFormat(changed, "out", sink("out"), f, func(dst []byte, v T) []byte { return append(dst, key(v)...) })
		return pipelinetest.New(t, g, opt)
	}
	text := func(v T) string {
		b, err := f.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	h := build()
	var messages, expected []string
	for i := range in {
		messages, expected = append(messages, text(in[i])), append(expected, text(want[i]))
	}
	if err := h.Push("in", batch(0, messages...)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got := out(h, "out"); got != strings.Join(expected, " ") {
		t.Errorf("%s: %q, want %q", name, got, expected)
	}
	for _, w := range h.Output["out"] {
		if v, err := f.Parse(w.Value); err != nil || string(w.Key) != key(v) {
			t.Errorf("%s: record %q has key %q, %v", name, w.Value, w.Key, err)
		}
	}
	err := build().Push("in", batch(4, messages[0], messages[0][:len(messages[0])-1]))
	if err == nil || !strings.Contains(err.Error(), `source "in": split in/4, position 1: the record does not decode: `) || !strings.Contains(err.Error(), "byte ") {
		t.Errorf("%s: a message cut off: %v", name, err)
	}
}

// A value that its format cannot write fails the job and names the sink.
func TestFormatsThatCannotWrite(t *testing.T) {
	g := pipeline.New("test")
	s := pipeline.From(g, "in", source("in"), func(*connectors.Record) (*wrapperspb.StringValue, error) { return wrapperspb.String("\xff"), nil })
	pipeline.ToFormat(s, "out", sink("out"), protobuf.New[*wrapperspb.StringValue](), nil)
	h := pipelinetest.New(t, g, pipelinetest.Options{})
	err := h.Push("in", batch(0, "x"))
	if err == nil || !strings.Contains(err.Error(), `sink "out": a value cannot be written: protobuf: `) {
		t.Errorf("%v", err)
	}
	if got := out(h, "out"); got != "" {
		t.Errorf("%q was written", got)
	}
}
