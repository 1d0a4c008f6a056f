package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"streamduel/runs"
)

// waited says how long batches waited while the sink was slow, and what was
// predicted; "" for an engine without batches.
func (e engineCells) waited() string {
	const base = "pressure.schedulingDelay."
	if e.estimate(base+"peakSeconds").N == 0 {
		return ""
	}
	text := fmt.Sprintf("batches waited up to %s before they began, the last one %s", e.figure(base+"peakSeconds"), e.figure(base+"lastSeconds"))
	if e.estimate(base+"predictedPeakSeconds").N > 0 {
		text += fmt.Sprintf(" (predicted %s and %s", e.figure(base+"predictedPeakSeconds"), e.figure(base+"predictedLastSeconds"))
		if off := e.estimate(base + "predictionError"); off.N > 0 {
			text += fmt.Sprintf("; the curves lie %s of the peak apart in the mean", percent(off.Median))
		}
		text += ")"
	}
	return text
}

// checkpointed says what became of checkpoints while the sink was slow; "" for an
// engine without any.
func (e engineCells) checkpointed() string {
	const base = "pressure.checkpoints."
	n := e.estimate(base + "triggered")
	if n.N == 0 {
		return ""
	}
	if n.Median == 0 {
		return "no checkpoint was triggered meanwhile"
	}
	text := fmt.Sprintf("of %s triggered meanwhile the longest took %s", plural(int64(n.Median), "checkpoint"), e.figure(base+"longestSeconds"))
	if held := e.estimate(base + "held"); held.Median > 0 {
		text += fmt.Sprintf(", and %s not complete when the sink was freed", countOf(int64(held.Median)))
	}
	if over := e.estimate(base + "inFlightBytesMax"); over.Median > 0 {
		text += ", barriers overtook up to " + size(over.Median)
	}
	return text
}

func countOf(n int64) string {
	if n == 1 {
		return "one was"
	}
	return count(n) + " were"
}

// stepsFinding says how well intake and results kept to the shares of a maximum that
// the sink was given, one behind the other.
func stepsFinding(g *group) (Finding, bool) {
	f := Finding{Topic: "Steps of the sink", Where: g.name()}
	var phases []runs.Phase
	for _, e := range g.engines {
		if c := e.cells[0]; len(phases) == 0 {
			phases = slices.DeleteFunc(slices.Clone(c.Phases), func(p runs.Phase) bool { _, ok := c.Steps[p.Name]; return !ok })
		}
	}
	if len(phases) == 0 {
		f.Sentence = strings.TrimSpace(g.withheldSentence(anyStep, "course of the steps"))
		for _, e := range g.engines {
			f.Values = append(f.Values, e.value(anyStep, ""))
		}
		f.Status = statusUnknown
		return f, f.Sentence != ""
	}
	var said []string
	for _, e := range g.engines {
		c := e.cells[0]
		var asked, ran []string
		off, slowest, missed := 0.0, 0.0, 0
		for _, p := range phases {
			s, ok := c.Steps[p.Name]
			if !ok || s.PointsOff == nil || s.VisibleShare == nil || s.CrossedSeconds == nil {
				continue
			}
			asked = append(asked, whole(s.Share))
			ran = append(ran, whole(*s.VisibleShare))
			off = max(off, *s.PointsOff)
			if math.IsInf(float64(*s.CrossedSeconds), 1) {
				missed++
			} else {
				slowest = max(slowest, float64(*s.CrossedSeconds))
			}
		}
		if len(ran) == 0 {
			f.Values = append(f.Values, e.value(anyStep, ""))
			continue
		}
		if len(said) == 0 {
			said = append(said, fmt.Sprintf("The sink was given %s %% of the maximum, one behind the other.", list(asked)))
		}
		crossed := "each reached within " + seconds(slowest)
		if missed > 0 {
			crossed = fmt.Sprintf("%d of %d never reached within three points", missed, len(ran))
		}
		said = append(said, fmt.Sprintf("%s ran at %s %%, %s.", e.engine, list(ran), crossed))
		f.Values = append(f.Values, Value{
			Engine: e.engine, Figure: fmt.Sprintf("at most %s points off", significant(off)),
			Detail: joined(crossed, prefixed("queued at the peak ", e.queued()), e.waited()),
		})
	}
	f.Sentence = strings.Join(said, " ")
	return f, len(said) > 0
}

// anyStep stands for the figures of steps where it is asked whether they were
// withheld, which they all are together.
const anyStep = "steps.any.pointsOff"

func whole(share float64) string { return fmt.Sprintf("%.0f", 100*share) }
