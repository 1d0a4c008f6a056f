package passthrough

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline/pipelinetest"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
	"streamduel/workloads/internal/trial"
)

func TestGeneratorIsPure(t *testing.T) {
	trial.CheckDeterminism(t, Workload(), Workload().Params())
}

func TestBytesInAreBytesOut(t *testing.T) {
	for i, o := range []trial.Options{{}, {Parallelism: 2, Unchained: true, Buffers: 1}} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			res := trial.Run(t, Workload(), Workload().Params(), o)
			sent := map[trial.ID][]byte{}
			for _, in := range res.Inputs {
				sent[trial.ID{Partition: in.Partition, Sequence: in.Sequence}] = in.Payload
			}
			for i, r := range res.Rows {
				id := trial.ID{Partition: r.Partition, Sequence: r.Sequence}
				if !r.HasID || !bytes.Equal(res.Raw[i].Value, sent[id]) {
					t.Fatalf("input %v came out as %q, sent was %q", id, res.Raw[i].Value, sent[id])
				}
				delete(sent, id)
			}
			if len(sent) != 0 {
				t.Errorf("%d inputs did not come out", len(sent))
			}
			trial.CheckClosings(t, res.Rows, 3)
		})
	}
}

func TestTheJobDoesNotAllocate(t *testing.T) {
	trial.CheckAllocations(t, Workload(), Workload().Params(), false)
}

// No key, a key of no bytes and a key are three things to Kafka.
func TestKeysAreKept(t *testing.T) {
	for _, unchained := range []bool{false, true} {
		g, err := Workload().Pipeline(Workload().Params(), trial.IO())
		if err != nil {
			t.Fatal(err)
		}
		h := pipelinetest.New(t, g, pipelinetest.Options{Unchained: unchained})
		keys := [][]byte{nil, {}, []byte("k"), nil}
		b := &connectors.Batch{Split: pipelinetest.Split(0)}
		for _, k := range keys {
			b.Records = append(b.Records, connectors.Record{Key: k, Value: []byte("v")})
		}
		if err := h.Push("in", b); err != nil {
			t.Fatal(err)
		}
		for i, w := range h.Output["out"] {
			if (w.Key == nil) != (keys[i] == nil) || !bytes.Equal(w.Key, keys[i]) {
				t.Errorf("unchained %v: key %#v came out as %#v", unchained, keys[i], w.Key)
			}
		}
	}
}

func FuzzMessageCodec(f *testing.F) {
	f.Add([]byte("k"), []byte("v"), true)
	f.Fuzz(func(t *testing.T, key, value []byte, keyed bool) {
		m := message{value: value}
		if keyed {
			m.key = append([]byte{}, key...)
		}
		b := messageCodec.Append(nil, m)
		got, n, err := messageCodec.Decode(append(b, 1, 2, 3))
		if err != nil || n != len(b) || !bytes.Equal(got.key, m.key) || (got.key == nil) != (m.key == nil) || !bytes.Equal(got.value, value) {
			t.Fatalf("%+v came back as %+v, %d, %v", m, got, n, err)
		}
		for cut := range b {
			if _, _, err := messageCodec.Decode(b[:cut]); !errors.Is(err, codec.ErrShort) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
	})
}

func TestParseIsStrict(t *testing.T) {
	var row workloads.Row
	if err := parse(&connectors.Record{Value: []byte("no id here")}, false, &row); err == nil {
		t.Error("accepted")
	}
}

func BenchmarkParse(b *testing.B) {
	g := idrecord.NewGenerator(idrecord.Defaults(), 1)
	v, _ := g.Append(nil, workloads.Input{Sequence: 5})
	r := &connectors.Record{Value: v}
	var row workloads.Row
	b.ReportAllocs()
	for b.Loop() {
		if err := parse(r, false, &row); err != nil {
			b.Fatal(err)
		}
	}
}
