package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func failing(t *testing.T) func(error) {
	return func(err error) { t.Error(err) }
}

// TestCountingAddsUp over several takes, in one process and by way of another.
func TestCountingAddsUp(t *testing.T) {
	for _, far := range []bool{false, true} {
		s := NewSet(nil)
		if !s.Empty() || s.Take() != nil {
			t.Error("a new set is not empty")
		}
		g := s.Group("rule", failing(t))
		c, m, h := g.Counter("hits"), g.Meter("rate"), g.Histogram("cents")
		level := 0.0
		g.Gauge("level", func() float64 { return level })
		var totals Totals
		for round := range 3 {
			for i := range 100 {
				c.Inc()
				m.MarkN(2)
				h.Update(int64(round*100 + i))
			}
			c.Add(-10)
			m.Mark()
			level = math.Inf(1 - round) // +Inf, +Inf, -Inf
			u := s.Take()
			if far {
				b, err := json.Marshal(u)
				if err != nil {
					t.Fatal(err)
				}
				u = nil
				if err := json.Unmarshal(b, &u); err != nil {
					t.Fatal(err)
				}
			}
			totals.Add(1, u)
		}
		if s.Empty() {
			t.Error("the set is said to be empty")
		}
		got := totals.Values(1)
		want := []Value{
			{Operator: "rule", Subtask: 1, Name: "cents", Kind: KindHistogram, Count: 300, Quantiles: []int64{149, 224, 285, 293, 297, 299}},
			{Operator: "rule", Subtask: 1, Name: "hits", Kind: KindCounter, Value: 270},
			{Operator: "rule", Subtask: 1, Name: "level", Kind: KindGauge, Value: Number(math.Inf(-1))},
			{Operator: "rule", Subtask: 1, Name: "rate", Kind: KindMeter, Count: 603},
		}
		for i := range want[0].Quantiles { // within a hundredth
			if d := got[0].Quantiles[i] - want[0].Quantiles[i]; d < -3 || d > 3 {
				t.Errorf("quantile %v is %d, want about %d", Quantiles[i], got[0].Quantiles[i], want[0].Quantiles[i])
			}
		}
		got[0].Quantiles, want[0].Quantiles = nil, nil
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("far %v: got\n%+v\nwant\n%+v", far, got, want)
		}
	}
}

func TestValuesOutsideAHistogram(t *testing.T) {
	s := NewSet(nil)
	h := s.Group("rule", failing(t)).Histogram("h")
	h.Update(-5)
	h.Update(math.MaxInt64)
	var totals Totals
	totals.Add(0, s.Take())
	v := totals.Values(0)[0]
	if v.Count != 2 || v.Quantiles[0] != 0 || math.Abs(float64(v.Quantiles[5])/MaxValue-1) > 0.01 {
		t.Errorf("%+v", v)
	}
}

func TestWhatIsRefused(t *testing.T) {
	var refused []error
	s := NewSet(func(operator, name string, k Kind) error {
		if name == "taken" {
			return errors.New("taken elsewhere")
		}
		return nil
	})
	g := s.Group("rule", func(err error) { refused = append(refused, err) })
	g.Counter("hits").Inc()
	g.Counter("hits").Inc() // counts for nobody
	g.Meter("2nd")
	g.Gauge("", func() float64 { return 0 })
	g.Gauge("level", nil)
	g.Histogram("a-b")
	g.Histogram(strings.Repeat("x", 101))
	g.Counter("taken")
	s.Group("other", failing(t)).Counter("hits").Inc()
	want := []string{
		`operator "rule": counter "hits": the name is used twice in the operator: choose another`,
		`operator "rule": meter "2nd": "2" in the name: letters, digits and _ are allowed, and no digit in front`,
		`operator "rule": gauge "": a name of 0 characters: 1 to 100 are allowed`,
		`operator "rule": gauge "level" has no function`,
		`operator "rule": histogram "a-b": "-" in the name: letters, digits and _ are allowed, and no digit in front`,
		`operator "rule": histogram "` + strings.Repeat("x", 101) + `": a name of 101 characters: 1 to 100 are allowed`,
		`taken elsewhere`,
	}
	var got []string
	for _, err := range refused {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var totals Totals
	totals.Add(0, s.Take())
	for _, v := range totals.Values(0) {
		if v.Value != 1 {
			t.Errorf("%+v", v)
		}
	}
}

// TestRate: as Flink's MeterView, twelve intervals of five seconds make a minute.
func TestRate(t *testing.T) {
	var r Rate
	second := int64(time.Second)
	at := func(s int64) int64 { return 7 + s*second }
	r.Observe(0, at(0))
	for _, c := range []struct {
		second, count int64
		want          float64
	}{
		{4, 100, 0},     // not brought up to date yet
		{5, 120, 2},     // 120 in a minute that has begun with nothing
		{6, 600, 2},     //
		{10, 600, 10},   //
		{60, 600, 10},   //
		{65, 600, 8},    // the first 120 are older than a minute
		{70, 600, 0},    //
		{75, 660, 1},    //
		{1000, 720, 0},  // nobody has looked for long: all was then
		{1004, 780, 0},  //
		{1005, 780, 1},  //
		{1006, 600, 0},  // begun anew
		{1011, 660, 11}, //
	} {
		r.Observe(c.count, at(c.second))
		if got := r.PerSecond(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("after %d s, %d events: %v a second, want %v", c.second, c.count, got, c.want)
		}
	}
}

// TestCountingDoesNotAllocate is what makes it free on the way of records.
func TestCountingDoesNotAllocate(t *testing.T) {
	g := NewSet(nil).Group("rule", failing(t))
	c, m, h := g.Counter("c"), g.Meter("m"), g.Histogram("h")
	i := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		i++
		c.Inc()
		m.Mark()
		h.Update(i * 1000)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
