package schedule

import (
	"errors"
	"fmt"
	"time"
)

// Mode is the order in which schedulables of a pool get cores.
type Mode string

// The scheduling modes.
const (
	FIFO Mode = "fifo"
	FAIR Mode = "fair"
)

// Locality says how near to its input or state a task runs.
type Locality int8

// The locality levels, nearest first.
const (
	Process Locality = iota // the executor it prefers
	Node                    // another executor of that host
	NoPref                  // it prefers nothing
	Rack                    // another host of that rack
	Any
)

func (l Locality) String() string {
	return [...]string{"PROCESS_LOCAL", "NODE_LOCAL", "NO_PREF", "RACK_LOCAL", "ANY"}[l]
}

// Pool is a share of the cores for the jobs that name it.
type Pool struct {
	Mode     Mode // among its jobs; FIFO if empty
	Weight   int  // share beyond the minimum, relative to other pools; 0 means 1
	MinShare int  // cores that it gets before weights count
}

// Waits are how long a task set holds out for each level before it takes the
// next one.
type Waits struct{ Process, Node, Rack time.Duration }

// Speculation runs slow tasks a second time elsewhere.
type Speculation struct {
	Enabled    bool
	Quantile   float64       // share of a set's tasks that must have succeeded
	Multiplier float64       // a task is slow beyond so many times their median
	MinRuntime time.Duration // and beyond this
}

// Config of a scheduler.
type Config struct {
	Mode        Mode // among pools; under FIFO there is one pool
	Pools       map[string]Pool
	Waits       Waits
	MaxFailures int
	Speculation Speculation
}

// Defaults returns Spark's: FIFO, 3 s a level, 4 failures, no speculation (0.9,
// 3 and 100 ms if it is switched on).
func Defaults() Config {
	const wait = 3 * time.Second
	return Config{
		Mode: FIFO, Waits: Waits{wait, wait, wait}, MaxFailures: 4,
		Speculation: Speculation{Quantile: 0.9, Multiplier: 3, MinRuntime: 100 * time.Millisecond},
	}
}

// Executor is a process with cores.
type Executor struct {
	ID, Host, Rack string
	Cores          int
}

// Task is one partition of a stage.
type Task struct {
	// Executors that hold its state or have its reader; Hosts likewise.
	Executors, Hosts []string
}

// Stage is a part of a job between shuffles.
type Stage struct {
	Parents []int // indices of stages in the same job
	Tasks   []Task
	// Sink says that the stage writes to the outside: no second copy of a task
	// runs beside the first.
	Sink bool
	// Whole says that a failed task must not run again by itself: the job fails.
	Whole bool
}

// Job is a batch's DAG.
type Job struct {
	ID     int64 // unique; lower ones go first under FIFO
	Pool   string
	Stages []Stage
}

// Attempt is one run of a task.
type Attempt struct {
	Job            int64
	Stage, Task, N int // N counts the task's attempts from 0
}

func (a Attempt) String() string {
	return fmt.Sprintf("task %d.%d in stage %d of job %d", a.Task, a.N, a.Stage, a.Job)
}

// Launch tells an executor to run an attempt.
type Launch struct {
	Attempt
	Executor    string
	Locality    Locality
	Speculative bool
}

// End tells that a job is over and none of its attempts run any more.
type End struct {
	Job int64
	Err error // nil when all stages are complete
}

// Decisions are what the caller has to do. They are valid until the next call.
type Decisions struct {
	Launch []Launch
	Kill   []Attempt // their result is not wanted any more; they still have to end
	Ended  []End
}

// Failure is why a job failed: a task that must not or may not run again.
type Failure struct {
	Attempt  Attempt
	Failures int // of this task so far
	Cause    error
}

func (f *Failure) Error() string {
	if f.Failures > 1 {
		return fmt.Sprintf("task %d in stage %d failed %d times, lastly: %v", f.Attempt.Task, f.Attempt.Stage, f.Failures, f.Cause)
	}
	return fmt.Sprintf("task %d in stage %d failed: %v", f.Attempt.Task, f.Attempt.Stage, f.Cause)
}

func (f *Failure) Unwrap() error { return f.Cause }

// ErrFetch as the cause of a failure says that an input was lost with its
// executor. It does not count.
var ErrFetch = errors.New("a shuffle output is lost")

// ErrLost is in the cause of a failure that the loss of an executor has brought
// about.
var ErrLost = errors.New("is lost")

// ErrCancelled is the end of a job that was cancelled.
var ErrCancelled = errors.New("the job was cancelled")

// Permanent wraps the cause of a failure after which the task is not to be run
// again.
type Permanent struct{ Err error }

func (p Permanent) Error() string { return p.Err.Error() }

// Unwrap returns the cause.
func (p Permanent) Unwrap() error { return p.Err }
