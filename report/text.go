package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// ANSI codes; an empty paint writes plain text.
type paint struct{ on bool }

func (p paint) code(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) bold(s string) string { return p.code("1", s) }
func (p paint) dim(s string) string  { return p.code("2", s) }

func (p paint) status(status, s string) string {
	switch status {
	case statusGood:
		return p.code("32", s)
	case statusBad:
		return p.code("1;31", s)
	case statusUnknown:
		return p.code("33", s)
	}
	return s
}

// clean keeps what came from outside from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

func writeText(to io.Writer, v *View, o Options) error {
	if o.Width <= 0 {
		o.Width = 100
	}
	w := bufio.NewWriter(to)
	p := paint{o.Color}
	fmt.Fprintf(w, "%s  %s\n", p.status(statusOf(v.Verdict), strings.ToUpper(verdictWord(v.Verdict))), v.Summary)
	wrap(w, "", v.Repetitions, o.Width)

	if len(v.Attention) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.bold("What needs attention"))
		for _, a := range v.Attention {
			status, sign := statusUnknown, "?"
			switch a.Level {
			case levelFailed:
				status, sign = statusBad, "✗"
			case levelWarning:
				status, sign = "", "!"
			}
			fmt.Fprintf(w, "  %s ", p.status(status, sign))
			wrapFrom(w, 4, "    ", a.What, o.Width)
			if a.Remedy != "" {
				wrap(w, "    ", "What to do: "+a.Remedy, o.Width)
			}
			if a.Where != "" {
				fmt.Fprintf(w, "    %s\n", p.dim(clean(a.Where)))
			}
		}
	}

	if len(v.Findings) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.bold("What this run says"))
		for _, f := range v.Findings {
			sign := " "
			switch f.Status {
			case statusGood:
				sign = "✓"
			case statusBad:
				sign = "✗"
			case statusUnknown:
				sign = "?"
			}
			fmt.Fprintf(w, "  %s %s  %s\n", p.status(f.Status, sign), p.bold(f.Topic), p.dim(clean(f.Where)))
			wrap(w, "      ", f.Sentence, o.Width)
		}
	}

	for _, t := range cellTexts(v.Cells) {
		fmt.Fprintln(w)
		writeTable(w, t, p, o.Width)
	}
	if !v.Floors.Empty() {
		fmt.Fprintf(w, "\n%s\n", p.bold("Floors"))
		writeTable(w, v.Floors, p, o.Width)
	}
	return w.Flush()
}

// cellTexts cuts the wide table of cells into one for each group, so that it
// fits a terminal: the group's name becomes a heading.
func cellTexts(all Table) []Table {
	var out []Table
	for _, r := range all.Rows {
		if n := len(out); n == 0 || out[n-1].Caption != r.Cells[0] {
			out = append(out, Table{Caption: r.Cells[0], Head: all.Head[1:]})
		}
		t := &out[len(out)-1]
		t.Rows = append(t.Rows, Row{Cells: r.Cells[1:], Status: r.Status})
	}
	return out
}

// writeTable writes a table in columns. One that is wider than the terminal is
// written on its side: a line for each column.
func writeTable(w io.Writer, t Table, p paint, width int) {
	rows := [][]string{t.Head}
	for _, r := range t.Rows {
		rows = append(rows, r.Cells)
	}
	if tableWidth(rows) > width {
		rows = transpose(rows)
	}
	widths := columnWidths(rows)
	if t.Caption != "" && len(t.Head) > 3 {
		fmt.Fprintf(w, "%s\n", p.bold(clean(t.Caption)))
	}
	for i, row := range rows {
		var line strings.Builder
		for j, cell := range row {
			cell = clean(cell)
			line.WriteString("  ")
			line.WriteString(cell)
			if j < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)))
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if i == 0 {
			text = p.dim(text)
		}
		fmt.Fprintln(w, text)
	}
}

func columnWidths(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(clean(cell)))
		}
	}
	return widths
}

func tableWidth(rows [][]string) int {
	total := 0
	for _, w := range columnWidths(rows) {
		total += w + 2
	}
	return total
}

func transpose(rows [][]string) [][]string {
	out := make([][]string, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			out[i] = append(out[i], cell)
		}
	}
	return out
}

// wrap writes text in lines of at most width columns, each behind indent.
func wrap(w io.Writer, indent, text string, width int) {
	fmt.Fprint(w, indent)
	wrapFrom(w, utf8.RuneCountInString(indent), indent, text, width)
}

// wrapFrom goes on in a line of which at columns are written.
func wrapFrom(w io.Writer, at int, indent, text string, width int) {
	first := true
	for _, word := range strings.Fields(clean(text)) {
		n := utf8.RuneCountInString(word)
		switch {
		case first:
		case at+1+n > width:
			fmt.Fprintf(w, "\n%s", indent)
			at = utf8.RuneCountInString(indent)
		default:
			fmt.Fprint(w, " ")
			at++
		}
		fmt.Fprint(w, word)
		at += n
		first = false
	}
	fmt.Fprintln(w)
}
