package microbatch

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// wide is the keyed count behind a map that makes n of each record, the first of
// which carries its id.
func wide(b *bed, n int, each func()) func() *pipeline.Graph {
	return func() *pipeline.Graph {
		g := pipeline.New("wide")
		many := pipeline.FlatMap(pipeline.From(g, "in", b.topic, decodeEvent), "many", func(e event, emit func(event)) {
			each()
			emit(e)
			for i := 1; i < n; i++ {
				emit(event{key: -e.key - 1})
			}
		})
		counts := counted(many, "count")
		first := pipeline.Filter(counts, "first", func(e event) bool { return e.key >= 0 })
		pipeline.To(first, "out", b.store, encodeEvent)
		return g
	}
}

// TestSpill: whatever the limit, results are the same; what is kept in memory stays
// below it; what went to files is told, and nothing of it is left.
func TestSpill(t *testing.T) {
	const records, copies = 6000, 40
	for _, limit := range []Bytes{NoLimit, 1 << 20, 0} {
		for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
			t.Run(fmt.Sprint(limit, "/", g), func(t *testing.T) {
				b := newBed(t, 4, g)
				b.parallel, b.config.Cores = 4, 2
				b.config.Shuffle.Memory = limit
				b.config.Rate.MaxRecordsPerBatch = records / 2
				b.topic.fill(records, 101)
				var running atomic.Pointer[run]
				var peak atomic.Int64
				b.graph = wide(b, copies, func() {
					if r := running.Load(); r != nil {
						n := r.bufferedBytes.Load()
						for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
						}
					}
				})
				p := b.start()
				running.Store(p.Run.(*run))
				p.drained()
				p.stopNow()
				b.expect(0, 0)
				if err := b.counts(); err != nil {
					t.Error(err)
				}
				spilled := int64(0)
				for _, c := range batches(p.all("batchCompleted")) {
					spilled += c.Stages[0].Spilled
					if c.Stages[1].Spilled != 0 {
						t.Errorf("%+v", c.Stages)
					}
				}
				const volume = records * copies * 32
				below := int64(limit) + 2*(min(int64(limit)/16, spillAt)+64<<10) // what two tasks may hold beyond it
				switch {
				case limit == NoLimit && spilled != 0, limit == 0 && spilled < volume, limit > 0 && (spilled < volume/4 || spilled > 2*volume):
					t.Errorf("%d of %d bytes were spilled", spilled, volume)
				}
				if limit != NoLimit && (peak.Load() > below || limit > 0 && peak.Load() == 0) {
					t.Errorf("%d bytes in memory, more than %d", peak.Load(), below)
				}
				if q := p.Gauges().QueuedBytes; q != 0 {
					t.Errorf("%d bytes are queued at the end", q)
				}
				if _, err := os.Stat(filepath.Join(b.dir, spillFolder)); err == nil {
					t.Error("the folder of shuffle files is still there")
				}
			})
		}
	}
}

// TestSpilledTaskRetries: a task that fails reads what was spilled again.
func TestSpilledTaskRetries(t *testing.T) {
	b := newBed(t, 3, connectors.ExactlyOnce)
	b.config.Shuffle.Memory = 0
	b.topic.fill(600, 7)
	var left atomic.Int64
	left.Store(3)
	b.graph = func() *pipeline.Graph {
		gr := pipeline.New("retry")
		n := counted(pipeline.From(gr, "in", b.topic, decodeEvent), "count")
		n = pipeline.Map(n, "may fail", func(e event) event {
			if e.partition == 1 && e.sequence == 77 && left.Add(-1) >= 0 {
				panic("not this time")
			}
			return e
		})
		pipeline.To(n.Codec(eventCodec).Rebalance(), "out", b.store, encodeEvent)
		return gr
	}
	p := b.start()
	p.drained()
	p.stopNow()
	b.expect(0, 0)
	if err := b.counts(); err != nil {
		t.Error(err)
	}
}

