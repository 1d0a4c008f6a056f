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
	// Level is failed, inconclusive, withheld or warning.
	Level string
	What  string
	// Remedy says what to do about it, or where to look.
	Remedy string
	// Where names the cells, each with what was found there.
	Where []string
}

const (
	levelFailed       = "failed"
	levelInconclusive = "inconclusive"
	levelWithheld     = "withheld" // figures are missing that no gate needs
	levelWarning      = "warning"
)

// levels are in the order in which they are shown.
var levels = []string{levelFailed, levelInconclusive, levelWithheld, levelWarning}

// whereShown is how many places an item names one by one.
const whereShown = 5

// concerns gathers what needs attention; what several cells share is one item
// with the worst of their levels.
type concerns struct{ all []Attention }

func (c *concerns) add(level, what, remedy, where string) {
	at := slices.IndexFunc(c.all, func(a Attention) bool { return a.What == what && a.Remedy == remedy })
	if at < 0 {
		at = len(c.all)
		c.all = append(c.all, Attention{Level: level, What: what, Remedy: remedy})
	}
	a := &c.all[at]
	if slices.Index(levels, level) < slices.Index(levels, a.Level) {
		a.Level = level
	}
	if where != "" && !slices.Contains(a.Where, where) {
		a.Where = append(a.Where, where)
	}
}

// attention lists every gate and audit that failed, every cell that died, and
// what is wrong with the folder, the worst first.
func attention(f *runs.Folder) []Attention {
	var c concerns
	s := f.Summary
	for i := range s.Cells {
		c.cell(&s.Cells[i])
	}
	for _, a := range s.Audits {
		c.audit(a, "the run", runs.Inconclusive)
	}
	if s.Partial {
		remedy := "Run it again."
		if len(s.Cells) > 0 {
			remedy += " The cells below were finished and can be read."
		}
		c.add(levelInconclusive, "The run was broken off before its end.", remedy, "")
	}
	if len(s.Cells) == 0 || s.Verdict == runs.Fail && !slices.ContainsFunc(c.all, func(a Attention) bool { return a.Level == levelFailed }) {
		for _, r := range s.Reasons {
			c.add(levelFailed, sentence(oneLine(r)), "", "")
		}
	}
	for _, p := range f.Problems {
		c.add(levelWarning, "The run's folder: "+oneLine(p)+".", "Do not rely on what this touches; run the cell again.", "")
	}
	for i := range c.all {
		if w := c.all[i].Where; len(w) > whereShown {
			c.all[i].Where = append(w[:whereShown-1:whereShown-1], fmt.Sprintf("and %d more", len(w)-whereShown+1))
		}
	}
	slices.SortStableFunc(c.all, func(a, b Attention) int {
		return slices.Index(levels, a.Level) - slices.Index(levels, b.Level)
	})
	return c.all
}

// cell adds what is wrong with one cell.
func (c *concerns) cell(cell *runs.Cell) {
	said := c.gates(cell) // what a reason need not say again
	if cell.Crash != nil && !cell.Crash.Reached {
		said = append(said, "crash point", oneLine(cell.Crash.Point))
		c.add(levelInconclusive, fmt.Sprintf("The crash point %s was never reached.", oneLine(cell.Crash.Point)),
			"Lengthen the phase, lower the hit count, or check that the engine has this point.", cell.ID)
	}
	if predicted(cell) == otherThanPredicted {
		x := cell.Crash.Expected
		c.add(levelFailed, "Duplicates and losses are not as the crash catalogue predicts.", "The first ids of each are in the cell's ledger.json.",
			fmt.Sprintf("%s: measured %s and %s, predicted %s and %s", cell.ID, optional(copies(cell)), optional(missing(cell)),
				interval(x.Duplicates, x.DuplicatesAtMost), interval(x.Losses, x.LossesAtMost)))
		said = append(said, "predict")
	}
	c.badInput(cell)
	for _, side := range cell.UnreadSides {
		operator, name, _ := strings.Cut(oneLine(side), "/")
		c.add(levelWarning, fmt.Sprintf("Nobody reads the side output %q of operator %q: what it was given is dropped.", name, operator),
			"Read it with pipeline.Side, or emit nothing to it.", cell.ID)
	}
	for _, a := range cell.Audits {
		if !a.OK {
			said = append(said, "audit "+oneLine(a.Name), oneLine(a.Name)+" failed", oneLine(a.Name)+":")
			if a.Detail != "" {
				said = append(said, oneLine(a.Detail))
			}
		}
		c.audit(a, cell.ID, cell.Verdict)
	}
	if cell.Verdict == runs.Pass {
		return
	}
	level := levelFailed
	if cell.Verdict == runs.Inconclusive {
		level = levelInconclusive
	}
	for _, r := range cell.Reasons {
		r = oneLine(r)
		if !slices.ContainsFunc(said, func(s string) bool { return s != "" && strings.Contains(r, s) }) {
			c.add(level, sentence(r), "The cell's stderr.log and events.jsonl say more.", cell.ID)
		}
	}
}

