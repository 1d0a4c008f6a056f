package scenarios

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, src string, sets ...string) (*File, error) {
	t.Helper()
	opts := Options{Vocabulary: testVocabulary()}
	for _, s := range sets {
		o, err := ParseOverride(s)
		if err != nil {
			return nil, err
		}
		opts.Overrides = append(opts.Overrides, o)
	}
	return Parse("duel.yaml", t.TempDir(), []byte(src), opts)
}

func mustLoad(t *testing.T, src string, sets ...string) *File {
	t.Helper()
	f, err := load(t, src, sets...)
	if err != nil {
		t.Fatalf("refused:\n%v", err)
	}
	return f
}

func TestAGoodFileIsDecodedWithItsDefaults(t *testing.T) {
	f := mustLoad(t, goodScenario)
	s := f.Variants[0].Scenario
	if s.Load.Rate != 5000 || s.Topics.Partitions != 4 || s.Topics.Output != 4 || s.Parallelism != 2 {
		t.Errorf("load %+v, topics %+v, parallelism %d", s.Load, s.Topics, s.Parallelism)
	}
	if s.Durability != DurableMachine || s.State.Backend != "memory" || s.Discovery.Interval != Duration(time.Second) || s.Discovery.Reset != ResetEarliest {
		t.Errorf("defaults: %+v %+v %+v", s.Durability, s.State, s.Discovery)
	}
	if got := strings.Join(s.Engines.Names(), " "); got != "microbatch dataflow" {
		t.Errorf("engines in the order of the file: %s", got)
	}
	micro, _ := s.Engines.Get("microbatch")
	if c := micro.Config.(*microConfig); c.Interval != 250*time.Millisecond {
		t.Errorf("microbatch: %+v", c)
	}
	flow, _ := s.Engines.Get("dataflow")
	if c := flow.Config.(*flowConfig); c.BufferTimeout != 10*time.Millisecond || c.Checkpoint.Interval != time.Second {
		t.Errorf("dataflow: %+v", c)
	}
	if p := s.Workload.Params.(*countParams); p.Keys != 10 || p.Size != 1024 {
		t.Errorf("params: %+v", p)
	}
	fault := s.Phases[1]
	if fault.Fault() != "crash" || fault.Crash.Hit != 3 || fault.Crash.At["dataflow"] != "D5" || fault.AtMost != DefaultFaultAtMost {
		t.Errorf("fault: %+v %+v", fault, fault.Crash)
	}
	if len(s.Gates) != 3 || s.Gates[1].BoundFigure != "crash.expected.duplicates" || s.Gates[1].Engine != "microbatch" || s.Gates[1].Guarantee != AtLeastOnce {
		t.Errorf("gates: %+v", s.Gates)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Errorf("a scenario does not encode: %v", err)
	}
}

// replace makes a bad file out of the good one; it fails the test if the good
// one has changed under it.
func replace(t *testing.T, old, with string) string {
	t.Helper()
	if strings.Count(goodScenario, old) != 1 {
		t.Fatalf("the good scenario holds %q %d times", old, strings.Count(goodScenario, old))
	}
	return strings.Replace(goodScenario, old, with, 1)
}

