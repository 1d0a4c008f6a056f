package microbatch

import (
	"context"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// TestAsyncRequestsEndWithTheirBatch: a batch is not done before everything that
// it asked about is answered.
func TestAsyncRequestsEndWithTheirBatch(t *testing.T) {
	b := newBed(t, 3, connectors.ExactlyOnce)
	b.graph = func() *pipeline.Graph {
		g := pipeline.New("asking")
		asked := pipeline.AsyncMap(pipeline.From(g, "in", b.topic, decodeEvent).Codec(eventCodec), "ask", pipeline.Async{Capacity: 50, Unordered: true},
			func(ctx context.Context, e event) ([]event, error) {
				select {
				case <-time.After(time.Millisecond):
					return []event{e}, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}, nil)
		pipeline.To(counted(asked, "count"), "out", b.store, encodeEvent)
		return g
	}
	b.topic.fill(300, 7)
	p := b.start()
	p.await("all rows", func([]engines.Event) bool { return len(b.store.rows()) == 300 })
	b.topic.fill(300, 7)
	p.await("all rows", func([]engines.Event) bool { return len(b.store.rows()) == 600 })
	p.stopNow()
	if n := len(b.store.rows()); n != 600 {
		t.Errorf("%d rows, want 600", n)
	}
}
