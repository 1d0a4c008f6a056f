package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"streamduel/runs"
)

// prediction says how a count came out against its prediction.
type prediction int

const (
	notPredicted prediction = iota // nothing to compare
	asPredicted
	otherThanPredicted
)

// inInterval compares a count with a prediction that is exact unless atMost
// widens it.
func inInterval(measured, expected, atMost *int64) prediction {
	if measured == nil || expected == nil {
		return notPredicted
	}
	high := *expected
	if atMost != nil {
		high = *atMost
	}
	if *measured < *expected || *measured > high {
		return otherThanPredicted
	}
	return asPredicted
}

// predicted compares a cell's duplicates and losses with the catalogue's.
func predicted(c *runs.Cell) prediction {
	if c.Crash == nil || c.Crash.Expected == nil || c.Records == nil {
		return notPredicted
	}
	e := c.Crash.Expected
	duplicates := inInterval(copies(c), e.Duplicates, e.DuplicatesAtMost)
	losses := inInterval(missing(c), e.Losses, e.LossesAtMost)
	return max(duplicates, losses)
}

// interval writes a prediction.
func interval(low, high *int64) string {
	switch {
	case low == nil:
		return absent
	case high == nil || *high == *low:
		return count(*low)
	}
	return count(*low) + " to " + count(*high)
}

func optional(n *int64) string {
	if n == nil {
		return absent
	}
	return count(*n)
}

func crashFinding(g *group) (Finding, bool) {
	if !g.has(func(c *runs.Cell) bool { return c.Crash != nil || slices.ContainsFunc(c.Phases, isFault("crash")) }) {
		return Finding{}, false
	}
	f := Finding{Topic: "Crash, " + g.guarantee, Where: g.name(), Status: statusGood}
	var parts []string
	for _, e := range g.engines {
		v, part, status := e.crashValue()
		f.Values = append(f.Values, v)
		parts = append(parts, part)
		if status == statusBad || status == statusUnknown && f.Status == statusGood {
			f.Status = status
		}
	}
	var visible []string
	for _, m := range g.having("crash.visibleSeconds") {
		text := m.engine + " after " + seconds(m.Median)
		if math.IsInf(m.Median, 1) {
			text = m.engine + " never"
			f.Status = statusBad
		}
		visible = append(visible, text)
	}
	if len(visible) > 0 {
		parts = append(parts, "New results are visible again, counted from the kill: "+strings.Join(visible, ", ")+".")
	}
	f.Sentence = strings.Join(parts, " ") + g.withheldSentence("records.duplicates", "count")
	return f, true
}

// killed says what was done to a worker.
func killed(c *runs.Crash) string {
	point := oneLine(c.Point)
	switch {
	case point == "failed by itself", point == "stopped and replaced", strings.HasPrefix(point, "rescaled to "):
		return point
	case c.Again != "":
		return "killed at " + point + " and again at " + oneLine(c.Again)
	}
	return "killed at " + point
}

// crashValue describes what a crash did to one engine.
func (e engineCells) crashValue() (v Value, part, status string) {
	v.Engine = e.engine
	c := e.worstCrash()
	if c == nil {
		reason := "it left no figures"
		if len(e.cells) > 0 && len(e.cells[0].Reasons) > 0 {
			reason = oneLine(e.cells[0].Reasons[0])
		}
		v.Figure, v.Detail = "no figures", reason
		return v, fmt.Sprintf("%s: %s", e.engine, sentence(strings.TrimSuffix(reason, "."))), statusUnknown
	}
	at := killed(c.Crash)
	if !c.Crash.Reached {
		v.Figure, v.Detail = "crash point not reached", "the cell proves nothing"
		return v, fmt.Sprintf("%s never reached the crash point %s, so nothing was shown.", e.engine, oneLine(c.Crash.Point)), statusUnknown
	}
	if copies(c) == nil || missing(c) == nil {
		v.Figure = "no counts"
		if w, ok := e.withheld("records.duplicates"); ok {
			v.Figure, v.Detail = withheld, oneLine(w.Reason)
		}
		return v, fmt.Sprintf("%s, %s: no counts.", e.engine, at), statusUnknown
	}
	duplicates, losses := *copies(c), *missing(c)
	v.Figure = fmt.Sprintf("%s, %s", plural(duplicates, "duplicate"), plural(losses, "loss"))
	part = fmt.Sprintf("%s, %s shows %s and %s", strings.ToUpper(at[:1])+at[1:], e.engine, plural(duplicates, "duplicate"), plural(losses, "loss"))
	if len(e.cells) > 1 {
		part += fmt.Sprintf(" in the worst of %d runs", len(e.cells))
	}
	expectation := ""
	if x := c.Crash.Expected; x != nil {
		expectation = "predicted " + interval(x.Duplicates, x.DuplicatesAtMost) + " and " + interval(x.Losses, x.LossesAtMost)
	}
	switch predicted(c) {
	case asPredicted:
		status = statusGood
		part += ", exactly as predicted."
		if x := c.Crash.Expected; x.DuplicatesAtMost != nil || x.LossesAtMost != nil {
			part = strings.Replace(part, "exactly as predicted", "within the prediction", 1)
		}
	case otherThanPredicted:
		status = statusBad
		part += ", not as predicted (" + strings.TrimPrefix(expectation, "predicted ") + ")."
	default:
		part += "; no prediction."
	}
	v.Detail = joined(expectation, deadPart(c),
		prefixed("input records read again ", e.figure("crash.replayedRecords")),
		prefixed("first new result after ", e.figure("crash.firstResultSeconds")),
		prefixed("visible after ", e.figure("crash.visibleSeconds")),
		prefixed("caught up after ", e.figure("crash.caughtUpSeconds")))
	return v, part, status
}

