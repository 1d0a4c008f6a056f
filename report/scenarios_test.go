package report

import (
	"testing"

	"streamduel/runs"
)

var engines = []string{"microbatch", "dataflow"}

func modelOf(engine, guarantee string) model {
	switch {
	case engine == "microbatch":
		return microbatch
	case guarantee == "exactly-once":
		return exactly
	}
	return atLeast
}

func (s *synthetic) steady(engine string, repetition int, edit func(*runs.Cell, outcome)) {
	s.t.Helper()
	s.cell(cellSpec{
		scenario: "steady", engine: engine, guarantee: "exactly-once", repetition: repetition, model: modelOf(engine, "exactly-once"),
		phases: phases("warmup", 4.0, "", "steady", 12.0, ""),
		edit: func(c *runs.Cell, o outcome) {
			c.Gates = []runs.Gate{{Expression: "records.losses == 0", OK: true, Value: new(runs.Elapsed(0))}}
			if edit != nil {
				edit(c, o)
			}
		},
	})
}

func (s *synthetic) throttle(engine string) {
	s.t.Helper()
	released := 11.0
	follow, recover, drain := 1.9, 2.6, 6.4
	queued, over := int64(19_800), int64(31_250)
	if engine == "dataflow" {
		follow, recover, drain, queued, over = 0.34, 0.41, 4.9, 3_200, 3_180
	}
	s.cell(cellSpec{
		scenario: "throttled-consumer", engine: engine, guarantee: "at-least-once", model: modelOf(engine, "at-least-once"),
		phases: phases("warmup", 2.0, "", "steady", 3.0, "", "throttled", 6.0, "throttle", "recovery", 7.0, ""),
		sink: func(t float64) float64 {
			if t > 5 && t <= released {
				return 3000
			}
			return 1e9
		},
		marks: []runs.Mark{
			{At: 5, Kind: runs.MarkThrottled, Label: "sink slowed to 3,000/s"},
			{At: 5 + follow, Kind: runs.MarkFollowed, Label: "intake follows"},
			{At: released, Kind: runs.MarkReleased, Label: "sink set free"},
			{At: released + recover, Kind: runs.MarkRecovered, Label: "full rate again"},
			{At: released + drain, Kind: runs.MarkDrained, Label: "backlog gone"},
		},
		edit: func(c *runs.Cell, o outcome) {
			c.Pressure = &runs.Pressure{
				SinkRecordsPerSecond: new(3000.0), FollowSeconds: elapsed(follow), RecoverSeconds: elapsed(recover), DrainSeconds: elapsed(drain),
				OvershootRecords: &over, UndershootRecords: new(int64(420)), QueuedRecordsPeak: &queued, QueuedBytesPeak: new(queued * 100),
				Blocked:      map[string]runs.Blocked{"source": {Share: 0.71, Level: "HIGH"}, "count": {Share: 0.08, Level: "OK"}},
				RSSPeakBytes: new(int64(80_400_000)),
			}
			if engine == "microbatch" {
				c.Pressure.Blocked = nil
			}
			c.Gates = []runs.Gate{{Expression: "pressure.followSeconds < 5", OK: true, Value: elapsed(follow)}}
		},
	})
}

func (s *synthetic) growth(engine string, omit ...string) {
	s.t.Helper()
	read, result := 0.52, 1.06
	if engine == "dataflow" {
		read, result = 1.21, 2.02
	}
	s.cell(cellSpec{
		scenario: "partition-growth", engine: engine, guarantee: "exactly-once", model: modelOf(engine, "exactly-once"), omit: omit,
		phases: phases("warmup", 2.0, "", "steady", 5.0, "", "grown", 9.0, "grow"),
		marks: []runs.Mark{
			{At: 7, Kind: runs.MarkCreated, Label: "4 partitions added"},
			{At: 7.48, Kind: runs.MarkAppended, Label: "first record in a new partition"},
			{At: 7.48 + read, Kind: runs.MarkDiscovered, Label: "first record of a new partition read"},
			{At: 7.48 + result, Kind: runs.MarkFirstResult, Label: "its result visible"},
		},
		edit: func(c *runs.Cell, o outcome) {
			c.Growth = &runs.Growth{
				Created: new(int64(4)), FirstAppendedSeconds: elapsed(0.48), DiscoveredSeconds: elapsed(0.48 + read),
				FirstResultSeconds: elapsed(0.48 + result), LostBeforeDiscovery: new(int64(0)), OldPartitionsDip: new(0.031),
			}
			for i := range o.series {
				if row := &o.series[i]; row.T > 7.48+result {
					row.VisibleNew = row.Visible / 2
				}
			}
		},
	})
}

