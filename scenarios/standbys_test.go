package scenarios

import (
	"fmt"
	"strings"
	"testing"
)

// TestFaultsAndStandbys: what is done to a coordinator needs another that takes its
// place, and what makes no sense with one is refused at its place and says why.
func TestFaultsAndStandbys(t *testing.T) {
	const with, without = "dataflow: { standbys: 1 }", "dataflow: {}"
	for _, c := range []struct{ engines, phase, want string }{
		{with, "kill: { coordinator: leader }", ""},
		{with, "kill: { worker: true }", ""},
		{without, "kill: { worker: true, down: 2s }", ""},
		{with, "kill: { coordinator: leader, down: 2s }", `phases[1].kill.down: value "2s": only with worker: true`},
		{with, "duration: 4s, pause: { coordinator: 3s }", ""},
		{with, "crash: { at: { dataflow: D5 }, hit: 2 }", ""},
		{with, "duration: 4s, rescale: { parallelism: 4 }", ""},
		{with, "savepoint: true", ""},
		{with, "crash: { at: { dataflow: D5 }, again: { dataflow: R1 } }", "phases[1].crash.again: not with engines.dataflow.standbys above 0: the coordinator that takes over runs already"},
		{with, "crash: { at: { dataflow: D5 }, down: 5s }", `phases[1].crash.down: value "5s": not with engines.dataflow.standbys above 0: one that stands by takes over`},
		{with, "duration: 4s, pause: { worker: 3s, replace: true }", `phases[1].pause.worker: value "3s": not with engines.dataflow.standbys above 0: the worker only passes on`},
		{with, "duration: 4s, pause: { worker: 3s }", `phases[1].pause.worker: value "3s": not with engines.dataflow.standbys above 0: `},
		{without, "kill: { coordinator: standby }", `phases[1].kill.coordinator: value "standby": engine dataflow has one coordinator, its worker: set engines.dataflow.standbys`},
		{without, "duration: 4s, pause: { coordinator: 3s }", `phases[1].pause.coordinator: value "3s": engine dataflow has one coordinator`},
		{with + ", microbatch: {}", "kill: { coordinator: leader }", `phases[1].kill.coordinator: value "leader": engine microbatch has one coordinator`},
	} {
		_, err := load(t, fmt.Sprintf(`schema: streamduel/scenario/v1
name: duel
question: Which?
workload: { name: keyed-count }
topics: { partitions: 4 }
load: { rate: 5000/s }
guarantees: [exactly-once]
engines: { %s }
phases:
  - { name: steady, duration: 1s }
  - { name: fault, %s }
`, c.engines, c.phase))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s, %s: %v", c.engines, c.phase, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s, %s: %v\nwant %s", c.engines, c.phase, err, c.want)
		}
	}
}
