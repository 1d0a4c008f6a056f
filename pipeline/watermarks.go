package pipeline

import (
	"errors"
	"fmt"
	"math"
	"time"

	"streamduel/connectors"
)

// Watermarks says how a source's event time advances: bounded
// out-of-orderness by Delay (0 for times that never fall within a split), unless
// the source is given a generator of its own (Punctuated, WatermarkGenerator).
// Each split has a watermark; how an engine combines them is its configuration's
// business (docs/event-time.md).
type Watermarks struct {
	// Delay is how far event time may be out of order within a split: the
	// watermark is max − Delay − 1 ms (Flink's bounded out-of-orderness).
	Delay time.Duration
	// Idle leaves a split out of the minimum when it gave nothing for so long;
	// 0 waits for it.
	Idle time.Duration
	// Align keeps the splits together that are read at different speeds.
	Align Alignment
	// Ahead is how far before the engine's processing time an event time may lie;
	// a record farther ahead is bad input, because it would take the watermark
	// with it and make all others late. 0 is DefaultAhead.
	Ahead time.Duration
	// BeforeEpoch admits event times before 1970, which are otherwise bad input.
	BeforeEpoch bool
}

// DefaultAhead is Watermarks.Ahead where it is not set: a hundred years.
const DefaultAhead = 100 * 365 * 24 * time.Hour

// Alignment pauses the splits that are ahead of the others of a group (Flink's
// watermark alignment). Only an engine that reads splits one by one for ever can
// do so: micro-batch plans ranges instead and leaves it out.
type Alignment struct {
	// Group names the sources that are kept together; "" aligns nothing.
	Group string
	// MaxDrift is how far a split's watermark may be ahead of the group's least.
	MaxDrift time.Duration
	// Update is how often the group's least is worked out; 0 is one second. Time
	// passes by about MaxDrift from one update to the next at most, also when a
	// job catches up.
	Update time.Duration
}

// Interval is Update with its default.
func (a Alignment) Interval() time.Duration {
	if a.Update == 0 {
		return time.Second
	}
	return a.Update
}

// longestDelay bounds what a watermark may lag behind or a split be silent: a
// longer delay than any job runs would never let anything fire, and its
// arithmetic must not overflow.
const longestDelay = 100 * 365 * 24 * time.Hour

// check returns what is wrong with the settings of a source.
func (w *Watermarks) check() error {
	var errs []error
	say := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	say(w.Delay >= 0, "a watermark delay of %s would run ahead of the records and make them all late: 0 or more is allowed", w.Delay)
	say(w.Delay <= longestDelay, "a watermark delay of %s: at most 100 years are allowed", w.Delay)
	say(w.Delay < 0 || w.Delay%time.Millisecond == 0, "a watermark delay of %s is not whole milliseconds", w.Delay)
	say(w.Idle >= 0 && w.Idle <= longestDelay, "an idle time of %s: 0 (never idle) to 100 years are allowed", w.Idle)
	say(w.Ahead >= 0 && w.Ahead <= DefaultAhead, "event times %s ahead: 0 (the default) to 100 years are allowed", w.Ahead)
	a := w.Align
	say(a.MaxDrift >= 0, "watermark alignment with a drift of %s: 0 or more is allowed", a.MaxDrift)
	say(a.Update >= 0, "watermark alignment updated each %s: an interval above 0 is allowed", a.Update)
	say(a.Group != "" || a.MaxDrift == 0 && a.Update == 0, "watermark alignment needs a group's name")
	return errors.Join(errs...)
}

// checkGroups refuses sources of one alignment group that do not agree.
func (g *Graph) checkGroups() (errs []error) {
	first := map[string]*Node{}
	for _, n := range g.nodes {
		if n.Watermarks == nil || n.Watermarks.Align.Group == "" {
			continue
		}
		a := n.Watermarks.Align
		if f := first[a.Group]; f == nil {
			first[a.Group] = n
		} else if b := f.Watermarks.Align; a.MaxDrift != b.MaxDrift || a.Interval() != b.Interval() {
			errs = append(errs, fmt.Errorf("source %q: alignment group %q has drift %s and interval %s at source %q, here %s and %s",
				n.Name, a.Group, b.MaxDrift, b.Interval(), f.Name, a.MaxDrift, a.Interval()))
		}
	}
	return errs
}

// EventTime takes each record's event time, in Unix milliseconds, from its
// value, and derives watermarks from it. NoTime says that the record has none,
// which is bad input.
func EventTime[T any](of func(T) int64, w Watermarks) SourceOption[T] {
	return func(n *Node, h *sourceConfig[T]) {
		h.eventTime = of
		n.Watermarks = &w
	}
}

// IngestionTime stamps each record with the engine's processing time when it is
// taken in, never falling within a split; its watermark follows at once. In
// micro-batch that is the time of the batch.
func IngestionTime[T any](w Watermarks) SourceOption[T] {
	return func(n *Node, h *sourceConfig[T]) {
		h.stamp = true
		n.Watermarks = &w
	}
}

func (c *sourceConfig[T]) check(g *Graph, n *Node) {
	switch w := n.Watermarks; {
	case w == nil && c.generator != nil:
		g.fail("source %q: a watermark generator needs EventTime or IngestionTime beside it", n.Name)
	case w == nil:
	case c.stamp && c.eventTime != nil:
		g.fail("source %q: its records' time is either EventTime or IngestionTime, not both", n.Name)
	case !c.stamp && c.eventTime == nil:
		g.fail("source %q: EventTime needs a function that takes it from a value", n.Name)
	default:
		if c.generator != nil && w.Delay != 0 {
			g.fail("source %q: a watermark delay has no meaning beside a generator of its own", n.Name)
		}
		if err := w.check(); err != nil {
			g.fail("source %q: %w", n.Name, err)
		}
	}
}

