package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"streamduel/runs"
)

// View is everything that a report shows, independent of its form.
type View struct {
	Run     runs.Run
	Verdict runs.Verdict
	Partial bool
	// Summary says in one sentence what the verdict rests on.
	Summary string
	// Repetitions says how often each cell ran and what follows for intervals.
	Repetitions string
	Attention   []Attention
	Findings    []Finding
	Scenarios   []ScenarioView
	Cells       Table
	// Beside sets cells beside the bare loops at their own pace; empty where
	// none was measured.
	Beside      Table
	Floors      Table
	Audits      Table
	Environment []Fact
	Engines     []EngineStyle
	// Styles are those of the engines and, behind them, of what a matrix varied.
	Styles []EngineStyle
}

// Fact is a name and a value.
type Fact struct{ Name, Value string }

// ScenarioView is one scenario with all its groups.
type ScenarioView struct {
	Name, Question, Anchor string
	Groups                 []GroupView
	// Crash compares what a crash did with what was predicted; empty for
	// other scenarios.
	Crash Table
	// Late sets side by side what came behind the watermark; empty where nothing
	// did.
	Late Table
	// Bad says what became of the bad records of a load, BadSamples shows the first;
	// empty where it held none.
	Bad, BadSamples Table
	Figures         Table
	// Failures are cells that died, with what they said last.
	Failures []Failure
}

// GroupView holds what is drawn in one picture: the engines of one scenario
// under one guarantee.
type GroupView struct {
	Title, Anchor string
	Charts        []Chart
	Marks         []Mark
	// Notes say what is not in the pictures and why.
	Notes []string
}

// Failure is the end of a worker's log.
type Failure struct{ Cell, Reason, Log string }

// group is a set of cells that differ in engine and repetition only.
type group struct {
	scenario, workload, guarantee, variant string
	engines                                []engineCells
}

type engineCells struct {
	engine string
	cells  []*runs.Cell // by repetition
}

func (g *group) title() string {
	parts := []string{g.guarantee}
	if g.variant != "" {
		parts = append(parts, g.variant)
	}
	return strings.Join(parts, ", ")
}

// name identifies the group within the run.
func (g *group) name() string { return g.scenario + ", " + g.title() }

// groupCells sorts the cells into groups, in the order of their first cells.
// Within a group the engines keep the order of styles, so that tables and
// legends agree.
func groupCells(cells []runs.Cell, styles []EngineStyle) []*group {
	var groups []*group
	for i := range cells {
		c := &cells[i]
		variant := strings.Join(c.Variant, ", ")
		at := slices.IndexFunc(groups, func(g *group) bool {
			return g.scenario == c.Scenario && g.workload == c.Workload && g.guarantee == c.Guarantee && g.variant == variant
		})
		if at < 0 {
			at = len(groups)
			groups = append(groups, &group{scenario: c.Scenario, workload: c.Workload, guarantee: c.Guarantee, variant: variant})
		}
		g := groups[at]
		e := slices.IndexFunc(g.engines, func(e engineCells) bool { return e.engine == c.Engine })
		if e < 0 {
			e = len(g.engines)
			g.engines = append(g.engines, engineCells{engine: c.Engine})
		}
		g.engines[e].cells = append(g.engines[e].cells, c)
	}
	order := func(engine string) int {
		return slices.IndexFunc(styles, func(s EngineStyle) bool { return s.Engine == engine })
	}
	for _, g := range groups {
		slices.SortStableFunc(g.engines, func(a, b engineCells) int { return order(a.engine) - order(b.engine) })
		for _, e := range g.engines {
			slices.SortStableFunc(e.cells, func(a, b *runs.Cell) int { return a.Repetition - b.Repetition })
		}
	}
	// All groups of a scenario stand together, in the order of first sight.
	first := map[string]int{}
	for i, g := range groups {
		if _, ok := first[g.scenario]; !ok {
			first[g.scenario] = i
		}
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return first[a.scenario] - first[b.scenario] })
	return groups
}

// estimate gathers a figure over an engine's repetitions.
func (e engineCells) estimate(path string) runs.Estimate {
	var values []float64
	for _, c := range e.cells {
		if v, ok, _ := c.Figure(path); ok {
			values = append(values, v)
		}
	}
	return runs.MedianOf(values)
}

// withheld returns the first reason for which a repetition's figures of the
// path's group were withheld.
func (e engineCells) withheld(path string) (runs.Withheld, bool) {
	for _, c := range e.cells {
		for _, w := range c.Withheld {
			if w.Takes(path) {
				return w, true
			}
		}
	}
	return runs.Withheld{}, false
}

const withheld = "withheld"

