package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names within a run folder.
const (
	SummaryFile = "summary.json"
	RunFile     = "run.json"
	ReportFile  = "report.html"
	PlotsDir    = "plots"
	CellsDir    = "cells"

	CellFile      = "cell.json"
	JobFile       = "job.json"
	EventsFile    = "events.jsonl"
	LatencyFile   = "latency.hlog"
	PlanFile      = "plan.json"
	SeriesFile    = "series.csv"
	LedgerFile    = "ledger.json"
	StderrFile    = "stderr.log"
	PredictedFile = "predicted.json"
	LatestLink    = "latest"
	PartialSuffix = ".partial"
)

// Writer writes one run's folder. Until Finish the folder's name ends in
// [PartialSuffix], so that a run that died is never taken for a result.
// Its methods may be called from several goroutines.
type Writer struct {
	run     Run
	final   string
	current string

	mu    sync.Mutex
	cells []*CellWriter
	done  bool
}

// Create makes the folder of a new run, <root>/<set>/<UTC time>-<commit>, and
// writes run.json into it, which also proves that the place can be written
// to. Run.ID and, if it is zero, Run.Started are filled in.
func Create(root, set string, run Run) (*Writer, error) {
	if !nameShape.MatchString(set) || set == LatestLink {
		return nil, fmt.Errorf("results set %q: a folder's name has letters, digits, and . _ + = @ -, and is not %q", set, LatestLink)
	}
	if run.Started.IsZero() {
		run.Started = time.Now()
	}
	run.Started = run.Started.UTC()
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	parent := filepath.Join(root, set)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("results folder: %w", err)
	}
	base := run.Started.Format("20060102T150405Z") + "-" + shortCommit(run.Commit)
	w := &Writer{}
	for n := 1; ; n++ {
		run.ID = base
		if n > 1 {
			run.ID = fmt.Sprintf("%s-%d", base, n)
		}
		w.final = filepath.Join(parent, run.ID)
		w.current = w.final + PartialSuffix
		if _, err := os.Lstat(w.final); err == nil {
			continue
		}
		err := os.Mkdir(w.current, 0o755)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("results folder: %w", err)
		}
	}
	w.run = run
	if err := writeJSON(filepath.Join(w.current, RunFile), run); err != nil {
		// Nothing was measured yet: leave nothing behind.
		return nil, errors.Join(fmt.Errorf("results folder: %w", err), os.RemoveAll(w.current))
	}
	return w, nil
}

func shortCommit(commit string) string {
	if commit == "" {
		return "unknown"
	}
	return commit[:min(len(commit), 8)]
}

// Run returns the run's description as it was written, with its ID.
func (w *Writer) Run() Run { return w.run }

// Dir returns the folder as it is called now; Finish renames it.
func (w *Writer) Dir() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// Cell makes the folder of a cell and opens its files. started is the cell's
// start by the wall clock. When the cell is there already, because an audit
// made it be repeated, the first attempt is kept beside it as <id>~1.
func (w *Writer) Cell(id string, started time.Time) (*CellWriter, error) {
	if !nameShape.MatchString(id) {
		return nil, fmt.Errorf("cell id %q is no folder name; see CellID", id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return nil, errors.New("the run is finished")
	}
	dir := filepath.Join(w.current, CellsDir, id)
	for n := 1; exists(dir); n++ {
		if old := fmt.Sprintf("%s~%d", dir, n); !exists(old) {
			if err := os.Rename(dir, old); err != nil {
				return nil, err
			}
		}
	}
	c, err := newCellWriter(dir, id, started)
	if err != nil {
		return nil, err
	}
	w.cells = append(w.cells, c)
	return c, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Finish completes the run: it withholds what audits void, checks the summary,
// writes summary.json and gives the folder its final name, which it returns.
// Draw the report then, and call [Publish] last.
func (w *Writer) Finish(s *Summary) (dir string, err error) {
	return w.end(s, false)
}

// Interrupt ends a run that was broken off: summary.json holds the cells that
// were finished and is marked partial, and the folder keeps its partial name.
func (w *Writer) Interrupt(s *Summary) (dir string, err error) {
	return w.end(s, true)
}

func (w *Writer) end(s *Summary, partial bool) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return w.current, errors.New("the run is finished")
	}
	for _, c := range w.cells {
		if err := c.Close(); err != nil {
			return w.current, err
		}
	}
	s.Schema, s.Partial = Schema, partial
	if s.Run.ID == "" {
		s.Run.ID = w.run.ID
	}
	if s.Run.Started.IsZero() {
		s.Run.Started = w.run.Started
	}
	if s.Run.Finished.IsZero() {
		s.Run.Finished = time.Now()
	}
	s.Run.Started, s.Run.Finished = s.Run.Started.UTC(), s.Run.Finished.UTC()
	if s.Cells == nil {
		s.Cells = []Cell{}
	}
	for i := range s.Cells {
		s.Cells[i].Withhold()
	}
	if partial && s.Verdict == "" {
		s.Verdict = Inconclusive
	}
	if err := s.Validate(); err != nil && !partial {
		return w.current, fmt.Errorf("summary.json: %w", err)
	}
	if err := writeJSON(filepath.Join(w.current, SummaryFile), s); err != nil {
		return w.current, err
	}
	w.done = true
	if partial {
		return w.current, nil
	}
	if err := os.Rename(w.current, w.final); err != nil {
		return w.current, err
	}
	w.current = w.final
	return w.final, syncDir(filepath.Dir(w.final))
}