func (s *synthetic) crash(engine, guarantee string, edit func(*runs.Cell, outcome)) {
	s.t.Helper()
	point, from, back := "M3", 8.1, 9.4
	duplicates := int64(5_000)
	if engine == "dataflow" {
		point, from, back, duplicates = "D5", 8.6, 9.7, 9_412
	}
	if guarantee == "exactly-once" {
		duplicates = 0
	}
	s.cell(cellSpec{
		scenario: "crash-mid-commit", engine: engine, guarantee: guarantee, model: modelOf(engine, guarantee),
		phases: phases("warmup", 2.0, "", "steady", 5.0, "", "fault", 2.5, "crash", "recovery", 7.5, ""),
		down:   func(t float64) bool { return t > from && t < back },
		marks: []runs.Mark{
			{At: from, Kind: runs.MarkKilled, Label: "killed at " + point},
			{At: from + 0.42, Kind: runs.MarkRestarted, Label: "restarted"},
			{At: back, Kind: runs.MarkFirstVisible, Label: "first new result visible"},
			{At: back + 1.4, Kind: runs.MarkCaughtUp, Label: "caught up"},
		},
		edit: func(c *runs.Cell, o outcome) {
			c.Records.Duplicates = &duplicates
			c.Crash = &runs.Crash{
				Point: point, Hit: 3, Reached: true,
				Expected:         &runs.Expected{Duplicates: new(duplicates), Losses: new(int64(0))},
				RestartedSeconds: elapsed(0.42), FirstResultSeconds: elapsed(back - from - 0.1), VisibleSeconds: elapsed(back - from),
				CaughtUpSeconds: elapsed(back - from + 1.4), ReplayedRecords: new(int64(5_000)),
			}
			c.Gates = []runs.Gate{{Expression: "records.losses == 0", OK: true, Value: new(runs.Elapsed(0))}}
			if guarantee == "exactly-once" {
				c.Gates = append(c.Gates, runs.Gate{Expression: "records.duplicates == 0", OK: true, Value: new(runs.Elapsed(0))})
			}
			if edit != nil {
				edit(c, o)
			}
		},
	})
}

// goodRun is a run in which everything went well.
func goodRun(t testing.TB, root string) string {
	t.Helper()
	s := newRun(t, root)
	for _, e := range engines {
		s.steady(e, 1, nil)
	}
	for _, e := range engines {
		s.throttle(e)
	}
	for _, e := range engines {
		s.growth(e)
	}
	for _, g := range []string{"at-least-once", "exactly-once"} {
		for _, e := range engines {
			s.crash(e, g, nil)
		}
	}
	return s.finish()
}

const panicLog = `time=2026-11-21T09:33:01Z level=INFO msg="attempt 1"
panic: runtime error: index out of range [4] with length 4

goroutine 41 [running]:
streamduel/engines/dataflow.(*gate).next(0xc000112000)
	engines/dataflow/gate.go:88 +0x1f4
<script>alert("a log is text")</script>
`

// badRun is a run in which much went wrong: a voided figure, a failed gate, a
// worker that died, a crash that did not go as predicted, a crash point that
// was not reached, and files that are missing.
func badRun(t testing.TB, root string) string {
	t.Helper()
	s := newRun(t, root)
	s.steady("microbatch", 1, nil)
	s.steady("dataflow", 1, func(c *runs.Cell, o outcome) {
		c.Audits[0] = runs.Audit{Name: "generator on schedule", Detail: "4.1 % of records were handed over more than 5 ms late, at most 182 ms",
			Remedy: "lower load.rate, or give the machine more cores", Voids: []string{runs.GroupLatency}}
		c.Gates = append(c.Gates, runs.Gate{Expression: "latencyMillis.event.steady.p99 < 1500", Voided: true})
		c.Verdict, c.Reasons = runs.Inconclusive, []string{"generator on schedule failed twice"}
	})
	s.throttle("microbatch")
	s.cell(cellSpec{
		scenario: "throttled-consumer", engine: "dataflow", guarantee: "at-least-once", model: atLeast,
		phases: phases("warmup", 2.0, "", "steady", 1.0, ""),
		stderr: panicLog,
		edit: func(c *runs.Cell, o outcome) {
			c.Verdict, c.Reasons = runs.Fail, []string{"the worker died: panic: runtime error: index out of range [4] with length 4"}
			c.Cost, c.Records.Duplicates, c.Records.Losses = nil, nil, nil
		},
	})
	s.growth("microbatch", runs.SeriesFile)
	s.growth("dataflow", runs.SeriesFile, runs.LatencyFile)
	s.crash("microbatch", "exactly-once", func(c *runs.Cell, o outcome) {
		c.Records.Duplicates = new(int64(5_000))
		c.Gates[1] = runs.Gate{Expression: "records.duplicates == 0", Value: new(runs.Elapsed(5000))}
		c.Verdict, c.Reasons = runs.Fail, []string{"records.duplicates == 0 did not hold: 5,000"}
	})
	s.crash("dataflow", "exactly-once", func(c *runs.Cell, o outcome) {
		c.Crash = &runs.Crash{Point: "D5", Hit: 300}
		c.Verdict, c.Reasons = runs.Inconclusive, []string{"the crash point was not reached"}
	})
	return s.finish()
}

// repeatedRun has six repetitions, so that intervals are stated.
func repeatedRun(t testing.TB, root string) string {
	t.Helper()
	s := newRun(t, root)
	for repetition := 1; repetition <= 6; repetition++ {
		for i, e := range engines {
			s.steady(e, repetition, func(c *runs.Cell, _ outcome) {
				c.Cost.CPUSecondsPerMillion = new(30.0 + float64(8*i) + 0.2*float64(repetition))
				// The simulation's noise alone would make the intervals points.
				l := c.LatencyMillis.Event["steady"]
				l.P50 += float64(repetition)
				l.P90, l.P99, l.P999, l.Max = l.P90+7, l.P99+float64(3*repetition), new(*l.P999+20), new(*l.Max+20)
				c.LatencyMillis.Event["steady"] = l
			})
		}
	}
	return s.finish()
}
