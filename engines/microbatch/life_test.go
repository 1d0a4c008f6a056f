package microbatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/scenarios"
	"streamduel/state"
)

// TestGrowth: a new partition is found by a batch and read from its start.
func TestGrowth(t *testing.T) {
	for _, clock := range []ClockKind{Skipping, Queueing} {
		t.Run(string(clock), func(t *testing.T) {
			b := newBed(t, 2, connectors.ExactlyOnce)
			b.config.Clock = clock
			b.discovery = time.Microsecond
			b.topic.fill(200, 7)
			p := b.start()
			p.drained()
			b.topic.grow(5)
			b.topic.fill(500, 7)
			p.drained()
			p.stopNow()
			b.expect(0, 0)
			if err := b.counts(); err != nil {
				t.Error(err)
			}
			var found, first []string
			for _, e := range p.all("discovered") {
				found = append(found, fmt.Sprint(e.(engines.Discovered).Split, "@", e.(engines.Discovered).From))
			}
			for _, e := range p.all("firstRecord") {
				first = append(first, string(e.(engines.FirstRecord).Split))
			}
			slices.Sort(first)
			if want := []string{"in/0@0", "in/1@0", "in/2@0", "in/3@0", "in/4@0"}; !slices.Equal(found, want) {
				t.Errorf("discovered %v", found)
			}
			if want := []string{"in/0", "in/1", "in/2", "in/3", "in/4"}; !slices.Equal(first, want) {
				t.Errorf("first records of %v", first)
			}
			// What appeared while the job was down is found at its start.
			b.topic.grow(6)
			b.topic.fill(60, 7)
			p = b.start()
			p.drained()
			p.stopNow()
			b.expect(0, 0)
		})
	}
	t.Run("never", func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		p := b.start()
		b.topic.grow(2)
		b.topic.fill(20, 3)
		p.await("partition 0", func([]engines.Event) bool { return len(b.store.rows()) == 10 })
		p.stopNow()
		if n := len(p.all("discovered")); n != 1 {
			t.Errorf("%d splits were discovered", n)
		}
	})
}

// TestSinkFails is M2r: a sink task fails after some rows and the worker lives.
func TestSinkFails(t *testing.T) {
	const after = 51
	run := func(t *testing.T, g connectors.Guarantee) (*bed, *process) {
		b := newBed(t, 2, g)
		b.parallel = 1 // so that it is known how many rows the failing task had written
		b.config.Rate.MaxRecordsPerBatch = 100
		b.topic.fill(300, 7)
		b.store.failWrites = 100 + after
		return b, b.start()
	}
	t.Run("exactly-once", func(t *testing.T) {
		b, p := run(t, connectors.ExactlyOnce)
		p.drained()
		p.stopNow()
		b.expect(0, 0)
		if err := b.counts(); err != nil {
			t.Error(err)
		}
		if b.store.aborted < after-1 {
			t.Errorf("%d rows were aborted", b.store.aborted)
		}
		if got := p.Gauges(); got.QueuedRecords != 0 || got.QueuedBytes != 0 {
			t.Errorf("after the end %+v", got)
		}
	})
	t.Run("at-least-once", func(t *testing.T) {
		b, p := run(t, connectors.AtLeastOnce)
		p.drained()
		p.stopNow()
		if copies, losses := b.verdict(); copies != after-1 || losses != 0 {
			t.Errorf("%d copies, %d losses", copies, losses)
		}
	})
	t.Run("at-most-once", func(t *testing.T) {
		b, p := run(t, connectors.AtMostOnce)
		err := p.Wait()
		p.cancel()
		if err == nil || !strings.Contains(err.Error(), `job "job": batch 1: task `) || !strings.Contains(err.Error(), "the disk of the broker is full") {
			t.Errorf("the job ended with %v", err)
		}
		p = b.start()
		p.drained()
		p.stopNow()
		if copies, losses := b.verdict(); copies != 0 || losses < 1 || losses > 100-after+1 {
			t.Errorf("%d copies, %d losses", copies, losses)
		}
	})
	t.Run("for good", func(t *testing.T) {
		b := newBed(t, 2, connectors.ExactlyOnce)
		b.topic.fill(10, 7)
		b.graph = func() *pipeline.Graph { return countGraph(b.topic, deaf{b.store}) }
		p := b.start()
		err := p.Wait()
		p.cancel()
		if err == nil || !strings.Contains(err.Error(), "no route to host") || b.store.begun != 4 {
			t.Errorf("after %d attempts: %v", b.store.begun, err)
		}
	})
}

