package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"streamduel/runs"
)

// Table is a table in any form. The first column holds the rows' names.
type Table struct {
	Caption string
	Head    []string
	Rows    []Row
}

// Row is one row; a row with one cell is a heading within the table.
type Row struct {
	Cells []string
	// Status colours the row's verdict: good, bad, unknown or empty.
	Status string
}

// Empty says that there is nothing to show.
func (t Table) Empty() bool { return len(t.Rows) == 0 }

func statusOf(v runs.Verdict) string {
	switch v {
	case runs.Pass:
		return statusGood
	case runs.Fail:
		return statusBad
	}
	return statusUnknown
}

// worstVerdict is the verdict of an engine's repetitions together.
func (e engineCells) worstVerdict() runs.Verdict {
	cells := make([]runs.Cell, len(e.cells))
	for i, c := range e.cells {
		cells[i] = *c
	}
	return runs.Worst(cells)
}

// cellTable is the table of all cells with their leading figures, a row for
// each engine of each group.
func cellTable(groups []*group) Table {
	t := Table{
		Caption: "Every cell with its leading figures. Latency is event-time latency in the phase that the cell is compared by.",
		Head:    []string{"Cell", "Engine", "Verdict", "Phase", "p50", "p99", "Visible", "Duplicates", "Losses", "CPU s per million", "Memory peak", "State"},
	}
	for _, g := range groups {
		for _, e := range g.engines {
			phase := mainPhase(e.cells[0])
			latency := "latencyMillis.event." + phase + "."
			shown := absent
			if phase != "" {
				shown = phase
			}
			memory := e.brief("cost.rssPeakBytes")
			if memory == absent {
				memory = e.brief("pressure.rssPeakBytes")
			}
			verdict := e.worstVerdict()
			t.Rows = append(t.Rows, Row{Status: statusOf(verdict), Cells: []string{
				g.name(), e.engine, string(verdict), shown,
				e.brief(latency + "p50"), e.brief(latency + "p99"), e.brief("throughput." + ranPhase(e.cells[0], phase) + ".visible"),
				e.counted("duplicates"), e.counted("losses"),
				unitless(e.brief("cost.cpuSecondsPerMillion")), memory, e.stateSize(),
			}})
		}
	}
	last := len(t.Head) - 1
	if !slices.ContainsFunc(t.Rows, func(r Row) bool { return r.Cells[last] != absent }) { // no job kept any
		t.Head = t.Head[:last]
		for i := range t.Rows {
			t.Rows[i].Cells = t.Rows[i].Cells[:last]
		}
	}
	return t
}

// stateSize writes the keys of state and what they take.
func (e engineCells) stateSize() string {
	keys := e.estimate("state.keysPeak")
	if keys.N == 0 {
		return absent
	}
	text := plural(int64(math.Round(keys.Median)), "key") + ", " + size(e.estimate("state.memoryBytesPeak").Median)
	if disk := e.estimate("state.diskBytesPeak"); disk.N > 0 {
		text += " and " + size(disk.Median) + " on disk"
	}
	return text
}

// ranPhase is the phase whose rates stand for a cell: the one that it is compared
// by, or behind a backlog, in which no job ran, the one in which it was caught up.
func ranPhase(c *runs.Cell, phase string) string {
	i := slices.IndexFunc(c.Marks, func(m runs.Mark) bool { return m.Kind == runs.MarkStarted })
	if i < 0 {
		return phase
	}
	for _, p := range c.Phases {
		if p.End > c.Marks[i].At {
			return p.Name
		}
	}
	return phase
}

// unitless leaves the seconds out where the column's head says them.
func unitless(s string) string { return strings.TrimSuffix(s, " s") }

// counted writes duplicates or losses, and beside them what was predicted.
func (e engineCells) counted(name string) string {
	if c := e.worstCrash(); c != nil && c.Crash.Expected != nil && c.Records != nil {
		x := c.Crash.Expected
		if name == "duplicates" {
			return optional(copies(c)) + " (predicted " + interval(x.Duplicates, x.DuplicatesAtMost) + ")"
		}
		return optional(missing(c)) + " (predicted " + interval(x.Losses, x.LossesAtMost) + ")"
	}
	path := "records." + name
	if worst, ok := e.worst(path); ok {
		return plainCount(worst)
	}
	return e.brief(path)
}

// crashTable sets measured and predicted side by side, a row a cell.
func crashTable(groups []*group) Table {
	t := Table{
		Caption: "What each kill did, beside what the crash catalogue predicts for that point from the engine's own counts at the kill.",
		Head: []string{"Guarantee", "Engine", "Killed at", "Duplicates", "Predicted", "Losses", "Predicted", "As predicted",
			"Restarted", "First new result", "Visible", "Caught up", "Read again"},
	}
	for _, g := range groups {
		for _, e := range g.engines {
			for _, c := range e.cells {
				if c.Crash == nil {
					continue
				}
				t.Rows = append(t.Rows, crashRow(g, e, c))
			}
		}
	}
	return t
}

