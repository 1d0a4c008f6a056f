package plan

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func weighted(weights ...int) Shape { return Shape{Tail: 1000, Spread: Spread{Weights: weights}} }

// TestWeightsDealTurnsOut: each turn gives every partition its weight, spread
// over the turn.
func TestWeightsDealTurnsOut(t *testing.T) {
	p, err := New(weighted(5, 2, 1), Partitions("t", 3))
	if err != nil {
		t.Fatal(err)
	}
	var order []int32
	for i := range int64(16) {
		g, seq := p.Locate(i)
		order = append(order, g)
		if at, ok := p.Index(g, seq); !ok || at != i {
			t.Errorf("record %d is (%d, %d), which is record %d", i, g, seq, at)
		}
	}
	if want := []int32{0, 1, 0, 0, 2, 0, 1, 0, 0, 1, 0, 0, 2, 0, 1, 0}; !reflect.DeepEqual(order, want) {
		t.Errorf("order %v", order)
	}
	for g, want := range []int64{10, 4, 2} {
		if n := p.Sequences(int32(g), 16); n != want {
			t.Errorf("partition %d has %d of 16 records, want %d", g, n, want)
		}
	}
}

// TestWeightedPlansAreConsistent: over any epochs and weights, a record's place
// is its own, sequences count from 0 without a gap, and counts agree.
func TestWeightedPlansAreConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(0, 7), 0, 5).Draw(t, "weights")
		first := rapid.IntRange(1, 4).Draw(t, "partitions")
		if len(weights) > 0 && weights[0] == 0 { // somebody has to get records
			weights[0] = 1
		}
		p, err := New(weighted(weights...), Partitions("t", first))
		if err != nil {
			t.Fatal(err)
		}
		from, parts := int64(0), first
		for range rapid.IntRange(0, 2).Draw(t, "epochs") {
			from += int64(rapid.IntRange(1, 50).Draw(t, "length"))
			parts += rapid.IntRange(1, 3).Draw(t, "more")
			if _, err := p.Append(from, Partitions("t", parts)); err != nil {
				t.Fatal(err)
			}
		}
		next := make([]int64, parts)
		c := p.Cursor()
		for i := range from + 60 {
			g, seq := p.Locate(i)
			if seq != next[g] || p.Sequences(g, i) != seq {
				t.Fatalf("record %d is (%d, %d), %d counted, want sequence %d", i, g, seq, p.Sequences(g, i), next[g])
			}
			next[g]++
			if at, ok := p.Index(g, seq); !ok || at != i {
				t.Fatalf("record %d is (%d, %d), which is record %d, %v", i, g, seq, at, ok)
			}
			if in := c.Input(i); in.Partition != g || in.Sequence != seq {
				t.Fatalf("record %d: the cursor says (%d, %d), the plan (%d, %d)", i, in.Partition, in.Sequence, g, seq)
			}
		}
		for g := range parts {
			if _, ok := p.Index(int32(g), math.MaxInt64); ok {
				t.Fatal("an index beyond all numbers")
			}
		}
	})
}

// TestEventTimeIsStretchedAndLags: event time passes at its own speed from the
// start on; partitions lag, closing records do not.
func TestEventTimeIsStretchedAndLags(t *testing.T) {
	s := Shape{Tail: 10, Spread: Spread{EventSpeed: 60, Lag: []time.Duration{0, 5 * time.Second}}}
	p, err := New(s, Partitions("t", 3))
	if err != nil {
		t.Fatal(err)
	}
	const start, wall = 7_000_000_000, 1_700_000_000_000_000_000
	p.Begin(start, wall)
	begin := int64((start + wall) / 1e6)
	for i, want := range []int64{0, 6000 - 5000, 12000, 18000, 24000 - 5000} {
		if got := p.Input(int64(i)).EventTime - begin; got != want {
			t.Errorf("record %d: event time %d, want %d", i, got, want)
		}
	}
	if err := p.Stop(10); err != nil {
		t.Fatal(err)
	}
	for i := int64(10); i < 13; i++ {
		if got := p.Input(i).EventTime - begin; got != 60000 {
			t.Errorf("closing record %d: event time %d, want 60000", i, got)
		}
	}
	b, err := p.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	q := new(Plan)
	if err := q.UnmarshalJSON(b); err != nil || !reflect.DeepEqual(q.Input(4), p.Input(4)) {
		t.Errorf("read back: %+v, %v", q.Input(4), err)
	}
}

func TestRefusedSpreads(t *testing.T) {
	for want, s := range map[string]Spread{
		"partition 1 has weight -1":             {Weights: []int{1, -1}},
		"each partition of an epoch has weight": {Weights: []int{0, 0}},
		"partition 0 lags by -1s":               {Lag: []time.Duration{-time.Second}},
		"event time at -1 times the schedule's": {EventSpeed: -1},
	} {
		if _, err := New(Shape{Tail: 1, Spread: s}, Partitions("t", 2)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want …%s", err, want)
		}
	}
}
