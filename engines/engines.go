// Package engines is the contract between a job and the engines that can run
// it. An engine decides four things only: when a record runs, how records are
// exchanged, when progress becomes durable, and how pressure travels back.
// Everything else is shared and lies below.
package engines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/metrics"
	"streamduel/pipeline"
	"streamduel/state"
)

// Job is what an engine runs.
type Job struct {
	Name           string // stable across restarts: transactional ids are made from it
	Graph          *pipeline.Graph
	Parallelism    int
	MaxParallelism int // number of key groups; 0 takes the default
	Guarantee      connectors.Guarantee
	// Discovery is how often new splits are looked for; 0 never does (the
	// engine's own default does not apply: a job always says what it wants).
	// Micro-batch looks at most once a batch.
	Discovery time.Duration
	// Folder keeps checkpoints, batch logs and attempts of this job.
	Folder *state.Folder
	// Origins makes records carry their origin to the sinks.
	Origins bool
	// Backend makes what keyed state is kept in; nil is memory.
	Backend state.Backends
	// RestoreFrom is the folder of a savepoint that a job whose own folder holds
	// nothing begins from; "" is none.
	RestoreFrom string
}

// OpenBackend makes the job's backend for an attempt; nil when state is in
// memory or there is none. Whoever opens it closes it behind the last task.
func (j *Job) OpenBackend(attempt *state.Attempt, fragments []*pipeline.Fragment) (state.Backend, error) {
	subtasks := 0
	for _, f := range fragments {
		if f.Stateful() {
			subtasks += f.Parallelism
		}
	}
	if j.Backend == nil || subtasks == 0 {
		return nil, nil
	}
	b, err := j.Backend(state.BackendEnv{Folder: j.Folder, Attempt: attempt.Number, Subtasks: subtasks})
	if err != nil {
		return nil, fmt.Errorf("the state's backend: %w", err)
	}
	return b, nil
}

// Resolve fills in defaults and refuses what no engine can run, with the
// operator's name.
func (j *Job) Resolve() error {
	if err := j.Graph.Check(); err != nil {
		return fmt.Errorf("job %q: %w", j.Name, err)
	}
	// The nearest place that says a parallelism wins: the operator, then the job,
	// then whoever starts it (the command line before the scenario file).
	if p := j.Graph.Parallelism(); p > 0 {
		j.Parallelism = p
	}
	if j.Parallelism == 0 {
		j.Parallelism = 1
	}
	highest := j.Parallelism
	for _, n := range j.Graph.Nodes() {
		highest = max(highest, n.Parallelism)
	}
	if j.MaxParallelism == 0 {
		j.MaxParallelism = state.DefaultMaxParallelism(highest)
	}
	if j.MaxParallelism > state.MaxParallelismLimit {
		return fmt.Errorf("job %q: maximum parallelism %d: at most %d is allowed", j.Name, j.MaxParallelism, state.MaxParallelismLimit)
	}
	if j.MaxParallelism < highest {
		return fmt.Errorf("job %q: maximum parallelism %d is below the parallelism %d: raise the one or lower the other", j.Name, j.MaxParallelism, highest)
	}
	var errs []error
	for _, n := range j.Graph.Nodes() {
		switch {
		case n.Sink != nil && !n.Sink.Describe().Supports(j.Guarantee):
			d := n.Sink.Describe()
			errs = append(errs, fmt.Errorf("sink %q (%s) cannot give %s; it can give %v", n.Name, d.Kind, j.Guarantee, d.Guarantees))
		case n.Source != nil && j.Guarantee != connectors.AtMostOnce && !n.Source.Describe().Replayable:
			errs = append(errs, fmt.Errorf("source %q (%s) cannot be read again, so the job cannot be %s", n.Name, n.Source.Describe().Kind, j.Guarantee))
		}
	}
	return errors.Join(errs...)
}

// Runtime is what an engine runs a job with.
type Runtime struct {
	Events     func(Event) // called from any goroutine; must not be kept waiting
	Failpoints *Failpoints
	Gate       *connectors.Gate // all sink writers pass it
	Acks       *AckLog          // told of every acknowledged output when the job carries origins; may be nil
	Clock      *clock.Clock
	Log        *slog.Logger
	Members    *Members // nil where no further processes can be started
}

// Engine runs jobs.
type Engine interface {
	Name() string
	// Config returns a pointer to a new configuration with the defaults set; its
	// JSON names are the scenario's field names. If it has a method Validate()
	// error, that is called after decoding.
	Config() any
	// Points lists the engine's failpoints with what each stands for.
	Points() []Point
	// Plan describes how the engine would run the job.
	Plan(job Job, config any) (Plan, error)
	// Start runs a job. It returns when the job runs or was refused.
	Start(ctx context.Context, job Job, config any, rt Runtime) (Run, error)
}