func TestEveryMistakeIsOneLineThatSaysWhatIsAllowed(t *testing.T) {
	for _, c := range []struct{ name, old, with, want string }{
		{"misspelt field", "rate: 5000/s", "raet: 5000/s", `duel.yaml:8:13: load.raet: unknown field "raet": one of rate, shape, goesOn, steps, to, over, peak, every, for, amplitude, period, file, recordSize, weights, eventTime, bad, speed (did you mean "rate"?)`},
		{"misspelt engine field", "interval: 250ms", "intreval: 250ms", `duel.yaml:10:17: engines.microbatch.intreval: unknown field "intreval": one of interval, clock, rate, watermark, cores, source, executors, outputMode (did you mean "interval"?)`},
		{"impossible nested engine value", "interval: 250ms", "interval: 250ms, rate: { maxRecordsPerBatch: -5 }", `duel.yaml:10:62: engines.microbatch.rate.maxRecordsPerBatch: value "-5": 0 (no cap) or more`},
		{"misspelt nested engine field", "checkpoint: { interval: 1s }", "checkpoint: { intervall: 1s }", `duel.yaml:11:52: engines.dataflow.checkpoint.intervall: unknown field "intervall": one of interval, unaligned (did you mean "interval"?)`},
		{"negative rate", "5000/s", "-1", `duel.yaml:8:19: load.rate: value "-1": a rate above 0 with its unit, such as 5000/s, 10k/s or 600/min`},
		{"rate without unit", "5000/s", "5000", `duel.yaml:8:19: load.rate: value "5000": a rate above 0 with its unit, such as 5000/s, 10k/s or 600/min; the unit is missing`},
		{"interval 0s", "interval: 250ms", "interval: 0s", `duel.yaml:10:27: engines.microbatch.interval: value "0s": a duration above 0s`},
		{"duration without unit", "duration: 5s", "duration: 5", `duel.yaml:14:31: phases[0].duration: value "5": a duration of 0s to 720h with its unit, such as 500ms, 2s or 1m30s; the unit is missing`},
		{"phase of 0s", "duration: 5s", "duration: 0s", `duel.yaml:14:31: phases[0].duration: value "0s": a duration above 0s, such as 5s`},
		{"unknown engine", "microbatch: { interval: 250ms }", "microbach: { interval: 250ms }", `duel.yaml:10:3: engines.microbach: unknown engine "microbach": one of dataflow, microbatch (did you mean "microbatch"?), or any name with a command of its own`},
		{"unknown workload", "keyed-count", "keyed-cuont", `duel.yaml:5:19: workload.name: value "keyed-cuont": one of keyed-count, keyed-sum, pass-through, ysb (did you mean "keyed-count"?)`},
		{"bad parameter", "keys: 10", "keys: 0", `duel.yaml:5:48: workload.params.keys: value "0": 1 or more`},
		{"parameter of a wrong type", "keys: 10", "keys: ten", `duel.yaml:5:48: workload.params.keys: value "ten": must be a whole number, not text`},
		{"unknown guarantee", "at-least-once, exactly-once]", "at-least-once, exactly-ones]", `duel.yaml:12:29: guarantees[1]: value "exactly-ones": one of at-most-once, at-least-once, exactly-once (did you mean "exactly-once"?)`},
		{"guarantee twice", "at-least-once, exactly-once]", "exactly-once, exactly-once]", `duel.yaml:12:28: guarantees[1]: value "exactly-once": given twice`},
		{"crash point of the other engine", "microbatch: M3", "microbatch: D5", `duel.yaml:15:48: phases[1].crash.at.microbatch: value "D5": a crash point of engine microbatch: one of M0, M0t, M1, M2, M2r, M3, M4, T1, T2`},
		{"crash of an engine that is not there", "microbatch: M3, dataflow: D5", "microbatch: M3, dataflow: D5, flink: D5", `duel.yaml:15:73: phases[1].crash.at.flink: value "D5": not an engine of this scenario: one of microbatch, dataflow`},
		{"crash without a point for an engine", "microbatch: M3, dataflow: D5", "microbatch: M3", `duel.yaml:15:30: phases[1].crash.at: missing: a point for engine dataflow, one of D0, D1, D2, D3, D4, D5, D6, D7, D8, R1, R2`},
		{"hit 0", "hit: 3", "hit: 0", `duel.yaml:15:73: phases[1].crash.hit: value "0": 1 to 1000000: how often the point is reached before the crash`},
		{"until without a bound", ", atMost: 60s", "", `duel.yaml:16:30: phases[2].until: value "caughtUp": a phase that waits needs a bound: add atMost, such as atMost: 60s`},
		{"until what?", "until: caughtUp", "until: catchUp", `duel.yaml:16:30: phases[2].until: value "catchUp": one of caughtUp, drained, failed`},
		{"phase name twice", "name: recovery", "name: warmup", `duel.yaml:16:13: phases[2].name: value "warmup": given twice: figures are called by the phase's name`},
		{"name is no folder", "name: duel", "name: ../duel", `duel.yaml:3:7: name: value "../duel": letters, digits and dashes, beginning with a letter, at most 40 characters`},
		{"two faults", "hit: 3 } }", "hit: 3 }, pause: { worker: 2s } }", `duel.yaml:15:78: phases[1].pause: one fault a phase, and this one has crash and pause: figures could not tell them apart`},
		{"unknown figure", "exactly-once: records.losses == 0", "exactly-once: records.lost == 0", `duel.yaml:18:19: gates[0]: value "records.lost == 0": unknown figure "records.lost": a path of summary.json, and a phase of this scenario (warmup, fault, recovery) (did you mean "records.losses"?)`},
		{"figure of a phase that is not there", "event.warmup.p99", "event.steady.p99", `duel.yaml:20:10: gates[2]: value "latencyMillis.event.steady.p99 < 5000": unknown figure "latencyMillis.event.steady.p99": a path of summary.json, and a phase of this scenario (warmup, fault, recovery)`},
		{"scope", "- all: latency", "- al: latency", `duel.yaml:20:9: gates[2]: value "latencyMillis.event.warmup.p99 < 5000": unknown scope "al": one of all, microbatch, dataflow, at-most-once, at-least-once, exactly-once (did you mean "all"?)`},
		{"gate without operator", "records.losses == 0", "records.losses", `duel.yaml:18:19: gates[0]: value "records.losses": a comparison such as records.losses == 0, with one of == != <= >= < >`},
		{"wrong schema", "scenario/v1", "scenario/v2", `duel.yaml:2:9: schema: value "streamduel/scenario/v2": only streamduel/scenario/v1 (did you mean "streamduel/scenario/v1"?)`},
		{"mapping instead of list", "guarantees: [at-least-once, exactly-once]", "guarantees: exactly-once", `duel.yaml:12:13: guarantees: value "exactly-once": must be a list such as [a, b], not text`},
		{"no topics", "partitions: 4", "partitions: 0", `duel.yaml:6:25: topics.partitions: value "0": 1 to 1024`},
		{"field twice", "parallelism: 2", "name: again", `duel.yaml:7:1: not valid YAML: mapping key "name" already defined at [3:1]`},
		{"anchor", "parallelism: 2", "parallelism: &p 2", `duel.yaml:7:14: anchors, aliases and merge keys are not part of scenario files: write the value out`},
		{"only for another shape", "shape: constant", "shape: constant, to: 9k/s", `duel.yaml:8:48: load.to: value "9k/s": only for shape: ramp, not constant`},
		{"shape lacks its fields", "shape: constant", "shape: burst, peak: 9k/s, every: 2s", `duel.yaml:8:1: load.for: missing: shape burst needs peak, every, for`},
		{"unknown backend", "parallelism: 2", "state: { backend: lms }", `duel.yaml:7:19: state.backend: value "lms": one of memory, lsm (did you mean "lsm"?)`},
		{"memory of the backend that has no bound", "parallelism: 2", "state: { memory: 64MiB }", `duel.yaml:7:18: state.memory: value "64MiB": only for a backend on disk: with memory the state takes what it needs`},
		{"too little memory", "parallelism: 2", "state: { backend: lsm, memory: 1MiB }", `duel.yaml:7:32: state.memory: value "1MiB": 16MiB to 1024GiB`},
		{"share of a rate", "name: warmup, duration: 5s", "name: a, duration: 1s }\n  - { name: warmup, duration: 5s, throttle: { sink: 10/s, of: a }", `duel.yaml:15:63: phases[1].throttle.of: value "a": only with a share: a rate such as 10/s is of nothing; write sink: 40%`},
		{"share of a later phase", "name: warmup, duration: 5s", "name: a, duration: 1s }\n  - { name: warmup, duration: 5s, throttle: { sink: 40%, of: recovery }", `duel.yaml:15:62: phases[1].throttle.of: value "recovery": an earlier phase: only a`},
		{"share of a phase that crashes", "- { name: recovery, until: caughtUp, atMost: 60s", "- { name: recovery, duration: 5s, throttle: { sink: 40%, of: fault }", `duel.yaml:16:64: phases[2].throttle.of: value "fault": a phase with a duration in which the job runs undisturbed, or throttled: its rate is what the share is of`},
		{"trace file", "shape: constant", "shape: trace, file: none.csv", `duel.yaml:8:47: load.file: value "none.csv": no such file: lines of seconds,recordsPerSecond`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, replace(t, c.old, c.with))
			if err == nil {
				t.Fatal("accepted")
			}
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("not problems: %T %v", err, err)
			}
			if err.Error() != c.want {
				t.Errorf("got\n%s\nwant\n%s", err, c.want)
			}
		})
	}
}

