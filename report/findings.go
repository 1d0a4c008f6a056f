package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"streamduel/runs"
)

// Finding is one row of "what this run says".
type Finding struct {
	Topic string
	// Where names the scenario and guarantee that it was seen in.
	Where    string
	Sentence string
	Values   []Value
	// Status is good, bad or unknown; empty for a plain observation.
	Status string
}

// Value is one engine's figure in a finding.
type Value struct{ Engine, Figure, Detail string }

const (
	statusGood    = "good"
	statusBad     = "bad"
	statusUnknown = "unknown"
)

// findings puts the run into sentences, in the order in which someone who has
// to choose would ask.
func findings(groups []*group, floors *runs.Floors) []Finding {
	var out []Finding
	add := func(f Finding, ok bool) {
		if ok {
			out = append(out, f)
		}
	}
	control := slices.DeleteFunc(controls(groups), func(g *group) bool { return g.has(failedAsAsked) })
	for _, g := range control {
		add(latencyFinding(g, floors))
	}
	for _, g := range groups {
		if f, ok := stepsFinding(g); ok {
			add(f, true)
			continue
		}
		add(pressureFinding(g))
	}
	for _, g := range groups {
		add(growthFinding(g))
	}
	for _, g := range groups {
		add(crashFinding(g))
	}
	for _, gs := range byScenario(groups) {
		add(lateFinding(gs))
		add(badFinding(gs))
		add(stagesFinding(gs))
	}
	add(countsFinding(groups))
	for _, g := range control {
		add(costFinding(g, floors))
	}
	return out
}

// controls are the groups in which nothing was done to the system; if there
// is none, the first group stands in.
func controls(groups []*group) []*group {
	var quiet []*group
	for _, g := range groups {
		if !g.has(func(c *runs.Cell) bool {
			return c.Pressure != nil || c.Growth != nil || c.Crash != nil ||
				slices.ContainsFunc(c.Phases, func(p runs.Phase) bool { return p.Fault != "" })
		}) {
			quiet = append(quiet, g)
		}
	}
	if len(quiet) == 0 && len(groups) > 0 {
		quiet = groups[:1]
	}
	return quiet
}

func (g *group) has(f func(*runs.Cell) bool) bool {
	return slices.ContainsFunc(g.engines, func(e engineCells) bool { return slices.ContainsFunc(e.cells, f) })
}

// value gives an engine's value: its figure, or the reason why there is none.
func (e engineCells) value(path, detail string) Value {
	if w, ok := e.withheld(path); ok && e.estimate(path).N == 0 {
		return Value{Engine: e.engine, Figure: withheld, Detail: oneLine(w.Reason)}
	}
	return Value{Engine: e.engine, Figure: e.show(path), Detail: detail}
}

// measured pairs an engine with a figure that it has.
type measured struct {
	engineCells
	runs.Estimate
}

// having returns the engines that have the figure, smallest first.
func (g *group) having(path string) []measured {
	var out []measured
	for _, e := range g.engines {
		if est := e.estimate(path); est.N > 0 {
			out = append(out, measured{e, est})
		}
	}
	slices.SortStableFunc(out, func(a, b measured) int {
		switch {
		case a.Median < b.Median:
			return -1
		case a.Median > b.Median:
			return 1
		}
		return 0
	})
	return out
}

// withheldSentence says which engines' figures were withheld, and for which
// audit; what that found stands at the top of the report.
func (g *group) withheldSentence(path, what string) string {
	return g.perReason(" The "+what+" of %s is withheld", func(e engineCells) (string, bool) {
		w, ok := e.withheld(path)
		return fmt.Sprintf("audit %q failed (see above)", oneLine(w.Audit)), ok && e.estimate(path).N == 0
	})
}

// perReason says a sentence once for all engines that share its reason; of
// gives an engine's reason, and whether the sentence is true of it.
func (g *group) perReason(format string, of func(engineCells) (reason string, ok bool)) string {
	var reasons []string
	engines := map[string][]string{}
	for _, e := range g.engines {
		reason, ok := of(e)
		if !ok {
			continue
		}
		reason = strings.TrimSuffix(reason, ".")
		if engines[reason] == nil {
			reasons = append(reasons, reason)
		}
		engines[reason] = append(engines[reason], e.engine)
	}
	text := ""
	for _, reason := range reasons {
		text += fmt.Sprintf(format, list(engines[reason]))
		if reason != "" {
			text += ": " + reason
		}
		text += "."
	}
	return text
}

