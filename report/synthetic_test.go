package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"streamduel/runs"
)

// The synthetic run: a toy model of two engines, run through the scenarios
// that a report has to show. It is no measurement of anything; its purpose is
// that every part of a report has something realistic to draw.

const (
	tick      = 0.1 // seconds
	load      = 10_000.0
	recordLen = 100.0
)

var epoch = time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)

// lot is a number of records that became due together.
type lot struct {
	due float64
	n   float64
}

// fifo holds lots in order.
type fifo []lot

func (f *fifo) add(l lot) {
	if l.n > 0 {
		*f = append(*f, l)
	}
}

func (f *fifo) take(n float64) (out []lot) {
	for n > 1e-9 && len(*f) > 0 {
		l := &(*f)[0]
		got := min(n, l.n)
		out = append(out, lot{l.due, got})
		l.n -= got
		n -= got
		if l.n <= 1e-9 {
			*f = (*f)[1:]
		}
	}
	return out
}

func (f fifo) size() (n float64) {
	for _, l := range f {
		n += l.n
	}
	return n
}

// model is one toy engine.
type model struct {
	batch    float64 // seconds a batch; 0 is record by record
	commit   float64 // seconds between commits for an engine without batches
	capacity float64 // records per second
	bound    float64 // records inside
}

var (
	microbatch = model{batch: 0.5, capacity: 60_000, bound: 1e9}
	atLeast    = model{commit: tick, capacity: 80_000, bound: 3_200}
	exactly    = model{commit: 1, capacity: 80_000, bound: 12_000}
)

// outcome is what a simulated cell left.
type outcome struct {
	series          []runs.Sample
	visible         []visibility
	queuedPeak      float64
	killed, revived float64
}

type visibility struct{ at, latency, n float64 }

// simulate runs the toy engine for the phases; sink gives the sink's rate at
// a time, down says when the worker is dead.
func simulate(m model, end float64, sink func(t float64) float64, down func(t float64) bool, random *rand.Rand) outcome {
	var o outcome
	var backlog, inside, written fifo
	limit := math.Inf(1)
	batchStart, lastBatch, wasDown := 0.0, 0.0, false
	for k := 1; float64(k)*tick <= end+1e-9; k++ {
		t := float64(k) * tick
		jitter := 1 + 0.04*(random.Float64()-0.5)
		backlog.add(lot{t - tick/2, load * tick})
		row := runs.NewSample(t)
		row.Offered = load
		consumed, shown := 0.0, 0.0
		show := func(lots []lot, wait float64) {
			for _, l := range lots {
				o.visible = append(o.visible, visibility{t, max(t-l.due+wait, 0.002), l.n})
				shown += l.n
			}
		}
		if down(t) {
			if !wasDown {
				replay := append(append(fifo{}, written...), inside...)
				backlog = append(replay, backlog...)
				inside, written = nil, nil
				o.killed = t
			}
			wasDown = true
		} else {
			if wasDown {
				o.revived = t
				batchStart = t
			}
			wasDown = false
			rate := min(sink(t), m.capacity) * jitter
			if m.batch > 0 {
				if inside.size() < 1 && t-batchStart >= m.batch-1e-9 {
					switch spent := t - batchStart; {
					case spent > m.batch*1.5 && lastBatch > 0:
						limit = max(lastBatch/spent, 1000)
					case !math.IsInf(limit, 1) && sink(t) > 1e6:
						limit = min(limit*2, 40_000)
					}
					batchStart = t
					for _, l := range backlog.take(min(limit*m.batch, 60_000)) {
						inside.add(l)
						consumed += l.n
					}
					lastBatch = consumed
				}
				for _, l := range inside.take(rate * tick) {
					written.add(l)
				}
				if inside.size() < 1 {
					show(written.take(1e12), 0.03*random.Float64())
				}
				row.RateLimit = limit
			} else {
				for _, l := range backlog.take(min(m.bound-inside.size(), m.capacity*tick)) {
					inside.add(l)
					consumed += l.n
				}
				for _, l := range inside.take(rate * tick) {
					written.add(l)
				}
				if math.Abs(math.Remainder(t, m.commit)) < tick/2 {
					show(written.take(1e12), -tick/2+0.008*random.Float64())
				}
			}
		}
		if math.IsInf(row.RateLimit, 0) {
			row.RateLimit = math.NaN()
		}
		row.Consumed, row.Visible = consumed/tick, shown/tick
		row.QueuedRecords = inside.size()
		row.QueuedBytes = row.QueuedRecords * recordLen
		row.Lag = backlog.size() + inside.size() + written.size()
		row.BlockedShare = min(1, row.QueuedRecords/m.bound)
		if m.batch > 0 {
			row.BlockedShare = math.NaN()
		}
		row.CPU = 0.3 + 0.1*random.Float64()
		row.RSS = 60e6 + row.Lag*120 + 3e6*random.Float64()
		if down(t) {
			row.Consumed, row.QueuedRecords, row.QueuedBytes, row.RSS, row.CPU, row.BlockedShare = math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()
		}
		if !math.IsNaN(row.QueuedRecords) {
			o.queuedPeak = max(o.queuedPeak, row.QueuedRecords)
		}
		o.series = append(o.series, row)
	}
	return o
}