func TestAllMistakesOfAFileAreListedInReadingOrder(t *testing.T) {
	src := strings.NewReplacer("5000/s", "-1", "keys: 10", "keys: ten", "hit: 3", "hitt: 3").Replace(goodScenario)
	_, err := load(t, src)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "duel.yaml:5:") || !strings.HasPrefix(lines[1], "duel.yaml:8:") || !strings.HasPrefix(lines[2], "duel.yaml:15:") {
		t.Errorf("got\n%v", err)
	}
}

func TestMissingFieldsAreNamed(t *testing.T) {
	_, err := load(t, "schema: streamduel/scenario/v1\n")
	for _, f := range []string{"name", "question", "workload", "load", "engines", "guarantees", "phases"} {
		if !strings.Contains(err.Error(), "duel.yaml:1:1: "+f+": missing: ") {
			t.Errorf("%s is not named in\n%v", f, err)
		}
	}
	if _, err := load(t, "# nothing\n"); err == nil || !strings.HasPrefix(err.Error(), "duel.yaml: empty file") {
		t.Errorf("empty file: %v", err)
	}
	if _, err := load(t, "- a\n- b\n"); err == nil || strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("a list: %v", err)
	}
}

func TestAMissingFileIsOneLine(t *testing.T) {
	_, err := LoadFile(filepath.Join(t.TempDir(), "nope.yaml"), Options{Vocabulary: testVocabulary()})
	if err == nil || !strings.HasSuffix(err.Error(), "nope.yaml: no such file") {
		t.Errorf("%v", err)
	}
}

