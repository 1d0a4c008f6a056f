package scenarios

import (
	"fmt"
	"strings"
	"testing"
)

// TestWhereAJobBegins: what cannot be is refused at its place.
func TestWhereAJobBegins(t *testing.T) {
	const late = "[{ name: before, duration: 2s, backlog: true }, { name: on, duration: 2s }]"
	for _, c := range []struct{ start, phases, load, want string }{
		{"{ from: latest }", late, "goesOn: true", ""},
		{"{ from: timestamp, after: 1s, positions: { \"3\": 7 } }", late, "goesOn: true", ""},
		{"{ from: committed, positions: { 0: 7 } }", late, "goesOn: false", ""},
		{"{ from: newest }", late, "goesOn: true", `start.from: value "newest": one of earliest, latest, timestamp, committed`},
		{"{ from: latest }", "[{ name: on, duration: 2s }]", "shape: constant", "start: needs backlog: true on the first phase"},
		{"{ from: earliest }", "[{ name: on, duration: 2s }]", "goesOn: true", `load.goesOn: value "true": only with backlog: true`},
		{"{ from: timestamp }", late, "goesOn: true", "start.after: missing: the time from the beginning of the load"},
		{"{ from: latest, after: 1s }", late, "goesOn: true", `start.after: value "1s": only with from: timestamp`},
		{"{ from: committed }", late, "goesOn: true", `start.from: value "committed": committed needs positions`},
		{"{ positions: { 4: 1 } }", late, "goesOn: true", `start.positions.4: value "1": a partition of the input topic: 0 to 3`},
		{"{ positions: { a: 1 } }", late, "goesOn: true", `start.positions.a: value "1": a partition of the input topic: 0 to 3`},
		{"{ positions: { 1: -1 } }", late, "goesOn: true", `start.positions.1: value "-1": a position of 0 or more`},
	} {
		_, err := load(t, fmt.Sprintf(`schema: streamduel/scenario/v1
name: duel
question: Which?
workload: { name: keyed-count }
topics: { partitions: 4 }
load: { rate: 5000/s, %s }
guarantees: [exactly-once]
engines: { dataflow: {} }
start: %s
phases: %s
`, c.load, c.start, c.phases))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.start, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v\nwant %s", c.start, err, c.want)
		}
	}
}
