package harness

import (
	"math"
	"testing"

	"streamduel/runs"
)

// TestIntakeIsUnknownWhereNobodyTells: the last rate of a worker that is dead, or
// stopped, was drawn on until the next one's gauges came.
func TestIntakeIsUnknownWhereNobodyTells(t *testing.T) {
	const ms = int64(1e6)
	at := func(now, told, consumed int64, rate float64) row {
		s := runs.NewSample(0)
		s.Consumed = rate
		return row{at: now * ms, told: told * ms, consumed: consumed, sample: s}
	}
	unknown := math.NaN()
	for what, x := range map[string]struct {
		last, x row
		want    float64
	}{
		"before the first gauges":       {at(100, 0, 0, unknown), at(200, 0, 0, unknown), unknown},
		"the first ones":                {at(100, 0, 0, unknown), at(200, 190, 300, unknown), unknown},
		"the second ones":               {at(200, 190, 300, unknown), at(300, 290, 800, unknown), 5000},
		"none since":                    {at(300, 290, 800, 5000), at(400, 290, 800, unknown), 5000},
		"none for long":                 {at(2200, 290, 800, 5000), at(2300, 290, 800, unknown), unknown},
		"of a worker that took over":    {at(400, 290, 800, 5000), at(500, 0, 800, unknown), unknown},
		"the first ones of that worker": {at(500, 0, 800, unknown), at(600, 590, 900, unknown), unknown},
		"they were counted anew":        {at(500, 490, 800, 5000), at(600, 590, 700, unknown), 0},
	} {
		if got := intake(x.last, x.x); got != x.want && !(math.IsNaN(got) && math.IsNaN(x.want)) {
			t.Errorf("%s: %v, want %v", what, got, x.want)
		}
	}
}
