package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
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
			case levelWithheld, levelWarning:
				status, sign = "", "!"
			}
			fmt.Fprintf(w, "  %s ", p.status(status, sign))
			wrapFrom(w, 4, "    ", a.What, o.Width)
			if a.Remedy != "" {
				wrap(w, "    ", "What to do: "+a.Remedy, o.Width)
			}
			for _, where := range a.Where {
				wrap(w, "    - ", where, o.Width)
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
			fmt.Fprintf(w, "  %s %s  %s\n", p.status(f.Status, sign), p.bold(clean(f.Topic)), p.dim(clean(f.Where)))
			wrap(w, "      ", f.Sentence, o.Width)
			for _, v := range f.Values {
				// Sentences give medians; where there are intervals, they follow.
				if stated := joined(v.Figure, v.Detail); strings.Contains(stated, "[") {
					wrap(w, "      - ", v.Engine+": "+stated, o.Width)
				}
			}
		}
	}

	for _, s := range v.Scenarios {
		if !s.Late.Empty() {
			fmt.Fprintf(w, "\n%s %s\n", p.bold("Late records"), p.dim("("+clean(s.Name)+": results + late + filtered + lost = sent)"))
			writeTable(w, s.Late, p)
		}
		if !s.Bad.Empty() {
			fmt.Fprintf(w, "\n%s %s\n", p.bold("Bad input"), p.dim("("+clean(s.Name)+": what the load made unusable, and what became of it)"))
			writeTable(w, s.Bad, p)
		}
	}
	if !v.Cells.Empty() {
		t := cellText(v.Cells)
		note := "counts that a crash predicts stand in brackets"
		if t.width() > o.Width && t.stackIntervals() {
			note += "; under a median, its 95 % interval"
		}
		fmt.Fprintf(w, "\n%s %s\n", p.bold("Cells"), p.dim("("+note+")"))
		writeTable(w, t, p)
	}
	if !v.Beside.Empty() {
		fmt.Fprintf(w, "\n%s %s\n", p.bold("Beside the bare loop"), p.dim("(it moves records of the cell's length at the cell's rate, and commits as often)"))
		writeTable(w, besideText(v.Beside), p)
	}
	if !v.Floors.Empty() {
		fmt.Fprintf(w, "\n%s\n", p.bold("Floors"))
		writeTable(w, v.Floors, p)
	}
	return w.Flush()
}

// cellText narrows the table of cells for a terminal: the cell's name becomes
// a heading over its engines, and what is in the page only is left out.
func cellText(all Table) Table {
	t := Table{Head: []string{"Engine", "Verdict", "p50", "p99", "Visible", "Duplicates", "Losses", "CPU s/M"}}
	if slices.Contains(all.Head, "State") {
		t.Head = append(t.Head, "State")
	}
	from := map[string]int{"CPU s/M": slices.Index(all.Head, "CPU s per million")}
	for _, h := range t.Head {
		if _, ok := from[h]; !ok {
			from[h] = slices.Index(all.Head, h)
		}
	}
	last := ""
	for _, r := range all.Rows {
		if r.Cells[0] != last {
			last = r.Cells[0]
			t.Rows = append(t.Rows, Row{Cells: []string{last}})
		}
		row := Row{Status: r.Status}
		for _, h := range t.Head {
			cell := strings.Replace(r.Cells[from[h]], "(predicted ", "(", 1)
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// besideText narrows the table beside the bare loop in the same way.
func besideText(all Table) Table {
	t := Table{Head: []string{"Engine", "p50", "loop", "×", "p99", "loop", "×", "CPU s/M", "loop", "×"}}
	last := ""
	for _, r := range all.Rows {
		if r.Cells[0] != last {
			last = r.Cells[0]
			t.Rows = append(t.Rows, Row{Cells: []string{last}})
		}
		t.Rows = append(t.Rows, Row{Cells: append([]string{r.Cells[1]}, r.Cells[2:11]...)})
	}
	return t
}

// widths are those of the columns; a row of one cell is a heading and has
// none.
func (t Table) widths() []int {
	widths := make([]int, len(t.Head))
	for _, row := range append([]Row{{Cells: t.Head}}, t.Rows...) {
		if len(row.Cells) == 1 {
			continue
		}
		for i, cell := range row.Cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(clean(cell)))
		}
	}
	return widths
}

func (t Table) width() (total int) {
	for _, w := range t.widths() {
		total += w + 2
	}
	return total
}

// stackIntervals puts the intervals into a line of their own under the medians,
// where a terminal is too narrow for both beside each other. It reports whether
// there were any.
func (t *Table) stackIntervals() (any bool) {
	var rows []Row
	for _, row := range t.Rows {
		below := Row{Cells: make([]string, len(row.Cells)), Status: row.Status}
		some := false
		for i, cell := range row.Cells {
			before, rest, ok := strings.Cut(cell, " [")
			within, after, closed := strings.Cut(rest, "]")
			low, high, two := strings.Cut(within, " to ")
			if ok && closed && two {
				row.Cells[i], below.Cells[i], some = before+after, low+"–"+high, true
			}
		}
		rows = append(rows, row)
		if some {
			any = true
			rows = append(rows, below)
		}
	}
	t.Rows = rows
	return any
}

// writeTable writes a table in columns; a row of one cell is a heading.
func writeTable(w io.Writer, t Table, p paint) {
	widths := t.widths()
	for i, row := range append([]Row{{Cells: t.Head}}, t.Rows...) {
		if len(row.Cells) == 1 {
			fmt.Fprintf(w, "  %s\n", p.dim(clean(row.Cells[0])))
			continue
		}
		var line strings.Builder
		for j, cell := range row.Cells {
			cell = clean(cell)
			padded := cell
			if j < len(row.Cells)-1 {
				padded += strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell))
			}
			if j == 1 {
				padded = p.status(row.Status, padded)
			}
			line.WriteString("  ")
			line.WriteString(padded)
		}
		text := strings.TrimRight(line.String(), " ")
		if i == 0 {
			text = p.dim(text)
		}
		fmt.Fprintln(w, text)
	}
}

// wrap writes text in lines of at most width columns, each behind indent; a
// dash in it stands in the first only.
func wrap(w io.Writer, indent, text string, width int) {
	fmt.Fprint(w, indent)
	wrapFrom(w, utf8.RuneCountInString(indent), strings.ReplaceAll(indent, "-", " "), text, width)
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
