// Package connectors holds the contracts between an engine and the outside
// world: sources that are read by split and position, and sinks that write,
// flush and commit in two phases. Both engines use the same contracts and the
// same committables; an implementation never knows which engine drives it.
//
// The contract is public: package connectors/kafka is one implementation, a
// user's own is as good (docs/connectors.md).
package connectors

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Record is one message at the edge of a job. Its byte slices belong to
// whoever produced it; see Reader and Writer for how long they are valid.
type Record struct {
	Key, Value []byte
	Headers    []Header
	Timestamp  int64 // Unix milliseconds as the outside system gives it, 0 if it gives none
	Offset     int64 // position of this record in its split
}

// Header is one named value beside a record's payload.
type Header struct {
	Key   string
	Value []byte
}

// Guarantee is what a reader that only sees committed output may observe after
// recovery and drain.
type Guarantee string

// The three delivery guarantees, the same under both engines.
const (
	AtMostOnce  Guarantee = "at-most-once"
	AtLeastOnce Guarantee = "at-least-once"
	ExactlyOnce Guarantee = "exactly-once"
)

// ParseGuarantee returns the guarantee of that name.
func ParseGuarantee(s string) (Guarantee, error) {
	switch g := Guarantee(s); g {
	case AtMostOnce, AtLeastOnce, ExactlyOnce:
		return g, nil
	}
	return "", fmt.Errorf("guarantee %q: allowed are at-most-once, at-least-once, exactly-once", s)
}

// SplitID names a split for good: it is a key of checkpoints and offset logs.
// A Kafka partition's is "topic/3".
type SplitID string

// Split is a part of a source that is read in order by one reader at a time.
type Split struct {
	ID        SplitID
	Partition int32 // number within its topic, carried as the origin of its records
	// Incarnation tells the split from one that had the same ID before it: a Kafka
	// topic's id, another after it was deleted and created again. A reader that is
	// assigned another one than there is refuses it. Empty where nobody can tell.
	Incarnation string
}

// Position is the place of the next record to read from a split. It is opaque
// but for two properties: it grows along the split, and the difference of two
// positions is the number of records between them, give or take what carries
// no record (a transaction marker). Rate control and lag stand on that.
type Position int64

// Bounds are the positions between which a split can be read now.
type Bounds struct {
	Earliest Position // first record still there
	Latest   Position // end: behind the last record that the reader's isolation shows
}

// StartFrom says where splits without a recovered position begin.
type StartFrom string

// Start positions. Splits that appear after the job's start always begin at
// Earliest: whatever was written to them before discovery belongs to the job.
const (
	StartEarliest  StartFrom = "earliest"
	StartLatest    StartFrom = "latest"
	StartCommitted StartFrom = "committed" // the positions last given to Commit, else earliest
	StartTimestamp StartFrom = "timestamp" // the first record at or after a time, else latest
)

// Env is what an engine hands to a connector when it opens it.
type Env struct {
	Job     string // name of the job; stable across restarts
	Node    string // name of the source or sink in the job
	Attempt int    // start number of the job, counted from 1
	Log     *slog.Logger
	Gate    *Gate // every sink writer passes it; nil means open for ever
	// Patient: the job has been running, so what does not answer is waited for as
	// long as the connector is set to. A start is refused at once.
	Patient bool
}

// Logger returns the environment's logger or one that discards.
func (e Env) Logger() *slog.Logger {
	if e.Log != nil {
		return e.Log
	}
	return slog.New(slog.DiscardHandler)
}

// Source is a place that records come from.
type Source interface {
	// Describe says what the source is and can do; it opens nothing.
	Describe() SourceDescription
	// Enumerator opens the coordinator's side, one a job.
	Enumerator(ctx context.Context, env Env) (Enumerator, error)
	// Reader opens a task's side.
	Reader(ctx context.Context, env Env) (Reader, error)
}

// SourceDescription is what a job must know of a source before it starts.
type SourceDescription struct {
	Kind       string // "kafka", "file", …
	Replayable bool   // can be read again from an earlier position
	Bounded    bool   // ends by itself; a reader says so with io.EOF
}

