package scenarios

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

var testEngines = []string{"microbatch", "dataflow"}

func TestGatesAreParsedAndShown(t *testing.T) {
	for _, c := range []struct{ scope, expression, shown string }{
		{"all", "records.losses==0", "all: records.losses == 0"},
		{"exactly-once", "records.duplicates  ==  0", "exactly-once: records.duplicates == 0"},
		{"dataflow", "latencyMillis.event.steady.p99 < 5e3", "dataflow: latencyMillis.event.steady.p99 < 5000"},
		{"microbatch  at-least-once", "records.duplicates == crash.expected.duplicates", "microbatch at-least-once: records.duplicates == crash.expected.duplicates"},
		{"at-least-once microbatch", "records.sent >= -1.5", "at-least-once microbatch: records.sent >= -1.5"},
	} {
		g, err := ParseGate(c.scope, c.expression, testEngines, nil)
		if err != nil || g.Expression() != c.shown {
			t.Errorf("%s: %s → %s, %v", c.scope, c.expression, g.Expression(), err)
		}
	}
	for _, c := range [][2]string{
		{"", "records.losses == 0"}, {"all all", "records.losses == 0"}, {"flink", "records.losses == 0"},
		{"all dataflow", "records.losses == 0"}, {"dataflow microbatch", "records.losses == 0"},
		{"all", "records.losses = 0"}, {"all", "records.losses == "}, {"all", "== 0"}, {"all", "losses == 0"},
		{"all", "records.losses == NaN"}, {"all", "records.losses == 5s"}, {"all", "records.losses == 0 == 0"},
		{"all", "records.losses == 0x10"}, {"all", "records.losses === 0"},
	} {
		if g, err := ParseGate(c[0], c[1], testEngines, nil); err == nil {
			t.Errorf("%q: %q was accepted as %+v", c[0], c[1], g)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %v", err)
		}
	}
}

// TestAGateOfSeveralAxes is about the cells that have all of its values.
func TestAGateOfSeveralAxes(t *testing.T) {
	labels := []string{"enabled=true", "enabled=false", "interval=1s"}
	g, err := ParseGate("dataflow interval=1s enabled=true", "records.losses == 0", testEngines, labels)
	if err != nil {
		t.Fatal(err)
	}
	for cell, want := range map[string]bool{"interval=1s enabled=true": true, "enabled=true interval=1s rate=1k/s": true, "enabled=false interval=1s": false, "enabled=true": false} {
		if got := g.Applies("dataflow", ExactlyOnce, strings.Fields(cell)); got != want {
			t.Errorf("applies to %s: %v", cell, got)
		}
	}
	if _, err := ParseGate("enabled=true enabled=false", "records.losses == 0", testEngines, labels); err == nil {
		t.Error("two values of one axis are accepted, which no cell has")
	}
}

func TestGatesAreEvaluated(t *testing.T) {
	figures := map[string]float64{
		"records.losses": 0, "records.duplicates": 12, "crash.expected.duplicates": 12,
		"pressure.followSeconds": math.Inf(1), "cost.x": math.NaN(), "latencyMillis.event.steady.p99": 812.34567,
	}
	lookup := func(path string) (float64, bool) { v, ok := figures[path]; return v, ok }
	for _, c := range []struct {
		expression string
		ok         bool
		text       string
	}{
		{"records.losses == 0", true, "records.losses = 0, must be == 0"},
		{"records.duplicates == 0", false, "records.duplicates = 12, must be == 0"},
		{"records.duplicates != 0", true, "records.duplicates = 12, must be != 0"},
		{"records.duplicates == crash.expected.duplicates", true, "records.duplicates = 12, must be == crash.expected.duplicates = 12"},
		{"records.duplicates < 12", false, "records.duplicates = 12, must be < 12"},
		{"records.duplicates <= 12", true, "records.duplicates = 12, must be <= 12"},
		{"records.duplicates > 12", false, "records.duplicates = 12, must be > 12"},
		{"records.duplicates >= 12", true, "records.duplicates = 12, must be >= 12"},
		{"latencyMillis.event.steady.p99 < 1000", true, "latencyMillis.event.steady.p99 = 812.346, must be < 1000"},
		{"pressure.followSeconds < 1000", false, "pressure.followSeconds = +Inf, must be < 1000"},
		// Nothing measured never passes, whatever the comparison says.
		{"records.late == 0", false, "records.late is missing, must be == 0"},
		{"records.late != 0", false, "records.late is missing, must be != 0"},
		{"cost.x < 5", false, "cost.x is missing, must be < 5"},
		{"records.losses == records.late", false, "records.late is missing, to which records.losses = 0 is compared"},
	} {
		g, err := ParseGate("all", c.expression, testEngines, nil)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		if res := g.Eval(lookup); res.OK != c.ok || res.Text != c.text {
			t.Errorf("%s: %v %q, want %v %q", c.expression, res.OK, res.Text, c.ok, c.text)
		}
	}
}

func TestAGateJudgesItsCellsOnly(t *testing.T) {
	f := mustLoad(t, goodScenario)
	cells, err := Expand([]*File{f}, ExpandOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{ // exactly-once; microbatch at-least-once; all
		"duel.microbatch.at-least-once.1": 2, "duel.dataflow.at-least-once.1": 1,
		"duel.microbatch.exactly-once.1": 2, "duel.dataflow.exactly-once.1": 2,
	}
	for _, c := range cells {
		if got := len(c.Gates()); got != want[c.ID] {
			t.Errorf("%s: %d gates, want %d", c.ID, got, want[c.ID])
		}
	}
}

func FuzzGate(f *testing.F) {
	f.Add("all", "records.losses == 0")
	f.Add("microbatch exactly-once", "latencyMillis.event.steady.p99 < 5e3")
	f.Add("all", "records.duplicates == crash.expected.duplicates")
	f.Fuzz(func(t *testing.T, scope, expression string) {
		g, err := ParseGate(scope, expression, testEngines, nil)
		if err != nil {
			return
		}
		// What was accepted means the same when it is written down.
		s, e, _ := strings.Cut(g.Expression(), ": ")
		again, err := ParseGate(s, e, testEngines, nil)
		if err != nil || !reflect.DeepEqual(again, g) {
			t.Errorf("%q %q: %+v, written and read: %+v %v", scope, expression, g, again, err)
		}
		if g.Eval(func(string) (float64, bool) { return 0, false }).OK {
			t.Errorf("%s passes without a figure", g.Expression())
		}
	})
}