// worstCrash picks the repetition to speak of: one that went other than
// predicted, else the one with the most duplicates and losses.
func (e engineCells) worstCrash() *runs.Cell {
	var worst *runs.Cell
	weight := func(c *runs.Cell) (n int64) {
		if predicted(c) == otherThanPredicted || !c.Crash.Reached {
			n = 1 << 62
		}
		if c.Records != nil && c.Records.Duplicates != nil && c.Records.Losses != nil {
			n += *c.Records.Duplicates + *c.Records.Losses
		}
		return n
	}
	for _, c := range e.cells {
		if c.Crash != nil && (worst == nil || weight(c) > weight(worst)) {
			worst = c
		}
	}
	return worst
}

// repeats says whether a cell's rows come again by design: in the output modes
// update and complete a row takes the place of the one before.
func repeats(c *runs.Cell) bool {
	mode := c.Config["outputMode"]
	return mode == "update" || mode == "complete"
}

// countsFinding sums duplicates and losses over all cells that no crash hit.
func countsFinding(groups []*group) (Finding, bool) {
	f := Finding{Topic: "Correctness without a crash", Where: "all cells that were not killed", Status: statusGood}
	type sum struct{ cells, sent, duplicates, losses, unexpected int64 }
	var total sum
	var order []string
	var replaced int64 // cells
	by := map[string]*sum{}
	for _, g := range groups {
		for _, e := range g.engines {
			for _, c := range e.cells {
				r := c.Records
				if c.Crash != nil || r == nil || r.Duplicates == nil || r.Losses == nil {
					continue
				}
				s := by[e.engine]
				if s == nil {
					s = &sum{}
					by[e.engine] = s
					order = append(order, e.engine)
				}
				duplicates := *r.Duplicates
				if repeats(c) {
					duplicates = 0
					replaced++
				}
				for _, s := range []*sum{s, &total} {
					s.cells++
					s.duplicates += duplicates
					s.losses += *r.Losses
					if r.Sent != nil {
						s.sent += *r.Sent
					}
					if r.Unexpected != nil {
						s.unexpected += *r.Unexpected
					}
				}
			}
		}
	}
	if total.cells == 0 {
		return f, false
	}
	for _, engine := range order {
		s := by[engine]
		f.Values = append(f.Values, Value{
			Engine: engine,
			Figure: fmt.Sprintf("%s, %s", plural(s.duplicates, "duplicate"), plural(s.losses, "loss")),
			Detail: fmt.Sprintf("%s in %s", plural(s.sent, "record"), plural(s.cells, "cell")),
		})
	}
	f.Sentence = fmt.Sprintf("Of %s in %s, %s.", plural(total.sent, "record"), plural(total.cells, "cell"), anomalies(total.duplicates, total.losses, total.unexpected))
	if replaced > 0 {
		f.Sentence += fmt.Sprintf(" In %s the output mode has rows come again, each in the place of the one before: they are not among the copies.", plural(replaced, "cell"))
	}
	if total.duplicates+total.losses+total.unexpected > 0 {
		f.Status = statusBad
	}
	return f, true
}

// anomalies writes counts as a clause.
func anomalies(duplicates, losses, unexpected int64) string {
	if duplicates == 0 && losses == 0 && unexpected == 0 {
		return "none was duplicated and none was lost"
	}
	text := fmt.Sprintf("%s came too often and %s never came", plural(duplicates, "copy"), count(losses))
	text = strings.Replace(text, "copys", "copies", 1)
	if unexpected > 0 {
		text += fmt.Sprintf(", and %s had no input", plural(unexpected, "output"))
	}
	return text
}

func costFinding(g *group, floors *runs.Floors) (Finding, bool) {
	const path = "cost.cpuSecondsPerMillion"
	f := Finding{Topic: "Cost", Where: g.name()}
	for _, e := range g.engines {
		detail := ""
		if m := e.estimate(path); m.N > 0 {
			if floor := e.paced(floors).cpu; floor > 0 {
				detail = fmt.Sprintf("%s the bare loop's %s at its pace", timesWord(m.Median/floor), significant(floor))
			}
			detail = joined(detail, prefixed("memory peak ", e.figure("cost.rssPeakBytes")), prefixed("allocated per record ", e.figure("cost.allocBytesPerRecord")))
		}
		v := e.value(path, detail)
		if e.estimate(path).N > 0 {
			v.Figure += " CPU per million records"
		}
		f.Values = append(f.Values, v)
	}
	have := g.having(path)
	var parts []string
	compared := false
	for _, m := range have {
		part := fmt.Sprintf("%s %s", m.engine, significant(m.Median))
		if floor := m.paced(floors).cpu; floor > 0 {
			part += fmt.Sprintf(" (%s the bare loop's %s)", timesWord(m.Median/floor), significant(floor))
			compared = true
		}
		parts = append(parts, part)
	}
	if len(parts) > 0 {
		f.Sentence = "CPU seconds per million records: " + list(parts) + "."
		if compared {
			f.Sentence += " The bare loop consumes and produces at the same rate in the same run and does nothing else."
		}
	}
	f.Sentence = strings.TrimSpace(f.Sentence + g.withheldSentence(path, "cost") + g.missingSentence(path))
	if len(have) < len(g.engines) {
		f.Status = statusUnknown
	}
	return f, f.Sentence != ""
}