// deaf is a store of which no transaction can be prepared.
type deaf struct{ *store }

func (d deaf) Transaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	tx, err := d.store.Transaction(ctx, env)
	return deafTransaction{tx}, err
}

type deafTransaction struct{ connectors.Transaction }

func (deafTransaction) Prepare(context.Context, map[connectors.SplitID]connectors.Position, string) error {
	return errors.New("no route to host")
}

// TestPanic: a panic in an operator is a failed task like any other; when it fails
// again and again the job does, with the record and the stack.
func TestPanic(t *testing.T) {
	b := newBed(t, 1, connectors.ExactlyOnce)
	b.topic.fill(10, 3)
	b.graph = func() *pipeline.Graph {
		g := pipeline.New("panic")
		m := pipeline.Map(pipeline.From(g, "in", b.topic, decodeEvent), "map", func(e event) event {
			if e.sequence == 5 {
				panic("a bug in the user's function")
			}
			return e
		})
		pipeline.To(m, "out", b.store, encodeEvent)
		return g
	}
	p := b.start()
	err := p.Wait()
	p.cancel()
	if err == nil || !strings.Contains(err.Error(), `panic at source "in", split in/0, position 5: a bug in the user's function (microbatch/life_test.go:`) {
		t.Errorf("the job ended with %v", err)
	}
	if b.store.begun != 4 {
		t.Errorf("the batch was begun %d times", b.store.begun)
	}
}

// TestBadRecord: what does not decode is named by split and position.
func TestBadRecord(t *testing.T) {
	b := newBed(t, 1, connectors.AtLeastOnce)
	b.topic.fill(10, 3)
	b.topic.parts[0][7].Value = []byte("short")
	p := b.start()
	err := p.Wait()
	p.cancel()
	if err == nil || !strings.Contains(err.Error(), `source "in": split in/0, position 7: the record does not decode`) {
		t.Errorf("the job ended with %v", err)
	}
}

// TestSuperseded is T3: a process that was stopped wakes after its replacement
// has started, and does no harm.
func TestSuperseded(t *testing.T) {
	for _, g := range guarantees {
		t.Run(string(g), func(t *testing.T) {
			b := newBed(t, 2, g)
			b.topic.fill(100, 7)
			old := b.start()
			old.drained()
			second := b.start()
			b.topic.fill(100, 7)
			err := old.Wait()
			old.cancel()
			if err == nil || !(strings.Contains(err.Error(), "superseded by attempt 2") || errors.Is(err, errFenced) || errors.Is(err, state.ErrExists)) {
				t.Errorf("the old process ended with %v", err)
			}
			second.drained()
			second.stopNow()
			b.expect(0, 0)
		})
	}
}

