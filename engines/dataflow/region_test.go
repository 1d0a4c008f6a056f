package dataflow

import (
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

// failAt makes the sink fail at the given numbers of its records.
func (w *world) failAt(node string, at ...int) {
	n := 0
	w.b.writeHook = func(env connectors.WriterEnv, _ *connectors.Record) error {
		if node != "" && env.Node != node {
			return nil
		}
		n++
		for _, a := range at {
			if n == a {
				return fmt.Errorf("failure at record %d", n)
			}
		}
		return nil
	}
}

func (w *world) fixedDelay(attempts int) {
	w.cfg.Restart.Strategy, w.cfg.Restart.Attempts, w.cfg.Restart.Delay = RestartFixedDelay, attempts, Duration(200*time.Millisecond)
}

// TestAJobIsRestartedFromItsCheckpoint, in the same process, with each
// guarantee's copies and losses.
func TestAJobIsRestartedFromItsCheckpoint(t *testing.T) {
	for _, g := range guarantees() {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, g, 2)
				w.fixedDelay(3)
				w.b.grow("in", 4)
				w.failAt("", 700, 2500, 6500)
				r := w.start(context.Background())
				w.feed("in", 200)
				w.stop(r, engines.StopDrain)
				got := w.tally("in")
				switch g {
				case connectors.ExactlyOnce:
					expect(t, got, tally{})
					expect(t, w.b.open(), []string(nil))
				case connectors.AtLeastOnce:
					expect(t, got.losses, 0)
					if got.copies == 0 {
						t.Error("a restart repeats records")
					}
				case connectors.AtMostOnce:
					expect(t, got.copies, 0)
					if got.losses == 0 {
						t.Error("a restart loses records that were claimed")
					}
				}
				expect(t, len(w.kinds("restarting")), 3)
				expect(t, len(w.kinds("restarted")), 3)
				expect(t, w.kinds("restarting")[0].(engines.Restarting).Delay, 200)
				expect(t, len(w.kinds("started")), 1)
			})
		})
	}
}

func TestARestartStrategyGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.fixedDelay(2)
		w.b.grow("in", 2)
		w.b.writeHook = func(connectors.WriterEnv, *connectors.Record) error { return errors.New("no space left") }
		r := w.start(context.Background())
		fed := w.feeding("in", 100)
		err := r.Wait()
		fed()
		if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "restarted 2 times, which is what the fixed delay strategy allows") {
			t.Errorf("ended with %v", err)
		}
		expect(t, len(w.kinds("restarted")), 2)
		expect(t, len(w.kinds("failed")), 1)
	})
}

// TestOnlyTheFailedRegionRestarts: of two pipelines in a job the one that fails
// goes back to the checkpoint, the other never notices.
func TestOnlyTheFailedRegionRestarts(t *testing.T) {
	for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, g, 2)
				w.fixedDelay(5)
				w.b.grow("a", 3)
				w.b.grow("b", 3)
				graph := pipeline.New("two")
				for _, name := range []string{"a", "b"} {
					in := pipeline.From(graph, name, topic{w.b, name}, decodeItem).Codec(itemCodec)
					counts := pipeline.Process(pipeline.KeyBy(in, func(v item) int64 { return v.key }), "count "+name, countFunction)
					pipeline.To(counts.Codec(itemCodec), "out "+name, output{w.b}, func(v item, r *connectors.Record) { v.partition += offsetOf[name]; encodeItem(v, r) })
				}
				w.job.Graph = graph
				w.failAt("out a", 500, 1500, 3500)
				r := w.start(context.Background())
				done := w.feeding("b", 100)
				w.feed("a", 100)
				done()
				time.Sleep(3 * time.Second) // what is not taken in is not drained
				w.stop(r, engines.StopDrain)
				for _, e := range w.kinds("restarting") {
					for _, name := range e.(engines.Restarting).Tasks {
						if !strings.Contains(name, "a") || strings.Contains(name, "count b") {
							t.Errorf("%s is restarted", name)
						}
					}
				}
				expect(t, len(w.kinds("restarted")), 3)
				copies := w.copies()
				expect(t, copies["b"], 0)
				expect(t, w.distinct(), 6*13*100)
				if g == connectors.ExactlyOnce {
					expect(t, copies["a"], 0)
					expect(t, w.b.open(), []string(nil))
				} else if copies["a"] == 0 {
					t.Error("a restart repeats records")
				}
			})
		})
	}
}

// offsetOf tells two topics' outputs apart by their partitions.
var offsetOf = map[string]int32{"a": 0, "b": 100}

// copies counts outputs beyond the first of each input, by topic.
func (w *world) copies() map[string]int {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	out, seen := map[string]int{}, map[[2]int64]bool{}
	for _, r := range w.b.visible {
		v, _, _ := itemCodec.Decode(r.Value)
		id := [2]int64{int64(v.partition), v.sequence}
		if seen[id] {
			name := "a"
			if v.partition >= offsetOf["b"] {
				name = "b"
			}
			out[name]++
		}
		seen[id] = true
	}
	return out
}

// distinct counts the inputs that have an output.
func (w *world) distinct() int {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	seen := map[[2]int64]bool{}
	for _, r := range w.b.visible {
		v, _, _ := itemCodec.Decode(r.Value)
		seen[[2]int64{int64(v.partition), v.sequence}] = true
	}
	return len(seen)
}

// TestARestartFindsNewPartitionsAgain: a split that was found after the start
// belongs to the subtask that it was dealt to.
func TestARestartFindsNewPartitionsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		w.fixedDelay(9)
		w.b.grow("in", 2)
		w.failAt("", 400, 800, 1600, 1700, 2000)
		r := w.start(context.Background())
		w.feed("in", 20)
		w.b.grow("in", 5)
		w.feed("in", 300)
		w.stop(r, engines.StopCheckpoint)
		w.b.writeHook = nil
		w.restartAndDrain()
		expect(t, w.tally("in"), tally{})
	})
}

// TestARestartWithStateOnDisk goes back to the files that checkpoints share.
func TestARestartWithStateOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		onDisk(w)
		w.fixedDelay(3)
		w.b.grow("in", 4)
		w.failAt("", 700, 4500)
		r := w.start(context.Background())
		w.feed("in", 200)
		w.stop(r, engines.StopDrain)
		expect(t, w.tally("in"), tally{})
		expect(t, len(w.kinds("restarted")), 2)
	})
}
