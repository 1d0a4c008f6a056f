package harness

import (
	"fmt"
	"runtime"
	"time"

	"streamduel/harness/audit"
	"streamduel/harness/ledger"
	"streamduel/harness/load"
	"streamduel/harness/observer"
	"streamduel/runs"
)

// brokerLimit bounds what the embedded broker may hold: it keeps records in its
// heap, and the harness deletes what nobody needs any more.
const brokerLimit = 1 << 30

// audits collects what the cell's self-audits look at and runs them.
func (c *cell) audits(result *ledger.Result) []runs.Audit {
	var p99 time.Duration
	if h := c.rec.merged(runs.EventLatency, ""); h != nil {
		p99 = time.Duration(h.ValueAtQuantile(99))
	}
	f := audit.Facts{
		Generator: c.generatorFacts(p99),
		Counts:    &audit.Counts{Sent: -1, Planned: c.plan.Limit(), Stored: -1, Balance: result.Balanced()},
		Samples: &audit.Samples{
			Recorded: result.Samples, Due: result.SamplesDue,
			Negative: result.Clipped.Negative, Low: result.Clipped.Low, High: result.Clipped.High,
		},
		Clock:    c.clockFacts(),
		Machine:  c.machineFacts(),
		Ends:     c.endFacts(),
		Observer: c.observerFacts(p99),
		Drained:  &audit.Drained{Seen: c.facts.drained, Waited: drainLimit, Died: c.death != nil, Missing: c.committed.Undrained()},
	}
	if c.facts.brokerPeak > 0 {
		f.Memory = &audit.Memory{Broker: c.facts.brokerPeak, BrokerLimit: brokerLimit, Observer: c.committed.Bytes() + c.uncommitted.Bytes()}
	}
	if l := c.load.end(); l != nil {
		f.Counts.Sent = l.Sent
	}
	if k := c.facts.crashed; k != nil && k.hit > 0 {
		f.Crash = &audit.CrashPoint{Point: k.point, Hit: int64(k.hit), Reached: k.reached != nil, Waited: time.Duration(k.waited)}
	}
	all := audit.Check(f)
	if n := c.engine.unread(); n > 0 {
		all = append(all, runs.Audit{
			Name: "events", Detail: fmt.Sprintf("%d events of the worker do not decode, so what they explain is missing", n),
			Remedy: "compare events.jsonl with docs/worker-protocol.md",
		})
	}
	return all
}

func (c *cell) generatorFacts(p99 time.Duration) *audit.Generator {
	g := &audit.Generator{P99: p99}
	if l := c.load.end(); l != nil {
		g.Slip99, g.Slip999, g.SlipMax = time.Duration(l.SlipP99), time.Duration(l.SlipP999), time.Duration(l.SlipMax)
		g.Phases = c.phaseSlips(l.Late)
		g.Mismatched = l.Errors
		g.Failed = max(l.Sent+l.Closing-l.Acked, 0)
		return g
	}
	g.Died = "it did not finish"
	return g
}

// phaseSlips tell of each phase that has latencies how far the load was behind.
func (c *cell) phaseSlips(late []load.Late) (all []audit.PhaseSlip) {
	for _, p := range c.phases {
		h := c.rec.merged(runs.EventLatency, p.Name)
		if h == nil {
			continue
		}
		from, to := c.start+int64(p.Start*1e9), c.start+int64(p.End*1e9)
		n := c.plan.Count(to) - c.plan.Count(from)
		all = append(all, audit.PhaseSlip{Name: p.Name, P99: time.Duration(h.ValueAtQuantile(99)),
			Slip99: load.SlipOf(late, from, to, n, 0.99), Slip999: load.SlipOf(late, from, to, n, 0.999)})
	}
	return all
}

// phaseHandlings sorts what the observer was slow with by phase: the one that the
// answer came in, the last one for what came behind it.
func (c *cell) phaseHandlings(slow []observer.Handled) (all []audit.PhaseHandling) {
	for i, p := range c.phases {
		h := c.rec.merged(runs.EventLatency, p.Name)
		if h == nil {
			continue
		}
		x := audit.PhaseHandling{Name: p.Name, P99: time.Duration(h.ValueAtQuantile(99))}
		for _, s := range slow {
			if at := c.seconds(s.At); at >= p.Start && (at < p.End || i+1 == len(c.phases)) {
				x.HandleMax = max(x.HandleMax, s.Took)
			}
		}
		if x.HandleMax > 0 {
			all = append(all, x)
		}
	}
	return all
}

// clockFacts compare how far the wall clock and the monotonic clock went.
func (c *cell) clockFacts() *audit.Clock {
	mono := time.Duration(c.facts.ended - c.start)
	return &audit.Clock{Wall: mono + c.facts.drifted - c.facts.drift, Mono: mono}
}

func (c *cell) machineFacts() *audit.Machine {
	a, b := c.facts.machine, c.facts.machined
	if a.At == 0 || b.At <= a.At {
		return nil
	}
	return &audit.Machine{
		Wall: time.Duration(b.At - a.At), Cores: runtime.NumCPU(),
		Busy: (b.Busy - a.Busy).Seconds(), Stolen: (b.Steal - a.Steal).Seconds(),
		Harness: c.facts.harness.Seconds(), Engine: c.facts.usage.CPU.Seconds(),
	}
}

func (c *cell) endFacts() *audit.Ends {
	e := &audit.Ends{}
	if c.facts.ends == nil {
		e.Unknown = "the cell ended before"
		return e
	}
	for _, s := range c.facts.ends.Stuck() {
		e.Stuck = append(e.Stuck, fmt.Sprintf("%s/%d: %d of %d", s.Topic, s.Partition, s.LastStable, s.HighWatermark))
	}
	e.Ongoing = c.facts.ends.Ongoing
	return e
}

func (c *cell) observerFacts(p99 time.Duration) *audit.Observer {
	o := &audit.Observer{Err: c.observer.Err(), P99: p99}
	for _, s := range c.observer.Stats() {
		if s.Isolation != observer.Committed {
			continue // no latency hangs on it
		}
		o.HandleMax, o.Phases = s.HandleMax, c.phaseHandlings(s.Slow)
	}
	if !c.facts.observed {
		o.Unread = max(c.observer.Lag(), 1)
	}
	return o
}
