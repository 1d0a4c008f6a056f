package report

import (
	"image/color"
	"slices"

	"streamduel/runs"
)

// EngineStyle is how an engine is drawn everywhere: a colour for light and
// dark paper, and a line style, so that it can be told apart without colour.
type EngineStyle struct {
	Engine      string    `json:"engine"`
	Light       string    `json:"light"`
	Dark        string    `json:"dark"`
	Dash        []float64 `json:"dash,omitempty"` // on, off, … in pixels; none is solid
	Description string    `json:"-"`
}

// palette is taken from Okabe and Ito, Color Universal Design (2008), which
// people with any common kind of colour blindness can tell apart. On dark
// paper the two strongest give way to their lighter kin.
var palette = []EngineStyle{
	{Light: "#0072B2", Dark: "#56B4E9", Description: "blue and solid"},
	{Light: "#D55E00", Dark: "#E69F00", Dash: []float64{7, 4}, Description: "orange and dashed"},
	{Light: "#009E73", Dark: "#26C79B", Dash: []float64{2, 3}, Description: "green and dotted"},
	{Light: "#CC79A7", Dark: "#E39DC4", Dash: []float64{9, 3, 2, 3}, Description: "purple and dash-dotted"},
	{Light: "#5D5D5D", Dark: "#B8B8B8", Dash: []float64{14, 4}, Description: "grey and long-dashed"},
}

// reserved keeps a style for the names that nearly every report has, so that
// two reports can be laid side by side; any other name takes the next.
var reserved = map[string]int{"microbatch": 0, "dataflow": 1}

// stylesOf gives each engine its style, in the order in which they are shown.
func stylesOf(cells []runs.Cell) []EngineStyle {
	taken := map[string]int{}
	used := make([]bool, len(palette))
	var engines []string
	for _, c := range cells {
		if !slices.Contains(engines, c.Engine) {
			engines = append(engines, c.Engine)
		}
	}
	for _, e := range engines {
		if i, ok := reserved[e]; ok {
			taken[e], used[i] = i, true
		}
	}
	next := 0
	for _, e := range engines {
		if _, ok := taken[e]; ok {
			continue
		}
		for next < len(palette) && used[next] {
			next++
		}
		i := next % len(palette) // with more engines than styles they repeat
		taken[e] = i
		if next < len(palette) {
			used[next] = true
		} else {
			next++
		}
	}
	slices.SortStableFunc(engines, func(a, b string) int { return taken[a] - taken[b] })
	styles := make([]EngineStyle, len(engines))
	for i, e := range engines {
		styles[i] = palette[taken[e]]
		styles[i].Engine = e
	}
	return styles
}

// hex parses "#rrggbb".
func hex(s string) color.NRGBA {
	digit := func(b byte) uint8 {
		switch {
		case b >= 'a':
			return b - 'a' + 10
		case b >= 'A':
			return b - 'A' + 10
		}
		return b - '0'
	}
	pair := func(i int) uint8 { return digit(s[i])<<4 | digit(s[i+1]) }
	return color.NRGBA{pair(1), pair(3), pair(5), 255}
}

// EngineLines gives a line of each engine, for legends without a chart.
func (v *View) EngineLines() []Line {
	lines := make([]Line, len(v.Engines))
	for i, e := range v.Engines {
		lines[i] = Line{Name: e.Engine, Engine: e.Engine}
	}
	return lines
}

// StyleSentence says how each engine is drawn.
func (v *View) StyleSentence() string {
	parts := make([]string, len(v.Engines))
	for i, e := range v.Engines {
		parts[i] = e.Engine + " is drawn " + e.Description
	}
	if len(parts) == 0 {
		return ""
	}
	return list(parts) + "."
}
