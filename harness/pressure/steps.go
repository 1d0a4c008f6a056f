package pressure

import (
	"math"

	"streamduel/runs"
)

// StepWindow is over what time rates are averaged to tell whether they have
// arrived at a step.
const StepWindow = 0.5

// stepPoints is how far from the step they may be, as a share of the maximum.
const stepPoints = 0.03

// Step is a phase in which the sink was held at a share of a maximum.
type Step struct {
	At, Released float64
	Share        float64 // 0 to 1
	Maximum      float64 // records per second
	Interval     float64 // the engine's batch interval in seconds, 0 for none
}

// Stepped tells when intake and results arrived at a step and how well they kept
// to it: the crossing is the first sample, so in steps of a tenth of a second, from
// which the mean of both over the next half a second, or three batch intervals,
// lies within three points of the share. Without one the means are those of the
// phase's second half.
func Stepped(series []runs.Sample, f Step) (runs.Step, []runs.Mark) {
	out := runs.Step{Share: f.Share, MaximumRecordsPerSecond: f.Maximum}
	if len(series) < 2 || !(f.Maximum > 0) || !(f.Released > f.At) {
		return out, nil
	}
	w := max(StepWindow, 3*f.Interval)
	intake := spread(series, max(w, 1))
	visible := integrate(series, func(s runs.Sample) float64 { return s.Visible })
	shares := func(a, b float64) (consumed, seen float64, ok bool) {
		consumed, known := intake.mean(a, b)
		seen, told := visible.mean(a, b)
		return consumed / f.Maximum, seen / f.Maximum, known && told
	}
	at, crossed := intake.moments(f.At, f.Released-w, func(t float64) bool {
		c, v, ok := shares(t, t+w)
		return ok && math.Abs(c-f.Share) <= stepPoints && math.Abs(v-f.Share) <= stepPoints
	})
	out.CrossedSeconds = elapsed(at, f.At, crossed)
	var marks []runs.Mark
	if crossed {
		marks = append(marks, runs.Mark{At: at, Kind: runs.MarkFollowed, Label: "intake and results at the sink's rate"})
	} else {
		at = (f.At + f.Released) / 2
	}
	if c, v, ok := shares(at, f.Released); ok {
		off := 100 * max(math.Abs(c-f.Share), math.Abs(v-f.Share))
		out.ConsumedShare, out.VisibleShare, out.PointsOff = &c, &v, &off
	}
	return out, marks
}

// Mean is the mean rate of results over a stretch of the series; ok is false where
// it is not known.
func Mean(series []runs.Sample, from, to float64) (rate float64, ok bool) {
	return integrate(series, func(s runs.Sample) float64 { return s.Visible }).mean(from, to)
}
