package idrecord

import (
	"fmt"
	"strings"
	"testing"

	"streamduel/workloads"
)

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{MinBytes, 100, 5000} {
		p := Defaults()
		p.RecordBytes = size
		g := NewGenerator(p, 7)
		for _, in := range []workloads.Input{
			{}, {Index: 1, Partition: 65535, Sequence: 999_999_999_999, Scheduled: 1<<63 - 1},
		} {
			for _, closing := range []bool{false, true} {
				b, key := g.Append(nil, in)
				if closing {
					b, key = g.Closing(nil, in)
				}
				r, err := Parse(b)
				if err != nil || len(b) != size || key != nil {
					t.Fatalf("%q (%d bytes), key %q: %v", b, len(b), key, err)
				}
				if r.Partition != in.Partition || r.Sequence != in.Sequence || r.Scheduled != in.Scheduled || r.Closing != closing || r.Key < 0 || r.Key >= 1000 {
					t.Errorf("%+v from %+v", r, in)
				}
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good, _ := NewGenerator(Defaults(), 1).Append(nil, workloads.Input{})
	for at := range fillerAt {
		bad := append([]byte{}, good...)
		bad[at] = 'x'
		if _, err := Parse(bad); err == nil {
			t.Errorf("byte %d changed: %q was accepted", at, bad)
		}
	}
	for n := range MinBytes {
		if _, err := Parse(good[:n]); err == nil {
			t.Errorf("cut to %d bytes it was accepted", n)
		}
	}
}

func FuzzParse(f *testing.F) {
	good, _ := NewGenerator(Defaults(), 1).Append(nil, workloads.Input{})
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		head := fmt.Sprintf("%05d,%012d,%019d,%07d,", r.Partition, r.Sequence, r.Scheduled, r.Key)
		if !strings.HasPrefix(string(b), head) {
			t.Fatalf("%q was read as %+v", b, r)
		}
	})
}

func TestValidateNamesTheField(t *testing.T) {
	for _, c := range []struct {
		change func(*Params)
		want   string
	}{
		{func(p *Params) { p.Keys = 0 }, "keys: 1 to 1000000"},
		{func(p *Params) { p.RecordBytes = 10 }, "recordBytes: 49 to 1048576 bytes"},
		{func(p *Params) { p.Skew = -1 }, "skew: a Zipf exponent from 0 (uniform) to 4"},
		{func(*Params) {}, ""},
	} {
		p := Defaults()
		c.change(&p)
		got := ""
		if err := p.Validate(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func BenchmarkGenerator(b *testing.B) {
	for _, skew := range []float64{0, 1} {
		b.Run(fmt.Sprintf("skew=%v", skew), func(b *testing.B) {
			p := Defaults()
			p.Skew = skew
			g := NewGenerator(p, 1)
			buf := make([]byte, 0, 256)
			in := workloads.Input{Scheduled: 123456789012345}
			b.ReportAllocs()
			for b.Loop() {
				in.Index++
				in.Sequence++
				buf, _ = g.Append(buf[:0], in)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	v, _ := NewGenerator(Defaults(), 1).Append(nil, workloads.Input{Scheduled: 123456789012345})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(v); err != nil {
			b.Fatal(err)
		}
	}
}
