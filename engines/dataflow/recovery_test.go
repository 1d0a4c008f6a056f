package dataflow

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/state"
)

// feed fills all partitions for a while.
func (w *world) feed(topic string, times int) {
	for range times {
		w.fill(topic, 13, 37)
		time.Sleep(7 * time.Millisecond)
	}
}

// feeding feeds in the background; the returned function waits for its end.
func (w *world) feeding(topic string, times int) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.feed(topic, times)
	}()
	return func() { <-done }
}

func (w *world) stop(r engines.Run, mode engines.StopMode) {
	w.t.Helper()
	if err := r.Stop(context.Background(), mode); err != nil {
		w.t.Fatal(err)
	}
}

// TestAJobGoesOnAtAnotherParallelism: state moves by key groups, splits are
// dealt anew, the transactions of all old subtasks are taken up.
func TestAJobGoesOnAtAnotherParallelism(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, g, 2)
				w.job.MaxParallelism = 128
				w.b.grow("in", 4)
				for _, p := range []int{2, 4, 1, 3} {
					w.job.Parallelism = p
					r := w.start(context.Background())
					w.feed("in", 30)
					w.stop(r, engines.StopCheckpoint)
				}
				w.restartAndDrain()
				expect(t, w.tally("in"), tally{})
			})
		})
	}
}

func TestATornCheckpointIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.cfg.Checkpoint.Retained = 2
		w.b.grow("in", 4)
		r := w.start(context.Background())
		w.feed("in", 60)
		w.stop(r, engines.StopCheckpoint)
		ids, err := w.folder.Numbered("checkpoint-")
		if err != nil || len(ids) != 2 {
			t.Fatalf("retained %v, %v", ids, err)
		}
		names, _ := w.folder.List("checkpoint-")
		newest := filepath.Join(w.folder.Path(), names[len(names)-1])
		b, err := os.ReadFile(newest)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(newest, b[:len(b)/2], 0o644); err != nil {
			t.Fatal(err)
		}
		w.restartAndDrain()
		restored := w.kinds("restored")
		expect(t, *restored[0].(engines.Restored).Checkpoint, ids[0])
		got := w.tally("in")
		expect(t, got.losses, 0)
		if got.copies == 0 {
			t.Error("going back further repeats records")
		}
	})
}

// TestAProcessThatWakesUpDoesNoHarm is D9: the old one is between "all
// acknowledged" and "durable" when a new one takes over.
func TestAProcessThatWakesUpDoesNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.b.grow("in", 4)
		asleep, wake := make(chan struct{}), make(chan struct{})
		w.rt.Failpoints.Arm("D4", 3, func(engines.FailpointReached, func() engines.Recovery) {
			close(asleep)
			<-wake
		})
		old := w.start(context.Background())
		defer w.feeding("in", 60)()
		<-asleep
		w.rt.Failpoints = &engines.Failpoints{}
		fresh := w.start(context.Background())
		w.feed("in", 20)
		close(wake)
		err := old.Wait()
		if err == nil || !strings.Contains(err.Error(), "superseded by attempt 2") {
			t.Errorf("the old process ended with %v", err)
		}
		w.feed("in", 60)
		w.stop(fresh, engines.StopDrain)
		expect(t, w.tally("in"), tally{})
	})
}

func TestWhatCannotBeRestoredIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 1)
		w.b.grow("in", 1)
		w.job.MaxParallelism = 128
		r := w.start(context.Background())
		w.feed("in", 5)
		w.stop(r, engines.StopCheckpoint)
		w.job.MaxParallelism = 64
		_, err := New().Start(context.Background(), w.job, w.cfg, w.rt)
		if err == nil || !strings.Contains(err.Error(), "set the job's maximum parallelism to 128") {
			t.Errorf("other key groups: %v", err)
		}
		w.job.MaxParallelism = 128
		graph := w.job.Graph
		w.job.Graph = counting(topic{w.b, "in"}, output{w.b})
		w.job.Graph.Name = "another"
		_, err = New().Start(context.Background(), w.job, w.cfg, w.rt)
		if !errors.Is(err, state.ErrOtherJob) || !strings.Contains(err.Error(), `the snapshot is of job "counting", this is job "another"`) {
			t.Errorf("another job: %v", err)
		}
		g := pipeline.New("other")
		pipeline.To(pipeline.From(g, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec), "out", output{w.b}, encodeItem)
		w.job.Graph = g
		_, err = New().Start(context.Background(), w.job, w.cfg, w.rt)
		if err == nil || !strings.Contains(err.Error(), `state of operator "count", the job has not`) {
			t.Errorf("an operator is gone: %v", err)
		}
		w.job.Graph = graph
		names, _ := w.folder.List("checkpoint-")
		for _, n := range names {
			os.WriteFile(filepath.Join(w.folder.Path(), n), []byte("x"), 0o644)
		}
		_, err = New().Start(context.Background(), w.job, w.cfg, w.rt)
		if err == nil || !strings.Contains(err.Error(), "none of the 1 checkpoints") {
			t.Errorf("nothing whole: %v", err)
		}
	})
}

// TestASplitThatIsGone: a checkpoint that names it cannot be gone on from.
func TestASplitThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 1)
		w.b.grow("in", 2)
		r := w.start(context.Background())
		w.feed("in", 5)
		w.stop(r, engines.StopCheckpoint)
		w.b.input["in"] = w.b.input["in"][:1]
		_, err := New().Start(context.Background(), w.job, w.cfg, w.rt)
		if err == nil || !strings.Contains(err.Error(), `source "in": split in/1 is in checkpoint`) {
			t.Errorf("got %v", err)
		}
	})
}

// stuck is a sink whose Prepare and Flush wait until released, or for ever.
type stuck struct {
	output
	from    *atomic.Int64 // number of the call that gets stuck, counted over all writers
	release <-chan struct{}
}

func (s stuck) Writer(ctx context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	w, err := s.output.Writer(ctx, env)
	return stuckWriter{w, s}, err
}

type stuckWriter struct {
	connectors.Writer
	s stuck
}

func (w stuckWriter) Flush(ctx context.Context) error {
	if w.s.from.Add(-1) == 0 {
		select {
		case <-w.s.release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return w.Writer.Flush(ctx)
}

func (w stuckWriter) Prepare(ctx context.Context) (connectors.Committable, error) {
	if err := w.Flush(ctx); err != nil {
		return nil, err
	}
	return w.Writer.Prepare(ctx)
}

func TestACheckpointThatTakesTooLongFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 1)
		w.cfg.Checkpoint.Timeout = Duration(time.Second)
		w.b.grow("in", 1)
		var from atomic.Int64
		from.Store(3)
		w.job.Graph = counting(topic{w.b, "in"}, stuck{output{w.b}, &from, nil})
		r := w.start(context.Background())
		defer w.feeding("in", 50)()
		err := r.Wait()
		if err == nil || !strings.Contains(err.Error(), "checkpoint 4 failed") || !strings.Contains(err.Error(), "longer than 1s: nothing came from count → out (1/1): raise checkpoint.timeout") {
			t.Errorf("ended with %v", err)
		}
		expect(t, len(w.kinds("checkpointFailed")), 1)
		expect(t, len(w.kinds("failed")), 1)
	})
}

// TestTheRestartStrategyDecidesOnFailedCheckpointsToo: with more than are tolerated
// all regions go back to the last one, which is one failure.
func TestTheRestartStrategyDecidesOnFailedCheckpointsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.fixedDelay(1)
		w.cfg.Checkpoint.Timeout = Duration(time.Second)
		w.b.grow("a", 2)
		w.b.grow("b", 2)
		w.job.Graph = pipeline.New("two")
		var from atomic.Int64
		from.Store(5)
		for name, sink := range map[string]connectors.Sink{"a": stuck{output{w.b}, &from, nil}, "b": output{w.b}} {
			in := pipeline.From(w.job.Graph, name, topic{w.b, name}, decodeItem).Codec(itemCodec)
			pipeline.To(in, "out "+name, sink, func(v item, r *connectors.Record) { v.partition += offsetOf[name]; encodeItem(v, r) })
		}
		r := w.start(context.Background())
		fed := w.feeding("a", 300)
		w.feed("b", 300)
		fed()
		time.Sleep(3 * time.Second)
		w.stop(r, engines.StopDrain)
		expect(t, len(w.kinds("restarting")), 2) // one for each region
		expect(t, len(w.kinds("restarted")), 2)
		expect(t, w.distinct(), 2*2*300*13)
		expect(t, w.copies()["a"]+w.copies()["b"], 0)
	})
}

