package ledger

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"streamduel/connectors"
	"streamduel/harness/plan"
	"streamduel/runs"
	"streamduel/workloads"
)

// Config is what a ledger judges by.
type Config struct {
	// Plan is the load's schedule, the same that the load process follows.
	Plan *plan.Plan
	// Accounting is the workload's.
	Accounting workloads.Accounting
	// Generator makes the payloads again that the oracle evaluates. It is
	// needed where Accounting.Oracle is set and Latency is wanted or Finish is
	// called, and belongs to the ledger from then on.
	Generator workloads.Generator
	// Latency turns the histograms on: for the read_committed ledger.
	Latency bool
	// DeadLetters: each bad input of the plan is to have a dead letter.
	DeadLetters bool
}

// Observation is one output row as an observer saw it.
type Observation struct {
	workloads.Row
	Output int32 // partition of the output topic
	Offset int64 // in that partition, for the list of anomalies
	Late   bool  // a record of the late topic
	Dead   bool  // a dead letter, of which only Partition and Sequence are set
	Intake int64 // monotonic nanoseconds at which the engine took the input in; 0 if not known
}

// Ledger accounts for one observer's view of one cell. Its methods may be
// called from any goroutine.
type Ledger struct {
	cfg  Config
	plan *plan.Plan

	mu     sync.Mutex
	lat    latency
	cursor *plan.Cursor // for Due and Input in mostly rising order
	ids    ids
	values *values // nil until a row without an id is to be expected
	dead   deadLetters

	begins []int64 // by partition: the first input that the job is to read

	rows, resultRows, lateRows int64
	closings                   bitmap // partitions whose closing record's effect was seen
	lastRow                    int64
	unexpected                 int64
	malformed                  int64
	anomalies                  map[string][]runs.RecordID

	watching  bool
	watchFrom int64
	watched   int64
	baseline  []bitmap  // by partition: inputs that are not new; nil takes what was seen here
	waiting   []waiting // seen, but the plan did not know them yet
}

// waiting is a record whose latency could not be computed because this side
// had not heard of its epoch yet.
type waiting struct {
	partition            int32
	sequence, at, intake int64
}

// Names of anomalies, the names of their counts in summary.json.
const (
	Duplicates     = "duplicates"
	Losses         = "losses"
	Unexpected     = "unexpected"
	Reordered      = "reordered"
	StateOvercount = "stateOvercount"
	StateLosses    = "stateLosses"
	Masked         = "masked" // keys where a copy and a loss cancelled in the value
)

// New returns an empty ledger.
func New(cfg Config) (*Ledger, error) {
	if cfg.Plan == nil {
		return nil, errors.New("ledger: no plan")
	}
	switch cfg.Accounting.Kind {
	case workloads.OneToOne, workloads.Matches, workloads.Running, workloads.Delta, workloads.Windows:
	default:
		return nil, fmt.Errorf("ledger: accounting %q; allowed are %s, %s, %s, %s, %s", cfg.Accounting.Kind,
			workloads.OneToOne, workloads.Matches, workloads.Delta, workloads.Running, workloads.Windows)
	}
	l := &Ledger{cfg: cfg, plan: cfg.Plan, cursor: cfg.Plan.Cursor(), anomalies: map[string][]runs.RecordID{}}
	l.ids.init(l)
	if cfg.Accounting.Oracle != nil && cfg.Generator == nil {
		return nil, errors.New("ledger: an oracle needs the generator's payloads")
	}
	if k := cfg.Accounting.Kind; k == workloads.Delta || k == workloads.Windows {
		l.values = newValues(l)
	}
	return l, nil
}

// Begin tells from which input on each partition is read: those before are no losses,
// and a row of one is unexpected. A partition that is not named is read whole. It had
// better be told before the first row is: a row of an aggregate shows other inputs
// then.
func (l *Ledger) Begin(positions map[int32]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, at := range positions {
		for int(p) >= len(l.begins) {
			l.begins = append(l.begins, 0)
		}
		l.begins[p] = at
	}
	if l.values != nil {
		l.values.begun()
	}
}

// begin is the first input of a partition that the job is to read.
func (l *Ledger) begin(partition int32) int64 {
	if int(partition) < len(l.begins) {
		return l.begins[partition]
	}
	return 0
}

// Phase begins a phase at the monotonic time from; the one before ends there.
// A sample belongs to the phase in which its input was due, so a phase must be
// announced before inputs that are due in it become visible: give a moment
// that lies a little ahead.
func (l *Ledger) Phase(name string, from int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lat.begin(name, from)
}

// Phases returns the phases so far.
func (l *Ledger) Phases() []Phase {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Phase(nil), l.lat.phases...)
}

