package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// escapeMarkdown keeps text from being read as markup, or from breaking out
// of a table's cell.
var escapeMarkdown = strings.NewReplacer(
	"\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "&", "&amp;",
	"*", "\\*", "_", "\\_", "`", "\\`", "[", "\\[", "]", "\\]", "#", "\\#", "~", "\\~",
)

func md(s string) string { return escapeMarkdown.Replace(oneLine(clean(s))) }

func writeMarkdown(to io.Writer, v *View) error {
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "## %s: streamduel %s\n\n%s\n\n%s\n", strings.ToUpper(verdictWord(v.Verdict)), md(v.Run.ID), md(v.Summary), md(v.Repetitions))
	if len(v.Attention) > 0 {
		fmt.Fprint(w, "\n### What needs attention\n\n")
		for _, a := range v.Attention {
			fmt.Fprintf(w, "- **%s** %s", a.Level, md(a.What))
			if a.Remedy != "" {
				fmt.Fprintf(w, " What to do: %s", md(a.Remedy))
			}
			fmt.Fprintln(w)
			for _, where := range a.Where {
				fmt.Fprintf(w, "  - %s\n", md(where))
			}
		}
	}
	if len(v.Findings) > 0 {
		fmt.Fprint(w, "\n### What this run says\n\n")
		for _, f := range v.Findings {
			fmt.Fprintf(w, "- **%s** (%s): %s\n", md(f.Topic), md(f.Where), md(f.Sentence))
		}
	}
	for _, s := range v.Scenarios {
		if !s.Crash.Empty() {
			markdownTable(w, md(s.Name)+": measured beside predicted", s.Crash)
		}
		if !s.Late.Empty() {
			markdownTable(w, md(s.Name)+": late records", s.Late)
		}
		if !s.Bad.Empty() {
			markdownTable(w, md(s.Name)+": bad input", s.Bad)
		}
	}
	if !v.Cells.Empty() {
		markdownTable(w, "Cells", v.Cells)
	}
	if !v.Beside.Empty() {
		markdownTable(w, "Beside the bare loop", v.Beside)
	}
	if !v.Floors.Empty() {
		markdownTable(w, "Floors", v.Floors)
	}
	fmt.Fprint(w, "\n<details><summary>Environment</summary>\n\n")
	for _, f := range v.Environment {
		fmt.Fprintf(w, "- %s: %s\n", md(f.Name), md(f.Value))
	}
	fmt.Fprint(w, "\n</details>\n")
	return w.Flush()
}

func markdownTable(w io.Writer, title string, t Table) {
	fmt.Fprintf(w, "\n### %s\n\n", title)
	row := func(cells []string) {
		fmt.Fprint(w, "|")
		for _, c := range cells {
			fmt.Fprintf(w, " %s |", md(c))
		}
		fmt.Fprintln(w)
	}
	row(t.Head)
	rule := make([]string, len(t.Head))
	for i := range rule {
		rule[i] = "---"
	}
	fmt.Fprintf(w, "| %s |\n", strings.Join(rule, " | "))
	for _, r := range t.Rows {
		row(r.Cells)
	}
}
