package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

// badJob reads numbers that are their own event times; 13 says that it has none.
func badJob(g *pipeline.Graph, w pipeline.Watermarks, opts ...pipeline.SourceOption[int64]) *pipeline.Stream[int64] {
	of := func(v int64) int64 {
		if v == 13 {
			return pipeline.NoTime
		}
		return v
	}
	in := numbers(g, "in", append(opts, pipeline.EventTime(of, w))...)
	toText(in, "out")
	return in
}

// bads are one record of each kind of bad input between two good ones.
func bads() *connectors.Batch {
	b := numberBatch(pipelinetest.Split(3), 1000, 13, -5, 99_999_999_999_999_999, 2000)
	b.Records = append(b.Records[:4:4], connectors.Record{Key: []byte("k"), Value: []byte("x1"), Offset: 4, Timestamp: 77,
		Headers: []connectors.Header{{Key: "h", Value: []byte("v")}}}, connectors.Record{Value: []byte("2000"), Offset: 5})
	return b
}

var badReasons = []string{
	"1: the record has no event time",
	"2: the record's event time -5 ms lies before 1970",
	"3: the record's event time 99999999999999999 ms lies too far ahead",
	`4: the record does not decode: strconv.ParseInt: parsing "x1": invalid syntax`,
}

func values(h *pipelinetest.Host, sink string) (out []string) {
	for _, r := range h.Output[sink] {
		out = append(out, string(r.Value))
	}
	return out
}

// TestBadInputFails: by default, naming source, split, position and reason.
func TestBadInputFails(t *testing.T) {
	for i, want := range badReasons {
		g := pipeline.New("bad")
		badJob(g, pipeline.Watermarks{})
		h := pipelinetest.New(t, g, pipelinetest.Options{})
		b := bads()
		b.Records = b.Records[i+1 : i+2]
		err := h.Push("in", b)
		if err == nil || !strings.Contains(err.Error(), `source "in": split `+string(b.Split.ID)+", position "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v\nwant source \"in\": split %s, position %s", err, b.Split.ID, want)
		}
	}
}

// TestBadInputIsLeftOut: counted, and the good records pass; what is bad does not
// move the watermark.
func TestBadInputIsLeftOut(t *testing.T) {
	for _, policy := range []pipeline.BadPolicy{pipeline.DropBad, pipeline.DeadLetters} {
		for _, unchained := range []bool{false, true} {
			var told []string
			g := pipeline.New("bad")
			in := badJob(g, pipeline.Watermarks{}, pipeline.OnBadInput[int64](policy))
			if policy == pipeline.DeadLetters {
				dead := pipeline.DeadLettersOf(in)
				if unchained {
					dead = dead.Rebalance() // through an exchange
				}
				pipeline.To(dead, "dead", sink("dead"), pipeline.EncodeDeadLetter)
			}
			h := pipelinetest.New(t, g, pipelinetest.Options{BadInput: func(b *pipeline.BadRecord) {
				told = append(told, fmt.Sprintf("%d: %s", b.Position, b.Reason))
			}})
			if err := h.Push("in", bads()); err != nil {
				t.Fatal(err)
			}
			if err := h.Settle(); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(values(h, "out"), " "); got != "1000 2000" {
				t.Errorf("%s: passed %s", policy, got)
			}
			if wm, _ := h.SplitWatermark("in", pipelinetest.Split(3)); wm != 1999 {
				t.Errorf("%s: watermark %d", policy, wm)
			}
			for i, want := range badReasons {
				if i >= len(told) || !strings.HasPrefix(told[i], want) {
					t.Errorf("%s: told %q, want %s", policy, told, want)
				}
			}
			if policy != pipeline.DeadLetters {
				continue
			}
			out := h.Output["dead"]
			if len(out) != 4 {
				t.Fatalf("%d dead letters", len(out))
			}
			last := out[3]
			var headers []string
			for _, x := range last.Headers {
				headers = append(headers, x.Key+"="+string(x.Value))
			}
			if string(last.Key) != "k" || string(last.Value) != "x1" || last.Timestamp != 77 ||
				!strings.HasPrefix(strings.Join(headers, " "), "h=v sd-split="+string(pipelinetest.Split(3).ID)+" sd-position=4 sd-reason=the record does not decode") {
				t.Errorf("dead letter %q %q %d %q", last.Key, last.Value, last.Timestamp, headers)
			}
		}
	}
}

