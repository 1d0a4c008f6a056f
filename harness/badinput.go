package harness

import (
	"fmt"
	"strings"

	"streamduel/harness/ledger"
	"streamduel/harness/plan"
	"streamduel/runs"
	"streamduel/scenarios"
)

// badFails reports whether the scenario asks for a job that fails: its load holds
// bad records, and bad input fails the job.
func (c *cell) badFails() bool {
	s := c.spec.Scenario
	return s.Load.Bad.Share > 0 && (s.BadInput == "" || s.BadInput == scenarios.BadFails)
}

// failedBy returns the bad record that the job failed by, as the scenario asks:
// one that the plan made bad, and that the engine's last words name by split,
// position and reason. Nil if it did not fail, or by something else.
func (c *cell) failedBy() *runs.BadSample {
	if !c.badFails() || c.death == nil {
		return nil
	}
	_, samples := c.engine.badInput()
	for _, s := range samples {
		c.kindOf(&s)
		if s.Kind != "" && strings.Contains(c.engine.failure(), fmt.Sprintf("split %s, position %d: %s", s.Split, s.Position, s.Reason)) {
			return &s
		}
	}
	return nil
}

// kindOf names what the load made wrong with a sample; nothing for a record that
// is good, or none of the load's.
func (c *cell) kindOf(s *runs.BadSample) {
	topic, n, ok := splitName(s.Split)
	if !ok || c.plan == nil {
		return
	}
	if g, known := c.plan.Global(plan.Partition{Topic: topic, Number: n}); known {
		if i, sent := c.plan.Index(g, s.Position); sent {
			s.Kind = string(c.plan.Bad(i))
		}
	}
}

// badInput puts together what is known of the cell's bad input; nil if there was
// none and none was to be. result is nil where the cell was not judged.
func (c *cell) badInput(result *ledger.Result) *runs.BadInput {
	var b *runs.BadInput
	if result != nil {
		b = result.BadInput()
	}
	records, samples := c.engine.badInput()
	fails := c.badFails() && c.plan != nil
	if b == nil && records == 0 && !fails {
		return nil
	}
	if b == nil {
		b = &runs.BadInput{}
	}
	b.Records = &records
	for i := range samples {
		c.kindOf(&samples[i])
	}
	b.Samples = samples
	if fails {
		b.FailedBy = c.failedBy()
		failed := b.FailedBy != nil
		b.Failed = &failed
	}
	return b
}
