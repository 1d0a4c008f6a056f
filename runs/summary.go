package runs

import "time"

// Schema names the format of summary.json. Adding a field keeps it; changing
// the meaning or the name of one needs a new version.
const Schema = "streamduel/summary/v1"

// Verdict is what a run, or one cell of it, amounts to.
type Verdict string

const (
	// Pass: every gate held, on figures that no audit voids.
	Pass Verdict = "pass"
	// Fail: a gate failed, or the worker did.
	Fail Verdict = "fail"
	// Inconclusive: an audit voided a figure that a gate needs, so that
	// nothing is proved either way.
	Inconclusive Verdict = "inconclusive"
)

// Summary is summary.json: one run, everything that a machine needs to judge
// it.
type Summary struct {
	Schema  string  `json:"schema"`
	Run     Run     `json:"run"`
	Floors  *Floors `json:"floors,omitempty"`
	Verdict Verdict `json:"verdict"`
	// Partial marks a run that was interrupted: the cells below are those
	// that were finished.
	Partial bool `json:"partial,omitempty"`
	// Reasons say why the verdict is not pass, in plain sentences.
	Reasons []string `json:"reasons,omitempty"`
	// Audits are those of the run as a whole, such as of its floors.
	Audits []Audit `json:"audits,omitempty"`
	Cells  []Cell  `json:"cells"`
}

