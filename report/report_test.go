package report

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"streamduel/runs"
)

var (
	update = flag.Bool("update", false, "rewrite the golden files")
	keep   = flag.String("keep", "", "folder in which to keep drawn synthetic runs, to look at")
)

func open(t *testing.T, dir string) *runs.Folder {
	t.Helper()
	f, err := runs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var synthetics = map[string]func(testing.TB, string) string{"good": goodRun, "bad": badRun, "repeated": repeatedRun}

var (
	sharedRoot string
	shared     = map[string]string{}
)

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if sharedRoot, err = os.MkdirTemp("", "streamduel-report-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if *keep == "" {
		pngDPI = 36
	}
	code := m.Run()
	if err := os.RemoveAll(sharedRoot); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// synthetic run folders take a while to write, so that the tests share them:
// they read them, or draw into them. No test here runs in parallel.
func sharedRun(t *testing.T, name string) string {
	t.Helper()
	if shared[name] == "" {
		shared[name] = synthetics[name](t, filepath.Join(sharedRoot, name))
	}
	return shared[name]
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), rewrite with -update:\n%s", name, diff)
	}
}

func TestTextAndMarkdown(t *testing.T) {
	for name := range synthetics {
		t.Run(name, func(t *testing.T) {
			f := open(t, sharedRun(t, name))
			if len(f.Problems) > 0 {
				t.Errorf("the synthetic run has problems: %q", f.Problems)
			}
			var text, markdown bytes.Buffer
			if err := Text(&text, f, Options{}); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", text.Bytes())
			if err := Markdown(&markdown, f); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".md", markdown.Bytes())
		})
	}
}

// TestDraw draws the synthetic runs; with -keep into a folder that stays.
func TestDraw(t *testing.T) {
	for name, build := range synthetics {
		t.Run(name, func(t *testing.T) {
			var dir string
			if *keep != "" {
				root := filepath.Join(*keep, name)
				if err := os.RemoveAll(root); err != nil {
					t.Fatal(err)
				}
				dir = build(t, root)
			} else {
				dir = sharedRun(t, name)
			}
			stale := filepath.Join(dir, runs.PlotsDir, "stale.png")
			if err := errors.Join(os.MkdirAll(filepath.Dir(stale), 0o755), os.WriteFile(stale, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			if err := Draw(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what was drawn before is still there: %v", err)
			}
			entries, err := os.ReadDir(filepath.Join(dir, runs.PlotsDir))
			if err != nil || len(entries) == 0 {
				t.Errorf("%d plots, %v", len(entries), err)
			}
			for _, e := range entries {
				data, err := os.ReadFile(filepath.Join(dir, runs.PlotsDir, e.Name()))
				if err != nil || !bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")) {
					t.Errorf("%s is no PNG: %v", e.Name(), err)
				}
			}
		})
	}
}
