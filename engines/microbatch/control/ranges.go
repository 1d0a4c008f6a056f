package control

import "math"

// Limits bound how many records a batch takes. The zero value bounds nothing.
type Limits struct {
	// Rate is the job's limit in records per second; 0 or less is none.
	Rate float64
	// MaxPerPartition caps each partition's rate in records per second; 0 is no
	// cap. Without a Rate it is the rate.
	MaxPerPartition float64
	// MinPerPartition is how many records a limited partition may take at least.
	MinPerPartition int64
	// Seconds is the batch interval that rates are multiplied with.
	Seconds float64
	// MaxRecords caps the batch as a whole; 0 is no cap.
	MaxRecords int64
}

// Take returns how many records a batch takes of each partition, given how many
// wait in it.
//
// First the rate is split by lag, as discretized streams do: a partition's share
// is its part of the total lag, capped, times the interval, truncated, but at
// least MinPerPartition. Then, if the batch is still above MaxRecords, that is
// split by what is left, as structured streaming splits maxOffsetsPerTrigger:
// rounded down, or up to one for a partition whose share is less than one.
func Take(lag []int64, l Limits) []int64 {
	take := make([]int64, len(lag))
	var total float64
	for i, n := range lag {
		take[i] = max(n, 0)
		total += float64(take[i])
	}
	if total == 0 {
		return take
	}
	if l.Rate > 0 || l.MaxPerPartition > 0 {
		rates := make([]float64, len(take))
		var sum float64
		for i, n := range take {
			r := l.MaxPerPartition
			if l.Rate > 0 {
				r = float64(n) / total * l.Rate
				if l.MaxPerPartition > 0 {
					r = min(r, l.MaxPerPartition)
				}
			}
			rates[i] = r
			sum += r
		}
		if sum > 0 {
			for i, r := range rates {
				if n := math.Trunc(l.Seconds * r); n < float64(take[i]) { // else the conversion may overflow
					take[i] = min(take[i], max(int64(n), l.MinPerPartition))
				}
			}
		}
	}
	if l.MaxRecords > 0 {
		var sum float64
		for _, n := range take {
			sum += float64(n)
		}
		if sum > float64(l.MaxRecords) {
			for i, n := range take {
				share := float64(l.MaxRecords) * float64(n) / sum
				if share < 1 {
					share = math.Ceil(share)
				}
				take[i] = min(n, int64(math.Floor(share)))
			}
		}
	}
	return take
}
