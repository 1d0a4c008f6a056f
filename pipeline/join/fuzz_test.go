package join

import (
	"bytes"
	"testing"

	"streamduel/codec"
)

// FuzzState: whatever a snapshot holds, reading a join's state ends with an
// error or with rows that are written as they were read.
func FuzzState(f *testing.F) {
	c := sidesCodec[string, int64]{codec.StringView{}, codec.Int64{}}
	s := sides[string, int64]{due: 7}
	s.left.add(item[string]{ts: 2, value: "b", matched: true})
	s.left.add(item[string]{ts: 1, value: "a"})
	s.right.add(item[int64]{ts: -3, value: 9})
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

// TestBuffer: rows lie in the order of time, those of one time in the order in
// which they came, wherever the front was taken away.
func TestBuffer(t *testing.T) {
	var b buffer[int]
	var want []item[int]
	for i := range 5000 {
		x := item[int]{ts: int64(i/3*2 - i*i%7), value: i}
		b.add(x)
		at := len(want)
		for at > 0 && want[at-1].ts > x.ts {
			at--
		}
		want = append(want[:at], append([]item[int]{x}, want[at:]...)...)
		if i%11 == 10 {
			n := i * 7 % min(len(want), 20)
			b.drop(n)
			want = want[n:]
		}
		if len(want) != len(b.live()) {
			t.Fatalf("%d rows, want %d", len(b.live()), len(want))
		}
		from := b.from(x.ts)
		if b.live()[from].ts < x.ts || from > 0 && b.live()[from-1].ts >= x.ts {
			t.Fatalf("rows from %d begin at %d", x.ts, from)
		}
	}
	for i, x := range b.live() {
		if x != want[i] {
			t.Fatalf("row %d is %v, want %v", i, x, want[i])
		}
	}
	if cap(b.items) > 8*len(want)+128 {
		t.Errorf("%d rows take an array of %d", len(want), cap(b.items))
	}
}

// newer is a codec that also reads codec.Varint's encoding.
type newer struct{ codec.Int64 }

func (newer) Reads(id string) codec.Codec[int64] {
	if id == (codec.Varint{}).ID() {
		return codec.Varint{}
	}
	return nil
}

// TestStateEvolves with the rows of either side.
func TestStateEvolves(t *testing.T) {
	old := sidesCodec[int64, int64]{codec.Varint{}, codec.Int64{}}
	now := sidesCodec[int64, int64]{newer{}, codec.Int64{}}
	s := sides[int64, int64]{due: 7}
	s.left.add(item[int64]{ts: 1, value: -5, matched: true})
	s.right.add(item[int64]{ts: 2, value: 9})
	c := codec.Reading(codec.Codec[sides[int64, int64]](now), old.ID())
	if c == nil {
		t.Fatalf("%s is not read", old.ID())
	}
	got, _, err := c.Decode(old.Append(nil, s))
	if err != nil || !bytes.Equal(now.Append(nil, got), now.Append(nil, s)) {
		t.Errorf("%+v, %v", got, err)
	}
	other := sidesCodec[int64, int64]{codec.Int64{}, codec.Varint{}}
	if codec.Reading(codec.Codec[sides[int64, int64]](now), other.ID()) != nil {
		t.Errorf("%s is read", other.ID())
	}
}