// Enumerator finds splits and their bounds. It is used by one goroutine.
type Enumerator interface {
	// Discover lists all splits that exist now, sorted by ID.
	Discover(ctx context.Context) ([]Split, error)
	// Bounds returns the bounds of the given splits. A split that is gone is an
	// error that names it, ErrGone where the outside system says so.
	Bounds(ctx context.Context, splits []SplitID) (map[SplitID]Bounds, error)
	// Start returns where each split begins when no checkpoint says otherwise.
	// initial is true only for the splits found at the job's very first start.
	Start(ctx context.Context, splits []SplitID, initial bool) (map[SplitID]Position, error)
	// Commit publishes positions to the outside system: for monitoring, and as
	// the recovery point of at-most-once jobs. It is durable when it returns.
	Commit(ctx context.Context, positions map[SplitID]Position) error
	// Committed returns what Commit last published; splits never committed are
	// absent.
	Committed(ctx context.Context, splits []SplitID) (map[SplitID]Position, error)
	Close() error
}

// Assignment tells a reader to read a split from a position.
type Assignment struct {
	Split Split
	From  Position
	Until Position // exclusive end; NoEnd to follow the split
}

// NoEnd as an assignment's Until follows the split for ever.
const NoEnd Position = 1<<63 - 1

// Reader reads the splits assigned to it. It is used by one goroutine, except
// for Wake. A reader may keep fetched records of a split that was removed and
// assigned again at the same position (micro-batch reads ranges one after the
// other through a cached reader).
type Reader interface {
	// Assign adds a split or moves one it has to another position or end. An
	// assignment at the position where the reader stands is free.
	Assign(a ...Assignment) error
	// Unassign drops splits.
	Unassign(splits ...SplitID)
	// Poll returns the next records of one split. It waits until there are
	// some, Wake is called (an empty batch), or the context ends. When every
	// assigned split has reached its end it returns io.EOF.
	//
	// The batch and its records are valid until the next Poll; the key and
	// value bytes are never overwritten, so an operator may keep views of them.
	Poll(ctx context.Context) (*Batch, error)
	// Wake makes a Poll that waits return; safe from any goroutine.
	Wake()
	Close() error
}

// Batch is what one Poll returns: consecutive records of one split.
type Batch struct {
	Split   Split
	Records []Record
	Next    Position // position behind the batch, markers and gaps included
	Latest  Position // end of the split as last seen; Latest−Next is the reader's lag
	Done    bool     // Next has reached the assignment's Until
}

// Sink is a place that records go to.
type Sink interface {
	// Describe says what the sink is and which guarantees it can give.
	Describe() SinkDescription
	// Writer opens one subtask's writer.
	Writer(ctx context.Context, env WriterEnv) (Writer, error)
}

// SinkDescription is what a job must know of a sink before it starts.
type SinkDescription struct {
	Kind       string
	Guarantees []Guarantee // a job that asks for another is refused before it starts
	// AppendOnly: rows cannot replace others, so that a job whose output mode would
	// write changed ones is refused before it starts.
	AppendOnly bool
}

// Supports reports whether the sink can give the guarantee.
func (d SinkDescription) Supports(g Guarantee) bool {
	for _, s := range d.Guarantees {
		if s == g {
			return true
		}
	}
	return false
}

// WriterEnv is what an engine hands to a sink's writer.
type WriterEnv struct {
	Env
	Subtask     int
	Parallelism int
	Guarantee   Guarantee
	// Pool is how many epochs may be open at once per subtask under
	// exactly-once: 1 + what may be pending between Prepare and the durable
	// end of its commit. Three is right for one checkpoint in flight.
	Pool int
	// Acked, if set, is called for every record that the outside system has
	// acknowledged, in order per partition but from any goroutine. It must be
	// fast and must not block.
	Acked func(Origin)
}

// Origin is where an output record came from: its input's split and position,
// when that input was due and when an engine took it in. Both engines carry it
// through exchanges when a job asks for it.
type Origin struct {
	Partition int32
	Sequence  int64 // the input's position in its split
	Scheduled int64 // monotonic nanoseconds, 0 if the input does not say
	Intake    int64 // monotonic nanoseconds at which the engine first saw the input
}

