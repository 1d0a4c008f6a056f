package windowrow

import (
	"testing"

	"streamduel/connectors"
	"streamduel/workloads"
)

func FuzzRows(f *testing.F) {
	f.Add(int64(1700000000000), int64(17), uint64(5), false, int32(3), "key")
	f.Add(int64(-10), int64(0), uint64(1<<63), true, int32(0), "")
	f.Fuzz(func(t *testing.T, window, count int64, hash uint64, closing bool, partition int32, key string) {
		if window <= -1e14 || window >= 1e15 || count < 0 || count >= 1e12 || partition < 0 {
			return // wider than the fields
		}
		var out connectors.Record
		Append(&out, window, count, hash, closing, partition, key)
		var row workloads.Row
		if err := Parse(out.Value, &row); err != nil {
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
		_ = Parse(b, &row) // must not panic
	})
}