// Observe takes rows that became visible at the monotonic time at, in the
// order in which they stand in their output partitions. Nothing of obs is kept.
func (l *Ledger) Observe(at int64, obs []Observation) {
	if len(obs) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.values != nil {
		l.values.advance(at)
	}
	for i := range obs {
		l.observe(at, &obs[i])
	}
}

func (l *Ledger) observe(at int64, o *Observation) {
	if o.Dead {
		l.dead.observe(l, at, o)
		return
	}
	if o.Closing {
		if o.Partition >= 0 && o.Partition < maxPartitions {
			l.closings.add(int64(o.Partition))
		}
		return
	}
	l.rows++
	l.lastRow = at
	switch {
	case o.Late:
		l.lateRows++
		if o.HasID {
			l.ids.late(at, o)
		}
	case o.HasID:
		l.resultRows++
		l.ids.observe(at, o)
	default:
		l.resultRows++
		if k := l.cfg.Accounting.Kind; k == workloads.OneToOne || k == workloads.Matches {
			l.ids.surprise(o, "an output without an id")
			return
		}
		if l.values == nil { // a Running workload without ids says so by its first row
			l.values = newValues(l)
			l.values.advance(at)
		}
		l.values.observe(at, o)
	}
}

// Malformed counts an output that cannot be parsed: nothing explains it.
func (l *Ledger) Malformed(at int64, output int32, offset int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows++
	l.lastRow = at
	l.malformed++
	l.unexpected++
	l.note(Unexpected, runs.RecordID{Partition: -1, Sequence: -1,
		Detail: fmt.Sprintf("output %d offset %d cannot be parsed: %v", output, offset, err)})
}

func (l *Ledger) note(kind string, id runs.RecordID) {
	if a := l.anomalies[kind]; len(a) < runs.AnomalyIDs {
		l.anomalies[kind] = append(a, id)
	}
}

// full reports whether the list of a kind takes no more ids, so that callers
// can save the trouble of describing one.
func (l *Ledger) full(kind string) bool { return len(l.anomalies[kind]) >= runs.AnomalyIDs }

// sample records the latencies of an input that became visible.
func (l *Ledger) sample(partition int32, sequence, at, intake int64) {
	if !l.cfg.Latency {
		return
	}
	i, ok := l.plan.Index(partition, sequence)
	if !ok {
		l.waiting = append(l.waiting, waiting{partition, sequence, at, intake})
		return
	}
	l.sampleDue(l.cursor.Due(i), at, intake)
}

// sampleDue is sample of an input whose due time is at hand.
func (l *Ledger) sampleDue(due, at, intake int64) {
	if !l.cfg.Latency {
		return
	}
	l.lat.record(kindEvent, due, due, at)
	if intake != 0 {
		l.lat.record(kindProcessing, due, intake, at)
	}
}

// settle samples what waited for an epoch that the plan has learned since.
func (l *Ledger) settle() {
	if len(l.waiting) == 0 {
		return
	}
	w := l.waiting
	l.waiting = nil
	for _, w := range w {
		l.sample(w.partition, w.sequence, w.at, w.intake)
	}
}

// WatchNew asks for the first effect of an input not seen before that becomes
// visible at or after the monotonic time from: the first new result after a
// restart. A later call starts anew.
func (l *Ledger) WatchNew(from int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watching, l.watchFrom, l.watched, l.baseline = true, from, 0, nil
}

// WatchNewTo is WatchNew for the read_uncommitted ledger: an input is new when
// the other ledger, the read_committed one, has not seen it by now. Rows that
// the crash will abort were seen here, but nobody can have used them, so the
// row that is written in their place is the first new result.
func (l *Ledger) WatchNewTo(from int64, committed *Ledger) {
	committed.mu.Lock()
	base := make([]bitmap, len(committed.ids.parts))
	for g, p := range committed.ids.parts {
		if p != nil {
			base[g] = p.seen.clone()
		}
	}
	committed.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watching, l.watchFrom, l.watched, l.baseline = true, from, 0, base
}

// FirstNew returns what WatchNew asked for; ok is false while there is none.
func (l *Ledger) FirstNew() (at int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.watched, l.watched != 0
}

// isNew reports whether a row's input is new in the sense of the watch.
func (l *Ledger) isNew(o *Observation, fresh bool) bool {
	if l.baseline == nil {
		return fresh
	}
	return int(o.Partition) >= len(l.baseline) || !l.baseline[o.Partition].has(o.Sequence)
}

func (l *Ledger) sawNew(at int64) {
	if l.watching && at >= l.watchFrom {
		l.watched, l.watching = at, false
	}
}

// FirstResult returns when the first result of an input partition became
// visible. It is known where rows have ids.
func (l *Ledger) FirstResult(partition int32) (at int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if partition < 0 || int(partition) >= len(l.ids.parts) || l.ids.parts[partition] == nil {
		return 0, false
	}
	at = l.ids.parts[partition].first
	return at, at != 0
}

