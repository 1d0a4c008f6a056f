package report

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"streamduel/runs"
)

func pageOf(t *testing.T, f *runs.Folder) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, Build(f)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// markup is the page without its scripts and styles.
func markup(page string) string {
	for _, tag := range []string{"script", "style"} {
		page = regexp.MustCompile(`(?s)<`+tag+`[^>]*>.*?</`+tag+`>`).ReplaceAllString(page, "")
	}
	return page
}

// embedded returns the data that the page's script draws from.
func embedded(t *testing.T, page string) pageJSON {
	t.Helper()
	m := regexp.MustCompile(`(?s)<script type="application/json" id="data">(.*?)</script>`).FindStringSubmatch(page)
	if m == nil {
		t.Fatal("the page holds no data")
	}
	var d pageJSON
	if err := json.Unmarshal([]byte(m[1]), &d); err != nil {
		t.Fatalf("the page's data: %v", err)
	}
	return d
}

type pageJSON struct {
	Engines []struct{ Engine, Light, Dark string }
	Charts  []struct {
		ID, Group, Title, Unit string
		End                    float64
		Lines                  []struct {
			Name, Engine string
			X            []float64
			Y            []*float64
		}
	}
}

var void = []string{"meta", "line", "br", "img", "link", "input"}

// checkNesting fails where tags are not properly nested.
func checkNesting(t *testing.T, page string) {
	t.Helper()
	var open []string
	for _, m := range regexp.MustCompile(`<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:"[^"]*"|'[^']*'|[^"'>])*?)(/?)>`).FindAllStringSubmatch(markup(page), -1) {
		name := strings.ToLower(m[2])
		switch {
		case slices.Contains(void, name) || m[4] == "/":
		case m[1] == "":
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name:
			t.Fatalf("</%s> closes %v", name, open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("never closed: %v", open)
	}
}

func TestPageIsWhole(t *testing.T) {
	for name := range synthetics {
		t.Run(name, func(t *testing.T) {
			page := pageOf(t, open(t, sharedRun(t, name)))
			body := markup(page)
			checkNesting(t, page)

			ids := map[string]bool{}
			for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(body, -1) {
				if ids[m[1]] {
					t.Errorf("two elements have the id %s", m[1])
				}
				ids[m[1]] = true
			}
			for _, m := range regexp.MustCompile(`(?:href="#|aria-labelledby=")([^"]*)"`).FindAllStringSubmatch(body, -1) {
				if !ids[m[1]] {
					t.Errorf("nothing has the id %s", m[1])
				}
			}
			// Offline: nothing is fetched, and the policy would forbid it.
			if m := regexp.MustCompile(`(?i)(src|href|action|srcset)=["']?(https?:|//|\.\.?/|data:)[^"'> ]*`).FindString(body); m != "" {
				t.Errorf("the page refers to %s", m)
			}
			if !strings.Contains(page, `default-src 'none'`) {
				t.Error("no content security policy")
			}
			if strings.Contains(strings.ToLower(page), "@import") {
				t.Error("a style sheet is imported")
			}

			d := embedded(t, page)
			if len(d.Charts) == 0 || len(d.Engines) != 2 {
				t.Fatalf("%d charts, %d engines", len(d.Charts), len(d.Engines))
			}
			for _, c := range d.Charts {
				if !ids[c.ID] {
					t.Errorf("no element for chart %s", c.ID)
				}
				for _, l := range c.Lines {
					if len(l.X) != len(l.Y) || len(l.X) == 0 || len(l.X) > maxPoints {
						t.Errorf("%s, %s: %d and %d points", c.ID, l.Name, len(l.X), len(l.Y))
					}
					if !slices.IsSorted(l.X) {
						t.Errorf("%s, %s: time runs backwards", c.ID, l.Name)
					}
				}
			}
			for _, m := range regexp.MustCompile(`role="img" aria-label="([^"]*)"`).FindAllStringSubmatch(body, -1) {
				if !strings.Contains(m[1], "peaks at") {
					t.Errorf("a picture without words: %s", m[1])
				}
			}
		})
	}
}

func TestPageHoldsUPlotWithItsLicence(t *testing.T) {
	version := strings.TrimSpace(asset("uplot/VERSION"))
	if !strings.Contains(asset("uplot/uPlot.iife.min.js")[:100], "(v"+version+")") {
		t.Errorf("uPlot is not of version %s", version)
	}
	page := pageOf(t, open(t, sharedRun(t, "good")))
	for _, want := range []string{"uPlot " + version, "Permission is hereby granted, free of charge", "var uPlot=function"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
}

func TestGoodPageSays(t *testing.T) {
	body := markup(pageOf(t, open(t, sharedRun(t, "good"))))
	for _, want := range []string{
		"✓ pass", "n = 1", "What this run says", "5,000 duplicates and 0 losses, exactly as predicted",
		"4 partitions were added", "throttled", "How to read this page", "Event-time latency",
		"killed at M3", "Floors", "2 cores",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if strings.Contains(body, "What needs attention") {
		t.Error("a run without a fault needs attention")
	}
}

func TestBadPageSays(t *testing.T) {
	body := markup(pageOf(t, open(t, sharedRun(t, "bad"))))
	for _, want := range []string{
		"✗ fail", "What needs attention", "Lower load.rate", "withheld",
		"Gate &#34;records.duplicates == 0&#34; did not hold.", "measured 5,000 and 0, predicted 0 and 0",
		"The crash point D5 was never reached", "index out of range", "goroutine 41", "the file is missing",
		"not as predicted",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if i, j := strings.Index(body, "What needs attention"), strings.Index(body, "What this run says"); i > j {
		t.Error("what needs attention does not come first")
	}
	// The log of a worker is text, whatever stands in it.
	if strings.Contains(body, "<script>alert") {
		t.Error("a log was taken for markup")
	}
}

const hostile = `"></script><script>alert(1)</script><img src=x onerror=alert(2)>'{{.}}|*_[x](http://x)` + "\x1b[31m\n\u0085"

func TestTextsFromOutsideStayText(t *testing.T) {
	f := open(t, sharedRun(t, "good"))
	s := f.Summary
	s.Verdict, s.Reasons, s.Partial = runs.Fail, []string{hostile}, true
	s.Run.Commit, s.Run.CPU, s.Run.Broker.Kind, s.Run.Arguments = hostile, hostile, hostile, []string{hostile}
	for i := range s.Run.Scenarios {
		s.Run.Scenarios[i].Name, s.Run.Scenarios[i].Question, s.Run.Scenarios[i].Hash = hostile, hostile, hostile
	}
	for i := range s.Cells {
		c := &s.Cells[i]
		c.Engine += hostile
		c.Scenario, c.Guarantee, c.Workload, c.Variant = hostile, hostile, hostile, []string{hostile}
		c.Verdict, c.Reasons = runs.Fail, []string{hostile}
		c.Audits = []runs.Audit{{Name: hostile, Detail: hostile, Remedy: hostile}}
		c.Gates = []runs.Gate{{Expression: hostile, Detail: hostile, Value: new(runs.Elapsed(1))}}
		for j := range c.Marks {
			c.Marks[j].Label = hostile
		}
		for j := range c.Phases {
			c.Phases[j].Name = hostile
		}
		if c.Crash != nil {
			c.Crash.Point = hostile
		}
	}
	f.Problems = []string{hostile}
	page := pageOf(t, f)
	if strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") {
		t.Error("text became markup in the page")
	}
	checkNesting(t, page)
	if d := embedded(t, page); !strings.HasSuffix(d.Engines[0].Engine, hostile) {
		t.Errorf("the engine's name became %q", d.Engines[0].Engine)
	}
	var text, markdown bytes.Buffer
	if err := Text(&text, f, Options{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\u0085") {
		t.Error("text from outside steers the terminal")
	}
	if err := Markdown(&markdown, f); err != nil {
		t.Fatal(err)
	}
	if m := markdown.String(); strings.Contains(m, "<script") || strings.Contains(m, "<img") || strings.Contains(m, "[x](") {
		t.Error("text became markup in Markdown")
	}
	for _, line := range strings.Split(markdown.String(), "\n") {
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") < 3 {
			t.Errorf("a table's row is broken: %q", line)
		}
	}
	if err := drawPlots(filepath.Join(t.TempDir(), "plots"), Build(f)); err != nil {
		t.Error(err)
	}
}

// TestBareRuns draws runs that hold next to nothing.
func TestBareRuns(t *testing.T) {
	bare := runs.Cell{ID: "c", Scenario: "s", Workload: "w", Engine: "mine", Guarantee: "g", Repetition: 1, Verdict: runs.Pass}
	empty := bare
	empty.ID, empty.Records, empty.LatencyMillis, empty.Pressure, empty.Growth, empty.Crash, empty.Cost =
		"e", &runs.Records{}, &runs.LatencyMillis{}, &runs.Pressure{}, &runs.Growth{}, &runs.Crash{Point: "M1", Reached: true}, &runs.Cost{}
	never := bare
	never.ID, never.Engine = "n", "other"
	never.Phases = []runs.Phase{{Name: "x", End: 1, Fault: "throttle"}}
	never.Pressure = &runs.Pressure{FollowSeconds: new(runs.Never), RecoverSeconds: new(runs.Never)}
	never.Growth = &runs.Growth{DiscoveredSeconds: new(runs.Never)}
	never.Crash = &runs.Crash{Point: "M1", Reached: true, VisibleSeconds: new(runs.Never)}
	for name, cells := range map[string][]runs.Cell{"none": nil, "bare": {bare}, "empty": {empty}, "never": {never, bare}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := &runs.Folder{Dir: dir, Summary: &runs.Summary{Schema: runs.Schema, Verdict: runs.Worst(cells), Cells: cells}}
			for _, c := range cells {
				if err := os.MkdirAll(filepath.Dir(f.Path(c.ID, runs.SeriesFile)), 0o755); err != nil {
					t.Fatal(err)
				}
				// A series of one row, in which everything is unknown but one.
				if err := os.WriteFile(f.Path(c.ID, runs.SeriesFile), []byte("t,lag,offered\n0.1,5,\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			checkNesting(t, pageOf(t, f))
			var b bytes.Buffer
			if err := Text(&b, f, Options{Color: true, Width: 40}); err != nil {
				t.Fatal(err)
			}
			if name == "never" && !strings.Contains(b.String(), "never") {
				t.Errorf("never is not said:\n%s", &b)
			}
			if err := Markdown(&b, f); err != nil {
				t.Fatal(err)
			}
			if err := drawPlots(filepath.Join(dir, "plots"), Build(f)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDrawOfABrokenOffRun(t *testing.T) {
	s := newRun(t, t.TempDir())
	s.steady("microbatch", 1, nil)
	dir := s.w.Dir()
	if err := Draw(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, runs.ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "broken off") {
		t.Error("the page does not say that the run was broken off")
	}
}

func TestDrawNamesAMissingFolder(t *testing.T) {
	if err := Draw(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("error %v", err)
	}
}

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(999): "999", count(1000): "1,000", count(-1234567): "−1,234,567",
		significant(0.000123): "0.00012", significant(0.0123): "0.012", significant(0.5): "0.50", significant(9.996): "10.0",
		significant(99.96): "100", significant(123456): "123,456",
		millis(0.42): "0.42 ms", millis(999.6): "1.00 s", millis(12): "12.0 ms", millis(math.Inf(1)): "never",
		seconds(0): "0 s", seconds(0.0421): "42.1 ms", seconds(1.5): "1.50 s", seconds(math.Inf(1)): "never",
		size(512): "512 B", size(1536): "1.50 KiB", size(3 << 30): "3.00 GiB",
		percent(0.1234): "12.3 %", plural(1, "loss"): "1 loss", plural(2, "loss"): "2 losses",
		sentence("ein Satz"): "Ein Satz.", sentence(""): "", shortTick("1.00 s"): "1 s", shortTick("20 s"): "20 s", shortTick("0.10 ms"): "0.1 ms",
		list([]string{"a", "b", "c"}):      "a, b and c",
		tie("after 1.00 s, 3 × and 4 MiB"): "after 1.00\u00a0s, 3\u00a0× and 4\u00a0MiB",
		estimate(runs.Estimate{N: 6, Median: 10, Low: 9, High: 11, HasInterval: true}, millis):      "10.0 [9.00 to 11.0] ms",
		estimate(runs.Estimate{N: 6, Median: 990, Low: 900, High: 1100, HasInterval: true}, millis): "990 ms [900 ms to 1.10 s]",
		estimate(runs.Estimate{}, millis): absent,
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestEveryFigureHasAFormat(t *testing.T) {
	for _, path := range runs.FigurePaths() {
		if got := formatOf(path)(0.25); got == "" {
			t.Errorf("%s is written as nothing", path)
		}
	}
	for path, want := range map[string]string{
		"latencyMillis.event.steady.p99": "250 ms", "cost.durableMillis.p50": "250 ms", "pressure.followSeconds": "250 s",
		"records.losses": "250", "throughput.steady.visible": "250/s", "cost.rssPeakBytes": "250 B", "pressure.blocked.x.share": "25000 %",
		"latencyMillis.event.steady.count": "250", "crash.replayedRecords": "250", "pressure.checkpoints.inFlightBytesMax": "250 B",
	} {
		if got := formatOf(path)(250); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestStylesAreStable(t *testing.T) {
	cells := func(engines ...string) (c []runs.Cell) {
		for _, e := range engines {
			c = append(c, runs.Cell{Engine: e})
		}
		return c
	}
	colour := func(styles []EngineStyle, engine string) string {
		for _, s := range styles {
			if s.Engine == engine {
				return s.Light
			}
		}
		return ""
	}
	both, alone := stylesOf(cells("microbatch", "dataflow")), stylesOf(cells("dataflow"))
	if colour(both, "dataflow") != colour(alone, "dataflow") {
		t.Error("an engine changes its colour from report to report")
	}
	many := stylesOf(cells("a", "b", "microbatch", "c", "d", "e", "f", "dataflow"))
	seen := map[string]int{}
	for _, s := range many {
		seen[s.Light]++
	}
	if len(many) != 8 || len(seen) != len(palette) || seen[palette[0].Light] > 2 {
		t.Errorf("styles %v", seen)
	}
}

func TestMarksOfTheHarnessAreSharedOnce(t *testing.T) {
	marks := shareMarks([]Mark{
		{At: 5, Label: "slowed", Engine: "a"}, {At: 5.1, Label: "slowed", Engine: "b"},
		{At: 6, Label: "follows", Engine: "a"}, {At: 9, Label: "follows", Engine: "b"},
		{At: 9.1, Label: "free", Engine: "a", kind: "released"}, {At: 9.1, Label: "set free", Engine: "b", kind: "released"},
		{At: 9.2, Label: "freed", Engine: "a", kind: "released"},
		{At: 12, Label: "x", Engine: "a", kind: "drained"}, {At: 12.1, Label: "y", Engine: "a", kind: "drained"},
	}, 2)
	if len(marks) != 5 || marks[3].Engine != "" || marks[4].Engine != "a" || marks[4].N != 5 {
		t.Errorf("%+v", marks)
	}
	if marks[0].Engine != "" || marks[1].Engine != "a" || marks[2].N != 3 {
		t.Errorf("%+v", marks)
	}
}