// TestToleratedFailuresAreNoFailure: what a failed checkpoint had prepared is
// committed by the next.
func TestToleratedFailuresAreNoFailure(t *testing.T) {
	for _, g := range guarantees() {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, g, 2)
				w.cfg.Checkpoint.Timeout = Duration(time.Second)
				w.cfg.Checkpoint.TolerableFailures = 3
				w.b.grow("in", 2)
				var from atomic.Int64
				from.Store(5)
				release := make(chan struct{})
				w.job.Graph = counting(topic{w.b, "in"}, stuck{output{w.b}, &from, release})
				r := w.start(context.Background())
				w.feed("in", 400) // 2.8 s
				close(release)
				w.feed("in", 100)
				if n := len(w.kinds("checkpointFailed")); n == 0 || n > 3 {
					t.Errorf("%d checkpoints failed", n)
				}
				w.b.mu.Lock()
				visible := len(w.b.visible)
				w.b.mu.Unlock()
				if visible == 0 {
					t.Error("nothing was committed after the failure")
				}
				w.stop(r, engines.StopDrain)
				expect(t, w.tally("in"), tally{})
				expect(t, w.b.open(), []string(nil))
			})
		})
	}
}

func TestCheckpointsKeepTheirDistance(t *testing.T) {
	for pause, want := range map[time.Duration]int{0: 10, 300 * time.Millisecond: 3} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, connectors.AtLeastOnce, 1)
			w.cfg.Checkpoint.MinPause = Duration(pause)
			w.b.grow("in", 1)
			r := w.start(context.Background())
			time.Sleep(1050 * time.Millisecond)
			expect(t, len(w.kinds("checkpointCompleted")), want)
			w.stop(r, engines.StopNow)
		})
	}
}

func TestAFailingSinkFailsTheJobByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.b.grow("in", 2)
		n := 0
		w.b.writeHook = func(connectors.WriterEnv, *connectors.Record) error {
			if n++; n == 500 {
				return errors.New("no space left")
			}
			return nil
		}
		r := w.start(context.Background())
		fed := w.feeding("in", 100)
		err := r.Wait()
		fed()
		if err == nil || !strings.Contains(err.Error(), "count → out (") || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("ended with %v", err)
		}
		// What it had not committed is gone, and comes again.
		w.b.writeHook = nil
		w.restartAndDrain()
		expect(t, w.tally("in"), tally{})
	})
}

func TestAPanicFailsTheJobWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.b.grow("in", 2)
		w.b.writeHook = func(connectors.WriterEnv, *connectors.Record) error { panic("a bug in user code") }
		r := w.start(context.Background())
		defer w.feeding("in", 1)()
		err := r.Wait()
		if err == nil || !strings.Contains(err.Error(), "panic at input partition ") || !strings.Contains(err.Error(), ": a bug in user code") || !strings.Contains(err.Error(), "recovery_test.go") {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestARecordThatDoesNotDecodeIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 1)
		w.b.grow("in", 1)
		w.fill("in", 7, 3)
		w.b.append("in", 0, connectors.Record{Value: []byte("short")})
		err := w.start(context.Background()).Wait()
		if err == nil || !strings.Contains(err.Error(), `source "in": split in/0, position 7`) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestEndingTheContextAbandonsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.b.grow("in", 2)
		ctx, cancel := context.WithCancel(context.Background())
		r := w.start(ctx)
		w.feed("in", 40)
		cancel()
		if err := r.Wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		r = w.start(context.Background())
		w.stop(r, engines.StopNow)
		w.restartAndDrain()
		expect(t, w.tally("in"), tally{})
	})
}
