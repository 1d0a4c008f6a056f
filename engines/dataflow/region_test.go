package dataflow

import (
	"context"
	"errors"
	"fmt"
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

// TestARestartFromAnOlderCheckpoint: where the newest is torn, positions and state
// are both those of the one before.
func TestARestartFromAnOlderCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 2)
		w.fixedDelay(1)
		w.cfg.Checkpoint.Retained = 2
		w.b.grow("in", 4)
		r := w.start(context.Background())
		w.feed("in", 100)
		w.b.mu.Lock()
		w.b.writeHook = func(connectors.WriterEnv, *connectors.Record) error {
			w.b.writeHook = nil
			ids, err := w.folder.Numbered("checkpoint-")
			if err != nil {
				return err
			}
			newest := filepath.Join(w.folder.Path(), fmt.Sprint("checkpoint-", ids[len(ids)-1]))
			return errors.Join(errors.New("failure"), os.Truncate(newest, 10))
		}
		w.b.mu.Unlock()
		w.feed("in", 100)
		w.stop(r, engines.StopDrain)
		expect(t, len(w.kinds("restarted")), 1)
		inputs, counts := map[int64]int64{}, map[int64]int64{}
		for _, rs := range w.b.input["in"] {
			for i := range rs {
				v, err := decodeItem(&rs[i])
				if err != nil {
					t.Fatal(err)
				}
				inputs[v.key]++
			}
		}
		for i := range w.b.visible {
			v, _, err := itemCodec.Decode(w.b.visible[i].Value)
			if err != nil {
				t.Fatal(err)
			}
			counts[v.key] = max(counts[v.key], v.count)
		}
		expect(t, counts, inputs)
	})
}

// refusing is a sink whose first prepares fail, when all others have prepared.
type refusing struct {
	output
	left *atomic.Int32
}

type refusingWriter struct {
	connectors.Writer
	left *atomic.Int32
}

func (r refusing) Writer(ctx context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	w, err := r.output.Writer(ctx, env)
	return refusingWriter{w, r.left}, err
}

func (w refusingWriter) Prepare(ctx context.Context) (connectors.Committable, error) {
	if w.left.Add(-1) < 0 {
		return w.Writer.Prepare(ctx)
	}
	time.Sleep(20 * time.Millisecond)
	return nil, errors.New("refused")
}

// TestARegionThatFailsAgainAndAgainLeavesTheOthersAlone, also where each time a
// checkpoint is given up that they have prepared for.
func TestARegionThatFailsAgainAndAgainLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 1)
		w.fixedDelay(20)
		graph := pipeline.New("two")
		left := &atomic.Int32{}
		left.Store(8)
		for i, sink := range []connectors.Sink{refusing{output{w.b}, left}, output{w.b}} {
			name := string('a' + rune(i))
			w.b.grow(name, 1)
			in := pipeline.From(graph, name, topic{w.b, name}, decodeItem).Codec(itemCodec)
			pipeline.To(in, "out "+name, sink, func(v item, r *connectors.Record) { v.partition += offsetOf[name]; encodeItem(v, r) })
		}
		w.job.Graph = graph
		r := w.start(context.Background())
		fed := w.feeding("a", 500)
		w.feed("b", 500)
		fed()
		time.Sleep(time.Second)
		w.stop(r, engines.StopDrain)
		expect(t, len(w.kinds("restarting")), 8)
		for _, e := range w.kinds("restarting") {
			if got := e.(engines.Restarting); len(got.Tasks) != 1 || !strings.HasPrefix(got.Tasks[0], "a") {
				t.Errorf("%v restarts: %s", got.Tasks, got.Error)
			}
		}
		expect(t, w.distinct(), 2*500*13)
		expect(t, w.copies()["a"]+w.copies()["b"], 0)
	})
}

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
