package pipeline

import (
	"math"
)

// OutputMode says which rows of an aggregation's result table leave it, and when.
// An engine tells its tasks (TaskConfig.OutputMode); an operator has none of its
// own. What the modes mean stands in Results and nowhere else.
type OutputMode string

// The output modes. All but the first are Spark's, and take an engine that works
// batch by batch.
const (
	// EachInput lets a running result leave for each input that changes it, and a
	// window when it fires. It is the zero value, too.
	EachInput OutputMode = "each-input"
	// Append lets a row leave once, when it will not change any more.
	Append OutputMode = "append"
	// Update lets the rows leave that a batch has changed, each once a batch.
	Update OutputMode = "update"
	// Complete lets the whole table leave with each batch, and keeps it for ever.
	Complete OutputMode = "complete"
)

// Role is what a stateful operator is to an output mode: by it an engine refuses
// what a mode cannot be given. The zero value is a function of one's own.
type Role struct {
	Does Does
	// EventTime: a group of an aggregation is a window of event time, over when the
	// watermark has passed it; keys of a Dedupe live by event time.
	EventTime bool
	// Session: groups are sessions, which merge.
	Session bool
	// Late: a group is kept, and may change, after the watermark has passed it.
	Late bool
	// Triggered: a trigger, an evictor or a count says when rows leave.
	Triggered bool
	// Emits is the mode of its own that a function says it has (Stream.Emits).
	Emits OutputMode
}

// Does names what an operator does, as far as output modes go.
type Does string

// What operators do.
const (
	Computes     Does = ""             // a function of one's own: what it emits is its own affair
	Aggregates   Does = "aggregates"   // it keeps a result table: a row a key, or a key and window
	Prepares     Does = "prepares"     // it is a part of the aggregation behind it
	Joins        Does = "joins"        // rows of two streams
	Deduplicates Does = "deduplicates" // the first row of a key passes
	MapsGroups   Does = "maps groups"  // a function with its key's state: Spark's mapGroupsWithState
	UpdatesAll   Does = "updates all"  // it emits its whole state with each batch: updateStateByKey
)

// As says what the operator is to output modes.
func (s *Stream[T]) As(r Role) *Stream[T] {
	for _, o := range s.from {
		o.node.Role = r
	}
	return s
}

// Emits says of a function (Process) whether what it emits is final
// (Append) or changes what it has emitted before (Update), as the output mode that
// Spark's flatMapGroupsWithState is given. It changes nothing but what is refused.
func (s *Stream[T]) Emits(m OutputMode) *Stream[T] {
	if m != Append && m != Update {
		s.g.fail("operator %q: a function emits by mode %s or %s, not %q", s.name(), Append, Update, m)
	}
	for _, o := range s.from {
		if o.node.Role.Does != Computes {
			s.g.fail("operator %q %s, and what it emits follows from the output mode: Emits is for functions of one's own", o.node.Name, o.node.Role.Does)
		}
		o.node.Role.Emits = m
	}
	return s
}

// ResultTable is what an aggregation tells of its groups, which are keys or keys
// and windows, so that output modes are one thing for all aggregations.
type ResultTable[G comparable] struct {
	// Clone makes a group outlive the record that it was taken from.
	Clone func(G) G
	// Emit emits the group's rows as they are; nothing if it is gone. From is the
	// least that Changed was told, 0 under Complete: of a group with several rows
	// the first one that may have changed.
	Emit func(g G, from int)
	// Each yields every group.
	Each func(yield func(G) bool)
}

// Results makes rows leave a result table at the end of a batch, under Update and
// Complete. Under Append and EachInput there is none (nil): windows leave when
// they fire, running results with their input.
type Results[G comparable] struct {
	task     *Task
	table    ResultTable[G]
	complete bool

	// Of the batch at hand; what is here is in no snapshot.
	changed map[G]int // index in leaving
	leaving []leaving[G]
	next    int // the first of leaving that has not left
	ending  bool
}

type leaving[G comparable] struct {
	group G
	from  int
}

// ResultsOf returns what the task's output mode wants of an operator's result
// table. The operator tells Changed what a record has changed, and emits nothing
// by itself.
func ResultsOf[K, G comparable](s *Setup[K], t ResultTable[G]) *Results[G] {
	switch s.b.cfg.OutputMode {
	case Update:
		return &Results[G]{task: s.b.task, table: t, changed: map[G]int{}}
	case Complete:
		return &Results[G]{task: s.b.task, table: t, complete: true}
	}
	return nil
}

// Keeps reports whether groups stay for ever: nothing is late then.
func (r *Results[G]) Keeps() bool { return r != nil && r.complete }

// Changed notes that a record has changed a group, which may be a view.
func (r *Results[G]) Changed(g G, from int) {
	if r.complete {
		return
	}
	if i, ok := r.changed[g]; ok {
		r.leaving[i].from = min(r.leaving[i].from, from)
		return
	}
	g = r.table.Clone(g)
	r.changed[g] = len(r.leaving)
	r.leaving = append(r.leaving, leaving[G]{g, from})
}

// leave emits what the batch lets leave. It pauses where an output is starved.
func (r *Results[G]) leave() (done bool) {
	if r.complete && !r.ending {
		r.table.Each(func(g G) bool {
			r.leaving = append(r.leaving, leaving[G]{group: g})
			return true
		})
	}
	r.ending = true
	t := r.task
	for ; r.next < len(r.leaving); r.next++ {
		if t.pressure.Starved > 0 {
			return false
		}
		if t.err != nil {
			return true
		}
		l := r.leaving[r.next]
		t.ctx.AtTimer(NoTime)
		r.table.Emit(l.group, l.from)
	}
	clear(r.changed)
	clear(r.leaving)
	r.leaving, r.next, r.ending = r.leaving[:0], 0, false
	return true
}

// ruler is a Results of any type.
type ruler interface{ rule(op *operator) }

// rule puts an operator under the output mode: what the watermark has passed is
// let go behind the rows of the batch, and under Complete never.
func (r *Results[G]) rule(op *operator) {
	if r == nil {
		return
	}
	done := func(int64) bool { return true }
	release, t := op.watermark, r.task
	op.watermark = done
	op.endBatch = func() bool { return r.leave() && release(t.watermark) }
	if r.complete {
		never := func() int64 { return math.MaxInt64 }
		op.processingTime, op.nextTimer, op.nextEvent = done, never, never
		op.endBatch = r.leave
	}
}
