package runs

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// A figure's path is the way to it in a cell of summary.json, with dots:
//
//	records.losses
//	latencyMillis.event.<phase>.p99
//	throughput.<phase>.visible
//	pressure.followSeconds
//	pressure.blocked.<task>.share
//	crash.expected.duplicates
//	cost.durableMillis.p99
//
// <phase> and <task> stand for any name, which may hold dots itself.
type figure struct {
	pattern []string // "*" where any name stands
	index   []int    // field indices down to the map or the number
	inner   []int    // field index within the map's element, if there is a map
	group   string
}

// figures are all paths, derived once from the JSON tags of [Cell].
var figures = sync.OnceValue(func() []figure {
	var all []figure
	t := reflect.TypeFor[Cell]()
	for _, name := range []string{"Start", "Records", "BadInput", "LatencyMillis", "Throughput", "Pressure", "Steps", "Growth", "Crash", "Cost", "State"} {
		f, _ := t.FieldByName(name)
		walk(&all, f.Type, []string{tagName(f)}, f.Index, nil, false)
	}
	for i := range all {
		all[i].group = groupOf(all[i].pattern)
	}
	return all
})

func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

func walk(all *[]figure, t reflect.Type, path []string, index, inner []int, inMap bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			next := append(slices.Clone(path), tagName(f))
			if inMap {
				walk(all, f.Type, next, index, append(slices.Clone(inner), i), true)
			} else {
				walk(all, f.Type, next, append(slices.Clone(index), i), nil, false)
			}
		}
	case reflect.Map:
		walk(all, t.Elem(), append(slices.Clone(path), "*"), index, nil, true)
	case reflect.Int64, reflect.Float64, reflect.Bool:
		*all = append(*all, figure{pattern: path, index: index, inner: inner})
	}
}

// groupOf names the group of figures that a path belongs to, for audits.
func groupOf(path []string) string {
	switch path[0] {
	case "records":
		return GroupCounts
	case "latencyMillis":
		if last := path[len(path)-1]; last == "p999" || last == "max" || last == "mean" {
			return GroupTail
		}
		return GroupLatency
	case "throughput":
		return GroupThroughput
	case "pressure":
		return GroupPressure
	case "steps":
		return GroupSteps
	case "cost":
		return GroupCost
	case "badInput":
		if path[1] == "failed" || path[1] == "failedBy" {
			return "" // what it did to the job is a fact of the run
		}
		return GroupCounts
	case "state":
		return "" // counts of the engine's, which nothing beside it disturbs
	}
	switch last := path[len(path)-1]; {
	case strings.HasSuffix(last, "Seconds"):
		return GroupLatency
	case last == "oldPartitionsDip":
		return GroupThroughput
	case last == "reached" || last == "hit" || last == "created":
		return "" // facts of the run, which no audit voids
	}
	return GroupCounts
}

// find returns the figure of a path and the name that stands for its "*".
func find(path string) (figure, string, bool) {
	parts := strings.Split(path, ".")
	for _, f := range figures() {
		star := slices.Index(f.pattern, "*")
		if star < 0 {
			if slices.Equal(f.pattern, parts) {
				return f, "", true
			}
			continue
		}
		after := len(f.pattern) - star - 1
		if len(parts) < len(f.pattern) ||
			!slices.Equal(f.pattern[:star], parts[:star]) ||
			!slices.Equal(f.pattern[star+1:], parts[len(parts)-after:]) {
			continue
		}
		name := strings.Join(parts[star:len(parts)-after], ".")
		if name != "" {
			return f, name, true
		}
	}
	return figure{}, "", false
}

func (f figure) byPhase() bool {
	return f.pattern[0] == "latencyMillis" || f.pattern[0] == "throughput" || f.pattern[0] == "steps"
}

// KnownFigure says whether path names a figure that a cell can have, so that
// a misspelt gate is refused before anything runs. With phases given, a path
// through a phase must name one of them.
func KnownFigure(path string, phases ...string) bool {
	f, name, ok := find(path)
	if !ok {
		return false
	}
	return !f.byPhase() || len(phases) == 0 || slices.Contains(phases, name)
}

// FigureGroup returns the group of figures that path belongs to, the unit in
// which audits void; "" for a path that is unknown or that nothing voids.
func FigureGroup(path string) string {
	f, _, _ := find(path)
	return f.group
}

// FigurePaths lists every path, with <phase> and <task> where any name
// stands: for help texts and error messages.
func FigurePaths() []string {
	var out []string
	for _, f := range figures() {
		name := "<phase>"
		if !f.byPhase() {
			name = "<task>"
		}
		out = append(out, strings.ReplaceAll(strings.Join(f.pattern, "."), "*", name))
	}
	return out
}

// SuggestFigure returns the known path nearest to a misspelt one, keeping the
// phase that was written; "" when nothing is near.
func SuggestFigure(path string, phases ...string) string {
	parts := strings.Split(path, ".")
	best, bestDistance := "", math.MaxInt
	consider := func(candidate string) {
		if d := editDistance(path, candidate); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	for _, f := range figures() {
		star := slices.Index(f.pattern, "*")
		if star < 0 {
			consider(strings.Join(f.pattern, "."))
			continue
		}
		names := phases
		if !f.byPhase() || len(phases) == 0 {
			if star >= len(parts) {
				continue
			}
			names = parts[star : star+1]
		}
		for _, name := range names {
			filled := slices.Clone(f.pattern)
			filled[star] = name
			consider(strings.Join(filled, "."))
		}
	}
	if bestDistance > max(3, len(path)/3) {
		return ""
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// Figure looks a figure up by its path. known is false when no cell can have
// such a figure (it is misspelt, or names a phase that this cell does not
// have); ok is false when this cell has none: it does not apply, there was no
// sample, or it was withheld. A time that never came is +Inf and ok. Booleans
// are 0 and 1.
func (c *Cell) Figure(path string) (value float64, ok, known bool) {
	f, name, found := find(path)
	if !found {
		return 0, false, false
	}
	if f.byPhase() && !c.hasPhase(name) {
		return 0, false, false
	}
	v := reflect.ValueOf(c).Elem()
	for _, i := range f.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return 0, false, true
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	if v.Kind() == reflect.Map {
		v = v.MapIndex(reflect.ValueOf(name))
		if !v.IsValid() {
			return 0, false, true
		}
		for _, i := range f.inner {
			v = v.Field(i)
		}
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return 0, false, true
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Int64:
		value = float64(v.Int())
	case reflect.Float64:
		value = v.Float()
	case reflect.Bool:
		if v.Bool() {
			value = 1
		}
	}
	return value, !math.IsNaN(value), true
}

// hasPhase is true for every name while the cell does not say what phases it
// has.
func (c *Cell) hasPhase(name string) bool {
	if len(c.Phases) == 0 {
		return true
	}
	return slices.ContainsFunc(c.Phases, func(p Phase) bool { return p.Name == name })
}