func TestATraceFileIsFoundBesideTheScenario(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "day.csv"), []byte("# a day\n0,1000\n10, 5000\n20,1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := replace(t, "shape: constant", "shape: trace, file: day.csv")
	f, err := Parse("x.yaml", dir, []byte(src), Options{Vocabulary: testVocabulary()})
	if err != nil {
		t.Fatal(err)
	}
	points, err := ReadTrace(f.Variants[0].Scenario.Load.File)
	if err != nil || len(points) != 3 || points[1] != (TracePoint{10 * time.Second, 5000}) {
		t.Errorf("%v %v", points, err)
	}
}

func TestAUsersOwnEngine(t *testing.T) {
	src := replace(t, "  dataflow:   {", "  mine: { command: [./my-engine, --worker], guarantees: [at-least-once, exactly-once], crashPoints: [A, B], config: { x: [1, 2.5, yes] } }\n  dataflow:   {")
	src = strings.Replace(src, "dataflow: D5", "dataflow: D5, mine: A", 1)
	s := mustLoad(t, src).Variants[0].Scenario
	mine, ok := s.Engines.Get("mine")
	if !ok || mine.Command[1] != "--worker" || mine.CrashPoints[1] != "B" || len(mine.Guarantees) != 2 {
		t.Fatalf("%+v", mine)
	}
	if got, _ := json.Marshal(mine.Config); string(got) != `{"x":[1,2.5,"yes"]}` {
		t.Errorf("config: %s", got)
	}
	if _, err := load(t, strings.Replace(src, "mine: A", "mine: C", 1)); err == nil || !strings.Contains(err.Error(), "a crash point of engine mine: one of A, B") {
		t.Errorf("%v", err)
	}
}
