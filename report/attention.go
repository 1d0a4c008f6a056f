package report

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"streamduel/runs"
)

// Attention is something to look at before any figure is believed.
type Attention struct {
	// Level is failed, inconclusive or warning.
	Level string
	Where string
	What  string
	// Remedy says what to do about it, or where to look.
	Remedy string
}

const (
	levelFailed       = "failed"
	levelInconclusive = "inconclusive"
	levelWarning      = "warning"
)

// attention lists every gate and audit that failed, every cell that died, and
// what is wrong with the folder, the worst first. What several cells share is
// listed once.
func attention(f *runs.Folder) []Attention {
	var all []Attention
	where := map[[3]string][]string{}
	add := func(level, cell, what, remedy string) {
		key := [3]string{level, what, remedy}
		if _, seen := where[key]; !seen {
			all = append(all, Attention{Level: level, What: what, Remedy: remedy})
		}
		if cell != "" && !slices.Contains(where[key], cell) {
			where[key] = append(where[key], cell)
		} else {
			where[key] = append(where[key], []string{}...)
		}
	}
	s := f.Summary
	for i := range s.Cells {
		cellAttention(&s.Cells[i], add)
	}
	for _, a := range s.Audits {
		auditAttention(a, "the run", add)
	}
	if s.Partial {
		add(levelInconclusive, "the run", "It was broken off before its end.", "Run it again; the cells below were finished and can be read.")
	}
	if len(s.Cells) == 0 || s.Verdict == runs.Fail && !slices.ContainsFunc(all, isLevel(levelFailed)) {
		for _, r := range s.Reasons {
			add(levelFailed, "the run", sentence(oneLine(r)), "")
		}
	}
	for _, p := range f.Problems {
		add(levelWarning, "the run's folder", sentence(oneLine(p)), "Do not rely on what this touches; run the cell again.")
	}
	for i := range all {
		cells := where[[3]string{all[i].Level, all[i].What, all[i].Remedy}]
		if len(cells) > 4 {
			cells = append(slices.Clone(cells[:3]), fmt.Sprintf("%d more", len(cells)-3))
		}
		all[i].Where = list(cells)
	}
	rank := []string{levelFailed, levelInconclusive, levelWarning}
	slices.SortStableFunc(all, func(a, b Attention) int {
		return slices.Index(rank, a.Level) - slices.Index(rank, b.Level)
	})
	return all
}

func isLevel(level string) func(Attention) bool {
	return func(a Attention) bool { return a.Level == level }
}

// cellAttention adds what is wrong with one cell.
func cellAttention(c *runs.Cell, add func(level, cell, what, remedy string)) {
	said := []string{} // what a reason need not say again
	for _, g := range c.Gates {
		if g.OK && !g.Voided {
			continue
		}
		expression := oneLine(g.Expression)
		said = append(said, expression)
		switch {
		case g.Voided:
			add(levelInconclusive, c.ID, fmt.Sprintf("Gate %q proves nothing: an audit voids its figure.", expression), "See the audit that failed in this cell.")
		case g.Value == nil:
			add(levelFailed, c.ID, fmt.Sprintf("Gate %q has no figure to judge.", expression), "A figure that was not measured never passes: look into the cell's stderr.log and events.jsonl.")
		default:
			format := formatOf(figureIn(expression))
			add(levelFailed, c.ID, fmt.Sprintf("Gate %q did not hold: measured %s.", expression, format(float64(*g.Value))), gateRemedy(expression, g.Detail))
		}
	}
	if c.Crash != nil && !c.Crash.Reached {
		said = append(said, "crash point")
		add(levelInconclusive, c.ID, fmt.Sprintf("The crash point %s was never reached.", oneLine(c.Crash.Point)), "Lengthen the phase, lower the hit count, or check that the engine has this point.")
	}
	if predicted(c) == otherThanPredicted {
		x := c.Crash.Expected
		add(levelFailed, c.ID, fmt.Sprintf("Duplicates and losses are %s and %s; the crash catalogue predicts %s and %s.",
			optional(c.Records.Duplicates), optional(c.Records.Losses), interval(x.Duplicates, x.DuplicatesAtMost), interval(x.Losses, x.LossesAtMost)),
			"The first ids of each are in the cell's ledger.json.")
	}
	for _, a := range c.Audits {
		if !a.OK {
			said = append(said, oneLine(a.Name))
			if a.Detail != "" {
				said = append(said, oneLine(a.Detail))
			}
		}
		auditAttention(a, c.ID, add)
	}
	if c.Verdict == runs.Pass {
		return
	}
	level := levelFailed
	if c.Verdict == runs.Inconclusive {
		level = levelInconclusive
	}
	for _, r := range c.Reasons {
		r = oneLine(r)
		if slices.ContainsFunc(said, func(s string) bool { return strings.Contains(r, s) }) {
			continue
		}
		add(level, c.ID, sentence(r), "The cell's stderr.log and events.jsonl say more.")
	}
}

func auditAttention(a runs.Audit, where string, add func(level, cell, what, remedy string)) {
	if a.OK {
		return
	}
	what := fmt.Sprintf("Audit %q failed", oneLine(a.Name))
	if a.Detail != "" {
		what += ": " + strings.TrimSuffix(oneLine(a.Detail), ".")
	}
	level := levelWarning
	if len(a.Voids) > 0 {
		level = levelInconclusive
		what += ". Withheld for it: " + list(a.Voids)
	}
	add(level, where, what+".", sentence(oneLine(a.Remedy)))
}

// figureIn finds the figure that a gate speaks of: the first word that is a
// known path.
func figureIn(expression string) string {
	words := strings.FieldsFunc(expression, func(r rune) bool {
		return r == ' ' || r == '<' || r == '>' || r == '=' || r == '!' || r == '(' || r == ')'
	})
	for _, w := range words {
		if runs.KnownFigure(w) {
			return w
		}
	}
	return ""
}

func gateRemedy(expression, detail string) string {
	remedy := sentence(oneLine(detail))
	if runs.FigureGroup(figureIn(expression)) == runs.GroupCounts {
		remedy = strings.TrimSpace(remedy + " The first ids of each anomaly are in the cell's ledger.json.")
	}
	return remedy
}

// logTail is how much of a log is read, and how many lines of it are shown.
const (
	logTailBytes = 64 << 10
	logTailLines = 30
)

// failureOf returns the end of a dead worker's log.
func failureOf(f *runs.Folder, c *runs.Cell) (Failure, bool) {
	if c.Verdict != runs.Fail || len(c.Reasons) == 0 {
		return Failure{}, false
	}
	log := tail(f.Path(c.ID, runs.StderrFile))
	if log == "" {
		return Failure{}, false
	}
	return Failure{Cell: c.ID, Reason: oneLine(c.Reasons[0]), Log: log}, true
}

// tail returns the last lines of a log, or those from a panic on, "" when there is none.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > logTailBytes {
		if _, err := file.Seek(-logTailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	from := max(0, len(lines)-logTailLines)
	// A panic's own line comes before the stacks of every goroutine.
	for i, line := range lines {
		if bytes.HasPrefix(line, []byte("panic:")) || bytes.HasPrefix(line, []byte("fatal error:")) {
			from = min(i, from)
			break
		}
	}
	lines = lines[from:min(len(lines), from+logTailLines)]
	return strings.ToValidUTF8(string(bytes.Join(lines, []byte("\n"))), "\uFFFD")
}
