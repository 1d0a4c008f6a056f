package bench

import (
	"context"
	"io"
	"time"

	"streamduel/engines"
	"streamduel/runs"
	"streamduel/scenarios"
)

// parts are what the command is put together from. wired() gives the real
// ones; tests bring their own.
type parts struct {
	// engines are the built-in ones, as scenario files may name them.
	engines []engines.Engine
	run     Runner
	// plan asks a built-in engine how it would run a cell's job.
	plan   func(c *scenarios.Cell) (engines.Plan, error)
	report Reporter
	// children are the processes that the harness starts by re-executing this
	// binary: worker, broker, load. Arguments come without the command's name.
	children map[string]Child
}

// Child is the main function of a child process; it returns the exit code.
type Child func(ctx context.Context, env Env, args []string) int

// Runner runs cells and writes one run folder. It returns when nothing that it
// started is left running.
//
// The result may be partly filled when the error is not nil: Dir names the
// folder of what was finished. An error is an environment's failure (exit code
// 4), unless it is the context's (130), or has a method ExitCode() int.
type Runner func(ctx context.Context, req Request) (Result, error)

// Request is what `run` asks of the harness.
type Request struct {
	Set       string // name of the results' sub-folder: the scenario's or the set's
	Question  string
	Cells     []*scenarios.Cell // in the order in which they are run
	Broker    Broker
	Out       string // root of the results, "results"
	Seed      uint64
	Quick     bool
	Arguments []string // of the command, for summary.json
	// Progress is told what goes on; it returns at once and may be called
	// from any goroutine.
	Progress func(Progress)
	// Log takes the harness's log lines if the user asked for them (-v), else nil.
	Log io.Writer
}

// Broker says where the records live.
type Broker struct {
	Kind      string   // embedded, container, local, external
	Addresses []string // of an external one
}

// Result is a finished (or broken off) run.
type Result struct {
	Dir     string // the run folder; "" if none was made
	Summary *runs.Summary
}

// Progress is one thing that happened.
type Progress struct {
	Kind  ProgressKind
	Text  string // Note: what is being done outside of cells
	Cell  *scenarios.Cell
	Index int           // of the cell, from 0
	Phase string        // CellPhase, CellTick
	At    time.Duration // since the schedule's start (CellPhase, CellTick)
	// CellTick: rates in records per second, and records behind.
	Offered, Visible float64
	Lag              int64
	// CellDone.
	Verdict runs.Verdict
	Reasons []string
}

// ProgressKind tells the kinds of [Progress] apart.
type ProgressKind int

// Kinds of progress.
const (
	Note      ProgressKind = iota // the harness does something else: starts the broker, measures the floors
	CellStart                     // a cell begins
	CellPhase                     // a phase begins
	CellTick                      // a few times a second
	CellDone                      // a cell has its verdict
)

// Reporter draws what a run folder holds. Every method only reads the folder's
// raw results.
type Reporter interface {
	// Draw writes report.html and plots/ into the folder and returns the
	// page's path.
	Draw(ctx context.Context, dir string) (string, error)
	// Text writes the comparison for a terminal.
	Text(w io.Writer, dir string, color bool) error
	// Markdown writes the comparison for a pull request.
	Markdown(w io.Writer, dir string) error
}
