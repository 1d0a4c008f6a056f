package microbatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// mapGraph writes each input as it is: no shuffle, no state.
func mapGraph(in connectors.Source, out connectors.Sink) *pipeline.Graph {
	g := pipeline.New("map")
	s := pipeline.From(g, "in", in, decodeEvent)
	pipeline.To(pipeline.Map(s, "same", func(e event) event { e.time = 1; return e }), "out", out, encodeEvent)
	return g
}

// byID is a sink that knows batches by their ids: what comes again takes the place
// of what came before.
type byID struct {
	store // its lock guards what is here too
	rows  map[connectors.BatchID][]row
	began int
}

func (s *byID) BatchWriter(_ context.Context, env connectors.WriterEnv) (connectors.BatchWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &byIDWriter{storeWriter: storeWriter{s: &s.store, env: env, epoch: s.epoch}, sink: s}, nil
}

type byIDWriter struct {
	storeWriter
	sink *byID
	id   connectors.BatchID
}

func (w *byIDWriter) Batch(_ context.Context, id connectors.BatchID) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.id = id
	w.sink.began++
	w.tx = &storeTransaction{s: &w.sink.store}
	return nil
}

func (w *byIDWriter) Flush(context.Context) error {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if w.epoch != w.sink.epoch {
		return errFenced
	}
	w.sink.rows[w.id] = w.tx.open
	return nil
}

// settle makes the rows those of the store, for the bed to count.
func (s *byID) settle() {
	for _, rows := range s.rows {
		s.visible = append(s.visible, rows...)
	}
}

// newWayBed is a job that is exactly-once by a way, with the pipeline that the
// way is for. settle is to be called before rows are counted.
func newWayBed(t testing.TB, partitions int, way Way) (b *bed, settle func()) {
	b = newBed(t, partitions, connectors.ExactlyOnce)
	b.config.ExactlyOnce = way
	settle = func() {}
	switch way {
	case OffsetRange:
		b.graph = func() *pipeline.Graph { return mapGraph(b.topic, b.store) }
	case BatchID:
		s := &byID{rows: map[connectors.BatchID][]row{}}
		b.store = &s.store
		b.graph = func() *pipeline.Graph { return countGraph(b.topic, s) }
		settle = s.settle
	}
	return b, settle
}

func (b *bed) whole() {
	b.t.Helper()
	b.expect(0, 0)
	if b.config.ExactlyOnce == OffsetRange {
		return // counts nothing
	}
	if err := b.counts(); err != nil {
		b.t.Error(err)
	}
}

// TestCrashMatrixByWay: exactly-once holds at every point, whatever the way.
func TestCrashMatrixByWay(t *testing.T) {
	for _, way := range ways {
		for _, point := range []string{"M0", "M0t", "M1", "M2", "T1", "T2", "M3", "M4"} {
			if way == BatchID && strings.HasPrefix(point, "T") {
				continue // it has no transaction
			}
			for _, clock := range []ClockKind{Skipping, Queueing} {
				if strings.HasPrefix(point, "M0") && clock == Queueing {
					continue
				}
				t.Run(fmt.Sprint(way, "/", point, "/", clock), func(t *testing.T) {
					b, settle := newWayBed(t, 3, way)
					b.config.Clock = clock
					b.parallel = 3
					crashAt(t, b, point, 3)
					settle()
					b.whole()
				})
			}
		}
	}
}

// TestSomePartitionsAreVisible: at T2 some partitions have their rows and others
// have not, and the restart skips exactly the former.
func TestSomePartitionsAreVisible(t *testing.T) {
	for _, way := range []Way{OffsetRange, OutputPartition} {
		t.Run(string(way), func(t *testing.T) {
			b, _ := newWayBed(t, 4, way)
			b.parallel = 4
			b.config.Cores = 1 // tasks end one after the other
			b.config.Rate.MaxRecordsPerBatch = 100
			b.topic.fill(400, 13)
			p := b.startArmed("T2", 2)
			if err := p.Wait(); err == nil {
				t.Fatal("no crash")
			}
			p.cancel()
			n := len(b.store.rows())
			if n <= 100 || n >= 200 {
				t.Fatalf("%d rows are visible, want between one batch and two", n)
			}
			begun := b.store.begun
			p = b.start()
			p.drained()
			p.stopNow()
			b.whole()
			// Two partitions of batch 1, four of 2 and 3.
			if again := b.store.begun - begun; again != 10 {
				t.Errorf("%d transactions after the restart", again)
			}
		})
	}
}

