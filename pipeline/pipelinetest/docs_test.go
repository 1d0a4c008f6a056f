package pipelinetest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryOperatorIsDocumented reads the packages of operators: each exported
// function that takes or gives a stream, and each exported method of what a
// pipeline is written with, has a heading in docs/operators.md or
// docs/windows.md, and each section there says what the operator is called in
// Spark and in Flink.
func TestEveryOperatorIsDocumented(t *testing.T) {
	headings := map[string]bool{}
	for _, doc := range []string{"operators.md", "windows.md"} {
		for _, s := range sections(t, filepath.Join("..", "..", "docs", doc)) {
			for _, word := range regexp.MustCompile(`[A-Z]\w+`).FindAllString(s.heading, -1) {
				headings[word] = true
			}
			if !strings.Contains(s.text, "Spark: ") || !strings.Contains(s.text, "Flink: ") {
				t.Errorf("%s: %q does not say what Spark or Flink calls it", doc, s.heading)
			}
		}
	}
	// What operators are written with, and no operator itself.
	internal := []string{"Fail", "ProcessingGrid", "Key", "Keys", "Values", "Ctx", "Stop", "Name", "As", "CombineBefore"}
	named := 0
	for _, dir := range []string{"pipeline", "pipeline/window", "pipeline/join", "pipeline/pattern"} {
		for _, name := range operators(t, filepath.Join("..", "..", dir)) {
			named++
			if !headings[name] && !slices.Contains(internal, name) {
				t.Errorf("%s: %s has no heading in docs/operators.md or docs/windows.md", dir, name)
			}
		}
	}
	if named < 60 {
		t.Errorf("only %d operators were found: does this test still read the packages?", named)
	}
}

type section struct{ heading, text string }

// sections are the parts of a page under headings of the third level.
func sections(t *testing.T, path string) (all []section) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range regexp.MustCompile(`(?m)^#+ `).Split(string(b), -1) {
		heading, text, _ := strings.Cut(part, "\n")
		if strings.Contains(string(b), "\n### "+heading+"\n") {
			all = append(all, section{heading, text})
		}
	}
	return all
}

// written are the types that a pipeline is written with.
var written = regexp.MustCompile(`^\*?(pipeline\.)?(Stream|Keyed|Connected|Windowed|Joined|Pattern|Assigner|Trigger|Evictor)\b`)

// operators lists the exported functions whose first parameter or result is such
// a type, and these types' exported methods.
func operators(t *testing.T, dir string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || internalMethod(fn) {
				continue
			}
			if builds(fn.Recv) || fn.Recv == nil && (builds(fn.Type.Params) || builds(fn.Type.Results)) {
				names = append(names, fn.Name.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// internalMethod tells methods that answer a question from those that change
// what is built.
func internalMethod(fn *ast.FuncDecl) bool {
	return fn.Recv != nil && slices.Contains([]string{"Check", "Assign", "String"}, fn.Name.Name)
}

func builds(l *ast.FieldList) bool {
	return l != nil && len(l.List) > 0 && written.MatchString(typeName(l.List[0].Type))
}

// typeName writes a type without its parameters.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}
