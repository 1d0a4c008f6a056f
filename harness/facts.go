package harness

import (
	"context"
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/harness/broker"
	"streamduel/harness/observer"
	"streamduel/harness/proc"
)

// facts are what a cell has seen beside the ledger and the series: what its
// figures and self-audits are worked out from.
type facts struct {
	machine  proc.Machine  // at the start
	machined proc.Machine  // at the end
	harness  time.Duration // processor time of load, broker and this process
	drift    time.Duration // wall time minus monotonic time, at the start
	drifted  time.Duration // and at the end

	brokerPeak int64 // resident bytes of the embedded broker

	launched int64 // when the first worker's process was started
	ran      int64 // and when it said that its job runs

	usage   proc.Usage // of the worker over all its attempts
	ended   int64      // when the worker ended as asked
	drained bool       // every effect was seen
	// observed: both observers have read the output to its end.
	observed bool
	ends     *observer.Ends
	stopped  error // why the worker did not stop as asked
	missed   []string
	unlike   []string // what a crash cost that the catalogue does not have

	throttled []*throttled
	maximum   map[string]float64 // of phases that throttles are a share of
	blocked   map[string]float64 // largest blocked share of each task while throttled
	grown     atomic.Pointer[grown]
	skipped   atomic.Int64 // records before where the job was to begin
	crashed   *crashed
	earlier   []*crashed // the crashes before it
}

// crash notes that a crash begins: the figures are of the last one, what must show
// in the output is of all.
func (f *facts) crash(k *crashed) {
	if f.crashed != nil {
		f.earlier = append(f.earlier, f.crashed)
	}
	f.crashed = k
}

func drift() time.Duration {
	return time.Duration(time.Now().Round(0).UnixNano() - clock.Mono())
}

func (f *facts) begin(c *cell) {
	f.machine, _ = proc.ReadMachine() // absent where there is no /proc: the audit says so
	f.harness = -harnessCPU(c)
	f.drift = drift()
}

func (f *facts) end(c *cell) {
	f.machined, _ = proc.ReadMachine()
	f.harness += harnessCPU(c)
	f.drifted = drift()
	if u, ok := c.broker.Usage(); ok && c.broker.Kind() == broker.Embedded {
		f.brokerPeak = u.RSSPeak
	}
	f.addUsage(c.worker().Usage())
	f.ended = clock.Mono()
}

// harnessCPU is what everything but the worker has used so far.
func harnessCPU(c *cell) time.Duration {
	cpu := proc.SelfUsage().CPU + c.load.child.Usage().CPU
	if u, ok := c.broker.Usage(); ok {
		cpu += u.CPU
	}
	return cpu
}

// addUsage adds an attempt's use of the machine.
func (f *facts) addUsage(u proc.Usage) {
	f.usage.CPU += u.CPU
	f.usage.RSSPeak = max(f.usage.RSSPeak, u.RSSPeak)
}

// trim lets the embedded broker drop what nobody needs any more: it keeps
// records in its heap.
func (c *cell) trim(ctx context.Context) {
	if c.trimmer == nil {
		return
	}
	for split, p := range c.engine.durablePositions() {
		if topic, n, ok := splitName(string(split)); ok {
			c.trimmer.Hold(topic, n, holdJob, int64(p))
		}
	}
	for _, p := range c.observer.Positions() {
		c.trimmer.Hold(p.Topic, p.Partition, holdObserver, p.Next)
	}
	if err := c.broker.Trim(ctx, c.trimmer); err != nil && ctx.Err() == nil {
		c.r.log.Warn("trimming the broker", "error", err)
	}
}

// trimStep is how many records of a partition are freed at once.
const trimStep = 20_000

// Holders of a topic's records.
const (
	holdJob      = "job"
	holdObserver = "observers"
)
