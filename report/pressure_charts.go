package report

import (
	"encoding/json"
	"math"

	"streamduel/runs"
)

// predict adds what a model says as a thin line beside each measured one.
func (c Chart) predict(sources []source, of func(*runs.Predicted) []runs.PredictedPoint, scale float64) Chart {
	added := false
	for _, s := range sources {
		if s.predicted == nil {
			continue
		}
		l := Line{Name: s.engine + " predicted", Engine: s.engine, Thin: true}
		for _, p := range of(s.predicted) {
			l.add(p.T, p.V*scale)
		}
		if len(l.X) > 0 {
			c.Lines = append(c.Lines, l)
			added = true
		}
	}
	if added {
		c.Note += " The thin line is predicted: a simulation of the clock and the rate control."
	}
	return c
}

// within cuts a chart of limits at what matters: before a sink is slow a limit may be
// a hundred times the load, and what it then comes down to would be a flat line.
func (c Chart) within() Chart {
	c.Log = len(c.Lines) > 0
	for i := range c.Lines {
		for j, y := range c.Lines[i].Y {
			if y <= 0 {
				c.Lines[i].Y[j] = num(math.NaN())
			}
		}
	}
	return c
}

// delayChart shows how long each batch waited before it began.
func delayChart(sources []source) Chart {
	c := Chart{Title: "Scheduling delay", Unit: "ms", Note: "How long each batch waited, from its tick until its first task."}
	for _, s := range sources {
		l := Line{Name: s.engine, Engine: s.engine}
		for _, e := range s.events {
			var b struct {
				Event      string  `json:"event"`
				Scheduling float64 `json:"schedulingDelayMillis"`
				Processing float64 `json:"processingDelayMillis"`
			}
			if json.Unmarshal(e.Event, &b) == nil && b.Event == "batchCompleted" {
				l.add(max(e.T-b.Processing/1e3, 0), b.Scheduling)
			}
		}
		if len(l.X) > 0 {
			c.Lines = append(c.Lines, l)
		}
	}
	return c.predict(sources, func(p *runs.Predicted) []runs.PredictedPoint { return p.SchedulingDelay }, 1e3)
}

// checkpointChart shows how long each checkpoint took, over the time in which it was
// under way: a line from its trigger, where it has taken nothing yet, to its end.
func checkpointChart(sources []source) Chart {
	c := Chart{Title: "Checkpoints", Unit: "ms",
		Note: "Each stroke is a checkpoint: from its trigger on the axis up to how long it took, where it was durable. A stroke without an end was given up or never complete."}
	for _, s := range sources {
		l := Line{Name: s.engine, Engine: s.engine}
		triggered := map[int64]float64{}
		for _, e := range s.events {
			var x struct {
				Event      string  `json:"event"`
				Checkpoint int64   `json:"checkpoint"`
				Duration   float64 `json:"durationMillis"`
			}
			if json.Unmarshal(e.Event, &x) != nil {
				continue
			}
			switch x.Event {
			case "checkpointTriggered":
				triggered[x.Checkpoint] = e.T
			case "checkpointCompleted":
				from, ok := triggered[x.Checkpoint]
				if !ok || e.T < 0 {
					continue
				}
				l.add(max(from, 0), 0)
				l.add(e.T, 1e3*(e.T-from))
				l.add(e.T, math.NaN())
			}
		}
		if len(l.X) > 0 {
			c.Lines = append(c.Lines, l)
		}
	}
	return c
}

// stepWindow is over what time rates are averaged where steps are looked at, as the
// figures of steps are.
const stepWindow = 0.5

// published are the steps of the experiment that the scenario back-pressure-reference
// repeats: producer and consumer in one process, as shares of the most that was seen
// (8 million records a second), measured every 5 s. Both ran at each share.
var published = []float64{0.6, 0.3, 1, 0.3, 1}

// askedStyle is how the course is drawn that engines are held against: by nobody's
// colour.
var askedStyle = EngineStyle{Engine: "asked", Light: "#16191D", Dark: "#E6E8EB", Dash: []float64{9, 3, 2, 3}}

// stepsChart shows intake and results as shares of the maximum, beside what the sink
// was given.
func stepsChart(sources []source) Chart {
	c := Chart{Title: "Shares of the maximum", Unit: "share", Main: true,
		Note: "The heavy line is intake, the thin one results, both over the last half a second (a second where work comes in batches), as shares of the rate of an earlier phase of the same cell. The dash-dotted line is what the sink was given"}
	like := false
	for _, s := range sources {
		if len(s.cell.Steps) == 0 {
			continue
		}
		var maximum float64
		asked := Line{}
		var shares []float64
		for _, p := range s.cell.Phases {
			step, ok := s.cell.Steps[p.Name]
			if !ok {
				continue
			}
			maximum = step.MaximumRecordsPerSecond
			shares = append(shares, step.Share)
			asked.add(p.Start, step.Share)
			asked.add(p.End, step.Share)
		}
		for _, of := range []struct {
			name string
			get  func(runs.Sample) float64
			thin bool
		}{
			{" intake", func(r runs.Sample) float64 { return r.Consumed }, false},
			{" results", func(r runs.Sample) float64 { return r.Visible }, true},
		} {
			window := stepWindow
			if _, batches := s.cell.Config["interval"]; batches {
				window = rateWindow // or its batches are seen, and nothing else
			}
			if l, known := columnOver(s, s.engine+of.name, of.get, window); known {
				l.Thin = of.thin
				for i := range l.Y {
					// Behind the last step nothing holds the job: what it then does has no
					// place on the scale.
					if l.Y[i] /= num(maximum); l.X[i] > asked.X[len(asked.X)-1] {
						l.Y[i] = num(math.NaN())
					}
				}
				c.Lines = append(c.Lines, l)
			}
		}
		if !hasLine(c, askedStyle.Engine) { // of the first engine: all have the same
			asked.Name, asked.Engine = "the sink's share", askedStyle.Engine
			if like = equal(shares, published); like {
				asked.Name = "published"
			}
			c.Lines = append(c.Lines, asked)
		}
	}
	if like {
		c.Note += ", which is the published experiment's course: there producer and consumer shared a process, 8 million records a second were the most, and both ran at 60, 30, 100, 30 and 100 % of that"
	}
	c.Note += "."
	return c
}

func hasLine(c Chart, engine string) bool {
	for _, l := range c.Lines {
		if l.Engine == engine {
			return true
		}
	}
	return false
}

func equal(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Abs(a[i]-b[i]) > 1e-9 {
			return false
		}
	}
	return true
}
