package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"streamduel/runs"
	"streamduel/scenarios"
)

// runFlags are the flags of `run`, a contract with scripts.
type runFlags struct {
	engines, guarantees, sets        []string
	workload                         string
	broker, out, junit, markdown     string
	quick, json, noColor, quiet, log bool
	repeat, parallelism              int
	seed                             uint64
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run SCENARIO…",
		Short: "Run scenarios: files, folders of them, or names of built-in ones",
		Long: `Run scenario files, folders of them, or built-in scenarios and sets by name
(bench list names them). Writes one run folder, draws the report and prints the
comparison. Each flag can also be given as a variable: --no-color is
STREAMDUEL_NO_COLOR=true, lists are separated by ";".`,
		Example: `  bench run steady
  bench run walk --quick
  bench run crash-mid-commit --guarantee exactly-once --repeat 6
  bench run steady --workload ysb --set workload.params.window=1s
  bench run my.yaml --set load.rate=20k/s --set phases.steady.duration=60s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.fromVariables(cmd); err != nil {
				return err
			}
			return a.runScenarios(cmd.Context(), f, args)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringSliceVar(&f.engines, "engine", nil, "run only these engines of the scenario")
	fl.StringSliceVar(&f.guarantees, "guarantee", nil, "run with these guarantees instead of the scenario's: "+strings.Join(guaranteeNames(), ", "))
	fl.StringVar(&f.workload, "workload", "", "run this workload with its defaults instead of the scenario's")
	fl.StringVar(&f.broker, "broker", "embedded", "embedded, container, local, or HOST:PORT[,HOST:PORT…]")
	fl.BoolVar(&f.quick, "quick", false, "at most "+scenarios.QuickPhase.String()+" a phase, same checks")
	fl.IntVar(&f.repeat, "repeat", 1, "run every cell this often, engines interleaved; intervals need 6")
	fl.StringArrayVar(&f.sets, "set", nil, "override a scenario's field: path=value, such as load.rate=10k/s")
	fl.IntVarP(&f.parallelism, "parallelism", "p", 0, "parallelism of the job instead of the scenario's; a job or an operator that sets its own keeps it")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of everything that is random")
	fl.StringVar(&f.out, "out", "results", "folder of the results")
	fl.BoolVar(&f.json, "json", false, "print summary.json to standard output")
	fl.StringVar(&f.junit, "junit", "", "write a JUnit file for CI")
	fl.StringVar(&f.markdown, "markdown", "", "write the comparison as Markdown")
	fl.BoolVar(&f.noColor, "no-color", false, "no colours (also by NO_COLOR)")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	fl.BoolVarP(&f.log, "verbose", "v", false, "the harness's log too")
	return cmd
}

func (a *app) runScenarios(ctx context.Context, f runFlags, args []string) error {
	req, err := a.prepare(f, args)
	if err != nil {
		return err
	}
	if err := a.buildable(req.Cells); err != nil {
		return err
	}
	if err := writable(f.out); err != nil {
		return err
	}
	if a.parts.run == nil {
		return environment("this program was built without a harness")
	}
	progress := newProgress(a.env, len(req.Cells), f.quiet, a.color(f) && a.env.Width() > 0)
	req.Progress = progress.show
	if f.log {
		req.Log = progress.log()
	}
	result, runErr := a.parts.run(ctx, req)
	progress.end()
	if result.Dir == "" {
		if runErr == nil {
			runErr = errors.New("the harness made no run folder")
		}
		return runErr
	}
	if runErr == nil && result.Summary == nil {
		runErr = errors.New("the harness gave no summary")
	}
	// The run's own error comes first; what fails after it is only added.
	shown := a.showResults(ctx, f, result, runErr != nil)
	if runErr != nil && ctx.Err() != nil && result.Summary != nil {
		fmt.Fprintf(a.env.Stderr, "interrupted: %d of %s finished\n", len(result.Summary.Cells), plural(len(req.Cells), "cell"))
	}
	switch {
	case runErr != nil && ctx.Err() != nil:
		return &exitError{ExitInterrupted, ""}
	case runErr != nil:
		return runErr
	case verdictCode(result.Summary.Verdict) != ExitOK:
		if shown != nil {
			fmt.Fprintln(a.env.Stderr, shown)
		}
		return &exitError{code: verdictCode(result.Summary.Verdict)}
	}
	return shown
}

// prepare turns arguments into a request; nothing has been started or written.
func (a *app) prepare(f runFlags, args []string) (Request, error) {
	var req Request
	known := append(scenarios.BuiltinSets(), scenarios.BuiltinScenarios()...)
	switch {
	case len(args) == 0:
		return req, usage("run: no scenario: a file, a folder, or one of %s", strings.Join(known, ", "))
	case f.repeat < 1 || f.repeat > 1000:
		return req, usage("--repeat: value %q: 1 to 1000", strconv.Itoa(f.repeat))
	case f.quiet && f.log:
		return req, usage("--quiet and --verbose exclude each other")
	}
	broker, err := parseBroker(f.broker)
	if err != nil {
		return req, err
	}
	opts := scenarios.Options{Vocabulary: a.parts.vocabulary(), Quick: f.quick}
	if opts.Overrides, err = overrides(f); err != nil {
		return req, err
	}
	set, err := scenarios.Resolve(args, opts)
	if err != nil {
		return req, err
	}
	cells, err := scenarios.Expand(set.Files, scenarios.ExpandOptions{Repeat: f.repeat, Engines: f.engines})
	if err != nil {
		text := err.Error()
		if strings.HasPrefix(text, "engine: ") { // the flag is the only place where it can come from
			text = "--" + text
		}
		return req, usage("%s", text)
	}
	return Request{
		Set: set.Name, Question: set.Question, Cells: cells, Broker: broker, Out: f.out,
		Seed: f.seed, Quick: f.quick, Arguments: a.args,
	}, nil
}

// overrides are those of --set, after that of --guarantee.
func overrides(f runFlags) ([]scenarios.Override, error) {
	var out []scenarios.Override
	for _, g := range f.guarantees {
		if !slices.Contains(guaranteeNames(), g) {
			return nil, usage("--guarantee: value %q: one of %s%s", g, strings.Join(guaranteeNames(), ", "), scenarios.Suggest(g, guaranteeNames()))
		}
	}
	if len(f.guarantees) > 0 {
		list := strings.Join(f.guarantees, ",")
		out = append(out, scenarios.Override{Path: "guarantees", Value: "[" + list + "]", From: "--guarantee " + list})
	}
	if f.workload != "" {
		out = append(out, scenarios.Override{Path: "workload", Value: "{name: " + strconv.Quote(f.workload) + "}", From: "--workload " + f.workload})
	}
	if f.parallelism != 0 {
		n := strconv.Itoa(f.parallelism)
		out = append(out, scenarios.Override{Path: "parallelism", Value: n, From: "--parallelism " + n})
	}
	for _, s := range f.sets {
		o, err := scenarios.ParseOverride(s)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

var brokerKinds = []string{"embedded", "container", "local"}

func parseBroker(s string) (Broker, error) {
	if slices.Contains(brokerKinds, s) {
		return Broker{Kind: s}, nil
	}
	b := Broker{Kind: "external"}
	for _, address := range strings.Split(s, ",") {
		host, port, err := net.SplitHostPort(address)
		number, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || portErr != nil || number == 0 || host == "" {
			return b, usage("--broker: value %q: embedded, container, local, or HOST:PORT[,HOST:PORT…]%s", s, scenarios.Suggest(s, brokerKinds))
		}
		b.Addresses = append(b.Addresses, address)
	}
	return b, nil
}

func (a *app) color(f runFlags) bool {
	if f.noColor {
		return false
	}
	if v, ok := a.env.Lookup("NO_COLOR"); ok && v != "" {
		return false
	}
	term, _ := a.env.Lookup("TERM")
	return term != "dumb"
}

// showResults draws the report and prints. partial: the run was broken off, so
// its folder is not what `latest` should point at.
func (a *app) showResults(ctx context.Context, f runFlags, result Result, partial bool) error {
	// An interrupt ends the run, not the drawing of what there is.
	ctx = context.WithoutCancel(ctx)
	out := &printer{w: a.env.Stdout}
	var errs []error
	page := ""
	if a.parts.report != nil {
		var err error
		if page, err = a.parts.report.Draw(ctx, result.Dir); err != nil {
			page = ""
			errs = append(errs, fmt.Errorf("report: %w", err))
		}
	}
	if s := result.Summary; s != nil {
		errs = append(errs, a.writeFiles(f, result))
		switch {
		case f.json:
			errs = append(errs, writeJSON(out, s))
		case f.quiet || a.parts.report == nil:
			reasons(out, s)
			verdict(out, s, partial)
		default: // the comparison has the reasons
			if err := a.parts.report.Text(a.env.Stdout, result.Dir, a.color(f) && a.env.StdoutTerminal); err != nil {
				errs = append(errs, fmt.Errorf("comparison: %w", err))
				reasons(out, s)
			}
			verdict(out, s, partial)
		}
	}
	last := out
	if f.json { // standard output is for the machine
		last = &printer{w: a.env.Stderr}
	}
	switch {
	case partial:
		last.printf("partial results: %s\n", result.Dir)
	case page == "":
		last.printf("results: %s\n", result.Dir)
	default:
		if err := runs.Publish(result.Dir); err != nil {
			errs = append(errs, err)
			last.printf("report: %s\n", page)
			break
		}
		latest := filepath.Join(f.out, runs.LatestLink, runs.ReportFile)
		last.printf("report: %s (kept as %s)\n", latest, relative(f.out, page))
	}
	errs = append(errs, out.done())
	if err := errors.Join(errs...); err != nil {
		return environment("%v", err)
	}
	return nil
}

// relative shows a path inside the results folder the way --out was given.
func relative(out, path string) string {
	absolute, err := filepath.Abs(out)
	if err != nil {
		return path
	}
	rest, err := filepath.Rel(absolute, path)
	if err != nil || strings.HasPrefix(rest, "..") {
		return path
	}
	return filepath.Join(out, rest)
}
