package bench

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"streamduel/engines"
	"streamduel/harness/control"
	"streamduel/runs"
	"streamduel/worker"
)

type savepointFlags struct {
	to, out     string
	stop, drain bool
}

func (a *app) savepointCommand() *cobra.Command {
	var f savepointFlags
	cmd := &cobra.Command{
		Use: "savepoint [DIR]", Short: "Ask the running job of a cell for a savepoint",
		Long: `Ask the job of the cell that runs for a savepoint and print its folder. DIR is the
folder of a run, of one of its cells, or of that cell's checkpoints; without it the
run that is going on below --out. What was taken is in the report as a mark.

With --stop the job ends with the savepoint, and with --drain as well it takes in
what there is and fires its timers first. The cell then ends too, and fails: it has
not done what its scenario says.

bench checkpoints describes a savepoint; the engine's restoreFrom begins a job with it.`,
		Example: `  bench savepoint
  bench savepoint results/steady/20260101T120000Z-0123abcd.partial --to /var/savepoints
  bench savepoint --stop --drain`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.fromVariables(cmd); err != nil {
				return err
			}
			return a.takeSavepoint(cmd.Context(), f, args)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVar(&f.stop, "stop", false, "end the job with it")
	fl.BoolVar(&f.drain, "drain", false, "with --stop: take in what there is and fire all timers first")
	fl.StringVar(&f.to, "to", "savepoints", "where its folder is made, as RUN/CELL/savepoint-N")
	fl.StringVar(&f.out, "out", "results", "folder of the results, for the run that is going on")
	return cmd
}

func (a *app) takeSavepoint(ctx context.Context, f savepointFlags, args []string) error {
	where := f.out
	switch {
	case len(args) > 1:
		return usage("savepoint: one folder: of a run, a cell or its checkpoints")
	case f.drain && !f.stop:
		return usage("savepoint: --drain: only with --stop: a job that is drained has ended")
	case len(args) == 1:
		where = args[0]
	}
	to, err := filepath.Abs(f.to)
	if err != nil {
		return environment("savepoint: --to: value %q: %v", f.to, err)
	}
	cell, err := a.runningCell(ctx, where, len(args) == 1)
	if err != nil {
		return err
	}
	command := worker.Command{Savepoint: &worker.Savepoint{Dir: to}}
	if f.stop {
		command = worker.Command{Stop: &worker.Stop{Mode: string(engines.StopCheckpoint), Savepoint: to}}
		if f.drain {
			command.Stop.Mode = string(engines.StopDrain)
		}
	}
	path, err := control.Ask(ctx, cell, command)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, control.ErrNotRunning):
		return usage("savepoint: value %q: its cell has just ended", cell)
	case err != nil:
		return environment("savepoint: no savepoint of %s: %s", filepath.Base(cell), oneLine(err.Error()))
	}
	out := &printer{w: a.env.Stdout}
	out.printf("%s\n", path)
	return out.done()
}

// runningCell finds the one cell that runs in a folder, or below it.
func (a *app) runningCell(ctx context.Context, where string, given bool) (cell string, err error) {
	if info, err := os.Stat(where); given && (err != nil || !info.IsDir()) {
		// A run that is going on has a name of its own.
		if info, err := os.Stat(where + runs.PartialSuffix); err != nil || !info.IsDir() {
			return "", usage("savepoint: value %q: not a folder", where)
		}
	}
	var running []string
	below := filepath.Join(runs.CellsDir, "*")
	for _, pattern := range []string{
		".", "..", below, filepath.Join("*"+runs.PartialSuffix, below), filepath.Join("*", "*"+runs.PartialSuffix, below),
	} {
		found, err := filepath.Glob(filepath.Join(escaped(where), pattern, control.File))
		if err == nil && pattern == below {
			var other []string
			other, err = filepath.Glob(filepath.Join(escaped(where)+runs.PartialSuffix, below, control.File))
			found = append(found, other...)
		}
		if err != nil {
			return "", environment("savepoint: %v", err)
		}
		for _, file := range found {
			if dir := filepath.Dir(file); control.Running(ctx, dir) {
				running = append(running, dir)
			}
		}
	}
	slices.Sort(running)
	switch running = slices.Compact(running); {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case len(running) == 0:
		return "", usage("savepoint: value %q: no cell runs there: name the folder of a run that is going on (*%s), of its running cell, or with --out that of the results", where, runs.PartialSuffix)
	case len(running) > 1:
		return "", usage("savepoint: value %q: %d cells run there: name one of %s", where, len(running), strings.Join(running, ", "))
	}
	return running[0], a.takesSavepoints(running[0])
}

// escaped is a path in which nothing is a pattern.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// takesSavepoints refuses the cell of an engine of ours that takes none. What one of
// the user's own can, it says itself.
func (a *app) takesSavepoints(cell string) error {
	var job worker.Job
	b, err := os.ReadFile(filepath.Join(cell, runs.JobFile))
	if err == nil {
		err = json.Unmarshal(b, &job)
	}
	if err != nil {
		return environment("savepoint: %v", err)
	}
	for _, e := range a.parts.engines {
		if _, ok := e.(engines.Restorer); !ok && e.Name() == job.Engine {
			return usage("savepoint: %s: engine %s takes no savepoints: its state goes on from the job's own folder; ask while a cell of an engine runs that takes them, such as dataflow", filepath.Base(cell), job.Engine)
		}
	}
	return nil
}
