package plan

import (
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustPlan(t interface{ Fatal(...any) }, s Shape, ps []Partition) *Plan {
	p, err := New(s, ps)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestConstantIsExact(t *testing.T) {
	p := mustPlan(t, Constant(3), Partitions("in", 2))
	p.Begin(1000, 0)
	for i, want := range []int64{1000, 333334333, 666667666, 1000001000} {
		if got := p.Due(int64(i)); got != want {
			t.Errorf("record %d is due at %d, want %d", i, got, want)
		}
	}
	// Ten hours at 200,000/s: still on the nanosecond.
	p = mustPlan(t, Constant(200_000), Partitions("in", 2))
	for i := int64(0); i < 7_200_000_000; i += 999_983 {
		if got := p.Due(i); got != i*5000 {
			t.Fatalf("record %d is due at %d, want %d", i, got, i*5000)
		}
	}
}

func TestPauseHoldsNoRecord(t *testing.T) {
	s := Steps(Point{0, 10}, Point{time.Second, 0}, Point{2 * time.Second, 5}, Point{3 * time.Second, 0})
	p := mustPlan(t, s, Partitions("in", 1))
	for i, want := range map[int64]int64{9: 900e6, 10: 2000e6, 11: 2200e6, 14: 2800e6, 15: Never} {
		if got := p.Due(i); got != want {
			t.Errorf("record %d is due at %d, want %d", i, got, want)
		}
	}
	for at, want := range map[int64]int64{-1: 0, 0: 1, 99e6: 1, 100e6: 2, 1999e6: 10, 2000e6: 11, 9000e6: 15} {
		if got := p.Count(at); got != want {
			t.Errorf("%d records are due by %d, want %d", got, at, want)
		}
	}
}

func TestShapesHoldTheirIntegral(t *testing.T) {
	for name, c := range map[string]struct {
		shape Shape
		by    time.Duration
		want  int64
	}{
		"ramp":  {Ramp(0, 1000, 10*time.Second), 10 * time.Second, 5000},
		"burst": {Burst(100, 1000, 10*time.Second, time.Second), 30 * time.Second, 3 * (900 + 1000)},
		"sine":  {Sine(1000, 800, 7*time.Second), 21 * time.Second, 21000},
		"trace": {Trace(Point{0, 100}, Point{2 * time.Second, 300}, Point{2 * time.Second, 50}, Point{4 * time.Second, 50}), 6 * time.Second, 400 + 100 + 100},
		"then":  {Constant(100).Cut(3 * time.Second).Then(Constant(7)), 13 * time.Second, 370},
		"cut":   {Burst(100, 1000, 10*time.Second, time.Second).Cut(15 * time.Second), 99 * time.Second, 1900 + 500},
	} {
		p := mustPlan(t, c.shape, Partitions("in", 3))
		if got := p.Count(int64(c.by) - 1); got != c.want {
			t.Errorf("%s: %d records before %v, want %d", name, got, c.by, c.want)
		}
	}
}

func TestRefusedShapes(t *testing.T) {
	for name, s := range map[string]Shape{
		"negative rate":   Constant(-1),
		"not a number":    Constant(math.NaN()),
		"too high":        Constant(2e9),
		"times fall":      Trace(Point{time.Second, 1}, Point{0, 1}),
		"negative start":  {Segments: []Segment{{1, -1, 1}}},
		"negative end":    {Segments: []Segment{{1, 1, -1}}},
		"loop too long":   {Segments: []Segment{{1, 1, 1}}, Loop: 2},
		"loop of nothing": {Segments: []Segment{{1, 0, 0}}, Loop: 1},
		"burst too long":  Burst(1, 1, time.Second, 2*time.Second),
	} {
		if _, err := New(s, Partitions("in", 1)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRefusedEpochs(t *testing.T) {
	p := mustPlan(t, Constant(1), Partitions("in", 2))
	for name, f := range map[string]func() error{
		"not later":     func() error { _, err := p.Append(0, Partitions("in", 3)); return err },
		"no partitions": func() error { _, err := p.Append(5, nil); return err },
		"twice the same": func() error {
			_, err := p.Append(5, append(Partitions("in", 2), Partition{"in", 1}))
			return err
		},
		"behind the end": func() error {
			if err := p.Stop(5); err != nil {
				t.Fatal(err)
			}
			_, err := p.Append(5, Partitions("in", 3))
			return err
		},
	} {
		if name != "behind the end" && f() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if len(p.All()) != 2 || len(p.Epochs()) != 1 {
		t.Error("a refused epoch left a trace")
	}
	if _, err := p.Append(7, Partitions("in", 4)); err != nil {
		t.Fatal(err)
	}
	if p.Stop(6) == nil {
		t.Error("a stop before the last epoch was accepted")
	}
}

func TestGlobalNumbersAreStable(t *testing.T) {
	p := mustPlan(t, Constant(1), Partitions("a", 2))
	grow := func(from int64, ps ...Partition) {
		if _, err := p.Append(from, ps); err != nil {
			t.Fatal(err)
		}
	}
	grow(10, append(Partitions("a", 2), Partitions("b", 2)...)...)
	grow(20, append(Partitions("a", 3), Partitions("b", 2)...)...)
	want := []Partition{{"a", 0}, {"a", 1}, {"b", 0}, {"b", 1}, {"a", 2}}
	if !slices.Equal(p.All(), want) {
		t.Errorf("global partitions %v, want %v", p.All(), want)
	}
	if g, ok := p.Global(Partition{"a", 2}); !ok || g != 4 {
		t.Errorf("a/2 is number %d, want 4", g)
	}
	if g, s := p.Locate(22); g != 4 || s != 0 {
		t.Errorf("record 22 is number %d of partition %d, want the first of 4", s, g)
	}
}

var drawRate = rapid.Custom(func(t *rapid.T) float64 {
	if rapid.IntRange(0, 4).Draw(t, "zero") == 0 {
		return 0
	}
	return rapid.Float64Range(0.01, 1e6).Draw(t, "rate")
})

var drawShape = rapid.Custom(func(t *rapid.T) Shape {
	s := Shape{Tail: drawRate.Draw(t, "tail")}
	for range rapid.IntRange(0, 6).Draw(t, "segments") {
		s.Segments = append(s.Segments, Segment{
			Length: time.Duration(rapid.Int64Range(int64(200*time.Millisecond), int64(20*time.Second)).Draw(t, "length")),
			From:   drawRate.Draw(t, "from"),
			To:     drawRate.Draw(t, "to"),
		})
	}
	s.Loop = rapid.IntRange(0, len(s.Segments)).Draw(t, "loop")
	if s.Validate() != nil {
		s.Loop = 0
	}
	return s
})

// exact is the integral of the shape over [0, t), without rounding.
func exact(s Shape, t int64) *big.Rat {
	sum := new(big.Rat)
	add := func(g Segment) {
		length := min(int64(g.Length), t)
		t -= length
		if length <= 0 {
			return
		}
		from, to := new(big.Rat).SetFloat64(g.From), new(big.Rat).SetFloat64(g.To)
		sec := big.NewRat(length, 1e9)
		end := to.Sub(to, from)
		end.Mul(end, big.NewRat(length, int64(g.Length)))
		end.Add(end, from).Add(end, from) // twice the mean rate
		sum.Add(sum, end.Mul(end, sec).Mul(end, big.NewRat(1, 2)))
	}
	for _, g := range s.Segments {
		add(g)
	}
	if s.Loop > 0 {
		for t > 0 {
			for _, g := range s.Segments[len(s.Segments)-s.Loop:] {
				add(g)
			}
		}
	} else if t > 0 {
		add(Segment{time.Duration(t), s.Tail, s.Tail})
	}
	return sum
}

func TestDueInvertsTheIntegral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawShape.Draw(t, "shape")
		p := mustPlan(t, s, Partitions("in", 3))
		c := p.Cursor()
		last := int64(0)
		i := rapid.Int64Range(0, 5_000_000).Draw(t, "first")
		for range 20 {
			due := c.Due(i)
			if due != p.Due(i) {
				t.Fatalf("record %d: cursor says %d, plan %d", i, due, p.Due(i))
			}
			if due < last {
				t.Fatalf("record %d is due at %d, before an earlier one at %d", i, due, last)
			}
			if due == Never {
				return
			}
			last = due
			// At its due time no more than i records have been offered; just
			// after it, more than i. Rates round to one part in 2⁵³, sums of
			// them to a millionth of a record.
			slack := 1e-6 + float64(i)*1e-12
			if due < int64(20*time.Second) {
				lo, _ := exact(s, due).Float64()
				hi, _ := exact(s, due+1).Float64()
				if lo > float64(i)+slack || hi < float64(i)-slack {
					t.Fatalf("record %d is due at %d, where %.9f to %.9f records have been offered", i, due, lo, hi)
				}
			}
			if n := p.Count(due); n <= i || p.Count(due-1) > i {
				t.Fatalf("record %d is due at %d, but %d are due by then and %d before", i, due, n, p.Count(due-1))
			}
			i += rapid.Int64Range(0, 100_000).Draw(t, "step")
		}
	})
}

func TestIndexInvertsLocate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := map[string]int{"a": rapid.IntRange(1, 5).Draw(t, "partitions")}
		active := Partitions("a", sizes["a"])
		p := mustPlan(t, Constant(1000), active)
		from := int64(0)
		for range rapid.IntRange(0, 5).Draw(t, "epochs") {
			from += rapid.Int64Range(1, 40).Draw(t, "length")
			topic := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "topic")
			for range rapid.IntRange(1, 3).Draw(t, "grow") {
				active = append(active, Partition{topic, int32(sizes[topic])})
				sizes[topic]++
			}
			if len(active) > 1 && rapid.IntRange(0, 3).Draw(t, "drop") == 0 {
				active = active[1:]
			}
			if _, err := p.Append(from, active); err != nil {
				t.Fatal(err)
			}
		}
		end := from + rapid.Int64Range(1, 60).Draw(t, "rest")
		stopped := rapid.Bool().Draw(t, "stopped")
		if stopped {
			if err := p.Stop(end); err != nil {
				t.Fatal(err)
			}
			end = p.End()
		}
		next := make([]int64, len(p.All()))
		c := p.Cursor()
		for i := int64(0); i < end; i++ {
			g, s := p.Locate(i)
			if s != next[g] {
				t.Fatalf("record %d is number %d of partition %d, want %d", i, s, g, next[g])
			}
			next[g]++
			if back, ok := p.Index(g, s); !ok || back != i {
				t.Fatalf("record %d lies at %d/%d, which leads back to %d, %v", i, g, s, back, ok)
			}
			in := c.Input(i)
			if in != p.Input(i) || in.Partition != g || in.Sequence != s || in.Index != i {
				t.Fatalf("record %d: input %+v, located at %d/%d", i, in, g, s)
			}
			if stopped && p.Closing(i) != (i >= p.Limit()) {
				t.Fatalf("record %d: closing is %v", i, p.Closing(i))
			}
		}
		for g, n := range next {
			if stopped {
				if _, ok := p.Index(int32(g), n); ok {
					t.Fatalf("partition %d has a record %d behind its closing one", g, n)
				}
			}
			if got := p.Sequences(int32(g), min(end, p.Limit())); got != n && !(stopped && got == n-1) {
				t.Fatalf("partition %d: %d records counted, %d seen", g, got, n)
			}
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		q := new(Plan)
		if err := json.Unmarshal(b, q); err != nil {
			t.Fatal(err)
		}
		for i := int64(0); i < end; i++ {
			if p.Input(i) != q.Input(i) {
				t.Fatalf("record %d is %+v, after JSON %+v", i, p.Input(i), q.Input(i))
			}
		}
	})
}