// TestDeadLettersAreAsTheyCame: of a record without a key, or without a value,
// the letter has none either, whatever the one before had; over an exchange too.
func TestDeadLettersAreAsTheyCame(t *testing.T) {
	for _, unchained := range []bool{false, true} {
		g := pipeline.New("bad")
		dead := pipeline.DeadLettersOf(badJob(g, pipeline.Watermarks{}, pipeline.OnBadInput[int64](pipeline.DeadLetters)))
		if unchained {
			dead = dead.Rebalance()
		}
		pipeline.To(dead, "dead", sink("dead"), pipeline.EncodeDeadLetter)
		h := pipelinetest.New(t, g, pipelinetest.Options{})
		b := &connectors.Batch{Split: pipelinetest.Split(0), Records: []connectors.Record{
			{Key: []byte("k"), Value: []byte("x")}, {Value: []byte("y"), Offset: 1}, {Key: []byte("k"), Offset: 2}, {Key: []byte("l"), Value: []byte{}, Offset: 3},
			{Key: []byte{}, Value: []byte("z"), Offset: 4}, {Value: []byte("y"), Offset: 5},
		}}
		if err := h.Push("in", b); err != nil {
			t.Fatal(err)
		}
		if err := h.Settle(); err != nil {
			t.Fatal(err)
		}
		for i, r := range h.Output["dead"] {
			if want := b.Records[i]; fmt.Sprintf("%#v %#v", r.Key, r.Value) != fmt.Sprintf("%#v %#v", want.Key, want.Value) {
				t.Errorf("exchange %v: letter %d is %#v=%#v, came as %#v=%#v", unchained, i, r.Key, r.Value, want.Key, want.Value)
			}
		}
	}
}

// TestRecordsWithoutAKey: an encoder that gives some records a key and others
// none is followed, whichever comes first; an empty value is one.
func TestRecordsWithoutAKey(t *testing.T) {
	g := pipeline.New("keys")
	in := numbers(g, "in")
	pipeline.To(in, "out", sink("out"), func(v int64, r *connectors.Record) {
		if v%2 == 1 {
			r.Key = append(r.Key, 'k')
			r.Value = append(r.Value, 'v')
		}
		if v == 4 {
			r.Value = nil
		}
	})
	h := pipelinetest.New(t, g, pipelinetest.Options{})
	if err := h.Push("in", numberBatch(pipelinetest.Split(0), 2, 1, 2, 4, 3, 6)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range h.Output["out"] {
		got = append(got, fmt.Sprintf("%v %v", r.Key == nil, r.Value == nil))
	}
	if got := strings.Join(got, ", "); got != "true false, false false, true false, true true, false false, true false" {
		t.Errorf("without a key, without a value: %s", got)
	}
}

// TestEventTimesMayBeAdmitted: before 1970 where that is meant, and how far ahead
// is counted from the engine's time.
func TestEventTimesMayBeAdmitted(t *testing.T) {
	g := pipeline.New("bad")
	badJob(g, pipeline.Watermarks{BeforeEpoch: true, Ahead: time.Minute}, pipeline.OnBadInput[int64](pipeline.DropBad))
	h := pipelinetest.New(t, g, pipelinetest.Options{})
	if err := h.ProcessingTime(1_000_000); err != nil {
		t.Fatal(err)
	}
	if err := h.Push("in", numberBatch(pipelinetest.Split(0), -5, 1_060_000, 1_060_001, 13)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(values(h, "out"), " "); got != "-5 1060000" {
		t.Errorf("passed %s", got)
	}
}

// TestGraphsPolicy holds for all sources without one of their own, and is
// refused where it cannot work.
func TestGraphsPolicy(t *testing.T) {
	g := pipeline.New("bad")
	toText(pipeline.Union(numbers(g, "a"), numbers(g, "b", pipeline.OnBadInput[int64](pipeline.DropBad))), "out")
	g.OnBadInput(pipeline.DeadLetters, sink("dead"))
	h := pipelinetest.New(t, g, pipelinetest.Options{})
	for _, name := range []string{"a", "b"} {
		b := numberBatch(pipelinetest.Split(0), 1)
		b.Records[0].Value = []byte("bad " + name)
		if err := h.Push(name, b); err != nil {
			t.Fatal(err)
		}
	}
	if got := values(h, "a-dead-letters"); len(got) != 1 || got[0] != "bad a" {
		t.Errorf("dead letters %q", got)
	}
	for want, p := range map[string]pipeline.BadPolicy{"which nobody reads": pipeline.DeadLetters, "allowed are [fail drop dead-letter]": "ignore"} {
		g := pipeline.New("bad")
		toText(numbers(g, "in", pipeline.OnBadInput[int64](p)), "out")
		if err := g.Check(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `source "in"`) {
			t.Errorf("%v, want …%s", err, want)
		}
	}
}