// Generator makes the watermarks of one split from its records, as Flink's
// WatermarkGenerator does.
type Generator[T any] interface {
	// OnEvent is called for each record of the split, before it goes on.
	OnEvent(v T, ts int64, out *WatermarkOutput)
	// OnPeriodic is called at the engine's watermark interval; in micro-batch at
	// the end of each batch that read the split.
	OnPeriodic(out *WatermarkOutput)
}

// WatermarkOutput takes what a generator says of its split.
type WatermarkOutput struct {
	watermark int64
	idle      bool
}

// Emit moves the split's watermark: no record at or before it is to be expected.
// It never moves back. The split is active from then on.
func (o *WatermarkOutput) Emit(watermark int64) {
	o.watermark = max(o.watermark, watermark)
	o.idle = false
}

// MarkIdle leaves the split out of the minimum until it is marked active, or
// emits.
func (o *WatermarkOutput) MarkIdle() { o.idle = true }

// MarkActive takes MarkIdle back.
func (o *WatermarkOutput) MarkActive() { o.idle = false }

// WatermarkGenerator gives a source a generator a split, instead of the bounded
// out-of-orderness of EventTime's Watermarks. It comes beside EventTime or
// IngestionTime.
func WatermarkGenerator[T any](make func() Generator[T]) SourceOption[T] {
	return func(n *Node, h *sourceConfig[T]) { h.generator = make }
}

// Punctuated takes watermarks from the records: of returns what a record says
// the watermark is, and whether it says so.
func Punctuated[T any](of func(v T, ts int64) (watermark int64, ok bool)) SourceOption[T] {
	return WatermarkGenerator(func() Generator[T] { return punctuated[T](of) })
}

type punctuated[T any] func(v T, ts int64) (int64, bool)

func (p punctuated[T]) OnEvent(v T, ts int64, out *WatermarkOutput) {
	if wm, ok := p(v, ts); ok {
		out.Emit(wm)
	}
}

func (punctuated[T]) OnPeriodic(*WatermarkOutput) {}

// BoundedOutOfOrderness is the generator that Watermarks.Delay stands for, to
// build others from: the watermark is max − delay − 1 ms.
func BoundedOutOfOrderness[T any](delay time.Duration) Generator[T] {
	return &bounded[T]{delay: delay.Milliseconds(), largest: NoTime}
}

// MonotonousTimestamps is for splits whose event times never fall.
func MonotonousTimestamps[T any]() Generator[T] { return BoundedOutOfOrderness[T](0) }

type bounded[T any] struct{ delay, largest int64 }

func (b *bounded[T]) OnEvent(_ T, ts int64, _ *WatermarkOutput) { b.largest = max(b.largest, ts) }

func (b *bounded[T]) OnPeriodic(out *WatermarkOutput) {
	if b.largest != NoTime {
		out.Emit(behind(b.largest, b.delay))
	}
}

// behind is the watermark when ts has been seen, saturating at the smallest that
// is one.
func behind(ts, delay int64) int64 {
	if ts <= NoTime+delay+1 {
		return NoTime + 1
	}
	return ts - delay - 1
}

// IdleTimer tells when a split has given nothing for longer than a timeout. It
// does not run on its own: the time counts from the first check that saw no
// activity since the one before, so that a long time without checks, because the
// task was held up, makes no split idle.
type IdleTimer struct {
	timeout int64
	active  bool
	since   int64 // of the first check without activity; NoTime when there was none
}

// NewIdleTimer returns a timer; the timeout must be above 0.
func NewIdleTimer(timeout time.Duration) (*IdleTimer, error) {
	if timeout <= 0 {
		return nil, fmt.Errorf("an idle timeout of %s: above 0 is allowed", timeout)
	}
	return &IdleTimer{timeout: int64(timeout), since: math.MinInt64}, nil
}

// Activity says that the split gave something, or could not.
func (t *IdleTimer) Activity() { t.active = true }

// Idle reports whether the split is idle at a time in nanoseconds, on a clock
// that does not go back.
func (t *IdleTimer) Idle(now int64) bool {
	switch {
	case t.active:
		t.active, t.since = false, math.MinInt64
		return false
	case t.since == math.MinInt64:
		t.since = now
		return false
	}
	return now-t.since > t.timeout
}

// splitTime is the event time of one split in a source's head.
type splitTime[T any] struct {
	largest   int64 // event time
	out       WatermarkOutput
	generator Generator[T] // nil derives the watermark from largest
}

func (h *sourceHead[T]) split(s connectors.SplitID) *splitTime[T] {
	t := h.splits[s]
	if t == nil {
		t = &splitTime[T]{largest: NoTime, out: WatermarkOutput{watermark: NoTime}}
		if h.generator != nil {
			t.generator = h.generator()
		}
		h.splits[s] = t
	}
	return t
}

// Watermark implements SourceHead.
func (h *sourceHead[T]) Watermark(s connectors.SplitID) (wm int64, idle bool) {
	t := h.split(s)
	switch {
	case t.generator != nil:
		t.generator.OnPeriodic(&t.out)
	case t.largest != NoTime:
		t.out.Emit(behind(t.largest, h.delay))
	}
	return t.out.watermark, t.out.idle
}

// SetWatermark implements SourceHead.
func (h *sourceHead[T]) SetWatermark(s connectors.SplitID, wm int64) {
	t := h.split(s)
	t.out.watermark = max(t.out.watermark, wm)
}
