package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"streamduel/runs"
	"streamduel/scenarios"
)

func TestBrokersAreNamedByKindOrAddress(t *testing.T) {
	for in, want := range map[string]string{
		"embedded": "embedded []", "container": "container []", "local": "local []",
		"localhost:9092":         "external [localhost:9092]",
		"a:1,[::1]:2,10.0.0.1:3": "external [a:1 [::1]:2 10.0.0.1:3]",
	} {
		b, err := parseBroker(in)
		if got := fmt.Sprint(b.Kind, " ", b.Addresses); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "kafka", ":9092", "host:", "host:0", "host:x", "a:1,,b:2", "host:70000"} {
		if _, err := parseBroker(in); exitCode(err) != ExitUsage {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestExitCodesOfErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{usage("x"), ExitUsage},
		{fmt.Errorf("wrapped: %w", usage("x")), ExitUsage},
		{scenarios.Problems{{Allowed: "x"}}, ExitUsage},
		{environment("x"), ExitEnvironment},
		{errors.New("the broker does not answer"), ExitEnvironment},
		{fmt.Errorf("run: %w", context.Canceled), ExitInterrupted},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
	for v, want := range map[runs.Verdict]int{runs.Pass: 0, runs.Fail: 1, runs.Inconclusive: 3} {
		if got := verdictCode(v); got != want {
			t.Errorf("%s: %d, want %d", v, got, want)
		}
	}
}

// The contract says that every flag of run has a variable; this holds it when
// a flag is added.
func TestTheFlagsOfRunAreTheContract(t *testing.T) {
	a := &app{env: Env{Lookup: func(string) (string, bool) { return "", false }}, parts: fakeParts()}
	cmd := a.runCommand()
	for _, name := range []string{"engine", "guarantee", "broker", "quick", "repeat", "set", "seed", "out", "json", "junit", "markdown", "no-color", "quiet", "verbose"} {
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("no flag --%s", name)
		}
	}
	if cmd.Flags().ShorthandLookup("q") == nil || cmd.Flags().ShorthandLookup("v") == nil {
		t.Error("-q and -v are missing")
	}
	if got := variable("no-color"); got != "STREAMDUEL_NO_COLOR" {
		t.Error(got)
	}
}

func TestAFailingStandardOutputIsNoticed(t *testing.T) {
	env := Env{
		Stdout: brokenPipe{}, Stderr: &strings.Builder{},
		Lookup: func(string) (string, bool) { return "", false },
		Width:  func() int { return 0 },
	}
	for _, args := range [][]string{{"schema"}, {"list"}, {"list", "--json"}, {"validate", "steady"}} {
		if code := run(t.Context(), env, fakeParts(), args); code != ExitEnvironment {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestCommandsWithoutPartsSaySo(t *testing.T) {
	for _, args := range [][]string{{"run", "steady", "--out", t.TempDir()}, {"report", "x"}} {
		var stderr strings.Builder
		p := fakeParts()
		p.run, p.report = nil, nil
		env := Env{Stdout: &strings.Builder{}, Stderr: &stderr, Lookup: func(string) (string, bool) { return "", false }, Width: func() int { return 0 }}
		if code := run(t.Context(), env, p, args); code != ExitEnvironment || !strings.Contains(stderr.String(), "built without") {
			t.Errorf("%v: %d %s", args, code, stderr.String())
		}
	}
}
