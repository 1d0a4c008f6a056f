// Package trial runs a workload in a test, from its generator to its parsed
// output, without broker, engine or clock, and judges the output by the
// workload's oracle in the plainest way.
package trial

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"streamduel/connectors"
	"streamduel/pipeline/pipelinetest"
	"streamduel/workloads"
)

// Start is the Unix time in milliseconds of a trial's first record.
const Start = 1_700_000_000_123

// Options describe a trial.
type Options struct {
	Records     int // closing ones not counted; default 2000
	Partitions  int // default 3
	Interval    int64
	Seed        uint64
	Order       uint64 // seed of the order in which partitions are read
	Parallelism int
	// Restart, if set, stops the job after so many batches with a snapshot and
	// goes on from it with one subtask more.
	Restart   int
	Unchained bool
	Buffers   int
	Origins   bool
	BatchSize int // records a batch at most, default 50; the watermark moves between batches
}

// Input is one record that was sent.
type Input struct {
	workloads.Input
	Closing bool
	Payload []byte
	Key     []byte
}

// Result is what a trial sent and what came out.
type Result struct {
	Inputs []Input
	Rows   []workloads.Row // of the result topic, in output order
	Late   []workloads.Row
	Raw    []pipelinetest.Written
	Host   *pipelinetest.Host
}

// Inputs makes a load: records in round robin over the partitions, one each
// Interval milliseconds (default 1), and the closing records.
func Inputs(t testing.TB, w *workloads.Workload, params any, o Options) []Input {
	t.Helper()
	o = defaults(o)
	g, err := w.Generator(params, o.Seed)
	if err != nil {
		t.Fatal(err)
	}
	var out []Input
	sequence := make([]int64, o.Partitions)
	add := func(i, p int, closing bool) {
		at := int64(i) * o.Interval
		in := Input{Input: workloads.Input{
			Index: int64(i), Partition: int32(p), Sequence: sequence[p],
			Scheduled: 5_000_000_000 + at*1e6, EventTime: Start + at,
		}, Closing: closing}
		sequence[p]++
		make := g.Append
		if closing {
			make = g.Closing
		}
		value, key := make(nil, in.Input)
		in.Payload, in.Key = value, bytes.Clone(key)
		out = append(out, in)
	}
	for i := range o.Records {
		add(i, i%o.Partitions, false)
	}
	for p := range o.Partitions {
		add(o.Records+p, p, true)
	}
	return out
}

func defaults(o Options) Options {
	if o.Records == 0 {
		o.Records = 2000
	}
	if o.Partitions == 0 {
		o.Partitions = 3
	}
	if o.BatchSize == 0 {
		o.BatchSize = 50
	}
	if o.Interval == 0 {
		o.Interval = 1
	}
	return o
}

// Run sends a load through the workload's pipeline.
func Run(t testing.TB, w *workloads.Workload, params any, o Options) Result {
	t.Helper()
	o = defaults(o)
	res := Result{Inputs: Inputs(t, w, params, o)}
	res.Host = host(t, w, params, o, false)
	splits, all := split(res.Inputs, o.Partitions)
	source := sourceOf(res.Host)
	for i, b := range pipelinetest.Batches(rand.New(rand.NewPCG(o.Order, 1)), o.BatchSize, splits...) {
		if o.Restart > 0 && i == o.Restart {
			res.restart(t, w, params, o, source, all)
		}
		if err := res.Host.Push(source, b); err != nil {
			t.Fatal(err)
		}
		if err := res.Host.Watermark(res.Host.SourceWatermark(source, all...)); err != nil {
			t.Fatal(err)
		}
	}
	res.parse(t, w, params, o)
	return res
}

func host(t testing.TB, w *workloads.Workload, params any, o Options, discard bool) *pipelinetest.Host {
	t.Helper()
	g, err := w.Pipeline(params, IO())
	if err != nil {
		t.Fatal(err)
	}
	return pipelinetest.New(t, g, pipelinetest.Options{
		Parallelism: o.Parallelism, Origins: o.Origins, Unchained: o.Unchained, Buffers: o.Buffers, Discard: discard,
	})
}