// TestSinkTaskFailsByWay is M2r: the attempt is aborted, the batch runs again.
func TestSinkTaskFailsByWay(t *testing.T) {
	for _, way := range ways {
		t.Run(string(way), func(t *testing.T) {
			b, settle := newWayBed(t, 3, way)
			b.parallel = 3
			b.config.Cores = 1
			b.config.Rate.MaxRecordsPerBatch = 90
			b.topic.fill(300, 13)
			b.store.failWrites = 90 + 65 // in the last task of batch 1
			p := b.start()
			p.drained()
			p.stopNow()
			settle()
			b.whole()
			if b.store.failWrites != 0 {
				t.Error("no write has failed")
			}
		})
		t.Run(string(way)+", for good", func(t *testing.T) {
			b, _ := newWayBed(t, 3, way)
			b.topic.fill(30, 13)
			b.graph = func() *pipeline.Graph {
				g := pipeline.New("fails")
				s := pipeline.From(g, "in", b.topic, decodeEvent)
				if way != OffsetRange {
					s = counted(s, "count")
				}
				var sink connectors.Sink = b.store
				if way == BatchID {
					sink = &byID{}
				}
				pipeline.To(s, "out", failing{sink}, encodeEvent)
				return g
			}
			p := b.start()
			err := p.Wait()
			p.cancel()
			if err == nil || !strings.Contains(err.Error(), `job "job": batch 0: task `) || !strings.Contains(err.Error(), errRefused.Error()) {
				t.Errorf("the job ended with %v", err)
			}
		})
	}
}

var errRefused = errors.New("the sink takes nothing")

// failing is a sink that refuses every row.
type failing struct{ connectors.Sink }

func (f failing) PartitionTransaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	tx, err := f.Sink.(connectors.PartitionTransactor).PartitionTransaction(ctx, env)
	return failingTransaction{tx}, err
}

func (f failing) Transaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	tx, err := f.Sink.(connectors.Transactor).Transaction(ctx, env)
	return failingTransaction{tx}, err
}

func (f failing) BatchWriter(ctx context.Context, env connectors.WriterEnv) (connectors.BatchWriter, error) {
	w, err := f.Sink.(connectors.Idempotent).BatchWriter(ctx, env)
	return failingWriter{w}, err
}

type failingTransaction struct{ connectors.Transaction }

func (t failingTransaction) Writer(k int) connectors.Writer {
	return failingWriter{nothing{t.Transaction.Writer(k)}}
}

type nothing struct{ connectors.Writer }

func (nothing) Batch(context.Context, connectors.BatchID) error { return nil }

type failingWriter struct{ connectors.BatchWriter }

func (failingWriter) Write(context.Context, *connectors.Record, *connectors.Origin) error {
	return errRefused
}

// TestLostAnswerToACommit: whether a partition has its rows is asked, not guessed.
func TestLostAnswerToACommit(t *testing.T) {
	for _, way := range []Way{OffsetRange, OutputPartition} {
		t.Run(string(way), func(t *testing.T) {
			b, _ := newWayBed(t, 3, way)
			b.config.Rate.MaxRecordsPerBatch = 90
			b.topic.fill(300, 13)
			b.store.failCommits = 4
			p := b.start()
			p.drained()
			p.stopNow()
			b.whole()
		})
	}
}

// TestSupersededByWay is T3: the older process does no harm.
func TestSupersededByWay(t *testing.T) {
	for _, way := range ways[1:3] {
		t.Run(string(way), func(t *testing.T) {
			b, _ := newWayBed(t, 2, way)
			b.topic.fill(100, 7)
			old := b.start()
			old.drained()
			second := b.start()
			b.topic.fill(100, 7)
			err := old.Wait()
			old.cancel()
			if err == nil {
				t.Error("the old process ended well")
			}
			second.drained()
			second.stopNow()
			b.whole()
		})
	}
}

