package harness

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/harness/ledger"
	"streamduel/harness/pressure"
	"streamduel/runs"
	"streamduel/scenarios"
)

// judge works out the cell's figures, audits and verdict and writes them.
func (c *cell) judge() (*runs.Cell, error) {
	out := &runs.Cell{
		ID: c.spec.ID, Scenario: c.spec.Scenario.Name, Workload: c.spec.Scenario.Workload.Name,
		Engine: c.spec.Engine.Name, Guarantee: string(c.spec.Guarantee), Repetition: c.spec.Repetition,
		Variant: c.spec.Labels, Config: configOf(c.spec), Load: c.r.loadOf(c.spec), Durability: string(c.spec.Scenario.Durability),
		Started: time.Now().Add(-time.Duration(c.elapsed())), Phases: c.phases,
	}
	var result *ledger.Result
	if c.rec != nil {
		if c.rec.stop(); c.rec.err != nil {
			return nil, c.rec.err
		}
		result = c.committed.Finish(c.load.sent())
		// A job that failed as it was asked to has no figures: what it left undone is
		// neither a loss nor a latency.
		if c.failedBy() == nil {
			if err := c.figures(out, result); err != nil {
				return nil, err
			}
		}
	}
	out.BadInput = c.badInput(result)
	slices.SortStableFunc(c.marks, func(a, b runs.Mark) int { return int(math.Copysign(1, a.At-b.At)) })
	out.Marks = c.marks
	c.verdict(out, result)
	if p := c.engine.planned(); p != nil {
		if err := c.w.WritePlan(p); err != nil {
			return nil, err
		}
	}
	return out, c.w.Finish(out)
}

// unknowable says why a gate's figures cannot be known of this workload.
func (c *cell) unknowable(g scenarios.Gate, result *ledger.Result) string {
	if result == nil {
		return ""
	}
	for _, f := range g.Figures() {
		if why := result.Unknowable(f, c.accounting); why != "" {
			return why
		}
	}
	return ""
}