func sourceOf(h *pipelinetest.Host) (name string) {
	for _, f := range h.Fragments {
		for _, n := range f.Sources {
			name = n.Name
		}
	}
	return name
}

// restart does what an engine does between two runs of a job: state, event
// times of the splits and the watermark come back, all else is new.
func (res *Result) restart(t testing.TB, w *workloads.Workload, params any, o Options, source string, splits []connectors.Split) {
	t.Helper()
	old := res.Host
	o.Parallelism = max(o.Parallelism, 1) + 1
	res.Host = host(t, w, params, o, false)
	if err := res.Host.Restore(old.Snapshot()); err != nil {
		t.Fatal(err)
	}
	for _, s := range splits {
		wm, _ := old.SplitWatermark(source, s)
		res.Host.SetSplitWatermark(source, s, wm)
	}
	if err := res.Host.Watermark(old.SourceWatermark(source, splits...)); err != nil {
		t.Fatal(err)
	}
	for name, out := range old.Output {
		res.Host.Output[name] = append(out, res.Host.Output[name]...)
	}
}

// split sorts a load into its partitions.
func split(inputs []Input, partitions int) (records [][]connectors.Record, splits []connectors.Split) {
	records = make([][]connectors.Record, partitions)
	for _, in := range inputs {
		records[in.Partition] = append(records[in.Partition], connectors.Record{
			Key: in.Key, Value: in.Payload, Offset: in.Sequence, Timestamp: in.EventTime,
			Headers: []connectors.Header{{Key: connectors.OriginHeader, Value: connectors.AppendOrigin(nil, connectors.Origin{
				Partition: in.Partition, Sequence: in.Sequence, Scheduled: in.Scheduled,
			})}},
		})
	}
	for p := range partitions {
		splits = append(splits, pipelinetest.Split(int32(p)))
	}
	return records, splits
}

// CheckAllocations fails the test if a record costs an allocation between the
// source and the sinks, once all keys are known.
func CheckAllocations(t testing.TB, w *workloads.Workload, params any, origins bool) {
	t.Helper()
	const n = 1000
	o := defaults(Options{Records: n, Partitions: 1, Origins: origins})
	h := host(t, w, params, o, true)
	records, splits := split(Inputs(t, w, params, o), 1)
	b := &connectors.Batch{Split: splits[0], Records: records[0][:n]} // not the closing record
	source := sourceOf(h)
	push := func() {
		if err := h.Push(source, b); err != nil {
			t.Fatal(err)
		}
	}
	push()
	// What the host itself does per batch is a few.
	if a := testing.AllocsPerRun(5, push); a > 5 {
		t.Errorf("%s: %v allocations for %d records", w.Name, a, n)
	}
}