// missingSentence names the engines that have no figure though nothing was
// withheld, with what became of them.
func (g *group) missingSentence(path string) string {
	return g.perReason(" No figure of %s", func(e engineCells) (string, bool) {
		if _, voided := e.withheld(path); voided || e.estimate(path).N > 0 {
			return "", false
		}
		if reasons := e.cells[0].Reasons; len(reasons) > 0 {
			return oneLine(reasons[0]), true
		}
		return "", true
	})
}

// level says that two medians are too close, or their intervals overlap, so
// that no difference was shown.
func level(a, b runs.Estimate) bool {
	if a.HasInterval && b.HasInterval {
		return a.Low <= b.High && b.Low <= a.High
	}
	return b.Median <= a.Median*1.1
}

// ratio writes high as a multiple of low, "" where that has no meaning.
func ratio(low, high float64) string {
	if low <= 0 || math.IsInf(high, 0) {
		return ""
	}
	return timesWord(high / low)
}

func latencyFinding(g *group, floors *runs.Floors) (Finding, bool) {
	phase := ""
	if !g.has(func(c *runs.Cell) bool { phase = mainPhase(c); return phase != "" }) {
		return Finding{}, false
	}
	base := "latencyMillis.event." + phase + "."
	f := Finding{Topic: "Latency, " + phase, Where: g.name()}
	for _, e := range g.engines {
		detail := ""
		if e.estimate(base+"p99").N > 0 {
			detail = "p99 " + e.show(base+"p99") + ", max " + e.show(base+"max")
			detail = joined(detail, e.fromIntake(phase))
			if floor := e.paced(floors); floor.p50 > 0 {
				detail = joined(detail, fmt.Sprintf("a bare loop at its pace: p50 %s, p99 %s", millis(floor.p50), millis(floor.p99)))
			}
		}
		v := e.value(base+"p50", detail)
		if e.estimate(base+"p50").N > 0 {
			v.Figure = "p50 " + v.Figure
		}
		f.Values = append(f.Values, v)
	}
	have := g.having(base + "p50")
	var parts []string
	for i, m := range have {
		p99 := m.estimate(base + "p99")
		verb := "of "
		if i == 0 {
			verb = "Results of "
		}
		part := fmt.Sprintf("%s%s are visible after %s in the median and %s at the 99th percentile", verb, m.engine, millis(m.Median), millis(p99.Median))
		if i > 0 {
			first := have[0]
			part = fmt.Sprintf("%s%s after %s and %s", verb, m.engine, millis(m.Median), millis(p99.Median))
			if level(first.Estimate, m.Estimate) {
				part += ", which is level with it in the median"
			} else if r50, r99 := ratio(first.Median, m.Median), ratio(first.estimate(base+"p99").Median, p99.Median); r50 != "" && r99 != "" {
				part += fmt.Sprintf(", that is %s and %s as long", r50, r99)
			}
		}
		parts = append(parts, part)
	}
	f.Sentence = sentence(strings.Join(parts, "; ")) + g.withheldSentence(base+"p50", "latency") + g.missingSentence(base+"p50")
	f.Sentence = strings.TrimSpace(f.Sentence)
	if len(have) < len(g.engines) {
		f.Status = statusUnknown
	}
	return f, f.Sentence != ""
}

// fullRate says when an engine was back at full rate.
func (e engineCells) fullRate() string {
	if est := e.estimate("pressure.recoverSeconds"); est.N > 0 && est.Median == 0 {
		return "back at full rate at once"
	}
	return prefixed("back at full rate after ", e.figure("pressure.recoverSeconds"))
}

// fromIntake writes the processing latency of a phase, "" for none.
func (e engineCells) fromIntake(phase string) string {
	base := "latencyMillis.processing." + phase + "."
	if e.estimate(base+"p50").N == 0 {
		return ""
	}
	return "from the engine's intake on: p50 " + e.figure(base+"p50") + ", p99 " + e.figure(base+"p99")
}

