package dataflow

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
)

// TestTheReferenceBackPressureExperiment is the published one in its shape:
// producer and consumer as shares of the highest rate, 60 % → 30 % → 100 % →
// 30 % → 100 %. The producer offers 60 % all the time; what it cannot hand over
// waits outside and is caught up at full speed when the consumer is free. Time is
// virtual, so the highest rate is what the sink is given, and every figure is
// exact.
func TestTheReferenceBackPressureExperiment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const highest = 20_000 // records a second
		w := newWorld(t, connectors.AtLeastOnce, 1)
		w.cfg.Buffers.Size = 1024 // so that what waits inside is small beside a second's records
		w.b.grow("in", 1)
		w.rt.Gate.Throttle(highest)
		r := w.start(context.Background())
		done := make(chan struct{})
		var feeding sync.WaitGroup
		feeding.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				w.fill("in", highest*6/10/100, 37)
				time.Sleep(10 * time.Millisecond)
			}
		})
		defer feeding.Wait()
		defer w.stop(r, engines.StopNow)
		defer close(done)
		// 5 s at 30 % leave 30 % of 5 s behind: at 100 % that is caught up in 3.75 s.
		const frame, buffers = 56, 2 + 8 + 5
		bound := int64(buffers*(1024+frame)/frame + 2*w.b.limit + 50)
		for i, phase := range []struct {
			sink, both float64
			length     time.Duration
		}{{1, 0.6, 2 * time.Second}, {0.3, 0.3, 5 * time.Second}, {1, 1, 3 * time.Second}, {0.3, 0.3, 5 * time.Second}, {1, 1, 3 * time.Second}} {
			w.rt.Gate.Throttle(highest * phase.sink)
			// Rates are taken over the last half second, every 100 ms.
			last := []engines.Gauges{r.Gauges()}
			crossed := time.Duration(-1)
			for at := time.Duration(0); at < phase.length; at += 100 * time.Millisecond {
				time.Sleep(100 * time.Millisecond)
				g := r.Gauges()
				if g.QueuedRecords > bound {
					t.Fatalf("phase %d: %d records wait inside, at most %d fit", i, g.QueuedRecords, bound)
				}
				before := last[max(0, len(last)-5)]
				per := highest * 0.1 * float64(min(len(last), 5))
				taken, written := float64(g.Consumed-before.Consumed)/per, float64(g.Written-before.Written)/per
				last = append(last, g)
				within := math.Abs(taken-phase.both) <= 0.03 && math.Abs(written-phase.both) <= 0.03
				switch {
				case within && crossed < 0:
					crossed = at + 100*time.Millisecond
				case !within && crossed >= 0 && at > crossed:
					t.Errorf("phase %d at %v: producer at %.3f, consumer at %.3f, want %.2f", i, at, taken, written, phase.both)
				}
			}
			if crossed < 0 || crossed > time.Second {
				t.Errorf("phase %d: the rates crossed into %.0f %% after %v", i, phase.both*100, crossed)
			}
		}
	})
}
