package dataflow

import (
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
)

// TestOutlivedTransactionsOfTwoTaskManagers is X3 in several processes: the broker
// gives the transactions up before there is a checkpoint that could commit them. The
// job fails by name, and loses nothing when it goes on.
func TestOutlivedTransactionsOfTwoTaskManagers(t *testing.T) {
	s := newSpread(t, connectors.ExactlyOnce, 2, func(c *Config) { c.Checkpoint.Interval = Duration(2 * time.Second) })
	s.reconfigure(func(_ *Config, j *spreadJob) { j.TransactionMillis = 200 })
	r := s.start(s.ctx)
	s.produce(500)
	err := r.Wait()
	if err == nil || !strings.Contains(err.Error(), "transaction timeout") || !strings.Contains(err.Error(), "count → out (") {
		t.Errorf("ended with %v", err)
	}
	expect(t, len(s.kinds("failed")), 1)
	s.reconfigure(func(c *Config, j *spreadJob) {
		c.Checkpoint.Interval, j.TransactionMillis = Duration(100*time.Millisecond), 0
	})
	s.goesOn()
}

// TestAReplacedWorkerWithTwoTaskManagers is D9 in several processes: while a job runs
// another worker starts it, with task managers of its own. The older one ends, names
// the newer attempt, and takes its task managers with it.
func TestAReplacedWorkerWithTwoTaskManagers(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run(string(g), func(t *testing.T) {
			s := newSpread(t, g, 2, func(c *Config) { c.Checkpoint.Interval = Duration(100 * time.Millisecond) })
			old := s.start(s.ctx)
			s.produce(500)
			s.untilDurable()
			s.rt.Gate = connectors.NewGate()
			fresh := s.start(s.ctx)
			s.produce(500)
			err := old.Wait()
			if err == nil || !strings.Contains(err.Error(), "attempt 1 of this job was superseded by attempt 2") {
				t.Errorf("the older ended with %v", err)
			}
			s.produce(500)
			s.untilDurable()
			if err := fresh.Stop(s.ctx, engines.StopDrain); err != nil {
				t.Fatal(err)
			}
			got := s.read()
			expect(t, got.losses, 0)
			if g == connectors.ExactlyOnce {
				expect(t, got, tally{})
			}
		})
	}
}
