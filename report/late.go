package report

import (
	"fmt"
	"slices"
	"strings"

	"streamduel/runs"
)

// lateCell is a cell of which it is known how many inputs came behind the
// watermark, and what became of all the others.
type lateCell struct {
	group  *group
	engine string
	cell   *runs.Cell
}

// eligible is how many inputs could have counted in a result: late or not.
func (l lateCell) eligible() int64 {
	return *l.cell.Records.Sent - *l.cell.Records.Filtered - badOf(l.cell) - l.before()
}

// before is how many inputs lie before where the job was to begin.
func (l lateCell) before() int64 {
	if l.cell.Records.BeforeStart == nil {
		return 0
	}
	return *l.cell.Records.BeforeStart
}

// badOf is how many inputs the load made unusable.
func badOf(c *runs.Cell) int64 {
	if c.Records.Bad == nil {
		return 0
	}
	return *c.Records.Bad
}

func (l lateCell) share() string {
	if l.eligible() == 0 {
		return absent
	}
	return percent(float64(*l.cell.Records.Late) / float64(l.eligible()))
}

// unaccounted is what is neither in a result nor late, filtered, bad, lost or before
// the start; less than none where something counts twice.
func (l lateCell) unaccounted() int64 {
	r := l.cell.Records
	return *r.Sent - *r.Visible - *r.Late - *r.Filtered - badOf(l.cell) - *r.Losses - l.before()
}

// policy names the cell by its engine and what a matrix varied of it.
func (l lateCell) policy() string {
	return strings.Join(append([]string{l.engine}, l.cell.Variant...), ", ")
}

// lateCells returns the cells of groups in which late records are to be looked
// at: all of a scenario, as soon as one of its cells has any, and all that have
// the figures where the scenario starts a job on a backlog.
func lateCells(groups []*group) (out []lateCell) {
	any := false
	for _, g := range groups {
		for _, e := range g.engines {
			for _, c := range e.cells {
				r := c.Records
				if r == nil || r.Sent == nil || r.Visible == nil || r.Late == nil || r.Filtered == nil || r.Losses == nil {
					continue
				}
				any = any || *r.Late > 0 || slices.ContainsFunc(c.Marks, func(m runs.Mark) bool { return m.Kind == runs.MarkStarted })
				out = append(out, lateCell{g, e.engine, c})
			}
		}
	}
	if !any {
		return nil
	}
	return out
}

// lateFinding says, over the cells of one scenario, which way to make a
// watermark dropped how much.
func lateFinding(groups []*group) (Finding, bool) {
	cells := lateCells(groups)
	if len(cells) == 0 {
		return Finding{}, false
	}
	f := Finding{Topic: "Late records", Where: groups[0].scenario}
	var dropped, none []string
	exact := true
	for _, l := range cells {
		late := *l.cell.Records.Late
		exact = exact && l.unaccounted() == 0
		v := Value{Engine: l.engine, Figure: "none late", Detail: strings.Join(l.cell.Variant, ", ")}
		if late == 0 {
			none = append(none, l.policy())
		} else {
			v.Figure = count(late) + " late (" + l.share() + ")"
			dropped = append(dropped, fmt.Sprintf("%s dropped %s of %s (%s)", l.policy(), count(late), count(l.eligible()), l.share()))
		}
		f.Values = append(f.Values, v)
	}
	var parts []string
	if len(dropped) > 0 {
		parts = append(parts, "Behind the watermark, so in no window: "+strings.Join(dropped, "; ")+".")
	}
	if len(none) > 0 {
		parts = append(parts, "Nothing was late under "+strings.Join(none, "; ")+".")
	}
	if exact {
		f.Status = statusGood
		parts = append(parts, "Results, late, filtered and lost records add up to what was sent, exactly, in "+plural(int64(len(cells)), "cell")+".")
	} else {
		f.Status = statusBad
		parts = append(parts, "Results, late, filtered and lost records do not add up to what was sent: see the table.")
	}
	f.Sentence = strings.Join(parts, " ")
	return f, true
}

// lateTable sets the cells of one scenario side by side.
func lateTable(groups []*group) Table {
	t := Table{
		Caption: "What became of each record that was sent. Late ones came behind the watermark and went to a topic of their own; the share is of what could have counted.",
		Head:    []string{"Engine", "Variant", "Guarantee", "Sent", "In results", "Late", "Share", "Filtered", "Lost", "Unaccounted"},
	}
	cells := lateCells(groups)
	started := slices.ContainsFunc(cells, func(l lateCell) bool { return l.before() > 0 })
	if started {
		t.Head = append(t.Head, "Before the start")
	}
	for _, l := range cells {
		r := l.cell.Records
		row := Row{Cells: []string{l.engine, strings.Join(l.cell.Variant, ", "), l.group.guarantee,
			count(*r.Sent), count(*r.Visible), count(*r.Late), l.share(), count(*r.Filtered), count(*r.Losses), count(l.unaccounted())}}
		if started {
			row.Cells = append(row.Cells, count(l.before()))
		}
		if l.unaccounted() != 0 {
			row.Status = statusBad
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// badShown is how many samples of bad input are named.
const badShown = 3

// badInput names the first records that a job could not use.
func (c *concerns) badInput(cell *runs.Cell) {
	b := cell.BadInput
	if b == nil || b.Records == nil || b.Sent != nil || b.Failed != nil {
		return // none, or asked for: a finding tells of it
	}
	what := "Some input could not be used."
	remedy := "All samples, with how each begins, are in summary.json (badInput); the scenario's badInput says what becomes of it."
	c.add(levelWarning, what, remedy, cell.ID+": "+plural(*b.Records, "record"))
	for _, s := range b.Samples[:min(len(b.Samples), badShown)] {
		c.add(levelWarning, what, remedy, fmt.Sprintf("%s: split %s, position %d: %s", cell.ID, oneLine(s.Split), s.Position, oneLine(s.Reason)))
	}
}
