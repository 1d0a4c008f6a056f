package pipelinetest_test

import (
	"fmt"
	"strings"
	"testing"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow"
	"streamduel/engines/microbatch"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state"
)

// ofSpark are the operators that have their names from Spark.
func ofSpark() []pipelinetest.Case {
	states := codec.Codec[int64](codec.Int64{})
	sums := func(timeout bool, initial map[string]int64) func(in input, g *pipeline.Graph) {
		return func(in input, g *pipeline.Graph) {
			spec := pipeline.StateSpec[string, row, int64, string]{Initial: initial, Function: func(key string, r row, s *pipeline.MappedState[string, int64], emit func(string)) {
				sum, exists := s.Get()
				switch {
				case s.TimingOut():
					emit(fmt.Sprintf("%s:over:%d", key, sum))
				case r.n == 0:
					s.Remove()
					_, left := s.Get()
					emit(fmt.Sprintf("%s:gone:%v:%v", key, exists, left))
				default:
					s.Update(sum + r.n)
					emit(fmt.Sprintf("%s:%d:%v", key, sum+r.n, exists))
				}
			}}
			if timeout {
				spec.Timeout = 10 * ms
			}
			text(pipeline.MapWithState(byKey(in, g), "with", states, spec))
		}
	}
	load := func(in input) steps {
		at := func(ts int64, r row) steps { return steps{in.At(ts, r), wm(ts)} }
		var all steps
		for i, r := range []row{{"a", 3, "x"}, {"b", 7, "x"}, {"a", 5, "y"}, {"a", 0, "z"}, {"b", -1, "y"}, {"a", 2, "x"}} {
			all = append(all, at(int64(i+1), r)...)
		}
		return all
	}
	update := one("updateStateByKey", "a=3 a=8 b=7 b=6 a=2", func(in input, g *pipeline.Graph) {
		totals := pipeline.UpdateStateByKey(byKey(in, g), "update", states, func(_ string, values []row, sum int64, _ bool) (int64, bool) {
			for _, r := range values {
				if r.n == 0 {
					return 0, false
				}
				sum += r.n
			}
			return sum, true
		})
		// Every batch tells the whole state, and how many batches there are is the
		// engine's to say: each state counts once.
		told := pipeline.Map(totals, "text", func(t pipeline.KeyState[string, int64]) string { return fmt.Sprint(t.Key, "=", t.State) })
		text(pipeline.Dedupe(pipeline.KeyBy(told, func(s string) string { return s }), "once", 0, pipeline.EventTimeDomain))
	}, load)
	update.Batches = true
	snapshots := one("mapWithState, state snapshots", "a=3 a=8 b=7 b=6 a=2", func(in input, g *pipeline.Graph) {
		with := pipeline.MapWithState(byKey(in, g), "with", states, pipeline.StateSpec[string, row, int64, string]{
			Function: func(_ string, r row, s *pipeline.MappedState[string, int64], _ func(string)) {
				if sum, _ := s.Get(); r.n == 0 {
					s.Remove()
				} else {
					s.Update(sum + r.n)
				}
			},
		})
		told := pipeline.Map(pipeline.StateSnapshots[string, int64](with), "text", func(t pipeline.KeyState[string, int64]) string { return fmt.Sprint(t.Key, "=", t.State) })
		text(pipeline.Dedupe(pipeline.KeyBy(told, func(s string) string { return s }), "once", 0, pipeline.EventTimeDomain))
	}, load)
	snapshots.Batches = true
	return []pipelinetest.Case{
		update, snapshots,
		one("mapWithState", "a:3:false a:8:true b:7:false a:9:true a:10:true a:19:true b:14:true", sums(false, nil), some),
		one("mapWithState, state removed", "a:3:false a:gone:true:false a:4:false", sums(false, nil), func(in input) steps {
			return steps{in.At(1, row{"a", 3, "x"}), wm(1), in.At(2, row{"a", 0, "x"}), wm(2), in.At(3, row{"a", 4, "x"})}
		}),
		one("mapWithState with a timeout and an initial state", "a:103:true a:104:true b:over:5 b:1:false a:over:104 b:over:1", sums(true, map[string]int64{"a": 100, "b": 5}), func(in input) steps {
			return steps{
				now(0), in.At(1, row{"a", 3, "x"}), wm(1), now(8), in.At(2, row{"a", 1, "x"}), wm(2),
				now(12), in.At(3, row{"b", 1, "x"}), wm(3), now(17), wm(4), now(18), wm(5), now(30), wm(6),
			}
		}),
	}
}

