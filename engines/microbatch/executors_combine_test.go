package microbatch

import (
	"maps"
	"slices"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// TestCombineAcrossExecutors: what tasks add up before it crosses to another
// process is, batch by batch, what comes out without, also when an executor is
// killed with outputs that are still to be read.
func TestCombineAcrossExecutors(t *testing.T) {
	const records = 6000
	rows, shuffled := map[bool][]row{}, map[bool]int64{}
	for _, combine := range []bool{true, false} {
		f := newFar(t, connectors.ExactlyOnce, func(c *Config) {
			c.Trigger, c.OutputMode, c.MapSideCombine = AvailableNow, pipeline.Update, combine
			c.Rate.MaxRecordsPerBatch = 600 // so the batches are the same
		})
		f.line.Does = "sum"
		f.produce(records)
		p := f.startFar("", 0)
		p.await("batches on the way", func(es []engines.Event) bool { return count(es, "batchCompleted") >= 2 })
		if err := p.Run.(engines.Killer).Kill(2); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		p.cancel()
		if n := len(p.all("batchCompleted")); n != records/600 {
			t.Errorf("%d batches", n)
		}
		for _, e := range p.all("batchCompleted") {
			for _, s := range e.(engines.BatchCompleted).Stages {
				shuffled[combine] += s.Shuffled
			}
		}
		f.read()
		rows[combine] = f.store.rows()
		slices.SortFunc(rows[combine], func(a, b row) int { return int(a.key-b.key)<<32 + int(a.value-b.value) })
		last := map[int64]int64{}
		for _, r := range rows[combine] {
			last[r.key] = r.value
		}
		want := map[int64]int64{}
		for i := range records {
			want[int64(i%farKeys)]++
		}
		if !maps.Equal(last, want) {
			t.Errorf("combine %v: counts %v, want %v", combine, last, want)
		}
	}
	if !slices.Equal(rows[true], rows[false]) {
		t.Errorf("combined: %v\nnot: %v", rows[true], rows[false])
	}
	// Three tasks that read, farKeys keys, ten batches.
	if shuffled[false] != records || shuffled[true] > 3*farKeys*records/600 {
		t.Errorf("%d rows shuffled combined, %d without", shuffled[true], shuffled[false])
	}
}
