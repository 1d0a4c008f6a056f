package runs

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)

func testRun() Run {
	return Run{Started: start, Finished: start.Add(time.Minute), Commit: "0123456789abcdef", Go: "go1.26", OS: "linux/amd64", Cores: 2, Broker: Broker{Kind: "embedded"}}
}

func testCell(id string) Cell {
	return Cell{
		ID: id, Scenario: "steady", Workload: "keyed-count", Engine: "dataflow", Guarantee: "exactly-once",
		Repetition: 1, Verdict: Pass, Started: start,
		Phases:  []Phase{{Name: "warmup", Start: 0, End: 1}, {Name: "steady", Start: 1, End: 3}},
		Records: &Records{Sent: new(int64(30000)), Losses: new(int64(0))},
		LatencyMillis: &LatencyMillis{Event: map[string]Latency{
			"steady": {Count: 20000, P50: 5, P90: 7, P99: 9, P999: new(12.0), Max: new(13.0), Mean: new(5.5)},
		}},
		Pressure: &Pressure{FollowSeconds: new(Never), RecoverSeconds: new(Elapsed(1.5))},
	}
}

func TestRunFolderRoundTrip(t *testing.T) {
	root := t.TempDir()
	w, err := Create(root, "bench", testRun())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.Run().ID, "20261121T093000Z-01234567"; got != want {
		t.Fatalf("run id %s, want %s", got, want)
	}
	if !strings.HasSuffix(w.Dir(), PartialSuffix) {
		t.Fatalf("a run that goes on is called %s", w.Dir())
	}
	id := CellID("steady", "dataflow", "exactly-once", 1, "interval=500ms")
	first, err := w.Cell(id, start)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := w.Cell(id, start) // the cell is repeated
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`{"event":"started"}`, "no JSON\n", `{"a":1}` + "\n"} {
		if err := c.Events.Append(0.25, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	row := NewSample(0.1)
	row.Offered, row.RSS = 10000, 3<<20
	for _, s := range []Sample{row, NewSample(0.2)} {
		if err := c.Series.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	h := NewHistogram()
	for i := range 1000 {
		if err := h.RecordValue(int64(i+1) * int64(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Latency.Write(EventLatency, "steady", 1.0, 1.1, h); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteLedger(Ledger{Anomalies: map[string][]RecordID{"duplicates": make([]RecordID, AnomalyIDs+5)}}); err != nil {
		t.Fatal(err)
	}
	if err := c.WritePlan(map[string]int{"stages": 2}); err != nil {
		t.Fatal(err)
	}
	cell := testCell(id)
	if err := c.Finish(&cell); err != nil {
		t.Fatal(err)
	}

	s := &Summary{Run: w.Run(), Verdict: Pass, Cells: []Cell{cell}}
	dir, err := w.Finish(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := Publish(dir); err != nil {
		t.Fatal(err)
	}
	if err := Publish(dir); err != nil { // the link is replaced
		t.Fatal(err)
	}

	for _, path := range []string{dir, filepath.Join(dir, SummaryFile), filepath.Join(root, "bench"), filepath.Join(root, "latest"), filepath.Join(root, "bench", "latest")} {
		f, err := Open(path)
		if err != nil {
			t.Fatalf("Open(%s): %v", path, err)
		}
		if len(f.Problems) > 0 {
			t.Errorf("Open(%s): problems %q", path, f.Problems)
		}
		if diff := cmp.Diff(s, f.Summary); diff != "" {
			t.Errorf("Open(%s): summary (-written +read):\n%s", path, diff)
		}
	}
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	events, err := f.Events(id)
	if err != nil || len(events) != 3 || events[1].Text != "no JSON" || string(events[2].Event) != `{"a":1}` || events[0].T != 0.25 {
		t.Errorf("events %v, %v", events, err)
	}
	rows, err := f.Series(id)
	if err != nil || len(rows) != 2 || rows[0].Offered != 10000 || rows[0].RSS != 3<<20 || !math.IsNaN(rows[0].Lag) || rows[1].T != 0.2 {
		t.Errorf("series %v, %v", rows, err)
	}
	intervals, err := f.Latencies(id)
	if err != nil || len(intervals) != 1 || intervals[0].Phase != "steady" || intervals[0].Kind != EventLatency {
		t.Fatalf("latencies %v, %v", intervals, err)
	}
	if i := intervals[0]; math.Abs(i.Start-1) > 1e-9 || math.Abs(i.End-1.1) > 1e-9 {
		t.Errorf("interval [%v, %v)", i.Start, i.End)
	}
	l, _ := LatencyOf(MergeLatencies(intervals, EventLatency, ""))
	if l.Count != 1000 || math.Abs(l.P50-500) > 1 || math.Abs(l.P99-990) > 1 || math.Abs(*l.Max-1000) > 1 {
		t.Errorf("latency %+v", l)
	}
	ledger, err := f.Ledger(id)
	if err != nil || len(ledger.Anomalies["duplicates"]) != AnomalyIDs {
		t.Errorf("ledger keeps %d ids, %v", len(ledger.Anomalies["duplicates"]), err)
	}
	if _, err := f.Events("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
	if !exists(f.Path(id+"~1", EventsFile)) {
		t.Error("the first attempt is gone")
	}
}

func TestCreateNeverSharesAFolder(t *testing.T) {
	root := t.TempDir()
	a, err := Create(root, "s", testRun())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Create(root, "s", testRun())
	if err != nil {
		t.Fatal(err)
	}
	if a.Dir() == b.Dir() || b.Run().ID != a.Run().ID+"-2" {
		t.Errorf("two runs of one second: %s, %s", a.Dir(), b.Dir())
	}
	for _, set := range []string{"", "latest", "a/b", "../x", ".hidden"} {
		if _, err := Create(root, set, testRun()); err == nil {
			t.Errorf("set %q is accepted", set)
		}
	}
}

func TestCreateWhereAFileIsInTheWay(t *testing.T) {
	root := filepath.Join(t.TempDir(), "results")
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(root, "s", testRun()); err == nil || !strings.Contains(err.Error(), root) {
		t.Errorf("error %v does not name the folder", err)
	}
}

func TestInterruptedRunIsReadable(t *testing.T) {
	newRun := func() (*Writer, Cell) {
		w, err := Create(t.TempDir(), "bench", testRun())
		if err != nil {
			t.Fatal(err)
		}
		done, err := w.Cell("done", start)
		if err != nil {
			t.Fatal(err)
		}
		cell := testCell("done")
		if err := done.Finish(&cell); err != nil {
			t.Fatal(err)
		}
		broken, err := w.Cell("broken", start)
		if err != nil {
			t.Fatal(err)
		}
		if err := broken.Series.Write(NewSample(0.1)); err != nil {
			t.Fatal(err)
		}
		return w, cell
	}

	w, _ := newRun() // killed: nothing more is written
	f, err := Open(w.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if !f.Summary.Partial || len(f.Summary.Cells) != 1 || f.Summary.Cells[0].ID != "done" || f.Summary.Verdict != Inconclusive {
		t.Errorf("summary %+v", f.Summary)
	}
	if len(f.Problems) == 0 || !strings.Contains(f.Problems[0], "broken") {
		t.Errorf("problems %q do not name the unfinished cell", f.Problems)
	}
	if rows, err := f.Series("broken"); err != nil || len(rows) != 1 {
		t.Errorf("the unfinished cell's series: %v, %v", rows, err)
	}

	w, cell := newRun() // Ctrl-C: the command ends it in good order
	dir, err := w.Interrupt(&Summary{Run: w.Run(), Cells: []Cell{cell}})
	if err != nil {
		t.Fatal(err)
	}
	if f, err = Open(dir); err != nil || !f.Summary.Partial || !strings.HasSuffix(dir, PartialSuffix) {
		t.Errorf("%s: %+v, %v", dir, f, err)
	}
	if err := Publish(dir); err == nil {
		t.Error("a partial run was published")
	}
	if _, err := w.Finish(&Summary{}); err == nil {
		t.Error("a run ended twice")
	}
}

func TestFinishRefusesANonsenseSummary(t *testing.T) {
	w, err := Create(t.TempDir(), "bench", testRun())
	if err != nil {
		t.Fatal(err)
	}
	cell := testCell("c")
	cell.Verdict = Fail
	if _, err := w.Finish(&Summary{Run: w.Run(), Verdict: Pass, Cells: []Cell{cell}}); err == nil {
		t.Fatal("pass with a failed cell was written")
	}
	if exists(filepath.Join(w.Dir(), SummaryFile)) || !strings.HasSuffix(w.Dir(), PartialSuffix) {
		t.Error("the folder is called a result")
	}
}

func TestOpenNamesFileLineAndColumn(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"syntax": {"{\n  \"schema\": \"x\",,\n}", "summary.json: line 2, column 17"},
		"type":   {"{\"schema\": 3}", "summary.json: line 1, column"},
		"schema": {"{\"schema\": \"streamduel/summary/v9\"}", "schema streamduel/summary/v9; this program reads " + Schema},
		"none":   {"{}", "no schema is named"},
		"null":   {"null", "no schema is named"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, SummaryFile), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v; want %q in it", err, test.want)
			}
		})
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	r := Environment(t.Context())
	if r.Commit == "" || !strings.HasPrefix(r.Go, "go") || r.Cores < 1 || !strings.Contains(r.OS, "/") {
		t.Errorf("%+v", r)
	}
}