// Run says what ran, when, and on what machine.
type Run struct {
	ID       string    `json:"id"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	// Commit is the source's revision, "unknown" where there is none; Dirty
	// says that the working tree differed from it.
	Commit      string     `json:"commit"`
	Dirty       bool       `json:"dirty"`
	Go          string     `json:"go"`
	OS          string     `json:"os"`
	Kernel      string     `json:"kernel,omitempty"`
	CPU         string     `json:"cpu,omitempty"`
	Cores       int        `json:"cores"`
	MemoryBytes int64      `json:"memoryBytes,omitempty"`
	Broker      Broker     `json:"broker"`
	Seed        int64      `json:"seed"`
	Arguments   []string   `json:"arguments,omitempty"`
	Scenarios   []Scenario `json:"scenarios,omitempty"`
	// Quick says that the phases were shortened: right for checks, too
	// short for figures to quote.
	Quick bool `json:"quick,omitempty"`
}

// Broker is what carried the records: embedded, container, local or external.
type Broker struct {
	Kind    string `json:"kind"`
	Version string `json:"version,omitempty"`
	// WarmUpSeconds is how long it was driven, before anything was measured,
	// until it no longer got faster. Only a broker on a virtual machine is.
	WarmUpSeconds float64 `json:"warmUpSeconds,omitempty"`
}

// Scenario identifies a scenario file by content.
type Scenario struct {
	Name     string `json:"name"`
	Hash     string `json:"hash"`
	Question string `json:"question,omitempty"`
}

// Floors are what the machine gave to programs that do nothing else, measured
// in the same run; a figure is read as a ratio to its floor.
type Floors struct {
	// ClientLoop is a bare consume → produce loop on the client library.
	ClientLoop *Floor `json:"clientLoop,omitempty"`
	// Exchange is a bare serialize → buffer → queue → deserialize loop.
	Exchange *Floor `json:"exchange,omitempty"`
	// Decode is bare decoding of a record.
	Decode *Floor `json:"decode,omitempty"`
	// Paced are bare consume → produce loops at the rates of the run's cells.
	Paced []PacedFloor `json:"paced,omitempty"`
}

// PacedFloor is what a bare consume → produce loop needs at a cell's rate, with
// the cell's generator and observer around it. It passes records on as they
// come; a cell's latency and cost are read against those.
type PacedFloor struct {
	Rate float64 `json:"rate"` // records per second
	// CommitSeconds is how often the loop commits its output in a transaction;
	// absent for a loop without transactions.
	CommitSeconds *float64 `json:"commitSeconds,omitempty"`
	// RecordBytes is how long the cells' records are, in the mean; absent in runs
	// whose loop had records of 100 bytes for every cell.
	RecordBytes          int64    `json:"recordBytes,omitempty"`
	CPUSecondsPerMillion *float64 `json:"cpuSecondsPerMillion,omitempty"`
	// LatencyMillis counts from the record's scheduled time until a
	// read_committed observer sees it.
	LatencyMillis *Latency `json:"latencyMillis,omitempty"`
}

// Floor is one floor.
type Floor struct {
	RecordsPerSecond     *float64 `json:"recordsPerSecond,omitempty"`
	CPUSecondsPerMillion *float64 `json:"cpuSecondsPerMillion,omitempty"`
}

// Cell is one engine under one scenario, once.
type Cell struct {
	// ID is unique in the run and is the name of the cell's folder; see
	// [CellID].
	ID         string `json:"id"`
	Scenario   string `json:"scenario"`
	Workload   string `json:"workload"`
	Engine     string `json:"engine"`
	Guarantee  string `json:"guarantee"`
	Repetition int    `json:"repetition"`
	// Variant holds the values of the scenario's matrix that tell the cell
	// apart from others of its scenario, engine and guarantee, such as
	// "interval=500ms".
	Variant []string `json:"variant,omitempty"`
	// Config is the engine's configuration in full.
	Config map[string]any `json:"config,omitempty"`
	// Load is what was offered.
	Load *Load `json:"load,omitempty"`
	// Durability is what a durable write survived: process or machine.
	Durability string    `json:"durability,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	// Attempt is 2 when the cell was repeated because an audit voided a
	// gated figure; absent otherwise.
	Attempt int     `json:"attempt,omitempty"`
	Verdict Verdict `json:"verdict"`
	// Reasons say why the verdict is not pass; a worker that died has its
	// first line here.
	Reasons []string `json:"reasons,omitempty"`
	Gates   []Gate   `json:"gates,omitempty"`
	Audits  []Audit  `json:"audits,omitempty"`
	// Withheld lists the groups of figures that audits voided and that were
	// therefore taken out of this cell; see [Cell.Withhold].
	Withheld []Withheld `json:"withheld,omitempty"`
	Phases   []Phase    `json:"phases,omitempty"`
	Marks    []Mark     `json:"marks,omitempty"`

	// Busy is, for each task of which the engine tells, the mean share of time, 0
	// to 1, that it ran in the undisturbed phases behind the first. It is the
	// engine's own word and explains.
	Busy map[string]float64 `json:"busy,omitempty"`

	// UnreadSides are side outputs, as operator/side, that got records and that
	// nobody reads, so that they were dropped.
	UnreadSides []string `json:"unreadSides,omitempty"`

	Start   *Start   `json:"start,omitempty"`
	Records *Records `json:"records,omitempty"`
	// BadInput is what the engine could not use; absent where there was none.
	BadInput      *BadInput             `json:"badInput,omitempty"`
	LatencyMillis *LatencyMillis        `json:"latencyMillis,omitempty"`
	Throughput    map[string]Throughput `json:"throughput,omitempty"`
	Pressure      *Pressure             `json:"pressure,omitempty"`
	Steps         map[string]Step       `json:"steps,omitempty"` // by phase
	Growth        *Growth               `json:"growth,omitempty"`
	Crash         *Crash                `json:"crash,omitempty"`
	Cost          *Cost                 `json:"cost,omitempty"`
	State         *State                `json:"state,omitempty"`
}

// Load is a cell's offered load and the step in which its output is committed:
// what its paced floor is found by.
type Load struct {
	// Rate is in records per second; where Shape is not constant, it is the rate
	// that the shape begins with or varies.
	Rate  float64 `json:"rate"`
	Shape string  `json:"shape"`
	// CommitSeconds is how often the engine is configured to commit output in a
	// transaction: its batch or checkpoint interval under exactly-once; absent
	// where there are none.
	CommitSeconds *float64 `json:"commitSeconds,omitempty"`
	// RecordBytes is how long the load's records are, keys included, in the mean.
	RecordBytes int64 `json:"recordBytes,omitempty"`
}