// TestUpdateStateByKeyNeedsBatches: an engine without batches refuses it by name,
// and so does continuous processing.
func TestUpdateStateByKeyNeedsBatches(t *testing.T) {
	in := pipelinetest.NewInput[row]("in")
	job := func() engines.Job {
		g := pipeline.New("test")
		text(pipeline.Map(pipeline.UpdateStateByKey(byKey(in, g), "update", codec.Codec[int64](codec.Int64{}), func(string, []row, int64, bool) (int64, bool) { return 1, true }), "text",
			func(k pipeline.KeyState[string, int64]) string { return k.Key }))
		return engines.Job{Name: "job", Graph: g, Parallelism: 1, Guarantee: connectors.AtLeastOnce}
	}
	refused := func(e engines.Engine, config any, want string) {
		t.Helper()
		if _, err := e.Plan(job(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("plan: %v\nwant %s", err, want)
		}
		folder, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
		if err != nil {
			t.Fatal(err)
		}
		j := job()
		j.Folder = folder
		if _, err := e.Start(t.Context(), j, config, engines.Runtime{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start: %v\nwant %s", err, want)
		}
	}
	refused(dataflow.New(), dataflow.New().Config(), `operator "update" works batch by batch (updateStateByKey), and dataflow has no batches: take mapWithState or a process function, or take the micro-batch engine`)
	continuous := microbatch.Default()
	continuous.Trigger = microbatch.Continuous
	refused(microbatch.New(), continuous, `operator "update" keeps state, and trigger continuous runs map-like operators only`)
}

// TestAStateThatTimesOutIsOver: it cannot be brought back.
func TestAStateThatTimesOutIsOver(t *testing.T) {
	in := pipelinetest.NewInput[row]("in")
	h := pipelinetest.NewHarness(t, pipelinetest.Options{}, func(g *pipeline.Graph) {
		text(pipeline.MapWithState(byKey(in, g), "with", codec.Codec[int64](codec.Int64{}), pipeline.StateSpec[string, row, int64, string]{
			Timeout: ms, Function: func(_ string, _ row, s *pipeline.MappedState[string, int64], _ func(string)) { s.Update(1) },
		}))
	})
	h.Do(now(1), in.At(1, row{"a", 1, "x"}))
	if err := h.Try(now(100)); err == nil || !strings.Contains(err.Error(), `operator "with": a state that is timing out cannot be updated`) {
		t.Errorf("%v", err)
	}
}

// TestStateSnapshotsRefused where there are no batches, under an output mode, and of
// what has no such state.
func TestStateSnapshotsRefused(t *testing.T) {
	in := pipelinetest.NewInput[row]("in")
	job := func(of func(*pipeline.Stream[string]) *pipeline.Stream[string]) engines.Job {
		g := pipeline.New("test")
		with := pipeline.MapWithState(byKey(in, g), "with", codec.Codec[int64](codec.Int64{}), pipeline.StateSpec[string, row, int64, string]{
			Function: func(string, row, *pipeline.MappedState[string, int64], func(string)) {},
		})
		text(of(with))
		return engines.Job{Name: "job", Graph: g, Parallelism: 1, Guarantee: connectors.AtLeastOnce}
	}
	whole := func(s *pipeline.Stream[string]) *pipeline.Stream[string] {
		return pipeline.Map(pipeline.StateSnapshots[string, int64](s), "text", func(k pipeline.KeyState[string, int64]) string { return k.Key })
	}
	others := func(s *pipeline.Stream[string]) *pipeline.Stream[string] {
		return pipeline.Map(pipeline.StateSnapshots[string, bool](s), "text", func(k pipeline.KeyState[string, bool]) string { return k.Key })
	}
	update := microbatch.Default()
	update.OutputMode = pipeline.Update
	for _, c := range []struct {
		engine engines.Engine
		config any
		of     func(*pipeline.Stream[string]) *pipeline.Stream[string]
		want   string
	}{
		{dataflow.New(), dataflow.New().Config(), whole, `operator "with" works batch by batch (stateSnapshots), and dataflow has no batches: emit what its function changes, or read the state from a savepoint, or take the micro-batch engine`},
		{microbatch.New(), update, whole, `operator "with" gives its whole state with each batch (stateSnapshots), and outputMode is update, which says what leaves: leave that stream out, or take each-input`},
		{microbatch.New(), microbatch.Default(), others, `operator "with": StateSnapshots of pipeline.KeyState[string,bool]: it is no mapWithState of such keys and states`},
	} {
		if _, err := c.engine.Plan(job(c.of), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}
