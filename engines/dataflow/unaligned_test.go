package dataflow

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// behind starts a job whose sink takes 500 records a second, with far more to
// read, so that all its buffers are full.
func (w *world) behind() engines.Run {
	w.b.grow("in", 4)
	w.fill("in", 10_000, 37)
	w.rt.Gate.Throttle(500)
	r := w.start(context.Background())
	time.Sleep(5 * time.Second)
	return r
}

func (w *world) completed() (cs []engines.CheckpointCompleted) {
	for _, e := range w.kinds("checkpointCompleted") {
		cs = append(cs, e.(engines.CheckpointCompleted))
	}
	return cs
}

// TestUnalignedCheckpointsDoNotWaitForTheirTurn: under full back-pressure an
// aligned one takes as long as the sink needs for what is before its barrier.
func TestUnalignedCheckpointsDoNotWaitForTheirTurn(t *testing.T) {
	for _, c := range []struct {
		name      string
		unaligned bool
		timeout   time.Duration
	}{{"aligned", false, 0}, {"unaligned", true, 0}, {"switching", true, 700 * time.Millisecond}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, connectors.ExactlyOnce, 2)
				w.cfg.Checkpoint.Interval = Duration(time.Second)
				w.cfg.Checkpoint.Unaligned, w.cfg.Checkpoint.AlignedTimeout = c.unaligned, Duration(c.timeout)
				r := w.behind()
				time.Sleep(10 * time.Second)
				done := w.completed()
				if !c.unaligned {
					if len(done) > 2 {
						t.Errorf("%d aligned checkpoints were done in 15 s: nothing holds them up", len(done))
					}
				} else {
					if len(done) < 5 {
						t.Fatalf("%d unaligned checkpoints were done in 15 s", len(done))
					}
					last := done[len(done)-1]
					if last.Duration > 2000 || last.InFlightBytes < 32<<10 || !last.Unaligned {
						t.Errorf("it took %v ms, with %d bytes on their way, unaligned %v", last.Duration, last.InFlightBytes, last.Unaligned)
					}
					if c.timeout > 0 && last.Duration < millis(c.timeout) {
						t.Errorf("it took %v ms, and began to overtake only behind %v", last.Duration, c.timeout)
					}
					expect(t, len(last.Subtasks), 4)
				}
				w.stop(r, engines.StopNow)
				w.rt.Gate.Throttle(0)
				w.restartAndDrain()
				expect(t, w.tally("in"), tally{})
				expect(t, w.b.open(), []string(nil))
			})
		})
	}
}

// TestCrashesWithRecordsOnTheirWay: whenever the process dies, what the barriers
// had overtaken comes once.
func TestCrashesWithRecordsOnTheirWay(t *testing.T) {
	for _, timeout := range []time.Duration{0, 30 * time.Millisecond} {
		for _, point := range []string{"D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8"} {
			for _, hit := range []int{1, 2, 5} {
				t.Run(fmt.Sprint(timeout, "/", point, "/", hit), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, _ := crashing(t, connectors.ExactlyOnce, 2, point, hit, func(w *world) {
							w.cfg.Checkpoint.Unaligned, w.cfg.Checkpoint.AlignedTimeout = true, Duration(timeout)
							w.cfg.Buffers.Size = 256
							w.rt.Gate.Throttle(3000)
						})
						expect(t, w.tally("in"), tally{})
						expect(t, w.b.open(), []string(nil))
					})
				})
			}
		}
	}
}

// TestASlowRecordHoldsABarrierUpAndNoMore: however slow the sink is, whatever it
// reads from, a barrier waits for few records of those at hand.
func TestASlowRecordHoldsABarrierUpAndNoMore(t *testing.T) {
	for _, chained := range []bool{false, true} {
		t.Run(fmt.Sprint("chained ", chained), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, connectors.ExactlyOnce, 2)
				w.cfg.Checkpoint.Interval, w.cfg.Checkpoint.Unaligned = Duration(time.Second), !chained
				w.b.grow("in", 4)
				w.fill("in", 10_000, 37)
				w.rt.Gate.Throttle(20)
				if chained {
					w.job.Graph = pipeline.New("chained")
					pipeline.To(pipeline.From(w.job.Graph, "in", topic{w.b, "in"}, decodeItem), "out", output{w.b}, encodeItem)
				}
				r := w.start(context.Background())
				time.Sleep(30 * time.Second)
				done := w.completed()
				w.stop(r, engines.StopNow)
				if len(done) < 10 {
					t.Fatalf("%d checkpoints were done in 30 s", len(done))
				}
				for _, c := range done[len(done)-5:] {
					if c.Duration > 500 {
						t.Errorf("it took %v ms while a record takes 100", c.Duration)
					}
				}
			})
		})
	}
}

