package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"streamduel/scenarios"
)

// listing is what `list --json` prints.
type listing struct {
	Scenarios []listed `json:"scenarios"`
	Sets      []listed `json:"sets"`
	Workloads []listed `json:"workloads"`
	Engines   []listed `json:"engines"`
}

type listed struct {
	Name        string   `json:"name"`
	Doc         string   `json:"doc"`
	CrashPoints []string `json:"crashPoints,omitempty"`
}

func (a *app) listing() (listing, error) {
	var l listing
	v := a.parts.vocabulary()
	opts := scenarios.Options{Vocabulary: v}
	for names, into := range map[*[]listed][]string{&l.Scenarios: scenarios.BuiltinScenarios(), &l.Sets: scenarios.BuiltinSets()} {
		for _, name := range into {
			c, err := scenarios.Resolve([]string{name}, opts)
			if err != nil {
				return l, err
			}
			*names = append(*names, listed{Name: name, Doc: c.Question})
		}
	}
	for _, name := range v.WorkloadNames() {
		l.Workloads = append(l.Workloads, listed{Name: name, Doc: v.Workloads[name].Doc})
	}
	for _, name := range v.EngineNames() {
		l.Engines = append(l.Engines, listed{Name: name, Doc: v.Engines[name].Doc, CrashPoints: v.Engines[name].CrashPoints})
	}
	return l, nil
}

func (a *app) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "Built-in scenarios, sets, workloads and engines",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.fromVariables(cmd); err != nil {
				return err
			}
			l, err := a.listing()
			if err != nil {
				return err
			}
			out := &printer{w: a.env.Stdout}
			if asJSON {
				data, err := json.MarshalIndent(l, "", "  ")
				if err != nil {
					return err
				}
				out.printf("%s\n", data)
				return out.done()
			}
			table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
			rows := &printer{w: table}
			section := func(title string, entries []listed) {
				rows.printf("%s\n", title)
				for _, e := range entries {
					rows.printf("  %s\t%s\n", e.Name, e.Doc)
					if len(e.CrashPoints) > 0 {
						rows.printf("  \tcrash points: %s\n", strings.Join(e.CrashPoints, " "))
					}
				}
			}
			section("Scenarios", l.Scenarios)
			section("Sets of scenarios", l.Sets)
			section("Workloads", l.Workloads)
			section("Engines", l.Engines)
			if rows.err == nil {
				rows.err = table.Flush()
			}
			return rows.done()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines")
	return cmd
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s: value %q: takes no arguments", cmd.Name(), args[0])
	}
	return nil
}

func (a *app) validateCommand() *cobra.Command {
	var sets []string
	cmd := &cobra.Command{
		Use: "validate FILE…", Short: "Check scenario files without running them",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("validate: no file: a scenario file, a folder of them, or a built-in name")
			}
			opts := scenarios.Options{Vocabulary: a.parts.vocabulary()}
			for _, s := range sets {
				o, err := scenarios.ParseOverride(s)
				if err != nil {
					return err
				}
				opts.Overrides = append(opts.Overrides, o)
			}
			out := &printer{w: a.env.Stdout}
			var problems scenarios.Problems
			for _, arg := range args {
				c, err := scenarios.Resolve([]string{arg}, opts)
				var ps scenarios.Problems
				if errors.As(err, &ps) {
					problems = append(problems, ps...)
					continue
				}
				if err != nil {
					return err
				}
				cells, err := scenarios.Expand(c.Files, scenarios.ExpandOptions{Repeat: 1})
				if err != nil {
					return usage("%v", err)
				}
				out.printf("%s: ok, %s\n", arg, plural(len(cells), "cell"))
			}
			if len(problems) > 0 {
				return problems
			}
			return out.done()
		},
	}
	cmd.Flags().StringArrayVar(&sets, "set", nil, "override a scenario's field: path=value")
	return cmd
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of scenario files",
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			data, err := scenarios.Schema(a.parts.vocabulary())
			if err != nil {
				return err
			}
			out := &printer{w: a.env.Stdout}
			out.printf("%s\n", data)
			return out.done()
		},
	}
}
