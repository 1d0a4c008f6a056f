package scenarios

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// kind of a node, in the words that an error message uses.
type kind string

const (
	kindNull    kind = "nothing"
	kindBool    kind = "true or false"
	kindInt     kind = "a whole number"
	kindFloat   kind = "a number"
	kindText    kind = "text"
	kindList    kind = "a list"
	kindMapping kind = "a mapping"
)

// node is a value of a scenario file with the place that it was written at.
// It is what is left of the syntax tree once comments and styles are gone.
type node struct {
	kind   kind
	text   string // scalars, as written (quotes removed)
	items  []*node
	fields []field
	line   int
	col    int
	set    string // the override that made this node, "" for the file's own
}

type field struct {
	key       string
	line, col int
	set       string
	value     *node
}

func (n *node) get(key string) (*field, bool) {
	for i := range n.fields {
		if n.fields[i].key == key {
			return &n.fields[i], true
		}
	}
	return nil, false
}

// clone copies deeply; a matrix grafts different values onto copies.
func (n *node) clone() *node {
	c := *n
	c.items = make([]*node, len(n.items))
	for i, it := range n.items {
		c.items[i] = it.clone()
	}
	c.fields = make([]field, len(n.fields))
	for i, f := range n.fields {
		c.fields[i] = f
		c.fields[i].value = f.value.clone()
	}
	return &c
}

// shown is the value as an error message quotes it.
func (n *node) shown() string {
	switch n.kind {
	case kindMapping:
		keys := make([]string, 0, 3)
		for i, f := range n.fields {
			if i == 3 {
				keys = append(keys, "…")
				break
			}
			keys = append(keys, f.key+": …")
		}
		return "{" + strings.Join(keys, ", ") + "}"
	case kindList:
		items := make([]string, 0, 3)
		for i, it := range n.items {
			if i == 3 {
				items = append(items, "…")
				break
			}
			items = append(items, it.shown())
		}
		return "[" + strings.Join(items, ", ") + "]"
	case kindNull:
		return ""
	}
	const most = 80
	if r := []rune(n.text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return n.text
}

// A scenario file is written by hand; a megabyte of it is a wrong file, and
// nesting of that depth would only exhaust the parser.
const (
	maxFileBytes = 256 << 10
	maxDepth     = 64
)

// parseTree reads one YAML document. file is only used in problems.
func parseTree(file string, src []byte) (root *node, problems Problems) {
	fail := func(line, col int, text string) (*node, Problems) {
		return nil, Problems{{File: file, Line: line, Col: col, Allowed: text}}
	}
	if len(src) > maxFileBytes {
		return fail(0, 0, fmt.Sprintf("%d bytes long: a scenario file has at most %d", len(src), maxFileBytes))
	}
	if deep, line := nesting(src); deep > maxDepth {
		return fail(line, 1, fmt.Sprintf("brackets nested more than %d deep", maxDepth))
	}
	// The parser is a library that has been seen to panic on garbage; to a
	// user that is still only a file that cannot be read.
	defer func() {
		if r := recover(); r != nil {
			root, problems = fail(0, 0, "not readable as YAML")
		}
	}()
	parsed, err := parser.ParseBytes(src, 0)
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			line, col := position(syntax.Token)
			return fail(line, col, "not valid YAML: "+syntax.Message)
		}
		return fail(0, 0, "not valid YAML: "+oneLine(err.Error()))
	}
	var docs []ast.Node
	for _, d := range parsed.Docs {
		if d.Body != nil {
			docs = append(docs, d.Body)
		}
	}
	switch {
	case len(docs) == 0:
		return fail(0, 0, "empty file: a scenario needs schema, name, workload, load, engines, guarantees and phases")
	case len(docs) > 1:
		line, col := position(docs[1].GetToken())
		return fail(line, col, "a second document: a file holds one scenario")
	}
	c := converter{file: file}
	root = c.convert(docs[0], 0)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return root, nil
}

