package ledger

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"streamduel/connectors"
)

// TestCatalogue states docs/crash-points.md a second time, as text, with n = 10,
// k = e = e' = 4, and under dataflow 3 inputs read and not acknowledged.
func TestCatalogue(t *testing.T) {
	const table = `
		microbatch M0   0/0   0/0   0/0
		microbatch M0t  0/0   0/0   0/0
		microbatch M1   0/10  0/0   0/0
		microbatch M2   0/6   4/0   0/0
		microbatch M2r  –     4/0   0/0
		microbatch M3   0/0   10/0  0/0
		microbatch M4   0/0   0/0   0/0
		microbatch T1   –     –     0/0
		microbatch T2   –     –     0/0
		microbatch T3   –     –     0/0
		microbatch X3   –     –     0/0
		microbatch E1   –     4/0   –
		microbatch E2   –     4/0   –
		microbatch E3   –     4/0   –
		dataflow   D0   0/≤3  4/0   0/0
		dataflow   D1   0/≤3  4/0   0/0
		dataflow   D2   0/≤3  4/0   0/0
		dataflow   D3   0/≤3  4/0   0/0
		dataflow   D4   0/≤3  4/0   0/0
		dataflow   D5   0/≤3  4/0   0/0
		dataflow   D6   0/≤3  4/0   0/0
		dataflow   D7   0/≤3  4/0   0/0
		dataflow   D8   0/≤3  4/0   0/0
		dataflow   D9   –     –     0/0
		dataflow   R1   0/≤3  4/0   0/0
		dataflow   R2   –     –     0/0`
	seen := 0
	for line := range strings.Lines(strings.TrimSpace(table)) {
		f := strings.Fields(line)
		for i, g := range []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce} {
			c := Crash{Model: Model(f[0]), Point: f[1], Guarantee: g, Records: 10, Acked: 4, Missing: 3}
			if c.Model == MicroBatch {
				c.Missing = c.Records - c.Acked
			}
			x, err := Expect(c)
			if f[2+i] == "–" {
				if err == nil {
					t.Errorf("%s %s: expected %+v where there is no entry", f[1], g, x)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s %s: %v", f[1], g, err)
				continue
			}
			seen++
			losses := x.Losses.String()
			if x.Losses == (Range{0, 3}) {
				losses = "≤3"
			}
			if got := fmt.Sprintf("%s/%s", x.Duplicates, losses); got != f[2+i] {
				t.Errorf("%s %s: %s, want %s (%s)", f[1], g, got, f[2+i], x.Entry)
			}
			wantOver := g == connectors.AtLeastOnce && c.Model == Dataflow
			if (x.StateOvercount.Hi == math.MaxInt64) != wantOver || (x.StateLosses.Hi == math.MaxInt64) != (g == connectors.AtMostOnce) {
				t.Errorf("%s %s: state %v over, %v lost", f[1], g, x.StateOvercount, x.StateLosses)
			}
		}
	}
	// Six M points with all three modes and M2r with two, four of exactly-once
	// alone and three of at-least-once, ten D and R points with all three, D9 and R2 with one.
	if want := 6*3 + 2 + 4 + 3 + 10*3 + 2; seen != want {
		t.Errorf("%d entries, want %d", seen, want)
	}
	if n := len(Points(MicroBatch)) + len(Points(Dataflow)); n != strings.Count(table, "\n\t\t") {
		t.Errorf("the catalogue has %d points, this table another number", n)
	}
}

func TestKillAnywhere(t *testing.T) {
	x, err := Expect(Crash{Model: Dataflow, Guarantee: connectors.AtLeastOnce, Acked: 100, InFlight: 7})
	if err != nil {
		t.Fatal(err)
	}
	if x.Duplicates != (Range{100, 107}) || x.Losses != (Range{}) {
		t.Errorf("%+v", x)
	}
	e := x.Expected()
	if *e.Duplicates != 100 || *e.DuplicatesAtMost != 107 || *e.Losses != 0 || e.LossesAtMost != nil {
		t.Errorf("%+v", e)
	}
}

