package report

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"streamduel/runs"
)

// variantRun is a run whose matrix has switched something on and off, with batches,
// checkpoints and what was predicted.
func variantRun(t *testing.T) *runs.Folder {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := runs.Create(t.TempDir(), "variants", runs.Run{Started: epoch, Commit: "3f9c1e07", Cores: 2})
	must(err)
	summary := &runs.Summary{Run: w.Run(), Verdict: runs.Pass}
	for i, label := range []string{"enabled=true", "enabled=false"} {
		c := runs.Cell{
			ID: runs.CellID("pid", "microbatch", "at-least-once", 1, label), Scenario: "pid", Workload: "keyed-count", Engine: "microbatch",
			Guarantee: "at-least-once", Repetition: 1, Variant: []string{label}, Durability: "process", Started: epoch.Add(time.Duration(i) * time.Minute),
			Verdict: runs.Pass, Phases: phases("steady", 2.0, "", "slow", 4.0, "throttle", "back", 2.0, ""),
			Pressure: &runs.Pressure{
				SchedulingDelay: &runs.SchedulingDelay{PeakSeconds: new(1.2), LastSeconds: new(0.1), PredictedPeakSeconds: new(1.0), PredictedLastSeconds: new(0.0), PredictionError: new(0.05)},
				Checkpoints:     &runs.Checkpoints{Triggered: new(int64(3)), Held: new(int64(1)), LongestSeconds: elapsed(2.5), InFlightBytesMax: new(int64(2048))},
			},
		}
		cw, err := w.Cell(c.ID, epoch)
		must(err)
		for k := range 80 {
			row := runs.NewSample(float64(k+1) / 10)
			row.Offered, row.Consumed, row.Visible, row.Lag, row.RateLimit = 1000, 900, 900, float64(10*k), 5000
			must(cw.Series.Write(row))
		}
		for k := range 8 {
			must(cw.Events.Append(float64(k)+0.5, fmt.Appendf(nil, `{"event":"batchCompleted","schedulingDelayMillis":%d,"processingDelayMillis":500}`, 100*k)))
		}
		must(cw.Events.Append(3, []byte(`{"event":"checkpointTriggered","checkpoint":7}`)))
		must(cw.Events.Append(5.5, []byte(`{"event":"checkpointCompleted","checkpoint":7,"durationMillis":2500}`)))
		must(cw.WritePredicted(&runs.Predicted{About: "A simulation.", SchedulingDelay: []runs.PredictedPoint{{T: 1, V: 0}, {T: 5, V: 1}},
			RateLimit: []runs.PredictedPoint{{T: 1, V: 5000}, {T: 5, V: 800}}, Backlog: []runs.PredictedPoint{{T: 1, V: 0}, {T: 8, V: 800}}}))
		must(cw.Finish(&c))
		summary.Cells = append(summary.Cells, c)
	}
	dir, err := w.Finish(summary)
	must(err)
	return open(t, dir)
}

// TestWhatAMatrixVariedStandsSideBySide: in one picture, each with a style of its
// own, and what was predicted beside it.
func TestWhatAMatrixVariedStandsSideBySide(t *testing.T) {
	f := variantRun(t)
	v := Build(f)
	if len(v.Engines) != 1 || len(v.Styles) != 3 || v.Styles[1].Light == v.Styles[2].Light || v.Styles[1].Light != v.Engines[0].Light {
		t.Errorf("engines %v, styles %v", v.Engines, v.Styles)
	}
	groups := v.Scenarios[0].Groups
	if len(groups) != 3 || groups[0].Title != "side by side" {
		t.Fatalf("%d groups, the first is %q", len(groups), groups[0].Title)
	}
	lines := map[string][]string{}
	for _, c := range groups[0].Charts {
		for _, l := range c.Lines {
			lines[c.Title] = append(lines[c.Title], l.Name)
		}
	}
	both := "enabled=true,enabled=false"
	predicted := both + ",enabled=true predicted,enabled=false predicted"
	for title, want := range map[string]string{"Rate limit": predicted, "Scheduling delay": predicted, "Backlog": predicted, "Checkpoints": both, "Intake": both + ",offered"} {
		if got := strings.Join(lines[title], ","); got != want {
			t.Errorf("%s: %s, want %s", title, got, want)
		}
	}
	for _, c := range groups[0].Charts {
		l := c.Lines[0]
		switch c.Title {
		case "Scheduling delay": // at the time at which the batch began
			if l.X[2] != 2 || l.Y[2] != 200 {
				t.Errorf("the third batch waited %v at %v", l.Y[2], l.X[2])
			}
		case "Checkpoints":
			if l.X[0] != 3 || l.Y[0] != 0 || l.X[1] != 5.5 || l.Y[1] != 2500 || !math.IsNaN(float64(l.Y[2])) {
				t.Errorf("a checkpoint is drawn %v %v", l.X, l.Y)
			}
		}
	}
	var said string
	for _, x := range v.Findings {
		if x.Topic == "Slow sink" {
			said = x.Sentence
		}
	}
	for _, want := range []string{
		"batches waited up to 1.20 s before they began, the last one 100 ms (predicted 1.00 s and 0 s; the curves lie 5 % of the peak apart in the mean)",
		"of 3 checkpoints triggered meanwhile the longest took 2.50 s, and one was not complete when the sink was freed, barriers overtook up to 2.00 KiB",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not say %q", said, want)
		}
	}
	if err := Draw(f.Dir); err != nil {
		t.Error(err)
	}
}

