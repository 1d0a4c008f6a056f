package bench

import (
	"context"
	"io"
	"path/filepath"

	"streamduel/report"
	"streamduel/runs"
)

// pages is the Reporter on package report.
type pages struct{}

var _ Reporter = pages{}

func (pages) Draw(_ context.Context, dir string) (string, error) {
	return filepath.Join(dir, runs.ReportFile), report.Draw(dir)
}

func (pages) Text(w io.Writer, dir string, color bool) error {
	f, err := runs.Open(dir)
	if err != nil {
		return err
	}
	return report.Text(w, f, report.Options{Color: color})
}

func (pages) Markdown(w io.Writer, dir string) error {
	f, err := runs.Open(dir)
	if err != nil {
		return err
	}
	return report.Markdown(w, f)
}
