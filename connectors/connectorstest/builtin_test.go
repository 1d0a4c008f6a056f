package connectorstest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/connectors/collection"
	"streamduel/connectors/connectorstest"
	"streamduel/connectors/file"
)

func values(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint("value ", i))
	}
	return all
}

func TestCollection(t *testing.T) {
	all := values(100)
	src := collection.NewSource(collection.Values(all[:30]...), collection.Values(all[30:]...))
	connectorstest.Source(t, func(*testing.T) connectors.Source { return src }, all...)
	sink := collection.NewSink()
	connectorstest.Sink(t, func(*testing.T) connectors.Sink { return sink }, func(*testing.T) []string { return sink.Values() })
}

func TestFile(t *testing.T) {
	all, dir := values(500), t.TempDir()
	for i, part := range [][]string{all[:100], all[100:]} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".txt")), []byte(strings.Join(part, "\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	connectorstest.Source(t, func(t *testing.T) connectors.Source {
		s, err := file.NewSource(file.SourceConfig{Paths: []string{dir}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, all...)
	out := t.TempDir()
	connectorstest.Sink(t, func(t *testing.T) connectors.Sink {
		s, err := file.NewSink(file.SinkConfig{Dir: out})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, func(t *testing.T) []string { return lines(t, out, "*.txt") })
}

// lines are those of all files of a folder that a pattern finds; hidden ones are
// not found.
func lines(t *testing.T, dir, pattern string) (all []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasPrefix(filepath.Base(path), ".") {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Fields(string(b))...)
	}
	return all
}
