package scenarios

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOverridesChangeAnyField(t *testing.T) {
	f := mustLoad(t, goodScenario,
		"load.rate=10k/s", "engines.microbatch.interval=2s", "phases.warmup.duration=9s", "phases[1].crash.hit=7",
		"guarantees=[exactly-once]", "workload.params.keys=3", "topics.partitions=2", "discovery.interval=250ms", "name=other",
		"engines.dataflow.checkpoint.unaligned=true", "question=4")
	s := f.Variants[0].Scenario
	micro, _ := s.Engines.Get("microbatch")
	flow, _ := s.Engines.Get("dataflow")
	if s.Load.Rate != 10_000 || micro.Config.(*microConfig).Interval != 2*time.Second || s.Phases[0].Duration != Duration(9*time.Second) ||
		s.Phases[1].Crash.Hit != 7 || len(s.Guarantees) != 1 || s.Workload.Params.(*countParams).Keys != 3 || s.Topics.Partitions != 2 ||
		s.Discovery.Interval != Duration(250*time.Millisecond) || f.Name != "other" || !flow.Config.(*flowConfig).Checkpoint.Unaligned || s.Question != "4" {
		t.Errorf("%+v", s)
	}
}

func TestTheLastOverrideWins(t *testing.T) {
	if s := mustLoad(t, goodScenario, "load.rate=1k/s", "load.rate=2k/s").Variants[0].Scenario; s.Load.Rate != 2000 {
		t.Errorf("%v", s.Load.Rate)
	}
}

func TestABadOverrideIsNamedAsOne(t *testing.T) {
	for set, want := range map[string]string{
		"load.raet=10k/s":              `--set load.raet=10k/s: load.raet: unknown field "raet": one of rate,`,
		"load.rate=-1":                 `--set load.rate=-1: load.rate: value "-1": a rate above 0`,
		"laod.rate=1k/s":               `--set laod.rate=1k/s: laod: unknown field "laod": one of schema,`,
		"phases.stedy.duration=1s":     `--set phases.stedy.duration=1s: phases.stedy.duration: no item "stedy" in phases: one of warmup, fault, recovery`,
		"phases[9].duration=1s":        `--set phases[9].duration=1s: phases[9].duration: no item "9" in phases`,
		"name.first=x":                 `--set name.first=x: name.first: name is text and has no "first"`,
		"load.rate":                    `--set load.rate: must be path=value, such as load.rate=10k/s`,
		"=5":                           `--set =5: must be path=value`,
		"a..b=5":                       `--set a..b=5: "a..b" is no path`,
		"phases[x].name=a":             `--set phases[x].name=a: "phases[x].name" is no path`,
		"guarantees=[exactly-once":     `--set guarantees=[exactly-once: value "[exactly-once": not valid YAML`,
		"engines.flink.interval=1s":    `--set engines.flink.interval=1s: engines.flink: unknown engine "flink"`,
		"load.rate=":                   `--set load.rate=: load.rate: must be one value, not nothing`,
		"gates=[{all: records.los<1}]": `--set gates=[{all: records.los<1}]: gates[0]: value "records.los<1": unknown figure "records.los"`,
	} {
		_, err := load(t, goodScenario, set)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got\n%v\nwant\n%s", set, err, want)
		}
	}
}

func TestTheHashIsOfTheValues(t *testing.T) {
	plain := mustLoad(t, goodScenario).Hash
	if got := mustLoad(t, "# another comment\n"+replace(t, "parallelism: 2\n", "parallelism:   2 # two\n")).Hash; got != plain {
		t.Error("a comment changes the hash")
	}
	if mustLoad(t, goodScenario, "load.rate=9k/s").Hash == plain {
		t.Error("an override does not change the hash")
	}
	f, err := Parse("duel.yaml", "", []byte(goodScenario), Options{Vocabulary: testVocabulary(), Quick: true})
	if err != nil || f.Hash == plain {
		t.Errorf("the quick form does not change the hash (%v)", err)
	}
}

