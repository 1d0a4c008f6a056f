package microbatch

import (
	"testing"

	"streamduel/connectors"
)

var guarantees = []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce}

func TestKeyedCount(t *testing.T) {
	for _, g := range guarantees {
		t.Run(string(g), func(t *testing.T) {
			b := newBed(t, 4, g)
			b.topic.fill(1000, 17)
			p := b.start()
			p.drained()
			b.topic.fill(1000, 17)
			p.drained()
			p.stopNow()
			b.expect(0, 0)
			if err := b.counts(); err != nil {
				t.Error(err)
			}
			// A second start goes on where the first ended.
			b.topic.fill(500, 17)
			p = b.start()
			p.drained()
			p.stopNow()
			b.expect(0, 0)
			if err := b.counts(); err != nil {
				t.Error(err)
			}
		})
	}
}
