package runs

import (
	"math"
	"slices"
)

// Estimate is the median of repeated measurements. The interval is stated
// only where there are enough of them.
type Estimate struct {
	N      int
	Median float64
	// Low and High bound the median with at least 95 % confidence; HasInterval
	// is false below six measurements, where no such interval exists.
	Low, High   float64
	HasInterval bool
}

// Confidence is the least confidence of an [Estimate]'s interval.
const Confidence = 0.95

// MedianOf estimates the median of values. The interval comes from order
// statistics and so assumes nothing about the distribution, only that the
// measurements are independent; six of them are the fewest that give 95 %.
func MedianOf(values []float64) Estimate {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return Estimate{Median: math.NaN()}
	}
	e := Estimate{N: n, Median: sorted[n/2]}
	if n%2 == 0 {
		e.Median = sorted[n/2-1]
		if sorted[n/2] != e.Median { // two infinities have no mean
			e.Median = (e.Median + sorted[n/2]) / 2
		}
	}
	// The interval from the k-th smallest to the k-th largest misses the
	// median with probability 2·P(B(n, ½) < k). Take the largest k that
	// keeps this within what is left of the confidence.
	tail, term := 0.0, math.Pow(0.5, float64(n))
	for k := 0; k < n/2; k++ {
		tail += term
		if 2*tail > 1-Confidence {
			break
		}
		e.Low, e.High, e.HasInterval = sorted[k], sorted[n-1-k], true
		term *= float64(n-k) / float64(k+1)
	}
	return e
}