// Gate is one threshold of the scenario and how it came out.
type Gate struct {
	// Expression is the gate as the scenario states it.
	Expression string `json:"expression"`
	OK         bool   `json:"ok"`
	// Value is the measured figure; absent when there was none, which never
	// passes.
	Value *Elapsed `json:"value,omitempty"`
	// Voided says that an audit voided the figure: the gate then proves
	// nothing and makes the cell inconclusive.
	Voided bool `json:"voided,omitempty"`
	// Unknown says why the figure cannot be known of this workload, whatever a
	// run shows: the gate is not judged and decides nothing.
	Unknown string `json:"unknown,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// Phase is one phase of the cell, in seconds since its start.
type Phase struct {
	Name  string  `json:"name"`
	Start float64 `json:"start"`
	End   float64 `json:"end"`
	// Fault is what was done to the system during the phase (throttle, grow,
	// crash, kill, pause), empty for none.
	Fault string `json:"fault,omitempty"`
}

// Mark is one moment worth a line in the pictures, in seconds since the
// cell's start. Kind is one of the Mark… constants; Label says it in words.
type Mark struct {
	At    float64 `json:"at"`
	Kind  string  `json:"kind"`
	Label string  `json:"label"`
}

// Kinds of [Mark].
const (
	MarkThrottled    = "throttled"    // the sink's rate was cut
	MarkReleased     = "released"     // the sink's rate was freed
	MarkFollowed     = "followed"     // intake had come down to the sink's rate
	MarkRecovered    = "recovered"    // full rate again
	MarkDrained      = "drained"      // the backlog was gone
	MarkCreated      = "created"      // the new partitions exist
	MarkAppended     = "appended"     // first record in a new partition
	MarkDiscovered   = "discovered"   // first record of a new partition read
	MarkFirstResult  = "firstResult"  // first new result visible
	MarkStarted      = "started"      // the job was started, on a backlog
	MarkSavepoint    = "savepoint"    // a savepoint was asked for, or is there
	MarkKilled       = "killed"       // the worker died
	MarkRestarted    = "restarted"    // a new worker was started
	MarkFirstVisible = "firstVisible" // first result committed after a restart
	MarkCaughtUp     = "caughtUp"     // lag is back to normal
)

// Records are exact counts over the whole cell, by input id.
type Records struct {
	Sent     *int64 `json:"sent,omitempty"`
	Consumed *int64 `json:"consumed,omitempty"`
	Visible  *int64 `json:"visible,omitempty"`
	// Rows are all results that a reader has to read, closing ones left out.
	Rows *int64 `json:"rows,omitempty"`
	// Duplicates are copies beyond the first.
	Duplicates *int64 `json:"duplicates,omitempty"`
	// Losses are inputs whose effect no read_committed reader ever sees.
	Losses *int64 `json:"losses,omitempty"`
	// Late are inputs that came behind the watermark and were sent, with
	// their ids, to the accounted topic.
	Late *int64 `json:"late,omitempty"`
	// Filtered are inputs that contribute to no result, by the workload's oracle.
	Filtered *int64 `json:"filtered,omitempty"`
	// Bad are inputs that the load made unusable, on purpose, so that they
	// contribute to no result; absent where it made none. Sent is the sum of
	// visible, late, filtered, bad and lost ones, and those before the start.
	Bad *int64 `json:"bad,omitempty"`
	// BeforeStart are inputs before the positions at which the job was to begin;
	// absent where there are none.
	BeforeStart *int64 `json:"beforeStart,omitempty"`
	// Unexpected are outputs that no input explains.
	Unexpected *int64 `json:"unexpected,omitempty"`
	// Reordered are outputs that overtook an earlier one of their key.
	Reordered *int64 `json:"reordered,omitempty"`
	// StateOvercount and StateLosses are inputs counted too often or not at
	// all in keyed state.
	StateOvercount *int64 `json:"stateOvercount,omitempty"`
	StateLosses    *int64 `json:"stateLosses,omitempty"`
}

// BadInput is what a job could not use: records that did not decode or whose event
// time could not be.
type BadInput struct {
	// Sent is how many bad records the load held, and Kinds how many of each kind:
	// undecodable, no-event-time, before-1970, far-ahead. Absent where it was not
	// to hold any.
	Sent  *int64           `json:"sent,omitempty"`
	Kinds map[string]int64 `json:"kinds,omitempty"`
	// Records is how many there were by the engine's own count: what was read
	// again counts again.
	Records *int64 `json:"records,omitempty"`
	// DeadLetters is how many of those sent became visible in the dead-letter
	// topic, Duplicates how many copies beyond the first there are, Losses how many
	// have none, Unexpected how many dead letters no bad record explains. By the
	// observer's count; absent where bad input is not kept.
	DeadLetters *int64 `json:"deadLetters,omitempty"`
	Duplicates  *int64 `json:"duplicates,omitempty"`
	Losses      *int64 `json:"losses,omitempty"`
	Unexpected  *int64 `json:"unexpected,omitempty"`
	// Failed: the scenario wants bad input to fail the job, and it did so, at a
	// bad record; FailedBy says which.
	Failed   *bool      `json:"failed,omitempty"`
	FailedBy *BadSample `json:"failedBy,omitempty"`
	// Samples are the first of them.
	Samples []BadSample `json:"samples,omitempty"`
}

// BadSample is one record of bad input.
type BadSample struct {
	Split    string `json:"split"`
	Position int64  `json:"position"`
	Reason   string `json:"reason"`
	Value    string `json:"value"` // its beginning
	// Kind is what the load made wrong with it.
	Kind string `json:"kind,omitempty"`
}

// LatencyMillis holds the latencies by phase.
type LatencyMillis struct {
	// Event counts from the record's scheduled time until its result is
	// visible to a read_committed observer.
	Event map[string]Latency `json:"event,omitempty"`
	// Processing counts from the engine's intake. Where outputs name their
	// inputs in their payload it is of a sample of them. Absent where there is
	// none; NoProcessing then says why.
	Processing   map[string]Latency `json:"processing,omitempty"`
	NoProcessing string             `json:"noProcessing,omitempty"`
}

// Latency is the distribution of one phase, in milliseconds. A phase without
// a sample has no entry.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	// P999 and Max are the tail: a few records that were handed over late make
	// it, and move the mean, while the figures above stand.
	P999 *float64 `json:"p999,omitempty"`
	Max  *float64 `json:"max,omitempty"`
	Mean *float64 `json:"mean,omitempty"`
}

// Throughput is one phase's mean, in records per second.
type Throughput struct {
	Offered  *float64 `json:"offered,omitempty"`
	Consumed *float64 `json:"consumed,omitempty"`
	Visible  *float64 `json:"visible,omitempty"`
}

// Pressure is how the engine answered a throttled sink. Times count from the
// change of the sink's rate.
type Pressure struct {
	// SinkRecordsPerSecond is the rate that the sink was cut to.
	SinkRecordsPerSecond *float64 `json:"sinkRecordsPerSecond,omitempty"`
	// FollowSeconds is the first moment from which intake stays at the
	// sink's rate.
	FollowSeconds *Elapsed `json:"followSeconds,omitempty"`
	// OvershootRecords were taken in above the sink's rate, and
	// UndershootRecords of its capacity were left unused.
	OvershootRecords  *int64 `json:"overshootRecords,omitempty"`
	UndershootRecords *int64 `json:"undershootRecords,omitempty"`
	// QueuedRecordsPeak and QueuedBytesPeak are inside the engine: taken in
	// and not yet written.
	QueuedRecordsPeak *int64 `json:"queuedRecordsPeak,omitempty"`
	QueuedBytesPeak   *int64 `json:"queuedBytesPeak,omitempty"`
	// RecoverSeconds is from the release of the sink to the full rate,
	// DrainSeconds to an empty backlog.
	RecoverSeconds *Elapsed `json:"recoverSeconds,omitempty"`
	DrainSeconds   *Elapsed `json:"drainSeconds,omitempty"`
	// Blocked is, for each task, the largest share of time that it could
	// not write.
	Blocked map[string]Blocked `json:"blocked,omitempty"`
	// RSSPeakBytes is the most resident memory from the throttle until its backlog
	// was gone.
	RSSPeakBytes *int64 `json:"rssPeakBytes,omitempty"`
	// SchedulingDelay is micro-batch's, Checkpoints are dataflow's.
	SchedulingDelay *SchedulingDelay `json:"schedulingDelay,omitempty"`
	Checkpoints     *Checkpoints     `json:"checkpoints,omitempty"`
}

// SchedulingDelay is how long the batches of a micro-batch engine waited that began
// while the sink was throttled, and what a simulation of the controller with the
// run's own costs says that they must have waited; absent without one.
type SchedulingDelay struct {
	PeakSeconds          *float64 `json:"peakSeconds,omitempty"`
	LastSeconds          *float64 `json:"lastSeconds,omitempty"` // of the last batch
	PredictedPeakSeconds *float64 `json:"predictedPeakSeconds,omitempty"`
	PredictedLastSeconds *float64 `json:"predictedLastSeconds,omitempty"`
	// PredictionError is the mean distance of the two curves, as a share of the
	// predicted peak.
	PredictionError *float64 `json:"predictionError,omitempty"`
}

// Checkpoints are those that were triggered while the sink was throttled.
type Checkpoints struct {
	Triggered *int64 `json:"triggered,omitempty"`
	// Held are those of them that were not complete when the sink was freed.
	Held *int64 `json:"held,omitempty"`
	// LongestSeconds is from the trigger until the checkpoint was durable.
	LongestSeconds *Elapsed `json:"longestSeconds,omitempty"`
	// InFlightBytesMax is the most that barriers overtook in one of them.
	InFlightBytesMax *int64 `json:"inFlightBytesMax,omitempty"`
}

// Step is a phase in which the sink was held at a share of what became visible in
// an earlier phase. Shares are of that, 0 to 1.
type Step struct {
	Share                   float64 `json:"share"` // that the sink was given
	MaximumRecordsPerSecond float64 `json:"maximumRecordsPerSecond"`
	// CrossedSeconds is until intake and results both ran within three points of
	// the share; the shares below are their means from then on.
	CrossedSeconds *Elapsed `json:"crossedSeconds,omitempty"`
	ConsumedShare  *float64 `json:"consumedShare,omitempty"`
	VisibleShare   *float64 `json:"visibleShare,omitempty"`
	// PointsOff is by how many percentage points the one of the two that is farther
	// off misses the share.
	PointsOff *float64 `json:"pointsOff,omitempty"`
}

// Blocked is a task's share of time blocked, 0 to 1, and its [BlockedLevel].
type Blocked struct {
	Share float64 `json:"share"`
	Level string  `json:"level"`
}

// BlockedLevel names a blocked share the way Flink's back-pressure monitor
// does: OK ≤ 0.10 < LOW ≤ 0.50 < HIGH.
func BlockedLevel(share float64) string {
	switch {
	case share <= 0.10:
		return "OK"
	case share <= 0.50:
		return "LOW"
	}
	return "HIGH"
}

// Growth is how new partitions were taken up. Times count from their
// creation.
type Growth struct {
	// Created is the number of partitions that were added.
	Created *int64 `json:"created,omitempty"`
	// FirstAppendedSeconds is until the generator wrote to a new partition
	// (it has to learn of it too), DiscoveredSeconds until the engine read
	// from one, FirstResultSeconds until a result of one was visible.
	FirstAppendedSeconds *Elapsed `json:"firstAppendedSeconds,omitempty"`
	DiscoveredSeconds    *Elapsed `json:"discoveredSeconds,omitempty"`
	FirstResultSeconds   *Elapsed `json:"firstResultSeconds,omitempty"`
	// LostBeforeDiscovery counts records of the new partitions that were
	// written before the engine knew of them and never had an effect.
	LostBeforeDiscovery *int64 `json:"lostBeforeDiscovery,omitempty"`
	// NeverRead counts records of new partitions that the engine never looked
	// for: they are losses, and not among LostBeforeDiscovery.
	NeverRead *int64 `json:"neverRead,omitempty"`
	// OldPartitionsDip is the largest share, 0 to 1, by which the visible
	// rate of the old partitions fell.
	OldPartitionsDip *float64 `json:"oldPartitionsDip,omitempty"`
}

// Start is how long the first worker of a cell took, from the start of its
// process.
type Start struct {
	// RunningSeconds is until it said that its job runs.
	RunningSeconds *Elapsed `json:"runningSeconds,omitempty"`
	// FirstResultSeconds is until its first result was visible; absent where the
	// job was not started on a backlog, and where results have no ids.
	FirstResultSeconds *Elapsed `json:"firstResultSeconds,omitempty"`
}

// Crash is what a kill cost. Times count from the kill.
type Crash struct {
	// Point and Hit name the failpoint; Reached says that it was hit, without
	// which the cell proves nothing.
	Point   string `json:"point"`
	Hit     int64  `json:"hit,omitempty"`
	Reached bool   `json:"reached"`
	// Again is a point in the recovery at which the worker was killed once more.
	Again string `json:"again,omitempty"`
	// Expected is what the crash catalogue predicts for the point, worked out
	// from the engine's own counts at the kill.
	Expected           *Expected `json:"expected,omitempty"`
	RestartedSeconds   *Elapsed  `json:"restartedSeconds,omitempty"`
	FirstResultSeconds *Elapsed  `json:"firstResultSeconds,omitempty"`
	VisibleSeconds     *Elapsed  `json:"visibleSeconds,omitempty"`
	CaughtUpSeconds    *Elapsed  `json:"caughtUpSeconds,omitempty"`
	// ReplayedRecords are inputs that the dead worker had read and the next one
	// read again; absent for a kill without last words.
	ReplayedRecords *int64 `json:"replayedRecords,omitempty"`
}

// Expected is a prediction. For a kill at a failpoint it is exact and the
// AtMost fields are absent; for a kill anywhere else the requests in flight
// make it an interval, [Duplicates, DuplicatesAtMost].
type Expected struct {
	Duplicates       *int64 `json:"duplicates,omitempty"`
	DuplicatesAtMost *int64 `json:"duplicatesAtMost,omitempty"`
	Losses           *int64 `json:"losses,omitempty"`
	LossesAtMost     *int64 `json:"lossesAtMost,omitempty"`
}

// Cost is what the engine's processes used; the generator, the broker and the
// observer are not in it.
type Cost struct {
	// Per record is per one that was sent, but for those before the start.
	CPUSecondsPerMillion *float64 `json:"cpuSecondsPerMillion,omitempty"`
	AllocBytesPerRecord  *float64 `json:"allocBytesPerRecord,omitempty"`
	RSSPeakBytes         *int64   `json:"rssPeakBytes,omitempty"`
	GCPauseMillisMax     *float64 `json:"gcPauseMillisMax,omitempty"`
	// DurableMillis is the time a batch log or a checkpoint took to become
	// durable, DurableBytes what they wrote in all.
	DurableMillis *Durable `json:"durableMillis,omitempty"`
	DurableBytes  *int64   `json:"durableBytes,omitempty"`
}

// State is what keyed state took, by the engine's own word at each batch or
// checkpoint; absent where the job keeps none, or no such point was reached.
type State struct {
	// KeysPeak is the most keys that there were at such a point; expired ones that
	// have not been cleaned up are among them.
	KeysPeak *int64 `json:"keysPeak,omitempty"`
	// MemoryBytesPeak is the most that tables took, without what their keys and
	// values point to and without caches that subtasks share; DiskBytesPeak the most
	// that files took, absent for state in memory.
	MemoryBytesPeak *int64 `json:"memoryBytesPeak,omitempty"`
	DiskBytesPeak   *int64 `json:"diskBytesPeak,omitempty"`
	// BytesPerKey is memory and files over keys when there were the most keys.
	BytesPerKey *float64 `json:"bytesPerKey,omitempty"`
}

// Durable is a distribution in milliseconds.
type Durable struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}