// Publish points the links "latest" at a finished run: the one beside it, in
// its set, and the one above, of all sets. Each is replaced in one step.
func Publish(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if strings.HasSuffix(dir, PartialSuffix) || !exists(filepath.Join(dir, SummaryFile)) {
		return fmt.Errorf("%s is not a finished run", dir)
	}
	set := filepath.Dir(dir)
	return errors.Join(
		replaceLink(filepath.Join(set, LatestLink), filepath.Base(dir)),
		replaceLink(filepath.Join(filepath.Dir(set), LatestLink), filepath.Join(filepath.Base(set), filepath.Base(dir))),
	)
}

func replaceLink(link, target string) error {
	if info, err := os.Lstat(link); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return fmt.Errorf("%s is in the way: it is no link", link)
	}
	temp := fmt.Sprintf("%s.%d.tmp", link, os.Getpid())
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, link); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// CellWriter writes one cell's folder. Events may be appended from several
// goroutines; the series and the latencies each have one writer.
type CellWriter struct {
	ID      string
	Events  *EventWriter
	Latency *LatencyWriter
	Series  *SeriesWriter

	dir   string
	mu    sync.Mutex
	files []*os.File
}

func newCellWriter(dir, id string, started time.Time) (c *CellWriter, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c = &CellWriter{ID: id, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	open := func(name string) *os.File {
		if err != nil {
			return nil
		}
		var f *os.File
		if f, err = os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644); err == nil {
			c.files = append(c.files, f)
		}
		return f
	}
	events, latency, series := open(EventsFile), open(LatencyFile), open(SeriesFile)
	if err != nil {
		return nil, err
	}
	c.Events = NewEventWriter(events)
	if c.Latency, err = NewLatencyWriter(latency, started); err != nil {
		return nil, err
	}
	if c.Series, err = NewSeriesWriter(series); err != nil {
		return nil, err
	}
	return c, nil
}

// Path returns the place of a file or folder of this name in the cell's
// folder. It is good until [Writer.Finish] renames the run.
func (c *CellWriter) Path(name string) string { return filepath.Join(c.dir, name) }

// Stderr opens stderr.log to append to; the caller closes it.
func (c *CellWriter) Stderr() (*os.File, error) {
	return os.OpenFile(c.Path(StderrFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

// WriteJob writes job.json.
func (c *CellWriter) WriteJob(v any) error { return writeJSON(c.Path(JobFile), v) }

// WritePredicted writes predicted.json.
func (c *CellWriter) WritePredicted(p *Predicted) error { return writeJSON(c.Path(PredictedFile), p) }

// WritePlan writes plan.json.
func (c *CellWriter) WritePlan(v any) error { return writeJSON(c.Path(PlanFile), v) }

// WriteLedger writes ledger.json, keeping the first [AnomalyIDs] ids of each
// anomaly.
func (c *CellWriter) WriteLedger(l Ledger) error {
	short := make(map[string][]RecordID, len(l.Anomalies))
	for name, ids := range l.Anomalies {
		short[name] = ids[:min(len(ids), AnomalyIDs)]
	}
	l.Anomalies = short
	return writeJSON(c.Path(LedgerFile), l)
}

// Finish closes the cell's files and writes cell.json, with what audits void
// withheld. A run that is broken off later keeps the cell.
func (c *CellWriter) Finish(cell *Cell) error {
	cell.ID = c.ID
	cell.Withhold()
	return errors.Join(c.Close(), writeJSON(c.Path(CellFile), cell))
}

// Close closes the cell's files. It may be called more than once.
func (c *CellWriter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	c.files = nil
	return errors.Join(errs...)
}

// writeJSON writes v to a temporary name, syncs and renames it, so that the
// file is there whole or not at all.
func writeJSON(path string, v any) (err error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	_, err = temp.Write(append(slices.Clip(data), '\n'))
	err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename in the folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
