package dataflow

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/pipeline"
)

// WatermarkPolicy names how the splits of a source make its watermark.
type WatermarkPolicy string

// The watermark policies.
const (
	// MinOverSplits is Flink's: the least over all active splits.
	MinOverSplits WatermarkPolicy = "min"
	// MinOverPartitions is another name of it, the one that micro-batch has.
	MinOverPartitions WatermarkPolicy = "min-over-partitions"
	// TaskMax is Kafka Streams' stream time: the largest of what a task has seen,
	// over its splits at a source and over its channels behind an exchange.
	TaskMax WatermarkPolicy = "task-max"
	// SparkMax is structured streaming's: one maximum over all splits of a source,
	// whichever subtask reads them.
	SparkMax WatermarkPolicy = "spark"
)

// maximum reports whether the watermark follows the split that is ahead. It is
// then moved behind every batch: a maximum that waits for the next tick would
// show less of what it does the faster the job is.
func (p WatermarkPolicy) maximum() bool { return p == TaskMax || p == SparkMax }

// splitTime is the event time of a split that a subtask reads.
type splitTime struct {
	watermark int64
	timer     *pipeline.IdleTimer // nil where splits are never idle
	paused    bool                // it is ahead of its group
	ended     bool                // its last record has been read: it holds nobody back
}

func (s *splitTime) active() {
	if s.timer != nil {
		s.timer.Activity()
	}
}

// idleTimer makes a split's timer.
func (s *sourceReader) idleTimer() *pipeline.IdleTimer {
	if s.node.Watermarks == nil || s.node.Watermarks.Idle == 0 {
		return nil
	}
	t, err := pipeline.NewIdleTimer(s.node.Watermarks.Idle)
	if err != nil {
		panic(err) // the job has been checked
	}
	return t
}

// tick moves the source's watermark by its splits', as the policy says. A split
// that gave nothing for the idle time is left out; without an active split the
// subtask says that it is idle.
func (s *sourceReader) tick() {
	t := s.task
	if s.node.Watermarks == nil {
		s.setIdle(true) // no event time of its own: others decide
		return
	}
	now := clock.Mono()
	low, high, any := int64(math.MaxInt64), pipeline.NoTime, false
	for _, sp := range s.order {
		if sp.ended {
			high = max(high, sp.watermark)
			continue
		}
		var idle bool
		sp.splitTime.watermark, idle = s.head.Watermark(sp.ID)
		if s.batch != nil || sp.paused {
			// Held up by its own outputs or by the alignment, the source cannot know
			// who is idle.
			sp.active()
		}
		if sp.timer != nil && sp.timer.Idle(now) {
			idle = true
		}
		sp.shown.tick(now, sp.splitTime.watermark, sp.paused, idle)
		high = max(high, sp.splitTime.watermark)
		if idle {
			continue
		}
		any = true
		low = min(low, sp.splitTime.watermark)
	}
	s.setIdle(!any)
	s.publish(low)
	s.align()
	reached := low
	switch t.run.cfg.Watermark {
	case TaskMax:
		reached = high
	case SparkMax:
		reached = t.seat.source.lift(high)
	}
	if any && reached > t.target {
		t.target, t.moving = reached, true
	}
}

// lift takes a subtask's maximum and returns the source's.
func (s *enumeration) lift(wm int64) int64 {
	for {
		old := s.highest.Load()
		if wm <= old {
			return old
		}
		if s.highest.CompareAndSwap(old, wm) {
			return wm
		}
	}
}

// alignment is a group of source subtasks whose splits are kept together:
// Flink's watermark alignment, by split.
type alignment struct {
	name    string
	drift   int64
	every   time.Duration
	members []*member
	limit   atomic.Int64 // watermark above which splits are paused
}

// member is a subtask's place in a group. low is what it tells the others: the
// least of its active splits, or the largest number when it holds nobody back.
type member struct {
	group *alignment
	seat  *seat
	low   atomic.Int64
}

