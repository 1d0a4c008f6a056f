package scenarios

import (
	"strings"
	"testing"
	"time"
)

func ids(cells []*Cell) string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = c.ID
	}
	return strings.Join(out, "\n")
}

func TestCellsAlternateTheirEnginesAndRepeatOutermost(t *testing.T) {
	f := mustLoad(t, goodScenario)
	cells, err := Expand([]*File{f}, ExpandOptions{Repeat: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"duel.microbatch.at-least-once.1", "duel.dataflow.at-least-once.1",
		"duel.dataflow.exactly-once.1", "duel.microbatch.exactly-once.1",
		"duel.dataflow.at-least-once.2", "duel.microbatch.at-least-once.2",
		"duel.microbatch.exactly-once.2", "duel.dataflow.exactly-once.2",
	}, "\n")
	if got := ids(cells); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := cells[0].CrashPoint(cells[0].Scenario.Phases[1]); got != "M3" {
		t.Errorf("crash point %q", got)
	}
}

func TestOneEngineCanBeChosen(t *testing.T) {
	f := mustLoad(t, goodScenario)
	cells, err := Expand([]*File{f}, ExpandOptions{Engines: []string{"dataflow"}})
	if err != nil || len(cells) != 2 || cells[0].Engine.Name != "dataflow" {
		t.Errorf("%v %s", err, ids(cells))
	}
	if _, err := Expand([]*File{f}, ExpandOptions{Engines: []string{"datafow"}}); err == nil || !strings.Contains(err.Error(), `did you mean "dataflow"?`) {
		t.Errorf("%v", err)
	}
}

func TestAMatrixMakesACellOfEachValue(t *testing.T) {
	src := goodScenario + "matrix: { engines.microbatch.interval: [100ms, 2s], load.rate: [1k/s, 2k/s, 3k/s] }\n"
	f := mustLoad(t, src)
	if len(f.Variants) != 6 {
		t.Fatalf("%d variants", len(f.Variants))
	}
	last := f.Variants[5]
	if got := last.Choices; len(got) != 2 || got[0] != (Choice{"interval=2s", "microbatch", false}) || got[1] != (Choice{"rate=3k/s", "", false}) {
		t.Errorf("choices %+v", got)
	}
	micro, _ := last.Scenario.Engines.Get("microbatch")
	if micro.Config.(*microConfig).Interval != 2*time.Second || last.Scenario.Load.Rate != 3000 {
		t.Errorf("%+v %v", micro.Config, last.Scenario.Load.Rate)
	}
	cells, err := Expand([]*File{f}, ExpandOptions{})
	if err != nil || len(cells) != 18 || cells[0].ID != "duel.microbatch.at-least-once.interval=100ms.rate=1k-s.1" {
		t.Errorf("%v %d %s", err, len(cells), cells[0].ID)
	}
}

// TestAnEnginesAxisIsItsOwn: it makes no cells of the other engines, and gates
// can be of one value.
func TestAnEnginesAxisIsItsOwn(t *testing.T) {
	src := strings.Replace(goodScenario, "gates:\n", "gates:\n  - dataflow interval=2s: records.losses == 1\n  - microbatch interval=1s at-least-once: records.losses == 2\n", 1)
	f := mustLoad(t, src+"matrix: { engines.microbatch.interval: [100ms, 1s], engines.dataflow.checkpoint.interval: [1s, 2s] }\n")
	cells, err := Expand([]*File{f}, ExpandOptions{Engines: []string{"microbatch"}})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"duel.microbatch.at-least-once.interval=100ms.1", "duel.microbatch.exactly-once.interval=100ms.1",
		"duel.microbatch.at-least-once.interval=1s.1", "duel.microbatch.exactly-once.interval=1s.1",
	}, "\n")
	if got := ids(cells); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, c := range cells {
		for _, g := range c.Gates() {
			if len(g.Labels) > 0 && c.ID != "duel.microbatch.at-least-once.interval=1s.1" {
				t.Errorf("gate %s applies to %s", g.Expression(), c.ID)
			}
		}
	}
}

