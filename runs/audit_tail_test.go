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
