package load

import (
	"encoding/json"
	"errors"

	"streamduel/harness/plan"
)

// Job is the first line of the load process's input.
type Job struct {
	Workload string          `json:"workload"`
	Params   json.RawMessage `json:"params,omitempty"`
	Seed     uint64          `json:"seed"`
	Brokers  []string        `json:"brokers"`
	// Plan names topics as they are called on the broker.
	Plan *plan.Plan `json:"plan"`
	// OriginHeader adds the sd-origin header to every record, for workloads
	// whose payload is the user's own.
	OriginHeader bool `json:"originHeader,omitempty"`
	// LingerMicros is how long the client waits for more records before it
	// sends a batch, the load's share of the latency; nil takes 1000, which at
	// high rates halves the processor time of client and broker against none.
	LingerMicros *int64 `json:"lingerMicros,omitempty"`
	// BufferedRecords bounds what the client holds; 0 takes a million.
	BufferedRecords int `json:"bufferedRecords,omitempty"`
	// MetadataMillis is how often the client looks for grown topics; 0 takes
	// 1000. It is the generator's part of the time until the first record of a
	// new partition.
	MetadataMillis int64 `json:"metadataMillis,omitempty"`
	// ProgressMillis is the time between progress events; 0 takes 100.
	ProgressMillis int64 `json:"progressMillis,omitempty"`
	// NoClosing leaves out the closing records.
	NoClosing bool `json:"noClosing,omitempty"`
}

func (j *Job) check() error {
	if j.Plan == nil {
		return errors.New("the job has no plan")
	}
	if len(j.Brokers) == 0 {
		return errors.New("the job names no broker")
	}
	return nil
}

// Command is a further line; exactly one field beside ID is set.
type Command struct {
	ID    int64  `json:"id"`
	Start *Start `json:"start,omitempty"`
	Grow  *Grow  `json:"grow,omitempty"`
	Stop  *Stop  `json:"stop,omitempty"`
}

// Start begins the load.
type Start struct {
	At   int64 `json:"at"`   // monotonic nanoseconds of the schedule's zero
	Wall int64 `json:"wall"` // Unix nanoseconds minus monotonic nanoseconds
}

// Grow tells that partitions have been added. The load uses them as well from
// the moment its client has learned of them, and says so by an epoch event.
type Grow struct {
	Partitions []plan.Partition `json:"partitions"`
}

// Stop ends the load at what is due now and sends the closing records.
type Stop struct{}

// The events, in the order of their first appearance. Commands are answered by
// "answer" events that bear their id.
type (
	// Ready: the client is connected; start may come.
	Ready struct{}
	// Started: the schedule's zero is fixed.
	Started struct {
		At int64 `json:"start"`
	}
	// Progress comes every ProgressMillis while the load runs.
	Progress struct {
		Sent   int64 `json:"sent"`   // records handed to the client; the index of the next one
		Acked  int64 `json:"acked"`  // of them acknowledged, closing records included
		Errors int64 `json:"errors"` // of them failed or at a wrong offset
		Behind int64 `json:"behind"` // nanoseconds by which the next record is overdue
		// SlipP999 and SlipMax are of the records since the last progress, in
		// nanoseconds.
		SlipP999 int64 `json:"slipP999"`
		SlipMax  int64 `json:"slipMax"`
	}
	// Epoch: from a record on, the partitions are these. It is sent before that
	// record is.
	Epoch struct{ plan.Epoch }
	// Appended: the first record of a partition has been acknowledged.
	Appended struct {
		plan.Partition
		Global int32 `json:"global"`
	}
	// Stopped: the load ends before this record; closing records follow.
	Stopped struct {
		Limit int64 `json:"limit"`
	}
	// Failure: the first errors in full; each also counts in Progress.
	Failure struct {
		Text string `json:"text"`
	}
	// Finished: everything is acknowledged; the process ends.
	Finished struct {
		Sent    int64 `json:"sent"`    // without closing records
		Closing int64 `json:"closing"` // closing records
		Acked   int64 `json:"acked"`   // of both
		Errors  int64 `json:"errors"`
		Bytes   int64 `json:"bytes"` // of values and keys
		// Slip is the hand-over time less the schedule in nanoseconds, an
		// HdrHistogram in its compressed V2 encoding (base64).
		Slip string `json:"slip"`
		// SlipWithin5ms is the share of records that were handed over within
		// 5 ms of their schedule.
		SlipWithin5ms float64 `json:"slipWithin5ms"`
		SlipP99       int64   `json:"slipP99"`
		SlipP999      int64   `json:"slipP999"`
		SlipMax       int64   `json:"slipMax"`
		// Late are the stretches of the schedule that have late records.
		Late []Late `json:"late,omitempty"`
	}
)