func TestClosingRecordsAreDueAtTheStop(t *testing.T) {
	p := mustPlan(t, Constant(10), Partitions("in", 2))
	p.Begin(5e9, 1e18-5e9)
	if err := p.Stop(20); err != nil {
		t.Fatal(err)
	}
	in := p.Input(21)
	if in.Partition != 1 || in.Sequence != 10 || in.Scheduled != 7e9 || in.EventTime != 1e12+2000 {
		t.Errorf("closing record %+v", in)
	}
	if p.Count(math.MaxInt64/2) != 20 || p.End() != 22 {
		t.Error("the load does not end where it was stopped")
	}
}

func TestNoAllocation(t *testing.T) {
	p := mustPlan(t, Sine(1000, 500, time.Second), Partitions("in", 4))
	if _, err := p.Append(100, Partitions("in", 8)); err != nil {
		t.Fatal(err)
	}
	c := p.Cursor()
	var i, sum int64
	if n := testing.AllocsPerRun(1000, func() {
		in := c.Input(i)
		back, _ := p.Index(in.Partition, in.Sequence)
		sum += back + p.Due(i)
		i++
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func BenchmarkInput(b *testing.B) {
	p := mustPlan(b, Sine(1000, 500, time.Second), Partitions("in", 4))
	c := p.Cursor()
	var sum int64
	for i := range b.N {
		sum += c.Input(int64(i)).Scheduled
	}
	_ = sum
}

func BenchmarkIndex(b *testing.B) {
	p := mustPlan(b, Constant(1000), Partitions("in", 4))
	if _, err := p.Append(100, Partitions("in", 8)); err != nil {
		b.Fatal(err)
	}
	var sum int64
	for i := range b.N {
		k, _ := p.Index(int32(i&7), int64(i>>3))
		sum += k
	}
	_ = sum
}
