package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"streamduel/scenarios"
)

// Run is the command as a function: args come without the program's name.
func Run(ctx context.Context, env Env, args []string) int {
	return run(ctx, env, wired(), args)
}

func run(ctx context.Context, env Env, p parts, args []string) int {
	if args == nil {
		args = []string{} // cobra would take nil for os.Args
	}
	app := &app{env: env, parts: p, args: args}
	root := app.root()
	root.SetArgs(args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && err.Error() != "" {
		fmt.Fprintln(env.Stderr, strings.TrimRight(err.Error(), "\n"))
	}
	code := exitCode(err)
	if ctx.Err() != nil && err != nil && code == ExitEnvironment {
		// Whatever broke while an interrupt was being obeyed is its effect.
		code = ExitInterrupted
	}
	return code
}

// app is one invocation.
type app struct {
	env   Env
	parts parts
	args  []string
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "bench",
		Short: "Two stream engines, one micro-batch and one event-driven, under the same scenarios",
		Long: `bench runs the same pipelines on a micro-batch and an event-driven engine under
the same scenario files, while an outside observer measures latency, throughput,
duplicates, losses and back-pressure response.

Exit codes: 0 all gates passed, 1 a gate failed, 2 the command or a file is
wrong, 3 inconclusive (a self-audit failed), 4 the environment failed,
130 interrupted.`,
		Example: `  bench run walk                    the ten cells of make bench
  bench run steady --engine dataflow --set load.rate=50k/s
  bench run my-scenario.yaml --repeat 6 --junit junit.xml
  bench report results/latest`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, c := range cmd.Commands() {
				if !c.Hidden {
					names = append(names, c.Name())
				}
			}
			return usage("unknown command %q: one of %s%s", args[0], strings.Join(names, ", "), scenarios.Suggest(args[0], names))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(a.runCommand(), a.reportCommand(), a.listCommand(), a.validateCommand(), a.schemaCommand(), a.planCommand(), a.checkpointsCommand(), a.savepointCommand(), a.doctorCommand())
	for _, name := range children {
		root.AddCommand(a.childCommand(name))
	}
	return root
}

// children are the commands of the harness's own processes.
var children = []string{"worker", "member", "broker", "load", "floors"}

// childCommand re-enters this binary as one of the harness's processes.
func (a *app) childCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		Short: "child process, started by the harness",
		RunE: func(cmd *cobra.Command, args []string) error {
			child, ok := a.parts.children[name]
			if !ok {
				return environment("this program was built without a %s process", name)
			}
			if code := child(cmd.Context(), a.env, args); code != 0 {
				return &exitError{code: code}
			}
			return nil
		},
	}
}

// flagError turns the library's complaint into one line with a suggestion.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		return usage("%s: unknown flag --%s: see bench %s --help%s", cmd.Name(), name, cmd.Name(), scenarios.Suggest("--"+name, names))
	}
	return usage("%s: %s", cmd.Name(), text)
}

// fromVariables sets every flag that was not given from its STREAMDUEL_…
// variable: --no-color is STREAMDUEL_NO_COLOR. Lists are separated by ";".
func (a *app) fromVariables(cmd *cobra.Command) error {
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || failed != nil {
			return
		}
		name := variable(f.Name)
		value, ok := a.env.Lookup(name)
		if !ok {
			return
		}
		values := []string{value}
		if _, list := f.Value.(pflag.SliceValue); list {
			values = strings.FieldsFunc(value, func(r rune) bool { return r == ';' })
		}
		for _, v := range values {
			if err := cmd.Flags().Set(f.Name, strings.TrimSpace(v)); err != nil {
				failed = usage("%s: value %q: what --%s takes: %s", name, v, f.Name, f.Usage)
				return
			}
		}
	})
	return failed
}

func variable(flag string) string {
	return "STREAMDUEL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// printer writes text and remembers the first error, so that a full disk or a
// closed pipe behind standard output is noticed once, at the end.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) done() error {
	if p.err != nil {
		return environment("standard output: %v", p.err)
	}
	return nil
}
