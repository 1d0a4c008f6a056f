package scenarios

import (
	"testing"
	"time"
)

func TestUnitsAreReadAndWrittenBack(t *testing.T) {
	for _, c := range []struct {
		in    string
		want  Duration
		shown string
	}{
		{"500ms", Duration(500 * time.Millisecond), "500ms"},
		{"90s", Duration(90 * time.Second), "1m30s"},
		{"2m", Duration(2 * time.Minute), "2m"},
		{"1h", Duration(time.Hour), "1h"},
		{"0s", 0, "0s"},
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(c.in)); err != nil || d != c.want || d.String() != c.shown {
			t.Errorf("%s: %v %v, shown %s", c.in, time.Duration(d), err, d)
		}
	}
	for in, want := range map[string]Rate{"5000/s": 5000, "10k/s": 10_000, "1.5M/s": 1_500_000, "600/min": 10, "0.5/s": 0.5} {
		var r, again Rate
		if err := r.UnmarshalText([]byte(in)); err != nil || r != want {
			t.Errorf("%s: %v %v", in, float64(r), err)
		}
		if err := again.UnmarshalText([]byte(r.String())); err != nil || again != r {
			t.Errorf("%s is written %s and read back as %v, %v", in, r, float64(again), err)
		}
	}
	for in, want := range map[string]Bytes{"100B": 100, "100": 100, "32KiB": 32 << 10, "1.5MB": 1_500_000, "1GiB": 1 << 30, "0": 0} {
		var b, again Bytes
		if err := b.UnmarshalText([]byte(in)); err != nil || b != want {
			t.Errorf("%s: %d %v", in, b, err)
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%s is written %s and read back as %d, %v", in, b, again, err)
		}
	}
	for in, want := range map[string]SinkRate{"2000/s": {Rate: 2000}, "40%": {Percent: 40}, "100%": {Percent: 100}} {
		var s SinkRate
		if err := s.UnmarshalText([]byte(in)); err != nil || s != want || s.String() != in {
			t.Errorf("%s: %+v %v", in, s, err)
		}
	}
	if got := (SinkRate{Percent: 40}).Of(10_000); got != 4000 {
		t.Errorf("40%% of 10000/s is %v", got)
	}
}

func TestImpossibleUnitsAreRefused(t *testing.T) {
	refuse := func(kind string, unmarshal func([]byte) error, inputs ...string) {
		for _, in := range inputs {
			if err := unmarshal([]byte(in)); err == nil {
				t.Errorf("%s %q was accepted", kind, in)
			}
		}
	}
	refuse("duration", new(Duration).UnmarshalText, "", "5", "-1s", "1y", "s", "1e300h", "721h", "NaN")
	refuse("rate", new(Rate).UnmarshalText, "", "5000", "-1/s", "0/s", "-1", "k/s", "5000/h", "Inf/s", "NaN/s", "0x10/s", "1e30/s", "1_000/s", "/s")
	refuse("bytes", new(Bytes).UnmarshalText, "", "-1B", "1.5B", "KiB", "1TB", "99999GiB", "NaN", "0x10")
	refuse("throttle", new(SinkRate).UnmarshalText, "", "0%", "101%", "-5%", "NaN%", "2000", "%", "0/s")
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"5000/s", "10k/s", "40%", "500ms", "32KiB", "", "-1", "1e400/s", "0x1p4/s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var d Duration
		if d.UnmarshalText([]byte(in)) == nil {
			var again Duration
			if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
				t.Errorf("duration %q → %s → %v", in, d, err)
			}
		}
		var r Rate
		if r.UnmarshalText([]byte(in)) == nil {
			var again Rate
			if err := again.UnmarshalText([]byte(r.String())); err != nil || again != r {
				t.Errorf("rate %q → %s → %v", in, r, err)
			}
		}
		var b Bytes
		if b.UnmarshalText([]byte(in)) == nil {
			var again Bytes
			if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
				t.Errorf("bytes %q → %s → %v", in, b, err)
			}
		}
		var s SinkRate
		if s.UnmarshalText([]byte(in)) == nil && s.Of(1000) <= 0 {
			t.Errorf("throttle %q stops everything", in)
		}
	})
}
