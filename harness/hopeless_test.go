package harness

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"streamduel/engines"
	"streamduel/harness/ledger"
	"streamduel/runs"
)

// TestWhatCannotBecomeRightIsNamed: what a watch says of a cell, and when, by what
// is seen of it each second.
func TestWhatCannotBecomeRightIsNamed(t *testing.T) {
	watermark := int64(1)
	works := func(s int) outlook {
		n := int64(s) * 1000
		return outlook{offered: n, told: true, calm: true, perInput: true, input: "in", output: "out",
			gauges: engines.Gauges{Consumed: n, WatermarkMs: &watermark}, counts: ledger.Counts{Rows: n, Visible: n}}
	}
	// ends lets the load end after 5 s, and its effects be whole.
	ends := func(s int, o outlook) outlook {
		if s >= 5 {
			o.ended, o.offered, o.gauges.Consumed = true, 5000, 5004
			o.counts.Rows, o.counts.Visible = min(o.counts.Rows, 5000), min(o.counts.Visible, 5000)
		}
		return o
	}
	for name, c := range map[string]struct {
		at   func(s int) outlook
		when int    // 0: never
		want string // of what it says
	}{
		"all is well": {at: works},
		"the end is seen": {at: func(s int) outlook {
			o := ends(s, works(s))
			o.closed = o.ended
			return o
		}},
		"no output parses": {when: 1, want: "can read none of the first 1000 outputs in topic out: no number", at: func(s int) outlook {
			o := works(s)
			o.bad, o.counts.Visible, o.counts.Unexpected = o.counts.Rows, 0, o.counts.Rows
			o.odd = []runs.RecordID{{Partition: -1, Detail: "no number"}}
			return o
		}},
		"some outputs do not parse": {at: func(s int) outlook {
			o := works(s)
			o.bad, o.counts.Unexpected = 500, 500
			return o
		}},
		"ids of others": {when: 1, want: "names an input that was sent: partition 3, sequence 9: no such", at: func(s int) outlook {
			o := works(s)
			o.counts.Visible, o.counts.Unexpected = 0, o.counts.Rows
			o.odd = []runs.RecordID{{Partition: 3, Sequence: 9, Detail: "no such"}}
			return o
		}},
		"nothing is read": {when: 20, want: "taken in none of 20000 records within 20s: the load is in topic in", at: func(s int) outlook {
			o := works(s)
			o.gauges.Consumed, o.counts = 0, ledger.Counts{}
			return o
		}},
		"nothing is read by an engine that tells nothing": {at: func(s int) outlook {
			o := works(s)
			o.told, o.gauges, o.counts = false, engines.Gauges{}, ledger.Counts{}
			return o
		}},
		"nothing comes out": {when: 21, want: "taken in 21000 records and nothing arrived in topic out within 20s", at: func(s int) outlook {
			o := works(s)
			o.counts = ledger.Counts{}
			return o
		}},
		"nothing comes out of windows before their end": {at: func(s int) outlook {
			o := works(s)
			o.perInput, o.counts = false, ledger.Counts{}
			return o
		}},
		"nothing comes out while it is disturbed": {at: func(s int) outlook {
			o := works(s)
			o.calm, o.counts = false, ledger.Counts{}
			return o
		}},
		"windows never close": {when: 24, want: "taken in all 5004 records and nothing arrived in topic out within 20s", at: func(s int) outlook {
			o := works(s)
			o.perInput, o.counts = false, ledger.Counts{}
			return ends(s, o)
		}},
		"windows of processing time may yet close": {at: func(s int) outlook {
			o := works(s)
			o.perInput, o.counts, o.gauges.WatermarkMs = false, ledger.Counts{}, nil
			return ends(s, o)
		}},
		"closing records are dropped": {when: 25, want: "5000 outputs arrived in topic out, but none that tells of a closing record", at: func(s int) outlook { return ends(s, works(s)) }},
		"each input has its output, the closing records have none": {when: 25, want: "none that tells of a closing record", at: func(s int) outlook {
			o := works(s)
			o.gauges.WatermarkMs = nil
			return ends(s, o)
		}},
		"there is a backlog": {at: func(s int) outlook {
			o := ends(s, works(s))
			o.gauges.Lag = 10
			return o
		}},
	} {
		w := &watch{patience: 20 * time.Second}
		when, said := 0, ""
		for s := range 60 {
			if said = w.look(time.Duration(s)*time.Second, c.at(s)); said != "" {
				when = s
				break
			}
		}
		if when != c.when || !strings.Contains(said, c.want) {
			t.Errorf("%s: after %d s: %s\nwant after %d s: %s", name, when, said, c.when, fmt.Sprint(c.want))
		}
	}
}
