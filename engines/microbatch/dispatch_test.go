package microbatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/schedule"
	"streamduel/pipeline"
	"streamduel/state"
)

// plainGraph copies: no state, no shuffle.
func plainGraph(in connectors.Source, out connectors.Sink) *pipeline.Graph {
	g := pipeline.New("copy")
	pipeline.To(pipeline.From(g, "in", in, decodeEvent), "out", out, encodeEvent)
	return g
}

// TestTaskRetries: a task before the sink fails, and it alone is run again, with
// the state and the input that it had; nothing shows, under any guarantee.
func TestTaskRetries(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce} {
		for name, fails := range map[string]int64{"three times": 3, "four times": 4} {
			t.Run(string(g)+"/"+name, func(t *testing.T) {
				b := newBed(t, 3, g)
				b.config.Rate.MaxRecordsPerBatch = 90
				b.config.StateSnapshotEvery = 2
				b.topic.fill(600, 7)
				var left atomic.Int64
				left.Store(fails)
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
				if fails == 4 {
					err := p.Wait()
					p.cancel()
					if err == nil || !strings.Contains(err.Error(), "failed 4 times, lastly: panic at input partition 1, sequence 77: not this time") {
						t.Fatalf("the job ended with %v", err)
					}
					return
				}
				p.drained()
				p.stopNow()
				b.expect(0, 0)
				if err := b.counts(); err != nil {
					t.Error(err)
				}
				if g == connectors.ExactlyOnce && b.store.aborted > 0 {
					t.Errorf("%d rows were aborted, although no task that writes had failed", b.store.aborted)
				}
				failed := 0
				for _, c := range batches(p.all("batchCompleted")) {
					if len(c.Stages) != 3 || c.Stages[1].Name != "count → may fail" || c.Stages[1].Tasks != 2 || c.Stages[1].Max < c.Stages[1].P50 || c.Stages[1].Max == 0 {
						t.Errorf("batch %d: stages %+v", c.Batch, c.Stages)
					}
					failed += c.Stages[1].Failed
					var n int64
					for id := range c.End {
						n += int64(c.End[id] - c.Start[id])
					}
					if n != c.Records || (c.Records > 0 && c.ProcessedRowsPerSecond <= 0) || (c.Batch > 0 && c.Records > 0 && c.InputRowsPerSecond <= 0) || c.TotalDelay != c.SchedulingDelay+c.ProcessingDelay {
						t.Errorf("batch %+v", c)
					}
				}
				if failed != int(fails) {
					t.Errorf("%d failed attempts were told, want %d", failed, fails)
				}
				if got := p.Gauges(); got.QueuedBytes != 0 || got.Consumed != 600 {
					t.Errorf("after the end %+v", got)
				}
			})
		}
	}
}

// TestConcurrentJobs: two batches run at once, a third one waits; they end in
// order.
func TestConcurrentJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1, connectors.AtLeastOnce)
		b.config.Interval = Duration(time.Second)
		b.config.Clock = Queueing
		b.config.Cores = 2
		b.config.Scheduler.ConcurrentJobs = 2
		b.graph = func() *pipeline.Graph { return plainGraph(b.topic, b.store) }
		b.gate = connectors.NewGate()
		b.topic.fill(70, 5)
		b.gate.Throttle(20)
		p := b.start()
		<-time.After(1500 * time.Millisecond) // the first batch runs, for 3.5 s and more
		for range 3 {
			b.topic.fill(1, 5)
			<-time.After(time.Second)
		}
		p.drained()
		p.stopNow()
		done := batches(p.all("batchCompleted"))
		if len(done) != 4 {
			t.Fatalf("batches: %+v", done)
		}
		for i, c := range done {
			if c.Batch != int64(i) {
				t.Errorf("batch %d ended in place %d", c.Batch, i)
			}
		}
		// The second begins at its tick, beside the first, and then waits for its end;
		// the third waits for one of them.
		if done[1].SchedulingDelay > 10 || done[2].SchedulingDelay < 1000 {
			t.Errorf("scheduling delays %v, %v", done[1].SchedulingDelay, done[2].SchedulingDelay)
		}
		b.expect(0, 0)
	})
}

func TestConcurrentJobsRefused(t *testing.T) {
	for g, want := range map[connectors.Guarantee]string{connectors.AtLeastOnce: `"count → out" keeps state`, connectors.ExactlyOnce: "a transaction holds one batch"} {
		b := newBed(t, 1, g)
		b.config.Clock = Queueing
		b.config.Scheduler.ConcurrentJobs = 2
		if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", g, err)
		}
	}
	c := Default()
	c.Scheduler.ConcurrentJobs = 2
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "scheduler.concurrentJobs: 1 with the skipping clock") {
		t.Errorf("skipping: %v", err)
	}
}

