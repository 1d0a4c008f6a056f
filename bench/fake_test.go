package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/workloads"
)

func TestMain(m *testing.M) {
	if workloads.Lookup("keyed-count") == nil {
		workloads.Register(&workloads.Workload{
			Name: "keyed-count", Doc: "a running count per key",
			Params:     func() any { return &struct{ Keys int }{1000} },
			Generator:  func(any, uint64) (workloads.Generator, error) { return nil, nil },
			Pipeline:   func(any, workloads.IO) (*pipeline.Graph, error) { return nil, nil },
			Accounting: func(any, uint64) (workloads.Accounting, error) { return workloads.Accounting{}, nil },
		})
	}
	testscript.Main(m, map[string]func(){
		"bench": func() { os.Exit(main(OS(), fakeParts(), os.Args[1:])) },
	})
}

func fakeParts() parts {
	return parts{
		engines: []engines.Engine{
			fakeDataflow{fakeEngine{"dataflow", []string{"D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "R1", "R2"}, func() any { return &dataflowConfig{} }}},
			fakeEngine{"microbatch", []string{"M0", "M0t", "M1", "M2", "M2r", "M3", "M4", "T1", "T2", "E1", "E2", "E3"}, func() any { return &microbatchConfig{} }},
		},
		run:    fakeRun,
		report: fakeReport{},
		plan: func(c *scenarios.Cell) (engines.Plan, error) {
			return engines.Plan{Engine: c.Engine.Name, Job: c.File.Name, Stages: []engines.PlanStage{{Name: "all", Parallelism: c.Scenario.Parallelism}}}, nil
		},
		children: map[string]Child{
			"worker": func(_ context.Context, env Env, args []string) int {
				fmt.Fprintln(env.Stdout, "worker", args)
				return 7
			},
		},
	}
}

type microbatchConfig struct {
	Interval time.Duration `json:"interval"`
	Clock    string        `json:"clock"`
	Rate     struct {
		Cap int `json:"maxRecordsPerBatch"`
		PID struct {
			Enabled bool `json:"enabled"`
		} `json:"pid"`
	} `json:"rate"`
	Cores       int            `json:"cores"`
	Source      map[string]any `json:"source"`
	Watermark   string         `json:"watermark"`
	Executors   int            `json:"executors"`
	Trigger     string         `json:"trigger"`
	ExactlyOnce string         `json:"exactlyOnce"`
	OutputMode  string         `json:"outputMode"`
}

func (c *microbatchConfig) Validate() error {
	if c.Interval <= 0 {
		return errors.New("interval: a duration above 0s")
	}
	return nil
}

type dataflowConfig struct {
	BufferTimeout time.Duration `json:"bufferTimeout"`
	Checkpoint    struct {
		Interval  time.Duration `json:"interval"`
		Unaligned bool          `json:"unaligned"`
	} `json:"checkpoint"`
	Buffers struct {
		Size    int            `json:"size"`
		Debloat map[string]any `json:"debloat"`
	} `json:"buffers"`
	WatermarkInterval time.Duration      `json:"watermarkInterval"`
	TaskManagers      int                `json:"taskManagers"`
	Standbys          int                `json:"standbys,omitempty"`
	Lease             scenarios.Duration `json:"lease,omitempty"`
	Restart           struct {
		Strategy string        `json:"strategy"`
		Attempts int           `json:"attempts"`
		Delay    time.Duration `json:"delay"`
	} `json:"restart"`
	Watermark     string `json:"watermark"`
	AcceptLost    bool   `json:"acceptLost,omitempty"`
	BreakRecovery bool   `json:"breakRecovery,omitempty"`
}

func (c *dataflowConfig) StandBy() int { return c.Standbys }

// fakeEngine is known to scenario files and never started.
type fakeEngine struct {
	name   string
	points []string
	config func() any
}

// fakeDataflow is one that takes savepoints.
type fakeDataflow struct{ fakeEngine }

func (fakeDataflow) Restores() {}

func (e fakeEngine) Name() string { return e.name }
func (e fakeEngine) Config() any  { return e.config() }
func (e fakeEngine) Points() []engines.Point {
	out := make([]engines.Point, len(e.points))
	for i, p := range e.points {
		out[i].Name = p
	}
	return out
}
func (e fakeEngine) Plan(engines.Job, any) (engines.Plan, error) { return engines.Plan{}, nil }
func (e fakeEngine) Start(context.Context, engines.Job, any, engines.Runtime) (engines.Run, error) {
	return nil, errors.New("never started")
}

// fakeRun writes a run folder whose verdicts the variable FAKE chooses.
func fakeRun(ctx context.Context, req Request) (Result, error) {
	if os.Getenv("FAKE") == "port" {
		return Result{}, errors.New("broker: 127.0.0.1:9092 is in use by another program: stop it or choose another port")
	}
	w, err := runs.Create(req.Out, req.Set, runs.Run{Commit: "abcdef123456", Seed: int64(req.Seed), Arguments: req.Arguments, Broker: runs.Broker{Kind: req.Broker.Kind}, Quick: req.Quick})
	if err != nil {
		return Result{}, err
	}
	req.Progress(Progress{Kind: Note, Text: "measuring the floors"})
	if req.Log != nil {
		fmt.Fprintln(req.Log, "level=info msg=started")
	}
	s := &runs.Summary{Run: w.Run(), Verdict: runs.Pass}
	for i, c := range req.Cells {
		req.Progress(Progress{Kind: CellStart, Cell: c, Index: i})
		req.Progress(Progress{Kind: CellPhase, Cell: c, Index: i, Phase: c.Scenario.Phases[0].Name})
		req.Progress(Progress{Kind: CellTick, Cell: c, Index: i, At: 2 * time.Second, Offered: 10_000, Visible: 9_998, Lag: 1203})
		if wait := os.Getenv("FAKE"); (wait == "wait" || wait == "stuck") && i == 1 {
			signpost("waiting")
			<-ctx.Done()
			if wait == "stuck" { // a harness that does not come to its end
				signpost("stuck")
				select {}
			}
			dir, err := w.Interrupt(s)
			return Result{dir, s}, errors.Join(ctx.Err(), err)
		}
		cell := runs.Cell{
			ID: c.ID, Scenario: c.File.Name, Workload: c.Scenario.Workload.Name, Engine: c.Engine.Name,
			Guarantee: string(c.Guarantee), Repetition: c.Repetition, Variant: c.Labels, Verdict: runs.Pass,
		}
		if v := runs.Verdict(os.Getenv("FAKE")); i == 0 && (v == runs.Fail || v == runs.Inconclusive) {
			cell.Verdict, cell.Reasons = v, []string{"records.duplicates = 3, must be == 0"}
			s.Verdict = v
		}
		s.Cells = append(s.Cells, cell)
		req.Progress(Progress{Kind: CellDone, Cell: c, Index: i, Verdict: cell.Verdict, Reasons: cell.Reasons})
	}
	dir, err := w.Finish(s)
	return Result{dir, s}, err
}

// signpost tells the script, by a file, how far this process has come.
func signpost(name string) {
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		panic(err)
	}
}

type fakeReport struct{}

func (fakeReport) Draw(_ context.Context, dir string) (string, error) {
	page := filepath.Join(dir, runs.ReportFile)
	return page, os.WriteFile(page, []byte("<!doctype html>"), 0o600)
}

func (fakeReport) Text(w io.Writer, dir string, color bool) error {
	_, err := fmt.Fprintln(w, "comparison, colour", color)
	return err
}

func (fakeReport) Markdown(w io.Writer, dir string) error {
	_, err := fmt.Fprintln(w, "| comparison |")
	return err
}