// Bench measures what a record costs from the source to the sinks, on one core
// and without broker or engine. The watermark follows each 1,000 records.
func Bench(b *testing.B, w *workloads.Workload, params any, origins bool) {
	b.Helper()
	const n = 20_000
	o := defaults(Options{Records: n, Partitions: 1, Origins: origins})
	h := host(b, w, params, o, true)
	records, splits := split(Inputs(b, w, params, o), 1)
	source := sourceOf(h)
	b.ReportAllocs()
	for done := 0; b.Loop(); done += 1000 {
		at := done % n
		if err := h.Push(source, &connectors.Batch{Split: splits[0], Records: records[0][at : at+1000]}); err != nil {
			b.Fatal(err)
		}
		if err := h.Watermark(h.SourceWatermark(source, splits...)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
}

// IO is where a trial's job reads and writes.
func IO() workloads.IO {
	return workloads.IO{
		Input: workloads.Topics{Names: []string{"in"}}, Output: "out", Late: "late",
		Source: func(workloads.Topics) connectors.Source { return pipelinetest.Source{Name: "in"} },
		Sink:   func(topic string) connectors.Sink { return pipelinetest.Sink{Name: topic} },
	}
}

func (res *Result) parse(t testing.TB, w *workloads.Workload, params any, o Options) {
	t.Helper()
	a, err := w.Accounting(params, o.Seed)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range res.Host.Fragments {
		for _, n := range f.Sinks {
			topic := n.Sink.(pipelinetest.Sink).Name
			for _, out := range res.Host.Output[n.Name] {
				if o.Origins {
					out.Headers = append(out.Headers, connectors.Header{Key: connectors.OriginHeader, Value: connectors.AppendOrigin(nil, out.Origin)})
				}
				var row workloads.Row
				if err := a.Parse(&out.Record, topic == "late", &row); err != nil {
					t.Fatalf("output %q of %s does not parse: %v", out.Value, topic, err)
				}
				row.Key = bytes.Clone(row.Key)
				if topic == "late" {
					res.Late = append(res.Late, row)
					continue
				}
				res.Rows = append(res.Rows, row)
				res.Raw = append(res.Raw, out)
			}
		}
	}
}

// Cell is a (key, window).
type Cell struct {
	Key    string
	Window int64
}

// Expected is what the oracle says of a cell.
type Expected struct {
	Value, Inputs int64
	Hash          uint64
}

// ID names an input.
type ID struct {
	Partition int32
	Sequence  int64
}

// Evaluate runs the workload's oracle over the load; late names the inputs
// that the job sent to its late topic. It also returns each input's key.
func Evaluate(t testing.TB, w *workloads.Workload, params any, o Options, inputs []Input, late map[ID]bool) (map[Cell]Expected, map[ID]string) {
	t.Helper()
	a, err := w.Accounting(params, o.Seed)
	if err != nil {
		t.Fatal(err)
	}
	cells, keys := map[Cell]Expected{}, map[ID]string{}
	if a.Oracle == nil {
		return cells, keys
	}
	oracle := a.Oracle()
	for _, in := range inputs {
		if in.Closing {
			continue
		}
		id := ID{in.Partition, in.Sequence}
		oracle.Add(in.Input, in.Payload, late[id], func(key []byte, window, value int64) {
			c := Cell{string(key), window}
			e := cells[c]
			e.Value += value
			e.Inputs++
			e.Hash += workloads.HashID(in.Partition, in.Sequence)
			cells[c] = e
			keys[id] = c.Key
		})
	}
	return cells, keys
}

// CheckClosings fails the test unless every partition's closing record shows.
func CheckClosings(t testing.TB, rows []workloads.Row, partitions int) {
	t.Helper()
	seen := map[int32]int{}
	for _, r := range rows {
		if r.Closing {
			seen[r.Partition]++
		}
	}
	for p := range partitions {
		if seen[int32(p)] == 0 {
			t.Errorf("partition %d: its closing record has no effect in the output", p)
		}
	}
	if len(seen) != partitions {
		t.Errorf("closing rows of %d partitions, want %d", len(seen), partitions)
	}
}

// CheckDeterminism fails the test unless the generator gives the same bytes for
// an input whatever was made before, and others for another seed.
func CheckDeterminism(t testing.TB, w *workloads.Workload, params any) {
	t.Helper()
	o := Options{Seed: 42, Records: 500}
	want := Inputs(t, w, params, o)
	g, err := w.Generator(params, 42)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, i := range rng.Perm(len(want)) {
		make := g.Append
		if want[i].Closing {
			make = g.Closing
		}
		prefix := []byte("before")
		value, key := make(prefix, want[i].Input)
		if !bytes.HasPrefix(value, prefix) || !bytes.Equal(value[len(prefix):], want[i].Payload) || !bytes.Equal(key, want[i].Key) {
			t.Fatalf("record %d: %q, in schedule order it was %q", i, value, want[i].Payload)
		}
	}
}
