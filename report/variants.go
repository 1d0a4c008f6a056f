package report

import (
	"slices"
	"strings"

	"streamduel/runs"
)

// sideBySide draws what a matrix varied into one picture: the cells of a scenario
// and a guarantee that differ by their engine and its variant. ok is false where
// there is nothing to compare, or more than can be told apart.
func sideBySide(f *runs.Folder, groups []*group, styles *[]EngineStyle) (GroupView, bool) {
	var sources []source
	var names []string
	variants := map[string]int{} // by engine
	engines := map[string]bool{}
	for _, g := range groups {
		for _, e := range g.engines {
			if g.variant != "" {
				variants[e.engine]++
			}
			engines[e.engine] = true
		}
	}
	most := 0
	for _, n := range variants {
		most = max(most, n)
	}
	if most < 2 {
		return GroupView{}, false
	}
	var notes []string
	for _, g := range groups {
		for _, e := range g.engines {
			name := g.variant
			if len(engines) > 1 || name == "" {
				name = strings.TrimSuffix(e.engine+" "+g.variant, " ")
			}
			if slices.Contains(names, name) {
				return GroupView{}, false // of two guarantees: too much for one picture
			}
			names = append(names, name)
			src, missing := sourceOf(f, name, e.cells[0])
			for _, n := range missing {
				if !strings.HasPrefix(n, "Predicted for") { // the groups say it
					notes = append(notes, n)
				}
			}
			sources = append(sources, src)
		}
	}
	if len(sources) > len(palette) {
		return GroupView{}, false
	}
	for i, name := range names {
		addStyle(styles, name, sources[i].cell.Engine, names[:i])
	}
	name := groups[0].scenario + ", side by side"
	charts := together(name, sources, []func([]source) Chart{
		sized(true, checkpointChart), sized(true, limitChart), sized(true, delayChart), sized(true, lagChart),
		p99Chart, sized(false, intakeChart), sized(false, visibleChart), newPartitionsChart, queuedChart,
	})
	if len(charts) == 0 {
		return GroupView{}, false
	}
	v := GroupView{Title: "side by side", Anchor: anchor(name), Charts: charts, Notes: notes, Marks: charts[0].Marks}
	return v, true
}

// sized makes a chart a large or a small one.
func sized(large bool, chart func([]source) Chart) func([]source) Chart {
	return func(s []source) Chart {
		c := chart(s)
		c.Main = large
		return c
	}
}

// p99Chart is latencyChart without the medians: with many lines they would cover
// what is looked for.
func p99Chart(sources []source) Chart {
	c := latencyChart(sources)
	c.Main = false
	c.Lines = slices.DeleteFunc(c.Lines, func(l Line) bool { return l.Thin })
	return c
}

// addStyle gives a variant a style that no other in its picture has: the first of an
// engine has the engine's.
func addStyle(styles *[]EngineStyle, name, engine string, taken []string) {
	if slices.ContainsFunc(*styles, func(s EngineStyle) bool { return s.Engine == name }) {
		return
	}
	used := map[string]bool{}
	for _, s := range *styles {
		if slices.Contains(taken, s.Engine) {
			used[s.Light] = true
		}
	}
	pick := palette[len(taken)%len(palette)]
	candidates := palette
	for _, s := range *styles {
		if s.Engine == engine {
			candidates = append([]EngineStyle{s}, palette...)
		}
	}
	for _, p := range candidates {
		if !used[p.Light] {
			pick = p
			break
		}
	}
	pick.Engine = name
	*styles = append(*styles, pick)
}