// TestDispatcherWaitsForLocality: a core that is only allowed later is given out
// by the timer.
func TestDispatcherWaitsForLocality(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := newDispatcher(schedule.Defaults())
		if err != nil {
			t.Fatal(err)
		}
		var ran []string
		block := make(chan struct{})
		for _, id := range []string{"a", "b"} {
			e := newLocalExecutor(d, 1)
			e.ID, e.Host = id, id
			if err := d.add(e); err != nil {
				t.Fatal(err)
			}
		}
		defer d.close()
		begun := time.Now()
		w := &work{ctx: t.Context(), cancel: func() {}, job: schedule.Job{Stages: []schedule.Stage{{Tasks: []schedule.Task{{Executors: []string{"a"}}, {Executors: []string{"a"}}}}}},
			run: func(a *attempt) error {
				if a.Task == 0 {
					<-block
					return nil
				}
				ran = append(ran, fmt.Sprint(a.Executor, a.Locality, time.Since(begun)))
				close(block)
				return nil
			}}
		if err := d.do(w); err != nil {
			t.Fatal(err)
		}
		if want := []string{"bANY 6s"}; !slices.Equal(ran, want) {
			t.Errorf("ran %v, want %v", ran, want)
		}
	})
}

func TestDispatcherReportsFailures(t *testing.T) {
	d, err := newDispatcher(schedule.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.add(newLocalExecutor(d, 2)); err != nil {
		t.Fatal(err)
	}
	defer d.close()
	ctx, cancel := context.WithCancel(t.Context())
	w := &work{ctx: ctx, cancel: cancel, job: schedule.Job{Stages: []schedule.Stage{{Tasks: make([]schedule.Task, 2)}}}, run: func(a *attempt) error {
		if a.Task == 1 {
			<-ctx.Done() // ended by the other's last failure
			return ctx.Err()
		}
		return errors.New("no")
	}}
	if err := d.do(w); err == nil || err.Error() != "task 0 in stage 0 failed 4 times, lastly: no" {
		t.Errorf("%v", err)
	}
}

// BenchmarkSchedulingOverhead is what a task costs beside its work: through the
// dispatcher alone, and through a whole batch of 10,000 tasks in ten stages of
// 1,000 partitions, of which each reads one record (assigning ranges, reading
// and writing included).
func BenchmarkSchedulingOverhead(b *testing.B) {
	b.Run("dispatcher", func(b *testing.B) {
		d, err := newDispatcher(schedule.Defaults())
		if err != nil {
			b.Fatal(err)
		}
		if err := d.add(newLocalExecutor(d, 2)); err != nil {
			b.Fatal(err)
		}
		defer d.close()
		var stages []schedule.Stage
		for s := range 10 {
			st := schedule.Stage{Tasks: make([]schedule.Task, 1000)}
			if s > 0 {
				st.Parents = []int{s - 1}
			}
			stages = append(stages, st)
		}
		id := int64(0)
		for b.Loop() {
			id++
			if err := d.do(&work{ctx: b.Context(), cancel: func() {}, job: schedule.Job{ID: id, Stages: stages}, run: func(*attempt) error { return nil }}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(id)/10_000, "µs/task")
	})
	b.Run("batch", func(b *testing.B) {
		g := pipeline.New("wide")
		for i := range 10 {
			src := pipeline.From(g, fmt.Sprint("in", i), synthetic{1000, int64(b.N)}, func(r *connectors.Record) (pair, error) { return pair{}, nil })
			pipeline.To(src, fmt.Sprint("out", i), void{}, func(pair, *connectors.Record) {})
		}
		folder, err := state.OpenFolder(b.TempDir(), state.DurableProcess)
		if err != nil {
			b.Fatal(err)
		}
		cfg := Default()
		cfg.Interval = Duration(time.Millisecond)
		cfg.Rate.PID.Enabled = false
		cfg.Rate.MaxRecordsPerBatch = 10_000
		var running float64
		run, err := New().Start(context.Background(), engines.Job{Name: "bench", Graph: g, Parallelism: 1000, Guarantee: connectors.AtLeastOnce, Folder: folder}, cfg,
			engines.Runtime{Events: func(e engines.Event) {
				if c, ok := e.(engines.BatchCompleted); ok {
					running += c.Durations["addBatch"]
				}
			}})
		if err != nil {
			b.Fatal(err)
		}
		if err := run.Wait(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(running*1000/float64(b.N)/10_000, "µs/task")
	})
}