func crashRow(g *group, e engineCells, c *runs.Cell) Row {
	one := engineCells{engine: e.engine, cells: []*runs.Cell{c}}
	at := oneLine(c.Crash.Point)
	if c.Crash.Hit > 0 {
		at += fmt.Sprintf(", hit %d", c.Crash.Hit)
	}
	if c.Crash.Again != "" {
		at += ", then " + oneLine(c.Crash.Again)
	}
	if !c.Crash.Reached {
		at += " (not reached)"
	}
	x := c.Crash.Expected
	if x == nil {
		x = &runs.Expected{}
	}
	row := Row{Status: statusUnknown}
	verdict := "no prediction"
	switch predicted(c) {
	case asPredicted:
		verdict, row.Status = "yes", statusGood
	case otherThanPredicted:
		verdict, row.Status = "NO", statusBad
	}
	row.Cells = []string{
		g.title(), e.engine, at,
		orBrief(copies(c), one.brief("records.duplicates")), interval(x.Duplicates, x.DuplicatesAtMost),
		orBrief(missing(c), one.brief("records.losses")), interval(x.Losses, x.LossesAtMost), verdict,
		one.brief("crash.restartedSeconds"), one.brief("crash.firstResultSeconds"),
		one.brief("crash.visibleSeconds"), one.brief("crash.caughtUpSeconds"), one.brief("crash.replayedRecords"),
	}
	return row
}

// figureTable lists every figure of a scenario's cells: a row a figure, a
// column for each engine of each group.
func figureTable(groups []*group) Table {
	t := Table{Caption: "All figures, by the names that summary.json and gates use.", Head: []string{"Figure"}}
	var all []engineCells
	for _, g := range groups {
		for _, e := range g.engines {
			all = append(all, e)
			t.Head = append(t.Head, e.engine+", "+g.title())
		}
	}
	for _, path := range pathsOf(all) {
		row := Row{Cells: []string{path}}
		some := false
		for _, e := range all {
			text := e.show(path)
			some = some || text != absent
			row.Cells = append(row.Cells, text)
		}
		if some {
			t.Rows = append(t.Rows, row)
		}
	}
	return t
}

// pathsOf fills the names of phases and tasks into the known paths.
func pathsOf(all []engineCells) []string {
	var phases, tasks []string
	collect := func(to *[]string, name string) {
		if !slices.Contains(*to, name) {
			*to = append(*to, name)
		}
	}
	for _, e := range all {
		for _, c := range e.cells {
			for _, p := range c.Phases {
				collect(&phases, p.Name)
			}
			if c.Pressure != nil {
				for task := range c.Pressure.Blocked {
					collect(&tasks, task)
				}
			}
		}
	}
	slices.Sort(tasks)
	var paths []string
	done := ""
	for _, path := range runs.FigurePaths() {
		stem, _, hasPhase := strings.Cut(path, "<phase>")
		switch {
		case hasPhase && stem == done: // its figures stand together by phase
		case hasPhase:
			done = stem
			paths = append(paths, byPhase(stem, phases)...)
		case strings.Contains(path, "<task>"):
			for _, task := range tasks {
				paths = append(paths, strings.ReplaceAll(path, "<task>", task))
			}
		default:
			paths = append(paths, path)
		}
	}
	return paths
}

// byPhase lists all figures that start with stem, phase by phase.
func byPhase(stem string, phases []string) []string {
	var out []string
	for _, phase := range phases {
		for _, path := range runs.FigurePaths() {
			if strings.HasPrefix(path, stem+"<phase>") {
				out = append(out, strings.ReplaceAll(path, "<phase>", phase))
			}
		}
	}
	return out
}

// auditTable has a row for each audit, over all cells.
func auditTable(s *runs.Summary) Table {
	t := Table{Caption: "Checks of the run itself. An audit that fails voids the figures it names, and nothing else.",
		Head: []string{"Audit", "Held", "What was found", "Voids when it fails"}}
	type entry struct {
		held, all int
		detail    []string
		voids     []string
	}
	by := map[string]*entry{}
	var order []string
	add := func(where string, a runs.Audit) {
		e := by[a.Name]
		if e == nil {
			e = &entry{}
			by[a.Name] = e
			order = append(order, a.Name)
		}
		e.all++
		for _, v := range a.Voids {
			if !slices.Contains(e.voids, v) {
				e.voids = append(e.voids, v)
			}
		}
		if a.OK {
			e.held++
		} else {
			e.detail = append(e.detail, strings.TrimSpace(where+": "+oneLine(a.Detail)))
		}
	}
	for _, a := range s.Audits {
		add("the run", a)
	}
	for _, c := range s.Cells {
		for _, a := range c.Audits {
			add(c.ID, a)
		}
	}
	for _, name := range order {
		e := by[name]
		row := Row{Status: statusGood, Cells: []string{oneLine(name), fmt.Sprintf("%d of %d", e.held, e.all), strings.Join(e.detail, "; "), strings.Join(e.voids, ", ")}}
		if e.held < e.all {
			row.Status = statusUnknown
		} else {
			row.Cells[2] = detailOf(s, name)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// detailOf gives the first detail that an audit which held has to tell.
func detailOf(s *runs.Summary, name string) string {
	for _, c := range s.Cells {
		for _, a := range c.Audits {
			if a.Name == name && a.Detail != "" {
				return oneLine(a.Detail)
			}
		}
	}
	return ""
}
