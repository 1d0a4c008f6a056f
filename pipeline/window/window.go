package window

import (
	"fmt"
	"math"
	"time"
)

// Window is a range of time [Start, End) in Unix milliseconds.
type Window struct{ Start, End int64 }

// GlobalWindow is the one window of the global assigner. It has no end.
var GlobalWindow = Window{math.MinInt64, math.MaxInt64}

// MaxTimestamp returns the largest timestamp that belongs to the window: End − 1
// and, for the global window, math.MaxInt64.
func (w Window) MaxTimestamp() int64 {
	if w.End == math.MaxInt64 {
		return math.MaxInt64
	}
	return w.End - 1
}

// Intersects reports whether two windows overlap or touch.
func (w Window) Intersects(o Window) bool { return w.Start <= o.End && w.End >= o.Start }

// Cover returns the smallest window that contains both.
func (w Window) Cover(o Window) Window { return Window{min(w.Start, o.Start), max(w.End, o.End)} }

// StartOf returns the start of the window of a size that a timestamp falls in:
// ts − floorMod(ts − offset, size).
func StartOf(ts, offset, size int64) int64 {
	r := (ts - offset) % size
	if r < 0 {
		r += size
	}
	return ts - r
}

// NaturalOffset returns the offset that makes windows of a size begin at the
// time now, Flink's WindowStagger.NATURAL.
func NaturalOffset(now, size int64) int64 { return now - StartOf(now, 0, size) }

// Time says which time windows are made of.
type Time bool

// The times.
const (
	EventTime      Time = true
	ProcessingTime Time = false
)

type kind uint8

const (
	tumbling kind = iota + 1
	sliding
	session
	global
)

// Assigner says which windows a record belongs to.
type Assigner struct {
	kind                     kind
	time                     Time
	size, slide, offset, gap time.Duration
	gaps                     bool // slide > size is meant
	count, every             int  // of count windows
	counted, slides          bool // it is one, a sliding one
}

// TumblingEventTime assigns windows of a size that follow each other.
func TumblingEventTime(size time.Duration) Assigner {
	return Assigner{kind: tumbling, time: EventTime, size: size, slide: size}
}

// TumblingProcessingTime is TumblingEventTime in processing time.
func TumblingProcessingTime(size time.Duration) Assigner {
	return Assigner{kind: tumbling, size: size, slide: size}
}

// SlidingEventTime assigns windows of a size, of which one begins each slide.
func SlidingEventTime(size, slide time.Duration) Assigner {
	return Assigner{kind: sliding, time: EventTime, size: size, slide: slide}
}

// SlidingProcessingTime is SlidingEventTime in processing time.
func SlidingProcessingTime(size, slide time.Duration) Assigner {
	return Assigner{kind: sliding, size: size, slide: slide}
}

// EventTimeSession assigns windows that end when a key has been silent for the
// gap: [ts, ts + gap), merged where they overlap or touch.
func EventTimeSession(gap time.Duration) Assigner {
	return Assigner{kind: session, time: EventTime, gap: gap}
}

// ProcessingTimeSession is EventTimeSession in processing time.
func ProcessingTimeSession(gap time.Duration) Assigner {
	return Assigner{kind: session, gap: gap}
}

// Global assigns all records of a key to one window without end, which needs a
// trigger.
func Global() Assigner { return Assigner{kind: global} }

// CountTumbling assigns each n records of a key to a window, which fires when it
// is full: Flink's countWindow(n).
func CountTumbling(n int) Assigner { return Assigner{kind: global, counted: true, count: n, every: n} }

// CountSliding fires on each slide-th record of a key with the last n records:
// Flink's countWindow(n, slide). The first windows hold fewer.
func CountSliding(n, slide int) Assigner {
	return Assigner{kind: global, counted: true, slides: true, count: n, every: slide}
}

// Offset shifts the windows' starts from the multiples of their size or slide;
// its amount is below that.
func (a Assigner) Offset(d time.Duration) Assigner { a.offset = d; return a }

// WithGaps allows a slide longer than the size: records in between belong to no
// window and are left out.
func (a Assigner) WithGaps() Assigner { a.gaps = true; return a }

// Check returns what is wrong with the assigner's parameters.
func (a Assigner) Check() error {
	switch a.kind {
	case tumbling, sliding:
		if a.size <= 0 || a.slide <= 0 {
			return fmt.Errorf("window size %v, slide %v: both must be above zero", a.size, a.slide)
		}
		if a.offset.Abs() >= a.slide {
			return fmt.Errorf("window offset %v must be smaller than the slide %v", a.offset, a.slide)
		}
		if a.slide > a.size && !a.gaps {
			return fmt.Errorf("window slide %v is above the size %v: records between windows would be left out; say WithGaps if that is meant", a.slide, a.size)
		}
		return whole("window size, slide and offset", a.size, a.slide, a.offset)
	case session:
		if a.gap <= 0 {
			return fmt.Errorf("session gap %v must be above zero", a.gap)
		}
		return whole("session gap", a.gap)
	case global:
		if a.counted {
			if a.count < 1 || a.every < 1 {
				return fmt.Errorf("count window of %d, slide %d: both must be above zero", a.count, a.every)
			}
			if a.every > a.count && !a.gaps {
				return fmt.Errorf("count window slide %d is above the size %d: records between windows would be left out; say WithGaps if that is meant", a.every, a.count)
			}
		}
		return nil
	}
	return fmt.Errorf("the window has no assigner")
}

func whole(what string, ds ...time.Duration) error {
	for _, d := range ds {
		if d%time.Millisecond != 0 {
			return fmt.Errorf("%s: %v is not whole milliseconds, the unit of timestamps", what, d)
		}
	}
	return nil
}

// Assign appends the windows that a timestamp belongs to, the latest first.
// Sessions are assigned unmerged.
func (a Assigner) Assign(dst []Window, ts int64) []Window {
	switch a.kind {
	case session:
		return append(dst, Window{ts, ts + a.gap.Milliseconds()})
	case global:
		return append(dst, GlobalWindow)
	}
	size, slide := a.size.Milliseconds(), a.slide.Milliseconds()
	for start := StartOf(ts, a.offset.Milliseconds(), slide); start > ts-size; start -= slide {
		dst = append(dst, Window{start, start + size})
	}
	return dst
}

// farthest bounds event time before 1970: 146 million years.
const farthest = 1 << 62

// inRange reports whether a timestamp's windows, which reach so far beyond it,
// end before time does; NoTime is out.
func inRange(ts, reach int64) bool { return ts >= -farthest && ts < math.MaxInt64-reach }

// addTime is t + d, d not below zero, that stops at the end of time: clean-up
// must not be taken for long past where it would overflow.
func addTime(t, d int64) int64 {
	if t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}
