package pressure

import (
	"math"
	"testing"

	"streamduel/runs"
)

// TestStepped: intake and results come down to 30 % of 10,000 a second over six
// tenths of a second, and keep to it within a point.
func TestStepped(t *testing.T) {
	s := series(flow(5, 11_000, 10_000, 10_000, 10), flow(0.4, 11_000, 6000, 10_000, 10), flow(0.2, 11_000, 3000, 6000, 10), flow(4.4, 11_000, 3000, 3050, 10), flow(5, 11_000, 10_000, 10_000, 10))
	step, marks := Stepped(s, Step{At: 5, Released: 10, Share: 0.3, Maximum: 10_000})
	seconds(t, "crossed", step.CrossedSeconds, 0.6)
	if math.Abs(*step.ConsumedShare-0.3) > 1e-9 || math.Abs(*step.VisibleShare-0.305) > 1e-9 || math.Abs(*step.PointsOff-0.5) > 1e-6 {
		t.Errorf("%v consumed, %v visible, %v points off", *step.ConsumedShare, *step.VisibleShare, *step.PointsOff)
	}
	if len(marks) != 1 || marks[0].Kind != runs.MarkFollowed {
		t.Errorf("marks %v", marks)
	}
	// The wrong share: never there, and off by what its second half shows.
	step, marks = Stepped(s, Step{At: 5, Released: 10, Share: 0.6, Maximum: 10_000})
	seconds(t, "crossed", step.CrossedSeconds, never)
	if math.Abs(*step.PointsOff-30) > 1e-6 || len(marks) != 0 {
		t.Errorf("%v points off, marks %v", *step.PointsOff, marks)
	}
	if step, _ := Stepped(nil, Step{At: 5, Released: 10, Share: 0.6, Maximum: 10_000}); step.CrossedSeconds != nil || step.Share != 0.6 {
		t.Errorf("no series: %+v", step)
	}
	if rate, ok := Mean(s, 11, 14); !ok || math.Abs(rate-10_000) > 1e-6 {
		t.Errorf("mean %v, %v", rate, ok)
	}
}

// TestDelays: the measured curve lies a tenth of a second above the predicted one.
func TestDelays(t *testing.T) {
	var measured, predicted []Waited
	for k := range 21 {
		at := float64(k)
		measured = append(measured, Waited{T: at, V: max(at-5, 0) + 0.1})
		predicted = append(predicted, Waited{T: at, V: max(at-5, 0)})
	}
	d := Delays(measured, predicted, 5, 15)
	for what, v := range map[string][2]float64{
		"peak": {*d.PeakSeconds, 10.1}, "last": {*d.LastSeconds, 10.1}, "predicted peak": {*d.PredictedPeakSeconds, 10},
		"predicted last": {*d.PredictedLastSeconds, 10}, "error": {*d.PredictionError, 0.01},
	} {
		if math.Abs(v[0]-v[1]) > 1e-9 {
			t.Errorf("%s: %v, want %v", what, v[0], v[1])
		}
	}
	if d := Delays(measured, nil, 5, 15); d.PredictedPeakSeconds != nil || d.PredictionError != nil || *d.PeakSeconds != 10.1 {
		t.Errorf("without a prediction: %+v", d)
	}
	if d := Delays(nil, predicted, 5, 15); d != nil {
		t.Errorf("without batches: %+v", d)
	}
	// Nothing is to be waited for: no share of nothing.
	if d := Delays(measured, []Waited{{T: 0}, {T: 10}, {T: 20}}, 5, 15); d.PredictionError != nil || *d.PredictedPeakSeconds != 0 {
		t.Errorf("nothing predicted: %+v", d)
	}
}
