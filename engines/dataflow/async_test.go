package dataflow

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// asking is a job that asks something outside about every record, which takes
// ten milliseconds, before it counts.
func asking(w *world, unordered bool) *pipeline.Graph {
	g := pipeline.New("asking")
	in := pipeline.From(g, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec)
	asked := pipeline.AsyncMap(in, "ask", pipeline.Async{Capacity: 20, Unordered: unordered}, func(ctx context.Context, v item) ([]item, error) {
		select {
		case <-time.After(10 * time.Millisecond):
			return []item{v}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, nil).Codec(itemCodec)
	pipeline.To(pipeline.Map(asked.Rebalance(), "spread", func(v item) item { return v }), "out", output{w.b}, encodeItem)
	return g
}

// TestAsyncRequestsSurvive: what is under way is in checkpoints and asked about
// again at another parallelism, and a job ends only when everything is answered.
func TestAsyncRequestsSurvive(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		for _, unordered := range []bool{false, true} {
			t.Run(fmt.Sprint(g, "/", unordered), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, g, 2)
					w.job.MaxParallelism = 128
					w.b.grow("in", 4)
					w.job.Graph = asking(w, unordered)
					n := 0
					for _, p := range []int{2, 4, 1} {
						w.job.Parallelism = p
						r := w.start(context.Background())
						for range 10 {
							w.fill("in", 5, 37)
							n += 20
							time.Sleep(7 * time.Millisecond)
						}
						w.stop(r, engines.StopCheckpoint)
					}
					r := w.start(context.Background())
					w.stop(r, engines.StopDrain)
					// At least once, what is answered between the last snapshot and the
					// stop comes out again.
					if got := len(w.b.visible); got < n || got > n && g == connectors.ExactlyOnce {
						t.Errorf("%d records for %d", got, n)
					}
				})
			})
		}
	}
}
