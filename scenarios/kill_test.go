package scenarios

import (
	"fmt"
	"strings"
	"testing"
)

// TestKillOfAMember: a process that no engine has is refused at its place.
func TestKillOfAMember(t *testing.T) {
	for _, c := range []struct{ engines, kill, want string }{
		{"{ microbatch: { executors: 2 } }", "{ executor: 2 }", ""},
		{"{ microbatch: { executors: 2 } }", "{ executor: 3 }", `duel.yaml:11:52: phases[1].kill.executor: value "3": 1 to 2, which is what engines.microbatch.executors says`},
		{"{ microbatch: {} }", "{ executor: 1 }", `value "1": engine microbatch has one executor, in its worker's process: set engines.microbatch.executors to 2 or more, or kill the worker`},
		{"{ microbatch: { executors: 2 } }", "{ taskManager: 1 }", `phases[1].kill.taskManager: value "1": no fault of engine microbatch, which has executors: kill.executor, in a scenario of its own`},
	} {
		file := fmt.Sprintf(`schema: streamduel/scenario/v1
name: duel
question: Which?
workload: { name: keyed-count }
topics: { partitions: 4 }
load: { rate: 5000/s }
guarantees: [exactly-once]
engines: %s
phases:
  - { name: steady, duration: 1s }
  - { name: fault, duration: 1s, kill: %s }
`, c.engines, c.kill)
		_, err := load(t, file)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.kill, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v\nwant %s", c.kill, err, c.want)
		}
	}
}
