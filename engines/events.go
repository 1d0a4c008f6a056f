package engines

import (
	"bytes"
	"encoding/json"
	"fmt"

	"streamduel/connectors"
	"streamduel/state"
)

// Event is something that happened in an engine. Events travel as JSON lines
// {"event": kind, "at": monotonic nanoseconds, …fields} (docs/worker-protocol.md).
type Event interface{ Kind() string }

// Positions maps splits to positions in events and logs.
type Positions = map[connectors.SplitID]connectors.Position

// The events that both engines emit.
type (
	// Started tells that the job runs and has read what it restores from.
	Started struct {
		Attempt int `json:"attempt"`
		// FixedSplits: it will never look for further splits, so that nobody waits
		// for what is in them.
		FixedSplits bool `json:"fixedSplits,omitempty"`
	}
	// Planned tells how the engine runs the job, for people and pictures.
	Planned struct {
		Plan Plan `json:"plan"`
	}
	// Restored tells from which durable point a job goes on; Batch or Checkpoint
	// is set.
	Restored struct {
		Batch      *int64    `json:"batch,omitempty"`
		Checkpoint *int64    `json:"checkpoint,omitempty"`
		Positions  Positions `json:"positions"`
		// Replay tells that a logged batch is run again.
		Replay bool `json:"replay,omitempty"`
	}
	// Discovered tells of a split that the job has begun to read.
	Discovered struct {
		Split connectors.SplitID  `json:"split"`
		From  connectors.Position `json:"from"`
	}
	// FirstRecord tells that a split's first record has been taken in.
	FirstRecord struct {
		Split connectors.SplitID `json:"split"`
	}
	// DataLost tells that records were gone before they were read, and that the
	// job goes on without them because it is allowed to.
	DataLost struct {
		Split connectors.SplitID  `json:"split"`
		From  connectors.Position `json:"from"`
		Until connectors.Position `json:"until"`
	}
	// Durable tells that progress up to the positions is durable: nothing below
	// them will be read again.
	Durable struct {
		Positions Positions `json:"positions"`
	}
	// Restarting tells that tasks have failed, and when they will be restarted.
	Restarting struct {
		Tasks []string `json:"tasks"`
		Error string   `json:"error"`
		Delay float64  `json:"delayMillis"`
	}
	// Restarted tells that tasks run again from a checkpoint.
	Restarted struct {
		Tasks      []string `json:"tasks"`
		Checkpoint int64    `json:"checkpoint"`
	}
	// Lost tells that the outside system has given up prepared output, which the
	// job goes on without because it was told to.
	Lost struct {
		Checkpoint int64  `json:"checkpoint"`
		Error      string `json:"error"`
	}
	// Stuck tells that a task has not come back from a function for so long.
	Stuck struct {
		Task     string  `json:"task"`
		Function string  `json:"function"`
		Seconds  float64 `json:"seconds"`
	}
	// Failed tells that the job has failed; the worker ends after it.
	Failed struct {
		Error string `json:"error"`
		// Superseded: a newer start of the job goes on with it.
		Superseded bool `json:"superseded,omitempty"`
	}
	// Stopped tells that the job has ended as asked.
	Stopped struct {
		Mode StopMode `json:"mode"`
	}
	// Sampled carries the gauges.
	Sampled struct{ Gauges }
)