// TestOutlastedByWay is X3 of a partition's transaction.
func TestOutlastedByWay(t *testing.T) {
	for _, way := range []Way{OffsetRange, OutputPartition} {
		t.Run(string(way), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := newWayBed(t, 2, way)
				b.parallel = 1 // one partition's transaction is open for the whole batch
				b.config.Interval = Duration(time.Second)
				b.config.Rate.MaxRecordsPerBatch = 100
				b.store.timeout = 4 * time.Second
				b.gate = connectors.NewGate()
				b.gate.Throttle(20)
				b.topic.fill(300, 7)
				p := b.start()
				err := p.Wait()
				p.cancel()
				if err == nil || !strings.Contains(err.Error(), "longer than its transaction timeout of 4s; the interval is 1s and the cap on a batch (rate.maxRecordsPerBatch) 100 records") {
					t.Errorf("the job ended with %v", err)
				}
				b.gate = nil
				p = b.start()
				p.drained()
				p.stopNow()
				b.whole()
			})
		})
	}
}

// TestBrokenByWay is the negative control: what is written says nothing.
func TestBrokenByWay(t *testing.T) {
	for _, way := range []Way{OffsetRange, OutputPartition} {
		t.Run(string(way), func(t *testing.T) {
			b, _ := newWayBed(t, 2, way)
			b.config.BreakExactlyOnce = true
			told := crashAt(t, b, "M3", 3)
			b.expect(int(told.recovery.Records), 0)
		})
	}
}

// TestGrowthByWay: splits that are added, then a crash.
func TestGrowthByWay(t *testing.T) {
	for _, way := range []Way{OffsetRange, OutputPartition} {
		t.Run(string(way), func(t *testing.T) {
			b, _ := newWayBed(t, 2, way)
			b.discovery = time.Nanosecond
			b.topic.fill(100, 7)
			p := b.start()
			p.drained()
			b.topic.grow(5)
			b.topic.fill(300, 7)
			p.drained()
			p.stopNow()
			crashAt(t, b, "T2", 2)
			b.whole()
		})
	}
}

// TestWayRefusals: for which jobs and folders a way would not be exactly-once.
func TestWayRefusals(t *testing.T) {
	keyed := func(b *bed) *pipeline.Graph { return countGraph(b.topic, b.store) }
	mapped := func(b *bed) *pipeline.Graph { return mapGraph(b.topic, b.store) }
	for name, c := range map[string]struct {
		way   Way
		graph func(b *bed) *pipeline.Graph
		want  string
	}{
		"range behind a shuffle": {OffsetRange, keyed,
			`exactlyOnce: offset-range: sink "out" lies behind the shuffle from "in", where a row belongs to no range of offsets: take output-partition or batch-transaction`},
		"partition without one": {OutputPartition, mapped,
			`exactlyOnce: output-partition: sink "out" has rows of source "in" without a shuffle between, and a restart may give its splits to other tasks: take offset-range or batch-transaction`},
		"partition behind a rebalance": {OutputPartition, func(b *bed) *pipeline.Graph {
			g := pipeline.New("rebalance")
			s := pipeline.From(g, "in", b.topic, decodeEvent).Codec(eventCodec).Rebalance()
			pipeline.To(s, "out", b.store, encodeEvent)
			return g
		}, `sink "out" gets its rows from "in" by rebalance, which may take other ways when the batch runs again: put a key before it or take batch-transaction`},
		"two sinks of ranges": {OffsetRange, func(b *bed) *pipeline.Graph {
			g := pipeline.New("two")
			s := pipeline.From(g, "in", b.topic, decodeEvent)
			pipeline.To(s, "out", b.store, encodeEvent)
			pipeline.To(s, "copy", &store{}, encodeEvent)
			return g
		}, `exactlyOnce: offset-range: the job has 2 sinks, and one that has a range could not be told from one that lacks it: take output-partition or batch-transaction`},
		"no ids": {BatchID, keyed, `exactlyOnce: batch-id: sink "out" (memory) does not take batch ids: take batch-transaction, or a sink that is connectors.Idempotent`},
		"no partitions": {OutputPartition, func(b *bed) *pipeline.Graph { return countGraph(b.topic, bare{b.store}) },
			`exactlyOnce: output-partition: sink "out" (memory) has no transactions by partition: take batch-transaction, or a sink that is a connectors.PartitionTransactor`},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := newWayBed(t, 2, c.way)
			b.graph = func() *pipeline.Graph { return c.graph(b) }
			if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("start: %v", err)
			}
		})
	}
	for name, c := range map[string]struct {
		way  Way
		do   func(*bed)
		want string
	}{
		"another way": {OutputPartition, func(b *bed) { b.config.ExactlyOnce = BatchTransaction },
			"the job was exactly-once by output-partition and cannot go on with batch-transaction: the way is pinned at its first start"},
		"other partitions": {OffsetRange, func(b *bed) { b.parallel = 3 },
			`sink "out" ran with 2 output partitions and cannot go on with 3: the number is pinned at the first start`},
		"another folder": {OutputPartition, func(b *bed) { b.dir = b.t.TempDir() },
			"the commit log ends at no batch: the sink or the folder is another one than before"},
		"another job's sink": {OutputPartition, func(b *bed) {
			b.store.parts[0].metadata = strings.Replace(b.store.parts[0].metadata, `"job"`, `"other"`, 1)
		}, `rows of partition 0 of job "other": the sink is another job's`},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := newWayBed(t, 2, c.way)
			b.topic.fill(100, 7)
			p := b.start()
			p.drained()
			p.stopNow()
			c.do(b)
			if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("start: %v", err)
			}
		})
	}
	t.Run("a topic that began anew", func(t *testing.T) {
		b, _ := newWayBed(t, 2, OffsetRange)
		b.topic.fill(100, 7)
		p := b.start()
		p.drained()
		p.stopNow()
		b.dir = b.t.TempDir()
		b.store.parts[0].metadata = strings.Replace(b.store.parts[0].metadata, `"batch":0`, `"batch":-1`, 1)
		b.store.parts[1].metadata = strings.Replace(b.store.parts[1].metadata, `"batch":0`, `"batch":-1`, 1)
		p = b.start()
		err := p.Wait()
		p.cancel()
		if err == nil || !strings.Contains(err.Error(), "the sink holds its records up to 50 and the batch takes 0 to 50: the topic, the sink or the folder is another one than before") {
			t.Errorf("the job ended with %v", err)
		}
	})
}

