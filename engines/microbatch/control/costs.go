package control

import "slices"

// Cost is what a batch took, in seconds.
type Cost struct {
	Records int64
	Seconds float64
}

// Costs splits what batches took into a part for each batch and one for each
// record: the line through the medians of the smaller and of the larger half. Batches
// of one size cannot be told apart, and are a fixed cost then; one outlier, such as
// a slow sync, changes nothing.
func Costs(batches []Cost) (fixed, perRecord float64) {
	if len(batches) == 0 {
		return 0, 0
	}
	all := slices.Clone(batches)
	slices.SortFunc(all, func(a, b Cost) int { return int(a.Records - b.Records) })
	median := func(list []Cost) (records, seconds float64) {
		of := func(get func(Cost) float64) float64 {
			v := make([]float64, len(list))
			for i, c := range list {
				v[i] = get(c)
			}
			slices.Sort(v)
			return v[len(v)/2]
		}
		return of(func(c Cost) float64 { return float64(c.Records) }), of(func(c Cost) float64 { return c.Seconds })
	}
	x1, y1 := median(all[:(len(all)+1)/2])
	x2, y2 := median(all[len(all)/2:])
	if x2 > 1.2*x1 && y2 > y1 {
		perRecord = (y2 - y1) / (x2 - x1)
	}
	if fixed = y1 - perRecord*x1; fixed < 0 {
		return 0, y2 / x2
	}
	return fixed, perRecord
}
