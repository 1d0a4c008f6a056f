package runs

import "testing"

// TestTailAlone: a few records that were late take the tail away and leave the
// percentiles that they cannot have moved; a load that was late takes all.
func TestTailAlone(t *testing.T) {
	c := testCell("a")
	c.Audits = []Audit{{Name: "generator", Detail: "late", Voids: []string{GroupTail}}}
	shared := c.LatencyMillis
	c.Withhold()
	c.Withhold() // changes nothing
	l := c.LatencyMillis.Event["steady"]
	if l.P999 != nil || l.Max != nil || l.P99 != 9 || len(c.Withheld) != 1 || c.Withheld[0].Group != GroupTail {
		t.Errorf("%+v, withheld %+v", l, c.Withheld)
	}
	if shared.Event["steady"].P999 == nil {
		t.Error("a copy of the cell lost its tail, too")
	}
	c.Audits[0].Voids = []string{GroupLatency}
	c.Withhold()
	if _, voided := c.Voided(GroupTail); c.LatencyMillis != nil || !voided {
		t.Errorf("latency %+v, tail voided %v", c.LatencyMillis, voided)
	}
}

// TestAPhaseAlone: what voids the latencies of a phase leaves the others', and takes
// gates on them and no more.
func TestAPhaseAlone(t *testing.T) {
	make := func() Cell {
		c := testCell("a")
		c.LatencyMillis.Event["warmup"] = c.LatencyMillis.Event["steady"]
		c.LatencyMillis.NoProcessing = "nobody told"
		c.Start = &Start{RunningSeconds: new(Elapsed(1))}
		return c
	}
	c := make()
	c.Audits = []Audit{{Name: "generator", Detail: "late", Remedy: "less", Voids: []string{GroupLatency}, Phases: []string{"steady"}}}
	if err := c.Validate(); err == nil {
		t.Error("valid, and nothing was withheld")
	}
	c.Withhold()
	c.Withhold()
	_, has := c.LatencyMillis.Event["steady"]
	if l := c.LatencyMillis; has || l.Event["warmup"].P999 == nil || l.NoProcessing == "" || c.Start == nil || len(c.Withheld) != 1 {
		t.Errorf("%+v, withheld %+v", l, c.Withheld)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]bool{
		"latencyMillis.event.steady.p50": true, "latencyMillis.event.steady.max": true, "latencyMillis.processing.steady.p99": true,
		"latencyMillis.event.warmup.p99": false, "start.runningSeconds": false, "records.losses": false,
	} {
		if _, voided := c.VoidedFigure(path); voided != want || c.Withheld[0].Takes(path) != want {
			t.Errorf("%s: voided %v, taken out %v", path, voided, c.Withheld[0].Takes(path))
		}
	}
	c = make()
	c.Audits = []Audit{{Name: "generator", Detail: "late", Remedy: "less", Voids: []string{GroupTail}, Phases: []string{"steady"}}}
	c.Withhold()
	if l := c.LatencyMillis.Event["steady"]; l.P999 != nil || l.Mean != nil || l.P99 != 9 || c.LatencyMillis.Event["warmup"].Max == nil {
		t.Errorf("%+v", c.LatencyMillis)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}
