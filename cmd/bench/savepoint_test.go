package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"streamduel/bench"
	"streamduel/runs"
)

// TestSavepoint: the job that runs is asked for a savepoint from outside, goes on, and
// is stopped with another, which ends its cell and says why.
func TestSavepoint(t *testing.T) {
	dir := t.TempDir()
	results, to := filepath.Join(dir, "results"), filepath.Join(dir, "savepoints")
	command := func(args ...string) (code int, said string) {
		var out bytes.Buffer
		env := bench.OS()
		env.Stdout, env.Stderr = &out, &out
		code = bench.Run(context.Background(), env, args)
		return code, strings.TrimSpace(out.String())
	}
	ask := func(flags ...string) (code int, said string) {
		return command(append([]string{"savepoint", "--out", results, "--to", to}, flags...)...)
	}
	type end struct {
		code    int
		printed string
		summary *runs.Summary
	}
	ended := make(chan end, 1)
	go func() {
		text := strings.Replace(scenario("saved", "{ name: keyed-count }", "{ rate: 2k/s }",
			"  - { name: all, until: failed, atMost: 120s }",
			"guarantees: [exactly-once]"), "  microbatch: { interval: 200ms }\n", "", 1)
		code, s, printed := run(t, text, "-q", "--out", results)
		if f, err := runs.Open(filepath.Join(results, "latest")); err == nil {
			s = f.Summary
		}
		ended <- end{code, printed, s}
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	code, path := ask()
	for code == bench.ExitUsage { // no cell runs yet
		select {
		case <-tick.C:
			code, path = ask()
		case e := <-ended:
			t.Fatalf("the run ended with exit code %d:\n%s", e.code, e.printed)
		}
	}
	if code != bench.ExitOK || !strings.HasPrefix(path, to) {
		t.Fatalf("exit code %d: %s", code, path)
	}
	code, last := ask("--stop", "--drain")
	if code != bench.ExitOK || !strings.HasPrefix(last, to) || last == path {
		t.Fatalf("stopping: exit code %d: %s", code, last)
	}
	for _, p := range []string{path, last} {
		if code, said := command("checkpoints", p); code != bench.ExitOK || !strings.HasSuffix(said, "ok") {
			t.Errorf("%s: exit code %d: %s", p, code, said)
		}
	}
	e := <-ended
	if e.code != bench.ExitGate || e.summary == nil || len(e.summary.Cells) != 1 {
		t.Fatalf("the run ended with exit code %d:\n%s", e.code, e.printed)
	}
	c := e.summary.Cells[0]
	if said := strings.Join(c.Reasons, " "); !strings.Contains(said, "the job was stopped with a savepoint, as somebody asked from outside") {
		t.Errorf("the cell says %s", said)
	}
	marks := map[string]int{}
	for _, m := range c.Marks {
		marks[m.Label]++
	}
	if marks["savepoint taken, for somebody outside"] < 1 || marks["stop with a savepoint asked for from outside"] != 1 {
		t.Errorf("marks %v", c.Marks)
	}
	if code, said := ask(); code != bench.ExitUsage || !strings.Contains(said, "no cell runs there") {
		t.Errorf("behind its end: exit code %d: %s", code, said)
	}
}
