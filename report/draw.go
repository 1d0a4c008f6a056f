package report

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"streamduel/runs"
)

// Draw writes report.html and plots/*.png into a run's folder, from what the
// folder holds; what was drawn before is replaced. dir is anything that
// [runs.Open] takes.
func Draw(dir string) error {
	f, err := runs.Open(dir)
	if err != nil {
		return err
	}
	v := Build(f)
	var page bytes.Buffer
	if err := HTML(&page, v); err != nil {
		return fmt.Errorf("report.html: %w", err)
	}
	if err := replaceFile(filepath.Join(f.Dir, runs.ReportFile), page.Bytes()); err != nil {
		return err
	}
	return drawPlots(filepath.Join(f.Dir, runs.PlotsDir), v)
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, data []byte) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// drawPlots writes a picture for each group that has charts.
func drawPlots(dir string, v *View) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.png"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for _, s := range v.Scenarios {
		for _, g := range s.Groups {
			if len(g.Charts) == 0 {
				continue
			}
			var picture bytes.Buffer
			title := s.Name + ", " + g.Title
			if err := writePNG(&picture, title, g, v.Styles); err != nil {
				return fmt.Errorf("plots/%s.png: %w", g.Anchor, err)
			}
			if err := replaceFile(filepath.Join(dir, g.Anchor+".png"), picture.Bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Options are how Text writes.
type Options struct {
	// Color marks verdicts with ANSI colours.
	Color bool
	// Width is that of the terminal in columns; 0 stands for 100.
	Width int
}

// Text writes a run for the terminal: verdict, what needs attention, what the
// run says, and a table of its cells.
func Text(w io.Writer, f *runs.Folder, o Options) error {
	return writeText(w, Build(f), o)
}

// Markdown writes the same for a pull request or a job's summary.
func Markdown(w io.Writer, f *runs.Folder) error {
	return writeMarkdown(w, Build(f))
}
