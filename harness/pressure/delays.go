package pressure

import (
	"math"
	"sort"

	"streamduel/runs"
)

// Waited is a batch that began at T and had waited for V seconds by then.
type Waited = runs.PredictedPoint

// Delays tells how long batches waited that began in [from, to], and how far that
// is from a prediction, which may be nil. Both are in the order of time.
func Delays(measured, predicted []Waited, from, to float64) *runs.SchedulingDelay {
	peak, last, ok := ends(measured, from, to)
	if !ok {
		return nil
	}
	out := &runs.SchedulingDelay{PeakSeconds: &peak, LastSeconds: &last}
	high, final, ok := ends(predicted, from, to)
	if !ok {
		return out
	}
	out.PredictedPeakSeconds, out.PredictedLastSeconds = &high, &final
	if high <= 0 {
		return out
	}
	// At even steps, so that many short batches do not weigh more than a long one.
	var sum, n float64
	const step = 0.1
	for t := from; t <= to; t += step {
		sum += math.Abs(valueAt(measured, t) - valueAt(predicted, t))
		n++
	}
	off := sum / n / high
	out.PredictionError = &off
	return out
}

// ends are the highest and the last value in [from, to].
func ends(points []Waited, from, to float64) (peak, last float64, ok bool) {
	for _, p := range points {
		if p.T >= from && p.T <= to {
			peak, last, ok = max(peak, p.V), p.V, true
		}
	}
	return peak, last, ok
}

// valueAt is the value of the straight line between points; the first or the last one
// beyond them.
func valueAt(points []Waited, t float64) float64 {
	i := sort.Search(len(points), func(i int) bool { return points[i].T >= t })
	switch {
	case len(points) == 0:
		return 0
	case i == 0:
		return points[0].V
	case i == len(points):
		return points[i-1].V
	}
	a, b := points[i-1], points[i]
	if b.T <= a.T {
		return b.V
	}
	return a.V + (b.V-a.V)*(t-a.T)/(b.T-a.T)
}
