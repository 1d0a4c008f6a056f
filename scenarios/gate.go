package scenarios

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Gate is one threshold of a scenario: `scope: figure op bound`.
//
//	exactly-once: records.losses == 0
//	microbatch at-least-once: records.duplicates == crash.expected.duplicates
//	all: latencyMillis.event.steady.p99 < 5000
//
// The scope is "all", or an engine, a guarantee and a value of each axis of the matrix
// (watermark=spark), any of them, separated by blanks.
// The bound is a number, or another figure of the same cell.
type Gate struct {
	Scope     string    `json:"scope"`
	Engine    string    `json:"engine,omitempty"`    // "" for every engine
	Guarantee Guarantee `json:"guarantee,omitempty"` // "" for every guarantee
	Labels    []string  `json:"labels,omitempty"`    // values of the matrix, all of which a cell must have
	Figure    string    `json:"figure"`
	Op        string    `json:"op"`
	Bound     float64   `json:"bound"`
	// BoundFigure takes the bound's place if it is not empty.
	BoundFigure string `json:"boundFigure,omitempty"`
}

// Gates of a scenario. In a file each is a mapping of one scope to one
// expression.
type Gates []Gate

// Lookup gives a figure of the cell under judgement; ok is false where the
// cell has none. runs.Cell.Figure is one, with its third result dropped.
type Lookup func(path string) (value float64, ok bool)

// GateResult is what a gate says of a cell.
type GateResult struct {
	OK      bool
	Value   float64 // of the figure; NaN when missing
	Bound   float64 // NaN when missing
	Missing string  // path of the figure that the cell lacks, "" if none
	Text    string  // "records.losses = 3, must be == 0"
}

// Expression writes the gate as a scenario file would.
func (g Gate) Expression() string { return g.Scope + ": " + g.condition() }

func (g Gate) condition() string { return g.Figure + " " + g.Op + " " + g.bound() }

func (g Gate) bound() string {
	if g.BoundFigure != "" {
		return g.BoundFigure
	}
	return strconv.FormatFloat(g.Bound, 'g', -1, 64)
}

// Figures lists the figures that the gate reads.
func (g Gate) Figures() []string {
	if g.BoundFigure != "" {
		return []string{g.Figure, g.BoundFigure}
	}
	return []string{g.Figure}
}

// Applies reports whether the gate is about this cell.
func (g Gate) Applies(engine string, guarantee Guarantee, labels []string) bool {
	return (g.Engine == "" || g.Engine == engine) && (g.Guarantee == "" || g.Guarantee == guarantee) &&
		!slices.ContainsFunc(g.Labels, func(l string) bool { return !contains(labels, l) })
}

// Eval judges a cell. A figure that the cell does not have fails the gate: no
// sample has never shown that a threshold holds.
func (g Gate) Eval(lookup Lookup) GateResult {
	res := GateResult{Value: math.NaN(), Bound: g.Bound}
	v, ok := lookup(g.Figure)
	if !ok || math.IsNaN(v) {
		res.Missing = g.Figure
		res.Text = fmt.Sprintf("%s is missing, must be %s %s", g.Figure, g.Op, g.bound())
		if g.BoundFigure != "" {
			res.Bound = math.NaN()
		}
		return res
	}
	res.Value = v
	if g.BoundFigure != "" {
		b, ok := lookup(g.BoundFigure)
		if !ok || math.IsNaN(b) {
			res.Bound, res.Missing = math.NaN(), g.BoundFigure
			res.Text = fmt.Sprintf("%s is missing, to which %s = %s is compared", g.BoundFigure, g.Figure, number(v))
			return res
		}
		res.Bound = b
	}
	switch g.Op {
	case "==":
		res.OK = v == res.Bound
	case "!=":
		res.OK = v != res.Bound
	case "<":
		res.OK = v < res.Bound
	case "<=":
		res.OK = v <= res.Bound
	case ">":
		res.OK = v > res.Bound
	case ">=":
		res.OK = v >= res.Bound
	}
	must := number(res.Bound)
	if g.BoundFigure != "" {
		must = g.BoundFigure + " = " + must
	}
	res.Text = fmt.Sprintf("%s = %s, must be %s %s", g.Figure, number(v), g.Op, must)
	return res
}

func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