// bare hides what a sink can do beside the least.
type bare struct{ connectors.Sink }

// TestBatchIDsAreSeen: under every guarantee a sink that asks for it is told whose
// rows it gets.
func TestBatchIDsAreSeen(t *testing.T) {
	for _, g := range guarantees {
		t.Run(string(g), func(t *testing.T) {
			b := newBed(t, 2, g)
			b.config.ExactlyOnce = BatchID
			b.config.Rate.MaxRecordsPerBatch = 20
			s := &byID{rows: map[connectors.BatchID][]row{}}
			b.store = &s.store
			b.graph = func() *pipeline.Graph { return countGraph(b.topic, s) }
			b.topic.fill(100, 13)
			p := b.start()
			p.drained()
			p.stopNow()
			s.settle()
			b.whole()
			for batch := range int64(5) {
				n := 0
				for k := range 2 {
					n += len(s.rows[connectors.BatchID{Query: "job", Batch: batch, Partition: k}])
				}
				if n != 20 {
					t.Errorf("batch %d has %d rows", batch, n)
				}
			}
		})
	}
}

// TestFailingTaskPoint is M2r as a failpoint: the job goes on, and what comes
// again is what the failed task had written, as it says.
func TestFailingTaskPoint(t *testing.T) {
	for _, way := range append([]Way{""}, ways...) {
		t.Run("way "+string(way), func(t *testing.T) {
			b, settle := newWayBed(t, 3, cmp.Or(way, BatchTransaction))
			if way == "" {
				b.guarantee = connectors.AtLeastOnce
			}
			b.config.Rate.MaxRecordsPerBatch = 90
			gate := connectors.NewGate()
			gate.Throttle(1) // until the point is armed
			b.gate = gate
			b.topic.fill(300, 13)
			p := b.start()
			told := make(chan engines.Recovery, 1)
			p.failpoints.Arm(pointTaskFails, 2, func(f engines.FailpointReached, recovery func() engines.Recovery) {
				if !f.Lives {
					t.Error("the point would kill the process")
				}
				told <- recovery()
			})
			gate.Throttle(0)
			p.drained()
			p.stopNow()
			settle()
			r := <-told
			if r.Again < 1 || r.Again > 45 || r.Records != 90 {
				t.Errorf("the task had written %d rows of a batch of %d", r.Again, r.Records)
			}
			if way == "" {
				b.expect(int(r.Again), 0)
				return
			}
			b.whole()
		})
	}
}