func full(float64) float64 { return 1e9 }
func alive(float64) bool   { return false }

// latencies sums what became visible in [from, to) up.
func (o outcome) latencies(from, to float64) *hdrhistogram.Histogram {
	h := runs.NewHistogram()
	for _, v := range o.visible {
		if v.at > from && v.at <= to {
			// A lot spans a tenth of a second of due times.
			for i := range 10 {
				at := v.latency + (float64(i)-4.5)/10*tick
				_ = h.RecordValues(int64(max(at, 0.0015)*1e9), int64(math.Max(1, math.Round(v.n/10))))
			}
		}
	}
	return h
}

// synthetic builds cells and their raw files.
type synthetic struct {
	t      testing.TB
	w      *runs.Writer
	random *rand.Rand
	cells  []runs.Cell
}

type cellSpec struct {
	scenario, engine, guarantee string
	repetition                  int
	model                       model
	phases                      []runs.Phase
	sink                        func(float64) float64
	down                        func(float64) bool
	marks                       []runs.Mark
	edit                        func(*runs.Cell, outcome)
	omit                        []string // files to leave out
	stderr                      string
}

func phases(spec ...any) (all []runs.Phase) {
	at := 0.0
	for i := 0; i < len(spec); i += 3 {
		length := spec[i+1].(float64)
		all = append(all, runs.Phase{Name: spec[i].(string), Start: at, End: at + length, Fault: spec[i+2].(string)})
		at += length
	}
	return all
}

func (s *synthetic) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *synthetic) cell(spec cellSpec) {
	s.t.Helper()
	if spec.sink == nil {
		spec.sink = full
	}
	if spec.down == nil {
		spec.down = alive
	}
	if spec.repetition == 0 {
		spec.repetition = 1
	}
	id := runs.CellID(spec.scenario, spec.engine, spec.guarantee, spec.repetition)
	started := epoch.Add(time.Duration(20*len(s.cells)) * time.Second)
	w, err := s.w.Cell(id, started)
	s.must(err)
	end := spec.phases[len(spec.phases)-1].End
	o := simulate(spec.model, end, spec.sink, spec.down, s.random)
	sent := int64(end * load)
	c := runs.Cell{
		ID: id, Scenario: spec.scenario, Workload: "keyed-count", Engine: spec.engine, Guarantee: spec.guarantee,
		Repetition: spec.repetition, Durability: "machine", Started: started, Verdict: runs.Pass,
		Config: map[string]any{"parallelism": 2}, Load: loadOf(spec), Phases: spec.phases, Marks: spec.marks,
		Records:       &runs.Records{Sent: &sent, Consumed: &sent, Visible: &sent, Duplicates: new(int64(0)), Losses: new(int64(0)), Unexpected: new(int64(0)), Reordered: new(int64(0))},
		LatencyMillis: &runs.LatencyMillis{Event: map[string]runs.Latency{}},
		Throughput:    map[string]runs.Throughput{},
		Cost:          &runs.Cost{CPUSecondsPerMillion: new(38.4), AllocBytesPerRecord: new(212.0), RSSPeakBytes: new(int64(71_300_000)), GCPauseMillisMax: new(0.41), DurableMillis: &runs.Durable{P50: 6.2, P99: 14.8}, DurableBytes: new(int64(4_812_330))},
		Audits:        audits(),
	}
	if spec.engine == "dataflow" {
		c.Cost.CPUSecondsPerMillion, c.Cost.AllocBytesPerRecord = new(29.1), new(148.0)
	}
	for _, p := range spec.phases {
		if l, ok := runs.LatencyOf(o.latencies(p.Start, p.End)); ok {
			c.LatencyMillis.Event[p.Name] = l
		}
		shown := 0.0
		for _, v := range o.visible {
			if v.at > p.Start && v.at <= p.End {
				shown += v.n
			}
		}
		c.Throughput[p.Name] = runs.Throughput{Offered: new(load), Consumed: new(shown / (p.End - p.Start)), Visible: new(shown / (p.End - p.Start))}
	}
	if spec.edit != nil {
		spec.edit(&c, o)
	}
	if spec.repetition > 1 { // no picture shows them
		spec.phases, o.series = nil, nil
	}
	for _, row := range o.series {
		s.must(w.Series.Write(row))
	}
	for _, p := range spec.phases {
		for t := p.Start; t < p.End-1e-9; t += tick {
			s.must(w.Latency.Write(runs.EventLatency, p.Name, t, t+tick, o.latencies(t, t+tick)))
		}
	}
	s.must(w.Events.Append(0.05, fmt.Appendf(nil, `{"event":"started","engine":%q}`, spec.engine)))
	s.must(w.WriteJob(map[string]string{"workload": c.Workload}))
	s.must(w.WriteLedger(runs.Ledger{Records: *c.Records}))
	if spec.stderr != "" {
		s.must(os.WriteFile(w.Path(runs.StderrFile), []byte(spec.stderr), 0o600))
	}
	s.must(w.Finish(&c))
	for _, name := range spec.omit {
		s.must(os.Remove(w.Path(name)))
	}
	s.cells = append(s.cells, c)
}

