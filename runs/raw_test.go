package runs

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestReadSeriesTolerance(t *testing.T) {
	const head = "later,t,lag\n"
	rows, err := ReadSeries(strings.NewReader(head+"x,0.1,5\nx,0.2,\nx,0.3"), "series.csv")
	if err != nil || len(rows) != 2 || rows[0].Lag != 5 || !math.IsNaN(rows[1].Lag) || !math.IsNaN(rows[0].Offered) {
		t.Errorf("%v, %v", rows, err)
	}
	for text, want := range map[string]string{
		head + "x,0.1\nx,0.2,3\n":     "series.csv:2: 2 fields",
		head + "x,0.1,five\nx,0.2,\n": `series.csv:2: lag is "five"`,
		head + "x,,1\nx,0.2,\n":       "series.csv:2: no time",
		"lag\n":                       "series.csv:1: no column t",
	} {
		if _, err := ReadSeries(strings.NewReader(text), "series.csv"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if rows, err := ReadSeries(strings.NewReader(""), "x"); err != nil || rows != nil {
		t.Errorf("an empty file: %v, %v", rows, err)
	}
}

func TestSeriesWriterRefuses(t *testing.T) {
	w, err := NewSeriesWriter(&bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(NewSample(1)); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(NewSample(0.5)); err == nil {
		t.Error("time ran backwards")
	}
	s := NewSample(2)
	s.Lag = math.Inf(1)
	if err := w.Write(s); err == nil {
		t.Error("an infinite value was written")
	}
}

func TestReadLatencies(t *testing.T) {
	var log bytes.Buffer
	w, err := NewLatencyWriter(&log, start)
	if err != nil {
		t.Fatal(err)
	}
	record := func(kind, phase string, from float64, values ...time.Duration) {
		t.Helper()
		h := NewHistogram()
		for _, v := range values {
			if err := h.RecordValue(int64(v)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Write(kind, phase, from, from+0.1, h); err != nil {
			t.Fatal(err)
		}
	}
	record(EventLatency, "a", 0.0, time.Millisecond, 2*time.Millisecond)
	record(EventLatency, "a", 0.1, 10*time.Millisecond)
	record(ProcessingLatency, "a", 0.1, time.Second)
	record(EventLatency, "b", 0.6, 3*time.Millisecond)
	record(EventLatency, "b", 0.7) // empty: not written

	all, err := ReadLatencies(bytes.NewReader(log.Bytes()), "latency.hlog")
	if err != nil || len(all) != 4 {
		t.Fatalf("%d intervals, %v", len(all), err)
	}
	bins := BinLatencies(all, EventLatency, 0.5)
	if len(bins) != 2 || bins[0].Count != 3 || bins[0].Start != 0 || bins[1].Start != 0.5 || bins[1].Count != 1 {
		t.Errorf("bins %+v", bins)
	}
	if math.Abs(*bins[0].Max-10) > 0.02 {
		t.Errorf("max %v", bins[0].Max)
	}
	if BinLatencies(all, EventLatency, 0) != nil {
		t.Error("bins of no width")
	}
	if h := MergeLatencies(all, ProcessingLatency, "b"); h != nil {
		t.Error("processing latency of b exists")
	}
	if _, ok := LatencyOf(nil); ok {
		t.Error("a latency of nothing")
	}

	text := log.String()
	cut := text[:len(text)-20]
	if all, err := ReadLatencies(strings.NewReader(cut), "x"); err != nil || len(all) != 3 {
		t.Errorf("cut short: %d intervals, %v", len(all), err)
	}
	lines := strings.SplitAfter(text, "\n")
	damaged := strings.Join(lines[:6], "") + "Tag=event/a,nonsense\n" + strings.Join(lines[6:], "")
	if _, err := ReadLatencies(strings.NewReader(damaged), "latency.hlog"); err == nil || !strings.Contains(err.Error(), "latency.hlog:7") {
		t.Errorf("damaged: %v", err)
	}
	for _, bad := range [][2]string{{"other", "a"}, {EventLatency, "a b"}, {EventLatency, "a,b"}, {EventLatency, ""}} {
		h := NewHistogram()
		_ = h.RecordValue(5000)
		if err := w.Write(bad[0], bad[1], 0, 1, h); err == nil {
			t.Errorf("tag %q is accepted", bad)
		}
	}
}

func TestReadEventsDamaged(t *testing.T) {
	text := `{"t":1,"event":{}}` + "\n" + `{"t":2,"ev`
	if all, err := ReadEvents(strings.NewReader(text), "x"); err != nil || len(all) != 1 {
		t.Errorf("cut short: %v, %v", all, err)
	}
	if _, err := ReadEvents(strings.NewReader("\n{\"t\":}\n"), "events.jsonl"); err == nil || !strings.Contains(err.Error(), "events.jsonl:2") {
		t.Errorf("damaged: %v", err)
	}
}

func TestEventWriterKeepsOneLineAnEvent(t *testing.T) {
	var out bytes.Buffer
	w := NewEventWriter(&out)
	if err := w.Append(1, []byte("{\n\"a\":\n1}")); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(2, []byte(`"</script>`)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
	if all, err := ReadEvents(&out, "x"); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestElapsed(t *testing.T) {
	p := Pressure{FollowSeconds: new(Never), DrainSeconds: new(Elapsed(0))}
	data, err := json.Marshal(p)
	if err != nil || string(data) != `{"followSeconds":"never","drainSeconds":0}` {
		t.Fatalf("%s, %v", data, err)
	}
	var back Pressure
	if err := json.Unmarshal(data, &back); err != nil || !back.FollowSeconds.IsNever() || back.RecoverSeconds != nil || *back.DrainSeconds != 0 {
		t.Errorf("%+v, %v", back, err)
	}
	if json.Unmarshal([]byte(`{"followSeconds":"soon"}`), &back) == nil {
		t.Error("soon is a time")
	}
	if _, err := json.Marshal(Elapsed(math.NaN())); err == nil {
		t.Error("NaN was written")
	}
}

func TestMedianOf(t *testing.T) {
	if e := MedianOf(nil); !math.IsNaN(e.Median) || e.HasInterval {
		t.Errorf("%+v", e)
	}
	if e := MedianOf([]float64{3, 1, 2, 5, 4}); e.Median != 3 || e.HasInterval {
		t.Errorf("five give no 95 %%: %+v", e)
	}
	if e := MedianOf([]float64{6, 3, 1, 2, 5, 4}); e.Median != 3.5 || !e.HasInterval || e.Low != 1 || e.High != 6 {
		t.Errorf("%+v", e)
	}
	// Ranks for n = 10 and 20 from the usual table of the sign test.
	for n, k := range map[int]int{8: 1, 9: 2, 10: 2, 20: 6, 25: 8} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i + 1)
		}
		if e := MedianOf(values); e.Low != float64(k) || e.High != float64(n+1-k) {
			t.Errorf("n = %d: [%v, %v], want rank %d", n, e.Low, e.High, k)
		}
	}
	inf := math.Inf(1)
	if e := MedianOf([]float64{1, inf, inf, inf}); !math.IsInf(e.Median, 1) {
		t.Errorf("%+v", e)
	}
}

func TestWithhold(t *testing.T) {
	full := func() Cell {
		c := testCell("c")
		c.Throughput = map[string]Throughput{"steady": {Visible: new(5.0)}}
		c.Growth = &Growth{Created: new(int64(4)), DiscoveredSeconds: new(Elapsed(1)), LostBeforeDiscovery: new(int64(0)), OldPartitionsDip: new(0.1)}
		c.Crash = &Crash{Point: "M3", Reached: true, Expected: &Expected{Losses: new(int64(0))}, VisibleSeconds: new(Elapsed(2))}
		c.Start = &Start{RunningSeconds: new(Elapsed(0.1))}
		c.Cost = &Cost{CPUSecondsPerMillion: new(1.0)}
		c.Steps = map[string]Step{"steady": {Share: 0.3, PointsOff: new(0.5)}}
		return c
	}
	for _, group := range Groups() {
		c := full()
		c.Audits = []Audit{
			{Name: "fine", OK: true, Voids: Groups()},
			{Name: "generator on schedule", Detail: "late by 80 ms", Remedy: "lower the rate", Voids: []string{group}},
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "not withheld") {
			t.Errorf("%s: not withheld yet, and valid: %v", group, err)
		}
		shared := c // a copy shares the pointers
		c.Withhold()
		c.Withhold()
		if len(c.Withheld) != 1 || c.Withheld[0].Reason != "late by 80 ms" || c.Withheld[0].Group != group {
			t.Errorf("%s: withheld %+v", group, c.Withheld)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", group, err)
		}
		if c.Crash.Point != "M3" || *c.Growth.Created != 4 {
			t.Errorf("%s: facts of the run went too", group)
		}
		if !shared.hasGroup(group) {
			t.Errorf("%s: the copy lost its figures", group)
		}
		for _, path := range FigurePaths() {
			path = strings.NewReplacer("<phase>", "steady", "<task>", "x").Replace(path)
			if _, ok, known := c.Figure(path); ok && FigureGroup(path) == group || !known {
				t.Errorf("%s: %s is still there, or unknown", group, path)
			}
		}
	}
}

func TestValidateNamesEachBreach(t *testing.T) {
	base := func() *Summary {
		r := testRun()
		r.ID = "x"
		return &Summary{Schema: Schema, Run: r, Verdict: Pass, Cells: []Cell{testCell("c")}}
	}
	if err := base().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, breakIt := range map[string]func(*Summary, *Cell){
		"schema is":               func(s *Summary, _ *Cell) { s.Schema = "" },
		"run.started is not set":  func(s *Summary, _ *Cell) { s.Run.Started = time.Time{} },
		"before run.started":      func(s *Summary, _ *Cell) { s.Run.Finished = start.Add(-1) },
		"a second cell":           func(s *Summary, _ *Cell) { s.Cells = append(s.Cells, testCell("c")) },
		"is no folder name":       func(_ *Summary, c *Cell) { c.ID = "../c" },
		"the first is 1":          func(_ *Summary, c *Cell) { c.Repetition = 0 },
		"no reason is given":      func(s *Summary, c *Cell) { s.Verdict, c.Verdict = Fail, Fail },
		`verdict is "good"`:       func(_ *Summary, c *Cell) { c.Verdict = "good"; c.Reasons = []string{"x"} },
		"did not hold":            func(_ *Summary, c *Cell) { c.Gates = []Gate{{Expression: "a < 1"}} },
		"names no remedy":         func(_ *Summary, c *Cell) { c.Audits = []Audit{{Name: "x"}} },
		`voids "everything"`:      func(_ *Summary, c *Cell) { c.Audits = []Audit{{Name: "x", OK: true, Voids: []string{"everything"}}} },
		"ends before it starts":   func(_ *Summary, c *Cell) { c.Phases[0].End = -1 },
		"starts before warmup":    func(_ *Summary, c *Cell) { c.Phases[1].Start = 0.5 },
		"records.losses is -1":    func(_ *Summary, c *Cell) { c.Records.Losses = new(int64(-1)) },
		"oldPartitionsDip is not": func(_ *Summary, c *Cell) { c.Growth = &Growth{OldPartitionsDip: new(math.NaN())} },
		"visible is infinite":     func(_ *Summary, c *Cell) { c.Throughput = map[string]Throughput{"steady": {Visible: new(math.Inf(1))}} },
		"no sample":               func(_ *Summary, c *Cell) { c.LatencyMillis.Event["steady"] = Latency{} },
		"percentiles are not": func(_ *Summary, c *Cell) {
			c.LatencyMillis.Event["steady"] = Latency{Count: 1, P50: 3, P90: 2, P99: 4, P999: new(4.0), Max: new(4.0)}
		},
		"stead is no phase":        func(_ *Summary, c *Cell) { c.LatencyMillis.Event["stead"] = Latency{Count: 1} },
		"M3 was never reached":     func(_ *Summary, c *Cell) { c.Crash = &Crash{Point: "M3"} },
		"must be named":            func(_ *Summary, c *Cell) { c.Engine = "" },
		"verdict is pass and a ce": func(_ *Summary, c *Cell) { c.Verdict, c.Reasons = Inconclusive, []string{"x"} },
	} {
		s := base()
		breakIt(s, &s.Cells[0])
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q in it", err, want)
		}
	}
	if Worst(nil) != Inconclusive {
		t.Error("no cell proves something")
	}
}

func TestBlockedLevel(t *testing.T) {
	for share, want := range map[float64]string{0: "OK", 0.10: "OK", 0.11: "LOW", 0.5: "LOW", 0.51: "HIGH", 1: "HIGH"} {
		if got := BlockedLevel(share); got != want {
			t.Errorf("%v is %s, want %s", share, got, want)
		}
	}
}