func TestNegativeControls(t *testing.T) {
	for _, c := range []Crash{
		{Model: MicroBatch, Point: "M3", Guarantee: connectors.ExactlyOnce, Records: 10, Broken: true},
		{Model: MicroBatch, Point: "T2", Guarantee: connectors.ExactlyOnce, Records: 10, Broken: true},
		{Model: Dataflow, Point: "D4", Guarantee: connectors.ExactlyOnce, Acked: 10, Broken: true},
	} {
		x, err := Expect(c)
		if err != nil || x.Duplicates != (Range{10, 10}) {
			t.Errorf("%s: %+v, %v", c.Point, x, err)
		}
	}
}

func TestExpectErrors(t *testing.T) {
	_, err := Expect(Crash{Model: Dataflow, Point: "M3", Guarantee: connectors.ExactlyOnce})
	if err == nil || !strings.Contains(err.Error(), "D5") {
		t.Errorf("error %v does not say what there is", err)
	}
}

func TestDeviations(t *testing.T) {
	x, err := Expect(Crash{Model: MicroBatch, Point: "M3", Guarantee: connectors.AtLeastOnce, Records: 10})
	if err != nil {
		t.Fatal(err)
	}
	good := &Result{Duplicates: 10, HasIDs: true, HasState: true}
	if d := x.Deviations(good); d != nil {
		t.Errorf("deviations %q", d)
	}
	bad := &Result{Duplicates: 9, Losses: 1, StateOvercount: 2, StateLosses: 3, Unexpected: 4, HasIDs: true, HasState: true}
	if d := x.Deviations(bad); len(d) != 5 || !strings.Contains(d[0], "9 duplicates, expected 10 (n/0)") {
		t.Errorf("deviations %q", d)
	}
	if d := Flawless().Deviations(&Result{Duplicates: 1}); len(d) != 1 {
		t.Errorf("deviations %q", d)
	}
}

// TestLostEpochs is X1 and X2: what was prepared and can be committed no more is
// lost, all of it where nobody had begun to commit.
func TestLostEpochs(t *testing.T) {
	for point, want := range map[string]string{"D5": "0/7", "D6": "0/0 … 7", "D4": "0/0"} {
		c := Crash{Model: Dataflow, Point: point, Guarantee: connectors.ExactlyOnce, Uncommitted: 7, Lost: true}
		x, err := Expect(c)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s/%s", x.Duplicates, x.Losses); got != want {
			t.Errorf("%s: %s, want %s", point, got, want)
		}
		c.Lost = false
		if x, _ := Expect(c); x.Losses != (Range{}) {
			t.Errorf("%s: %s losses of a job that lost nothing", point, x.Losses)
		}
	}
}

// TestTwoCrashesAddUp: a crash of the recovery costs what it costs, on top.
func TestTwoCrashesAddUp(t *testing.T) {
	expect := func(c Crash) Expectation {
		x, err := Expect(c)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for g, want := range map[connectors.Guarantee]string{connectors.AtLeastOnce: "6/0", connectors.AtMostOnce: "0/0 … 4", connectors.ExactlyOnce: "0/0"} {
		first := expect(Crash{Model: Dataflow, Point: "D5", Guarantee: g, Acked: 4, Missing: 3})
		second := expect(Crash{Model: Dataflow, Point: "R1", Guarantee: g, Acked: 2, Missing: 1})
		x := first.And(second)
		if got := fmt.Sprintf("%s/%s", x.Duplicates, x.Losses); got != want {
			t.Errorf("%s: %s, want %s", g, got, want)
		}
		if x.StateLosses.Hi < first.StateLosses.Hi || x.StateOvercount.Hi < first.StateOvercount.Hi {
			t.Errorf("%s: the bounds of state are narrower: %+v", g, x)
		}
	}
}
