package harness

import (
	"context"
	"fmt"
	"time"

	"streamduel/clock"
	"streamduel/engines"
	"streamduel/harness/ledger"
	"streamduel/runs"
)

// A workload of one's own is wrong at first: it writes what its accounting does not
// read, or drops the closing records. Every wait of the cell would then end at its
// limit, and none says why. So a cell looks for what nothing to come can mend, and
// names it.

const (
	// oddRows is how many outputs are looked at before all of them being wrong means
	// something.
	oddRows = 100
	// patience is how long nothing must come, where something was to come; a batch or
	// commit interval that is longer has five of them.
	patience = 20 * time.Second
	// glance is how often it is looked, fresh how old an engine's gauges may be.
	glance = 250 * time.Millisecond
	fresh  = 5 * time.Second
)

// outlook is what is known of a cell at one moment.
type outlook struct {
	offered  int64 // records that were due
	gauges   engines.Gauges
	told     bool // the engine has just given gauges
	counts   ledger.Counts
	odd      []runs.RecordID // outputs that nothing explains
	bad      int64           // outputs that cannot be parsed
	perInput bool            // every input has an output
	closed   bool            // a closing record has had an effect, if only in an open transaction
	ended    bool            // the load has
	calm     bool            // nothing has been done to the job, and it runs
	input    string          // topics
	output   string
}

// watch follows a cell over time.
type watch struct {
	patience time.Duration
	// When the engine first took anything in, when an output or a record last moved,
	// and when the job has been running undisturbed since.
	taken, moved, calm time.Duration
	rows, consumed     int64
	begun              bool
}

// look returns why the cell cannot become right any more, "" while it can.
func (w *watch) look(at time.Duration, o outlook) string {
	if !o.ended || o.counts.Rows != w.rows || !quiet(o) {
		w.moved = at
	}
	if !w.begun || !o.calm {
		w.calm, w.taken = at, at
	}
	if w.consumed == 0 && o.gauges.Consumed > 0 {
		w.taken = at
	}
	w.begun, w.rows, w.consumed = true, o.counts.Rows, o.gauges.Consumed
	c := o.counts
	switch {
	case c.Rows >= oddRows && o.bad == c.Rows:
		return fmt.Sprintf("the workload's Accounting.Parse can read none of the first %d outputs in topic %s: %s", c.Rows, o.output, first(o.odd))
	case c.Rows >= oddRows && c.Visible+c.Late == 0 && c.Unexpected == c.Rows:
		return fmt.Sprintf("none of the first %d outputs in topic %s names an input that was sent: %s; Row.Partition and Row.Sequence are those of the input's origin (connectors.OriginHeader)", c.Rows, o.output, first(o.odd))
	case !o.calm && !o.ended:
		return ""
	case o.told && o.gauges.Consumed == 0 && c.Rows == 0 && o.offered >= oddRows && at-w.calm >= w.patience:
		return fmt.Sprintf("the job has taken in none of %d records within %s: the load is in topic %s, does the pipeline read IO.Input?", o.offered, w.patience, o.input)
	case o.perInput && c.Rows == 0 && o.gauges.Consumed >= oddRows && at-w.taken >= w.patience:
		return fmt.Sprintf("the job has taken in %d records and nothing arrived in topic %s within %s, though every input is to have an output (Accounting.Kind): does the pipeline write to IO.Output, and does nothing filter all of it away?", o.gauges.Consumed, o.output, w.patience)
	case !o.ended || o.closed || at-w.moved < w.patience:
		return ""
	case c.Rows == 0:
		return fmt.Sprintf("the job has taken in all %d records and nothing arrived in topic %s within %s: does the pipeline write to IO.Output, and do the closing records move its watermark past every window (workloads.Closings)?", o.gauges.Consumed, o.output, w.patience)
	}
	return fmt.Sprintf("the job has taken in all records and %d outputs arrived in topic %s, but none that tells of a closing record: the pipeline must pass each closing record on when all before it has come out (workloads.Closings, its event time by workloads.Horizon), and Accounting.Parse must say Row.Closing and Row.Partition of it", c.Rows, o.output)
}

// quiet reports whether there is nothing left that the job could still do by its
// input or by event time: what waits for processing time is not known from outside,
// so a job without a watermark counts only where each input has had its output.
func quiet(o outlook) bool {
	if !o.told || o.gauges.Consumed < o.offered || o.gauges.Lag > 0 || o.gauges.QueuedRecords > 0 {
		return false
	}
	return o.gauges.WatermarkMs != nil || o.perInput && o.counts.Visible+o.counts.Late >= o.offered
}

func first(ids []runs.RecordID) string {
	if len(ids) == 0 {
		return "no detail is kept"
	}
	if id := ids[0]; id.Partition >= 0 {
		return fmt.Sprintf("partition %d, sequence %d: %s", id.Partition, id.Sequence, id.Detail)
	}
	return ids[0].Detail
}

// watchOutlook looks at the cell until the context ends, and ends the worker with a
// reason when there is no more to be had from it.
func (c *cell) watchOutlook(ctx context.Context) {
	w := &watch{patience: max(patience, 5*time.Duration(intervalOf(c.spec)*float64(time.Second)))}
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		why := w.look(time.Duration(clock.Mono()-c.start), c.outlook())
		if why == "" {
			continue
		}
		c.mu.Lock()
		c.hopeless = why
		child := c.child
		c.mu.Unlock()
		if child != nil {
			child.Kill()
		}
		return
	}
}

func (c *cell) outlook() outlook {
	g, told := c.engine.gaugesAt()
	o := outlook{
		gauges: g, told: told > 0 && clock.Mono()-told < int64(fresh), counts: c.committed.Counts(), output: c.topics.out, input: c.topics.in,
		offered: min(c.plan.Count(clock.Mono()), c.plan.Limit()), perInput: c.accounting.PerInput() && c.spec.Scenario.Load.Bad.Share == 0,
	}
	o.closed = o.counts.Closings+c.uncommitted.Counts().Closings > 0
	o.bad, o.odd = c.committed.Odd()
	c.mu.Lock()
	defer c.mu.Unlock()
	o.ended = c.ending
	o.calm = c.child != nil
	for _, p := range c.phases {
		o.calm = o.calm && p.Fault == ""
	}
	return o
}
