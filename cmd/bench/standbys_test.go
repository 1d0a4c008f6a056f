package main

import (
	"slices"
	"strings"
	"testing"

	"streamduel/runs"
)

// TestStandbys: a job with a coordinator that stands by is copied and rescaled; then the one that
// leads dies at a crash point, the other goes on from the checkpoint, and what comes
// again is what was predicted. The lease is one that a process keeps which does not get
// a processor for a while.
func TestStandbys(t *testing.T) {
	text := strings.Replace(scenario("standbys", "{ name: keyed-count }", "{ rate: 3k/s }", `  - { name: steady, duration: 1s }
  - { name: saved, savepoint: true, atMost: 60s }
  - { name: rescaled, duration: 500ms, rescale: { parallelism: 1 } }
  - { name: fault, crash: { at: { dataflow: D4 }, hit: 2 }, atMost: 60s }
  - { name: recovery, duration: 500ms }`, "guarantees: [at-least-once]"), "  microbatch: { interval: 200ms }\n", "", 1)
	code, s, printed := run(t, text, "-q", "--set", "engines.dataflow.standbys=1", "--set", "engines.dataflow.lease=2s")
	if s == nil || len(s.Cells) != 1 {
		t.Fatalf("exit code %d, no summary:\n%s", code, printed)
	}
	c := s.Cells[0]
	if c.Crash == nil || !c.Crash.Reached || c.Crash.Point != "D4" || c.Crash.Expected == nil || c.Records == nil {
		t.Fatalf("%s: %v %+v", c.Verdict, c.Reasons, c.Crash)
	}
	if !slices.ContainsFunc(c.Marks, func(m runs.Mark) bool { return m.Label == "savepoint taken" }) {
		t.Errorf("no savepoint: %v", c.Reasons)
	}
	want, got := count(c.Crash.Expected.Duplicates), count(c.Records.Duplicates)
	if got != want || want == 0 || count(c.Records.Losses) != 0 || count(c.Records.Unexpected) != 0 {
		t.Errorf("%d duplicates, %d predicted; %d losses, %d unexpected: %v", got, want, count(c.Records.Losses), count(c.Records.Unexpected), c.Reasons)
	}
}
