package window

import (
	"fmt"
	"math"
	"slices"
	"time"

	"streamduel/pipeline"
)

// Result is a trigger's decision. Fire and Purge are bits.
type Result uint8

// The results.
const (
	Continue     Result = 0
	Fire         Result = 1            // evaluate the window, keep its contents
	Purge        Result = 2            // drop its contents
	FireAndPurge Result = Fire | Purge // evaluate, then drop
)

// State is what a trigger remembers of one window. It is part of the snapshot.
type State struct {
	Count int64
	// Time is a time that the trigger waits for; NoTime if none. See Merge.
	Time int64
}

var noState = State{Time: pipeline.NoTime}

// TriggerContext is what a trigger sees and does. It is one value an operator.
type TriggerContext[T any] struct {
	ctx               *pipeline.Ctx
	time              Time // of the windows
	state             *State
	last              **T
	clone             func(T) T
	event, processing *[]int64
}

// Watermark returns the current watermark.
func (c *TriggerContext[T]) Watermark() int64 { return c.ctx.Watermark() }

// ProcessingTime returns the current processing time.
func (c *TriggerContext[T]) ProcessingTime() int64 { return c.ctx.ProcessingTime() }

// State returns the trigger's state for the window, for update in place.
func (c *TriggerContext[T]) State() *State { return c.state }

// Last returns the record that SetLast kept for the window.
func (c *TriggerContext[T]) Last() (v T, ok bool) {
	if *c.last == nil {
		return v, false
	}
	return **c.last, true
}

// SetLast keeps a record for the window.
func (c *TriggerContext[T]) SetLast(v T) {
	if *c.last == nil {
		*c.last = new(T)
	}
	**c.last = c.clone(v)
}

// EventTimer sets a timer of the window; setting one twice is one timer. It is
// gone with the window.
func (c *TriggerContext[T]) EventTimer(at int64) { setTimer(c.event, at) }

// DeleteEventTimer removes a timer.
func (c *TriggerContext[T]) DeleteEventTimer(at int64) { deleteTimer(c.event, at) }

// ProcessingTimer sets a timer of processing time.
func (c *TriggerContext[T]) ProcessingTimer(at int64) { setTimer(c.processing, at) }

// DeleteProcessingTimer removes a timer of processing time.
func (c *TriggerContext[T]) DeleteProcessingTimer(at int64) { deleteTimer(c.processing, at) }

func setTimer(ts *[]int64, at int64) {
	if !slices.Contains(*ts, at) {
		*ts = append(*ts, at)
	}
}

func deleteTimer(ts *[]int64, at int64) {
	if i := slices.Index(*ts, at); i >= 0 {
		(*ts)[i] = (*ts)[len(*ts)-1]
		*ts = (*ts)[:len(*ts)-1]
	}
}

// Trigger says when a window is evaluated. A nil function continues. It holds
// no memory of its own: what it knows of a window is in the context.
type Trigger[T any] struct {
	Name string
	// Element is called for each record that was added to a window; ts is
	// the record's time.
	Element func(v T, ts int64, w Window, c *TriggerContext[T]) Result
	// EventTime and ProcessingTime are called when one of the window's timers of
	// that kind is due, the one that cleans it up among them.
	EventTime      func(at int64, w Window, c *TriggerContext[T]) Result
	ProcessingTime func(at int64, w Window, c *TriggerContext[T]) Result
	// Merged is called when windows became one, whose timers were dropped and
	// whose states were joined: counts added, the smaller time kept. A trigger
	// without it cannot be used with sessions.
	Merged func(w Window, c *TriggerContext[T])

	// KeepsRecord says that the trigger calls SetLast, for which the stream must
	// have a codec.
	KeepsRecord bool

	err error
}

func joinStates(into *State, from State) {
	into.Count += from.Count
	if into.Time == pipeline.NoTime || from.Time != pipeline.NoTime && from.Time < into.Time {
		into.Time = from.Time
	}
}

// EventTimeTrigger fires when the watermark reaches the window's max timestamp,
// and for each record that comes later: Flink's EventTimeTrigger.
func EventTimeTrigger[T any]() Trigger[T] {
	return Trigger[T]{
		Name: "event time",
		Element: func(_ T, _ int64, w Window, c *TriggerContext[T]) Result {
			if w.MaxTimestamp() <= c.Watermark() {
				return Fire
			}
			c.EventTimer(w.MaxTimestamp())
			return Continue
		},
		EventTime: func(at int64, w Window, _ *TriggerContext[T]) Result { return fireIf(at == w.MaxTimestamp()) },
		Merged: func(w Window, c *TriggerContext[T]) {
			if w.MaxTimestamp() > c.Watermark() {
				c.EventTimer(w.MaxTimestamp())
			}
		},
	}
}

func fireIf(yes bool) Result {
	if yes {
		return Fire
	}
	return Continue
}

// ProcessingTimeTrigger fires when processing time reaches the window's max
// timestamp: Flink's ProcessingTimeTrigger.
func ProcessingTimeTrigger[T any]() Trigger[T] {
	return Trigger[T]{
		Name: "processing time",
		Element: func(_ T, _ int64, w Window, c *TriggerContext[T]) Result {
			c.ProcessingTimer(w.MaxTimestamp())
			return Continue
		},
		ProcessingTime: func(int64, Window, *TriggerContext[T]) Result { return Fire },
		Merged: func(w Window, c *TriggerContext[T]) {
			if w.MaxTimestamp() > c.ProcessingTime() {
				c.ProcessingTimer(w.MaxTimestamp())
			}
		},
	}
}

