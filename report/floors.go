package report

import (
	"slices"

	"streamduel/runs"
)

// pacedFloor returns the bare loop that did what the cell had to do: passed
// records on at the cell's rate and committed as often. It is nil where none was
// measured, as in runs of an older format or under a load that is not constant.
func pacedFloor(f *runs.Floors, c *runs.Cell) *runs.PacedFloor {
	const constant = "constant"
	if f == nil || c.Load == nil || c.Load.Shape != constant {
		return nil
	}
	same := func(a, b *float64) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }
	for i := range f.Paced {
		if p := &f.Paced[i]; p.Rate == c.Load.Rate && p.RecordBytes == c.Load.RecordBytes && same(p.CommitSeconds, c.Load.CommitSeconds) {
			return p
		}
	}
	return nil
}

// paced are the floor's figures for an engine's cells; 0 stands for none.
type paced struct{ p50, p99, cpu float64 }

func (e engineCells) paced(f *runs.Floors) (v paced) {
	p := pacedFloor(f, e.cells[0])
	if p == nil {
		return v
	}
	if p.CPUSecondsPerMillion != nil {
		v.cpu = *p.CPUSecondsPerMillion
	}
	// The loop's sink was free.
	if p.LatencyMillis != nil && !throttled(e.cells[0], mainPhase(e.cells[0])) {
		v.p50, v.p99 = p.LatencyMillis.P50, p.LatencyMillis.P99
	}
	return v
}

// throttled says whether the sink was, in a phase.
func throttled(c *runs.Cell, phase string) bool {
	return slices.ContainsFunc(c.Phases, func(p runs.Phase) bool { return p.Name == phase && isFault("throttle")(p) })
}

// over writes a figure's median as a multiple of its floor.
func (e engineCells) over(path string, floor float64) string {
	if est := e.estimate(path); est.N > 0 && floor > 0 {
		return significant(est.Median / floor)
	}
	return absent
}

// median writes a figure without its interval, which the table of cells has.
func (e engineCells) median(path string) string {
	if text := e.figure(path); text != absent {
		return text
	}
	return e.brief(path)
}

// orAbsent writes a floor.
func orAbsent(v float64, format func(float64) string) string {
	if v <= 0 {
		return absent
	}
	return format(v)
}

// besideTable sets each cell's latency and cost beside those of the bare loop
// at the cell's own pace.
func besideTable(groups []*group, f *runs.Floors) Table {
	t := Table{
		Caption: "Each cell beside a bare loop that consumes and produces records of the same length at the cell's own rate, committing as often under exactly-once, with the same generator and observer. " +
			"It passes every record on as it comes, so an engine that collects records into batches can need fewer requests and less processor time than it. " +
			"Latency is that of the phase the cell is compared by, and without a loop's where its sink was throttled in it; processor time is of the whole cell, with whatever was done to it.",
		Head: []string{"Cell", "Engine", "p50", "Loop p50", "× loop", "p99", "Loop p99", "× loop", "CPU s per million", "Loop CPU s", "× loop", "Loop's pace"},
	}
	if f == nil || len(f.Paced) == 0 {
		return t
	}
	for _, g := range groups {
		for _, e := range g.engines {
			p := pacedFloor(f, e.cells[0])
			if p == nil {
				continue
			}
			v := e.paced(f)
			latency := "latencyMillis.event." + mainPhase(e.cells[0]) + "."
			const cpu = "cost.cpuSecondsPerMillion"
			t.Rows = append(t.Rows, Row{Cells: []string{
				g.name(), e.engine,
				e.median(latency + "p50"), orAbsent(v.p50, millis), e.over(latency+"p50", v.p50),
				e.median(latency + "p99"), orAbsent(v.p99, millis), e.over(latency+"p99", v.p99),
				unitless(e.median(cpu)), orAbsent(v.cpu, significant), e.over(cpu, v.cpu), paceOf(p),
			}})
		}
	}
	return t
}

// paceOf says what the bare loop did.
func paceOf(p *runs.PacedFloor) string {
	text := rate(p.Rate)
	if p.RecordBytes > 0 {
		text += " of " + size(float64(p.RecordBytes))
	}
	if p.CommitSeconds != nil {
		text += ", commit every " + seconds(*p.CommitSeconds)
	}
	return text
}

// floorTable shows what the machine gave to programs that do nothing else.
func floorTable(f *runs.Floors) Table {
	t := Table{
		Caption: "Bare loops measured in this run, on this machine. A ratio to a floor survives a slow or noisy machine; an absolute figure does not.",
		Head:    []string{"Floor", "Rate", "CPU s per million", "p50", "p99"},
	}
	if f == nil {
		return t
	}
	add := func(name string, floor *runs.Floor) {
		if floor == nil {
			return
		}
		row := []string{name, absent, absent, absent, absent}
		if floor.RecordsPerSecond != nil {
			row[1] = rate(*floor.RecordsPerSecond)
		}
		if floor.CPUSecondsPerMillion != nil {
			row[2] = significant(*floor.CPUSecondsPerMillion)
		}
		t.Rows = append(t.Rows, Row{Cells: row})
	}
	for _, p := range f.Paced {
		name := "Consume and produce at a cell's pace"
		if p.RecordBytes > 0 {
			name += ", records of " + size(float64(p.RecordBytes))
		}
		if p.CommitSeconds != nil {
			name += ", commit every " + seconds(*p.CommitSeconds)
		}
		row := []string{name, rate(p.Rate), absent, absent, absent}
		if p.CPUSecondsPerMillion != nil {
			row[2] = significant(*p.CPUSecondsPerMillion)
		}
		if l := p.LatencyMillis; l != nil {
			row[3], row[4] = millis(l.P50), millis(l.P99)
		}
		t.Rows = append(t.Rows, Row{Cells: row})
	}
	add("Consume and produce as fast as the client can", f.ClientLoop)
	add("Exchange: serialize, buffer, queue, deserialize", f.Exchange)
	add("Decoding", f.Decode)
	return t
}
