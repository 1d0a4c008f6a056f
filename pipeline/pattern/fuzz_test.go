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

// newer is a codec that also reads codec.Varint's encoding.
type newer struct{ codec.Int64 }

func (newer) Reads(id string) codec.Codec[int64] {
	if id == (codec.Varint{}).ID() {
		return codec.Varint{}
	}
	return nil
}

// TestStateEvolves with its records, within one pattern.
func TestStateEvolves(t *testing.T) {
	old, now := stateCodec[int64]{"begin a; b", codec.Varint{}}, stateCodec[int64]{"begin a; b", newer{}}
	s := keyState[int64]{due: 7, waiting: []event[int64]{{ts: 1, value: -5}}}
	c := codec.Reading(codec.Codec[keyState[int64]](now), old.ID())
	if c == nil {
		t.Fatalf("%s is not read", old.ID())
	}
	got, _, err := c.Decode(old.Append(nil, s))
	if err != nil || !bytes.Equal(now.Append(nil, got), now.Append(nil, s)) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, other := range []stateCodec[int64]{{"begin a", codec.Varint{}}} {
		if codec.Reading(codec.Codec[keyState[int64]](now), other.ID()) != nil {
			t.Errorf("%s is read", other.ID())
		}
	}
}
