package control

import (
	"math"
	"testing"
)

func TestCosts(t *testing.T) {
	batch := func(n int64, seconds float64) Cost { return Cost{n, seconds} }
	for _, c := range []struct {
		name              string
		batches           []Cost
		fixed, per, slack float64
	}{
		{"nothing", nil, 0, 0, 0},
		{"one size is a fixed cost", []Cost{batch(1000, 0.010), batch(1000, 0.012), batch(1010, 0.011)}, 0.0115, 0, 0.001},
		{"two sizes", []Cost{batch(1000, 0.006), batch(5000, 0.010), batch(1000, 0.006), batch(5000, 0.010)}, 0.005, 1e-6, 1e-9},
		{"an outlier changes nothing", []Cost{batch(1000, 0.006), batch(1000, 0.006), batch(1000, 3), batch(5000, 0.010), batch(5000, 0.010), batch(5000, 5)}, 0.005, 1e-6, 1e-9},
		{"never below none", []Cost{batch(1000, 0.001), batch(5000, 0.010)}, 0, 2e-6, 1e-9},
	} {
		fixed, per := Costs(c.batches)
		if math.Abs(fixed-c.fixed) > c.slack || math.Abs(per-c.per) > 1e-12 {
			t.Errorf("%s: %v a batch, %v a record; want %v, %v", c.name, fixed, per, c.fixed, c.per)
		}
	}
}
