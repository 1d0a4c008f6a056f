package runs

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// nameShape is what an id or a phase's name may be: it becomes a folder's
// name, and a tag in an HdrHistogram log, which holds no comma and no space.
var nameShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+=@-]*$`)

// CellID makes a cell's id from what tells it apart; variant names the other
// dimensions of a matrix, such as "interval=500ms".
func CellID(scenario, engine, guarantee string, repetition int, variant ...string) string {
	parts := append([]string{scenario, engine, guarantee}, variant...)
	parts = append(parts, strconv.Itoa(repetition))
	for i, p := range parts {
		parts[i] = strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-+=@", r):
				return r
			}
			return '-'
		}, p)
	}
	return strings.Join(parts, ".")
}

// Validate checks what every summary must keep: names that are usable,
// figures that are finite and not negative, percentiles in order, verdicts
// that follow from cells, gates and audits. The error names each breach by
// its cell and path.
func (s *Summary) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.Schema != Schema {
		bad("schema is %q; this program reads %q", s.Schema, Schema)
	}
	if s.Run.ID == "" {
		bad("run.id is empty")
	}
	if s.Run.Started.IsZero() {
		bad("run.started is not set")
	}
	if !s.Run.Finished.IsZero() && s.Run.Finished.Before(s.Run.Started) {
		bad("run.finished is before run.started")
	}
	if s.Verdict != Worst(s.Cells) && s.Verdict == Pass {
		bad("verdict is pass and a cell's is %s", Worst(s.Cells))
	}
	checkVerdict(bad, "verdict", s.Verdict)
	seen := map[string]bool{}
	for i := range s.Cells {
		c := &s.Cells[i]
		if seen[c.ID] {
			bad("cells[%d]: a second cell has the id %q", i, c.ID)
		}
		seen[c.ID] = true
		if err := c.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Worst is the verdict of a run with these cells: fail before inconclusive
// before pass. No cell at all proves nothing.
func Worst(cells []Cell) Verdict {
	if len(cells) == 0 {
		return Inconclusive
	}
	worst := Pass
	for _, c := range cells {
		switch {
		case c.Verdict == Fail:
			return Fail
		case c.Verdict != Pass:
			worst = Inconclusive
		}
	}
	return worst
}

func checkVerdict(bad func(string, ...any), where string, v Verdict) {
	if v != Pass && v != Fail && v != Inconclusive {
		bad("%s is %q; allowed are %s, %s, %s", where, v, Pass, Fail, Inconclusive)
	}
}

// Validate checks one cell; see [Summary.Validate].
func (c *Cell) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("cell %s: "+format, append([]any{c.ID}, args...)...))
	}
	if !nameShape.MatchString(c.ID) {
		bad("the id %q is no folder name (letters, digits, and . _ + = @ -)", c.ID)
	}
	if c.Scenario == "" || c.Engine == "" || c.Workload == "" || c.Guarantee == "" {
		bad("scenario, workload, engine and guarantee must be named")
	}
	if c.Repetition < 1 {
		bad("repetition is %d; the first is 1", c.Repetition)
	}
	checkVerdict(bad, "verdict", c.Verdict)
	if c.Verdict != Pass && len(c.Reasons) == 0 {
		bad("verdict is %s and no reason is given", c.Verdict)
	}
	for _, g := range c.Gates {
		if c.Verdict == Pass && (!g.OK && g.Unknown == "" || g.Voided) {
			bad("verdict is pass and the gate %q did not hold", g.Expression)
		}
	}
	for _, a := range c.Audits {
		for _, group := range a.Voids {
			if !slices.Contains(Groups(), group) {
				bad("audit %s voids %q; allowed are %s", a.Name, group, strings.Join(Groups(), ", "))
			}
		}
		if !a.OK && a.Remedy == "" {
			bad("audit %s failed and names no remedy", a.Name)
		}
	}
	for i, p := range c.Phases {
		if !nameShape.MatchString(p.Name) {
			bad("phase %q: a name has letters, digits, and . _ + = @ -", p.Name)
		}
		if p.End < p.Start {
			bad("phase %s ends before it starts", p.Name)
		}
		if i > 0 && p.Start < c.Phases[i-1].End-1e-6 {
			bad("phase %s starts before %s ends", p.Name, c.Phases[i-1].Name)
		}
	}
	c.checkFigures(bad)
	return errors.Join(errs...)
}

func (c *Cell) checkFigures(bad func(string, ...any)) {
	quoted := map[string]bool{}
	c.each(func(path string, _ float64) {
		group := FigureGroup(path)
		if _, voided := c.VoidedFigure(path); voided && !quoted[group] {
			quoted[group] = true
			bad("the %s figures are voided by an audit and not withheld", group)
		}
	})
	c.each(func(path string, v float64) {
		switch {
		case math.IsNaN(v):
			bad("%s is not a number", path)
		case math.IsInf(v, 0) && !strings.HasSuffix(path, "Seconds"):
			bad("%s is infinite", path)
		case v < 0:
			bad("%s is %v; a figure is never negative", path, v)
		}
	})
	if l := c.LatencyMillis; l != nil {
		for kind, phases := range map[string]map[string]Latency{"event": l.Event, "processing": l.Processing} {
			for phase, d := range phases {
				if d.Count <= 0 {
					bad("latencyMillis.%s.%s has no sample and should be absent", kind, phase)
				}
				percentiles := []float64{d.P50, d.P90, d.P99}
				for _, tail := range []*float64{d.P999, d.Max} {
					if tail != nil {
						percentiles = append(percentiles, *tail)
					}
				}
				if !slices.IsSorted(percentiles) {
					bad("latencyMillis.%s.%s: percentiles are not in order", kind, phase)
				}
				if !c.hasPhase(phase) {
					bad("latencyMillis.%s.%s is no phase of the cell", kind, phase)
				}
			}
		}
	}
	for phase := range c.Throughput {
		if !c.hasPhase(phase) {
			bad("throughput.%s is no phase of the cell", phase)
		}
	}
	for phase := range c.Steps {
		if !c.hasPhase(phase) {
			bad("steps.%s is no phase of the cell", phase)
		}
	}
	if k := c.Crash; k != nil && !k.Reached && c.Verdict == Pass {
		bad("verdict is pass and the crash point %s was never reached", k.Point)
	}
}

// hasGroup says whether any figure of the group is still in the cell.
func (c *Cell) hasGroup(group string) bool {
	has := false
	c.each(func(path string, _ float64) { has = has || FigureGroup(path) == group })
	return has
}

// each calls f with every figure that the cell has.
func (c *Cell) each(f func(path string, value float64)) {
	for _, fig := range figures() {
		star := slices.Index(fig.pattern, "*")
		if star < 0 {
			path := strings.Join(fig.pattern, ".")
			if v, ok, _ := c.Figure(path); ok || math.IsNaN(v) {
				f(path, v)
			}
			continue
		}
		for _, name := range c.names(fig) {
			filled := slices.Clone(fig.pattern)
			filled[star] = name
			path := strings.Join(filled, ".")
			// A name that is no phase is reported elsewhere.
			if v, ok, known := c.Figure(path); known && (ok || math.IsNaN(v)) {
				f(path, v)
			}
		}
	}
}

// names returns the keys of the map that a figure's path goes through, sorted.
func (c *Cell) names(fig figure) []string {
	v := reflect.ValueOf(c).Elem()
	for _, i := range fig.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return nil
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	var names []string
	for _, k := range v.MapKeys() {
		names = append(names, k.String())
	}
	slices.Sort(names)
	return names
}
