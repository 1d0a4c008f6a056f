package dataflow

// aligner decides what a barrier means to a subtask with several input
// channels. It is a pure function of the calls made: no time, no channels.
//
// Exactly-once blocks a channel that has delivered its barrier until all have,
// so that nothing behind the barrier gets into the snapshot. Otherwise barriers
// are only counted.
type aligner struct {
	exact   bool
	blocked []bool
	arrived []bool
	count   int
	current int64 // the checkpoint that barriers are gathered for, if count > 0
	settled int64 // barriers of checkpoints up to this one are ignored
}

func newAligner(channels int, exact bool) *aligner {
	return &aligner{exact: exact, blocked: make([]bool, channels), arrived: make([]bool, channels)}
}

// verdict is what an aligner makes of a barrier.
type verdict struct {
	first    bool  // the first barrier of its checkpoint
	complete bool  // all channels have delivered it: take the snapshot
	aborted  int64 // an older checkpoint that this barrier ends, or 0
}

// barrier takes a channel's barrier.
func (a *aligner) barrier(ch int, id int64) (v verdict) {
	if id <= a.settled {
		return v
	}
	if a.count > 0 && id < a.current {
		return v
	}
	if a.count > 0 && id > a.current {
		v.aborted = a.current
		a.abort(a.current)
	}
	if a.arrived[ch] {
		return v
	}
	v.first = a.count == 0
	a.current = id
	a.arrived[ch] = true
	a.blocked[ch] = a.exact
	a.count++
	if a.count == len(a.arrived) {
		v.complete = true
		a.abort(id)
	}
	return v
}

// abort gives a checkpoint up, or ends it: its channels run on and its later
// barriers are ignored.
func (a *aligner) abort(id int64) (unblocked bool) {
	a.settled = max(a.settled, id)
	if a.count == 0 || a.current > id {
		return false
	}
	a.count = 0
	clear(a.arrived)
	clear(a.blocked)
	return true
}
