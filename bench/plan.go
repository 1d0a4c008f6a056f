package bench

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"streamduel/engines"
	"streamduel/engines/plans"
	"streamduel/scenarios"
)

var planFormats = []string{"text", "json", "dot"}

func (a *app) planCommand() *cobra.Command {
	var f runFlags
	var format string
	cmd := &cobra.Command{
		Use: "plan SCENARIO", Short: "Print how each engine would run a scenario's job, and run nothing",
		Long: `Print how each built-in engine would run a scenario's job: the operators as
written, the stages or job vertices that they are joined into, and, where an
engine places its tasks beforehand, every subtask in its slot.`,
		Example: `  bench plan steady --engine dataflow
  bench plan my.yaml -p 4 --set engines.dataflow.taskManagers=2 --set engines.dataflow.slots=3
  bench plan steady --format dot | dot -Tsvg > plan.svg`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.fromVariables(cmd); err != nil {
				return err
			}
			return a.plans(f, format, args)
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringSliceVar(&f.engines, "engine", nil, "only these engines of the scenario")
	fl.StringVar(&f.workload, "workload", "", "of this workload with its defaults instead of the scenario's")
	fl.StringVar(&format, "format", "text", "text, json, or dot for Graphviz")
	fl.IntVarP(&f.parallelism, "parallelism", "p", 0, "parallelism of the job instead of the scenario's; a job or an operator that sets its own keeps it")
	fl.StringArrayVar(&f.sets, "set", nil, "override a scenario's field: path=value")
	return cmd
}

func (a *app) plans(f runFlags, format string, args []string) error {
	var write func(w io.Writer, ps []engines.Plan) error
	switch format {
	case "text":
		write = writePlanText
	case "json":
		write = writePlanJSON
	case "dot":
		write = func(w io.Writer, ps []engines.Plan) error { return plans.Dot(w, ps...) }
	default:
		return usage("plan: --format: value %q: text, json or dot%s", format, scenarios.Suggest(format, planFormats))
	}
	if len(args) != 1 {
		return usage("plan: one scenario: a file, or a built-in name (bench list)")
	}
	f.broker, f.repeat = "embedded", 1
	req, err := a.prepare(f, args)
	if err != nil {
		return err
	}
	var out []engines.Plan
	seen := map[string]bool{} // a plan does not depend on the guarantee, nor the matrix's first value on the others
	for _, c := range req.Cells {
		if seen[c.File.Path+c.Engine.Name] || len(c.Engine.Command) > 0 {
			continue
		}
		seen[c.File.Path+c.Engine.Name] = true
		p, err := a.parts.plan(c)
		if err != nil {
			return usage("%s: engines.%s: %v", c.File.Path, c.Engine.Name, err)
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return usage("plan: the scenario has no built-in engine; what a foreign one does only its own program knows")
	}
	pr := &printer{w: a.env.Stdout}
	pr.err = write(a.env.Stdout, out)
	return pr.done()
}

func writePlanText(w io.Writer, ps []engines.Plan) error {
	for i, p := range ps {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if err := plans.Text(w, p); err != nil {
			return err
		}
	}
	return nil
}

func writePlanJSON(w io.Writer, ps []engines.Plan) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(ps)
}
