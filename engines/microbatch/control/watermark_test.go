package control

import "testing"

func TestWatermarks(t *testing.T) {
	split := func(wm int64, idle bool) SplitTime { return SplitTime{wm, idle} }
	for _, c := range []struct {
		name           string
		splits         []SplitTime
		max, min       int64
		hasMax, hasMin bool
	}{
		{"no split", nil, NoTime, NoTime, false, false},
		{"nothing yet", []SplitTime{split(NoTime, false)}, NoTime, NoTime, false, false},
		{"one has given nothing", []SplitTime{split(5, false), split(NoTime, false)}, 5, NoTime, true, false},
		{"both", []SplitTime{split(5, false), split(3, false)}, 5, 3, true, true},
		{"the slow one is idle", []SplitTime{split(5, false), split(3, true)}, 5, 5, true, true},
		{"all are idle", []SplitTime{split(5, true), split(3, true)}, 5, NoTime, true, false},
	} {
		if wm, ok := MaxOverSplits(c.splits); wm != c.max || ok != c.hasMax {
			t.Errorf("%s: the maximum is %d, %v", c.name, wm, ok)
		}
		if wm, ok := MinOverSplits(c.splits); wm != c.min || ok != c.hasMin {
			t.Errorf("%s: the minimum is %d, %v", c.name, wm, ok)
		}
	}
}

// TestAcrossSources: multipleWatermarkPolicy is across sources only.
func TestAcrossSources(t *testing.T) {
	for _, c := range []struct {
		sources    []int64
		least, max int64
	}{
		{nil, NoTime, NoTime},
		{[]int64{7}, 7, 7},
		{[]int64{7, 9, 8}, 7, 9},
		{[]int64{7, NoTime}, NoTime, 7},
	} {
		if got := AcrossSources(c.sources, false); got != c.least {
			t.Errorf("min of %v: %d", c.sources, got)
		}
		if got := AcrossSources(c.sources, true); got != c.max {
			t.Errorf("max of %v: %d", c.sources, got)
		}
	}
}
