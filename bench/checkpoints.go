package bench

import (
	"encoding/json"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"streamduel/engines/dataflow/checkpoints"
	"streamduel/state"
)

func (a *app) checkpointsCommand() *cobra.Command {
	var asJSON bool
	var id int64
	cmd := &cobra.Command{
		Use: "checkpoints DIR", Short: "List a dataflow job's checkpoints or a savepoint, and describe one",
		Long: `List the checkpoints in a dataflow job's folder (cells/…/state of a run), or the
savepoint in a folder of its own, with what each holds; those that cannot be gone
back to say why. --id describes one.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.fromVariables(cmd); err != nil {
				return err
			}
			if len(args) != 1 {
				return usage("checkpoints: one folder: of a job's state, or a savepoint")
			}
			if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
				return usage("checkpoints: value %q: not a folder", args[0])
			}
			f, err := state.OpenFolder(args[0], state.DurableProcess)
			if err != nil {
				return environment("%v", err)
			}
			ls, err := checkpoints.List(f)
			if err != nil {
				return environment("%v", err)
			}
			if id != 0 {
				only := ls[:0]
				for _, l := range ls {
					if l.ID == id {
						only = append(only, l)
					}
				}
				if ls = only; len(ls) == 0 {
					return usage("checkpoints: --id: value %d: not in %s", id, args[0])
				}
			}
			switch {
			case asJSON:
				e := json.NewEncoder(a.env.Stdout)
				e.SetIndent("", "  ")
				return e.Encode(ls)
			case id != 0:
				return a.describeCheckpoint(ls[0])
			}
			return a.listCheckpoints(ls, args[0])
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: all metadata")
	cmd.Flags().Int64Var(&id, "id", 0, "describe this one")
	return cmd
}

func taken(m *checkpoints.Metadata) string {
	if m.Taken == 0 {
		return "-"
	}
	return time.UnixMilli(m.Taken).UTC().Format(time.RFC3339)
}

func usable(l checkpoints.Listed) string {
	if l.Problem != "" {
		return l.Problem
	}
	return "ok"
}

func (a *app) listCheckpoints(ls []checkpoints.Listed, dir string) error {
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	out := &printer{w: table}
	if len(ls) == 0 {
		out.printf("no checkpoints in %s\n", dir)
	} else {
		out.printf("id\ttaken\tattempt\tstate bytes\tin flight\tto commit\t\n")
	}
	for _, l := range ls {
		n := 0
		for _, s := range l.Sinks {
			n += len(s.Committables)
		}
		out.printf("%d\t%s\t%d\t%d\t%d\t%d\t%s\n", l.ID, taken(l.Metadata), l.Attempt, l.Bytes(), l.InFlightBytes(), n, usable(l))
	}
	if out.err == nil {
		out.err = table.Flush()
	}
	return out.done()
}

func (a *app) describeCheckpoint(l checkpoints.Listed) error {
	table := tabwriter.NewWriter(a.env.Stdout, 0, 0, 2, ' ', 0)
	out := &printer{w: table}
	out.printf("checkpoint %d: taken %s by attempt %d, %d key groups, %s\n", l.ID, taken(l.Metadata), l.Attempt, l.MaxParallelism, usable(l))
	for _, s := range l.Sources {
		for _, sp := range s.Splits {
			out.printf("source %s\t%s\tposition %d\n", s.Operator, sp.ID, sp.Position)
		}
	}
	for _, s := range l.States {
		var shared int64
		for _, f := range s.Shared {
			shared += f.Bytes
		}
		out.printf("state %s\tsubtask %d\t%d bytes\t%d shared in %d files\n", s.Operator, s.Subtask+1, s.Bytes, shared, len(s.Shared))
	}
	for _, c := range l.Channels {
		out.printf("in flight to %s\tsubtask %d of %d\t%d bytes\n", c.Operator, c.Subtask+1, c.Parallelism, c.Bytes)
	}
	for _, s := range l.Sinks {
		out.printf("to commit by %s\tsubtask %d\t%s\n", s.Operator, s.Subtask+1, plural(len(s.Committables), "transaction"))
	}
	if out.err == nil {
		out.err = table.Flush()
	}
	return out.done()
}
