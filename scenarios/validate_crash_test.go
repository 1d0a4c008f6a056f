package scenarios

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestFaultsOfTransactionsAndRecovery: what the crash sets ask for is read, and what
// cannot be is refused at its place.
func TestFaultsOfTransactionsAndRecovery(t *testing.T) {
	for _, c := range []struct{ head, phase, want string }{
		{"transactionTimeout: 2s", "crash: { at: { dataflow: D5 }, down: 5s }", ""},
		{"transactionTimeout: 1ms", "duration: 1s", `transactionTimeout: value "1ms": 100ms to 24h`},
		{"parallelism: 2", "crash: { at: { dataflow: D5 }, again: { dataflow: R1 } }", ""},
		{"parallelism: 2", "crash: { at: { dataflow: D5 }, again: { dataflow: X9 } }", `phases[1].crash.again.dataflow: value "X9": a crash point of engine dataflow: one of`},
		{"parallelism: 2", "crash: { at: { dataflow: D5 }, again: {} }", `phases[1].crash.again: missing: a point for engine dataflow`},
		{"parallelism: 2", "duration: 4s, pause: { worker: 3s, replace: true }", ""},
		{"parallelism: 2", "duration: 4s, rescale: { parallelism: 4 }", ""},
		{"parallelism: 2", "savepoint: true", ""},
		{"parallelism: 2", "savepoint: true, atMost: 20s", ""},
		{"parallelism: 2", "savepoint: true, duration: 1s, rescale: { parallelism: 4 }", "one fault a phase, and this one has rescale and savepoint"},
		{"parallelism: 2", "duration: 4s, rescale: { parallelism: 65 }", `phases[1].rescale.parallelism: value "65": 1 to 64`},
		{"parallelism: 2", "duration: 4s, rescale: {}", "phases[1].rescale.parallelism: missing: the job's new parallelism"},
		{"parallelism: 2", "duration: 4s, pause: { coordinator: 3s, replace: true }", `phases[1].pause.replace: value "true": with worker only`},
		{"parallelism: 2", "throttle: { sink: 100/s }, until: failed, says: [timeout], atMost: 60s", ""},
		{"parallelism: 2", "until: failed", `phases[1].until: value "failed": a phase that waits needs a bound`},
		{"parallelism: 2", "duration: 1s, says: [timeout]", `phases[1].says: only with until: failed`},
		{"parallelism: 2", "until: failed, says: [' '], atMost: 60s", `phases[1].says[0]: value " ": a text that the job's error must hold`},
		{"parallelism: 2", "kill: { worker: true }, until: failed, atMost: 60s", `phases[1].until: value "failed": failed with a throttle or no fault`},
	} {
		file := fmt.Sprintf(`schema: streamduel/scenario/v1
name: duel
question: Which?
workload: { name: keyed-count }
topics: { partitions: 4 }
load: { rate: 5000/s }
guarantees: [exactly-once]
engines: { dataflow: {} }
%s
phases:
  - { name: steady, duration: 1s }
  - { name: fault, %s }
`, c.head, c.phase)
		f, err := load(t, file)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.phase, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s, %s: %v\nwant %s", c.head, c.phase, err, c.want)
		case c.want == "" && strings.HasPrefix(c.head, "transaction") && f.Variants[0].Scenario.TransactionTimeout != Duration(2*time.Second):
			t.Errorf("transactionTimeout %v", f.Variants[0].Scenario.TransactionTimeout)
		}
	}
	_, err := load(t, replace(t, "crash: { at: { microbatch: M3, dataflow: D5 }, hit: 3 }", "duration: 1s, rescale: { parallelism: 4 }"))
	if err == nil || !strings.Contains(err.Error(), "engine microbatch takes no savepoints: in a scenario without it") {
		t.Errorf("rescaling an engine without savepoints: %v", err)
	}
	_, err = load(t, replace(t, "crash: { at: { microbatch: M3, dataflow: D5 }, hit: 3 }", "savepoint: true"))
	if err == nil || !strings.Contains(err.Error(), `.savepoint: value "true": engine microbatch takes no savepoints`) {
		t.Errorf("a savepoint of an engine without: %v", err)
	}
	_, err = load(t, replace(t, "guarantees: [at-least-once, exactly-once]", "guarantees: [at-least-once]\ntransactionTimeout: 2s"))
	if err == nil || !strings.Contains(err.Error(), "only with exactly-once among the guarantees") {
		t.Errorf("transactions without exactly-once: %v", err)
	}
}
