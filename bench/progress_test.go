package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"streamduel/runs"
	"streamduel/scenarios"
)

func shown(t *testing.T, width int, color bool, events ...Progress) string {
	t.Helper()
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	p := newProgress(Env{Stderr: &out, Width: func() int { return width }, Now: func() time.Time { return now }}, 10, false, color)
	cell := &scenarios.Cell{
		File: &scenarios.File{Name: "steady"}, Engine: scenarios.EngineBlock{Name: "dataflow"},
		Guarantee: scenarios.ExactlyOnce, Labels: []string{"interval=1s"}, Repetition: 2,
	}
	for _, e := range events {
		e.Cell, e.Index = cell, 2
		if e.Kind == CellDone { // the whole cell, from its start to its verdict
			now = now.Add(13 * time.Second)
		}
		p.show(e)
	}
	p.end()
	return out.String()
}

func TestATerminalHasOneLiveLineACell(t *testing.T) {
	got := shown(t, 200, true,
		Progress{Kind: CellStart},
		Progress{Kind: CellPhase, Phase: "warmup"},
		Progress{Kind: CellTick, At: 1500 * time.Millisecond, Offered: 10_000, Visible: 9_998.4, Lag: 1_234_567},
		Progress{Kind: CellDone, Verdict: runs.Fail, Reasons: []string{"records.losses = 3,\nmust be == 0", "more"}},
	)
	want := strings.Join([]string{
		"\r\x1b[K 3/10 steady  dataflow  exactly-once  interval=1s  #2  starting",
		"\r\x1b[K 3/10 steady  dataflow  exactly-once  interval=1s  #2  warmup",
		"\r\x1b[K 3/10 steady  dataflow  exactly-once  interval=1s  #2  warmup 1.5 s  offered 10,000/s  visible 9,998/s  behind 1,234,567",
		"\r\x1b[K 3/10 steady  dataflow  exactly-once  interval=1s  #2  \x1b[31mfail\x1b[0m  13.0 s  records.losses = 3, must be == 0 (and 1 more)\n",
	}, "")
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestALiveLineFitsTheTerminal(t *testing.T) {
	got := shown(t, 30, false, Progress{Kind: CellStart})
	if want := "\r\x1b[K 3/10 steady  dataflow  exac…\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWithoutATerminalEveryLineStays(t *testing.T) {
	got := shown(t, 0, false,
		Progress{Kind: Note, Text: "measuring the floors"},
		Progress{Kind: CellStart},
		Progress{Kind: CellPhase, Phase: "steady", At: 2 * time.Second},
		Progress{Kind: CellTick, Offered: 1},
		Progress{Kind: CellDone, Verdict: runs.Pass},
	)
	want := "measuring the floors\n" +
		" 3/10 steady  dataflow  exactly-once  interval=1s  #2  steady at 2.0 s\n" +
		" 3/10 steady  dataflow  exactly-once  interval=1s  #2  pass  13.0 s\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLogLinesStandAboveTheLiveLine(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(Env{Stderr: &out, Width: func() int { return 80 }, Now: time.Now}, 1, false, false)
	p.show(Progress{Kind: CellStart})
	if _, err := p.log().Write([]byte("level=info\n")); err != nil {
		t.Fatal(err)
	}
	if want := "\r\x1b[K1/1   starting\r\x1b[Klevel=info\n\r\x1b[K1/1   starting"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestThousands(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.4: "1,234,567", -0.2: "0", -1500: "-1,500"} {
		if got := thousands(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