// Writer writes one subtask's output. It is used by one goroutine.
//
// Under exactly-once the calls of one epoch are Write…, Prepare, and later, in
// epoch order, Commit or Abort of what Prepare returned; the next epoch's
// writes may begin directly after Prepare. Without it only Write and Flush are
// used.
type Writer interface {
	// Write hands over one record. The record's bytes are copied or sent before
	// it returns, so the caller may reuse them. It may block for want of
	// client buffers or because of a throttle. An error is final.
	Write(ctx context.Context, r *Record, o *Origin) error
	// Flush returns when everything written is acknowledged.
	Flush(ctx context.Context) error
	// Prepare flushes and seals the epoch. It returns nil when the epoch wrote
	// nothing: an empty transaction cannot be committed. After a successful
	// Prepare a crash of this process no longer loses the epoch as long as the
	// committable survives.
	Prepare(ctx context.Context) (Committable, error)
	// Commit makes a prepared epoch of this writer visible. It is idempotent.
	Commit(ctx context.Context, c Committable) error
	// Release tells the writer that no durable checkpoint lists the
	// committable any more, so its transactional id may be used again.
	Release(c Committable)
	// Abort drops everything written since the last Prepare.
	Abort(ctx context.Context) error
	// InFlight is the number of records written and not yet acknowledged, and
	// their bytes.
	InFlight() (records, bytes int64)
	Close() error
}

// Committable is a prepared epoch in a form that survives in a checkpoint.
type Committable []byte

// Recoverer is a sink that can take up committables of a dead process. A sink
// that gives exactly-once under the dataflow engine implements it.
type Recoverer interface {
	// Recover commits every committable again (committing twice is harmless)
	// and then aborts what other epochs of this job left open, whatever the
	// parallelism was. It must be called before any Writer of the job is
	// opened: opening one initializes its ids anew, which would abort them. A
	// committable that cannot be committed any more (the broker gave it up) is
	// an error that says how many and which; it is never swallowed.
	Recover(ctx context.Context, env WriterEnv, committables []Committable) error
}

// Transactor is a sink that can hold a whole batch, output and source
// positions together, in one transaction of one process. A sink that gives
// exactly-once under the micro-batch engine implements it.
type Transactor interface {
	// Transaction opens the job's transactional client. Opening fences every
	// older one and aborts what it left open.
	Transaction(ctx context.Context, env WriterEnv) (Transaction, error)
}

// Timed is a Transaction that the outside system aborts by itself when it stays
// open for too long.
type Timed interface {
	Timeout() time.Duration
}

// PartitionTransactor is a sink that can hold what one task writes of a batch in a
// transaction of its own. The micro-batch engine asks for it where a job is
// exactly-once by partition.
type PartitionTransactor interface {
	// PartitionTransaction opens the transactions of output partition env.Subtask.
	// Opening fences every older one of this partition and aborts what it left
	// open. What it has committed travels with it: the metadata, and positions
	// where the engine gives any. Transactions of several partitions are used at
	// the same time, each by one goroutine.
	PartitionTransaction(ctx context.Context, env WriterEnv) (Transaction, error)
}

// BatchID names the rows of one task of a batch. A batch that is run again, after
// a failure or a restart, comes with the same id.
type BatchID struct {
	Query     string // the job's name
	Batch     int64
	Partition int
}

// Idempotent is a sink that is told whose rows it gets, as users of foreachBatch
// and foreachPartition are. Where it makes of rows that come again under the same
// id what it made of them before, a job is exactly-once by batch id.
type Idempotent interface {
	// BatchWriter opens one subtask's writer; the engine does not call Writer then.
	BatchWriter(ctx context.Context, env WriterEnv) (BatchWriter, error)
}

// BatchWriter is a writer that is told where a batch begins. Rows up to the next
// Flush, or to the next Batch where there is none, belong to it.
type BatchWriter interface {
	Writer
	Batch(ctx context.Context, id BatchID) error
}

// Transaction is the micro-batch engine's view of a transactional sink: Begin,
// then concurrent writes through as many writers as there are tasks, then
// Commit with the positions, or Abort. It is used by the driver's goroutine;
// each Writer by its task's.
type Transaction interface {
	// Committed returns the positions and the metadata that the last committed
	// transaction carried, as the outside system has them (stable reads only).
	// ok is false when there never was one.
	Committed(ctx context.Context) (positions map[SplitID]Position, metadata string, ok bool, err error)
	Begin(ctx context.Context) error
	// Writer returns the writer of one task within the current transaction. Its
	// Prepare, Commit and Abort are not used.
	Writer(subtask int) Writer
	// Prepare flushes all writers and adds positions and metadata to the
	// transaction: after it only the end is missing.
	Prepare(ctx context.Context, positions map[SplitID]Position, metadata string) error
	// Commit ends the transaction. A batch that wrote nothing commits its
	// positions alone. An error that is not ErrRetriable means that the outcome is
	// unknown or that a newer process has taken over.
	Commit(ctx context.Context) error
	Abort(ctx context.Context) error
	Close() error
}
