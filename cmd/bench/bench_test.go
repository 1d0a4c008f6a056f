package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"streamduel/bench"
	"streamduel/runs"
)

// The tests of this package run the real command from end to end: the test
// binary is the command, and so is each of its child processes. They assert
// exact counts and never times; an audit that finds the machine busy may make a
// cell inconclusive, but it cannot touch a count.

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "worker", "broker", "load", "floors", "run":
			os.Exit(bench.Main(os.Args[1:]))
		case "toy-engine":
			os.Exit(toyEngine())
		}
	}
	os.Exit(m.Run())
}

// run runs the command in this process and returns its exit code, the run's
// summary (nil if there is none) and what it printed.
func run(t *testing.T, scenario string, args ...string) (code int, s *runs.Summary, printed string) {
	t.Helper()
	dir := t.TempDir()
	if strings.Contains(scenario, "\n") {
		file := filepath.Join(dir, "scenario.yaml")
		if err := os.WriteFile(file, []byte(scenario), 0o644); err != nil {
			t.Fatal(err)
		}
		scenario = file
	}
	var out bytes.Buffer
	env := bench.OS()
	env.Stdout, env.Stderr = &out, &out
	results := filepath.Join(dir, "results")
	code = bench.Run(context.Background(), env, append([]string{"run", scenario, "--out", results, "--quick"}, args...))
	if f, err := runs.Open(filepath.Join(results, "latest")); err == nil {
		s = f.Summary
	}
	return code, s, out.String()
}

func scenario(name, workload, load, phases string, extra ...string) string {
	return fmt.Sprintf(`schema: streamduel/scenario/v1
name: %s
question: Are the counts exact?
workload: %s
topics: { partitions: 4 }
parallelism: 2
load: %s
engines:
  microbatch: { interval: 200ms }
  dataflow: { bufferTimeout: 10ms, checkpoint: { interval: 400ms } }
durability: process
phases:
%s
%s
`, name, workload, load, phases, strings.Join(extra, "\n"))
}

func count(p *int64) int64 {
	if p == nil {
		return -1
	}
	return *p
}

// TestWorkloads runs every workload on both engines: nothing is copied, lost or
// invented.
func TestWorkloads(t *testing.T) {
	clicks, err := filepath.Abs("../../workloads/replay/testdata/clicks.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]struct{ workload, load string }{
		"pass-through": {"{ name: pass-through }", "{ rate: 5k/s }"},
		"keyed-count":  {"{ name: keyed-count }", "{ rate: 5k/s }"},
		"keyed-sum":    {"{ name: keyed-sum, params: { hotKey: 0.5, aggregation: two-stage } }", "{ rate: 5k/s }"},
		"wordcount":    {"{ name: wordcount, params: { path: " + filepath.Dir(clicks) + " } }", "{ rate: 1k/s }"},
		"ysb":          {"{ name: ysb, params: { window: 1s } }", "{ rate: 5k/s }"},
		"replay":       {"{ name: replay, params: { file: " + clicks + ", key: who, eventTime: at } }", "{ rate: 1k/s }"},
	} {
		t.Run(name, func(t *testing.T) {
			code, s, printed := run(t, scenario(name, w.workload, w.load, "  - { name: all, duration: 2s }", "guarantees: [exactly-once]"), "-q")
			if s == nil {
				t.Fatalf("exit code %d, no summary:\n%s", code, printed)
			}
			for _, c := range s.Cells {
				// One output an input tells when the engine took it in; an
				// aggregate cannot, and the run says so.
				if l := c.LatencyMillis; l != nil {
					single := name != "wordcount" && name != "ysb" && name != "keyed-sum"
					if (l.Processing["all"].Count > 0) != single || (l.NoProcessing != "") == single {
						t.Errorf("%s: processing latency %+v, %q", c.ID, l.Processing, l.NoProcessing)
					}
				}
				r := c.Records
				if r == nil || count(r.Sent) < 1000 {
					t.Fatalf("%s: no counts: %v %+v", c.ID, c.Reasons, r)
				}
				if count(r.Duplicates) != 0 || count(r.Losses) != 0 || count(r.Unexpected) != 0 || count(r.Visible) < 100 {
					t.Errorf("%s: sent %d, visible %d, duplicates %d, losses %d, unexpected %d: %v", c.ID,
						count(r.Sent), count(r.Visible), count(r.Duplicates), count(r.Losses), count(r.Unexpected), c.Reasons)
				}
			}
		})
	}
}

const crashPhases = `  - { name: steady, duration: 1s }
  - { name: fault, crash: { at: { microbatch: %s, dataflow: %s }, hit: 2 }, atMost: 20s }
  - { name: recovery, duration: 1s }`

