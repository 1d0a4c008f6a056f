package audit

import (
	"fmt"
	"strings"
	"time"

	"streamduel/runs"
)

// Limits on the machine.
const (
	// busyLimit is the share of all processors beyond which work waits for a
	// processor most of the time.
	busyLimit = 0.95
	// stolenLimit is the share of processor time that a hypervisor may give to
	// others: with more, CPU seconds no longer say what work costs.
	stolenLimit = 0.05
)

// Machine is how a cell used the processors, in seconds of processor time.
type Machine struct {
	Wall    time.Duration
	Cores   int
	Busy    float64 // of the whole machine, others' processes included; not stolen time
	Stolen  float64 // by the hypervisor
	Harness float64 // load, broker and this process
	Engine  float64 // the worker's processes
}

func (m *Machine) capacity() float64 { return m.Wall.Seconds() * float64(m.Cores) }

func (m *Machine) saturation() runs.Audit {
	if m.capacity() <= 0 {
		return result(NameSaturation, true, "nothing was measured", "")
	}
	busy := (m.Busy + m.Stolen) / m.capacity()
	others := max(0, m.Busy-m.Harness-m.Engine)
	detail := fmt.Sprintf("processors %.0f %% busy: engine %.1f s, harness and broker %.1f s, other processes %.1f s of %.1f s",
		busy*100, m.Engine, m.Harness, others, m.capacity())
	// An engine that uses the whole machine is a result. One that competes with
	// its own measurement for it is not.
	ok := busy < busyLimit || m.Harness+others < m.Engine/2
	remedy := "lower load.rate, or run broker and load on other cores"
	if others > m.Harness {
		remedy = "stop the other programs on this machine"
	}
	return result(NameSaturation, ok, detail, remedy, runs.GroupCost, runs.GroupLatency, runs.GroupSteps)
}

func (m *Machine) stolen() runs.Audit {
	if m.capacity() <= 0 {
		return result(NameStolen, true, "nothing was measured", "")
	}
	share := m.Stolen / m.capacity()
	return result(NameStolen, share <= stolenLimit,
		fmt.Sprintf("the hypervisor gave %.1f %% of the processor time to others (limit %.0f %%)", share*100, stolenLimit*100),
		"repeat on a machine with processors of its own, or at a quieter time", runs.GroupCost, runs.GroupLatency, runs.GroupSteps)
}

// Ends are the output's ends when the cell was over.
type Ends struct {
	// Stuck lists partitions whose last stable offset is below the high
	// watermark, as "topic/partition: offset of offset".
	Stuck []string
	// Ongoing are the transactional ids with a transaction still open.
	Ongoing []string
	Unknown string // why the broker could not be asked
}

func (e *Ends) check() runs.Audit {
	const remedy = "a sink left a transaction open: give the cell longer than the transaction timeout to settle, and look for fenced or lost commits in stderr.log"
	switch {
	case e.Unknown != "":
		return result(NameEnds, false, "the output's ends are not known: "+e.Unknown, "the broker must stay up until the cell is over", runs.GroupCounts)
	case len(e.Stuck) > 0:
		return result(NameEnds, false, fmt.Sprintf("output hidden behind an open transaction: %v", e.Stuck), remedy, runs.GroupCounts)
	case len(e.Ongoing) > 0:
		return result(NameEnds, false, fmt.Sprintf("transactions still open: %v", e.Ongoing), remedy, runs.GroupCounts)
	}
	return result(NameEnds, true, "on every output partition the last stable offset is the high watermark", "")
}

// HandleLimit is how long the observer may be busy with one poll's rows: for so
// long the time stamp of the next ones may be late.
const HandleLimit = 50 * time.Millisecond

// Observer is how the observer kept up.
type Observer struct {
	Err       error         // the observation broke off
	Unread    int64         // records at the end that were never read
	HandleMax time.Duration // longest handling of one poll
	P99       time.Duration // the cell's event-time p99; 0 if not known
	// Phases are those in which it was slow; nil where it was slow in none.
	Phases []PhaseHandling
}

// PhaseHandling is the longest handling of one poll in a phase.
type PhaseHandling struct {
	Name      string
	HandleMax time.Duration
	P99       time.Duration // the phase's event-time p99
}

// slow lists the phases whose latencies a handling may have made longer.
func (o *Observer) slow() (phases, details []string) {
	for _, p := range o.Phases {
		if limit := max(HandleLimit, time.Duration(slipShare*float64(p.P99))); p.HandleMax > limit {
			phases = append(phases, p.Name)
			details = append(details, fmt.Sprintf("%s in phase %s (limit %s)", round(p.HandleMax), p.Name, round(limit)))
		}
	}
	return phases, details
}

func (o *Observer) check() runs.Audit {
	const remedy = "free the machine of other work: the observer did not get the processor in time"
	limit := max(HandleLimit, time.Duration(slipShare*float64(o.P99)))
	phases, details := o.slow()
	switch {
	case o.Err != nil:
		return result(NameObserver, false, "the observation is incomplete: "+o.Err.Error(),
			"the broker must stay up, and nothing may delete output before the observer has read it",
			runs.GroupCounts, runs.GroupLatency, runs.GroupThroughput, runs.GroupPressure, runs.GroupSteps)
	case o.Unread > 0:
		return result(NameObserver, false, fmt.Sprintf("%d records of output were never read", o.Unread),
			"the observer could not keep up: lower load.rate or free a processor", runs.GroupCounts, runs.GroupLatency)
	case len(phases) > 0:
		a := result(NameObserver, false, "the observer was busy with one poll for "+strings.Join(details, "; "), remedy, runs.GroupLatency)
		a.Phases = phases
		return a
	case len(o.Phases) == 0 && o.HandleMax > limit:
		return result(NameObserver, false, fmt.Sprintf("the observer was busy with one poll for %s (limit %s)", round(o.HandleMax), round(limit)), remedy, runs.GroupLatency)
	}
	return result(NameObserver, true, fmt.Sprintf("all output read; at the most %s for one poll", round(o.HandleMax)), "")
}

// Drained is whether the closing records' effects were seen.
type Drained struct {
	Seen   bool
	Waited time.Duration
	// Died: the job has ended by itself, so nothing was waited for.
	Died bool
	// Missing lists the partitions whose closing record had no effect.
	Missing []int32
}

func (d *Drained) check() runs.Audit {
	if d.Seen {
		return result(NameDrained, true, "the effect of every partition's closing record was seen", "")
	}
	if d.Died {
		return result(NameDrained, false, "the job ended before the load did, so what it left undone is no loss",
			"see why it ended, in the cell's reasons and in stderr.log", runs.GroupCounts)
	}
	return result(NameDrained, false, fmt.Sprintf("after %s the closing records of partitions %v had no visible effect", round(d.Waited), d.Missing),
		"what is missing may be late and not lost: raise the phase's atMost, or see in stderr.log why the engine stopped", runs.GroupCounts)
}

// Memory is what the harness's processes held at their peaks, in bytes. A limit
// of zero is none.
type Memory struct {
	Broker, BrokerLimit     int64
	Observer, ObserverLimit int64
}

func (m *Memory) check() runs.Audit {
	over := func(v, limit int64) bool { return limit > 0 && v > limit }
	detail := fmt.Sprintf("peak memory: broker %d MiB, observer %d MiB", m.Broker>>20, m.Observer>>20)
	return result(NameMemory, !over(m.Broker, m.BrokerLimit) && !over(m.Observer, m.ObserverLimit), detail,
		"shorten the run or lower load.rate; on the embedded broker retention follows the observers' and the job's positions")
}