// show writes a figure, or why there is none.
func (e engineCells) show(path string) string {
	if est := e.estimate(path); est.N > 0 {
		return estimate(est, formatOf(path))
	}
	if w, ok := e.withheld(path); ok {
		return withheld + ": " + oneLine(w.Audit)
	}
	return absent
}

// brief is show for tables in which a reason has no room: it stands at the top
// of the report.
func (e engineCells) brief(path string) string {
	text := e.show(path)
	if strings.HasPrefix(text, withheld) {
		return withheld
	}
	return text
}

// mainPhase is the phase that a cell is compared by: the one called steady,
// else the longest one in which nothing was done to the system, else the
// longest.
func mainPhase(c *runs.Cell) string {
	best, bestLength := "", -1.0
	quiet := false
	for _, p := range c.Phases {
		if p.Name == "steady" {
			return p.Name
		}
		isQuiet := p.Fault == "" && p.Name != "warmup" && p.Name != "recovery"
		if length := p.End - p.Start; isQuiet && !quiet || isQuiet == quiet && length > bestLength {
			best, bestLength, quiet = p.Name, length, isQuiet
		}
	}
	return best
}

// Build makes the view of a run. Files that are missing or damaged cost their
// picture only, and are named in the notes.
func Build(f *runs.Folder) *View {
	s := f.Summary
	v := &View{Run: s.Run, Verdict: s.Verdict, Partial: s.Partial}
	v.Engines = stylesOf(s.Cells)
	groups := groupCells(s.Cells, v.Engines)
	v.Repetitions = repetitions(groups)
	v.Attention = attention(f)
	v.Summary = summarySentence(s, v.Attention)
	v.Findings = findings(groups, s.Floors)
	v.Cells = cellTable(groups)
	v.Beside = besideTable(groups, s.Floors)
	v.Floors = floorTable(s.Floors)
	v.Audits = auditTable(s)
	v.Environment = environment(s)
	v.Styles = slices.Clone(v.Engines)
	for _, gs := range byScenario(groups) {
		v.Scenarios = append(v.Scenarios, scenarioView(f, gs, &v.Styles))
	}
	if slices.ContainsFunc(s.Cells, func(c runs.Cell) bool { return len(c.Steps) > 0 }) {
		v.Styles = append(v.Styles, askedStyle)
	}
	return v
}

// byScenario cuts the groups where the scenario changes.
func byScenario(groups []*group) (out [][]*group) {
	for i := 0; i < len(groups); {
		j := i
		for j < len(groups) && groups[j].scenario == groups[i].scenario {
			j++
		}
		out = append(out, groups[i:j])
		i = j
	}
	return out
}

func scenarioView(f *runs.Folder, groups []*group, styles *[]EngineStyle) ScenarioView {
	name := groups[0].scenario
	sv := ScenarioView{Name: name, Anchor: anchor(name), Crash: crashTable(groups), Late: lateTable(groups), Bad: badTable(groups), BadSamples: badSampleTable(groups), Figures: figureTable(groups)}
	for _, s := range f.Summary.Run.Scenarios {
		if s.Name == name {
			sv.Question = s.Question
		}
	}
	if beside, ok := sideBySide(f, groups, styles); ok {
		sv.Groups = append(sv.Groups, beside)
	}
	for _, g := range groups {
		charts, notes := chartsOf(f, g)
		notes = append(notes, noProcessing(g)...)
		gv := GroupView{Title: g.title(), Anchor: anchor(g.name()), Charts: charts, Notes: notes}
		if len(charts) > 0 {
			gv.Marks = charts[0].Marks
		}
		sv.Groups = append(sv.Groups, gv)
		for _, e := range g.engines {
			for _, c := range e.cells {
				if fail, ok := failureOf(f, c); ok {
					sv.Failures = append(sv.Failures, fail)
				}
			}
		}
	}
	return sv
}

// noProcessing says why engines of a group have no processing latency.
func noProcessing(g *group) []string {
	var notes []string
	for _, e := range g.engines {
		if l := e.cells[0].LatencyMillis; l != nil && l.NoProcessing != "" {
			if n := "No processing latency: " + oneLine(l.NoProcessing) + "."; !slices.Contains(notes, n) {
				notes = append(notes, n)
			}
		}
	}
	return notes
}

// anchor makes a name usable as an id in HTML and as a file's name.
func anchor(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	return strings.TrimRight(b.String(), "-")
}

