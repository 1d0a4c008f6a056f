package pipelinetest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// made are the types that operators are made of: whatever exported function or
// method gives one must be in a case of the table.
var made = []string{"Stream", "Keyed", "Connected", "Windowed", "Assigner", "Trigger", "Evictor", "Pattern"}

// layout are the methods that say how an operator runs and not what it does; a
// case runs in every layout anyway.
var layout = []string{"Codec", "KeyCodec", "Parallelism", "UID", "SlotSharingGroup", "DisableChaining", "StartNewChain", "ProcessingGrid", "As", "Emits"}

// parse returns the Go files of a folder for which want is true.
func parse(t *testing.T, dir string, want func(name string) bool) (files []*ast.File) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || !want(e.Name()) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// baseName returns the name of a type without pointer, package and parameters.
func baseName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return baseName(x.X)
	case *ast.IndexExpr:
		return baseName(x.X)
	case *ast.IndexListExpr:
		return baseName(x.X)
	case *ast.SelectorExpr:
		return x.Sel.Name
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// constructors returns what makes operators in a package: "Map", ".Rebalance".
func constructors(t *testing.T, dir string) (names []string) {
	for _, f := range parse(t, dir, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }) {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || fn.Type.Results == nil || !slices.Contains(made, baseName(fn.Type.Results.List[0].Type)) {
				continue
			}
			switch {
			case fn.Recv == nil:
				names = append(names, fn.Name.Name)
			case !slices.Contains(layout, fn.Name.Name) && ast.IsExported(baseName(fn.Recv.List[0].Type)):
				names = append(names, "."+fn.Name.Name)
			}
		}
	}
	return names
}

// inTable returns what the files of the table call: "pipeline.Map", ".Rebalance".
func inTable(t *testing.T) map[string]bool {
	// Sources are not operators: From is every case's input, and no case's input
	// has records that do not decode.
	// MapBroadcast, and Enrich, are made of RichMapBroadcast.
	used := map[string]bool{"pipeline.From": true, "pipeline.DeadLettersOf": true, "pipeline.RichMapBroadcast": true}
	// Operators of the table are made of those that everywhere_test.go calls, with a
	// function that is the same in all subtasks.
	tables := []string{"everywhere_test.go", "operators_test.go", "windows_test.go", "triggers_test.go", "joins_test.go", "patterns_test.go", "spark_test.go", "metrics_test.go"}
	for _, f := range parse(t, ".", func(name string) bool { return slices.Contains(tables, name) }) {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				used["."+s.Sel.Name] = true
				if x, ok := s.X.(*ast.Ident); ok {
					used[x.Name+"."+s.Sel.Name] = true
				}
			}
			return true
		})
	}
	return used
}

// TestTheTableIsWhole: an operator that is not in the table fails here.
func TestTheTableIsWhole(t *testing.T) {
	used := inTable(t)
	found := 0
	for pkg, dir := range map[string]string{"pipeline": "..", "window": "../window", "join": "../join", "pattern": "../pattern"} {
		for _, name := range constructors(t, dir) {
			found++
			if full := pkg + "." + name; !used[full] && (name[0] != '.' || !used[name]) {
				t.Errorf("%s is in no case of the table of operators: add one", strings.Replace(full, "..", ": method ", 1))
			}
		}
	}
	if found < 60 || used["pipeline.NoSuchOperator"] {
		t.Errorf("%d operators were found: the test does not see them any more", found)
	}
}