// TestConcurrentRun: whoever finds the batch in the log already is not alone.
func TestConcurrentRun(t *testing.T) {
	b := newBed(t, 1, connectors.AtLeastOnce)
	p := b.start()
	if err := b.job().Folder.Create("offset-0", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	b.topic.fill(10, 3)
	err := p.Wait()
	p.cancel()
	if !errors.Is(err, state.ErrExists) || !strings.Contains(err.Error(), "batch 0 is in the offset log already") {
		t.Errorf("the job ended with %v", err)
	}
}

// TestUnion: two sources, a union in one stage, a broadcast, a side output and a
// second shuffle.
func TestUnion(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run(string(g), func(t *testing.T) {
			b := newBed(t, 3, g)
			other := newTopic("other", 2)
			second := &store{}
			b.graph = func() *pipeline.Graph {
				g := pipeline.New("union")
				u := pipeline.Union(pipeline.From(g, "in", b.topic, decodeEvent), pipeline.Map(pipeline.From(g, "more", other, decodeEvent), "mark", func(e event) event {
					e.partition += 100
					return e
				}))
				both := pipeline.Map(u, "both", func(e event) event { return e })
				counts := counted(both, "count")
				pipeline.To(counts, "out", b.store, encodeEvent)
				again := counted(pipeline.Map(counts.Codec(eventCodec).Rebalance(), "spread", func(e event) event { return e }).Parallelism(1).Codec(eventCodec), "count again")
				pipeline.To(again, "twice", second, encodeEvent)
				return g
			}
			b.topic.fill(300, 7)
			other.fill(200, 7)
			p := b.start()
			all := func([]engines.Event) bool { return len(b.store.rows()) == 500 && len(second.rows()) == 500 }
			p.await("both sinks", all)
			p.stopNow()
			records := map[string]int64{}
			for _, c := range batches(p.all("batchCompleted")) {
				sum, lag := int64(0), int64(0)
				for _, s := range c.Sources {
					records[s.Source] += s.Records
					sum += s.Records
					lag += s.Lag
					for id, at := range s.End {
						if c.End[id] != at || c.Start[id] != s.Start[id] || s.Latest[id] < at {
							t.Errorf("batch %d: source %+v", c.Batch, s)
						}
					}
					if s.Records > 0 && s.ProcessedRowsPerSecond <= 0 {
						t.Errorf("batch %d: source %+v", c.Batch, s)
					}
				}
				if len(c.Sources) != 2 || sum != c.Records || lag != c.Lag {
					t.Errorf("batch %d: %d sources, %d records, lag %d", c.Batch, len(c.Sources), sum, lag)
				}
			}
			if records["in"] != 300 || records["more"] != 200 {
				t.Errorf("records by source: %v", records)
			}
			plan, err := New().Plan(b.job(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, s := range plan.Stages {
				var inputs []string
				for _, in := range s.Inputs {
					inputs = append(inputs, fmt.Sprint(in.From, " ", in.Partitioning))
				}
				names = append(names, fmt.Sprintf("%s ×%d %v", s.Name, s.Parallelism, inputs))
			}
			want := []string{"in → more → mark → both ×2 []", "count → out ×2 [0 hash]", "spread ×1 [1 rebalance]", "count again → twice ×2 [2 hash]"}
			if !slices.Equal(names, want) {
				t.Errorf("plan: %q", names)
			}
			sum := map[int64]int64{}
			for _, r := range b.store.rows() {
				sum[r.key]++
			}
			for k, n := range sum {
				if n < 70 || n > 72 {
					t.Errorf("key %d: %d rows", k, n)
				}
			}
		})
	}
}

// TestTwoSinksOneCommitted: a crash after the first of two sinks has committed a
// batch. The batch runs again for the other only, also where both keep their
// positions in one place.
func TestTwoSinksOneCommitted(t *testing.T) {
	for _, shared := range []bool{false, true} {
		for _, at := range []int{1, 3} {
			t.Run(fmt.Sprint("shared ", shared, ", batch ", at), func(t *testing.T) {
				b := newBed(t, 2, connectors.ExactlyOnce)
				b.config.Rate.MaxRecordsPerBatch = 50
				second := &flaky{store: &store{}, failCommit: at}
				if shared {
					b.store.marks = &marks{}
					second.marks = b.store.marks
				}
				b.graph = func() *pipeline.Graph {
					g := pipeline.New("two sinks")
					counts := counted(pipeline.From(g, "in", b.topic, decodeEvent), "count")
					pipeline.To(counts, "out", b.store, encodeEvent)
					pipeline.To(counts, "second", second, encodeEvent)
					return g
				}
				b.topic.fill(300, 7)
				p := b.start()
				err := p.Wait()
				p.cancel()
				if err == nil || !strings.Contains(err.Error(), `sink "second": committing the transaction: its outcome is not known`) {
					t.Fatalf("the job ended with %v", err)
				}
				p = b.start()
				p.drained()
				p.stopNow()
				for _, s := range []*store{b.store, second.store} {
					b.store = s
					b.expect(0, 0)
					if err := b.counts(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

type flaky struct {
	*store
	failCommit int
}

func (f *flaky) Transaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	tx, err := f.store.Transaction(ctx, env)
	return &flakyTransaction{tx, f}, err
}

type flakyTransaction struct {
	connectors.Transaction
	f *flaky
}

func (t *flakyTransaction) Commit(ctx context.Context) error {
	if t.f.failCommit--; t.f.failCommit == 0 {
		return errors.New("connection reset")
	}
	return t.Transaction.Commit(ctx)
}

// TestStop: drain reads bounded sources to their end, a checkpoint ends with the
// batch, now gives it up.
func TestStop(t *testing.T) {
	t.Run("drain", func(t *testing.T) {
		for _, clock := range []ClockKind{Skipping, Queueing} {
			b := newBed(t, 2, connectors.AtLeastOnce)
			b.config.Clock = clock
			b.config.Interval = Duration(time.Hour)
			b.config.Rate.MaxRecordsPerBatch = 10
			b.topic.bounded = true
			b.topic.fill(300, 7)
			p := b.start()
			p.stop(engines.StopDrain)
			b.expect(0, 0)
			if s := p.all("stopped"); len(s) != 1 || s[0].(engines.Stopped).Mode != engines.StopDrain {
				t.Errorf("events: %v", s)
			}
		}
	})
	t.Run("now", func(t *testing.T) {
		for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
			b := newBed(t, 2, g)
			b.gate = connectors.NewGate()
			b.gate.Throttle(0.001)
			b.topic.fill(100, 7)
			p := b.start()
			p.await("a batch", func([]engines.Event) bool { return len(p.eventsOf("batchPlanned")) == 1 })
			p.stop(engines.StopNow)
			b.gate.Throttle(0)
			p = b.start()
			p.drained()
			p.stopNow()
			if _, losses := b.verdict(); losses != 0 {
				t.Errorf("%s: %d losses", g, losses)
			}
		}
	})
	t.Run("the context ends", func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		p := b.start()
		p.cancel()
		if err := p.Wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("the job ended with %v", err)
		}
	})
}

// eventsOf is for conditions of await, which hold the lock.
func (p *process) eventsOf(kind string) (out []engines.Event) {
	for _, e := range p.events {
		if e.Kind() == kind {
			out = append(out, e)
		}
	}
	return out
}

// TestRetention: logs and states do not grow for ever, and what is left is
// enough to go on.
func TestRetention(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	b.config.RetainedBatches = 5
	b.config.StateSnapshotEvery = 4
	b.config.Rate.MaxRecordsPerBatch = 10
	b.topic.fill(500, 7)
	p := b.start()
	p.drained()
	p.stopNow()
	folder := b.job().Folder
	for _, prefix := range []string{offsetPrefix, commitPrefix} {
		if ns, err := folder.Numbered(prefix); err != nil || len(ns) == 0 || len(ns) > 16 {
			t.Errorf("%s: %v, %v", prefix, ns, err)
		}
	}
	sub, err := folder.Sub("state-0-0")
	if err != nil {
		t.Fatal(err)
	}
	deltas, _ := sub.Numbered(deltaPrefix)
	fulls, _ := sub.Numbered(fullPrefix)
	if len(deltas) > 20 || len(fulls) > 6 || len(fulls) < 2 {
		t.Errorf("deltas %v, full %v", deltas, fulls)
	}
	b.topic.fill(50, 7)
	p = b.start()
	p.drained()
	p.stopNow()
	b.expect(0, 0)
	if err := b.counts(); err != nil {
		t.Error(err)
	}
}

// TestGauges: while the sink stands still, what has been taken in is queued, and
// the stage that writes is busy.
func TestGauges(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	b.config.Rate.MaxRecordsPerBatch = 60
	b.gate = connectors.NewGate()
	b.gate.Throttle(0.001)
	b.topic.fill(100, 7)
	p := b.start()
	var g engines.Gauges
	deadline := time.Now().Add(10 * time.Second)
	for g.Consumed < 60 || len(g.Tasks) == 0 || g.Tasks[1].Busy < 0.5 {
		if time.Now().After(deadline) {
			t.Fatalf("gauges: %+v", g)
		}
		p.await("an event", func(es []engines.Event) bool { return len(es) > 3 })
		g = p.Gauges()
	}
	if g.Consumed != 60 || g.Written > 2 || g.QueuedRecords != 60-g.Written || g.Lag != 40 {
		t.Errorf("gauges: %+v", g)
	}
	for _, task := range g.Tasks {
		if sum := task.Busy + task.Blocked + task.Idle; sum < 0.999 || sum > 1.001 {
			t.Errorf("%+v", task)
		}
	}
	b.gate.Throttle(0)
	p.drained()
	p.stopNow()
	if g := p.Gauges(); g.Consumed != 100 || g.Written != 100 || g.QueuedRecords != 0 || g.QueuedBytes != 0 || g.Lag != 0 {
		t.Errorf("gauges at the end: %+v", g)
	}
	done := p.all("batchCompleted")
	last := done[len(done)-1].(engines.BatchCompleted)
	if last.StateKeys == 0 || last.StateMemoryBytes == 0 || p.Gauges().State == nil || *p.Gauges().State != last.StateUsage {
		t.Errorf("state takes %+v, the gauges say %+v", last.StateUsage, p.Gauges().State)
	}
}

// TestLog: the log names the batch that is run again.
func TestLog(t *testing.T) {
	b := newBed(t, 2, connectors.AtLeastOnce)
	b.topic.fill(10, 3)
	b.store.failWrites = 4
	var out bytes.Buffer
	run, err := New().Start(context.Background(), b.job(), b.config, engines.Runtime{Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for run.Gauges().QueuedRecords > 0 || run.Gauges().Consumed < 10 {
		if time.Now().After(deadline) {
			t.Fatal("the batch does not end")
		}
	}
	if err := run.Stop(context.Background(), engines.StopCheckpoint); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "a task has failed") || !strings.Contains(out.String(), "disk of the broker is full") {
		t.Errorf("log: %s", out.String())
	}
}

// TestScenario: the block of a scenario file decodes into the configuration, and
// what is wrong is shown at its place.
func TestScenario(t *testing.T) {
	e := New()
	var points []string
	for _, p := range e.Points() {
		points = append(points, p.Name)
	}
	parse := func(block string) (*Config, error) {
		f, err := scenarios.Parse("s.yaml", t.TempDir(), []byte(`schema: streamduel/scenario/v1
name: s
question: Does it decode?
workload: { name: w }
topics: { partitions: 1 }
load: { rate: 10/s, shape: constant }
engines:
  microbatch: `+block+`
guarantees: [at-least-once]
phases:
  - { name: steady, duration: 1s }
  - { name: fault, crash: { at: { microbatch: T2 }, hit: 1 } }
`), scenarios.Options{Vocabulary: scenarios.Vocabulary{
			Engines:   map[string]scenarios.EngineSpec{e.Name(): {New: e.Config, CrashPoints: points}},
			Workloads: map[string]scenarios.WorkloadSpec{"w": {}},
		}})
		if err != nil {
			return nil, err
		}
		block0, _ := f.Variants[0].Scenario.Engines.Get(e.Name())
		return block0.Config.(*Config), nil
	}
	c, err := parse("{ interval: 20ms, clock: queueing, rate: { initial: 5k/s, maxRecordsPerBatch: 10, pid: { derivative: 0.5 } } }")
	if err != nil {
		t.Fatal(err)
	}
	if c.Interval.Std() != 20*time.Millisecond || c.Clock != Queueing || c.Rate.Initial != 5000 || c.Rate.MaxRecordsPerBatch != 10 || c.Rate.PID.Derivative != 0.5 || !c.Rate.PID.Enabled {
		t.Errorf("%+v", c)
	}
	for block, want := range map[string]string{
		"{ interval: 0s }":                  `s.yaml:8:27: engines.microbatch.interval: value "0s": a duration above 0s`,
		"{ interval: 20 }":                  "a duration with its unit",
		"{ clock: sundial }":                "one of skipping, queueing",
		"{ rate: { pid: { minRate: 0 } } }": "engines.microbatch.rate.pid.minRate",
		"{ intervall: 20ms }":               `did you mean "interval"?`,
	} {
		if _, err := parse(block); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", block, err)
		}
	}
}