// repetitions says how often cells ran, and whether intervals are stated.
func repetitions(groups []*group) string {
	least, most := 0, 0
	for _, g := range groups {
		for _, e := range g.engines {
			n := len(e.cells)
			if least == 0 || n < least {
				least = n
			}
			most = max(most, n)
		}
	}
	switch {
	case most == 0:
		return "No cell was finished."
	case most == 1:
		return "n = 1: each cell ran once. One run shows what happened, not how much it varies, so no interval is stated."
	case least == most && least >= 6:
		return fmt.Sprintf("n = %d: each cell ran %d times. Figures are medians with their 95 %% interval; counts of anomalies are the worst run's.", least, least)
	case least == most:
		return fmt.Sprintf("n = %d: each cell ran %d times. Figures are medians; fewer than six runs give no 95 %% interval, so none is stated.", least, least)
	}
	return fmt.Sprintf("Each cell ran %d to %d times. Figures are medians, with a 95 %% interval where there were six runs or more.", least, most)
}

func summarySentence(s *runs.Summary, list []Attention) string {
	n := len(s.Cells)
	if n == 0 {
		return "No cell was finished, so nothing is shown."
	}
	passed, failed := 0, 0
	gates, unknown := 0, 0
	for _, c := range s.Cells {
		switch c.Verdict {
		case runs.Pass:
			passed++
		case runs.Fail:
			failed++
		}
		for _, g := range c.Gates {
			if g.Unknown != "" {
				unknown++
			} else {
				gates++
			}
		}
	}
	var text string
	if passed == n {
		text = fmt.Sprintf("All %s held in all %s.", plural(int64(gates), "gate"), plural(int64(n), "cell"))
		if gates == 0 && unknown == 0 {
			text = fmt.Sprintf("%s ran to their end; the scenarios state no gates.", sentenceCount(n))
		}
	} else {
		text = fmt.Sprintf("%d of %s passed, %d failed, %d proved nothing.", passed, plural(int64(n), "cell"), failed, n-passed-failed)
	}
	if unknown > 0 {
		text += " " + sentence(plural(int64(unknown), "gate")+" could not be judged: this workload's outputs cannot show it")
	}
	text += withheldOf(s)
	if s.Partial {
		text += " The run was broken off; what is shown is what was finished."
	}
	return text
}

// withheldOf says which groups of figures are missing from how many cells: gates
// that held say nothing of those.
func withheldOf(s *runs.Summary) string {
	cells := map[string]int64{}
	var groups []string
	for _, c := range s.Cells {
		for _, w := range c.Withheld {
			if cells[w.Group] == 0 {
				groups = append(groups, w.Group)
			}
			cells[w.Group]++
		}
	}
	if len(groups) == 0 {
		return ""
	}
	slices.Sort(groups)
	parts := make([]string, len(groups))
	for i, g := range groups {
		parts[i] = g + " in " + plural(cells[g], "cell")
	}
	return " Withheld: " + list(parts) + "."
}

func sentenceCount(n int) string {
	if n == 1 {
		return "One cell"
	}
	return count(int64(n)) + " cells"
}

func environment(s *runs.Summary) []Fact {
	r := s.Run
	var facts []Fact
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, Fact{name, value})
		}
	}
	add("Run", r.ID)
	add("Started", r.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	if !r.Finished.IsZero() {
		add("Took", r.Finished.Sub(r.Started).Round(time.Second).String())
	}
	commit := r.Commit
	if r.Dirty {
		commit += ", with changes that are not committed"
	}
	add("Commit", commit)
	add("Go", r.Go)
	add("System", strings.TrimSpace(r.OS+", kernel "+r.Kernel))
	cpu := r.CPU
	if r.Cores > 0 {
		cpu = strings.TrimPrefix(fmt.Sprintf("%s, %s", cpu, plural(int64(r.Cores), "core")), ", ")
	}
	add("Processor", cpu)
	if r.MemoryBytes > 0 {
		add("Memory", size(float64(r.MemoryBytes)))
	}
	broker := strings.TrimSpace(r.Broker.Kind + " " + r.Broker.Version)
	if warm := r.Broker.WarmUpSeconds; warm > 0 {
		broker += ", warmed up for " + seconds(warm) + " before anything was measured"
	}
	add("Broker", broker)
	add("Seed", fmt.Sprint(r.Seed))
	if r.Quick {
		add("Mode", "quick: phases were shortened, which is right for checks and too short for figures to quote")
	}
	add("Durability", strings.Join(distinct(s.Cells, func(c runs.Cell) string { return c.Durability }), ", "))
	add("Workloads", strings.Join(distinct(s.Cells, func(c runs.Cell) string { return c.Workload }), ", "))
	for _, sc := range r.Scenarios {
		add("Scenario "+sc.Name, "hash "+sc.Hash)
	}
	add("Arguments", strings.Join(r.Arguments, " "))
	return facts
}

func distinct(cells []runs.Cell, of func(runs.Cell) string) []string {
	var all []string
	for _, c := range cells {
		if v := of(c); v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}
