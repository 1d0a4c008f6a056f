package harness

import (
	"encoding/json"
	"maps"
	"slices"
	"sort"
	"sync"

	"streamduel/engines"
	"streamduel/harness/proc"
	"streamduel/runs"
	"streamduel/worker"
)

// engineView is what the worker's events tell, over all attempts of a cell. It
// is written by the goroutine that reads the worker's lines.
type engineView struct {
	mu sync.Mutex

	base  counts         // of the attempts before
	now   engines.Gauges // of this attempt
	at    int64          // when they were received; 0 before the first
	wrote []wrote        // of all attempts, as each gauges told it
	usage worker.Usage   // of this attempt
	past  worker.Usage   // of the attempts before: bytes summed, pause the longest
	block map[string]float64
	busy  map[string]share // of undisturbed phases
	calm  bool             // one of them is on

	started   chan struct{} // closed when this attempt runs
	fixed     bool          // it will never look for further splits
	failed    string
	savepoint string // the folder of the newest
	lost      bool   // this attempt went on without prepared output
	reached   *engines.FailpointReached
	lives     chan struct{} // closed when the job has survived a failpoint
	alive     sync.Once
	plan      json.RawMessage
	found     map[string]int64 // split → when the engine began to read it
	first     map[string]int64 // split → when its first record was taken in
	durable   engines.Positions
	from      engines.Positions // where this attempt began to read each split
	millis    []float64         // what each durable point took
	bytes     int64
	batches   []batchView
	taken     []checkpointView // checkpoints in the order of their triggers
	bad       []runs.BadSample
	unreadBy  []string // side outputs that nobody reads and that got something
	malformed int      // events that do not decode
	term      int64
	deposed   []worker.Deposed
	fell      chan struct{}             // closed when one more is, since expectFall
	words     *engines.FailpointReached // the point at which it fell, if it did at one
	state     stateView
}

// stateView is what keyed state took at most.
type stateView struct {
	keys, memory, disk int64
	perKey             float64 // bytes of all kinds, when there were the most keys
}

func (s *stateView) add(u engines.StateUsage) {
	if u.StateKeys > s.keys {
		s.keys = u.StateKeys
		s.perKey = float64(u.StateMemoryBytes+u.StateDiskBytes) / float64(u.StateKeys)
	}
	s.memory, s.disk = max(s.memory, u.StateMemoryBytes), max(s.disk, u.StateDiskBytes)
}

// batchView is a batch of micro-batch: when it ended, by this side's clock, and how
// long it had waited and run.
type batchView struct {
	ended           int64
	records         int64
	waited, running float64 // milliseconds
}

func (b batchView) began() int64 { return b.ended - int64(b.running*1e6) }

// checkpointView is a checkpoint of dataflow; completed is 0 for one that was not.
type checkpointView struct {
	id                   int64
	triggered, completed int64
	inFlight             int64
}

// wrote is how many records the sinks had taken when gauges were received.
type wrote struct{ at, records int64 }

// writtenAt is how many records the sinks had taken by a time: gauges are a tenth of
// a second apart, in which a fast sink takes more than a slow one in a second. What
// was taken since the last ones is told by the rate before them, within what the next
// ones allow.
func (v *engineView) writtenAt(t int64) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := sort.Search(len(v.wrote), func(i int) bool { return v.wrote[i].at > t }) - 1
	switch {
	case i < 0:
		return 0
	case i == 0 || i+1 == len(v.wrote):
		return v.wrote[i].records
	}
	before, last, next := v.wrote[i-1], v.wrote[i], v.wrote[i+1]
	rate := float64(last.records-before.records) / float64(max(last.at-before.at, 1))
	return min(last.records+int64(rate*float64(t-last.at)), next.records)
}

type counts struct{ consumed, written, bad int64 }

// badShown is how many records of bad input a cell shows.
const badShown = 10

// badInput returns the bad input of all attempts: how many records, and the
// first of them.
func (v *engineView) badInput() (records int64, samples []runs.BadSample) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return max(v.base.bad+v.now.BadRecords, int64(len(v.bad))), slices.Clone(v.bad)
}

func newEngineView() *engineView {
	return &engineView{block: map[string]float64{}, busy: map[string]share{}, found: map[string]int64{}, first: map[string]int64{}, from: engines.Positions{}, started: make(chan struct{}), lives: make(chan struct{})}
}

// nextAttempt takes what the dead attempt said last as its total.
func (v *engineView) nextAttempt() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.anew()
	v.failed, v.lost = "", false
	v.started = make(chan struct{})
}

// expectStart makes waitStarted wait for another start of the job within the same
// worker.
func (v *engineView) expectStart() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.started = make(chan struct{})
}