// loadOf is the cell's load: under exactly-once committed as its model does.
func loadOf(spec cellSpec) *runs.Load {
	l := &runs.Load{Rate: load, Shape: "constant"}
	if spec.guarantee == "exactly-once" {
		l.CommitSeconds = new(max(spec.model.batch, spec.model.commit))
	}
	return l
}

func audits() []runs.Audit {
	return []runs.Audit{
		{Name: "generator on schedule", OK: true, Detail: "99.98 % of records within 5 ms of their schedule", Voids: []string{runs.GroupLatency}},
		{Name: "counts add up", OK: true, Detail: "sent = visible + late + lost", Voids: []string{runs.GroupCounts}},
		{Name: "no sample clipped", OK: true, Voids: []string{runs.GroupLatency}},
		{Name: "processor not taken away", OK: true, Detail: "0.3 % stolen", Voids: []string{runs.GroupCost}},
		{Name: "clock did not step", OK: true, Voids: []string{runs.GroupLatency, runs.GroupThroughput}},
	}
}

// seconds of a scenario's moments
func elapsed(v float64) *runs.Elapsed { return new(runs.Elapsed(math.Round(v*1000) / 1000)) }

// newRun begins a synthetic run.
func newRun(t testing.TB, root string) *synthetic {
	t.Helper()
	w, err := runs.Create(root, "bench", runs.Run{
		Started: epoch, Finished: epoch.Add(4*time.Minute + 11*time.Second),
		Commit: "3f9c1e07ab55d2c48f10e6a7c2d94b1186e0aa3d", Go: "go1.26.8", OS: "linux/amd64 (debian 12)", Kernel: "6.12.0",
		CPU: "Example CPU @ 2.60GHz", Cores: 2, MemoryBytes: 24 << 30, Broker: runs.Broker{Kind: "embedded", Version: "kfake"},
		Seed: 42, Arguments: []string{"run", "bench"},
		Scenarios: []runs.Scenario{
			{Name: "steady", Hash: "sha256:6d1f", Question: "What does each model cost, and how late is it, when nothing goes wrong?"},
			{Name: "throttled-consumer", Hash: "sha256:91ab", Question: "How does each model answer a sink that slows down?"},
			{Name: "partition-growth", Hash: "sha256:22c0", Question: "How soon does each model read partitions that were not there when it started?"},
			{Name: "crash-mid-commit", Hash: "sha256:0b7e", Question: "What does a crash between prepare and commit cost each model?"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &synthetic{t: t, w: w, random: rand.New(rand.NewPCG(1, 2))}
}

// finish completes the run and returns its folder.
func (s *synthetic) finish() string {
	s.t.Helper()
	summary := &runs.Summary{Run: s.w.Run(), Verdict: runs.Worst(s.cells), Cells: s.cells, Floors: &runs.Floors{
		ClientLoop: &runs.Floor{RecordsPerSecond: new(412_000.0), CPUSecondsPerMillion: new(9.4)},
		Exchange:   &runs.Floor{RecordsPerSecond: new(24_800_000.0)},
		Decode:     &runs.Floor{RecordsPerSecond: new(61_000_000.0)},
		Paced: []runs.PacedFloor{
			{Rate: load, CPUSecondsPerMillion: new(18.6), LatencyMillis: &runs.Latency{Count: 15_000, P50: 1.4, P90: 2.0, P99: 3.9, P999: new(5.1), Max: new(6.6), Mean: new(float64(1.6))}},
			{Rate: load, CommitSeconds: new(0.5), CPUSecondsPerMillion: new(21.0), LatencyMillis: &runs.Latency{Count: 15_000, P50: 252, P90: 451, P99: 499, P999: new(506.0), Max: new(509.0), Mean: new(float64(254))}},
			{Rate: load, CommitSeconds: new(1.0), CPUSecondsPerMillion: new(20.2), LatencyMillis: &runs.Latency{Count: 20_000, P50: 503, P90: 902, P99: 994, P999: new(1006.0), Max: new(1011.0), Mean: new(float64(505))}},
		},
	}}
	dir, err := s.w.Finish(summary)
	s.must(err)
	s.must(runs.Publish(dir))
	return dir
}
