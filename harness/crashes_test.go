package harness

import (
	"strings"
	"testing"

	"streamduel/clock"
	"streamduel/engines"
	"streamduel/harness/ledger"
	"streamduel/harness/plan"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/workloads"
)

// TestCrashesAddUp: what must show is that of every crash of the scenario, not of
// its last one.
func TestCrashesAddUp(t *testing.T) {
	judged := func(duplicates int64, crashes ...*crashed) (*runs.Cell, []string) {
		c := &cell{engine: newEngineView(), accounting: workloads.Accounting{Kind: workloads.OneToOne}}
		for _, k := range crashes {
			c.facts.crash(k)
		}
		out := &runs.Cell{Engine: "microbatch", Guarantee: "at-least-once", Crash: &runs.Crash{}}
		c.predict(out, c.facts.crashed, &ledger.Result{HasIDs: true, HasLosses: true, Duplicates: duplicates})
		return out, c.facts.unlike
	}
	at := func(point string, n int64) *crashed {
		return &crashed{point: point, hit: 1, reached: &engines.FailpointReached{Point: point, Records: n, Acked: n}}
	}
	out, missed := judged(8, at("M2", 3), at("M3", 5))
	if len(missed) > 0 || *out.Crash.Expected.Duplicates != 8 {
		t.Errorf("%v, %+v", missed, out.Crash.Expected)
	}
	if _, missed := judged(5, at("M2", 3), at("M3", 5)); len(missed) != 1 || !strings.Contains(missed[0], "expected 8") {
		t.Errorf("three copies less: %v", missed)
	}
	if _, missed := judged(5, &crashed{point: "rescaled to 1", clean: true}, at("M3", 5)); len(missed) > 0 {
		t.Errorf("behind a stop in order: %v", missed)
	}
	// A kill leaves no last words: what it costs nobody knows.
	if out, missed := judged(7, &crashed{point: "anywhere"}, at("M3", 5)); len(missed) > 0 || out.Crash.Expected != nil {
		t.Errorf("behind a kill: %v, %+v", missed, out.Crash.Expected)
	}
}

// TestNobodyCatchesUpBeforeTheFirstNewResult: right behind a crash the lag is what
// it was.
func TestNobodyCatchesUpBeforeTheFirstNewResult(t *testing.T) {
	p, err := plan.New(plan.Constant(1000), plan.Partitions("in", 1))
	if err != nil {
		t.Fatal(err)
	}
	now := clock.Mono()
	p.Begin(now-1e9, 0)
	l, err := ledger.New(ledger.Config{Plan: p, Accounting: workloads.Accounting{Kind: workloads.OneToOne}})
	if err != nil {
		t.Fatal(err)
	}
	c := &cell{plan: p, committed: l, spec: &scenarios.Cell{Scenario: &scenarios.Scenario{Load: scenarios.Load{Rate: 1000}}}}
	c.rec = newRecorder(c)
	c.rec.rows = []row{{at: now, lag: 50}} // below a tenth of a second's load
	if !c.caughtUp() {
		t.Error("without a crash: the lag is normal")
	}
	c.facts.crash(&crashed{killed: now})
	l.WatchNew(now)
	if c.caughtUp() {
		t.Error("caught up, and nothing new was seen")
	}
	l.Observe(now+1, []ledger.Observation{{Row: workloads.Row{HasID: true, Sequence: 7}}})
	if !c.caughtUp() {
		t.Error("not caught up behind the first new result")
	}
	c.facts.crash(&crashed{killed: now})
	l.WatchNew(now + 2)
	c.rec.rows[0].lag = 0
	if !c.caughtUp() {
		t.Error("there is nothing new to come")
	}
}

// TestVoidedCountsContradictNoCatalogue: what was not drained in time may be late and
// not lost, so it is no loss that the catalogue does not have.
func TestVoidedCountsContradictNoCatalogue(t *testing.T) {
	for _, x := range []struct {
		drained bool
		want    runs.Verdict
	}{{true, runs.Fail}, {false, runs.Inconclusive}} {
		c := &cell{engine: newEngineView(), spec: &scenarios.Cell{Scenario: &scenarios.Scenario{}}}
		c.facts.unlike = []string{"12 losses, expected 0 (0/0)"}
		out := &runs.Cell{Audits: []runs.Audit{{Name: "drained", OK: x.drained, Detail: "after 60 s", Voids: []string{runs.GroupCounts}}}}
		c.verdict(out, nil)
		if out.Verdict != x.want || len(out.Reasons) != 1 {
			t.Errorf("drained %v: %s, %q", x.drained, out.Verdict, out.Reasons)
		}
	}
}