// anew takes what was said last as the total so far. The lock is held.
func (v *engineView) anew() {
	v.base.consumed += v.now.Consumed
	v.base.written += v.now.Written
	v.base.bad += v.now.BadRecords
	v.now, v.at = engines.Gauges{}, 0
	v.past.AllocBytes += v.usage.AllocBytes
	v.past.GCPauseMillisMax = max(v.past.GCPauseMillisMax, v.usage.GCPauseMillisMax)
	v.usage = worker.Usage{}
	v.from = engines.Positions{}
	v.reached = nil
}

// line takes one event.
func (v *engineView) line(l proc.Line) {
	v.mu.Lock()
	defer v.mu.Unlock()
	decode := func(into any) bool {
		if err := json.Unmarshal(l.Raw, into); err != nil {
			v.malformed++
			return false
		}
		return true
	}
	switch l.Event {
	case engines.Sampled{}.Kind():
		var g engines.Gauges
		if decode(&g) {
			v.now, v.at = g, l.At
			v.wrote = append(v.wrote, wrote{l.At, v.base.written + g.Written})
			if g.State != nil {
				v.state.add(*g.State)
			}
			for _, t := range g.Tasks {
				v.block[t.Name] = max(v.block[t.Name], t.Blocked)
				if v.calm {
					s := v.busy[t.Name]
					v.busy[t.Name] = share{s.sum + t.Busy, s.n + 1}
				}
			}
		}
	case worker.Usage{}.Kind():
		decode(&v.usage)
	case worker.Elected{}.Kind():
		var e worker.Elected
		if decode(&e) {
			if v.term != 0 && e.Term > v.term {
				v.anew() // another coordinator counts from the beginning
			}
			v.term = e.Term
		}
	case worker.Deposed{}.Kind():
		var d worker.Deposed
		if decode(&d) {
			v.deposed = append(v.deposed, d)
			if v.fell != nil {
				v.words = v.reached // which the next coordinator's start forgets
				close(v.fell)
				v.fell = nil
			}
		}
	case engines.Started{}.Kind():
		var s engines.Started
		v.fixed = decode(&s) && s.FixedSplits
		select {
		case <-v.started:
		default:
			close(v.started)
		}
	case engines.Planned{}.Kind():
		var p struct {
			Plan json.RawMessage `json:"plan"`
		}
		if decode(&p) {
			v.plan = p.Plan
		}
	case engines.Failed{}.Kind():
		var f engines.Failed
		if decode(&f) {
			v.failed = f.Error
		}
	case engines.SavepointCompleted{}.Kind():
		var s engines.SavepointCompleted
		if decode(&s) {
			v.savepoint = s.Path
		}
	case engines.Lost{}.Kind():
		v.lost = true
	case engines.BadInput{}.Kind():
		var b engines.BadInput
		if decode(&b) && len(v.bad) < badShown {
			v.bad = append(v.bad, runs.BadSample{Split: string(b.Split), Position: int64(b.Position), Reason: b.Reason, Value: string(b.Value)})
		}
	case engines.Unread{}.Kind():
		var u engines.Unread
		if decode(&u) {
			if name := u.Operator + "/" + u.Side; !slices.Contains(v.unreadBy, name) {
				v.unreadBy = append(v.unreadBy, name)
			}
		}
	case engines.FailpointReached{}.Kind():
		var f engines.FailpointReached
		if decode(&f) {
			v.reached = &f
			if f.Lives {
				v.alive.Do(func() { close(v.lives) })
			}
		}
	case engines.Discovered{}.Kind():
		var d engines.Discovered
		if decode(&d) {
			remember(v.found, string(d.Split), l.At)
			if _, ok := v.from[d.Split]; !ok {
				v.from[d.Split] = d.From
			}
		}
	case engines.Restored{}.Kind():
		var d engines.Restored
		if decode(&d) {
			maps.Copy(v.from, d.Positions)
		}
	case engines.FirstRecord{}.Kind():
		var d engines.FirstRecord
		if decode(&d) {
			remember(v.first, string(d.Split), l.At)
		}
	case engines.Durable{}.Kind():
		var d engines.Durable
		if decode(&d) {
			v.durable = d.Positions
		}
	case engines.BatchCompleted{}.Kind():
		var b engines.BatchCompleted
		if decode(&b) {
			v.millis = append(v.millis, b.Durations["walCommit"]+b.Durations["commitOffsets"])
			v.bytes += b.StateBytes
			v.state.add(b.StateUsage)
			v.batches = append(v.batches, batchView{l.At, b.Records, b.SchedulingDelay, b.ProcessingDelay})
		}
	case engines.CheckpointTriggered{}.Kind():
		var c engines.CheckpointTriggered
		if decode(&c) {
			v.taken = append(v.taken, checkpointView{id: c.Checkpoint, triggered: l.At})
		}
	case engines.CheckpointCompleted{}.Kind():
		var c engines.CheckpointCompleted
		if decode(&c) {
			v.millis = append(v.millis, c.Durable)
			v.bytes += c.Bytes
			v.state.add(c.StateUsage)
			for i := len(v.taken) - 1; i >= 0; i-- {
				if t := &v.taken[i]; t.id == c.Checkpoint {
					t.completed, t.inFlight = l.At, c.InFlightBytes
					break
				}
			}
		}
	}
}

