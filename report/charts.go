package report

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"streamduel/runs"
	"streamduel/runs/lttb"
)

// Chart is one picture: lines over time since the cell's start.
type Chart struct {
	ID string `json:"id"`
	// Group is shared by the charts that have one time axis.
	Group string `json:"group"`
	Title string `json:"title"`
	// Unit is that of the vertical axis: ms, records/s, records, bytes, share
	// or cores.
	Unit string `json:"unit"`
	Log  bool   `json:"log,omitempty"`
	// Main charts are drawn large.
	Main bool `json:"main,omitempty"`
	// Summary says in words what the lines show.
	Summary string `json:"-"`
	// Note says how the lines were made.
	Note   string  `json:"-"`
	Lines  []Line  `json:"lines"`
	Phases []Band  `json:"phases,omitempty"`
	Marks  []Mark  `json:"marks,omitempty"`
	Levels []Level `json:"levels,omitempty"`
	// End is the end of the time axis, the same in all charts of a group.
	End float64 `json:"end"`
}

// Line is one line of a chart.
type Line struct {
	Name string `json:"name"`
	// Engine names whose style the line has; empty for what belongs to none,
	// such as the offered load, which is drawn grey.
	Engine string `json:"engine,omitempty"`
	// Thin lines are the quieter companions of a heavy one.
	Thin bool      `json:"thin,omitempty"`
	X    []float64 `json:"x"`
	Y    []num     `json:"y"` // NaN breaks the line
}

// num is a number that is written as null where it is NaN.
type num float64

// MarshalJSON implements json.Marshaler.
func (n num) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%.5g", float64(n)), nil
}

// Band is a phase.
type Band struct {
	Name  string  `json:"name"`
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Fault bool    `json:"fault,omitempty"`
}

// Mark is a moment, numbered in the pictures and named in a list beside them.
// One that all engines share names none.
type Mark struct {
	N      int     `json:"n"`
	At     float64 `json:"at"`
	Label  string  `json:"label"`
	Engine string  `json:"engine,omitempty"`
	kind   string
}

// Level is a horizontal line with a name.
type Level struct {
	At    float64 `json:"at"`
	Label string  `json:"label"`
}

// maxPoints is how many points of a line are drawn; more cannot be told apart
// on any screen, and LTTB keeps the peaks.
const maxPoints = 600

// source is one engine's raw data for a picture: its first repetition.
type source struct {
	engine    string
	cell      *runs.Cell
	series    []runs.Sample
	latencies []runs.LatencyInterval
	events    []runs.Event    // read where a chart needs them
	predicted *runs.Predicted // nil for none
}

// chartsOf makes the charts of a group, and notes on what is missing.
func chartsOf(f *runs.Folder, g *group) ([]Chart, []string) {
	var notes []string
	var sources []source
	repeated := 0
	for _, e := range g.engines {
		repeated = max(repeated, len(e.cells))
		src, missing := sourceOf(f, e.engine, e.cells[0])
		notes = append(notes, missing...)
		sources = append(sources, src)
	}
	if repeated > 1 {
		notes = append(notes, fmt.Sprintf("The pictures show the first of %d repetitions.", repeated))
	}
	return together(g.name(), sources, []func([]source) Chart{
		stepsChart, latencyChart, intakeChart, visibleChart, newPartitionsChart, lagChart, queuedChart, limitChart, delayChart, checkpointChart,
		blockedChart, memoryChart, cpuChart,
	}), notes
}

// sourceOf reads a cell's raw data, and says what is missing.
func sourceOf(f *runs.Folder, name string, c *runs.Cell) (source, []string) {
	var notes []string
	src := source{engine: name, cell: c}
	var err error
	if src.series, err = f.Series(c.ID); err != nil {
		notes = append(notes, noteOf(name, "curves over time", err))
	}
	if src.latencies, err = f.Latencies(c.ID); err != nil {
		notes = append(notes, noteOf(name, "latency over time", err))
	}
	if w, voided := c.Voided(runs.GroupLatency); voided {
		src.latencies = nil
		notes = append(notes, fmt.Sprintf("The latency of %s is withheld: %s.", name, strings.TrimSuffix(oneLine(w.Detail), ".")))
	}
	src.latencies = slices.DeleteFunc(src.latencies, func(i runs.LatencyInterval) bool {
		_, voided := c.VoidedLatency(i.Phase)
		return voided
	})
	if p := c.Pressure; p != nil && (p.SchedulingDelay != nil || p.Checkpoints != nil) {
		if src.events, err = f.Events(c.ID); err != nil {
			notes = append(notes, noteOf(name, "batches and checkpoints", err))
		}
	}
	if p := c.Pressure; p != nil && p.SchedulingDelay != nil && p.SchedulingDelay.PredictedPeakSeconds != nil {
		if src.predicted, err = f.Predicted(c.ID); err != nil {
			notes = append(notes, noteOf(name, "predicted curves", err))
		} else {
			notes = append(notes, "Predicted for "+name+": "+oneLine(src.predicted.About))
		}
	}
	return src, notes
}

