package load

import (
	"testing"
	"time"
)

// TestSlipOfAPhase: ten seconds at 1,000/s, of which those that were due in 300 ms of
// the sixth left together at the end of that.
func TestSlipOfAPhase(t *testing.T) {
	const ms = int64(time.Millisecond)
	s := slots{start: 7 * ms}
	for i := range int64(10_000) {
		slip := int64(100)
		if i >= 5100 && i < 5400 {
			slip = (5400 - i) * ms
		}
		s.add(s.start+i*ms, slip)
	}
	late := s.told()
	if len(late) != 3 || late[0].At != s.start+5100*ms {
		t.Fatalf("%d stretches: %+v", len(late), late)
	}
	var n int64
	for _, l := range late {
		for _, k := range l.Records {
			n += k
		}
	}
	if n != 295 { // five are within the floor
		t.Errorf("%d late records", n)
	}
	for _, x := range []struct {
		from, to, low, high int64 // ms
		share               float64
	}{
		{0, 10_000, 200, 250, 0.99}, // 100 of 10,000 waited for longer than 200 ms
		{5000, 6000, 290, 363, 0.99},
		{5000, 6000, 200, 250, 0.90},
		{0, 5000, 5, 5, 0.999},
		{6000, 10_000, 5, 5, 0.999},
	} {
		got := int64(SlipOf(late, s.start+x.from*ms, s.start+x.to*ms, x.to-x.from, x.share))
		if got < x.low*ms || got > x.high*ms {
			t.Errorf("%v of %d to %d ms: %v", x.share, x.from, x.to, time.Duration(got))
		}
	}
	if slipBounds[slipBuckets-1] < slipTop {
		t.Errorf("the last bucket ends at %v", time.Duration(slipBounds[slipBuckets-1]))
	}
}