func TestAMatrixIsCheckedLikeTheFile(t *testing.T) {
	for _, c := range []struct{ matrix, want string }{
		{"load.rate: [1k/s, -1]", `duel.yaml:21:29: load.rate: value "-1": a rate above 0`},
		{"load.raet: [1k/s]", `duel.yaml:21:11: load.raet: unknown field "raet"`},
		{"load.rate: 5k/s", `duel.yaml:21:22: matrix.load.rate: value "5k/s": must be a list of values`},
		{"load.rate: []", `duel.yaml:21:22: matrix.load.rate: value "[]": must be a list of values`},
		{"name: [a, b]", `duel.yaml:21:11: matrix.name: name cannot be varied by a matrix`},
		{"load..rate: [1k/s]", `duel.yaml:21:11: matrix.load..rate: "load..rate" is no path`},
		{"load.rate: [1k/s, 1k/s]", `"1k/s" given twice`},
		{"phases.stedy.duration: [1s]", `duel.yaml:21:11: phases.stedy.duration: no item "stedy" in phases: one of warmup, fault, recovery`},
	} {
		_, err := load(t, goodScenario+"matrix: { "+c.matrix+" }\n")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got\n%v\nwant\n%s", c.matrix, err, c.want)
		}
	}
}

func TestIDsStayShortEnoughForAFolder(t *testing.T) {
	long := strings.Repeat("x", 300)
	a, b := cellID("duel", "dataflow", "exactly-once", []string{"p=" + long + "1"}, 1), cellID("duel", "dataflow", "exactly-once", []string{"p=" + long + "2"}, 1)
	if len(a) > maxIDLength || a == b {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestTwoScenariosOfOneNameAreRefused(t *testing.T) {
	f, g := mustLoad(t, goodScenario), mustLoad(t, goodScenario)
	if _, err := Expand([]*File{f, g}, ExpandOptions{}); err == nil || !strings.Contains(err.Error(), "same name") {
		t.Errorf("%v", err)
	}
}

// TestBadRecordsAreChecked against what the workload can make.
func TestBadRecordsAreChecked(t *testing.T) {
	for bad, want := range map[string]string{
		"{ kinds: [undecodable] }":                          "load.bad.share: missing: how many of the records are bad, such as 2%",
		"{ share: 0.02 }":                                   "a share above 0% and at most 100%, such as 2%",
		"{ share: 0% }":                                     "a share above 0% and at most 100%",
		"{ share: 101% }":                                   "a share above 0% and at most 100%",
		"{ share: 2%, kinds: [] }":                          "load.bad.kinds: at least one of undecodable",
		"{ share: 2%, kinds: [far-ahead] }":                 `load.bad.kinds[0]: value "far-ahead": a kind of bad records that workload keyed-count makes: only undecodable`,
		"{ share: 2%, kinds: [undecodable, undecodable] }":  "load.bad.kinds[1]",
		"{ share: 2%, kind: undecodable }":                  "kind",
		"{ share: 2%, kinds: [undecodable, undecodeable] }": `did you mean "undecodable"?`,
	} {
		_, err := load(t, strings.Replace(goodScenario, "shape: constant }", "shape: constant, bad: "+bad+" }", 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant …%s", bad, err, want)
		}
	}
	f := mustLoad(t, strings.Replace(goodScenario, "shape: constant }", "shape: constant, bad: { share: 2.5%, kinds: [undecodable] } }", 1))
	if b := f.Variants[0].Scenario.Load.Bad; b.Share != 2.5 || len(b.Kinds) != 1 {
		t.Errorf("%+v", b)
	}
	src := strings.Replace(goodScenario, "name: keyed-count", "name: pass-through", 1)
	if _, err := load(t, strings.Replace(src, "shape: constant }", "shape: constant, bad: { share: 2% } }", 1)); err == nil || !strings.Contains(err.Error(), "not with workload pass-through: its generator makes no bad records") {
		t.Errorf("%v", err)
	}
}

// TestBacklogAndSpreadAreChecked against the number of partitions and the phases.
func TestBacklogAndSpreadAreChecked(t *testing.T) {
	for change, want := range map[[2]string]string{
		{"shape: constant }", "shape: constant, weights: [1, 2] }"}:                       "one for each of the 4 partitions",
		{"shape: constant }", "shape: constant, weights: [1, 2, -1, 1] }"}:                "load.weights[2]: value \"-1\": 0 to 1000",
		{"shape: constant }", "shape: constant, weights: [0, 0, 0, 0] }"}:                 "load.weights: one above 0 at least",
		{"shape: constant }", "shape: constant, eventTime: { speed: 0 } }"}:               "a factor above 0",
		{"shape: constant }", "shape: constant, eventTime: { lag: [1s] } }"}:              "one for each of the 4 partitions",
		{"warmup, duration: 5s }", "warmup, until: drained, atMost: 5s, backlog: true }"}: "a duration and nothing else",
		{"recovery, until", "recovery, backlog: true, until"}:                             "the first phase only",
		{"parallelism: 2", "parallelism: 2\nbadInput: ignore"}:                            "one of fail, drop, dead-letter",
	} {
		_, err := load(t, strings.Replace(goodScenario, change[0], change[1], 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant …%s", change[1], err, want)
		}
	}
}