// together makes charts that share a time axis.
func together(name string, sources []source, kinds []func([]source) Chart) []Chart {
	var charts []Chart
	for _, make := range kinds {
		if c := make(sources); len(c.Lines) > 0 {
			charts = append(charts, c)
		}
	}
	phases, marks, end := frame(sources)
	for _, c := range charts {
		for _, l := range c.Lines {
			if n := len(l.X); n > 0 { // the last results come after the last phase
				end = max(end, l.X[n-1])
			}
		}
	}
	for i := range charts {
		c := &charts[i]
		c.Group = anchor(name)
		c.ID = anchor(name) + "-" + anchor(c.Title)
		c.Phases, c.Marks, c.End = phases, marks, end
		c.Summary = describe(*c)
		for j := range c.Lines {
			c.Lines[j].thin(maxPoints)
		}
	}
	return charts
}

func noteOf(engine, what string, err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("No %s of %s: the file is missing.", what, engine)
	}
	return fmt.Sprintf("No %s of %s: %s.", what, engine, oneLine(err.Error()))
}

// thin reduces a line for drawing.
func (l *Line) thin(n int) {
	points := make([]lttb.Point, len(l.X))
	for i := range points {
		points[i] = lttb.Point{X: l.X[i], Y: float64(l.Y[i])}
	}
	keep := lttb.Indices(points, n)
	x, y := make([]float64, len(keep)), make([]num, len(keep))
	for i, k := range keep {
		x[i], y[i] = math.Round(l.X[k]*1000)/1000, l.Y[k]
	}
	l.X, l.Y = x, y
}

// frame gives what all charts of a group share: phases, marks and the end of
// the axis. The phases are those of the cell that ran longest; where cells
// differ (a recovery lasts as long as it takes) the others' marks tell.
func frame(sources []source) (phases []Band, marks []Mark, end float64) {
	var longest *runs.Cell
	for _, s := range sources {
		last := 0.0
		if n := len(s.cell.Phases); n > 0 {
			last = s.cell.Phases[n-1].End
		}
		if longest == nil || last > end {
			longest = s.cell
		}
		end = max(end, last)
	}
	for _, s := range sources {
		if n := len(s.series); n > 0 && end == 0 {
			end = s.series[n-1].T
		}
	}
	if longest != nil {
		for _, p := range longest.Phases {
			phases = append(phases, Band{Name: p.Name, From: p.Start, To: p.End, Fault: p.Fault != ""})
		}
	}
	for _, s := range sources {
		for _, m := range s.cell.Marks {
			marks = append(marks, Mark{At: m.At, Label: oneLine(m.Label), Engine: s.engine, kind: m.Kind})
		}
	}
	slices.SortStableFunc(marks, func(a, b Mark) int { return cmp.Compare(a.At, b.At) })
	return phases, shareMarks(marks, len(sources)), end
}

// shareMarks numbers the marks. Those that every engine has at the same time,
// as the harness's own doings are, become one; so do two of one engine that
// are of one kind at the same time.
func shareMarks(marks []Mark, engines int) []Mark {
	const same = 0.25 // seconds
	var out []Mark
	used := make([]bool, len(marks))
	for i, m := range marks {
		if used[i] {
			continue
		}
		twins, of := []int{i}, []string{m.Engine}
		for j := i + 1; j < len(marks) && marks[j].At-m.At <= same; j++ {
			if used[j] || marks[j].kind != m.kind || m.kind == "" && marks[j].Label != m.Label {
				continue
			}
			twins = append(twins, j)
			if !slices.Contains(of, marks[j].Engine) {
				of = append(of, marks[j].Engine)
			}
		}
		shared := engines > 1 && len(of) == engines
		for _, j := range twins {
			used[j] = used[j] || shared || marks[j].Engine == m.Engine
		}
		if shared {
			m.Engine = ""
		}
		m.N = len(out) + 1
		out = append(out, m)
	}
	return out
}

