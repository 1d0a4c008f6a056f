package floors

import "testing"

func TestWarming(t *testing.T) {
	for _, c := range []struct {
		name    string
		medians []float64
		warm    bool
	}{
		{"nothing yet", nil, false},
		{"one step", []float64{5}, false},
		{"still falling", []float64{30, 9, 5, 4}, false},
		{"level", []float64{30, 9, 5, 5, 4.9}, true},
		{"level, but for one step that got faster", []float64{9, 9, 5, 5}, false},
		{"slowly falling is level", []float64{9, 8.9, 8.8}, true},
	} {
		var w warming
		for _, m := range c.medians {
			w.step(m)
		}
		if w.warm() != c.warm {
			t.Errorf("%s: warm is %v", c.name, w.warm())
		}
	}
}