// faultPhase is the first phase with that fault, "" for none.
func (e engineCells) faultPhase(kind string) string {
	if i := slices.IndexFunc(e.cells[0].Phases, isFault(kind)); i >= 0 {
		return e.cells[0].Phases[i].Name
	}
	return ""
}

func pressureFinding(g *group) (Finding, bool) {
	if !g.has(func(c *runs.Cell) bool {
		return c.Pressure != nil || slices.ContainsFunc(c.Phases, isFault("throttle"))
	}) {
		return Finding{}, false
	}
	const follows = "pressure.followSeconds"
	f := Finding{Topic: "Slow sink", Where: g.name()}
	var follow, unknown, queued, back []string
	for _, e := range g.engines {
		slow := e.faultPhase("throttle")
		v := e.value(follows, joined(
			prefixed("queued at the peak ", e.queued()),
			e.fullRate(),
			prefixed("taken in above the sink's rate ", e.figure("pressure.overshootRecords")),
			prefixed("of the sink's capacity left unused ", e.figure("pressure.undershootRecords")),
			e.waited(),
			e.checkpointed(),
			prefixed("latency of what was due meanwhile: p99 ", e.figure("latencyMillis.event."+slow+".p99")),
			e.fromIntake(slow)))
		switch est := e.estimate(follows); {
		case est.N > 0 && math.IsInf(est.Median, 1):
			v.Figure = "never follows"
		case est.N > 0:
			v.Figure = "follows after " + v.Figure
		case v.Figure == absent && v.Detail != "":
			v.Figure = "follow time not known"
			unknown = append(unknown, e.engine)
		}
		f.Values = append(f.Values, v)
	}
	have := g.having(follows)
	for _, m := range have {
		if math.IsInf(m.Median, 1) {
			follow = append(follow, m.engine+" never does while the throttle lasts")
		} else {
			follow = append(follow, m.engine+" after "+seconds(m.Median))
		}
	}
	for _, m := range g.having("pressure.queuedRecordsPeak") {
		queued = append(queued, m.engine+" has "+m.queued())
	}
	for _, m := range g.having("pressure.recoverSeconds") {
		after := " after " + seconds(m.Median)
		switch {
		case m.Median == 0:
			after = " at once"
		case math.IsInf(m.Median, 1):
			after = " never"
		}
		back = append(back, m.engine+after)
	}
	with := "When the sink slows down"
	if e := g.having("pressure.sinkRecordsPerSecond"); len(e) > 0 {
		with += " to " + rate(e[0].Median)
	}
	switch {
	case len(follow) > 0:
		f.Sentence = with + ", intake comes down to its rate: " + strings.Join(follow, ", ") + "."
	case len(queued) > 0:
		f.Sentence = strings.Replace(with, "When the", "The", 1) + "."
	}
	if len(unknown) > 0 {
		f.Sentence += fmt.Sprintf(" The follow time of %s could not be told; the throttle may be too short for it.", list(unknown))
	}
	if len(queued) > 0 {
		f.Sentence += " At the peak " + list(queued) + " queued inside."
	}
	if len(back) > 0 {
		f.Sentence += " Set free, full rate is back: " + strings.Join(back, ", ") + "."
	}
	for _, e := range g.engines {
		if text := joined(e.waited(), e.checkpointed()); text != "" {
			f.Sentence += " " + e.engine + ": " + text + "."
		}
	}
	if len(unknown) == 0 {
		f.Sentence += g.missingSentence(follows)
	}
	f.Sentence = strings.TrimSpace(f.Sentence + g.withheldSentence(follows, "answer to the throttle"))
	if len(have) < len(g.engines) {
		f.Status = statusUnknown
	}
	if f.Sentence == "" {
		f.Sentence = "Nothing was measured."
	}
	return f, true
}

func isFault(kind string) func(runs.Phase) bool {
	return func(p runs.Phase) bool { return p.Fault == kind }
}

// queued writes what an engine held at the peak.
func (e engineCells) queued() string {
	records, held := e.figure("pressure.queuedRecordsPeak"), e.figure("pressure.queuedBytesPeak")
	switch {
	case records == absent && held == absent:
		return absent
	case held == absent:
		return records + " records"
	case records == absent:
		return held
	}
	return records + " records (" + held + ")"
}