func TestQuickShortensByItsRule(t *testing.T) {
	src := strings.NewReplacer("duration: 5s", "duration: 9s", "shape: constant", "shape: step, steps: [{at: 3s, rate: 9k/s}, {at: 6s, rate: 1k/s}]").Replace(goodScenario)
	f, err := Parse("duel.yaml", "", []byte(src), Options{Vocabulary: testVocabulary(), Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	s := f.Variants[0].Scenario
	if s.Phases[0].Duration != QuickPhase || s.Phases[2].AtMost != Duration(60*time.Second) || s.Phases[1].Crash.Hit != 3 {
		t.Errorf("%+v", s.Phases)
	}
	if s.Load.Steps[0].At != Duration(time.Second) || s.Load.Steps[1].At != Duration(2*time.Second) || s.Load.Rate != 5000 {
		t.Errorf("%+v", s.Load)
	}
}

// TestQuickBoundsTheWhole: of many phases each gets its part.
func TestQuickBoundsTheWhole(t *testing.T) {
	src := strings.Replace(goodScenario, "  - { name: warmup, duration: 5s }\n",
		"  - { name: warmup, duration: 1s }\n  - { name: a, duration: 9s }\n  - { name: b, duration: 9s, pause: { worker: 9s } }\n  - { name: c, duration: 9s }\n  - { name: d, duration: 9s }\n  - { name: e, duration: 9s }\n", 1)
	f, err := Parse("duel.yaml", "", []byte(strings.Replace(src, "event.warmup", "event.a", 1)), Options{Vocabulary: testVocabulary(), Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	p := f.Variants[0].Scenario.Phases
	if p[0].Duration != Duration(625*time.Millisecond) || p[1].Duration != Duration(1875*time.Millisecond) || p[2].Pause.Worker != Duration(1250*time.Millisecond) {
		t.Errorf("%v, %v, a pause of %v", p[0].Duration, p[1].Duration, p[2].Pause.Worker)
	}
}

// TestQuickStartsWithinTheBacklog: a moment behind a backlog that was shortened is no
// choice any more.
func TestQuickStartsWithinTheBacklog(t *testing.T) {
	s := &Scenario{Start: Start{From: StartTimestamp, After: Duration(5 * time.Second)},
		Phases: []Phase{{Name: "before", Duration: Duration(9 * time.Second), Backlog: true}, {Name: "after", Duration: Duration(2 * time.Second)}}}
	s.Quicken()
	if want := Duration(5 * time.Second / 3); s.Phases[0].Duration != QuickPhase || s.Start.After.Std().Round(time.Millisecond) != want.Std().Round(time.Millisecond) {
		t.Errorf("from %v of %v, want %v", s.Start.After, s.Phases[0].Duration, want)
	}
}

func FuzzOverride(f *testing.F) {
	for _, s := range []string{"load.rate=10k/s", "phases[0].duration=1s", "phases.warmup={name: x}", "engines={}", "gates=[]", "a.b.c=[1,2", "x=", "[0]=1", "guarantees[1]=x"} {
		f.Add(s)
	}
	vocab := testVocabulary()
	f.Fuzz(func(t *testing.T, set string) {
		o, err := ParseOverride(set)
		if err == nil {
			_, err = Parse("duel.yaml", "", []byte(goodScenario), Options{Vocabulary: vocab, Overrides: []Override{o}})
		}
		checkProblems(t, err)
	})
}

// checkProblems holds for every error of the loader: it is a list of problems,
// each of them one line.
func checkProblems(t *testing.T, err error) {
	if err == nil {
		return
	}
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("not problems: %T %v", err, err)
	}
	for _, p := range ps {
		if strings.ContainsAny(p.Error(), "\n\r") || p.Error() == "" {
			t.Errorf("not one line: %q", p.Error())
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(goodScenario)
	f.Add(goodScenario + "matrix: { load.rate: [1k/s, 2k/s] }\n")
	for _, name := range BuiltinScenarios() {
		src, _ := BuiltinSource(name)
		f.Add(string(src))
	}
	f.Add("schema: streamduel/set/v1\nname: x\nscenarios: [{scenario: steady, set: {load.rate: 1k/s}}]\n")
	f.Add("a: &a [*a]\n")
	f.Add("? [a]\n: b\n")
	f.Add("---\n...\n---\n")
	f.Add("phases: [{crash: {at: }}]")
	vocab := testVocabulary()
	f.Fuzz(func(t *testing.T, src string) {
		_, err := fromSource("fuzz.yaml", "", []byte(src), Options{Vocabulary: vocab})
		checkProblems(t, err)
	})
}