// gates adds a cell's gates that did not hold, and returns what they said.
func (c *concerns) gates(cell *runs.Cell) (said []string) {
	var voided []string
	for _, g := range cell.Gates {
		if g.OK && !g.Voided {
			continue
		}
		expression := oneLine(g.Expression)
		figure := figureIn(expression)
		said = append(said, expression)
		if figure != "" {
			said = append(said, figure)
		}
		quoted := `"` + expression + `"`
		switch {
		case g.Unknown != "":
			c.add(levelWarning, "Not judged: "+quoted+". It cannot be known: "+oneLine(g.Unknown)+".",
				"Give the workload an oracle or ids, or leave the gate out; nothing here says that it holds.", cell.ID)
		case g.Voided:
			voided = append(voided, quoted)
		case g.Value == nil:
			c.add(levelFailed, "Gate "+quoted+" has no figure to judge.",
				"A figure that was not measured never passes: look into the cell's stderr.log and events.jsonl.", cell.ID)
		default:
			remedy := ""
			if runs.FigureGroup(figure) == runs.GroupCounts {
				remedy = "The first ids of each anomaly are in the cell's ledger.json."
			}
			c.add(levelFailed, "Gate "+quoted+" did not hold.", remedy, cell.ID+": measured "+formatOf(figure)(float64(*g.Value)))
		}
	}
	switch len(voided) {
	case 0:
	case 1:
		c.add(levelInconclusive, "Gate "+voided[0]+" proves nothing: an audit voids its figure.", "See the audits below.", cell.ID)
	default:
		c.add(levelInconclusive, "Gates "+list(voided)+" prove nothing: an audit voids their figures.", "See the audits below.", cell.ID)
	}
	return said
}

// auditFound says in plain words what it means that an audit failed; one that
// is not known here has its detail only.
var auditFound = map[string]string{
	"generator":   "the load was behind its schedule",
	"offsets":     "a record does not lie where the schedule has it",
	"counts":      "the counts do not add up",
	"samples":     "latencies are missing or were clipped",
	"crash-point": "the crash point was never reached",
	"clock":       "the wall clock was stepped",
	"saturation":  "something other than the engine used the machine up",
	"stolen":      "another virtual machine used the processors",
	"ends":        "output is hidden behind an open transaction",
	"observer":    "the observer was behind or broke off",
	"drained":     "the last results were not seen",
	"memory":      "the harness held more memory than it may",
	"events":      "events of the worker do not decode",
	"floors":      "bare loops are missing",
}

func (c *concerns) audit(a runs.Audit, where string, verdict runs.Verdict) {
	if a.OK {
		return
	}
	what := fmt.Sprintf("Audit %q failed.", oneLine(a.Name))
	if found := auditFound[a.Name]; found != "" {
		what = fmt.Sprintf("Audit %q failed: %s.", oneLine(a.Name), found)
	}
	level := levelWarning
	if len(a.Voids) > 0 {
		what += " Withheld for it: " + list(a.Voids)
		if len(a.Phases) > 0 {
			what += " of " + list(a.Phases)
		}
		what += "."
		level = levelInconclusive
		if verdict == runs.Pass {
			level = levelWithheld
		}
	}
	if a.Detail != "" {
		where += ": " + oneLine(a.Detail)
	}
	c.add(level, what, sentence(oneLine(a.Remedy)), where)
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
