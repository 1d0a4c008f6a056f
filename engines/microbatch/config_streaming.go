package microbatch

import (
	"fmt"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

// The triggers under which tasks do not wait for a batch to be planned.
const (
	// Continuous is continuous processing: tasks run for as long as the job and
	// pass on each record as it comes; the interval is an epoch's, at whose end
	// positions become durable.
	Continuous Trigger = "continuous"
	// RealTime is real-time mode: batches of a length that is fixed beforehand,
	// whose stages run at the same time and pass on each record as it comes; the
	// interval is a batch's, and its offsets are logged at its end.
	RealTime Trigger = "real-time"
)

// ContinuousConfig is about trigger continuous.
type ContinuousConfig struct {
	// EpochBacklog is how many epochs may be begun and not committed before the job
	// fails: spark.sql.streaming.continuous.epochBacklogQueueSize.
	EpochBacklog int `json:"epochBacklog"`
}

// RealTimeConfig is about trigger real-time.
type RealTimeConfig struct {
	// MinBatchDuration is the shortest interval that is taken:
	// spark.sql.streaming.realTimeMode.minBatchDuration.
	MinBatchDuration Duration `json:"minBatchDuration"`
	// Stateful allows operators with keyed state. Spark 4.1 and 4.2 refuse them, so
	// what a run with it shows is ahead of the real one.
	Stateful bool `json:"stateful"`
}

// defaultEpochBacklog and defaultMinBatch are Spark's.
const (
	defaultEpochBacklog = 10_000
	defaultMinBatch     = 5 * time.Second
)

// streaming reports whether records pass through without waiting for a batch.
func (t Trigger) streaming() bool { return t == Continuous || t == RealTime }

func (c *Config) validateStreaming(check func(ok bool, text string)) {
	check(c.Continuous.EpochBacklog >= 1, "continuous.epochBacklog: 1 or more epochs")
	if !c.Trigger.streaming() {
		return
	}
	check(c.Source.Mode != Receiver, fmt.Sprintf("source.mode: fixed, assignment or structured with trigger %s, whose tasks read themselves", c.Trigger))
	unlimited := c.Rate.Initial == 0 && c.Rate.MaxPerPartition == 0 && c.Rate.MaxRecordsPerBatch == 0 && c.Rate.MinRecordsPerBatch == 0
	check(unlimited, fmt.Sprintf("rate: no limits with trigger %s, whose tasks read as fast as they can; the pid estimator rests", c.Trigger))
	check(c.Trigger != RealTime || c.Interval >= c.RealTime.MinBatchDuration,
		fmt.Sprintf("interval: at least realTime.minBatchDuration (%v) with trigger real-time, where it is a batch's length", c.RealTime.MinBatchDuration.Std()))
}

// checkStreaming refuses, by the operator's name, what tasks that do not wait for
// batches cannot run.
func (c *Config) checkStreaming(job *engines.Job, fragments []*pipeline.Fragment) error {
	if !c.Trigger.streaming() {
		return nil
	}
	if job.Guarantee != connectors.AtLeastOnce {
		return fmt.Errorf("trigger %s is at-least-once, and the job is to be %s: records are visible before their positions are durable; take that guarantee, or trigger processing-time", c.Trigger, job.Guarantee)
	}
	sources, tasks := 0, 0
	for _, f := range fragments {
		tasks += f.Parallelism
		sources += len(f.Sources)
		if c.Trigger == RealTime && c.Executors > 1 && (len(fragments) > 1 || f.Stateful()) {
			return fmt.Errorf("executors: value %d: trigger real-time passes records between stages within one process, and the job has %d stages: set executors to 1, or take out what exchanges or keeps state", c.Executors, len(fragments))
		}
		if c.Trigger == RealTime && len(f.Sources) > 0 && len(f.Sources)+len(f.In) > 1 {
			return fmt.Errorf("operators %q: trigger real-time reads one source in a task and nothing beside it; put an exchange (rebalance) behind each source", f.Name)
		}
	}
	for _, n := range job.Graph.Nodes() {
		if err := c.checkOperator(job, n); err != nil {
			return err
		}
	}
	if c.Trigger == Continuous && sources > 1 {
		return fmt.Errorf("trigger continuous reads one source, and the job has %d: take processing-time or real-time", sources)
	}
	if have := c.cores() * c.Executors; tasks > have {
		return fmt.Errorf("trigger %s runs all of its tasks at the same time, %d, and there are %d cores: set cores to %d or more, or lower the parallelism", c.Trigger, tasks, have, tasks)
	}
	return nil
}

func (c *Config) checkOperator(job *engines.Job, n *pipeline.Node) error {
	switch {
	case c.Trigger == Continuous && n.Stateful():
		return fmt.Errorf("operator %q keeps state, and trigger continuous runs map-like operators only (map, flat map, filter): take processing-time, or real-time with realTime.stateful", n.Name)
	case c.Trigger == Continuous:
		for _, e := range n.In {
			if !pipeline.Chainable(e, job.Parallelism) {
				return fmt.Errorf("operator %q gets its input over an exchange (%s), and trigger continuous runs map-like operators only (map, flat map, filter), all in one task: take processing-time or real-time", n.Name, e.Effective(job.Parallelism))
			}
		}
		if len(n.In) > 1 {
			return fmt.Errorf("operator %q has %d inputs, and trigger continuous runs map-like operators only (map, flat map, filter): take processing-time or real-time", n.Name, len(n.In))
		}
	case n.Kind == pipeline.KindOperator:
		return fmt.Errorf("operator %q keeps what is under way or broadcast, and trigger real-time cannot run it: take processing-time", n.Name)
	case n.Stateful() && !c.RealTime.Stateful:
		return fmt.Errorf("operator %q keeps state, and trigger real-time is stateless, as in Spark 4.1 and 4.2: realTime.stateful: true runs it all the same, ahead of the real one", n.Name)
	}
	return nil
}
