package report

import (
	"bytes"
	"strings"
	"testing"

	"streamduel/runs"
)

// TestPacedFloor: a cell is compared with the loop at its own pace only.
func TestPacedFloor(t *testing.T) {
	f := &runs.Floors{Paced: []runs.PacedFloor{
		{Rate: 1000}, {Rate: 1000, CommitSeconds: new(0.5)}, {Rate: 2000, CommitSeconds: new(1.0)},
	}}
	for _, c := range []struct {
		load *runs.Load
		want int
	}{
		{nil, -1},
		{&runs.Load{Rate: 1000, Shape: "constant"}, 0},
		{&runs.Load{Rate: 1000, Shape: "constant", CommitSeconds: new(0.5)}, 1},
		{&runs.Load{Rate: 1000, Shape: "constant", CommitSeconds: new(1.0)}, -1},
		{&runs.Load{Rate: 2000, Shape: "constant"}, -1},
		{&runs.Load{Rate: 1000, Shape: "ramp"}, -1},
	} {
		got := pacedFloor(f, &runs.Cell{Load: c.load})
		if c.want < 0 && got != nil || c.want >= 0 && got != &f.Paced[c.want] {
			t.Errorf("%+v: %+v", c.load, got)
		}
	}
	if pacedFloor(nil, &runs.Cell{Load: &runs.Load{Rate: 1000, Shape: "constant"}}) != nil {
		t.Error("a floor out of nothing")
	}
}

// TestRunsWithoutPacedFloors: folders that were written before there were such
// floors are drawn, without ratios.
func TestRunsWithoutPacedFloors(t *testing.T) {
	f := open(t, sharedRun(t, "good"))
	f.Summary.Floors.Paced = nil
	for i := range f.Summary.Cells {
		f.Summary.Cells[i].Load = nil
	}
	var text bytes.Buffer
	if err := Text(&text, f, Options{}); err != nil {
		t.Fatal(err)
	}
	page := pageOf(t, f)
	for _, form := range []string{text.String(), markup(page)} {
		if strings.Contains(form, "Beside the bare loop") || strings.Contains(form, "NaN") || strings.Contains(form, "Inf") {
			t.Errorf("a ratio out of nothing:\n%s", form)
		}
		if !strings.Contains(form, "as fast as the client can") {
			t.Error("the floor at saturation is missing")
		}
	}
}

// TestIntervalsInNarrowTerminals: intervals are never left out, whatever the
// width.
func TestIntervalsInNarrowTerminals(t *testing.T) {
	f := open(t, sharedRun(t, "repeated"))
	p50 := Build(f).Cells.Rows[0].Cells[4]
	_, rest, _ := strings.Cut(p50, " [")
	interval, _, ok := strings.Cut(rest, "]")
	if !ok {
		t.Fatalf("no interval in %q", p50)
	}
	low, high, _ := strings.Cut(interval, " to ")
	for _, width := range []int{40, 100, 400} {
		var text bytes.Buffer
		if err := Text(&text, f, Options{Width: width}); err != nil {
			t.Fatal(err)
		}
		_, cells, _ := strings.Cut(text.String(), "\nCells ")
		if !strings.Contains(cells, p50) && !strings.Contains(cells, low+"–"+high) {
			t.Errorf("at width %d the interval of %q is missing:\n%s", width, p50, cells)
		}
	}
}

// TestThrottledPhaseHasNoLoop: the loop's sink is free, so a phase with a throttled
// one has its cost to be compared and not its latency.
func TestThrottledPhaseHasNoLoop(t *testing.T) {
	f := &runs.Floors{Paced: []runs.PacedFloor{{Rate: 1000, CPUSecondsPerMillion: new(3.0), LatencyMillis: &runs.Latency{P50: 2, P99: 5}}}}
	c := &runs.Cell{Load: &runs.Load{Rate: 1000, Shape: "constant"}, Phases: []runs.Phase{{Name: "half", End: 5}}}
	free := engineCells{cells: []*runs.Cell{c}}.paced(f)
	c.Phases[0].Fault = "throttle"
	slow := engineCells{cells: []*runs.Cell{c}}.paced(f)
	if free != (paced{2, 5, 3}) || slow != (paced{cpu: 3}) {
		t.Errorf("free %+v, throttled %+v", free, slow)
	}
}