// Point is a named place where a crash can be asked for
// (docs/crash-points.md).
type Point struct {
	Name, Doc string
}

// StopMode says how a job ends.
type StopMode string

// The ways to stop.
const (
	StopDrain      StopMode = "drain"      // read bounded sources to their end or stop reading, process everything, commit
	StopCheckpoint StopMode = "checkpoint" // finish with a checkpoint, from which the job can go on
	StopNow        StopMode = "now"        // no further progress
)

// Run is a running job.
type Run interface {
	// Wait returns when the job has ended: nil when it was stopped or its
	// sources ended.
	Wait() error
	// Stop ends the job and returns when it has ended.
	Stop(ctx context.Context, mode StopMode) error
	// Gauges returns what the engine sees of itself now. It is called ten times a
	// second and must not disturb the job.
	Gauges() Gauges
}

// Restorer is an engine that takes savepoints and begins jobs from them, at another
// parallelism too.
type Restorer interface {
	Engine
	// Restores marks it.
	Restores()
}

// Savepointer is a Run that can be copied into a folder from which a job can be
// started again, at another parallelism too.
type Savepointer interface {
	// Savepoint takes a savepoint and returns the path of its folder, which is in
	// dir.
	Savepoint(ctx context.Context, dir string) (path string, err error)
	// StopWithSavepoint takes a savepoint of the job's end and returns when it has
	// ended; mode is StopDrain or StopCheckpoint.
	StopWithSavepoint(ctx context.Context, mode StopMode, dir string) (path string, err error)
}

// Metered is a Run that shows what the functions of its job count.
type Metered interface {
	// Metrics returns the metrics of all operators and subtasks. It may be called as
	// often as Gauges.
	Metrics() []metrics.Value
}

// Gauges is an engine's view of itself. It explains results and never is one.
type Gauges struct {
	Consumed      int64    `json:"consumed"`            // records taken from the sources
	Written       int64    `json:"written"`             // records given to the sinks
	QueuedRecords int64    `json:"queuedRecords"`       // inside the engine: taken in and not yet written
	QueuedBytes   int64    `json:"queuedBytes"`         // of those, where the engine knows
	Lag           int64    `json:"lag"`                 // records behind the end of the sources
	RateLimit     *float64 `json:"rateLimit,omitempty"` // records per second; absent = none
	Tasks         []Task   `json:"tasks,omitempty"`     // busy, blocked and idle shares since the last call
	WatermarkMs   *int64   `json:"watermarkMillis,omitempty"`
	BadRecords    int64    `json:"badRecords,omitempty"` // bad input, counted again where it was read again
	// State is what keyed state took at the last batch or checkpoint; nil before
	// the first.
	State *StateUsage `json:"state,omitempty"`
}

// Task is one task's (or stage's) use of time since the last call, as shares of
// one.
type Task struct {
	Name    string  `json:"name"`
	Busy    float64 `json:"busy"`    // running, waiting for a sink included
	Blocked float64 `json:"blocked"` // waiting for a buffer or for the batches before
	Idle    float64 `json:"idle"`
	// BackPressure is what an engine with Flink's monitor shows of the task.
	BackPressure *BackPressure `json:"backPressure,omitempty"`
	IO           *TaskIO       `json:"io,omitempty"` // of an engine with Flink's exchange
}

// BackPressure is a task's use of time as Flink shows it: by the older
// definition the share of 100 looks, 50 ms apart, at which the task waited for an
// output buffer; by the newer one the milliseconds of a second.
type BackPressure struct {
	SampledShare  float64 `json:"sampledShare"`
	SampledLevel  string  `json:"sampledLevel"`
	BusyMillis    float64 `json:"busyMillisPerSecond"`
	BlockedMillis float64 `json:"backPressuredMillisPerSecond"`
	// Of that, in the middle of a record: then the task heeds nothing else.
	HardMillis float64 `json:"hardBackPressuredMillisPerSecond,omitempty"`
	IdleMillis float64 `json:"idleMillisPerSecond"`
	Level      string  `json:"level"`
}

// BackPressureLevel names a share of time: OK ≤ 0.10 < LOW ≤ 0.50 < HIGH.
func BackPressureLevel(share float64) string {
	switch {
	case share <= 0.10:
		return "OK"
	case share <= 0.50:
		return "LOW"
	}
	return "HIGH"
}
