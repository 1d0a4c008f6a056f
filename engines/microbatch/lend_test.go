package microbatch

import (
	"math"
	"slices"
	"testing"
)

// TestLend: what one does not write is given to those that wait, and taken back
// when it begins to; all parts together are the rate.
func TestLend(t *testing.T) {
	for _, c := range []struct {
		name             string
		had, wrote, want []float64
	}{
		{"all wait", []float64{500, 500}, []float64{500, 500}, []float64{500, 500}},
		{"none does", []float64{500, 500}, []float64{100, 0}, []float64{500, 500}},
		{"one is idle", []float64{500, 500}, []float64{500, 0}, []float64{950, 50}},
		{"one writes a little", []float64{500, 500}, []float64{490, 200}, []float64{750, 250}},
		{"it stays so", []float64{750, 250}, []float64{745, 200}, []float64{750, 250}},
		{"it needs more", []float64{950, 50}, []float64{950, 50}, []float64{500, 500}},
		{"two share what the third leaves", []float64{400, 400, 400}, []float64{400, 390, 8}, []float64{580, 580, 40}},
	} {
		rate := 0.0
		for _, p := range c.want {
			rate += p
		}
		got := lend(rate, c.had, c.wrote)
		if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
