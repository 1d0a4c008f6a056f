package harness

import (
	"testing"
	"time"

	"streamduel/harness/ledger"
	"streamduel/runs"
)

// TestCostIsOfWhatIsTakenIn: half of what was sent lies before where the job begins,
// which it never reads. The memory of a throttled sink is the throttle's, and not
// what the whole cell had at its peak.
func TestCostIsOfWhatIsTakenIn(t *testing.T) {
	c := &cell{engine: newEngineView()}
	c.facts.usage.CPU, c.facts.usage.RSSPeak = time.Second, 900
	c.engine.usage.AllocBytes = 50_000
	out := &runs.Cell{Pressure: &runs.Pressure{RSSPeakBytes: new(int64(500))}}
	c.cost(out, &ledger.Result{Sent: 1000, BeforeStart: 500})
	if cpu, alloc := *out.Cost.CPUSecondsPerMillion, *out.Cost.AllocBytesPerRecord; cpu != 2000 || alloc != 100 {
		t.Errorf("%v CPU seconds a million, %v bytes a record", cpu, alloc)
	}
	if *out.Cost.RSSPeakBytes != 900 || *out.Pressure.RSSPeakBytes != 500 {
		t.Errorf("%d over all, %d while throttled", *out.Cost.RSSPeakBytes, *out.Pressure.RSSPeakBytes)
	}
	out = &runs.Cell{}
	if c.cost(out, &ledger.Result{Sent: 10, BeforeStart: 10}); out.Cost != nil {
		t.Errorf("of nothing: %+v", out.Cost)
	}
}
