package dataflow

import "slices"

// aligner decides what a barrier means to a subtask with several input
// channels. It is a pure function of the calls made: no time, no channels.
//
// Exactly-once blocks a channel that has delivered its barrier until all have,
// so that nothing behind the barrier gets into the snapshot; then one checkpoint
// can gather at a time. A checkpoint whose barriers overtake blocks nothing: its
// snapshot is taken at once, and what still comes before the other barriers is
// kept with it. Otherwise barriers are only counted, those of several
// checkpoints at a time.
type aligner struct {
	exact   bool
	blocked []bool
	open    []gather // by id
	settled int64    // barriers of checkpoints up to this one are ignored
}

// gather is a checkpoint of which barriers have come.
type gather struct {
	id        int64
	arrived   []bool
	count     int
	overtakes bool
}

func newAligner(channels int, exact bool) *aligner {
	return &aligner{exact: exact, blocked: make([]bool, channels)}
}

// verdict is what an aligner makes of a barrier.
type verdict struct {
	first     bool  // the first barrier of its checkpoint
	overtakes bool  // from now on the checkpoint's barriers overtake
	complete  bool  // all channels have delivered it
	aborted   int64 // an older checkpoint that this barrier ends, or 0
}

// barrier takes a channel's barrier; overtakes says that it has overtaken
// records or might have.
func (a *aligner) barrier(ch int, id int64, overtakes bool) (v verdict) {
	if id <= a.settled {
		return v
	}
	i := slices.IndexFunc(a.open, func(g gather) bool { return g.id == id })
	if i < 0 {
		if a.exact && len(a.open) > 0 {
			if id < a.open[0].id {
				return v
			}
			v.aborted = a.open[0].id
			a.abort(v.aborted)
		}
		v.first = true
		i = len(a.open)
		a.open = append(a.open, gather{id: id, arrived: make([]bool, len(a.blocked))})
	}
	g := &a.open[i]
	if overtakes && !g.overtakes {
		g.overtakes, v.overtakes = true, true
		clear(a.blocked)
	}
	if g.arrived[ch] {
		return v
	}
	g.arrived[ch] = true
	a.blocked[ch] = a.exact && !g.overtakes
	g.count++
	if g.count == len(g.arrived) {
		v.complete = true
		a.abort(id)
	}
	return v
}

// overtake makes a checkpoint that is gathering one whose barriers overtake, and
// reports whether that is new.
func (a *aligner) overtake(id int64) bool {
	for i := range a.open {
		if g := &a.open[i]; g.id == id && !g.overtakes {
			g.overtakes = true
			clear(a.blocked)
			return true
		}
	}
	return false
}

// arrived reports whether a channel has delivered a gathering checkpoint's
// barrier.
func (a *aligner) arrived(ch int, id int64) bool {
	for i := range a.open {
		if a.open[i].id == id {
			return a.open[i].arrived[ch]
		}
	}
	return false
}

// abort gives a checkpoint, and those before it, up, or ends it: its channels
// run on and its later barriers are ignored.
func (a *aligner) abort(id int64) (unblocked bool) {
	a.settled = max(a.settled, id)
	before := len(a.open)
	a.open = slices.DeleteFunc(a.open, func(g gather) bool { return g.id <= id })
	if len(a.open) == before {
		return false
	}
	clear(a.blocked)
	return true
}
