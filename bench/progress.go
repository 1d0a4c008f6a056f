package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"streamduel/runs"
)

// progress shows a run on standard error: one live line a cell on a terminal,
// plain lines (a phase each) otherwise, so that a CI log stays readable.
type progress struct {
	mu    sync.Mutex
	env   Env
	total int
	quiet bool
	color bool
	live  bool
	// line is what stands on the terminal's last line, to be overwritten.
	line    string
	phase   string
	started time.Time // of the cell
}

func newProgress(env Env, cells int, quiet, color bool) *progress {
	return &progress{env: env, total: cells, quiet: quiet, color: color, live: env.Width() > 0}
}

func (p *progress) show(e Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet {
		return
	}
	switch e.Kind {
	case Note:
		p.whole(e.Text)
	case CellStart:
		p.phase, p.started = "", p.env.Now()
		if p.live {
			p.redraw(p.head(e) + "  starting")
		}
	case CellPhase:
		p.phase = e.Phase
		if p.live {
			p.redraw(p.head(e) + "  " + e.Phase)
			return
		}
		p.whole(fmt.Sprintf("%s  %s at %s", p.head(e), e.Phase, seconds(e.At)))
	case CellTick:
		if p.live {
			p.redraw(fmt.Sprintf("%s  %s %s  offered %s/s  visible %s/s  behind %s",
				p.head(e), p.phase, seconds(e.At), thousands(e.Offered), thousands(e.Visible), thousands(float64(e.Lag))))
		}
	case CellDone:
		text := fmt.Sprintf("%s  %s  %s", p.head(e), p.verdict(e.Verdict), seconds(p.env.Now().Sub(p.started)))
		if len(e.Reasons) > 0 {
			text += "  " + oneLine(e.Reasons[0])
			if n := len(e.Reasons) - 1; n > 0 {
				text += fmt.Sprintf(" (and %d more)", n)
			}
		}
		p.whole(text)
	}
}

// head names the cell: " 3/10 partition-growth  dataflow  at-least-once".
func (p *progress) head(e Progress) string {
	width := len(fmt.Sprint(p.total))
	s := fmt.Sprintf("%*d/%d ", width, e.Index+1, p.total)
	if e.Cell == nil {
		return s
	}
	s += strings.Join(append([]string{e.Cell.File.Name, e.Cell.Engine.Name, string(e.Cell.Guarantee)}, e.Cell.Labels...), "  ")
	if e.Cell.Repetition > 1 {
		s += fmt.Sprintf("  #%d", e.Cell.Repetition)
	}
	return s
}

func (p *progress) verdict(v runs.Verdict) string {
	code := map[runs.Verdict]string{runs.Pass: "32", runs.Fail: "31", runs.Inconclusive: "33"}[v]
	if !p.color || code == "" {
		return string(v)
	}
	return "\x1b[" + code + "m" + string(v) + "\x1b[0m"
}

// whole prints a line that stays, above the live one.
func (p *progress) whole(text string) {
	if p.live {
		text = "\r\x1b[K" + text
	}
	p.line = ""
	fmt.Fprintln(p.env.Stderr, text) //nolint:errcheck // progress is not worth failing for
}

// redraw replaces the live line.
func (p *progress) redraw(text string) {
	if width := p.env.Width(); width > 1 {
		if r := []rune(text); len(r) >= width {
			text = string(r[:width-2]) + "…"
		}
	}
	p.line = text
	fmt.Fprint(p.env.Stderr, "\r\x1b[K"+text) //nolint:errcheck // as above
}

// end leaves the cursor on a line of its own.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line != "" {
		fmt.Fprintln(p.env.Stderr) //nolint:errcheck // as above
		p.line = ""
	}
}

// log passes log lines through without breaking the live line.
func (p *progress) log() io.Writer { return progressLog{p} }

type progressLog struct{ p *progress }

func (l progressLog) Write(b []byte) (int, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	keep := l.p.line
	if keep != "" {
		if _, err := io.WriteString(l.p.env.Stderr, "\r\x1b[K"); err != nil {
			return 0, err
		}
	}
	n, err := l.p.env.Stderr.Write(b)
	if err == nil && keep != "" && strings.HasSuffix(string(b), "\n") {
		l.p.redraw(keep)
	}
	return n, err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// thousands writes a count with separators: 9,998.
func thousands(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	s := fmt.Sprintf("%.0f", math.Abs(v))
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if v <= -0.5 {
		s = "-" + s
	}
	return s
}