// figure writes a figure without its interval, for running text.
func (e engineCells) figure(path string) string {
	if est := e.estimate(path); est.N > 0 {
		return formatOf(path)(est.Median)
	}
	return absent
}

// prefixed joins a label and a figure, or returns "" for none.
func prefixed(label, figure string) string {
	if figure == absent || figure == "" {
		return ""
	}
	return label + figure
}

// joined joins what is not empty.
func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

func growthFinding(g *group) (Finding, bool) {
	if !g.has(func(c *runs.Cell) bool { return c.Growth != nil }) {
		return Finding{}, false
	}
	f := Finding{Topic: "New partitions", Where: g.name()}
	lost, lostKnown, worst := 0.0, false, ""
	var unread []string
	for _, e := range g.engines {
		v := e.value("growth.discoveredSeconds", "")
		if e.estimate("growth.discoveredSeconds").N > 0 {
			v.Figure = "read after " + v.Figure
			if strings.HasSuffix(v.Figure, "never") {
				v.Figure = "never read"
			}
			v.Detail = joined(
				prefixed("first result visible after ", e.figure("growth.firstResultSeconds")),
				prefixed("lost before discovery ", e.figure("growth.lostBeforeDiscovery")),
				prefixed("never read ", e.unread()),
				prefixed("dip in the old partitions ", e.figure("growth.oldPartitionsDip")))
		}
		if n := e.unread(); n != "" {
			unread = append(unread, n+" records by "+e.engine)
		}
		if l, ok := e.worst("growth.lostBeforeDiscovery"); ok {
			lostKnown = true
			if l > lost {
				lost, worst = l, e.engine
			}
		}
		f.Values = append(f.Values, v)
	}
	have := g.having("growth.discoveredSeconds")
	var read []string
	for _, m := range have {
		if math.IsInf(m.Median, 1) {
			read = append(read, m.engine+" never did")
			f.Status = statusBad
		} else {
			read = append(read, m.engine+" after "+seconds(m.Median))
		}
	}
	var s strings.Builder
	if len(read) > 0 {
		first := have[0].engineCells
		if n, ok := first.worst("growth.created"); ok {
			fmt.Fprintf(&s, "%s were added while the job ran. ", plural(int64(n), "partition"))
		}
		fmt.Fprintf(&s, "The engines read from them, counted from their creation: %s", strings.Join(read, ", "))
		if a := first.figure("growth.firstAppendedSeconds"); a != absent {
			fmt.Fprintf(&s, " (the first record was written there after %s)", a)
		}
		s.WriteString(".")
	}
	switch {
	case lost > 0:
		fmt.Fprintf(&s, " %s lost %s written before it knew of them.", worst, plural(int64(lost), "record"))
		f.Status = statusBad
	case lostKnown && len(unread) < len(g.engines):
		s.WriteString(" No record written before the engines knew of them was lost.")
	}
	if len(unread) > 0 {
		fmt.Fprintf(&s, " Never looked for, and so never read: %s.", strings.Join(unread, ", "))
		f.Status = statusBad
	}
	s.WriteString(g.withheldSentence("growth.discoveredSeconds", "time of discovery"))
	s.WriteString(g.missingSentence("growth.discoveredSeconds"))
	f.Sentence = strings.TrimSpace(s.String())
	if f.Status == "" && len(have) < len(g.engines) {
		f.Status = statusUnknown
	}
	return f, f.Sentence != ""
}

// unread writes how many records lie in partitions that an engine never looked
// for, "" for none.
func (e engineCells) unread() string {
	if n, ok := e.worst("growth.neverRead"); ok && n > 0 {
		return count(int64(n))
	}
	return ""
}

// worst is the largest value over the repetitions: what matters for counts of
// anomalies.
func (e engineCells) worst(path string) (value float64, ok bool) {
	for _, c := range e.cells {
		if v, has, _ := c.Figure(path); has {
			value, ok = max(value, v), true
		}
	}
	return value, ok
}

// Of returns the finding's value for an engine, nil for none.
func (f Finding) Of(engine string) *Value {
	for i := range f.Values {
		if f.Values[i].Engine == engine {
			return &f.Values[i]
		}
	}
	return nil
}
