package harness

import (
	"testing"
	"time"

	"streamduel/harness/ledger"
	"streamduel/harness/observer"
	"streamduel/runs"
)

// TestSlownessBelongsToItsPhase: what comes behind the last phase, to that.
func TestSlownessBelongsToItsPhase(t *testing.T) {
	const s = int64(time.Second)
	c := &cell{start: 5 * s, phases: []runs.Phase{{Name: "warmup", End: 1}, {Name: "steady", Start: 1, End: 3}, {Name: "gone", Start: 3, End: 4}, {Name: "recovery", Start: 4, End: 5}}}
	c.rec = newRecorder(c)
	for _, phase := range []string{"warmup", "steady", "recovery"} {
		h := runs.NewHistogram()
		if err := h.RecordValue(s / 100); err != nil {
			t.Fatal(err)
		}
		c.rec.merge(ledger.Interval{Kind: runs.EventLatency, Phase: phase, Histogram: h})
	}
	all := c.phaseHandlings([]observer.Handled{{At: 7 * s, Took: 60e6}, {At: 7*s + 1, Took: 90e6}, {At: 8*s + 1, Took: 80e6}, {At: 12 * s, Took: 70e6}})
	if len(all) != 2 || all[0].Name != "steady" || all[0].HandleMax != 90e6 || all[1].Name != "recovery" || all[1].HandleMax != 70e6 {
		t.Errorf("%+v", all)
	}
	if p99 := all[0].P99; p99 < 9*time.Millisecond || p99 > 11*time.Millisecond {
		t.Errorf("p99 %v", p99)
	}
}
