package harness

import (
	"encoding/json"
	"fmt"
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

// TestStateFiguresAreTheMost over batches, checkpoints and gauges, whichever tells.
func TestStateFiguresAreTheMost(t *testing.T) {
	v := newEngineView()
	if s := v.stateFigures(); s != nil {
		t.Errorf("%+v of a job without state", s)
	}
	for _, line := range []string{
		`{"event":"batchCompleted","batch":1,"stateKeys":10,"stateMemoryBytes":1000}`,
		`{"event":"checkpointCompleted","checkpoint":2,"stateKeys":40,"stateMemoryBytes":1200,"stateDiskBytes":800}`,
		`{"event":"gauges","state":{"stateKeys":30,"stateMemoryBytes":1500,"stateDiskBytes":0}}`,
		`{"event":"batchCompleted","batch":3}`, // all let go
	} {
		var e struct{ Event string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		v.line(proc.Line{Event: e.Event, At: 1, Raw: []byte(line)})
	}
	s := v.stateFigures()
	if s == nil || *s.KeysPeak != 40 || *s.MemoryBytesPeak != 1500 || *s.DiskBytesPeak != 800 || *s.BytesPerKey != 50 {
		t.Errorf("%+v", s)
	}
}

// TestWrittenBetweenGauges: at 50,000/s until 250 ms, then at 100/s. By gauges alone
// the slow sink would seem to have taken 2,500 records in its first moment.
func TestWrittenBetweenGauges(t *testing.T) {
	v := newEngineView()
	const ms = int64(1e6)
	for _, g := range [][2]int64{{100, 5000}, {200, 10_000}, {300, 12_505}, {400, 12_515}, {500, 12_525}} {
		v.line(proc.Line{Event: "gauges", At: g[0] * ms, Raw: fmt.Appendf(nil, `{"written":%d}`, g[1])})
	}
	for at, want := range map[int64]int64{50: 0, 150: 5000, 250: 12_500, 290: 12_505, 450: 12_520, 500: 12_525, 900: 12_525} {
		if got := v.writtenAt(at * ms); got != want {
			t.Errorf("by %d ms: %d, want %d", at, got, want)
		}
	}
}
