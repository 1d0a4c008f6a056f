// Package worker hosts one engine in a process of its own and speaks the worker
// protocol (docs/worker-protocol.md): the first line of standard input is the
// job, further lines are commands, events leave as JSON lines on standard
// output, log lines on standard error. Any program that speaks it is an engine.
package worker

import (
	"encoding/json"

	"streamduel/workloads"
)

// Protocol is the version of the worker protocol.
const Protocol = 1

// Job is the first line of standard input.
type Job struct {
	Protocol int    `json:"protocol"`
	Name     string `json:"name"` // stable across restarts of one cell
	Workload string `json:"workload"`
	// Params of the workload and Config of the engine, with the scenario's
	// field names.
	Params         json.RawMessage `json:"params,omitempty"`
	Engine         string          `json:"engine"`
	Config         json.RawMessage `json:"config,omitempty"`
	Guarantee      string          `json:"guarantee"`
	Parallelism    int             `json:"parallelism"`
	MaxParallelism int             `json:"maxParallelism,omitempty"`
	Kafka          Kafka           `json:"kafka"`
	// Folder keeps the job's checkpoints and logs.
	Folder     string `json:"folder"`
	Durability string `json:"durability"` // process or machine
	// RestoreFrom is the folder of a savepoint that a job whose own folder is empty
	// begins from.
	RestoreFrom string `json:"restoreFrom,omitempty"`
	// State says where keyed state is kept; absent is memory.
	State State `json:"state,omitzero"`
	// DiscoveryMillis is how often new partitions are looked for; 0 never.
	DiscoveryMillis int64 `json:"discoveryMillis"`
	// Origins asks for the sd-origin header on every output.
	Origins bool `json:"origins,omitempty"`
	// OriginEvery asks for the header on a sample only: on outputs whose
	// input's sequence is a multiple of it; 0 for all.
	OriginEvery int64 `json:"originEvery,omitempty"`
	// BadInput says what becomes of records that do not decode or whose event time
	// cannot be: fail (the default), drop or dead-letter.
	BadInput string `json:"badInput,omitempty"`
	// Acks asks for the counts of acknowledged outputs at a failpoint.
	Acks bool `json:"acks,omitempty"`
	// GaugesMillis is the time between gauge events; 0 takes 100.
	GaugesMillis int64 `json:"gaugesMillis,omitempty"`
	// Metrics is the address at which the worker serves Prometheus metrics; ""
	// takes the environment's STREAMDUEL_METRICS, and without it serves none.
	Metrics string `json:"metrics,omitempty"`
	// Throttle limits the sinks from the start, in records per second; 0 does
	// not.
	Throttle float64 `json:"throttle,omitempty"`
	// Arm arms a failpoint before the job starts, for points of recovery.
	Arm *Arm `json:"arm,omitempty"`
	// Coordinator makes the worker one of several that may run the job, counted
	// from 1: it waits until it leads. Only a worker whose job has standbys sets it,
	// for its children.
	Coordinator int `json:"coordinator,omitempty"`
}

// Kafka says where the input and the output are.
type Kafka struct {
	Brokers []string         `json:"brokers"`
	Input   workloads.Topics `json:"input"`
	Output  string           `json:"output"`
	Late    string           `json:"late,omitempty"`
	// Reset is where partitions found after the start are read from: earliest,
	// or latest to show what that loses.
	Reset string `json:"reset,omitempty"`
	// Start is where the partitions that are there at the job's first start are read
	// from: earliest (""), latest, timestamp (StartMillis, Unix milliseconds) or
	// committed, by Group; StartPositions are where single splits begin, whatever
	// Start says.
	Start          string           `json:"start,omitempty"`
	StartMillis    int64            `json:"startMillis,omitempty"`
	StartPositions map[string]int64 `json:"startPositions,omitempty"`
	// Group is the consumer group of the source; "" takes the connector's own.
	Group string `json:"group,omitempty"`
	// TransactionMillis is the timeout of the sinks' transactions; 0 takes the
	// connector's default.
	TransactionMillis int64 `json:"transactionMillis,omitempty"`
	// Partitioner says which partition of the output a result goes to: key ("") or
	// subtask.
	Partitioner string `json:"partitioner,omitempty"`
	// DeadLetters is the topic of bad input under the policy dead-letter.
	DeadLetters string `json:"deadLetters,omitempty"`
}