// remember keeps the first time.
func remember(m map[string]int64, key string, at int64) {
	if _, ok := m[key]; !ok {
		m[key] = at
	}
}

// gauges returns the latest gauges with the counts of earlier attempts added.
func (v *engineView) gauges() engines.Gauges {
	g, _ := v.gaugesAt()
	return g
}

// gaugesAt also tells when they were received.
func (v *engineView) gaugesAt() (g engines.Gauges, at int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	g = v.now
	g.Consumed += v.base.consumed
	g.Written += v.base.written
	g.BadRecords += v.base.bad
	return g, v.at
}

// batchesSeen returns the batches of all attempts so far.
func (v *engineView) batchesSeen() []batchView {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.batches)
}

// checkpointsSeen returns the checkpoints of all attempts so far.
func (v *engineView) checkpointsSeen() []checkpointView {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.taken)
}

// share is a mean under way.
type share struct {
	sum float64
	n   int
}

// stateFigures is what keyed state took; nil where there was none.
func (v *engineView) stateFigures() *runs.State {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.state
	if s.keys == 0 {
		return nil
	}
	f := &runs.State{KeysPeak: &s.keys, MemoryBytesPeak: &s.memory, BytesPerKey: &s.perKey}
	if s.disk > 0 {
		f.DiskBytesPeak = &s.disk
	}
	return f
}

// unreadSides names the side outputs that nobody reads and that got something, as
// operator/side, in their order.
func (v *engineView) unreadSides() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Sorted(slices.Values(v.unreadBy))
}

// setCalm says whether what is sampled now is of an undisturbed phase.
func (v *engineView) setCalm(calm bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calm = calm
}

// busyShares returns each task's mean busy share in undisturbed phases.
func (v *engineView) busyShares() map[string]float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.busy) == 0 {
		return nil
	}
	m := make(map[string]float64, len(v.busy))
	for name, s := range v.busy {
		m[name] = min(max(s.sum/float64(s.n), 0), 1)
	}
	return m
}

// clearBlocked forgets the blocked shares seen so far, at the start of a phase.
func (v *engineView) clearBlocked() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.block)
}

func (v *engineView) blocked() map[string]float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := make(map[string]float64, len(v.block))
	for k, s := range v.block {
		m[k] = s
	}
	return m
}

// expectFall returns a channel that is closed when one of several coordinators is
// dead or has stopped.
func (v *engineView) expectFall() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fell, v.words = make(chan struct{}), nil
	return v.fell
}

// lastWords returns the failpoint at which the coordinator fell that expectFall
// waited for, nil if it was at none.
func (v *engineView) lastWords() *engines.FailpointReached {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.words
}

// wasDeposed returns the coordinators that have stopped or died.
func (v *engineView) wasDeposed() []worker.Deposed {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.deposed)
}

func (v *engineView) waitStarted() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.started
}

// unread returns how many events did not decode.
func (v *engineView) unread() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.malformed
}

func (v *engineView) failure() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed
}

// survived is closed when a part of the job has failed at an armed point, and the
// worker lives.
func (v *engineView) survived() <-chan struct{} { return v.lives }

// savepointed returns the folder of the newest savepoint, "" before there is one.
func (v *engineView) savepointed() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.savepoint
}

// wentOn reports whether this attempt says that it goes on without output that was
// prepared and can be committed no more.
func (v *engineView) wentOn() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lost
}

func (v *engineView) failpoint() *engines.FailpointReached {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.reached
}

// planned returns the engine's plan as it came, nil if it gave none.
func (v *engineView) planned() json.RawMessage {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.plan
}

// restored returns where the current attempt began to read each split: where
// the engine says that it goes on from, and for splits it learned of later, from
// where it read them.
func (v *engineView) restored() map[string]int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return plain(v.from)
}

// plain is positions without their types; nil stays nil.
func plain(p engines.Positions) map[string]int64 {
	if p == nil {
		return nil
	}
	m := make(map[string]int64, len(p))
	for s, at := range p {
		m[string(s)] = int64(at)
	}
	return m
}

func (v *engineView) durablePositions() engines.Positions {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.durable
}

// ignores reports whether the engine will never read a split: it has not begun to
// and does not look for any more.
func (v *engineView) ignores(split string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, found := v.found[split]
	return v.fixed && !found
}

// firstOf returns when the engine took the first record of any of the splits,
// or found the first of them.
func (v *engineView) firstOf(splits []string) (found, first int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	earliest := func(m map[string]int64) (at int64) {
		for _, s := range splits {
			if t, ok := m[s]; ok && (at == 0 || t < at) {
				at = t
			}
		}
		return at
	}
	return earliest(v.found), earliest(v.first)
}
