package draw

import (
	"math"
	"testing"
)

func TestZipfFollowsItsWeights(t *testing.T) {
	const n, draws = 50, 400_000
	for _, s := range []float64{0, 0.5, 1, 2} {
		z := NewZipf(n, s)
		var got [n]int
		for i := range int64(draws) {
			got[z.At(Hash(9, i))]++
		}
		var sum float64
		for i := range n {
			sum += math.Pow(float64(i+1), -s)
		}
		for i, g := range got {
			want := draws * math.Pow(float64(i+1), -s) / sum
			if d := math.Abs(float64(g) - want); d > 6*math.Sqrt(want)+1 {
				t.Errorf("s=%v: %d was drawn %d times, about %.0f expected", s, i, g, want)
			}
		}
	}
}

func TestBelowAndUnitStayInside(t *testing.T) {
	for _, r := range []uint64{0, 1, math.MaxUint64, math.MaxUint64 / 2} {
		for _, n := range []int{1, 2, 1000} {
			if i := Below(r, n); i < 0 || i >= n {
				t.Errorf("Below(%d, %d) = %d", r, n, i)
			}
		}
		if u := Unit(r); u < 0 || u >= 1 {
			t.Errorf("Unit(%d) = %v", r, u)
		}
	}
}
