package report

import (
	"fmt"
	"slices"
	"strings"

	"streamduel/runs"
)

// sum adds counts up; nil where the first is not known.
func sum(first *int64, more *int64) *int64 {
	if first == nil || more == nil {
		return first
	}
	n := *first + *more
	return &n
}

// copies are the duplicates of results and dead letters together: what a crash is
// predicted to make, each input having one output of either.
func copies(c *runs.Cell) *int64 {
	if c.Records == nil || c.BadInput == nil {
		return recordsOf(c).Duplicates
	}
	return sum(c.Records.Duplicates, c.BadInput.Duplicates)
}

// missing are the losses of both.
func missing(c *runs.Cell) *int64 {
	if c.Records == nil || c.BadInput == nil {
		return recordsOf(c).Losses
	}
	return sum(c.Records.Losses, c.BadInput.Losses)
}

func recordsOf(c *runs.Cell) *runs.Records {
	if c.Records == nil {
		return &runs.Records{}
	}
	return c.Records
}

// orBrief prefers a count to its summary, which also tells of withheld ones.
func orBrief(n *int64, brief string) string {
	if n == nil {
		return brief
	}
	return count(*n)
}

// deadPart says how many of a crash's copies are dead letters.
func deadPart(c *runs.Cell) string {
	if b := c.BadInput; b != nil && b.Duplicates != nil && *b.Duplicates > 0 {
		return count(*b.Duplicates) + " of the copies dead letters"
	}
	return ""
}

// failedAsAsked reports whether bad input has failed the job, as the scenario
// asks: such a cell has no latency and no cost to speak of.
func failedAsAsked(c *runs.Cell) bool {
	return c.BadInput != nil && c.BadInput.Failed != nil && *c.BadInput.Failed
}

// badCell is a cell whose load held bad records.
type badCell struct {
	group  *group
	engine string
	cell   *runs.Cell
}

func badCells(groups []*group) (out []badCell) {
	for _, g := range groups {
		for _, e := range g.engines {
			for _, c := range e.cells {
				if c.BadInput != nil && (c.BadInput.Sent != nil || c.BadInput.Failed != nil) {
					out = append(out, badCell{g, e.engine, c})
				}
			}
		}
	}
	return out
}

func (b badCell) name() string {
	return strings.Join(append([]string{b.engine, b.group.guarantee}, b.cell.Variant...), ", ")
}

// exact reports whether each bad record had the end that the scenario asks for,
// as far as an observer can tell.
func (b badCell) exact() bool {
	x := b.cell.BadInput
	switch {
	case x.Failed != nil:
		return *x.Failed
	case x.DeadLetters != nil:
		return *x.DeadLetters == *x.Sent && *x.Losses == 0 && *x.Unexpected == 0
	}
	r := recordsOf(b.cell)
	return r.Unexpected != nil && *r.Unexpected == 0
}

// outcome says in words what became of the bad records.
func (b badCell) outcome() string {
	x := b.cell.BadInput
	switch {
	case failedAsAsked(b.cell):
		s := x.FailedBy
		return fmt.Sprintf("failed the job, as asked, at split %s, position %d: %s", oneLine(s.Split), s.Position, oneLine(s.Reason))
	case x.Failed != nil:
		return "were to fail the job, which did not fail by one of them"
	case x.DeadLetters != nil:
		s := fmt.Sprintf("%s of %s kept as dead letters", count(*x.DeadLetters), count(*x.Sent))
		if *x.Duplicates > 0 {
			s += ", and " + count(*x.Duplicates) + " once more"
		}
		if *x.Losses > 0 {
			s += ", " + count(*x.Losses) + " lost"
		}
		if *x.Unexpected > 0 {
			s += ", " + plural(*x.Unexpected, "dead letter") + " of good records"
		}
		return s
	}
	return fmt.Sprintf("%s dropped, by the engine's count of %s", count(*x.Sent), optional(x.Records))
}

// badFinding says what became of a load's bad records.
func badFinding(groups []*group) (Finding, bool) {
	cells := badCells(groups)
	if len(cells) == 0 {
		return Finding{}, false
	}
	f := Finding{Topic: "Bad input", Where: groups[0].scenario, Status: statusGood}
	var parts []string
	for _, b := range cells {
		if !b.exact() {
			f.Status = statusBad
		}
		f.Values = append(f.Values, Value{Engine: b.engine, Figure: b.figure(), Detail: strings.Join(append([]string{b.group.guarantee}, b.cell.Variant...), ", ")})
		parts = append(parts, b.name()+": "+b.outcome())
	}
	f.Sentence = "The load held records that no job can use. " + strings.Join(parts, "; ") + "."
	if f.Status == statusBad {
		f.Sentence += " That is not what the scenario asks for: see the table."
	}
	return f, true
}

// figure is outcome in a word.
func (b badCell) figure() string {
	x := b.cell.BadInput
	switch {
	case failedAsAsked(b.cell):
		return "failed by it"
	case x.Failed != nil:
		return "did not fail by it"
	case x.DeadLetters != nil:
		return fmt.Sprintf("%s of %s kept", count(*x.DeadLetters), count(*x.Sent))
	}
	return count(*x.Sent) + " dropped"
}

// badTable sets the cells side by side, and badSampleTable shows the first records.
func badTable(groups []*group) Table {
	t := Table{
		Caption: "What became of the records that the load made unusable. Sent is the plan's count, by kind; the engine counts again what it reads again; dead letters are the observer's.",
		Head:    []string{"Engine", "Variant", "Guarantee", "Sent", "By kind", "Engine's count", "Dead letters", "Copies", "Lost", "Unexpected", "Job"},
	}
	for _, b := range badCells(groups) {
		x := b.cell.BadInput
		job := "ran on"
		if x.Failed != nil {
			if job = "did not fail by it"; *x.Failed {
				job = "failed, as asked"
			}
		}
		row := Row{Cells: []string{b.engine, strings.Join(b.cell.Variant, ", "), b.group.guarantee, optional(x.Sent), kindsOf(x), optional(x.Records),
			optional(x.DeadLetters), optional(x.Duplicates), optional(x.Losses), optional(x.Unexpected), job}}
		if !b.exact() {
			row.Status = statusBad
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func kindsOf(b *runs.BadInput) string {
	var parts []string
	for k := range b.Kinds {
		parts = append(parts, k)
	}
	slices.Sort(parts)
	for i, k := range parts {
		parts[i] = oneLine(k) + " " + count(b.Kinds[k])
	}
	return strings.Join(parts, ", ")
}

// badSampleTable shows the first bad records of each kind, with what the engines
// said of them.
func badSampleTable(groups []*group) Table {
	t := Table{
		Caption: "The first bad record of each kind, and what each engine says of it. All samples are in summary.json (badInput).",
		Head:    []string{"Engine", "Kind", "Split", "Position", "Reason", "Begins with"},
	}
	seen := map[[2]string]bool{}
	for _, b := range badCells(groups) {
		for _, s := range b.cell.BadInput.Samples {
			k := [2]string{b.engine, s.Kind}
			if seen[k] {
				continue
			}
			seen[k] = true
			t.Rows = append(t.Rows, Row{Cells: []string{b.engine, oneLine(s.Kind), oneLine(s.Split), count(s.Position), oneLine(s.Reason), begins(s.Value)}})
		}
	}
	return t
}

// begins quotes the beginning of a value in one line.
func begins(v string) string {
	const shown = 48
	if len(v) > shown {
		v = v[:shown] + "…"
	}
	return oneLine(fmt.Sprintf("%q", v))
}
