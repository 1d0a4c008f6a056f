package dataflow

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/pipeline"
	"streamduel/state"
)

// from makes a world of its own over the same broker, whose job begins from a
// savepoint.
func (w *world) from(t *testing.T, path string, parallelism int) *world {
	n := newWorld(t, w.job.Guarantee, parallelism)
	n.b, n.job.MaxParallelism, n.cfg.RestoreFrom = w.b, w.job.MaxParallelism, path
	n.job.Backend = w.job.Backend
	return n
}

// TestRescaleThroughSavepoints: 2 → 4 → 1, with the state intact; the folder of
// each job is its own.
func TestRescaleThroughSavepoints(t *testing.T) {
	for name, change := range map[string]func(*world){"memory": func(*world) {}, "disk": onDisk} {
		for _, mode := range []engines.StopMode{engines.StopDrain, engines.StopCheckpoint} {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, connectors.ExactlyOnce, 2)
					change(w)
					w.job.MaxParallelism = 128
					w.b.grow("in", 4)
					for _, p := range []int{4, 1} {
						r := w.start(context.Background())
						w.feed("in", 50)
						path, err := r.(engines.Savepointer).StopWithSavepoint(context.Background(), mode, t.TempDir())
						if err != nil {
							t.Fatal(err)
						}
						expect(t, len(w.kinds("savepointCompleted")), 1)
						w = w.from(t, path, p)
					}
					w.restartAndDrain()
					expect(t, w.tally("in"), tally{})
					expect(t, w.b.open(), []string(nil))
				})
			})
		}
	}
}

// TestAJobGoesOnBehindASavepoint, and what comes from it later is a job of its
// own that begins where it was taken.
func TestAJobGoesOnBehindASavepoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.job.MaxParallelism = 128
		w.b.grow("in", 4)
		r := w.start(context.Background())
		w.feed("in", 30)
		path, err := r.(engines.Savepointer).Savepoint(context.Background(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		f, err := state.OpenFolder(path, state.DurableProcess)
		if err != nil {
			t.Fatal(err)
		}
		ls, err := checkpoints.List(f)
		if err != nil || len(ls) != 1 || ls[0].Problem != "" || len(ls[0].Sinks) != 0 {
			t.Fatalf("the savepoint: %+v, %v", ls, err)
		}
		at := int64(0)
		for _, p := range ls[0].Positions() {
			at += int64(p)
		}
		expect(t, at, 30*13*4)
		w.feed("in", 30)
		w.stop(r, engines.StopDrain)
		expect(t, w.tally("in"), tally{})
		// The checkpoints of the job were not disturbed, and the copy repeats what
		// came behind it.
		again := w.from(t, path, 3)
		again.restartAndDrain()
		expect(t, again.tally("in").copies, 30*13*4)
	})
}

func TestASavepointOfAStoppedJobIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 1)
		w.b.grow("in", 1)
		r := w.start(context.Background())
		w.feed("in", 5)
		if _, err := r.(engines.Savepointer).StopWithSavepoint(context.Background(), engines.StopNow, t.TempDir()); err == nil || !strings.Contains(err.Error(), "with a savepoint drain and checkpoint are allowed") {
			t.Errorf("got %v", err)
		}
		// A folder that cannot be is the savepoint's failure, not the job's.
		file := filepath.Join(w.folder.Path(), "attempt-1")
		if _, err := r.(engines.Savepointer).Savepoint(context.Background(), file); err == nil {
			t.Error("a savepoint inside a file")
		}
		w.stop(r, engines.StopDrain)
		if _, err := r.(engines.Savepointer).Savepoint(context.Background(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "the job has ended") {
			t.Errorf("got %v", err)
		}
	})
}

// TestASavepointThatTakesTooLongIsNoFailureOfTheJob, and what was prepared for it the
// next checkpoint commits.
func TestASavepointThatTakesTooLongIsNoFailureOfTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.cfg.Checkpoint.Interval, w.cfg.Checkpoint.Timeout = Duration(10*time.Second), Duration(time.Second)
		w.b.grow("in", 2)
		var from atomic.Int64
		from.Store(2)
		release := make(chan struct{})
		w.job.Graph = counting(topic{w.b, "in"}, stuck{output{w.b}, &from, release})
		r := w.start(context.Background())
		w.feed("in", 50)
		_, err := r.(engines.Savepointer).Savepoint(context.Background(), t.TempDir())
		if err == nil || !strings.Contains(err.Error(), "longer than 1s: nothing came from count → out (") {
			t.Errorf("got %v", err)
		}
		close(release)
		w.feed("in", 50)
		w.stop(r, engines.StopDrain)
		expect(t, w.tally("in"), tally{})
		expect(t, w.b.open(), []string(nil))
	})
}

// TestWhatASavepointHasAndTheJobHasNot is refused unless allowed.
func TestWhatASavepointHasAndTheJobHasNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.job.MaxParallelism = 128
		w.b.grow("in", 2)
		r := w.start(context.Background())
		w.feed("in", 10)
		path, err := r.(engines.Savepointer).StopWithSavepoint(context.Background(), engines.StopCheckpoint, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		n := w.from(t, path, 2)
		n.job.Graph = func() *pipeline.Graph {
			g := pipeline.New("other")
			in := pipeline.From(g, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec)
			pipeline.To(in, "out", output{w.b}, encodeItem)
			return g
		}()
		_, err = New().Start(context.Background(), n.job, n.cfg, n.rt)
		if err == nil || !strings.Contains(err.Error(), `has state of operator "count", the job has not; allowNonRestored: true drops it`) {
			t.Errorf("got %v", err)
		}
		n.cfg.AllowNonRestored = true
		r = n.start(context.Background())
		w.feed("in", 10)
		time.Sleep(time.Second)
		n.stop(r, engines.StopDrain)
		expect(t, n.distinct(), 2*2*130)
		bad := w.from(t, t.TempDir(), 2)
		bad.job.Graph = counting(topic{w.b, "in"}, output{w.b})
		if _, err = New().Start(context.Background(), bad.job, bad.cfg, bad.rt); err == nil || !strings.Contains(err.Error(), "there is no checkpoint in it") {
			t.Errorf("an empty folder: %v", err)
		}
	})
}

// TestSeveralCheckpointsAtATime overlap when one takes longer than the interval,
// and their output is committed in order.
func TestSeveralCheckpointsAtATime(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, g, 2)
				w.cfg.Checkpoint.Concurrent = 3
				w.b.grow("in", 4)
				w.rt.Gate.Throttle(2000) // 2600 come in a second, so a barrier's way becomes longer
				r := w.start(context.Background())
				w.feed("in", 700)
				most, under := 0, 0
				w.mu.Lock()
				for _, e := range w.events {
					switch e.(type) {
					case engines.CheckpointTriggered:
						under++
					case engines.CheckpointCompleted, engines.CheckpointFailed:
						under--
					}
					most = max(most, under)
				}
				w.mu.Unlock()
				if most < 2 || most > 3 {
					t.Errorf("%d at a time, 3 are allowed", most)
				}
				w.stop(r, engines.StopNow)
				w.rt.Gate.Throttle(0)
				w.restartAndDrain()
				got := w.tally("in")
				expect(t, got.losses, 0)
				if g == connectors.ExactlyOnce {
					expect(t, got, tally{})
					expect(t, w.b.open(), []string(nil))
				}
			})
		})
	}
}