// TestStepsAreSharesOfTheMaximum in the picture and in words, beside the published
// course where it is the same.
func TestStepsAreSharesOfTheMaximum(t *testing.T) {
	c := &runs.Cell{ID: "x", Scenario: "steps", Engine: "dataflow", Guarantee: "at-least-once", Repetition: 1, Steps: map[string]runs.Step{}}
	c.Phases = phases("maximum", 2.0, "throttle", "a", 2.0, "throttle", "b", 2.0, "throttle", "c", 2.0, "throttle", "d", 2.0, "throttle", "e", 2.0, "throttle", "end", 2.0, "")
	share := map[int]float64{}
	for i, v := range published {
		c.Steps[c.Phases[i+1].Name] = runs.Step{Share: v, MaximumRecordsPerSecond: 1000, CrossedSeconds: elapsed(0.1 * float64(i)), ConsumedShare: new(v), VisibleShare: new(v - 0.01), PointsOff: new(1.0)}
		share[int(c.Phases[i+1].Start)] = v
	}
	s := source{engine: "dataflow", cell: c}
	at := 1.0
	for k := range 140 {
		x := float64(k+1) / 10
		if v, ok := share[k/10]; ok {
			at = v
		}
		row := runs.NewSample(x)
		row.Consumed, row.Visible = 1000*at, 1000*at
		s.series = append(s.series, row)
	}
	chart := stepsChart([]source{s})
	if len(chart.Lines) != 3 || chart.Lines[2].Name != "published" || chart.Lines[2].Engine != askedStyle.Engine || !strings.Contains(chart.Note, "8 million") {
		t.Fatalf("%d lines, %s", len(chart.Lines), chart.Note)
	}
	intake := chart.Lines[0]
	for i, x := range intake.X {
		if y := float64(intake.Y[i]); x > 12 && !math.IsNaN(y) || math.Abs(x-5.9) < 0.01 && math.Abs(y-0.3) > 1e-9 {
			t.Errorf("at %v: %v", x, y)
		}
	}
	f, ok := stepsFinding(&group{scenario: "steps", guarantee: "at-least-once", engines: []engineCells{{engine: "dataflow", cells: []*runs.Cell{c}}}})
	if want := "The sink was given 60, 30, 100, 30 and 100 % of the maximum, one behind the other. dataflow ran at 59, 29, 99, 29 and 99 %, each reached within 400 ms."; !ok || f.Sentence != want {
		t.Errorf("%q, want %q", f.Sentence, want)
	}
	busy := *c
	busy.Audits = []runs.Audit{{Name: "saturation", Detail: "processors 100 % busy", Remedy: "stop the other programs", Voids: []string{runs.GroupSteps}}}
	busy.Withhold()
	f, ok = stepsFinding(&group{scenario: "steps", guarantee: "at-least-once", engines: []engineCells{{engine: "dataflow", cells: []*runs.Cell{&busy}}}})
	if !ok || f.Status != statusUnknown || !strings.Contains(f.Sentence, "The course of the steps of dataflow is withheld") {
		t.Errorf("withheld: %q, %v", f.Sentence, f.Status)
	}
	c.Steps["a"] = runs.Step{Share: 0.5, MaximumRecordsPerSecond: 1000}
	if chart := stepsChart([]source{s}); chart.Lines[2].Name != "the sink's share" {
		t.Errorf("another course is called %q", chart.Lines[2].Name)
	}
}
