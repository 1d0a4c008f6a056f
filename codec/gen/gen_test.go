package gen

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The names in sample's go:generate line.
func sampleTypes(t *testing.T) []string {
	b, err := os.ReadFile("sample/sample.go")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^//go:generate .* -type (\S+)$`).FindSubmatch(b)
	if m == nil {
		t.Fatal("sample.go has no go:generate line")
	}
	return strings.Split(string(m[1]), ",")
}

// The committed file, which the tests of package sample run and go vet reads, is
// what the generator writes.
func TestGolden(t *testing.T) {
	got, err := Generate("sample", sampleTypes(t))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("sample/codecs_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
		for i := range min(len(g), len(w)) {
			if !bytes.Equal(g[i], w[i]) {
				t.Fatalf("line %d: the generator writes\n%s\nthe file has\n%s\nrun go generate ./codec/gen/sample and look at the difference", i+1, g[i], w[i])
			}
		}
		t.Fatalf("the generator writes %d lines, the file has %d", len(g), len(w))
	}
	if !regexp.MustCompile(`^// Code generated .* DO NOT EDIT\.\n`).Match(got) {
		t.Error("tools do not see that the file is generated")
	}
	// A second run finds the generated file there and writes the same.
	again, err := Generate("sample", sampleTypes(t))
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("the second run writes another file, %v", err)
	}
}

// Every generated file in the repository is what its go:generate line writes.
func TestGeneratedFilesAreUpToDate(t *testing.T) {
	root := filepath.Join("..", "..")
	found := 0
	line := regexp.MustCompile(`(?m)^//go:generate go run streamduel/cmd/codecgen -type (\S+)$`)
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "results" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "doc.go") || filepath.Base(path) == "main.go" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		m := line.FindSubmatch(b)
		if m == nil {
			return nil
		}
		found++
		dir := filepath.Dir(path)
		got, err := Generate(dir, strings.Split(string(m[1]), ","))
		if err != nil {
			return err
		}
		want, err := os.ReadFile(filepath.Join(dir, "codecs_gen.go"))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not up to date: run go generate ./%s", filepath.Join(dir, "codecs_gen.go"), strings.TrimPrefix(dir, root+"/"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 2 {
		t.Errorf("%d go:generate lines found", found)
	}
}

// What has no codec is refused with its file and line.
func TestRefusals(t *testing.T) {
	const dir = "testdata/refused"
	b, err := os.ReadFile(dir + "/refused.go")
	if err != nil {
		t.Fatal(err)
	}
	// By type: "refused.go:line: the beginning of the message".
	want := map[string][]string{}
	current := ""
	for i, text := range strings.Split(string(b), "\n") {
		if name, ok := strings.CutPrefix(text, "type "); ok {
			current, _, _ = strings.Cut(name, " ")
		}
		if _, message, ok := strings.Cut(text, "// want: "); ok {
			want[current] = append(want[current], "refused.go:"+strconv.Itoa(i+1)+": "+message)
		}
	}
	for name, beginnings := range want {
		_, err := Generate(dir, []string{name})
		if err == nil {
			t.Errorf("%s got a codec", name)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		for _, begin := range beginnings {
			if !containsPrefix(lines, begin) {
				t.Errorf("%s: no line begins with %q in\n%v", name, begin, err)
			}
		}
		if len(lines) != len(beginnings) {
			t.Errorf("%s: %d refusals, want %d:\n%v", name, len(lines), len(beginnings), err)
		}
	}
	for name, message := range map[string]string{
		"foreign":  "field z of netip.Addr: it is not exported and of another package",
		"gap":      "gap has no fields in version 1",
		"removals": "//codec:removed Name type until=n",
		"number":   "number is no struct",
		"generic":  "generic[T any] has no name or has type parameters",
		"nowhere":  "package refused has no type nowhere",
	} {
		if _, err := Generate(dir, []string{name}); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %v, want %q", name, err, message)
		}
	}
	if _, err := Generate(dir, []string{"removals"}); err == nil ||
		!strings.Contains(err.Error(), "removed field C of removals: nothing is no type here") ||
		!strings.Contains(err.Error(), "removed field D of removals: it has versions 3 to 2") {
		t.Errorf("removals: %v", err)
	}
	if _, err := Generate("testdata", []string{"x"}); err == nil {
		t.Error("a folder without a package was read")
	}
}

func containsPrefix(lines []string, prefix string) bool {
	for _, l := range lines {
		if strings.HasPrefix(l, prefix) {
			return true
		}
	}
	return false
}