var (
	gateOps    = []string{"==", "!=", "<=", ">=", "<", ">"}
	gateShape  = regexp.MustCompile(`^(\S+)\s*(==|!=|<=|>=|<|>)\s*(\S+)$`)
	figurePath = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_ -]*)+$`)
)

// axisOf is what of the matrix a value is of.
func axisOf(label string) string {
	axis, _, _ := strings.Cut(label, "=")
	return axis
}

// ParseGate reads one gate. engines and labels are what a scope may name.
func ParseGate(scope, expression string, engines, labels []string) (Gate, error) {
	g := Gate{Scope: strings.Join(strings.Fields(scope), " ")}
	words := strings.Fields(scope)
	if len(words) == 0 {
		return g, fmt.Errorf("the scope is all, or any of an engine, a guarantee and a value of each axis of the matrix")
	}
	for _, w := range words {
		switch {
		case w == "all" && len(words) == 1:
		case isGuarantee(w) && g.Guarantee == "":
			g.Guarantee = Guarantee(w)
		case contains(engines, w) && g.Engine == "":
			g.Engine = w
		case contains(labels, w) && !slices.ContainsFunc(g.Labels, func(l string) bool { return axisOf(l) == axisOf(w) }):
			g.Labels = append(g.Labels, w)
		default:
			allowed := append([]string{"all"}, engines...)
			for _, k := range Guarantees() {
				allowed = append(allowed, string(k))
			}
			allowed = append(allowed, labels...)
			return g, fmt.Errorf("unknown scope %q: %s", w, oneOf(w, allowed))
		}
	}
	m := gateShape.FindStringSubmatch(strings.TrimSpace(expression))
	if m == nil {
		return g, fmt.Errorf("a comparison such as records.losses == 0, with one of %s", strings.Join(gateOps, " "))
	}
	g.Figure, g.Op = m[1], m[2]
	if !figurePath.MatchString(g.Figure) {
		return g, fmt.Errorf("%q is no figure: a path such as records.losses", g.Figure)
	}
	if v, err := strconv.ParseFloat(m[3], 64); err == nil {
		if math.IsNaN(v) || math.IsInf(v, 0) || strings.ContainsAny(m[3], "xXpP_") {
			return g, fmt.Errorf("%q is no bound: a plain number or a figure", m[3])
		}
		g.Bound = v
		return g, nil
	}
	if !figurePath.MatchString(m[3]) {
		return g, fmt.Errorf("%q is no bound: a plain number (without a unit: the figure's name has it) or a figure", m[3])
	}
	g.BoundFigure = m[3]
	return g, nil
}

func isGuarantee(s string) bool {
	for _, g := range Guarantees() {
		if string(g) == s {
			return true
		}
	}
	return false
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// rawGate keeps a gate's words until the engines and phases are known.
type rawGate struct {
	scope, expression string
	path              string
}

func (gs *Gates) decodeNode(d *decoder, n *node, path string) {
	if n.kind != kindList {
		d.problem(n, path, n.kind != kindNull, "must be a list such as [{all: records.losses == 0}], not "+string(n.kind))
		return
	}
	for i, it := range n.items {
		p := fmt.Sprintf("%s[%d]", path, i)
		d.at[p] = place{it.line, it.col, it.set, it}
		if it.kind != kindMapping || len(it.fields) != 1 {
			d.problem(it, p, true, "a gate is `scope: figure op number`, such as exactly-once: records.losses == 0")
			continue
		}
		f := it.fields[0]
		if f.value.kind != kindText {
			d.problem(f.value, p, f.value.kind != kindNull, "a comparison such as records.losses == 0")
			continue
		}
		d.at[p] = place{f.line, f.col, f.set, f.value}
		d.gates = append(d.gates, rawGate{f.key, f.value.text, p})
	}
}

// finishGates parses the gates once engines and phases are known.
func (d *decoder) finishGates(s *Scenario) {
	engines, labels := s.Engines.Names(), s.Matrix.allLabels()
	phases := make([]string, len(s.Phases))
	for i, p := range s.Phases {
		phases[i] = p.Name
	}
	for _, raw := range d.gates {
		g, err := ParseGate(raw.scope, raw.expression, engines, labels)
		if err != nil && d.someEngineUnknown {
			continue
		}
		if err != nil {
			d.complain(raw.path, err.Error())
			continue
		}
		for _, fig := range g.Figures() {
			if d.vocab.KnownFigure == nil || d.vocab.KnownFigure(fig, phases...) {
				continue
			}
			text := fmt.Sprintf("unknown figure %q: a path of summary.json, and a phase of this scenario (%s)", fig, strings.Join(phases, ", "))
			if d.vocab.SuggestFigure != nil {
				if near := d.vocab.SuggestFigure(fig, phases...); near != "" {
					text += fmt.Sprintf(" (did you mean %q?)", near)
				}
			}
			d.complain(raw.path, text)
		}
		s.Gates = append(s.Gates, g)
	}
}
