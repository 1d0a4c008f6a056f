package report

import (
	"fmt"
	"math"
	"strings"

	"streamduel/runs"
)

// The values of a matrix over the way to aggregate, as labels of a cell.
const (
	plainLabel  = "aggregation=plain"
	stagesLabel = "aggregation=two-stage"
)

// staged is what one way to aggregate cost an engine: the last phase of the
// first cell.
type staged struct {
	latency runs.Latency
	known   bool    // the latency is
	busiest float64 // largest busy share of a task; NaN where none is told
	skew    float64 // the same over the mean of its operator's tasks; NaN where tasks are not told apart
}

func stagedOf(c *runs.Cell) (s staged) {
	s.busiest, s.skew = math.NaN(), math.NaN()
	if c.LatencyMillis != nil && len(c.Phases) > 0 {
		s.latency, s.known = c.LatencyMillis.Event[c.Phases[len(c.Phases)-1].Name]
	}
	sum, n := map[string]float64{}, map[string]int{}
	for task, busy := range c.Busy {
		operator := operatorOf(task)
		sum[operator] += busy
		n[operator]++
	}
	for task, busy := range c.Busy {
		if !(busy <= s.busiest) { // also the first
			s.busiest, s.skew = busy, math.NaN()
			if o := operatorOf(task); n[o] > 1 && sum[o] > 0 {
				s.skew = busy * float64(n[o]) / sum[o]
			}
		}
	}
	return s
}

// operatorOf cuts the number of a task off: "sum (1/2)".
func operatorOf(task string) string {
	if i := strings.LastIndex(task, " ("); i > 0 && strings.HasSuffix(task, ")") {
		return task[:i]
	}
	return task
}

func (s staged) text() string {
	var parts []string
	if s.known {
		parts = append(parts, fmt.Sprintf("p50 %s, p99 %s", millis(float64(s.latency.P50)), millis(float64(s.latency.P99))))
	}
	if !math.IsNaN(s.busiest) {
		t := "busiest task " + percent(s.busiest)
		if !math.IsNaN(s.skew) {
			t += fmt.Sprintf(", %s × the mean of its operator", significant(s.skew))
		}
		parts = append(parts, t)
	}
	return strings.Join(parts, "; ")
}

// stagesFinding sets aggregation in one stage and in two side by side, for each
// engine of a scenario that has run both.
func stagesFinding(groups []*group) (Finding, bool) {
	cells := map[string]map[string]*runs.Cell{} // by engine and label
	var engines []string
	for _, g := range groups {
		for _, e := range g.engines {
			for _, c := range e.cells {
				for _, label := range c.Variant {
					if label != plainLabel && label != stagesLabel {
						continue
					}
					if cells[e.engine] == nil {
						cells[e.engine] = map[string]*runs.Cell{}
						engines = append(engines, e.engine)
					}
					if cells[e.engine][label] == nil {
						cells[e.engine][label] = c
					}
				}
			}
		}
	}
	f := Finding{Topic: "Hot key"}
	var said []string
	for _, e := range engines {
		plain, stages := cells[e][plainLabel], cells[e][stagesLabel]
		if plain == nil || stages == nil {
			continue
		}
		a, b := stagedOf(plain), stagedOf(stages)
		f.Where = plain.Scenario
		f.Values = append(f.Values, Value{Engine: e, Figure: a.text(), Detail: "plain"}, Value{Engine: e, Figure: b.text(), Detail: "two stages"})
		switch {
		case !a.known || !b.known:
			said = append(said, e+": latency is withheld, so what two stages gain is not shown.")
		case max(a.latency.P99, b.latency.P99) <= 1.1*min(a.latency.P99, b.latency.P99): // as with other figures
			said = append(said, fmt.Sprintf("%s: two stages make no difference at this load; p99 is %s and %s.", e, millis(a.latency.P99), millis(b.latency.P99)))
		case a.latency.P99 > b.latency.P99:
			said = append(said, fmt.Sprintf("%s: two stages bring p99 from %s down to %s.", e, millis(a.latency.P99), millis(b.latency.P99)))
		default:
			said = append(said, fmt.Sprintf("%s: two stages gain nothing at this load; p99 goes from %s to %s.", e, millis(a.latency.P99), millis(b.latency.P99)))
		}
	}
	f.Sentence = strings.Join(said, " ")
	return f, len(said) > 0
}