// TestCrash kills a worker between output and commit: at-least-once repeats
// just what was predicted, exactly-once nothing.
func TestCrash(t *testing.T) {
	for _, c := range []struct{ microbatch, dataflow, backend string }{{"M3", "D5", "lsm"}, {"M2", "D3", "memory"}} {
		t.Run(c.microbatch+c.dataflow+c.backend, func(t *testing.T) {
			code, s, printed := run(t, scenario("crash", "{ name: keyed-count, params: { keys: 20000 } }", "{ rate: 5k/s }",
				fmt.Sprintf(crashPhases, c.microbatch, c.dataflow), "guarantees: [at-least-once, exactly-once]", "state: { backend: "+c.backend+" }"), "-q")
			if s == nil {
				t.Fatalf("exit code %d, no summary:\n%s", code, printed)
			}
			for _, c := range s.Cells {
				if c.Crash == nil || !c.Crash.Reached || c.Crash.Expected == nil || c.Records == nil {
					t.Fatalf("%s: the point was not reached: %v", c.ID, c.Reasons)
				}
				want, got := count(c.Crash.Expected.Duplicates), count(c.Records.Duplicates)
				if got != want || count(c.Records.Losses) != 0 || count(c.Records.Unexpected) != 0 {
					t.Errorf("%s: %d duplicates, %d predicted; %d losses, %d unexpected", c.ID, got, want, count(c.Records.Losses), count(c.Records.Unexpected))
				}
				if c.Guarantee == "exactly-once" && want != 0 {
					t.Errorf("%s: exactly-once predicts %d duplicates", c.ID, want)
				}
				switch again := count(c.Crash.ReplayedRecords); {
				case again < got: // what was acknowledged had been read
					t.Errorf("%s: %d records read again, %d duplicates", c.ID, again, got)
				case c.Crash.Point == "M3" && again != got: // the whole batch, or nothing
					t.Errorf("%s: %d records read again, the batch repeats %d", c.ID, again, got)
				}
			}
		})
	}
}

// TestBadInput: under each policy every bad record of the load has the end that
// the scenario asks for, and a job that fails as it was asked to passes.
func TestBadInput(t *testing.T) {
	code, s, printed := run(t, scenario("bad", "{ name: keyed-count }", "{ rate: 4k/s, bad: { share: 5% } }", "  - { name: all, duration: 700ms }",
		"guarantees: [at-least-once]", "matrix: { badInput: [fail, drop, dead-letter] }",
		"gates:\n  - badInput=fail: badInput.failed == 1\n  - badInput=drop: badInput.records == badInput.sent\n  - badInput=drop: records.losses == 0"), "-q")
	if s == nil || len(s.Cells) != 6 {
		t.Fatalf("exit code %d:\n%s", code, printed)
	}
	for _, c := range s.Cells {
		b := c.BadInput
		switch {
		case b == nil || c.Verdict == runs.Fail:
			t.Errorf("%s: %s %v", c.ID, c.Verdict, c.Reasons)
		case strings.Contains(c.ID, "=fail"):
			if b.FailedBy == nil || b.FailedBy.Kind != "undecodable" || !strings.Contains(b.FailedBy.Reason, "does not decode") || c.Records != nil {
				t.Errorf("%s: %+v, records %+v", c.ID, b, c.Records)
			}
		case strings.Contains(c.ID, "=dead-letter"):
			if count(b.DeadLetters) != count(b.Sent) || count(b.Duplicates)+count(b.Losses)+count(b.Unexpected) != 0 {
				t.Errorf("%s: %d of %d kept, %d copies, %d lost, %d unexpected", c.ID,
					count(b.DeadLetters), count(b.Sent), count(b.Duplicates), count(b.Losses), count(b.Unexpected))
			}
			fallthrough
		default:
			if r := c.Records; r == nil || count(b.Sent) < 50 || count(r.Bad) != count(b.Sent) || count(r.Visible)+count(r.Bad) != count(r.Sent) || count(r.Unexpected) != 0 {
				t.Errorf("%s: %+v of %+v", c.ID, b, r)
			}
		}
	}
}