// SeenFrom counts the inputs of a partition, from a sequence on, of which a
// row was seen so far. Asked of the read_uncommitted ledger between a kill and
// the restart, with the restored positions, it is the e of the crash
// catalogue, counted from outside.
func (l *Ledger) SeenFrom(partition int32, sequence int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if partition < 0 || int(partition) >= len(l.ids.parts) || l.ids.parts[partition] == nil {
		return 0
	}
	s := &l.ids.parts[partition].seen
	return s.countRange(max(0, sequence), s.limit())
}

// Missing counts the inputs of a partition in [from, to) that were neither
// seen as a result nor as late.
func (l *Ledger) Missing(partition int32, from, to int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &part{}
	if partition >= 0 && int(partition) < len(l.ids.parts) && l.ids.parts[partition] != nil {
		p = l.ids.parts[partition]
	}
	return missing(from, to, nil, &p.seen, &p.late)
}

// Drained reports whether the effect of every partition's closing record was
// seen, grown partitions included. It is false until the load was stopped.
func (l *Ledger) Drained() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.plan.Limit() == math.MaxInt64 {
		return false
	}
	n := int64(len(l.plan.All()))
	return l.closings.countRange(0, n) == n
}

// Undrained lists the input partitions whose closing record has had no effect
// yet.
func (l *Ledger) Undrained() (partitions []int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.plan.All() {
		if !l.closings.has(int64(p)) {
			partitions = append(partitions, int32(p))
		}
	}
	return partitions
}

// Flush closes the latency interval at the monotonic time now and hands its
// histograms to f, which may be nil. It also moves the oracle on, so that a
// pause in the output does not leave a heap of work to the next row.
func (l *Ledger) Flush(now int64, f func(Interval) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.values != nil {
		l.values.advance(now)
	}
	l.settle()
	return l.lat.flush(now, f)
}

// Counts are the live figures of a ledger.
type Counts struct {
	Rows       int64 // outputs seen, closing rows left out
	ResultRows int64 // of them in the result topic
	Visible    int64 // inputs (or contributions) whose effect was seen
	Late       int64 // inputs seen in the late topic
	Dead       int64 // inputs seen as dead letters
	Duplicates int64
	Unexpected int64
	Closings   int64
	LastRow    int64 // monotonic nanoseconds at which the last row was seen
	Samples    int64 // event-time latencies recorded
	Clipped    Clipped
}

// Counts returns the live figures. Losses are only known at the end.
func (l *Ledger) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Counts{
		Rows: l.rows, ResultRows: l.resultRows, Late: l.ids.lateInputs, Dead: l.dead.visible, Unexpected: l.unexpected,
		Visible: l.ids.visible, Duplicates: l.ids.duplicates,
		Closings: l.closings.count, LastRow: l.lastRow,
		Samples: l.lat.samples[kindEvent], Clipped: l.lat.clipped,
	}
	if l.values != nil {
		c.Visible += l.values.visible
		c.Duplicates += l.values.copies
	}
	return c
}

// Odd returns how many outputs could not be parsed, and the first ones that no input
// explains, those among them.
func (l *Ledger) Odd() (malformed int64, first []runs.RecordID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.malformed, append([]runs.RecordID(nil), l.anomalies[Unexpected]...)
}

// Bytes is about how much memory the accounting holds. It walks all keys: ask
// at the end, not at every sample.
func (l *Ledger) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.ids.bytes() + l.lat.bytes()
	if l.values != nil {
		n += l.values.bytes()
	}
	return n
}

// VisibleFrom is the number of visible inputs of the partitions numbered from
// on: those that were added during the run. It is known where rows have ids.
func (l *Ledger) VisibleFrom(from int32) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var n int64
	for p := int(max(0, from)); p < len(l.ids.parts); p++ {
		if l.ids.parts[p] != nil {
			n += l.ids.parts[p].seen.count
		}
	}
	return n
}

// PerInput reports whether what became visible is counted by input, each of
// which shows. It is not so for matches, which most inputs are none of, nor for
// aggregates, whose counts are contributions: of one input several, or none, and
// of a window's only when it closes.
func (l *Ledger) PerInput() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.values == nil && l.cfg.Accounting.Kind != workloads.Matches
}

// Parse returns the function that parses this ledger's rows.
func (l *Ledger) Parse() func(r *connectors.Record, late bool, row *workloads.Row) error {
	return l.cfg.Accounting.Parse
}

// Aborted returns how many rows the read_uncommitted view showed that the
// read_committed one never will: rows of aborted transactions. It means
// something once both have read the output to its end.
func Aborted(committed, uncommitted *Ledger) int64 {
	return uncommitted.Counts().Rows - committed.Counts().Rows
}