// TestRecordsOnTheirWayThroughTwoExchanges: what a barrier has overtaken before a
// subtask is that subtask's, and none of those that it goes on to.
func TestRecordsOnTheirWayThroughTwoExchanges(t *testing.T) {
	for _, timeout := range []time.Duration{0, 700 * time.Millisecond} {
		t.Run(timeout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, connectors.ExactlyOnce, 2)
				w.cfg.Checkpoint.Interval = Duration(time.Second)
				w.cfg.Checkpoint.Unaligned, w.cfg.Checkpoint.AlignedTimeout = true, Duration(timeout)
				w.job.Graph = countingTwice(topic{w.b, "in"}, output{w.b})
				r := w.behind()
				time.Sleep(10 * time.Second)
				done := w.completed()
				if len(done) < 5 || done[len(done)-1].InFlightBytes < 64<<10 {
					t.Fatalf("%d checkpoints were done in 15 s; the last: %+v", len(done), done[max(len(done)-1, 0):])
				}
				w.stop(r, engines.StopNow)
				w.rt.Gate.Throttle(0)
				w.restartAndDrain()
				expect(t, w.tally("in"), tally{})
			})
		})
	}
}

// TestRecordsInPartsOnTheirWay: a barrier may overtake half of a record that
// spans buffers.
func TestRecordsInPartsOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.cfg.Checkpoint.Unaligned = true
		w.b.grow("in", 2)
		g := pipeline.New("large")
		in := pipeline.From(g, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec)
		large := pipeline.Map(in, "grow", func(v item) []byte {
			return append(itemCodec.Append(nil, v), make([]byte, 70_000)...)
		})
		small := pipeline.Map(large.Rebalance(), "shrink", func(b []byte) item {
			v, _, err := itemCodec.Decode(b)
			if err != nil {
				panic(err)
			}
			return v
		})
		pipeline.To(small, "out", output{w.b}, encodeItem)
		w.job.Graph = g
		w.fill("in", 400, 37)
		w.rt.Gate.Throttle(100)
		for range 5 {
			r := w.start(context.Background())
			time.Sleep(1300 * time.Millisecond)
			w.stop(r, engines.StopNow)
		}
		parts := 0
		for _, c := range w.completed() {
			if c.InFlightBytes > 70_000 {
				parts++
			}
		}
		if parts == 0 {
			t.Error("no checkpoint had records on their way")
		}
		w.rt.Gate.Throttle(0)
		r := w.start(context.Background())
		for !w.caughtUp() {
			time.Sleep(100 * time.Millisecond)
		}
		w.stop(r, engines.StopDrain)
		expect(t, w.distinct(), 800)
		expect(t, w.copies()["a"], 0)
	})
}

func TestAnUnalignedCheckpointIsGoneBackToAtItsParallelismOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.job.MaxParallelism = 128
		w.cfg.Checkpoint.Unaligned = true
		r := w.behind()
		w.stop(r, engines.StopNow)
		w.job.Parallelism = 3
		_, err := New().Start(context.Background(), w.job, w.cfg, w.rt)
		if err == nil || !strings.Contains(err.Error(), `is unaligned, with records on their way to operator "count" at parallelism 2, now 3: go on at the same parallelism, or take a savepoint`) {
			t.Errorf("got %v", err)
		}
		// A savepoint waits for its turn, and holds nothing on its way.
		w.job.Parallelism = 2
		r = w.start(context.Background())
		w.rt.Gate.Throttle(0)
		path, err := r.(engines.Savepointer).StopWithSavepoint(context.Background(), engines.StopCheckpoint, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		other := newWorld(t, connectors.ExactlyOnce, 3)
		other.b, other.job.MaxParallelism, other.cfg.RestoreFrom = w.b, 128, path
		other.restartAndDrain()
		expect(t, other.tally("in"), tally{})
	})
}

func TestUnalignedIsForExactlyOnceOnly(t *testing.T) {
	w := newWorld(t, connectors.AtLeastOnce, 1)
	w.cfg.Checkpoint.Unaligned = true
	w.job.Graph = counting(topic{w.b, "in"}, output{w.b})
	_, err := New().Start(context.Background(), w.job, w.cfg, w.rt)
	if err == nil || !strings.Contains(err.Error(), "checkpoint.unaligned: the job is at-least-once: only exactly-once aligns at all") {
		t.Errorf("got %v", err)
	}
}
