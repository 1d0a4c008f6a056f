package debloat

import (
	"fmt"
	"testing"
	"time"
)

// The known answers of Flink's BufferDebloaterTest (flink-runtime,
// org.apache.flink.runtime.throughput), restated: there the average looks back on one
// sample, and the threshold is the default, 25 %.
func TestSizesOfFlink(t *testing.T) {
	for _, c := range []struct {
		name       string
		target     int // milliseconds
		min, max   int
		buffers    int
		throughput int64
		want       int
		changed    bool
	}{
		{"no buffers count as one", 1000, 50, 2400, 0, 1200, 1200, true},
		{"a share each", 1200, 50, 1100, 16, 3333, 250, true},
		{"below the least", 1200, 250, 1100, 16, 3333, 250, true},
		{"nothing taken in", 1200, 50, 1100, 16, 0, 50, true},
		{"a target that is too low", 7, 50, 1100, 16, 3333, 50, true},
		{"above the largest, where it is already", 1200, 50, 248, 16, 3333, 248, false},
		{"a little less than before", 1200, 50, 250, 16, 3333, 250, false},
	} {
		d := New(Config{Target: time.Duration(c.target) * time.Millisecond, MinSize: c.min, MaxSize: c.max, ThresholdPercent: 25, Samples: 1})
		if size, changed := d.Recalculate(c.throughput, c.buffers); size != c.want || changed != c.changed || d.Size() != c.want {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, size, changed, c.want, c.changed)
		}
	}
}

// TestLimitsAreAnnounced although they are nearer than the threshold, once
// (testAnnouncedMaxBufferSizeDespiteLastDiffLessThanThreshold and its like).
func TestLimitsAreAnnounced(t *testing.T) {
	for _, c := range []struct {
		throughputs []int64
		want        string
	}{
		{[]int64{500, 1000, 2000, 2000}, "500 true, 1000 true, 1100 true, 1100 false, "},
		{[]int64{60, 60, 40, 40}, "60 true, 60 false, 50 true, 50 false, "},
	} {
		d := New(Config{Target: time.Second, MinSize: 50, MaxSize: 1100, ThresholdPercent: 25, Samples: 1})
		got := ""
		for _, x := range c.throughputs {
			size, changed := d.Recalculate(x, 1)
			got += fmt.Sprint(size, " ", changed, ", ")
		}
		if got != c.want {
			t.Errorf("%v: %s want %s", c.throughputs, got, c.want)
		}
	}
}

// TestNegligible is testSkipUpdate.
func TestNegligible(t *testing.T) {
	d := New(Config{Target: time.Second, MinSize: 256, MaxSize: 32768, ThresholdPercent: 30, Samples: 1})
	const half = 32768 / 2
	if size, changed := d.Recalculate(half, 1); size != half || !changed {
		t.Fatalf("%d, %v", size, changed)
	}
	const step = half * 30 / 100
	for size, want := range map[int]bool{
		half: true, half - 1: true, half + 1: true, half - step + 1: true, half + step - 1: true,
		half - step: false, half + step: false, 257: false, 256: false, 32767: false, 32768: false, 32769: false, 255: false,
	} {
		if d.negligible(size) != want {
			t.Errorf("%d instead of %d: negligible should be %v", size, half, want)
		}
	}
}

// TestAverage has the known answers of Flink's BufferSizeEMATest.
func TestAverage(t *testing.T) {
	type step struct {
		wanted  int64
		buffers int
		want    int
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"testCalculationBufferSize", []step{
			{111, 13, 104}, {107, 7, 60}, {107, 7, 38}, {107, 7, 26}, {107, 7, 21}, {107, 7, 18}, {107, 13, 13}, {107, 13, 11}, {107, 13, 10},
			{333, 1, 15}, {333, 1, 23}, {333, 1, 34}, {333, 1, 51}, {333, 1, 76}, {333, 1, 114},
		}},
		{"testSizeGreaterThanMaxSize", []step{{0, 1, 100}, {1000, 1, 150}, {1000, 1, 200}, {1000, 1, 200}}},
		{"testSizeLessThanMinSize", []step{{0, 1, 100}, {0, 1, 50}, {0, 1, 25}, {0, 1, 13}, {0, 1, 10}, {0, 1, 10}}},
	} {
		d := New(Config{MinSize: 10, MaxSize: 200, Samples: 3})
		for i, s := range c.steps {
			if got := d.next(s.wanted, s.buffers); got != s.want {
				t.Errorf("%s, step %d: %d, want %d", c.name, i+1, got, s.want)
			}
		}
	}
	// testSmallBufferSizeChanges: with thousands of samples it grows all the same.
	d := New(Config{MinSize: 16, MaxSize: 32 << 10, Samples: 10_000})
	d.average = 16
	for range 10_000 {
		d.next(20_000, 10)
	}
	if got := d.next(10_000, 10); got <= 16 {
		t.Errorf("it does not grow from 16: %d", got)
	}
}

// TestSpeedOfChange is the example in BufferSizeEMA's comment, of twenty samples: its
// figures are of whole numbers in between, so each is a few bytes off.
func TestSpeedOfChange(t *testing.T) {
	d := New(Config{MinSize: 256, MaxSize: 32 << 10, Samples: 20})
	near := func(got, want int) bool { return max(got-want, want-got) <= want/1000 }
	for _, want := range []int{29647, 26823, 24268, 21956, 19864} {
		if got := d.next(0, 1); !near(got, want) {
			t.Errorf("shrinking: %d, want %d", got, want)
		}
	}
	for _, want := range []int{21755, 23826, 26095, 28580, 31301, 32768} {
		if got := d.next(1<<40, 1); !near(got, want) {
			t.Errorf("growing: %d, want %d", got, want)
		}
	}
}

// TestThroughput: what is known of the last period stays where there was no time
// (ThroughputCalculatorTest: testCorrectThroughputCalculation,
// testResetValueAfterCalculation, testIgnoringIdleTime).
func TestThroughput(t *testing.T) {
	var th Throughput
	for i, c := range []struct {
		bytes  int64
		active time.Duration
		want   int64
	}{
		{0, 0, 0},
		{10_000, 100 * time.Millisecond, 100_000},
		{666, 100 * time.Millisecond, 6660},
		{0, 0, 6660},
		{10, 2 * time.Millisecond, 5000}, // nine more it waited
		{0, time.Millisecond, 0},
	} {
		if got := th.Measure(c.bytes, c.active); got != c.want {
			t.Errorf("measure %d: %d, want %d", i, got, c.want)
		}
	}
}

func TestEstimate(t *testing.T) {
	d := New(Config{Target: time.Second, MinSize: 256, MaxSize: 32 << 10, ThresholdPercent: 25, Samples: 20})
	d.Recalculate(100_000, 10)
	if got := d.Estimate(); got != 3060*time.Millisecond { // 10 of 30600 bytes
		t.Errorf("%v", got)
	}
}