// The events of micro-batch.
type (
	// BatchPlanned tells that a batch's ranges are logged.
	BatchPlanned struct {
		Batch   int64     `json:"batch"`
		Records int64     `json:"records"`
		Until   Positions `json:"until"`
	}
	// BatchCompleted tells that a batch is committed. Times are milliseconds.
	BatchCompleted struct {
		Batch           int64              `json:"batch"`
		Records         int64              `json:"records"`
		SchedulingDelay float64            `json:"schedulingDelayMillis"`
		ProcessingDelay float64            `json:"processingDelayMillis"`
		Durations       map[string]float64 `json:"durationMillis"` // latestOffset, walCommit, addBatch, commitOffsets, triggerExecution, …
		WatermarkMs     *int64             `json:"watermarkMillis,omitempty"`
		StateBytes      int64              `json:"stateBytes"` // written for it
		StateUsage
		Lag int64 `json:"lag"`
		// What StreamingQueryProgress has beside: rates in records per second, over
		// the time since the batch before began and over the time that this one took.
		TotalDelay             float64   `json:"totalDelayMillis"`
		InputRowsPerSecond     float64   `json:"inputRowsPerSecond"`
		ProcessedRowsPerSecond float64   `json:"processedRowsPerSecond"`
		Start                  Positions `json:"startOffset"`
		End                    Positions `json:"endOffset"`
		// Stages of the batch, with the skew of their tasks.
		Stages []StageMetrics `json:"stages"`
		// Sources where the job has several.
		Sources []SourceProgress `json:"sources,omitempty"`
		// StateOperators of the job, none under the trigger continuous.
		StateOperators []StateOperatorProgress `json:"stateOperators,omitempty"`
		Sinks          []SinkProgress          `json:"sinks,omitempty"`
	}
	// StateOperatorProgress is what StreamingQueryProgress tells of one state operator,
	// under the names of Spark's StateOperatorProgress. Rows are those of all its tables,
	// its timers among them. Times are milliseconds, summed over its tasks, and those of
	// all operators that share them.
	StateOperatorProgress struct {
		Operator      string           `json:"operatorName"`
		RowsTotal     int64            `json:"numRowsTotal"`
		RowsUpdated   int64            `json:"numRowsUpdated"`
		UpdatesTime   float64          `json:"allUpdatesTimeMs"` // taking in rows
		RowsRemoved   int64            `json:"numRowsRemoved"`
		RemovalsTime  float64          `json:"allRemovalsTimeMs"` // timers and the watermark
		CommitTime    float64          `json:"commitTimeMs"`
		MemoryBytes   int64            `json:"memoryUsedBytes"` // of its tables, see StateUsage
		RowsLate      int64            `json:"numRowsDroppedByWatermark"`
		Partitions    int              `json:"numShufflePartitions"`
		Instances     int              `json:"numStateStoreInstances"`  // its tables in all partitions
		CustomMetrics map[string]int64 `json:"customMetrics,omitempty"` // "rows: <table>", where it has several
	}
	// SinkProgress is what StreamingQueryProgress tells of a sink.
	SinkProgress struct {
		Sink        string `json:"sink"` // the operator's name
		Description string `json:"description"`
		// Rows given to it in the batch; -1 where that is not known, under the trigger
		// continuous, as in Spark.
		Rows int64 `json:"numOutputRows"`
	}
	// SourceProgress is what StreamingQueryProgress tells of one source: its share of
	// the batch, and the ends that were seen when the batch was planned.
	SourceProgress struct {
		Source                 string    `json:"source"`
		Records                int64     `json:"records"`
		InputRowsPerSecond     float64   `json:"inputRowsPerSecond"`
		ProcessedRowsPerSecond float64   `json:"processedRowsPerSecond"`
		Lag                    int64     `json:"lag"`
		Start                  Positions `json:"startOffset"`
		End                    Positions `json:"endOffset"`
		Latest                 Positions `json:"latestOffset,omitempty"`
	}
	// StageMetrics tell of a stage's tasks in one batch. Times are milliseconds, of
	// the attempts that succeeded.
	StageMetrics struct {
		Name   string  `json:"name"`
		Tasks  int     `json:"tasks"`
		Failed int     `json:"failedAttempts"`
		P50    float64 `json:"taskP50Millis"`
		Max    float64 `json:"taskMaxMillis"`
		// Shuffled is how many rows its tasks have written to shuffles.
		Shuffled int64 `json:"shuffledRecords,omitempty"`
		// Spilled is how many bytes of the tasks' shuffle outputs went to files.
		Spilled int64 `json:"spilledBytes,omitempty"`
	}
	// RateLimited tells that the rate limit has changed.
	RateLimited struct {
		RecordsPerSecond float64 `json:"recordsPerSecond"`
	}
)

// The events of micro-batch's executors, where they are processes. They are
// counted from 1.
type (
	// ExecutorLost tells that an executor's process has died or cannot be heard.
	// What it was running is run elsewhere.
	ExecutorLost struct {
		Executor int    `json:"executor"`
		Error    string `json:"error"`
		Running  int    `json:"running"` // attempts that ran there
	}
	// ExecutorAdded tells that a process has taken a lost one's place.
	ExecutorAdded struct {
		Executor int `json:"executor"`
	}
)

