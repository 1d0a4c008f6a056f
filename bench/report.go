package bench

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"streamduel/runs"
)

func (a *app) reportCommand() *cobra.Command {
	var markdown, out string
	var noColor bool
	cmd := &cobra.Command{
		Use: "report [RUN…]", Short: "Draw the report again from the raw results",
		Long: `Draw the report of run folders again from their raw results: HTML, pictures,
text, Markdown. Without an argument the latest run is taken.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.fromVariables(cmd); err != nil {
				return err
			}
			if len(args) == 0 {
				args = []string{filepath.Join(out, runs.LatestLink)}
			}
			if markdown != "" && len(args) > 1 {
				return usage("report: --markdown takes one run, not %d", len(args))
			}
			if a.parts.report == nil {
				return environment("this program was built without a report")
			}
			for _, dir := range args {
				if err := a.reportOne(cmd, dir, runFlags{markdown: markdown, noColor: noColor}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&markdown, "markdown", "", "write the comparison as Markdown")
	cmd.Flags().StringVar(&out, "out", "results", "folder of the results, for the latest run")
	cmd.Flags().BoolVar(&noColor, "no-color", false, "no colours (also by NO_COLOR)")
	return cmd
}

func (a *app) reportOne(cmd *cobra.Command, dir string, f runFlags) error {
	folder, err := runs.Open(dir)
	if err != nil {
		return usage("%s: not a run folder: %v", dir, oneLine(err.Error()))
	}
	page, err := a.parts.report.Draw(cmd.Context(), folder.Dir)
	if err == nil {
		err = a.parts.report.Text(a.env.Stdout, folder.Dir, a.color(f) && a.env.StdoutTerminal)
	}
	err = errors.Join(err, a.writeFiles(f, Result{Dir: folder.Dir, Summary: folder.Summary}))
	if err != nil {
		return environment("report of %s: %v", dir, oneLine(err.Error()))
	}
	out := &printer{w: a.env.Stdout}
	out.printf("report: %s\n", page)
	return out.done()
}
