package exchange

import (
	"bytes"
	"testing"
)

// collected is an outlet that keeps what is emitted.
type collected struct {
	pool *Pool
	out  []*Buffer
}

func (c *collected) Acquire(int) *Buffer   { return c.pool.TryGet() }
func (c *collected) Overdraft(int) *Buffer { return c.pool.Overdraft() }
func (c *collected) Emit(_ int, b *Buffer) { c.out = append(c.out, b) }

// TestCountsHoldWhatIsNotYetEmitted: the counts are exact at any time, with
// records in partly filled buffers and records that span several.
func TestCountsHoldWhatIsNotYetEmitted(t *testing.T) {
	var pressure Pressure
	c := &collected{pool: NewPool(100, nil)}
	w := NewWriter(2, 0, c, &pressure)
	var records, size int64
	for i, n := range []int{10, Size - 1, 1, 3*Size + 5, 0, 7, Size + slack, 12, 2 * Size} {
		ch := i % 2
		b := w.Begin(ch)
		w.End(ch, b, append(b.Data, bytes.Repeat([]byte{byte(i)}, n)...))
		records, size = records+1, size+int64(n)
		if r, s := w.Counts(); r != records || s != size {
			t.Fatalf("after record %d of %d bytes: counted %d records and %d bytes, want %d and %d", i, n, r, s, records, size)
		}
	}
	w.Flush()
	if r, s := w.Counts(); r != records || s != size {
		t.Fatalf("after the flush: counted %d and %d, want %d and %d", r, s, records, size)
	}
	var r, s int64
	for _, b := range c.out {
		r, s = r+int64(b.Records), s+int64(len(b.Data))
	}
	if r != records || s != size {
		t.Fatalf("emitted %d records and %d bytes, want %d and %d", r, s, records, size)
	}
}
