package pressure

import (
	"math"
	"slices"

	"streamduel/runs"
)

// Crash is what happened to a worker. Moments that did not come about are nil.
type Crash struct {
	Killed    float64
	Restarted *float64 // when the new worker's job ran
	// FirstResult is when the first result of an input not seen before was
	// written, committed or not; Visible when such a one was committed.
	FirstResult, Visible *float64
	Until                float64 // end of the time that is looked at
	Interval             float64 // seconds between batches or commits, 0 for none
	// Reached and Restored are, for each split, the position behind the last
	// record that the dead worker took in, and the one the new worker began at.
	// nil if the engine does not say.
	Reached, Restored map[string]int64
}

// Crashed fills in the times and the replay of a crash. Point, hit, whether it
// was reached and what was expected are the caller's.
func Crashed(series []runs.Sample, c Crash) (*runs.Crash, []runs.Mark) {
	out := &runs.Crash{}
	marks := []runs.Mark{{At: c.Killed, Kind: runs.MarkKilled, Label: "worker killed"}}
	for _, m := range []struct {
		at    *float64
		into  **runs.Elapsed
		kind  string
		label string
	}{
		{c.Restarted, &out.RestartedSeconds, runs.MarkRestarted, "worker restarted"},
		{c.FirstResult, &out.FirstResultSeconds, runs.MarkFirstResult, "first new result"},
		{c.Visible, &out.VisibleSeconds, runs.MarkFirstVisible, "first new result visible"},
	} {
		if m.at == nil {
			*m.into = elapsed(0, 0, false)
			continue
		}
		*m.into = elapsed(*m.at, c.Killed, true)
		marks = append(marks, runs.Mark{At: *m.at, Kind: m.kind, Label: m.label})
	}
	out.CaughtUpSeconds = elapsed(0, 0, false)
	if c.Visible != nil {
		// Nothing can have caught up before its first new result.
		if at, ok := quiet(series, c.Killed, *c.Visible, c.Until, Smoothing(c.Interval)); ok {
			out.CaughtUpSeconds = elapsed(at, c.Killed, true)
			marks = append(marks, runs.Mark{At: at, Kind: runs.MarkCaughtUp, Label: "lag normal again"})
		}
	}
	if c.Restored != nil && c.Reached != nil {
		n := Replayed(c.Reached, c.Restored)
		out.ReplayedRecords = &n
	}
	return out, marks
}

// WithoutLost takes records that a crash has lost for good out of the lag from the
// kill on: nothing is to come of them, so that waiting for them is no catching up.
func WithoutLost(series []runs.Sample, killed float64, lost int64) []runs.Sample {
	if lost <= 0 {
		return series
	}
	out := slices.Clone(series)
	for i := range out {
		if s := &out[i]; s.T >= killed && !math.IsNaN(s.Lag) {
			s.Lag = max(0, s.Lag-float64(lost))
		}
	}
	return out
}

// Replayed is the number of records that are taken in a second time.
func Replayed(reached, restored map[string]int64) (n int64) {
	for split, end := range reached {
		// A split that the snapshot does not know is read from its beginning.
		n += max(0, end-restored[split])
	}
	return n
}
