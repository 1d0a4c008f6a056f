package microbatch

import (
	"encoding/json"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/pipeline/window"
)

// TestProgress: what a batch tells of state operators and sinks, word for word but
// for times and memory. Windows of 10 ms by key, and a state a key with a timeout;
// each batch is a start of its own.
func TestProgress(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	b.config.Trigger = Once
	seen := &store{}
	b.graph = func() *pipeline.Graph {
		g := pipeline.New("progress")
		in := pipeline.From(g, "in", b.topic, decodeEvent,
			pipeline.EventTime(func(e event) int64 { return e.time }, pipeline.Watermarks{Delay: 5 * time.Millisecond}))
		keyed := pipeline.KeyBy(in.Codec(eventCodec), func(e event) int64 { return e.key })
		counts := window.AggregateWith(window.On(keyed, window.TumblingEventTime(10*time.Millisecond)), "windows", window.Count[event](),
			func(c *window.Context[int64], n int64, emit func(event)) {
				emit(event{partition: -1, sequence: c.Window().Start, key: c.Key(), time: n})
			})
		pipeline.To(counts, "out", b.store, encodeEvent)
		touched := pipeline.MapWithState(keyed, "touched", codec.Codec[int64](codec.Int64{}), pipeline.StateSpec[int64, event, int64, event]{
			Timeout: time.Hour,
			Function: func(_ int64, e event, s *pipeline.MappedState[int64, int64], emit func(event)) {
				s.Update(e.time)
				emit(e)
			},
		})
		pipeline.To(touched, "seen", seen, encodeEvent)
		return g
	}
	for i := range 40 {
		b.topic.addAt(i%2, int64(i%2), int64(i))
	}
	for batch, c := range []struct {
		add  func()
		want string
	}{
		// 20 windows of two keys begin; nothing fires, because no watermark is known.
		{func() {}, `{"stateOperators":[` +
			`{"operatorName":"windows","numRowsTotal":2,"numRowsUpdated":2,"allUpdatesTimeMs":0,"numRowsRemoved":0,"allRemovalsTimeMs":0,"commitTimeMs":0,"memoryUsedBytes":0,"numRowsDroppedByWatermark":0,"numShufflePartitions":2,"numStateStoreInstances":2},` +
			`{"operatorName":"touched","numRowsTotal":4,"numRowsUpdated":4,"allUpdatesTimeMs":0,"numRowsRemoved":0,"allRemovalsTimeMs":0,"commitTimeMs":0,"memoryUsedBytes":0,"numRowsDroppedByWatermark":0,"numShufflePartitions":2,"numStateStoreInstances":4,"customMetrics":{"rows: processing timers":2,"rows: state":2}}],` +
			`"sinks":[{"sink":"out","description":"memory","numOutputRows":0},{"sink":"seen","description":"memory","numOutputRows":40}]}`},
		// By 33 three windows a key fire.
		{func() { b.topic.addAt(0, 0, 30); b.topic.addAt(1, 1, 60) }, `{"stateOperators":[` +
			`{"operatorName":"windows","numRowsTotal":2,"numRowsUpdated":2,"allUpdatesTimeMs":0,"numRowsRemoved":0,"allRemovalsTimeMs":0,"commitTimeMs":0,"memoryUsedBytes":0,"numRowsDroppedByWatermark":0,"numShufflePartitions":2,"numStateStoreInstances":2},` +
			`{"operatorName":"touched","numRowsTotal":4,"numRowsUpdated":2,"allUpdatesTimeMs":0,"numRowsRemoved":0,"allRemovalsTimeMs":0,"commitTimeMs":0,"memoryUsedBytes":0,"numRowsDroppedByWatermark":0,"numShufflePartitions":2,"numStateStoreInstances":4,"customMetrics":{"rows: processing timers":2,"rows: state":2}}],` +
			`"sinks":[{"sink":"out","description":"memory","numOutputRows":6},{"sink":"seen","description":"memory","numOutputRows":2}]}`},
		// By 54 nothing is left of key 0; 29 is late by 33.
		{func() { b.topic.addAt(1, 1, 61); b.topic.addAt(0, 0, 29) }, `{"stateOperators":[` +
			`{"operatorName":"windows","numRowsTotal":1,"numRowsUpdated":1,"allUpdatesTimeMs":0,"numRowsRemoved":1,"allRemovalsTimeMs":0,"commitTimeMs":0,"memoryUsedBytes":0,"numRowsDroppedByWatermark":1,"numShufflePartitions":2,"numStateStoreInstances":2},` +
			`{"operatorName":"touched","numRowsTotal":4,"numRowsUpdated":2,"allUpdatesTimeMs":0,"numRowsRemoved":0,"allRemovalsTimeMs":0,"commitTimeMs":0,"memoryUsedBytes":0,"numRowsDroppedByWatermark":0,"numShufflePartitions":2,"numStateStoreInstances":4,"customMetrics":{"rows: processing timers":2,"rows: state":2}}],` +
			`"sinks":[{"sink":"out","description":"memory","numOutputRows":2},{"sink":"seen","description":"memory","numOutputRows":2}]}`},
	} {
		c.add()
		p := b.start()
		if err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		done := batches(p.all("batchCompleted"))
		if len(done) != 1 {
			t.Fatalf("batch %d: %d batches", batch, len(done))
		}
		said := struct {
			StateOperators []engines.StateOperatorProgress `json:"stateOperators"`
			Sinks          []engines.SinkProgress          `json:"sinks"`
		}{done[0].StateOperators, done[0].Sinks}
		rows := int64(0)
		for i := range said.StateOperators {
			o := &said.StateOperators[i]
			if o.UpdatesTime <= 0 || o.RemovalsTime <= 0 || o.CommitTime <= 0 || o.MemoryBytes <= 0 {
				t.Errorf("batch %d: %+v", batch, o)
			}
			rows += o.RowsTotal
			o.UpdatesTime, o.RemovalsTime, o.CommitTime, o.MemoryBytes = 0, 0, 0, 0
		}
		if rows != done[0].StateKeys {
			t.Errorf("batch %d: %d rows, and the batch says %d", batch, rows, done[0].StateKeys)
		}
		got, err := json.Marshal(said)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("batch %d: got\n%s\nwant\n%s", batch, got, c.want)
		}
	}
}