// The events of dataflow.
type (
	// CheckpointTriggered tells that barriers are on their way.
	CheckpointTriggered struct {
		Checkpoint int64 `json:"checkpoint"`
	}
	// CheckpointCompleted tells that a checkpoint is durable. Times are
	// milliseconds.
	CheckpointCompleted struct {
		Checkpoint int64   `json:"checkpoint"`
		Duration   float64 `json:"durationMillis"`
		Durable    float64 `json:"durableMillis"` // of that, writing and syncing
		Bytes      int64   `json:"bytes"`         // written for it
		FullBytes  int64   `json:"fullBytes"`     // and those that it shares with checkpoints before
		Savepoint  bool    `json:"savepoint,omitempty"`
		// Unaligned: barriers have overtaken records, which are in it.
		Unaligned     bool                `json:"unaligned,omitempty"`
		InFlightBytes int64               `json:"inFlightBytes,omitempty"`
		Subtasks      []SubtaskCheckpoint `json:"subtasks,omitempty"`
		Alignment     float64             `json:"alignmentMillis"` // longest over the subtasks
		StateUsage
	}
	// SavepointCompleted tells where a savepoint is.
	SavepointCompleted struct {
		Checkpoint int64  `json:"checkpoint"`
		Path       string `json:"path"`
	}
	// CheckpointFailed tells why one was given up.
	CheckpointFailed struct {
		Checkpoint int64  `json:"checkpoint"`
		Reason     string `json:"reason"`
	}
)

// SubtaskCheckpoint is the life of a checkpoint in one subtask: how long its
// barrier took to come, how long the others took to come after the first, what
// was done between two records and what beside them. Times are milliseconds.
type SubtaskCheckpoint struct {
	Name          string  `json:"name"`
	StartDelay    float64 `json:"startDelayMillis"`
	Alignment     float64 `json:"alignmentMillis"`
	Sync          float64 `json:"syncMillis"`
	Async         float64 `json:"asyncMillis"`
	Bytes         int64   `json:"bytes,omitempty"`
	InFlightBytes int64   `json:"inFlightBytes,omitempty"`
	StateUsage
}

// StateUsage is what keyed state takes.
type StateUsage struct {
	StateKeys int64 `json:"stateKeys"`
	// StateMemoryBytes are the tables', without what keys and values point to and
	// without caches that subtasks share.
	StateMemoryBytes int64 `json:"stateMemoryBytes"`
	StateDiskBytes   int64 `json:"stateDiskBytes,omitempty"`
}

// Add adds what a subtask's state takes.
func (u *StateUsage) Add(f state.Footprint) { u.Sum(StateUsage{f.Keys, f.MemoryBytes, f.DiskBytes}) }

// Sum adds what other state takes.
func (u *StateUsage) Sum(o StateUsage) {
	u.StateKeys += o.StateKeys
	u.StateMemoryBytes += o.StateMemoryBytes
	u.StateDiskBytes += o.StateDiskBytes
}

// Kind names the event.
func (Started) Kind() string             { return "started" }
func (Planned) Kind() string             { return "planned" }             // Kind names the event.
func (Restored) Kind() string            { return "restored" }            // Kind names the event.
func (Discovered) Kind() string          { return "discovered" }          // Kind names the event.
func (FirstRecord) Kind() string         { return "firstRecord" }         // Kind names the event.
func (DataLost) Kind() string            { return "dataLost" }            // Kind names the event.
func (Durable) Kind() string             { return "durable" }             // Kind names the event.
func (ExecutorLost) Kind() string        { return "executorLost" }        // Kind names the event.
func (ExecutorAdded) Kind() string       { return "executorAdded" }       // Kind names the event.
func (Restarting) Kind() string          { return "restarting" }          // Kind names the event.
func (Restarted) Kind() string           { return "restarted" }           // Kind names the event.
func (Lost) Kind() string                { return "lost" }                // Kind names the event.
func (Stuck) Kind() string               { return "stuck" }               // Kind names the event.
func (Failed) Kind() string              { return "failed" }              // Kind names the event.
func (Stopped) Kind() string             { return "stopped" }             // Kind names the event.
func (Sampled) Kind() string             { return "gauges" }              // Kind names the event.
func (BatchPlanned) Kind() string        { return "batchPlanned" }        // Kind names the event.
func (BatchCompleted) Kind() string      { return "batchCompleted" }      // Kind names the event.
func (RateLimited) Kind() string         { return "rateLimited" }         // Kind names the event.
func (CheckpointTriggered) Kind() string { return "checkpointTriggered" } // Kind names the event.
func (CheckpointCompleted) Kind() string { return "checkpointCompleted" } // Kind names the event.
func (SavepointCompleted) Kind() string  { return "savepointCompleted" }  // Kind names the event.
func (CheckpointFailed) Kind() string    { return "checkpointFailed" }    // Kind names the event.
func (FailpointReached) Kind() string    { return "failpointReached" }    // Kind names the event.

// MarshalEvent returns the event's line without the newline.
func MarshalEvent(at int64, e Event) ([]byte, error) {
	fields, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("event %s: %w", e.Kind(), err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"event":%q,"at":%d`, e.Kind(), at)
	if len(fields) > 2 {
		b.WriteByte(',')
		b.Write(fields[1 : len(fields)-1])
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
