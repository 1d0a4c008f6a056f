package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"strings"
	"sync"

	"streamduel/runs"
)

//go:embed assets/page.html.tmpl assets/page.css assets/page.js assets/uplot
var assets embed.FS

// asset reads an embedded file; that it is there is settled at compile time.
func asset(name string) string {
	data, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// pageData is what the page's script draws from.
type pageData struct {
	Engines []EngineStyle `json:"engines"`
	Charts  []Chart       `json:"charts"`
}

// page is what the template sees. Only our own assets are marked as safe;
// every text of a run is escaped by the template.
type page struct {
	*View
	Style        template.CSS
	Script       template.JS
	Library      template.JS
	UPlotVersion string
	UPlotLicence string
	Data         pageData
	Glossary     []Fact
}

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"verdictWord": verdictWord,
		"seconds":     seconds,
		"swatch":      swatch,
		"tie":         tie,
		"commit":      func(s string) string { return s[:min(len(s), 12)] },
	}).Parse(asset("page.html.tmpl")))
})

func verdictWord(v runs.Verdict) string {
	switch v {
	case runs.Pass:
		return "✓ pass"
	case runs.Fail:
		return "✗ fail"
	}
	return "? inconclusive"
}

// loose is a space between a number and its unit.
var loose = regexp.MustCompile(`(\d) (ms|s|B|[KMGT]iB|%|×)`)

// tie keeps numbers and units on one line.
func tie(s string) string { return loose.ReplaceAllString(s, "$1\u00a0$2") }

// swatchStyle is what the legend needs to draw a line as the chart does.
type swatchStyle struct {
	Class string
	Dash  string
	Width string
}

func swatch(styles []EngineStyle, l Line) swatchStyle {
	s := swatchStyle{Class: "e-none", Width: "2.5"}
	if l.Thin {
		s.Width = "1.2"
	}
	if l.Engine == "" {
		s.Dash, s.Width = "1 3", "1.5"
		return s
	}
	for i, e := range styles {
		if e.Engine == l.Engine {
			s.Class = fmt.Sprintf("e%d", i)
			parts := make([]string, len(e.Dash))
			for j, d := range e.Dash {
				parts[j] = fmt.Sprint(d)
			}
			s.Dash = strings.Join(parts, " ")
		}
	}
	return s
}

// engineCSS gives every engine its colour on light and dark paper.
func engineCSS(styles []EngineStyle) string {
	var light, dark strings.Builder
	for i, s := range styles {
		fmt.Fprintf(&light, "--e%d:%s;", i, s.Light)
		fmt.Fprintf(&dark, "--e%d:%s;", i, s.Dark)
	}
	return fmt.Sprintf(":root{%s}\n@media screen and (prefers-color-scheme:dark){:root:not([data-theme=light]){%s}}\n@media screen{:root[data-theme=dark]{%s}}\n",
		&light, &dark, &dark) + classCSS(len(styles))
}

func classCSS(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ".e%d{color:var(--e%d)}", i, i)
	}
	return b.String()
}

// HTML writes the page: one file that works offline and loads nothing.
func HTML(w io.Writer, v *View) error {
	p := page{
		View:         v,
		Style:        template.CSS(asset("uplot/uPlot.min.css") + "\n" + engineCSS(v.Styles) + "\n" + asset("page.css")),
		Library:      template.JS(asset("uplot/uPlot.iife.min.js")),
		Script:       template.JS(asset("page.js")),
		UPlotVersion: strings.TrimSpace(asset("uplot/VERSION")),
		UPlotLicence: asset("uplot/LICENSE"),
		Data:         pageData{Engines: v.Styles, Charts: []Chart{}},
		Glossary:     glossary,
	}
	for _, s := range v.Scenarios {
		for _, g := range s.Groups {
			p.Data.Charts = append(p.Data.Charts, g.Charts...)
		}
	}
	return pageTemplate().Execute(w, p)
}

// glossary explains the words of the page to someone who meets them for the
// first time.
var glossary = []Fact{
	{"Event-time latency", "From the moment at which a record was due until its result is visible to a reader that sees committed data only. It counts from the schedule, not from the moment of sending: when the system stalls and the sender has to wait, that wait is the system's and belongs in the figure. Counting from the send would hide the stall exactly when it matters."},
	{"Processing latency", "From the engine's intake to the visible result, of a sample of the records. It explains where the time went: what event-time latency has beyond it was spent before the engine took the record in. Under back-pressure it stays low while records wait outside, so it never stands alone. There is none where a result answers many records, as an aggregate does: it has no single intake."},
	{"p50, p99", "Half of the results were visible within p50, 99 of 100 within p99. The maximum is over every record of the phase; nothing is thrown away."},
	{"Duplicates", "Copies of a result beyond the first, counted by record id over the whole cell."},
	{"Losses", "Records that were sent and whose effect no committed reader ever saw."},
	{"Predicted", "What theory says a crash at this very point costs under this guarantee, worked out from the engine's own counts at the kill. Measured and predicted must agree; a ledger that only ever shows zero would prove nothing."},
	{"Read again", "After a crash: input records that the dead process had read already and that the new one reads once more, from the position it goes back to. They are the work done twice; under exactly-once none of them shows in the output. Not known for a kill at a random moment, when the process leaves no last words."},
	{"At-least-once, exactly-once", "After a crash, at-least-once may repeat results and loses none; exactly-once does neither, as seen by a committed reader."},
	{"Follow time", "After the sink is slowed down: the time until the engine takes in no more than the sink can write (within a tenth) and stays there."},
	{"Overshoot, undershoot", "Records taken in above the slowed sink's rate, and records that it could have written and did not get."},
	{"Queued in the engine", "Records taken in and not yet written. A bound here is what keeps memory bounded while the sink is slow."},
	{"Blocked share", "The share of time in which a task could not pass its output on. OK up to 10 %, LOW up to 50 %, HIGH above."},
	{"Discovery", "When partitions are added to a topic: the time until the engine reads from them. Records that were written before and never read are losses."},
	{"Floor, bare loop", "What the machine gives to a program that does nothing but consume and produce, in the same run. A ratio to it can be compared between machines; an absolute figure cannot. A cell is compared with the loop at its own pace: the same rate, the same record size, the same generator and observer, and under exactly-once a transaction committed as often as the engine commits. The loop forwards each record as it comes, so a batch engine, which sends fewer and larger requests, may cost less than it. How fast the client library is at most is another floor, and says nothing of a paced cell."},
	{"State", "What the job's keyed state took at most, by the engine's own count at each batch or checkpoint: keys, and the memory of their tables without what keys and values point to. On disk: the files, and in memory only what is kept decoded and the write buffers."},
	{"Withheld", "A check of the run itself failed and made this figure worthless, so it is not shown. The reason and what to do about it are at the top of the page."},
	{"Verdict", "pass: every gate held, on figures that can be trusted. fail: a gate did not hold, or the engine died. inconclusive: a figure that a gate needs was withheld, so nothing is proved either way."},
}
