package microbatch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
)

// newStreaming is a map-only job in two executors under a trigger that does not
// wait for batches.
func newStreaming(t *testing.T, trigger Trigger) *far {
	f := newFar(t, connectors.AtLeastOnce, func(c *Config) {
		c.Trigger, c.Interval = trigger, Duration(50*time.Millisecond)
		c.RealTime.MinBatchDuration = c.Interval
	})
	f.line.Does = "pass"
	return f
}

// TestStreamingOnExecutors: tasks run in the executors and the driver ends their
// epochs, over an orderly stop; new records go on behind it.
func TestStreamingOnExecutors(t *testing.T) {
	for _, trigger := range []Trigger{Continuous, RealTime} {
		t.Run(string(trigger), func(t *testing.T) {
			f := newStreaming(t, trigger)
			for range 2 {
				p := f.startFar("", 0)
				for range 2 {
					f.produce(500)
					f.untilDurable(p)
				}
				p.stop(engines.StopCheckpoint)
				if g := p.Gauges(); g.Written != 1000 || g.Consumed != 1000 || g.QueuedRecords != 0 {
					t.Errorf("%d rows consumed, %d written, %d inside, says the job", g.Consumed, g.Written, g.QueuedRecords)
				}
				if n := len(p.all("firstRecord")); n != len(f.made) {
					t.Errorf("%d splits had a first record", n)
				}
			}
			f.read()
			f.expect(0, 0)
		})
	}
}

// TestStreamingDriverDies at the points of an epoch: the copies are those that the
// point announces, from what the executors had acknowledged.
func TestStreamingDriverDies(t *testing.T) {
	for _, trigger := range []Trigger{Continuous, RealTime} {
		for _, point := range []string{"E1", "E2", "E3"} {
			t.Run(fmt.Sprint(trigger, "/", point), func(t *testing.T) {
				f := newStreaming(t, trigger)
				p := f.startFar(point, 1)
				f.produce(300)
				if err := p.Wait(); err == nil {
					t.Fatal("no crash")
				}
				p.cancel()
				told := <-p.crashed
				p = f.startFar("", 0)
				f.produce(100)
				f.untilDurable(p)
				p.stop(engines.StopCheckpoint)
				f.read()
				f.expect(int(told.acked), 0)
				if point == "E1" && told.acked == 0 {
					t.Error("nothing was acknowledged in the first epoch")
				}
			})
		}
	}
}

// TestStreamingLosesAnExecutor: the job fails, as with any task that does, and says
// so; started again it goes on from the last epoch.
func TestStreamingLosesAnExecutor(t *testing.T) {
	for _, trigger := range []Trigger{Continuous, RealTime} {
		t.Run(string(trigger), func(t *testing.T) {
			f := newStreaming(t, trigger)
			p := f.startFar("", 0)
			f.produce(300)
			f.untilDurable(p)
			kills := 0
			for len(p.all("failed")) == 0 {
				// Between two batches of real-time nothing runs there, and none fails.
				if kills++; kills == 100 {
					t.Fatal("the job outlives all that it loses")
				}
				f.produce(100)
				if err := p.Run.(engines.Killer).Kill(2); err != nil {
					t.Fatal(err)
				}
				p.await("its end, or another executor", func(es []engines.Event) bool {
					return count(es, "failed") > 0 || count(es, "executorAdded") == kills
				})
			}
			err := p.Wait()
			p.cancel()
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("trigger %s runs no task again by itself", trigger)) || !strings.Contains(err.Error(), "executor 2 is lost") {
				t.Errorf("the job ended with %v", err)
			}
			p = f.startFar("", 0)
			f.untilDurable(p)
			p.stop(engines.StopCheckpoint)
			f.read()
			if copies, losses := f.verdict(); losses != 0 || copies > 100*kills {
				t.Errorf("%d copies, %d losses", copies, losses)
			}
		})
	}
}
