package connectors

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/connectors/connectorstest"
)

// lines is a Log in memory, which gives two records at a time.
type lines []string

func (l lines) Len(context.Context) (int64, error) { return int64(len(l)), nil }
func (l lines) Read(_ context.Context, i int64) ([]string, error) {
	return l[i:min(i+2, int64(len(l)))], nil
}

func TestSource(t *testing.T) {
	src := &Source{Logs: map[connectors.SplitID]Log{"b": lines{"one", "two", "three", "four", "five"}, "a": lines{"six"}}}
	connectorstest.Source(t, func(*testing.T) connectors.Source { return src }, "one", "two", "three", "four", "five", "six")
}

func TestSink(t *testing.T) {
	dir := t.TempDir()
	connectorstest.Sink(t, func(*testing.T) connectors.Sink { return &Sink{Dir: dir} }, func(t *testing.T) (all []string) {
		paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, strings.Fields(string(b))...)
		}
		return all
	})
}
