package harness

import (
	"testing"

	"streamduel/harness/proc"
)

// TestASplitThatNobodyLooksForIsIgnored: only one that was not found, and only by
// an engine that has said that it does not look.
func TestASplitThatNobodyLooksForIsIgnored(t *testing.T) {
	say := func(v *engineView, event, line string) {
		v.line(proc.Line{Event: event, At: 1, Raw: []byte(line)})
	}
	for _, x := range []struct {
		started string
		want    bool
	}{{`{"event":"started","fixedSplits":true}`, true}, {`{"event":"started"}`, false}} {
		v := newEngineView()
		say(v, "discovered", `{"event":"discovered","split":"in/0","from":0}`)
		say(v, "started", x.started)
		if got := v.ignores("in/1"); got != x.want {
			t.Errorf("%s: in/1 is ignored: %v", x.started, got)
		}
		if v.ignores("in/0") {
			t.Errorf("%s: in/0 is read", x.started)
		}
	}
}