// State says where keyed state is kept.
type State struct {
	Backend string `json:"backend"` // memory or lsm; "" is memory
	// Memory is what a backend on disk may take of it, in bytes; 0 takes the
	// backend's own default.
	Memory int64 `json:"memory,omitempty"`
}

// Arm asks for a crash at the hit-th passage through a point, counted from the
// command.
type Arm struct {
	Point string `json:"point"`
	Hit   int    `json:"hit"`
}

// Command is a further line of standard input; exactly one of its fields beside
// ID is set.
type Command struct {
	ID       int64     `json:"id"`
	Arm      *Arm      `json:"arm,omitempty"`
	Throttle *Throttle `json:"throttle,omitempty"`
	Stop     *Stop     `json:"stop,omitempty"`
	// Savepoint asks for a savepoint in a folder.
	Savepoint *Savepoint `json:"savepoint,omitempty"`
	Kill      *Kill      `json:"kill,omitempty"`
	Pause     *Pause     `json:"pause,omitempty"`
}

// Throttle limits the job's sinks together; null lifts the limit.
type Throttle struct {
	RecordsPerSecond *float64 `json:"recordsPerSecond"`
}

// Stop ends the job: drain, checkpoint or now; the first two with a savepoint in
// a folder, if one is named.
type Stop struct {
	Mode      string `json:"mode"`
	Savepoint string `json:"savepoint,omitempty"`
}

// Savepoint names the folder that a savepoint's own folder is made in.
type Savepoint struct {
	Dir string `json:"dir"`
}

// Kill ends one of the job's processes with SIGKILL: a task manager, an executor,
// or of several coordinators the leader or a standby. One of its fields is set.
type Kill struct {
	TaskManager int    `json:"taskManager,omitempty"` // of dataflow, from 1
	Executor    int    `json:"executor,omitempty"`    // of micro-batch, from 1
	Coordinator string `json:"coordinator,omitempty"` // leader or standby
}

// Which of several coordinators is meant.
const (
	Leading  = "leader"
	Standing = "standby"
)

// Pause stops the coordinator that leads (SIGSTOP) and lets it go on (SIGCONT)
// when the time is over.
type Pause struct {
	Coordinator string `json:"coordinator"` // leader
	Millis      int64  `json:"millis"`
}

// Answer is the event that answers a command.
type Answer struct {
	ID    int64  `json:"id"`
	Error string `json:"error,omitempty"`
	Path  string `json:"path,omitempty"` // of the savepoint that was asked for
}

// Kind names the event.
func (Answer) Kind() string { return "answer" }

// Usage is the event that tells what the process itself has used. The harness
// takes processor time and memory from outside; this adds what only the runtime
// knows.
type Usage struct {
	AllocBytes       uint64  `json:"allocBytes"`       // since the processes started
	GCPauseMillisMax float64 `json:"gcPauseMillisMax"` // longest stop of all goroutines for a collection
}

// Kind names the event.
func (Usage) Kind() string { return "usage" }

// Elected is the event that tells which of several coordinators leads now. The
// first one of a job leads in term 1; a further one has taken over, and what it
// says begins anew.
type Elected struct {
	Coordinator int   `json:"coordinator"`
	Term        int64 `json:"term"`
	PID         int   `json:"pid"`
}

// Kind names the event.
func (Elected) Kind() string { return "elected" }

// Deposed is the event that tells that a coordinator does not lead any more: it is
// dead, or it has found out and stopped, as Error says.
type Deposed struct {
	Coordinator int    `json:"coordinator"`
	Error       string `json:"error"`
}

// Kind names the event.
func (Deposed) Kind() string { return "deposed" }
