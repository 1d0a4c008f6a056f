package scenarios

import (
	"fmt"
	"slices"
	"strings"
)

// Matrix varies fields: each combination of its values is a cell of its own.
type Matrix []Axis

// Axis is one field of a matrix with its values as written.
type Axis struct {
	Path   string
	Values []string

	nodes []*node
	place place
}

const maxCombinations = 256

func (m *Matrix) decodeNode(d *decoder, n *node, path string) {
	if n.kind != kindMapping {
		d.problem(n, path, n.kind != kindNull, "must be a mapping such as { engines.microbatch.interval: [100ms, 500ms] }, not "+string(n.kind))
		return
	}
	combinations := 1
	for _, f := range n.fields {
		p := join(path, f.key)
		d.at[p] = place{f.line, f.col, f.set, f.value}
		if _, err := splitPath(f.key); err != nil {
			d.complain(p, err.Error())
			continue
		}
		switch head, _, _ := strings.Cut(f.key, "."); head {
		case "schema", "name", "question", "matrix", "gates", "guarantees", "engines[0]":
			d.complain(p, head+" cannot be varied by a matrix")
			continue
		}
		if f.value.kind != kindList || len(f.value.items) == 0 {
			d.problem(f.value, p, f.value.kind != kindNull, "must be a list of values such as [100ms, 500ms], not "+string(f.value.kind))
			continue
		}
		axis := Axis{Path: f.key, nodes: f.value.items, place: place{line: f.line, col: f.col, set: f.set}}
		for i, v := range f.value.items {
			shown := v.shown()
			if contains(axis.Values, shown) {
				d.complain(fmt.Sprintf("%s[%d]", p, i), fmt.Sprintf("%q given twice", shown))
			}
			axis.Values = append(axis.Values, shown)
		}
		if combinations *= len(axis.Values); combinations > maxCombinations {
			d.complain(path, fmt.Sprintf("more than %d combinations", maxCombinations))
			return
		}
		*m = append(*m, axis)
	}
}

// Choice is the value that a variant has on one axis.
type Choice struct {
	Label  string // "interval=500ms"
	Engine string // that the axis belongs to, "" for one that all engines share
	First  bool   // it is the axis' first value
}

// combination is one choice of a value for each axis.
type combination struct {
	choices []Choice
	root    *node
}

// labels are the choices that concern an engine. An axis of another engine does
// not make a cell: the engine would only run again with the same configuration.
// ok is false for such a repetition.
func labels(choices []Choice, engine string) (out []string, ok bool) {
	for _, c := range choices {
		switch {
		case c.Engine == "" || c.Engine == engine:
			out = append(out, c.Label)
		case !c.First:
			return nil, false
		}
	}
	return out, true
}

// engine returns the engine whose configuration the axis varies, "" if none.
func (a Axis) engine() string {
	rest, ok := strings.CutPrefix(a.Path, "engines.")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, ".")
	return name
}

// allLabels lists what a gate's scope may name.
func (m Matrix) allLabels() (out []string) {
	for _, axis := range m {
		for _, v := range axis.Values {
			if l := m.label(axis) + "=" + v; !contains(out, l) {
				out = append(out, l)
			}
		}
	}
	return out
}

// combinations grafts every choice onto a copy of the tree, the last axis
// moving fastest.
func (m Matrix) combinations(root *node) ([]combination, Problems) {
	out := []combination{{root: root}}
	var problems Problems
	for _, axis := range m {
		parts, err := splitPath(axis.Path)
		if err != nil {
			continue // reported when the matrix was decoded
		}
		var next []combination
		for _, c := range out {
			for i, v := range axis.nodes {
				tree := c.root.clone()
				if ps := graft(tree, parts, v.clone(), axis.Path, axis.place); ps != nil {
					problems = append(problems, ps...)
					continue
				}
				choice := Choice{m.label(axis) + "=" + axis.Values[i], axis.engine(), i == 0}
				next = append(next, combination{append(slices.Clone(c.choices), choice), tree})
			}
		}
		out = next
	}
	return out, problems
}

// label is the last part of the path, if that tells the axis from the others
// that a cell can have with it, else the whole path.
func (m Matrix) label(axis Axis) string {
	last := axis.Path[strings.LastIndex(axis.Path, ".")+1:]
	for _, other := range m {
		if a, b := axis.engine(), other.engine(); a != "" && b != "" && a != b {
			continue // no cell has both
		}
		if other.Path != axis.Path && strings.HasSuffix(other.Path, "."+last) {
			return axis.Path
		}
	}
	return last
}
