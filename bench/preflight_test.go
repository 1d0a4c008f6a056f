package bench

import (
	"errors"
	"strings"
	"testing"

	"streamduel/engines"
	"streamduel/scenarios"
)

// TestAJobThatCannotBeBuiltIsRefusedAtOnce: before a broker is started, with the
// engine's words, once for all repetitions and guarantees.
func TestAJobThatCannotBeBuiltIsRefusedAtOnce(t *testing.T) {
	p := fakeParts()
	asked := 0
	p.plan = func(c *scenarios.Cell) (engines.Plan, error) {
		if asked++; c.Engine.Name == "dataflow" {
			return engines.Plan{}, errors.New("job \"steady\": operator \"count\":\n\twindow size 0s")
		}
		return engines.Plan{}, nil
	}
	a := &app{env: Env{Lookup: func(string) (string, bool) { return "", false }}, parts: p}
	req, err := a.prepare(runFlags{broker: "embedded", repeat: 3, guarantees: []string{"at-least-once", "exactly-once"}}, []string{"steady"})
	if err != nil {
		t.Fatal(err)
	}
	err = a.buildable(req.Cells)
	want := `builtin:steady: engines.dataflow: job "steady": operator "count": window size 0s`
	if exitCode(err) != ExitUsage || err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if strings.Count(err.Error(), "\n") > 0 || asked != 4 {
		t.Errorf("%d plans asked for", asked)
	}
}

// TestEveryBuiltInScenarioCanBeLaidOut by the real engines.
func TestEveryBuiltInScenarioCanBeLaidOut(t *testing.T) {
	a := &app{env: Env{Lookup: func(string) (string, bool) { return "", false }}, parts: wired()}
	for _, name := range append(scenarios.BuiltinSets(), scenarios.BuiltinScenarios()...) {
		req, err := a.prepare(runFlags{broker: "embedded", repeat: 1}, []string{name})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.buildable(req.Cells); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
