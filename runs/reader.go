package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Folder is a run folder opened for reading.
type Folder struct {
	// Dir is the folder, with links resolved.
	Dir string
	// Summary is summary.json; for a run that was broken off before it was
	// written, it is put together from run.json and the cells that were
	// finished.
	Summary *Summary
	// Problems are breaches that do not prevent reading, such as a summary
	// that contradicts itself.
	Problems []string
}

// Open opens a run: its folder, its summary.json, or a folder with a link
// "latest" to one.
func Open(path string) (*Folder, error) {
	if filepath.Base(path) == SummaryFile {
		path = filepath.Dir(path)
	}
	dir, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("no run at %s: %w", path, err)
	}
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("no run at %s: it is not a folder", path)
	}
	if !exists(filepath.Join(dir, SummaryFile)) && !exists(filepath.Join(dir, RunFile)) {
		latest, err := filepath.EvalSymlinks(filepath.Join(dir, LatestLink))
		if err != nil {
			return nil, fmt.Errorf("no run at %s: it holds neither %s nor %s nor a link %q", path, SummaryFile, RunFile, LatestLink)
		}
		dir = latest
	}
	f := &Folder{Dir: dir}
	err = readJSON(filepath.Join(dir, SummaryFile), &f.Summary)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := f.assemble(); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case f.Summary == nil || f.Summary.Schema == "":
		return nil, fmt.Errorf("%s: no schema is named; %s expected", filepath.Join(dir, SummaryFile), Schema)
	case f.Summary.Schema != Schema:
		return nil, fmt.Errorf("%s: schema %s; this program reads %s", filepath.Join(dir, SummaryFile), f.Summary.Schema, Schema)
	}
	if strings.HasSuffix(dir, PartialSuffix) {
		f.Summary.Partial = true
	}
	if err := f.Summary.Validate(); err != nil {
		f.Problems = append(f.Problems, strings.Split(err.Error(), "\n")...)
	}
	return f, nil
}

// assemble makes a summary of what a broken-off run left.
func (f *Folder) assemble() error {
	s := &Summary{Schema: Schema, Partial: true, Verdict: Inconclusive, Cells: []Cell{}}
	s.Reasons = []string{"The run was broken off before it wrote its summary; only the cells that were finished are shown."}
	if err := readJSON(filepath.Join(f.Dir, RunFile), &s.Run); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(f.Dir, CellsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !nameShape.MatchString(e.Name()) { // an earlier attempt: <id>~1
			continue
		}
		var c Cell
		err := readJSON(filepath.Join(f.Dir, CellsDir, e.Name(), CellFile), &c)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.Problems = append(f.Problems, "cell "+e.Name()+" was not finished")
		case err != nil:
			f.Problems = append(f.Problems, err.Error())
		default:
			s.Cells = append(s.Cells, c)
		}
	}
	slices.SortStableFunc(s.Cells, func(a, b Cell) int { return a.Started.Compare(b.Started) })
	f.Summary = s
	return nil
}

// Path returns the place of a file in a cell's folder.
func (f *Folder) Path(cell, name string) string {
	return filepath.Join(f.Dir, CellsDir, cell, name)
}

// Series reads a cell's series.csv. A cell without one gives an error that
// wraps fs.ErrNotExist, here and below.
func (f *Folder) Series(cell string) ([]Sample, error) {
	return readFile(f.Path(cell, SeriesFile), ReadSeries)
}

// Latencies reads a cell's latency.hlog.
func (f *Folder) Latencies(cell string) ([]LatencyInterval, error) {
	return readFile(f.Path(cell, LatencyFile), ReadLatencies)
}

// Events reads a cell's events.jsonl.
func (f *Folder) Events(cell string) ([]Event, error) {
	return readFile(f.Path(cell, EventsFile), ReadEvents)
}

// Ledger reads a cell's ledger.json.
func (f *Folder) Ledger(cell string) (Ledger, error) {
	var l Ledger
	err := readJSON(f.Path(cell, LedgerFile), &l)
	return l, err
}

// Predicted reads a cell's predicted.json.
func (f *Folder) Predicted(cell string) (*Predicted, error) {
	var p *Predicted
	err := readJSON(f.Path(cell, PredictedFile), &p)
	return p, err
}

// Plan reads a cell's plan.json as it is.
func (f *Folder) Plan(cell string) (json.RawMessage, error) {
	var raw json.RawMessage
	err := readJSON(f.Path(cell, PlanFile), &raw)
	return raw, err
}

func readFile[T any](path string, read func(io.Reader, string) (T, error)) (T, error) {
	file, err := os.Open(path)
	if err != nil {
		var none T
		return none, err
	}
	v, err := read(file, path)
	return v, errors.Join(err, file.Close())
}

// readJSON reads a JSON file; its errors name the file, line and column.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, describeJSON(err, data))
	}
	return nil
}