// latencyBin is the width of the bins of latency over time, in seconds.
const latencyBin = 0.5

func latencyChart(sources []source) Chart {
	c := Chart{Title: "Event-time latency", Unit: "ms", Log: true, Main: true,
		Note: fmt.Sprintf("Counted from each record's scheduled time until its result is visible. The heavy line is the 99th percentile, the thin one the median, of what became visible in each %s; a gap is a time in which nothing did.", seconds(latencyBin))}
	for _, s := range sources {
		bins := runs.BinLatencies(s.latencies, runs.EventLatency, latencyBin)
		if len(bins) == 0 {
			continue
		}
		gap := gapOf(bins)
		p50, p99 := Line{Name: s.engine + " p50", Engine: s.engine, Thin: true}, Line{Name: s.engine + " p99", Engine: s.engine}
		for i, b := range bins {
			at := (b.Start + b.End) / 2
			if i > 0 && b.Start-bins[i-1].Start > gap {
				p50.add(at-latencyBin, math.NaN())
				p99.add(at-latencyBin, math.NaN())
			}
			p50.add(at, b.P50)
			p99.add(at, b.P99)
		}
		c.Lines = append(c.Lines, p99, p50)
	}
	return c
}

// gapOf says how far two bins may lie apart before the line between them
// breaks. Where results come in batches every second or third bin is empty
// all the time, which is no gap; so it goes by what is usual in these bins.
func gapOf(bins []runs.LatencyBin) float64 {
	var steps []float64
	for i := 1; i < len(bins); i++ {
		steps = append(steps, bins[i].Start-bins[i-1].Start)
	}
	if len(steps) == 0 {
		return math.Inf(1)
	}
	return 1.75*runs.MedianOf(steps).Median + latencyBin
}

func (l *Line) add(x, y float64) {
	l.X = append(l.X, x)
	l.Y = append(l.Y, num(y))
}

// rateWindow is over what time rates are averaged, in seconds: an engine that
// works in batches shows all or nothing in a tenth of a second.
const rateWindow = 1.0

// column makes a line of one column of the series; nothing for one that is
// unknown throughout. Rates are averaged over the last rateWindow.
func column(s source, name string, of func(runs.Sample) float64, isRate bool) (Line, bool) {
	window := 0.0
	if isRate {
		window = rateWindow
	}
	return columnOver(s, name, of, window)
}

// columnOver is column with means over another window; 0 takes the values as they
// are.
func columnOver(s source, name string, of func(runs.Sample) float64, window float64) (Line, bool) {
	l := Line{Name: name, Engine: s.engine}
	known := false
	from := 0
	for i, row := range s.series {
		v := of(row)
		known = known || !math.IsNaN(v)
		if window == 0 {
			l.add(row.T, v)
			continue
		}
		start := row.T - window
		for from < i && s.series[from].T <= start {
			from++
		}
		// The mean is over the whole window, also where the engine was dead
		// for part of it; only the first second of a cell has no window.
		if math.IsNaN(v) || start < s.series[0].T-0.15 {
			l.add(row.T, math.NaN())
			continue
		}
		sum := 0.0
		for j := from; j <= i; j++ {
			sum += amount(s.series, j, start, of)
		}
		l.add(row.T, sum/window)
	}
	return l, known
}

// amount is what a rate came to in the part of row i's interval that lies
// after start; an unknown rate to nothing.
func amount(series []runs.Sample, i int, start float64, of func(runs.Sample) float64) float64 {
	v := of(series[i])
	if math.IsNaN(v) || len(series) == 1 {
		return 0
	}
	before := 2*series[0].T - series[1].T
	if i > 0 {
		before = series[i-1].T
	}
	return v * (series[i].T - max(before, start))
}

func seriesChart(sources []source, title, unit, note string, of func(runs.Sample) float64, isRate bool) Chart {
	c := Chart{Title: title, Unit: unit, Note: note}
	for _, s := range sources {
		if l, known := column(s, s.engine, of, isRate); known {
			c.Lines = append(c.Lines, l)
		}
	}
	return c
}

const rateNote = "Mean over the last second."

// offered adds the offered load of the first engine that has it: it is the
// same schedule for all.
func offered(c *Chart, sources []source) {
	if len(c.Lines) == 0 {
		return
	}
	for _, s := range sources {
		if l, known := column(s, "offered", func(r runs.Sample) float64 { return r.Offered }, true); known {
			l.Engine = ""
			c.Lines = append(c.Lines, l)
			return
		}
	}
}

