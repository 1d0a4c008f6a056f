package dataflow

import (
	"context"
	"testing"
	"testing/synctest"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// TestBroadcastStateGoesOnAtAnotherParallelism: a table that came with a second
// input is there in all subtasks after each change of their number.
func TestBroadcastStateGoesOnAtAnotherParallelism(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.job.MaxParallelism = 128
		w.b.grow("in", 4)
		w.b.grow("rules", 1)
		g := pipeline.New("rules")
		rules := pipeline.From(g, "rules", topic{w.b, "rules"}, decodeItem).Codec(itemCodec)
		in := pipeline.From(g, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec)
		byKey := pipeline.KeyBy(in, func(v item) int64 { return v.key })
		known := pipeline.ProcessBroadcast(byKey, rules, "known", func(s *pipeline.Setup[int64]) pipeline.BroadcastFunction[int64, item, item, item] {
			table := pipeline.Broadcasted(s, "rules", codec.Codec[int64](codec.Int64{}), itemCodec)
			return pipeline.BroadcastFunction[int64, item, item, item]{
				Element: func(v item, _ *pipeline.KeyedCtx[int64], emit func(item)) {
					v.count = int64(table.Len())
					emit(v)
				},
				Broadcast: func(v item, c *pipeline.BroadcastCtx, _ func(item)) { table.Put(c, v.key, v) },
			}
		})
		pipeline.To(known, "out", output{w.b}, encodeItem)
		w.job.Graph = g
		w.fill("rules", 50, 11) // eleven keys
		r := w.start(context.Background())
		w.feed("in", 3)
		w.stop(r, engines.StopCheckpoint)
		before := len(w.b.visible)
		for _, p := range []int{5, 1, 3} {
			w.job.Parallelism = p
			r := w.start(context.Background())
			w.feed("in", 3)
			w.stop(r, engines.StopCheckpoint)
		}
		expect(t, len(w.b.visible), 4*before)
		for _, v := range w.b.visible[before:] {
			if x, _, _ := itemCodec.Decode(v.Value); x.count != 11 {
				t.Fatalf("a subtask knows %d rules, want 11", x.count)
			}
		}
	})
}
