package report

import (
	"bytes"
	"strings"
	"testing"

	"streamduel/runs"
)

// TestStateStandsBesideLatency: keys and bytes of state have a column, in the page
// and in the terminal, where any job kept some.
func TestStateStandsBesideLatency(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	cells := []runs.Cell{
		{ID: "a", Scenario: "steady", Engine: "microbatch", Guarantee: "exactly-once", Repetition: 1, Verdict: runs.Pass,
			State: &runs.State{KeysPeak: n(12345), MemoryBytesPeak: n(1 << 20)}},
		{ID: "b", Scenario: "steady", Engine: "dataflow", Guarantee: "exactly-once", Repetition: 1, Verdict: runs.Pass,
			State: &runs.State{KeysPeak: n(1), MemoryBytesPeak: n(100), DiskBytesPeak: n(5 << 10)}},
	}
	table := func() Table { return cellTable(groupCells(cells, nil)) }
	all := table()
	var text bytes.Buffer
	writeTable(&text, cellText(all), paint{})
	for i, want := range []string{"12,345 keys, 1.00 MiB", "1 key, 100 B and 5.00 KiB on disk"} {
		row := all.Rows[i].Cells
		if got := row[len(row)-1]; got != want || all.Head[len(row)-1] != "State" || !strings.Contains(text.String(), want) {
			t.Errorf("%s, want %s; in the terminal\n%s", got, want, &text)
		}
	}
	cells[0].State, cells[1].State = nil, nil
	for _, head := range append(table().Head, cellText(table()).Head...) {
		if head == "State" {
			t.Error("jobs without state have a column for it")
		}
	}
}
