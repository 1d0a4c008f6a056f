package harness

import (
	"testing"

	"streamduel/runs"
)

// TestAPhaseThatNeverBegan: phases begin a little ahead of now, so the job may die
// before one does. A phase that ended before its start made the whole run's summary
// invalid.
func TestAPhaseThatNeverBegan(t *testing.T) {
	c := &cell{engine: newEngineView(), phases: []runs.Phase{{Name: "stopped", Start: 1, End: 5}, {Name: "recovery", Start: 5}}}
	c.endPhase(4_999_000_000)
	if p := c.phases[1]; p.End != 5 {
		t.Errorf("%+v", p)
	}
	c.endPhase(9_000_000_000) // an end stays what it is
	if p := c.phases[1]; p.End != 5 {
		t.Errorf("ended twice: %+v", p)
	}
}
