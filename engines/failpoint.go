package engines

import (
	"sync"
	"sync/atomic"
)

// Failpoints are the named places where a job can be made to crash. Engines
// call Hit at each; it costs one atomic load until a point is armed.
type Failpoints struct {
	armed  atomic.Bool
	mu     sync.Mutex
	point  string
	hit    int
	left   int
	action func(FailpointReached, func() Recovery)
}

// Recovery is what an engine knows at a failpoint about its own recovery.
type Recovery struct {
	// Positions are the source positions that a restart will go on from.
	Positions Positions
	// Base are positions before which everything is known to be settled; only
	// at-most-once needs them, to count what lies between and was not written.
	Base Positions
	// Reached are the positions behind what the sources have handed to the job.
	// What lies between a restart's positions and these is read a second time.
	Reached Positions
	// Batch or checkpoint that the point was reached in.
	Epoch int64
	// Records is n, the number of records of the batch, where there is one.
	Records int64
	// Uncommitted is how many records the transactions hold that are prepared and
	// listed by what a restart goes on from, and not committed: what is lost when
	// nobody can commit them any more. Between the commits of several sinks it is
	// what they held before the first.
	Uncommitted int64
	// Again is k of a point that the process survives: the outputs of the part that
	// has failed, all of them acknowledged.
	Again int64
}

// FailpointReached is the event that a process writes before it kills itself.
// The expectation is what the crash catalogue predicts for this guarantee and
// point, computed from what the sinks have acknowledged.
type FailpointReached struct {
	Point string `json:"point"`
	Hit   int    `json:"hit"`
	// Lives says that only a part of the job has failed: the process goes on.
	Lives    bool  `json:"lives,omitempty"`
	Epoch    int64 `json:"epoch"`
	Records  int64 `json:"records,omitempty"`
	Acked    int64 `json:"acked"` // outputs acknowledged whose input lies at or after Positions
	Missing  int64 `json:"missing"`
	InFlight int64 `json:"inFlight"` // 0 after the gate was drained
	// Uncommitted are records in transactions that recovery has to commit.
	Uncommitted int64     `json:"uncommitted,omitempty"`
	Positions   Positions `json:"positions"`
	// Reached is how far the job has read each split.
	Reached Positions `json:"reached,omitempty"`
	// Expected copies and losses for one output an input.
	ExpectedDuplicates int64 `json:"expectedDuplicates"`
	ExpectedLosses     int64 `json:"expectedLosses"`
}

// Arm makes the hit-th passage through point, counted from now, call action,
// which returns only from a point that the process survives. The engine's view of its recovery is read through the
// function that action is given, after the sinks' gate was drained.
func (f *Failpoints) Arm(point string, hit int, action func(FailpointReached, func() Recovery)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.point, f.hit, f.left, f.action = point, hit, hit, action
	f.armed.Store(true)
}

// Armed reports whether this point is armed and will fire at its next passage;
// engines use it where a point lies inside a loop that must otherwise stay
// tight.
func (f *Failpoints) Armed(point string) bool {
	if f == nil || !f.armed.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.point == point && f.left == 1
}

// Hit tells that the job has come to a point.
func (f *Failpoints) Hit(point string, recovery func() Recovery) { f.pass(point, false, recovery) }

// Passed counts a passage through a point that only fires where it is armed for
// the next one: at the end of a batch it is too late to fail in its middle.
func (f *Failpoints) Passed(point string) {
	if f == nil || !f.armed.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.point == point && f.left > 1 {
		f.left--
	}
}

// Fails tells that a part of the job has come to a point at which it alone is to
// fail, and reports whether it must.
func (f *Failpoints) Fails(point string, recovery func() Recovery) bool {
	return f.pass(point, true, recovery)
}

func (f *Failpoints) pass(point string, lives bool, recovery func() Recovery) bool {
	if f == nil || !f.armed.Load() {
		return false
	}
	f.mu.Lock()
	fire := false
	if f.point == point {
		f.left--
		fire = f.left == 0
	}
	action, hit := f.action, f.hit
	f.mu.Unlock()
	if fire {
		action(FailpointReached{Point: point, Hit: hit, Lives: lives}, recovery)
	}
	return fire
}
