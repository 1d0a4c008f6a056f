package dataflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/exchange"
)

// TestBuffersFollowTheReceiver: behind a slow sink much less waits when buffers take
// what it does in a second, so that an aligned checkpoint takes about as long. When it
// is fast again they grow again.
func TestBuffersFollowTheReceiver(t *testing.T) {
	queued, took := map[bool]int64{}, map[bool]float64{}
	for _, debloat := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, connectors.ExactlyOnce, 2)
			w.cfg.Buffers.Debloat.Enabled = debloat
			w.cfg.Checkpoint.Interval = Duration(time.Second)
			w.b.grow("in", 4)
			w.fill("in", 25_000, 37)
			w.rt.Gate.Throttle(2000)
			r := w.start(context.Background())
			time.Sleep(30 * time.Second)
			g := r.Gauges()
			queued[debloat] = g.QueuedBytes
			done := w.completed()
			if len(done) == 0 {
				t.Fatal("no checkpoint was completed in 30 s")
			}
			took[debloat] = done[len(done)-1].Duration
			smallest := int64(exchange.Size) // the throttle may hold one subtask back more
			for _, task := range g.Tasks {
				size, millis := task.IO.DebloatedSize, task.IO.EstimatedMillis
				switch {
				case !debloat || !strings.HasPrefix(task.Name, "count"):
					expect(t, size, 0)
				case size < exchange.MinSize || size > exchange.Size || millis <= 0 || millis > 3000:
					t.Errorf("%s: buffers of %d bytes, %v ms", task.Name, size, millis)
				default:
					smallest = min(smallest, size)
				}
			}
			if debloat && smallest > exchange.Size/2 {
				t.Errorf("the smallest buffers are of %d bytes", smallest)
			}
			w.rt.Gate.Throttle(0)
			for r.Gauges().Lag > 0 {
				time.Sleep(100 * time.Millisecond)
			}
			w.stop(r, engines.StopDrain)
			expect(t, w.tally("in"), tally{})
		})
	}
	if queued[true] > queued[false]/3 {
		t.Errorf("%d bytes wait, and without debloating %d", queued[true], queued[false])
	}
	if took[true] > took[false]/2 {
		t.Errorf("a checkpoint took %v ms, and without debloating %v", took[true], took[false])
	}
}