// alignGroups finds the groups, when all seats are made.
func (r *run) alignGroups() {
	groups := map[string]*alignment{}
	for _, s := range r.seats {
		if s.source == nil || s.source.node.Watermarks == nil || s.source.node.Watermarks.Align.Group == "" {
			continue
		}
		a := s.source.node.Watermarks.Align
		g := groups[a.Group]
		if g == nil {
			g = &alignment{name: a.Group, drift: a.MaxDrift.Milliseconds(), every: a.Interval()}
			g.limit.Store(math.MaxInt64)
			groups[a.Group] = g
			r.aligned = append(r.aligned, g)
		}
		s.aligned = &member{group: g, seat: s}
		g.members = append(g.members, s.aligned)
	}
}

func (s *sourceReader) aligned() *member { return s.task.seat.aligned }

// rejoin begins anew what a subtask tells the others of its time: a restarted one
// goes back.
func (s *sourceReader) rejoin() {
	if m := s.aligned(); m != nil {
		m.low.Store(pipeline.NoTime)
	}
	s.task.seat.source.highest.Store(pipeline.NoTime)
}

// publish tells the group how far this subtask's splits have come.
func (s *sourceReader) publish(low int64) {
	if m := s.aligned(); m != nil {
		m.low.Store(low)
	}
}

// update works out how far splits may be ahead now. A split that has given
// nothing yet holds back all the others, as in Flink: let it become idle.
func (g *alignment) update() {
	low := int64(math.MaxInt64)
	for _, m := range g.members {
		low = min(low, m.low.Load())
	}
	g.limit.Store(low + min(g.drift, math.MaxInt64-max(low, 0)))
}

// align pauses the splits that are too far ahead and lets go on those that are
// not any more.
func (s *sourceReader) align() {
	m := s.aligned()
	if m == nil {
		return
	}
	limit := m.group.limit.Load()
	var pause, resume []connectors.SplitID
	for _, sp := range s.order {
		switch ahead := sp.splitTime.watermark > limit && !sp.ended; {
		case ahead && !sp.paused:
			pause = append(pause, sp.ID)
		case !ahead && sp.paused:
			resume = append(resume, sp.ID)
		default:
			continue
		}
		sp.paused = !sp.paused
	}
	if len(pause)+len(resume) > 0 {
		s.fetch.hold(pause, resume)
	}
}

// held is what a fetcher knows of splits that may be paused: where each goes on.
type held struct {
	mu     sync.Mutex
	change []change // to be made
	next   map[connectors.SplitID]connectors.Assignment
	paused map[connectors.SplitID]bool
}

type change struct {
	split connectors.SplitID
	pause bool
}

// hold pauses splits and lets others go on.
func (f *fetcher) hold(pause, resume []connectors.SplitID) {
	f.held.mu.Lock()
	for _, id := range pause {
		f.held.change = append(f.held.change, change{id, true})
	}
	for _, id := range resume {
		f.held.change = append(f.held.change, change{id, false})
	}
	f.held.mu.Unlock()
	f.interrupt()
}

// took notes where splits go on; only the fetcher's goroutine calls it.
func (h *held) took(as ...connectors.Assignment) {
	if h.next == nil {
		h.next, h.paused = map[connectors.SplitID]connectors.Assignment{}, map[connectors.SplitID]bool{}
	}
	for _, a := range as {
		h.next[a.Split.ID] = a
	}
}

// apply makes the changes that have been asked for, in their order.
func (h *held) apply(r connectors.Reader) error {
	h.mu.Lock()
	changes := h.change
	h.change = nil
	h.mu.Unlock()
	for _, c := range changes {
		if c.pause {
			r.Unassign(c.split)
			h.paused[c.split] = true
			continue
		}
		delete(h.paused, c.split)
		if err := r.Assign(h.next[c.split]); err != nil {
			return err
		}
	}
	return nil
}