// CountTrigger fires when n records have come since it last fired: Flink's
// CountTrigger.
func CountTrigger[T any](n int) Trigger[T] {
	t := Trigger[T]{
		Name: "count",
		Element: func(_ T, _ int64, _ Window, c *TriggerContext[T]) Result {
			s := c.State()
			if s.Count++; s.Count < int64(n) {
				return Continue
			}
			s.Count = 0
			return Fire
		},
		Merged: func(Window, *TriggerContext[T]) {},
	}
	if n < 1 {
		t.err = fmt.Errorf("count trigger: %d records must be above zero", n)
	}
	return t
}

// ContinuousEventTimeTrigger fires each interval of event time, at its
// multiples, and at the window's end: Flink's ContinuousEventTimeTrigger.
func ContinuousEventTimeTrigger[T any](interval time.Duration) Trigger[T] {
	every := interval.Milliseconds()
	next := func(from int64, w Window, c *TriggerContext[T]) {
		at := min(from+every, w.MaxTimestamp())
		c.State().Time = at
		c.EventTimer(at)
	}
	return Trigger[T]{
		Name: "continuous event time",
		Element: func(_ T, ts int64, w Window, c *TriggerContext[T]) Result {
			if w.MaxTimestamp() <= c.Watermark() {
				return Fire
			}
			c.EventTimer(w.MaxTimestamp())
			if c.State().Time == pipeline.NoTime {
				next(ts-ts%every, w, c)
			}
			return Continue
		},
		EventTime: func(at int64, w Window, c *TriggerContext[T]) Result {
			if at == w.MaxTimestamp() {
				return Fire
			}
			if at != c.State().Time {
				return Continue
			}
			next(at, w, c)
			return Fire
		},
		Merged: func(_ Window, c *TriggerContext[T]) {
			if at := c.State().Time; at != pipeline.NoTime {
				c.EventTimer(at)
			}
		},
		err: checkInterval(interval),
	}
}

// ContinuousProcessingTimeTrigger fires each interval of processing time, at its
// multiples, and at the end of a window of processing time: Flink's
// ContinuousProcessingTimeTrigger, which however takes the end of a window of
// event time for a processing time, too.
func ContinuousProcessingTimeTrigger[T any](interval time.Duration) Trigger[T] {
	every := interval.Milliseconds()
	next := func(from int64, w Window, c *TriggerContext[T]) {
		at := from + every
		if c.time == ProcessingTime {
			at = min(at, w.MaxTimestamp())
		}
		if at > from {
			c.State().Time = at
			c.ProcessingTimer(at)
		}
	}
	return Trigger[T]{
		Name: "continuous processing time",
		Element: func(_ T, _ int64, w Window, c *TriggerContext[T]) Result {
			if c.State().Time == pipeline.NoTime {
				now := c.ProcessingTime()
				next(now-now%every, w, c)
			}
			return Continue
		},
		ProcessingTime: func(at int64, w Window, c *TriggerContext[T]) Result {
			if at != c.State().Time {
				return Continue
			}
			next(at, w, c)
			return Fire
		},
		Merged: func(_ Window, c *TriggerContext[T]) {
			if at := c.State().Time; at != pipeline.NoTime {
				c.ProcessingTimer(at)
			}
		},
		err: checkInterval(interval),
	}
}

func checkInterval(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("continuous trigger: interval %v must be above zero", d)
	}
	return whole("interval of a continuous trigger", d)
}

// PurgingTrigger drops the window's contents whenever another trigger fires:
// Flink's PurgingTrigger.
func PurgingTrigger[T any](t Trigger[T]) Trigger[T] {
	purge := func(r Result) Result {
		if r&Fire != 0 {
			return FireAndPurge
		}
		return r
	}
	p := Trigger[T]{Name: "purging " + t.Name, Merged: t.Merged, KeepsRecord: t.KeepsRecord, err: t.err}
	if f := t.Element; f != nil {
		p.Element = func(v T, ts int64, w Window, c *TriggerContext[T]) Result { return purge(f(v, ts, w, c)) }
	}
	if f := t.EventTime; f != nil {
		p.EventTime = func(at int64, w Window, c *TriggerContext[T]) Result { return purge(f(at, w, c)) }
	}
	if f := t.ProcessingTime; f != nil {
		p.ProcessingTime = func(at int64, w Window, c *TriggerContext[T]) Result { return purge(f(at, w, c)) }
	}
	return p
}

// DeltaTrigger fires when a record is farther than the threshold from the one
// that it last fired for, at first from the window's first: Flink's
// DeltaTrigger. It cannot be used with sessions.
func DeltaTrigger[T any](threshold float64, delta func(old, v T) float64) Trigger[T] {
	t := Trigger[T]{
		Name: "delta", KeepsRecord: true,
		Element: func(v T, _ int64, _ Window, c *TriggerContext[T]) Result {
			last, ok := c.Last()
			if !ok {
				c.SetLast(v)
				return Continue
			}
			if delta(last, v) > threshold {
				c.SetLast(v)
				return Fire
			}
			return Continue
		},
	}
	if delta == nil || math.IsNaN(threshold) {
		t.err = fmt.Errorf("delta trigger: it needs a function and a threshold that is a number")
	}
	return t
}

// NeverTrigger never fires: Flink's default for global windows.
func NeverTrigger[T any]() Trigger[T] {
	return Trigger[T]{Name: "never", Merged: func(Window, *TriggerContext[T]) {}}
}