// TestSpillOnAFullDisk: the task fails by its name and is run again; with no room for
// good the job fails.
func TestSpillOnAFullDisk(t *testing.T) {
	for _, short := range []bool{true, false} {
		t.Run(fmt.Sprint("for a moment ", short), func(t *testing.T) {
			b := newBed(t, 2, connectors.AtLeastOnce)
			b.config.Shuffle.Memory = 0
			b.graph = wide(b, 20, func() {})
			b.topic.fill(1000, 7)
			var failed atomic.Int64
			b.disk = func(f *os.File, data []byte) (int, error) {
				if filepath.Base(filepath.Dir(f.Name())) != spillFolder || short && failed.Load() >= 2 {
					return f.Write(data)
				}
				failed.Add(1)
				return (&full{name: "", room: 7, hit: true}).write(f, data)
			}
			p := b.start()
			if short {
				p.drained()
				p.stopNow()
				b.expect(0, 0)
				if err := b.counts(); err != nil {
					t.Error(err)
				}
				n := 0
				for _, c := range batches(p.all("batchCompleted")) {
					n += c.Stages[0].Failed
				}
				if n == 0 {
					t.Error("no task has failed")
				}
				return
			}
			err := p.Wait()
			p.cancel()
			if err == nil || !strings.Contains(err.Error(), " failed 4 times, lastly: in → many, partition ") ||
				!strings.Contains(err.Error(), ": shuffle output: write ") || !strings.Contains(err.Error(), "no space left on device: make room in ") {
				t.Errorf("the job ended with %v", err)
			}
		})
	}
}

// TestSpillFilesOfACrash are removed by the next start, and only those of attempts
// before it.
func TestSpillFilesOfACrash(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	dir := filepath.Join(b.dir, spillFolder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	old, newer := filepath.Join(dir, "attempt-1-executor-2-3"), filepath.Join(dir, "attempt-9-driver-1")
	for _, name := range []string{old, newer} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.topic.fill(10, 3)
	p := b.start()
	p.drained()
	p.stopNow()
	if _, err := os.Stat(old); err == nil {
		t.Error("the file of the attempt before is still there")
	}
	if _, err := os.Stat(newer); err != nil {
		t.Error(err)
	}
}

// TestExecutorsSpill: what executors fetch from one another comes from files.
func TestExecutorsSpill(t *testing.T) {
	f := newFar(t, connectors.ExactlyOnce, func(c *Config) { c.Shuffle.Memory = 0; c.Rate.MaxRecordsPerBatch = 700 })
	p := f.startFar("", 0)
	f.produce(1400)
	f.untilDurable(p)
	if err := p.Run.(engines.Killer).Kill(1); err != nil {
		t.Fatal(err)
	}
	f.produce(1400)
	f.untilDurable(p)
	p.stop(engines.StopCheckpoint)
	f.read()
	f.expect(0, 0)
	if err := f.counts(); err != nil {
		t.Error(err)
	}
	spilled := int64(0)
	for _, c := range batches(p.all("batchCompleted")) {
		spilled += c.Stages[0].Spilled
	}
	if spilled < 2800*32 {
		t.Errorf("%d bytes were spilled", spilled)
	}
	if _, err := os.Stat(filepath.Join(f.dir, spillFolder)); err == nil {
		t.Error("the folder of shuffle files is still there")
	}
}

func TestShuffleMemory(t *testing.T) {
	for text, want := range map[string]Bytes{`"none"`: NoLimit, `"64MiB"`: 64 << 20, `"1.5kB"`: 1500, `0`: 0, `4096`: 4096, `"0B"`: 0} {
		var b Bytes
		if err := json.Unmarshal([]byte(text), &b); err != nil || b != want {
			t.Errorf("%s: %d, %v", text, b, err)
		}
		again, err := json.Marshal(b)
		var c Bytes
		if err == nil {
			err = json.Unmarshal(again, &c)
		}
		if err != nil || c != b {
			t.Errorf("%s: %s, %d, %v", text, again, c, err)
		}
	}
	for _, text := range []string{`"-1B"`, `"much"`, `"2000GiB"`, `-1`} {
		if err := json.Unmarshal([]byte(text), new(Bytes)); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}