// nesting gives the deepest flow nesting and the line where it is reached.
func nesting(src []byte) (deepest, line int) {
	depth, at := 0, 1
	for _, b := range src {
		switch b {
		case '[', '{':
			if depth++; depth > deepest {
				deepest, line = depth, at
			}
		case ']', '}':
			depth--
		case '\n':
			at++
		}
	}
	return deepest, line
}

type converter struct {
	file     string
	problems Problems
}

func position(t *token.Token) (line, col int) {
	if t == nil || t.Position == nil {
		return 0, 0
	}
	return t.Position.Line, t.Position.Column
}

func (c *converter) refuse(n ast.Node, text string) *node {
	line, col := position(n.GetToken())
	c.problems = append(c.problems, Problem{File: c.file, Line: line, Col: col, Allowed: text})
	return &node{kind: kindNull, line: line, col: col}
}

func (c *converter) convert(n ast.Node, depth int) *node {
	if n == nil {
		return &node{kind: kindNull}
	}
	if depth > maxDepth {
		return c.refuse(n, fmt.Sprintf("nested more than %d deep", maxDepth))
	}
	line, col := position(n.GetToken())
	scalar := func(k kind, text string) *node { return &node{kind: k, text: text, line: line, col: col} }
	switch v := n.(type) {
	case *ast.NullNode:
		return scalar(kindNull, "")
	case *ast.BoolNode:
		return scalar(kindBool, v.GetToken().Value)
	case *ast.IntegerNode:
		return scalar(kindInt, v.GetToken().Value)
	case *ast.FloatNode:
		return scalar(kindFloat, v.GetToken().Value)
	case *ast.InfinityNode, *ast.NanNode:
		return c.refuse(n, fmt.Sprintf("value %q: infinity and NaN are no values of a scenario", n.GetToken().Value))
	case *ast.StringNode:
		return scalar(kindText, v.Value)
	case *ast.LiteralNode:
		if v.Value == nil {
			return scalar(kindText, "")
		}
		return scalar(kindText, strings.TrimRight(v.Value.Value, "\n"))
	case *ast.SequenceNode:
		out := &node{kind: kindList, line: line, col: col}
		for _, it := range v.Values {
			out.items = append(out.items, c.convert(it, depth+1))
		}
		return out
	case *ast.MappingNode:
		out := &node{kind: kindMapping, line: line, col: col}
		for _, mv := range v.Values {
			c.addField(out, mv, depth)
		}
		if len(out.fields) > 0 && !v.IsFlowStyle {
			out.line, out.col = out.fields[0].line, out.fields[0].col
		}
		return out
	case *ast.MappingValueNode:
		out := &node{kind: kindMapping, line: line, col: col}
		c.addField(out, v, depth)
		if len(out.fields) > 0 {
			out.line, out.col = out.fields[0].line, out.fields[0].col
		}
		return out
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return c.refuse(n, "anchors, aliases and merge keys are not part of scenario files: write the value out")
	case *ast.TagNode:
		return c.refuse(n, "tags are not part of scenario files: write the plain value")
	}
	return c.refuse(n, "not something that a scenario file can hold")
}

func (c *converter) addField(out *node, mv *ast.MappingValueNode, depth int) {
	if mv == nil || mv.Key == nil {
		return
	}
	line, col := position(mv.Key.GetToken())
	var key string
	switch k := mv.Key.(type) {
	case *ast.StringNode:
		key = k.Value
	case *ast.IntegerNode, *ast.BoolNode, *ast.FloatNode:
		key = k.GetToken().Value
	default:
		c.refuse(mv.Key, "not a field name")
		return
	}
	if _, dup := out.get(key); dup {
		c.problems = append(c.problems, Problem{File: c.file, Line: line, Col: col, Field: key, Allowed: "given twice"})
		return
	}
	value := c.convert(mv.Value, depth+1)
	if value.line == 0 {
		value.line, value.col = line, col
	}
	out.fields = append(out.fields, field{key: key, line: line, col: col, value: value})
}