func (c *cell) verdict(out *runs.Cell, result *ledger.Result) {
	lookup := func(path string) (float64, bool) {
		v, ok, _ := out.Figure(path)
		return v, ok
	}
	out.Verdict = runs.Pass
	inconclusive := false
	for _, g := range c.spec.Gates() {
		r := g.Eval(lookup)
		gate := runs.Gate{Expression: g.Expression(), OK: r.OK, Detail: r.Text}
		if !math.IsNaN(r.Value) {
			v := runs.Elapsed(r.Value)
			gate.Value = &v
		}
		if why := c.unknowable(g, result); why != "" && !r.OK && math.IsNaN(r.Value*r.Bound) {
			gate.Unknown, gate.Detail = why, "not judged: "+why
			out.Gates = append(out.Gates, gate)
			continue
		}
		for _, f := range g.Figures() {
			if a, voided := out.VoidedFigure(f); voided {
				gate.OK, gate.Voided = false, true
				out.Reasons = append(out.Reasons, "gate "+gate.Expression+" proves nothing: audit "+a.Name+": "+a.Detail)
				inconclusive = true
				break
			}
		}
		if !gate.OK && !gate.Voided {
			out.Verdict = runs.Fail
			out.Reasons = append(out.Reasons, "gate "+gate.Expression+": "+r.Text)
		}
		out.Gates = append(out.Gates, gate)
	}
	switch {
	case out.BadInput != nil && out.BadInput.Failed != nil && *out.BadInput.Failed: // as the scenario asks
	case c.badFails() && c.death == nil:
		out.Verdict = runs.Fail
		out.Reasons = append(out.Reasons, "the load holds bad records and badInput is fail, but the job did not fail")
	case c.death != nil:
		out.Verdict = runs.Fail
		out.Reasons = append([]string{firstLine(c.death.Error())}, out.Reasons...)
	}
	if c.facts.stopped != nil {
		out.Verdict = runs.Fail
		out.Reasons = append(out.Reasons, "the worker did not stop as asked: "+firstLine(c.facts.stopped.Error()))
	}
	if len(c.facts.missed) > 0 {
		out.Verdict = runs.Fail
		out.Reasons = append(out.Reasons, c.facts.missed...)
	}
	if len(c.facts.unlike) > 0 {
		if a, voided := out.Voided(runs.GroupCounts); voided {
			inconclusive = true
			out.Reasons = append(out.Reasons, "the crash catalogue is compared with nothing: audit "+a.Name+": "+a.Detail)
		} else {
			out.Verdict = runs.Fail
			out.Reasons = append(out.Reasons, c.facts.unlike...)
		}
	}
	if out.Verdict == runs.Pass && inconclusive {
		out.Verdict = runs.Inconclusive
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (c *cell) elapsed() int64 {
	if c.rec == nil {
		return 0
	}
	rows := c.rec.all()
	if len(rows) == 0 {
		return 0
	}
	return rows[len(rows)-1].at - c.start
}

func (c *cell) figures(out *runs.Cell, result *ledger.Result) error {
	rows := c.rec.all()
	series := c.rec.samples()
	until := c.seconds(c.start + c.elapsed())
	consumed := c.engine.gauges().Consumed
	out.Records = result.Records(&consumed)
	if err := c.w.WriteLedger(result.Ledger(&consumed)); err != nil {
		return err
	}
	out.Start = c.startFigures(result)
	c.latencies(out)
	c.throughput(out, rows)

	interval := intervalOf(c.spec)
	if err := c.pressures(out, series, interval); err != nil {
		return err
	}
	if g := c.facts.grown.Load(); g != nil {
		f := pressure.Growth{Created: c.seconds(g.at), Added: int64(g.created), Until: until, Interval: interval}
		if at := c.load.firstAppended(g.from); at > 0 {
			f.FirstAppended = c.moment(at)
		}
		if _, first := c.engine.firstOf(g.splits); first > 0 {
			f.Discovered = c.moment(first)
		}
		var lost, unread int64
		for _, p := range result.Partitions {
			switch {
			case p.Partition < g.from:
			case c.engine.ignores(c.splitOf(p.Partition)):
				unread += p.Sent
			default:
				lost += p.Losses
				if p.FirstResult > 0 && (f.FirstResult == nil || c.seconds(p.FirstResult) < *f.FirstResult) {
					f.FirstResult = c.moment(p.FirstResult)
				}
			}
		}
		if result.HasIDs && result.HasLosses {
			f.LostBeforeDiscovery, f.NeverRead = &lost, &unread
		}
		if used, ok := c.load.used(); ok {
			f.Used = c.moment(used)
			f.OldShare = float64(g.from) / float64(len(c.plan.All()))
		}
		var marks []runs.Mark
		out.Growth, marks = pressure.Grown(series, f)
		c.marks = append(c.marks, marks...)
	}
	if k := c.facts.crashed; k != nil {
		c.crashFigures(out, k, result, series, until, interval)
	}
	out.Busy = c.engine.busyShares()
	out.State = c.engine.stateFigures()
	out.UnreadSides = c.engine.unreadSides()
	c.cost(out, result)
	out.Audits = c.audits(result)
	return nil
}

// startFigures say how long the first worker took. Until the first result only
// where there was input when it started: elsewhere it is the load's beginning that
// decides.
func (c *cell) startFigures(result *ledger.Result) *runs.Start {
	since := c.facts.launched
	if c.facts.ran == 0 {
		return nil
	}
	took := func(at int64) runs.Elapsed { return runs.Elapsed(time.Duration(at - since).Seconds()) }
	ran := took(c.facts.ran)
	s := &runs.Start{RunningSeconds: &ran}
	if !c.spec.Scenario.Backlog() || !result.HasIDs {
		return s
	}
	first := runs.Never
	for _, p := range result.Partitions {
		if p.FirstResult > 0 {
			first = min(first, took(p.FirstResult))
		}
	}
	s.FirstResultSeconds = &first
	return s
}

func (c *cell) moment(mono int64) *float64 {
	t := c.seconds(mono)
	return &t
}

func (c *cell) crashFigures(out *runs.Cell, k *crashed, result *ledger.Result, series []runs.Sample, until, interval float64) {
	if k.killed == 0 {
		out.Crash = &runs.Crash{Point: k.point, Hit: int64(k.hit)}
		return
	}
	f := pressure.Crash{Killed: c.seconds(k.killed), Until: until, Interval: interval}
	if k.restarted > 0 {
		f.Restarted = c.moment(k.restarted)
	}
	if at, ok := c.committed.FirstNew(); ok {
		f.Visible, f.FirstResult = c.moment(at), c.moment(at)
	}
	if at, ok := c.uncommitted.FirstNew(); ok && (f.FirstResult == nil || c.seconds(at) < *f.FirstResult) {
		f.FirstResult = c.moment(at)
	}
	if k.reached != nil && k.restarted > 0 {
		f.Reached, f.Restored = plain(k.reached.Reached), c.engine.restored()
	}
	if c.facts.drained && c.accounting.PerInput() && result.HasIDs && result.HasLosses {
		series = pressure.WithoutLost(series, f.Killed, result.Losses)
	}
	var marks []runs.Mark
	out.Crash, marks = pressure.Crashed(series, f)
	if k.reached != nil && k.reached.Lives {
		marks[0].Label = "a task failed"
	}
	c.marks = append(c.marks, marks...)
	out.Crash.Point, out.Crash.Hit = k.point, int64(k.hit)
	out.Crash.Reached = k.reached != nil || k.hit == 0 // a kill at whatever moment has no point to reach
	if out.Crash.Again = k.again; k.again != "" && k.reachedAgain == nil {
		out.Crash.Reached = false
	}
	c.predict(out, k, result)
}

// predict compares the ledger with what the crash catalogue says of the point,
// worked out from the worker's last words. A difference fails the cell, with or
// without a gate, unless the counts prove nothing. An engine of another kind brings its own expectation.
func (c *cell) predict(out *runs.Cell, k *crashed, result *ledger.Result) {
	r := k.reached
	if r == nil {
		return
	}
	expected, err := c.expected(out, k)
	for _, before := range c.facts.earlier {
		switch {
		case err != nil, before.clean:
		case before.reached != nil:
			var x ledger.Expectation
			if x, err = c.expected(out, before); err == nil {
				expected = x.And(expected)
			}
		case connectors.Guarantee(out.Guarantee) != connectors.ExactlyOnce:
			return // one without last words, so nobody knows what it cost
		}
	}
	if err != nil {
		d, l := r.ExpectedDuplicates, r.ExpectedLosses
		out.Crash.Expected = &runs.Expected{Duplicates: &d, Losses: &l}
		return
	}
	if !c.accounting.PerInput() || !result.HasIDs {
		// What a window or a pattern put out again is known to nobody outside. Not
		// so under exactly-once, which allows no copies at all.
		if connectors.Guarantee(out.Guarantee) != connectors.ExactlyOnce {
			return
		}
	}
	out.Crash.Expected = expected.Expected() // of results and dead letters together
	if !result.HasLosses {
		out.Crash.Expected.Losses, out.Crash.Expected.LossesAtMost = nil, nil
	}
	if result.HasIDs {
		// A bad input's one output is its dead letter, where it has one: the catalogue
		// speaks of all outputs. One that is dropped has none, which at most once
		// cannot be told from a loss.
		all := *result
		all.Duplicates += result.Dead.Duplicates
		all.Losses += result.Dead.Losses
		if result.Bad > 0 && !result.HasDead && connectors.Guarantee(out.Guarantee) == connectors.AtMostOnce {
			return
		}
		for _, d := range expected.Deviations(&all) {
			c.facts.unlike = append(c.facts.unlike, fmt.Sprintf("the crash at %s did not cost what the catalogue says: %s", r.Point, d))
		}
	}
}

// expected is what one crash phase must show.
func (c *cell) expected(out *runs.Cell, k *crashed) (ledger.Expectation, error) {
	x, err := ledger.Expect(c.crashOf(out, k.reached, k.lost))
	if err != nil || k.reachedAgain == nil {
		return x, err
	}
	second, err := ledger.Expect(c.crashOf(out, k.reachedAgain, false))
	return x.And(second), err
}

// crashOf is what the catalogue is asked.
func (c *cell) crashOf(out *runs.Cell, r *engines.FailpointReached, lost bool) ledger.Crash {
	return ledger.Crash{
		Model: ledger.Model(out.Engine), Point: r.Point, Guarantee: connectors.Guarantee(out.Guarantee),
		Records: r.Records, Acked: r.Acked, Missing: r.Missing, InFlight: r.InFlight,
		Uncommitted: r.Uncommitted, Lost: lost,
	}
}

// latencies sums latency.hlog's intervals up by phase.
func (c *cell) latencies(out *runs.Cell) {
	l := &runs.LatencyMillis{}
	for _, p := range c.phases {
		for _, kind := range []string{runs.EventLatency, runs.ProcessingLatency} {
			h := c.rec.merged(kind, p.Name)
			if h == nil {
				continue
			}
			v, ok := runs.LatencyOf(h)
			if !ok {
				continue
			}
			m := &l.Event
			if kind == runs.ProcessingLatency {
				m = &l.Processing
			}
			if *m == nil {
				*m = map[string]runs.Latency{}
			}
			(*m)[p.Name] = v
		}
	}
	if l.Processing == nil {
		l.NoProcessing = c.noProcessing()
	}
	if l.Event != nil || l.Processing != nil {
		out.LatencyMillis = l
	}
}

// noProcessing says why no output told when its input was taken in.
func (c *cell) noProcessing() string {
	switch {
	case !c.committed.PerInput():
		return "an output of " + c.workload.Name + " answers many inputs, so it has no single intake to count from"
	case !c.job.Origins:
		return "workload " + c.workload.Name + " does not say that each of its outputs answers one input"
	}
	return "no output carried the time of its input's intake, which is the engine's to give (header " + connectors.OriginHeader + ")"
}

// throughput is each phase's mean by the totals at its ends.
func (c *cell) throughput(out *runs.Cell, rows []row) {
	out.Throughput = map[string]runs.Throughput{}
	for _, p := range c.phases {
		var first, last *row
		for i := range rows {
			t := c.seconds(rows[i].at)
			if t <= p.Start || first == nil {
				first = &rows[i]
			}
			if t <= p.End {
				last = &rows[i]
			}
		}
		if first == nil || last == nil || last.at <= first.at {
			continue
		}
		over := float64(last.at-first.at) / 1e9
		rate := func(a, b int64) *float64 {
			v := math.Max(float64(b-a), 0) / over
			return &v
		}
		out.Throughput[p.Name] = runs.Throughput{
			Offered: rate(first.offered, last.offered), Consumed: rate(first.consumed, last.consumed), Visible: rate(first.visible, last.visible),
		}
	}
}

// cost is what the worker's processes used over the whole cell, for each record
// that was theirs to take in: what was sent, but for what lies before the start.
func (c *cell) cost(out *runs.Cell, result *ledger.Result) {
	sent := result.Sent - result.BeforeStart
	if sent <= 0 || c.facts.usage.CPU == 0 {
		return
	}
	cpu := c.facts.usage.CPU.Seconds() / float64(sent) * 1e6
	rss := c.facts.usage.RSSPeak
	out.Cost = &runs.Cost{CPUSecondsPerMillion: &cpu, RSSPeakBytes: &rss}
	v := c.engine
	v.mu.Lock()
	defer v.mu.Unlock()
	if alloc := v.usage.AllocBytes + v.past.AllocBytes; alloc > 0 {
		per, pause := float64(alloc)/float64(sent), max(v.usage.GCPauseMillisMax, v.past.GCPauseMillisMax)
		out.Cost.AllocBytesPerRecord, out.Cost.GCPauseMillisMax = &per, &pause
	}
	if len(v.millis) > 0 {
		ms := slices.Sorted(slices.Values(v.millis))
		out.Cost.DurableMillis = &runs.Durable{P50: rank(ms, 0.50), P99: rank(ms, 0.99)}
		out.Cost.DurableBytes = &v.bytes
	}
}

// rank returns the value at a rank of a sorted list (nearest rank).
func rank(sorted []float64, q float64) float64 {
	return sorted[min(max(int(math.Ceil(q*float64(len(sorted))))-1, 0), len(sorted)-1)]
}

// config is the engine's configuration as JSON has it.
func configOf(c *scenarios.Cell) map[string]any {
	b, err := json.Marshal(c.Engine.Config)
	if err != nil {
		return nil
	}
	var m map[string]any
	if json.Unmarshal(b, &m) != nil {
		return nil
	}
	return m
}

// intervalOf is the step in seconds in which the engine makes output visible: its
// batch interval, or under exactly-once its checkpoint interval; 0 for none.
func intervalOf(c *scenarios.Cell) float64 {
	m := configOf(c)
	if s := durationAt(m, "interval"); s > 0 {
		return s
	}
	if c.Guarantee == scenarios.ExactlyOnce {
		if cp, ok := m["checkpoint"].(map[string]any); ok {
			return durationAt(cp, "interval")
		}
	}
	return 0
}

func durationAt(m map[string]any, key string) float64 {
	s, ok := m[key].(string)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return d.Seconds()
}

// splitName takes a split's name apart: "topic/3".
func splitName(s string) (topic string, partition int32, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(s[i+1:], 10, 32)
	return s[:i], int32(n), err == nil
}
