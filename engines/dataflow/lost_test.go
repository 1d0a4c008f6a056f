package dataflow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// crashed runs the job until it dies at a point.
func (w *world) crashed(point string, hit, attempt int) crash {
	ctx, abandon := context.WithCancel(context.Background())
	defer abandon()
	fell := make(chan crash, 1)
	w.arm(ctx, point, hit, attempt, fell)
	r := w.start(ctx)
	for len(fell) == 0 {
		w.fill("in", 13, 37)
		time.Sleep(7 * time.Millisecond)
	}
	c := <-fell
	abandon()
	r.Wait()
	return c
}

// uncommitted counts the records of transactions that are sealed and not committed,
// as a checkpoint lists them: those of a point behind D4 that are still open,
// less what was written behind the barrier.
func (w *world) uncommitted(c crash) (n int) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	for _, t := range w.b.txns {
		if !t.open {
			continue
		}
		for _, r := range t.records {
			v, _, err := itemCodec.Decode(r.Value)
			if err != nil {
				w.t.Fatal(err)
			}
			for s, p := range c.recovery.Positions {
				if strings.HasSuffix(string(s), "/"+fmt.Sprint(v.partition)) && v.sequence < int64(p) {
					n++
				}
			}
		}
	}
	return n
}

// TestDownForLongerThanTheTransactions is X1, and TestIdsInitializedFirst X2: the
// job does not start, and says why; told to go on it has lost exactly what was
// prepared and not committed.
func TestDownForLongerThanTheTransactions(t *testing.T) {
	for _, point := range []string{"D5", "D6"} {
		t.Run(point, func(t *testing.T) {
			lost(t, point, func(w *world) { w.b.expire() })
		})
	}
}

func TestIdsInitializedFirst(t *testing.T) {
	for _, point := range []string{"D5", "D6"} {
		t.Run(point, func(t *testing.T) {
			lost(t, point, func(w *world) { w.cfg.BreakRecovery = true })
		})
	}
}

func lost(t *testing.T, point string, before func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.b.grow("in", 4)
		c := w.crashed(point, 3, 1)
		want := w.uncommitted(c)
		if want == 0 {
			if point == "D6" {
				return // the others have committed before the process was gone
			}
			t.Fatal("nothing is prepared at this point")
		}
		if point == "D5" { // at D6 others may have committed since
			expect(t, c.recovery.Uncommitted, int64(want))
		}
		before(w)
		_, err := New().Start(context.Background(), w.job, w.cfg, w.rt)
		if err == nil || !strings.Contains(err.Error(), `sink "out": recovering its transactions: their records are lost`) {
			t.Fatalf("started with %v", err)
		}
		w.cfg.AcceptLost = true
		w.restartAndDrain()
		expect(t, len(w.kinds("lost")), 1)
		got := w.tally("in")
		expect(t, []int{got.copies, got.losses}, []int{0, want})
		expect(t, w.b.open(), []string(nil))
	})
}

// TestPreparedOutputIsCommittedWhateverTheJobIsNow: a job that was exactly-once when it
// died and is at-least-once when it goes on loses nothing of what was prepared, and one
// that has lost the sink is refused unless it may drop it.
func TestPreparedOutputIsCommittedWhateverTheJobIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.b.grow("in", 4)
		if w.uncommitted(w.crashed("D5", 3, 1)) == 0 {
			t.Fatal("nothing is prepared at this point")
		}
		graph := w.job.Graph
		w.job.Graph = pipeline.New("counting")
		in := pipeline.From(w.job.Graph, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec)
		pipeline.To(countBy(in), "renamed", output{w.b}, encodeItem)
		_, err := New().Start(context.Background(), w.job, w.cfg, w.rt)
		if err == nil || !strings.Contains(err.Error(), `has prepared output of operator "out", the job has not; allowNonRestored: true drops it`) {
			t.Errorf("started with %v", err)
		}
		w.job.Graph, w.job.Guarantee = graph, connectors.AtLeastOnce
		w.restartAndDrain()
		expect(t, w.tally("in").losses, 0)
		expect(t, w.b.open(), []string(nil))
	})
}

// TestLostOutputIsNoReasonToTryAgain: a commit that is refused fails the job whatever
// the restart strategy, because the next recovery would be refused as well.
func TestLostOutputIsNoReasonToTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.cfg.Restart.Strategy = RestartExponential
		w.b.grow("in", 4)
		w.rt.Failpoints.Arm("D5", 3, func(engines.FailpointReached, func() engines.Recovery) { w.b.expire() })
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		r := w.start(ctx)
		w.feed("in", 100)
		err := r.Wait()
		if err == nil || !errors.Is(err, connectors.ErrLost) || !strings.Contains(err.Error(), `sink "out"`) {
			t.Errorf("ended with %v", err)
		}
		expect(t, len(w.kinds("restarting")), 1)
	})
}

// TestACheckpointLongerThanItsTransactions is X3: the outside world gives up a
// transaction while the job still fills it, and the job fails by name.
func TestACheckpointLongerThanItsTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.cfg.Checkpoint.Interval = Duration(10 * time.Second)
		w.b.grow("in", 4)
		r := w.start(context.Background())
		w.feed("in", 100)
		if w.b.expire() == 0 {
			t.Fatal("no transaction is open")
		}
		fed := w.feeding("in", 10)
		err := r.Wait()
		fed()
		if err == nil || !strings.Contains(err.Error(), "count → out (") || !strings.Contains(err.Error(), "is not open") {
			t.Errorf("ended with %v", err)
		}
		expect(t, len(w.kinds("failed")), 1)
		w.restartAndDrain()
		expect(t, w.tally("in"), tally{})
	})
}

// TestTheFolderIsLost: a job whose checkpoints cannot be written any more ends, and
// names the folder.
func TestTheFolderIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.b.grow("in", 4)
		r := w.start(context.Background())
		w.feed("in", 30)
		path := w.folder.Path()
		if err := os.Rename(path, path+".gone"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		fed := w.feeding("in", 10)
		err := r.Wait()
		fed()
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "not a directory: the folder "+path+" is not there: bring it back") {
			t.Errorf("ended with %v", err)
		}
		if err := errors.Join(os.Remove(path), os.Rename(path+".gone", path)); err != nil {
			t.Fatal(err)
		}
		w.restartAndDrain()
		expect(t, w.tally("in").losses, 0)
	})
}

// TestASecondCopyStopsTheOlder is D9 in full: two running copies of a job, of
// which the older one ends at its next checkpoint and names the newer.
func TestASecondCopyStopsTheOlder(t *testing.T) {
	for _, g := range guarantees() {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, g, 2)
				w.cfg.Restart.Strategy = RestartFixedDelay // being superseded is no reason to restart
				w.b.grow("in", 4)
				old := w.start(context.Background())
				w.feed("in", 30)
				fresh := w.start(context.Background())
				w.feed("in", 30)
				err := old.Wait()
				if err == nil || !strings.Contains(err.Error(), "attempt 1 of this job was superseded by attempt 2") {
					t.Errorf("the older ended with %v", err)
				}
				expect(t, len(w.kinds("restarting")), 0)
				w.stop(fresh, engines.StopDrain)
				if g == connectors.ExactlyOnce {
					expect(t, w.tally("in"), tally{})
				}
				if g != connectors.AtMostOnce {
					expect(t, w.tally("in").losses, 0)
				}
			})
		})
	}
}
