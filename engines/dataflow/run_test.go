package dataflow

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/engines"
)

func TestABoundedSourceIsReadToItsEndAndCommitted(t *testing.T) {
	for _, g := range guarantees() {
		for _, p := range []int{1, 2, 4} {
			t.Run(fmt.Sprint(g, "/", p), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, g, p)
					w.b.bounded = true
					w.b.grow("in", 3)
					w.fill("in", 5000, 37)
					if err := w.start(context.Background()).Wait(); err != nil {
						t.Fatal(err)
					}
					expect(t, w.tally("in"), tally{})
					expect(t, w.b.open(), []string(nil))
					expect(t, w.kinds("stopped"), []engines.Event{engines.Stopped{Mode: engines.StopDrain}})
				})
			})
		}
	}
}

// TestABoundedJobReadsWhatWasThereAtItsStart, also when it is restarted with
// more behind it.
func TestABoundedJobReadsWhatWasThereAtItsStart(t *testing.T) {
	for _, g := range guarantees() {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, g, 2)
				w.b.bounded = true
				w.b.grow("in", 3)
				w.fill("in", 1000, 37)
				w.rt.Gate.Throttle(2000)
				r := w.start(context.Background())
				w.fill("in", 500, 37)
				time.Sleep(500 * time.Millisecond)
				w.stop(r, engines.StopCheckpoint)
				w.rt.Gate.Throttle(0)
				if err := w.start(context.Background()).Wait(); err != nil {
					t.Fatal(err)
				}
				expect(t, w.tally("in"), tally{losses: 1500})
			})
		})
	}
}

func TestDrainingAnUnboundedSourceCommitsEverythingTakenIn(t *testing.T) {
	for _, g := range guarantees() {
		for _, mode := range []engines.StopMode{engines.StopDrain, engines.StopCheckpoint} {
			t.Run(fmt.Sprint(g, "/", mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, g, 2)
					w.b.grow("in", 4)
					r := w.start(context.Background())
					for range 40 {
						w.fill("in", 100, 37)
						time.Sleep(20 * time.Millisecond)
					}
					if err := r.Stop(context.Background(), mode); err != nil {
						t.Fatal(err)
					}
					expect(t, w.tally("in"), tally{})
					expect(t, w.b.open(), []string(nil))
					g := r.Gauges()
					expect(t, g.Consumed, 16000)
					expect(t, g.Written, 16000)
					expect(t, g.QueuedRecords, 0)
					expect(t, g.Lag, 0)
				})
			})
		}
	}
}
