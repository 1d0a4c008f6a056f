package bench

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/harness/control"
	"streamduel/runs"
	"streamduel/worker"
)

// TestSavepointFindsTheCell by every folder that may be named, asks it for what the
// flags say, and tells what it answers.
func TestSavepointFindsTheCell(t *testing.T) {
	t.Chdir(t.TempDir())
	const run = "results/steady/20260101T000000Z-0123abcd"
	var asked []worker.Command
	var refusal error
	serve := func(id, engine string) *control.Server {
		cell := filepath.Join(run+runs.PartialSuffix, runs.CellsDir, id)
		if err := os.MkdirAll(filepath.Join(cell, "state"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cell, runs.JobFile), []byte(`{"protocol":1,"engine":"`+engine+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := control.Serve(cell, slog.New(slog.DiscardHandler), func(_ context.Context, c worker.Command) (string, error) {
			asked = append(asked, c)
			return "/there/savepoint-3", refusal
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	command := func(args ...string) (code int, said string) {
		var out bytes.Buffer
		env := OS()
		env.Stdout, env.Stderr, env.Lookup = &out, &out, func(string) (string, bool) { return "", false }
		asked = nil
		return main(env, fakeParts(), append([]string{"savepoint"}, args...)), out.String()
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s := serve("a", "dataflow")
	cell := filepath.Join(run+runs.PartialSuffix, runs.CellsDir, "a")
	for _, where := range [][]string{nil, {"--out", "results"}, {"results"}, {"results/steady"}, {run}, {run + runs.PartialSuffix}, {cell}, {filepath.Join(cell, "state")}} {
		code, said := command(where...)
		if code != ExitOK || said != "/there/savepoint-3\n" || len(asked) != 1 || asked[0].Savepoint == nil || asked[0].Savepoint.Dir != filepath.Join(here, "savepoints") {
			t.Errorf("%v: exit code %d, %q, asked %+v", where, code, said, asked)
		}
	}
	for mode, flags := range map[string][]string{"checkpoint": {"--stop"}, "drain": {"--stop", "--drain"}} {
		if code, said := command(append(flags, "--to", "/there")...); code != ExitOK || len(asked) != 1 || asked[0].Stop == nil || *asked[0].Stop != (worker.Stop{Mode: mode, Savepoint: "/there"}) {
			t.Errorf("%v: exit code %d, %q, asked %+v", flags, code, said, asked)
		}
	}
	refusal = errors.New("checkpoint 3 failed: it took longer than 10m0s")
	if code, said := command(); code != ExitEnvironment || said != "savepoint: no savepoint of a: checkpoint 3 failed: it took longer than 10m0s\n" {
		t.Errorf("a savepoint that fails: exit code %d, %q", code, said)
	}
	other := serve("b", "microbatch")
	if code, said := command(); code != ExitUsage || !strings.Contains(said, "2 cells run there: name one of "+cell+", ") {
		t.Errorf("two cells: exit code %d, %q", code, said)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if code, said := command(); code != ExitUsage || !strings.HasPrefix(said, "savepoint: b: engine microbatch takes no savepoints: ") || len(asked) > 0 {
		t.Errorf("micro-batch: exit code %d, %q, asked %+v", code, said, asked)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}
