package pattern

import (
	"bytes"
	"testing"

	"streamduel/codec"
)

// FuzzState: whatever a snapshot holds, reading a pattern's state ends with an
// error or with sequences that are written as they were read.
func FuzzState(f *testing.F) {
	c := stateCodec[string]{"begin a", codec.StringView{}}
	s := keyState[string]{due: 5, waiting: []event[string]{{ts: 4, value: "x"}}}
	r := run[string]{}
	r.add(0, event[string]{ts: 1, value: "a"})
	s.runs = append(s.runs, r)
	f.Add(c.Append(nil, s))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, n, err := c.Decode(b)
		if err != nil {
			return
		}
		first := c.Append(nil, c.Clone(s))
		again, m, err := c.Decode(first)
		if err != nil || n > len(b) || m != len(first) || !bytes.Equal(c.Append(nil, c.Isolate(again)), first) {
			t.Fatalf("%d of %d bytes, read again %d of %d: %v", n, len(b), m, len(first), err)
		}
	})
}