// TestNegativeControl breaks exactly-once on purpose: the ledger must see each
// copy, and the gate must fail the run.
func TestNegativeControl(t *testing.T) {
	code, s, printed := run(t, scenario("broken", "{ name: keyed-count }", "{ rate: 5k/s }",
		fmt.Sprintf(crashPhases, "M3", "D5"), "guarantees: [exactly-once]", "gates:\n  - all: records.duplicates == 0"), "-q",
		"--set", "engines.microbatch.breakExactlyOnce=true", "--set", "engines.dataflow.breakExactlyOnce=true")
	if code != bench.ExitGate || s == nil {
		t.Fatalf("exit code %d, want %d:\n%s", code, bench.ExitGate, printed)
	}
	for _, c := range s.Cells {
		if c.Records == nil || count(c.Records.Duplicates) < 100 || c.Verdict != runs.Fail {
			t.Errorf("%s: a broken engine shows %v duplicates, verdict %s: %v", c.ID, c.Records, c.Verdict, c.Reasons)
		}
		// The catalogue allows none, with or without a gate, and the reason names
		// the exact count.
		if said := strings.Join(c.Reasons, " "); !strings.Contains(said, fmt.Sprintf("%d duplicates, expected 0", count(c.Records.Duplicates))) {
			t.Errorf("%s: the exact count is not named: %s", c.ID, said)
		}
	}
}

// TestForeignEngine runs an engine that is not ours through the worker protocol.
func TestForeignEngine(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(scenario("foreign", "{ name: pass-through }", "{ rate: 2k/s }", "  - { name: all, duration: 1s }",
		"guarantees: [at-least-once]"), "  dataflow: { bufferTimeout: 10ms, checkpoint: { interval: 400ms } }",
		"  toy: { command: ["+self+", toy-engine] }", 1)
	code, s, printed := run(t, text, "-q", "--engine", "toy")
	if s == nil || len(s.Cells) != 1 {
		t.Fatalf("exit code %d:\n%s", code, printed)
	}
	r := s.Cells[0].Records
	if r == nil || count(r.Duplicates) != 0 || count(r.Losses) != 0 || count(r.Visible) < 1000 {
		t.Errorf("a bare loop behind the protocol: %+v, %v", r, s.Cells[0].Reasons)
	}
}

// TestDeadWorker: a worker that panics fails its cell with the panic's first
// line, and the other cells run on.
func TestDeadWorker(t *testing.T) {
	text := strings.Replace(scenario("dead", "{ name: pass-through }", "{ rate: 2k/s }", "  - { name: all, duration: 1s }",
		"guarantees: [at-least-once]"), "  microbatch: { interval: 200ms }",
		`  mine: { command: [sh, -c, "echo 'panic: the sky falls' >&2; exit 2"] }`, 1)
	code, s, printed := run(t, text, "-q")
	if code != bench.ExitGate || s == nil || len(s.Cells) != 2 {
		t.Fatalf("exit code %d, want %d:\n%s", code, bench.ExitGate, printed)
	}
	for _, c := range s.Cells {
		switch c.Engine {
		case "mine":
			if c.Verdict != runs.Fail || !strings.Contains(strings.Join(c.Reasons, " "), "the sky falls") {
				t.Errorf("%s: %s %v", c.ID, c.Verdict, c.Reasons)
			}
		default:
			if c.Records == nil || count(c.Records.Losses) != 0 {
				t.Errorf("%s: the cell beside it did not run: %v", c.ID, c.Reasons)
			}
		}
	}
}

// TestInterrupt: Ctrl-C ends the children, keeps what was finished, and the
// exit code says so.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(self, "run", "steady", "--out", dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The first cell has begun when its folder is there.
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if cells, _ := filepath.Glob(filepath.Join(dir, "*", "*", "cells", "*", "series.csv")); len(cells) > 0 {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			cmd.Process.Kill()
			t.Fatalf("no cell began:\n%s", &out)
		}
	}
	children := descendants(cmd.Process.Pid)
	if len(children) == 0 {
		t.Error("a running cell has no child process")
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != bench.ExitInterrupted {
		t.Errorf("exit code %d, want %d:\n%s", code, bench.ExitInterrupted, &out)
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, 0); err == nil && !zombie(pid) {
			t.Errorf("process %d is left running", pid)
		}
	}
	partial, _ := filepath.Glob(filepath.Join(dir, "*", "*"+runs.PartialSuffix))
	if len(partial) != 1 {
		t.Fatalf("partial results: %v\n%s", partial, &out)
	}
	if f, err := runs.Open(partial[0]); err != nil || !f.Summary.Partial {
		t.Errorf("the partial run cannot be read: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, runs.LatestLink)); err == nil {
		t.Error("latest names a run that was broken off")
	}
}

// descendants lists the processes whose parent is pid.
func descendants(pid int) (out []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var id, parent int
		var state string
		rest := string(b[bytes.LastIndexByte(b, ')')+1:])
		fmt.Sscanf(string(b), "%d", &id)
		fmt.Sscanf(rest, "%s %d", &state, &parent)
		if parent == pid {
			out = append(out, id)
		}
	}
	return out
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}
