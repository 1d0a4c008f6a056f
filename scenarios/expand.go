package scenarios

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Cell is one engine under one scenario with one guarantee, once: the unit
// that is run, judged and reported.
type Cell struct {
	// ID is unique in the run and usable as a folder's name:
	// scenario.engine.guarantee[.variant…].repetition
	ID         string
	File       *File
	Scenario   *Scenario
	Labels     []string // the matrix's values that concern the engine, such as "interval=500ms"
	Engine     EngineBlock
	Guarantee  Guarantee
	Repetition int // from 1
}

// Gates are those of the scenario that judge this cell.
func (c *Cell) Gates() []Gate {
	var out []Gate
	for _, g := range c.Scenario.Gates {
		if g.Applies(c.Engine.Name, c.Guarantee, c.Labels) {
			out = append(out, g)
		}
	}
	return out
}

// CrashPoint is the point at which a phase crashes this cell's engine, "" if
// the phase crashes nothing.
func (c *Cell) CrashPoint(p Phase) string {
	if p.Crash == nil {
		return ""
	}
	return p.Crash.At[c.Engine.Name]
}

// CrashAgain is the point at which the worker that a crash phase has started is
// killed too, "" if it is not.
func (c *Cell) CrashAgain(p Phase) string {
	if p.Crash == nil {
		return ""
	}
	return p.Crash.Again[c.Engine.Name]
}

// ExpandOptions select and repeat cells.
type ExpandOptions struct {
	Repeat  int      // at least 1
	Engines []string // run only these; empty for all
}

// Expand orders the cells of a run. Repetitions are the outermost loop, so
// that a machine that slows down over an hour slows every cell; and within one
// the engines change direction (A B B A), so that neither always follows the
// other. The order and the ids are the same on every call.
func Expand(files []*File, opts ExpandOptions) ([]*Cell, error) {
	for _, want := range opts.Engines {
		var have []string
		for _, f := range files {
			for _, name := range f.Variants[0].Scenario.Engines.Names() {
				if !slices.Contains(have, name) {
					have = append(have, name)
				}
			}
		}
		if !slices.Contains(have, want) {
			return nil, fmt.Errorf("engine: value %q: not an engine of the scenario: %s", want, oneOf(want, have))
		}
	}
	var cells []*Cell
	seen := map[string]*File{}
	group := 0
	for rep := 1; rep <= max(1, opts.Repeat); rep++ {
		for _, f := range files {
			for _, v := range f.Variants {
				for _, g := range v.Scenario.Guarantees {
					row := cellsOf(f, v, g, rep, opts.Engines)
					if (rep+group)%2 == 0 { // the first group of the first repetition keeps the file's order
						slices.Reverse(row)
					}
					group++
					for _, c := range row {
						if other, dup := seen[c.ID]; dup {
							return nil, fmt.Errorf("%s: name: value %q: %s has a scenario of the same name: results could not be told apart", f.Path, f.Name, other.Path)
						}
						seen[c.ID] = f
						cells = append(cells, c)
					}
				}
			}
		}
		group = 0
	}
	return cells, nil
}

func cellsOf(f *File, v Variant, g Guarantee, rep int, only []string) []*Cell {
	var row []*Cell
	for _, e := range v.Scenario.Engines {
		if len(only) > 0 && !slices.Contains(only, e.Name) {
			continue
		}
		labels, ok := labels(v.Choices, e.Name)
		if !ok {
			continue
		}
		row = append(row, &Cell{
			ID:   cellID(f.Name, e.Name, string(g), labels, rep),
			File: f, Scenario: v.Scenario, Labels: labels,
			Engine: e, Guarantee: g, Repetition: rep,
		})
	}
	return row
}

// cellID has the form of runs.CellID, so that ids sort by what they name.
func cellID(scenario, engine, guarantee string, labels []string, rep int) string {
	parts := append([]string{scenario, engine, guarantee}, labels...)
	parts = append(parts, strconv.Itoa(rep))
	for i, p := range parts {
		parts[i] = strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-+=@", r):
				return r
			}
			return '-'
		}, p)
	}
	id := strings.Join(parts, ".")
	if len(id) > maxIDLength {
		sum := sha256.Sum256([]byte(id))
		id = fmt.Sprintf("%s.%s.%s.%x.%d", parts[0], parts[1], parts[2], sum[:6], rep)
	}
	return id
}

// maxIDLength keeps folder names and paths below every file system's limit.
const maxIDLength = 160