func intakeChart(sources []source) Chart {
	c := seriesChart(sources, "Intake", "records/s", "Records that the engine takes in. "+rateNote, func(s runs.Sample) float64 { return s.Consumed }, true)
	c.Main = true
	offered(&c, sources)
	for _, s := range sources {
		if p := s.cell.Pressure; p != nil && p.SinkRecordsPerSecond != nil {
			c.Levels = []Level{{At: *p.SinkRecordsPerSecond, Label: "throttled sink " + rate(*p.SinkRecordsPerSecond)}}
		}
	}
	return c
}

func visibleChart(sources []source) Chart {
	c := seriesChart(sources, "Visible results", "records/s", "Results that a read_committed reader sees. "+rateNote, func(s runs.Sample) float64 { return s.Visible }, true)
	c.Main = true
	offered(&c, sources)
	return c
}

func newPartitionsChart(sources []source) Chart {
	return seriesChart(sources, "Visible results of new partitions", "records/s", "The part that comes from partitions created during the run. "+rateNote, func(s runs.Sample) float64 { return s.VisibleNew }, true)
}

func lagChart(sources []source) Chart {
	c := seriesChart(sources, "Backlog", "records", "Records that are due and whose result is not visible yet.", func(s runs.Sample) float64 { return s.Lag }, false)
	return c.predict(sources, func(p *runs.Predicted) []runs.PredictedPoint { return p.Backlog }, 1)
}

func queuedChart(sources []source) Chart {
	return seriesChart(sources, "Queued in the engine", "records", "Records taken in and not yet written to the sink.", func(s runs.Sample) float64 { return s.QueuedRecords }, false)
}

func limitChart(sources []source) Chart {
	c := seriesChart(sources, "Rate limit", "records/s", "What the engine's rate control allows itself to take in.", func(s runs.Sample) float64 { return s.RateLimit }, false)
	return c.predict(sources, func(p *runs.Predicted) []runs.PredictedPoint { return p.RateLimit }, 1).within()
}

func blockedChart(sources []source) Chart {
	c := seriesChart(sources, "Blocked share", "share", "Largest share of time that a task could not write for want of a buffer. OK up to 10 %, LOW up to 50 %, HIGH above.", func(s runs.Sample) float64 { return s.BlockedShare }, false)
	c.Levels = []Level{{At: 0.10, Label: "LOW above 10 %"}, {At: 0.50, Label: "HIGH above 50 %"}}
	return c
}

func memoryChart(sources []source) Chart {
	return seriesChart(sources, "Resident memory", "bytes", "Of the engine's processes.", func(s runs.Sample) float64 { return s.RSS }, false)
}

func cpuChart(sources []source) Chart {
	return seriesChart(sources, "Processor", "cores", "Of the engine's processes. "+rateNote, func(s runs.Sample) float64 { return s.CPU }, true)
}

// unitFormat writes a value on the vertical axis.
func unitFormat(unit string) func(float64) string {
	switch unit {
	case "ms":
		return millis
	case "records/s":
		return rate
	case "bytes":
		return size
	case "share":
		return percent
	case "cores":
		return func(v float64) string { return significant(v) + " cores" }
	}
	return plainCount
}

// describe says what a chart's lines show, phase by phase, for those who
// cannot see them: the median of each line in each phase, and its peak.
func describe(c Chart) string {
	format := unitFormat(c.Unit)
	var parts []string
	for _, l := range c.Lines {
		peak, peakAt := math.NaN(), 0.0
		for i, y := range l.Y {
			if v := float64(y); !math.IsNaN(v) && !(v <= peak) {
				peak, peakAt = v, l.X[i]
			}
		}
		if math.IsNaN(peak) {
			continue
		}
		var typical []string
		for _, p := range c.Phases {
			var values []float64
			for i, x := range l.X {
				if v := float64(l.Y[i]); x > p.From && x <= p.To && !math.IsNaN(v) {
					values = append(values, v)
				}
			}
			if len(values) > 0 {
				typical = append(typical, fmt.Sprintf("%s %s", p.Name, format(runs.MedianOf(values).Median)))
			}
		}
		text := fmt.Sprintf("%s peaks at %s after %s", l.Name, format(peak), seconds(peakAt))
		if len(typical) > 0 {
			text += "; typical in " + strings.Join(typical, ", ")
		}
		parts = append(parts, text+".")
	}
	return strings.Join(parts, " ")
}
