package tumble

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"streamduel/connectors"
	"streamduel/workloads"
)

func TestStart(t *testing.T) {
	c := Config{Size: 10}
	for ts, want := range map[int64]int64{0: 0, 9: 0, 10: 10, 25: 20, -1: -10, -10: -10, -11: -20} {
		if got := c.Start(ts); got != want {
			t.Errorf("%d lies in the window of %d, want %d", ts, got, want)
		}
	}
}

// When every partition has closed, the watermark has passed every window of the
// load and reached the moment at which closing records show; before the first
// has, it has not.
func TestClosingTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Size: rapid.Int64Range(1, 100_000).Draw(t, "size"), Delay: rapid.Int64Range(0, 100_000).Draw(t, "delay")}
		last := rapid.Int64Range(-1e12, 1e13).Draw(t, "last")
		closing := c.ClosingTime(last)
		watermark := closing - c.Delay - 1
		lastWindowFires := c.Start(last) + c.Size - 1
		if lastWindowFires > c.shows(closing) || c.shows(closing) > watermark {
			t.Fatalf("the last window fires at %d, closing records show at %d, the watermark ends at %d", lastWindowFires, c.shows(closing), watermark)
		}
		if c.shows(closing) <= last-c.Delay-1 {
			t.Fatalf("closing records show at %d, before the load has ended at %d", c.shows(closing), last)
		}
	})
}

func TestPanesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ps []pane
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			ps = append(ps, pane{rapid.Int64().Draw(t, "fires"), rapid.Int64().Draw(t, "count"), rapid.Uint64().Draw(t, "hash")})
		}
		b := panesCodec.Append(nil, ps)
		got, n, err := panesCodec.Decode(append(b, "behind"...))
		if err != nil || n != len(b) || !slices.Equal(got, ps) {
			t.Fatalf("%v came back as %v, %d of %d, %v", ps, got, n, len(b), err)
		}
		for cut := range b {
			if _, _, err := panesCodec.Decode(b[:cut]); err == nil {
				t.Fatalf("cut to %d of %d bytes it was read", cut, len(b))
			}
		}
	})
}

func FuzzRows(f *testing.F) {
	f.Add(int64(1700000000000), int64(17), uint64(5), false, int32(3), "key")
	f.Add(int64(-10), int64(0), uint64(1<<63), true, int32(0), "")
	f.Fuzz(func(t *testing.T, window, count int64, hash uint64, closing bool, partition int32, key string) {
		if window <= -1e14 || window >= 1e15 || count < 0 || count >= 1e12 || partition < 0 {
			return // wider than the fields
		}
		var out connectors.Record
		AppendRow(&out, window, count, hash, closing, partition, key)
		var row workloads.Row
		if err := ParseRow(out.Value, &row); err != nil {
			t.Fatalf("%q: %v", out.Value, err)
		}
		if closing {
			if !row.Closing || row.Partition != partition {
				t.Fatalf("%q: %+v", out.Value, row)
			}
			return
		}
		if row.Window != window || row.Value != count || row.IDHash != hash || string(row.Key) != key || string(out.Key) != key || row.HasID || row.Closing {
			t.Fatalf("%q: %+v", out.Value, row)
		}
	})
}

func FuzzParseRow(f *testing.F) {
	f.Add([]byte("000000000017,0123456789abcdef,r,001700000000000,c-1"))
	f.Add([]byte("000000000000,0000000000000000,c,-00000000000001,7"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var row workloads.Row
		_ = ParseRow(b, &row) // must not panic
	})
}
