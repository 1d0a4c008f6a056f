package window

import (
	"fmt"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/state"
)

// slot is one window of one key: its contents, its trigger's state and its
// timers.
type slot[T, A any] struct {
	w     Window
	has   bool // it has contents
	acc   A
	state State
	last  *T // see TriggerContext.SetLast
	event []int64
	proc  []int64
}

// slots are a key's windows, by start; those of sessions are pairwise apart.
type slots[T, A any] struct {
	list            []slot[T, A]
	eventAt, procAt int64 // when the agendas have the key
}

// slotted is the operator that does any window with any trigger, one by one:
// what Flink's WindowOperator and EvictingWindowOperator do.
type slotted[K comparable, T, A, R any] struct {
	name        string
	kind        kind
	time        Time
	size, slide int64 // of aligned windows
	offset, gap int64
	reach       int64 // how far beyond a record its windows end
	gapOf       func(T) time.Duration
	lateness    int64

	keyOf   func(T) K
	clone   func(K) K
	table   *state.Table[K, slots[T, A]]
	keys    []K // scratch
	event   agenda[K]
	proc    agenda[K]
	ctx     *pipeline.Ctx
	stop    func() bool
	late    func(T)
	c       *contents[T, A]
	trigger Trigger[T]
	tc      TriggerContext[T]
	fire    func(c *Context[K], a *A, emit func(R))
	emit    func(R)
	window  Context[K]
	spare   [][]slot[T, A] // lists of keys that have no window any more
	// results, if not nil, has the windows' rows leave as an output mode says.
	results *pipeline.Results[tableRow[K]]
}

func newSlotted[K comparable, T, A, R any](s *pipeline.Setup[K], w *Windowed[K, T], c *contents[T, A], fire func(*Context[K], *A, func(R)), next pipeline.Receiver[R]) pipeline.Operator[T] {
	a := w.assigner
	o := &slotted[K, T, A, R]{
		name: s.Name(), kind: a.kind, time: a.time,
		size: a.size.Milliseconds(), slide: a.slide.Milliseconds(), offset: a.offset.Milliseconds(), gap: a.gap.Milliseconds(),
		gapOf: w.gapOf, lateness: w.lateness.Milliseconds(),
		keyOf: w.k.Key, clone: cloneOf(w.k.Keys()), ctx: s.Ctx(), stop: s.Stop, late: w.lateOutput(s), c: c, fire: fire,
	}
	o.reach = max(o.gap, o.size+max(o.offset, -o.offset))
	switch {
	case w.trigger != nil:
		o.trigger = *w.trigger
	case a.time == EventTime:
		o.trigger = EventTimeTrigger[T]()
	default:
		o.trigger = ProcessingTimeTrigger[T]()
	}
	values := w.k.Values()
	o.tc = TriggerContext[T]{ctx: o.ctx, time: a.time, clone: func(v T) T { return v }}
	if values != nil {
		o.tc.clone = values.Clone
	}
	o.emit = func(v R) { next(v, o.ctx) }
	o.window.Ctx = o.ctx
	sc := &slotsCodec[T, A]{accs: c.codec, flat: flat[A](), assigner: fmt.Sprint(a.kind, a.time, o.size, o.slide, o.offset)}
	if o.trigger.KeepsRecord {
		sc.values = values
	}
	o.table = pipeline.Table(s, "windows", codec.Codec[slots[T, A]](sc))
	op := pipeline.Operator[T]{
		Element: o.element, Restored: o.restored,
		Warm: o.warm, Large: func() bool { return o.table.Len() >= manyKeys },
		Watermark:      func(wm int64) bool { return o.advance(&o.event, wm, true) },
		ProcessingTime: func(now int64) bool { return o.advance(&o.proc, now, false) },
		NextEvent:      func() int64 { return o.due(&o.event, true) },
		NextProcessing: func() int64 { return o.due(&o.proc, false) },
	}
	if o.results = pipeline.ResultsOf(s, o.rows()); o.results != nil {
		op.Results = o.results
	}
	return op
}

func (o *slotted[K, T, A, R]) warm(vs []T) {
	o.keys = o.keys[:0]
	for i := range vs {
		o.keys = append(o.keys, o.keyOf(vs[i]))
	}
	o.table.Warm(o.keys)
	clear(o.keys) // they are views
}

func (o *slotted[K, T, A, R]) element(v T, _ *pipeline.Ctx) {
	ts := o.ctx.Timestamp
	at := ts // the time that assigns
	switch {
	case o.kind == global:
	case o.time == ProcessingTime:
		at = o.ctx.ProcessingTime()
		fallthrough
	default:
		if !inRange(at, o.reach) {
			o.ctx.Fail(badTime(o.name, o.time, at))
			return
		}
	}
	k := o.keyOf(v)
	late := true
	switch o.kind {
	case session:
		gap := o.gap
		if o.gapOf != nil {
			if gap = o.gapOf(v).Milliseconds(); gap <= 0 || gap > farthest/2 {
				o.ctx.Fail(fmt.Errorf("operator %q: a record's session gap of %d ms is out of range", o.name, gap))
				return
			}
			if !inRange(at, gap) {
				o.ctx.Fail(badTime(o.name, o.time, at))
				return
			}
		}
		late = !o.join(v, k, ts, Window{at, at + gap})
	case global:
		late = !o.put(v, k, ts, GlobalWindow)
	default:
		for start := StartOf(at, o.offset, o.slide); start > at-o.size; start -= o.slide {
			if o.put(v, k, ts, Window{start, start + o.size}) {
				late = false
			}
		}
	}
	o.ctx.Timestamp = ts
	// A record in a gap between windows is late only if it is behind the
	// watermark by itself.
	if late && o.time == EventTime && o.kind != global && !o.results.Keeps() && addTime(ts, o.lateness) <= o.ctx.Watermark() {
		o.late(v)
	}
}

// cleanup returns when a window goes: never for the global one.
func (o *slotted[K, T, A, R]) cleanup(w Window) int64 {
	return addTime(w.MaxTimestamp(), o.lateness)
}

func (o *slotted[K, T, A, R]) gone(w Window) bool {
	return o.time == EventTime && o.kind != global && o.cleanup(w) <= o.ctx.Watermark() && !o.results.Keeps()
}

// put adds a record to one window and reports whether that was not too late.
func (o *slotted[K, T, A, R]) put(v T, k K, ts int64, w Window) bool {
	if o.gone(w) {
		return false
	}
	c := o.ref(k)
	i := len(c.list)
	for i > 0 && c.list[i-1].w.Start > w.Start {
		i--
	}
	if i > 0 && c.list[i-1].w == w {
		i--
	} else {
		o.insert(c, i, w)
	}
	o.take(c, i, v, k, ts)
	return true
}

// join adds a record to the session that its own window merges into.
func (o *slotted[K, T, A, R]) join(v T, k K, ts int64, w Window) bool {
	if o.gone(w) {
		// It counts only if it falls into a session that is still there.
		if c, ok := o.table.Get(k); !ok {
			return false
		} else if lo, hi, _ := Join(len(c.list), func(i int) Window { return c.list[i].w }, w); lo == hi {
			return false
		}
	}
	c := o.ref(k)
	lo, hi, into := o.place(c, w)
	switch {
	case lo == hi:
		o.insert(c, lo, w)
	case hi-lo == 1 && c.list[lo].w == into:
	default:
		o.merge(c, lo, hi, into)
	}
	o.take(c, lo, v, k, ts)
	return true
}

// place is Join over a key's windows, without a call a window.
func (o *slotted[K, T, A, R]) place(c *slots[T, A], w Window) (lo, hi int, into Window) {
	if n := len(c.list); n > 0 {
		// A record mostly falls into the last session.
		if l := c.list[n-1].w; l.Intersects(w) && (n == 1 || c.list[n-2].w.End < w.Start) {
			return n - 1, n, l.Cover(w)
		}
	}
	return Join(len(c.list), func(i int) Window { return c.list[i].w }, w)
}

// merge makes the windows from lo to hi one.
func (o *slotted[K, T, A, R]) merge(c *slots[T, A], lo, hi int, into Window) {
	s := &c.list[lo]
	s.event, s.proc = s.event[:0], s.proc[:0]
	for i := lo + 1; i < hi; i++ {
		from := &c.list[i]
		if from.has {
			if s.has {
				o.c.merge(&s.acc, false, from.acc)
			} else {
				s.acc, from.acc = from.acc, s.acc
				s.has = true
			}
		}
		joinStates(&s.state, from.state)
	}
	for i := hi - 1; i > lo; i-- {
		o.remove(c, i)
	}
	s.w = into
	o.context(s)
	o.trigger.Merged(into, &o.tc)
	o.guard(s)
}

// take adds a record to the window at i and does what the trigger says.
func (o *slotted[K, T, A, R]) take(c *slots[T, A], i int, v T, k K, ts int64) {
	s := &c.list[i]
	o.c.add(&s.acc, !s.has, v, ts)
	s.has = true
	if o.results != nil {
		o.results.Changed(tableRow[K]{k, s.w}, 0)
	}
	if f := o.trigger.Element; f != nil {
		o.context(s)
		if r := f(v, ts, s.w, &o.tc); r != Continue {
			o.act(s, k, r)
			if r&Purge != 0 && idle(s) {
				o.remove(c, i)
				o.settle(c, k)
				return
			}
		}
	}
	if at := earliest(s.event); at < c.eventAt {
		c.eventAt = at
		o.event.push(at, o.clone(k))
	}
	if at := earliest(s.proc); at < c.procAt {
		c.procAt = at
		o.proc.push(at, o.clone(k))
	}
}

func (o *slotted[K, T, A, R]) context(s *slot[T, A]) {
	o.tc.state, o.tc.last, o.tc.event, o.tc.processing = &s.state, &s.last, &s.event, &s.proc
}

// act evaluates and empties a window.
func (o *slotted[K, T, A, R]) act(s *slot[T, A], k K, r Result) {
	if r&Fire != 0 && s.has && o.results == nil {
		o.evaluate(s, k)
		if o.c.empty != nil && o.c.empty(&s.acc) { // by an evictor
			s.has = false
		}
	}
	if r&Purge != 0 {
		o.drop(s)
	}
}

func (o *slotted[K, T, A, R]) evaluate(s *slot[T, A], k K) {
	o.ctx.Timestamp = s.w.MaxTimestamp()
	o.window.key, o.window.window = k, s.w
	o.fire(&o.window, &s.acc, o.emit)
}

func (o *slotted[K, T, A, R]) drop(s *slot[T, A]) {
	s.has = false
	if o.c.reset != nil {
		o.c.reset(&s.acc)
		return
	}
	var zero A
	s.acc = zero
}

// idle reports whether a window keeps nothing and waits for nothing.
func idle[T, A any](s *slot[T, A]) bool {
	return !s.has && s.last == nil && s.state == noState && len(s.event) == 0 && len(s.proc) == 0
}

func earliest(ts []int64) int64 {
	at := int64(never)
	for _, t := range ts {
		at = min(at, t)
	}
	return at
}

// ref returns a key's windows.
func (o *slotted[K, T, A, R]) ref(k K) *slots[T, A] {
	c, fresh := o.table.Ref(k)
	if fresh {
		c.eventAt, c.procAt = never, never
		if n := len(o.spare); n > 0 {
			c.list = o.spare[n-1]
			o.spare = o.spare[:n-1]
		}
	}
	return c
}

// insert makes a window at i. The memory of one that went is used again.
func (o *slotted[K, T, A, R]) insert(c *slots[T, A], i int, w Window) {
	n := len(c.list)
	if n < cap(c.list) {
		c.list = c.list[:n+1]
	} else {
		c.list = append(c.list, slot[T, A]{})
	}
	if i < n {
		x := c.list[n]
		copy(c.list[i+1:], c.list[i:n])
		c.list[i] = x
	}
	s := &c.list[i]
	s.w, s.state = w, noState
	o.guard(s)
}

// guard sets the timer that cleans a window up.
func (o *slotted[K, T, A, R]) guard(s *slot[T, A]) {
	if o.kind == global {
		return
	}
	if at := o.cleanup(s.w); o.time == EventTime {
		setTimer(&s.event, at)
	} else {
		setTimer(&s.proc, at)
	}
}

// remove drops the window at i, leaving its memory behind the list's end.
func (o *slotted[K, T, A, R]) remove(c *slots[T, A], i int) {
	s := &c.list[i]
	o.drop(s)
	s.last, s.event, s.proc = nil, s.event[:0], s.proc[:0]
	x, n := *s, len(c.list)-1
	copy(c.list[i:], c.list[i+1:])
	c.list[n] = x
	c.list = c.list[:n]
}

// settle gives up a key's entry when its last window is gone.
func (o *slotted[K, T, A, R]) settle(c *slots[T, A], k K) (gone bool) {
	if len(c.list) > 0 {
		return false
	}
	if len(o.spare) < 1024 {
		o.spare = append(o.spare, c.list)
	}
	c.list = nil
	o.table.Delete(k)
	return true
}

// advance fires the timers of one kind up to now.
func (o *slotted[K, T, A, R]) advance(a *agenda[K], now int64, event bool) bool {
	for len(a.heap) > 0 && a.heap[0].at <= now {
		if o.stop() {
			return false
		}
		e := a.pop()
		c, fresh := o.table.Ref(e.key)
		if fresh {
			o.table.Delete(e.key)
			continue
		}
		at := &c.procAt
		if event {
			at = &c.eventAt
		}
		if *at != e.at {
			continue
		}
		*at = never
		o.ctx.AtTimer(e.at)
		for i := 0; i < len(c.list); i++ {
			if o.timers(c, i, e, event) {
				i--
			}
		}
		if o.settle(c, e.key) {
			continue
		}
		o.reschedule(c, e.key, true)
		o.reschedule(c, e.key, false)
	}
	return true
}

// timers fires the timers of the window at i that are due, and reports whether
// the window went.
func (o *slotted[K, T, A, R]) timers(c *slots[T, A], i int, e entry[K], event bool) bool {
	s := &c.list[i]
	for {
		ts, f := &s.proc, o.trigger.ProcessingTime
		if event {
			ts, f = &s.event, o.trigger.EventTime
		}
		at := earliest(*ts)
		if at > e.at {
			return false
		}
		deleteTimer(ts, at)
		if f != nil {
			o.context(s)
			if r := f(at, s.w, &o.tc); r != Continue {
				o.act(s, e.key, r)
			}
		}
		own := o.kind != global && event == bool(o.time)
		if own && at == o.cleanup(s.w) || idle(s) {
			o.remove(c, i)
			return true
		}
	}
}

func (o *slotted[K, T, A, R]) reschedule(c *slots[T, A], k K, event bool) {
	at := int64(never)
	for i := range c.list {
		if event {
			at = min(at, earliest(c.list[i].event))
		} else {
			at = min(at, earliest(c.list[i].proc))
		}
	}
	if event && at < c.eventAt {
		c.eventAt = at
		o.event.push(at, k)
	}
	if !event && at < c.procAt {
		c.procAt = at
		o.proc.push(at, k)
	}
}

// due returns when the earliest timer is due. A key whose timer moved, as that
// of a session does with each record, is put where it belongs, so that nobody is
// woken for it.
func (o *slotted[K, T, A, R]) due(a *agenda[K], event bool) int64 {
	for len(a.heap) > 0 {
		top := a.heap[0]
		c, ok := o.table.Get(top.key)
		at, real := c.procAt, int64(never)
		if event {
			at = c.eventAt
		}
		if !ok || at != top.at {
			a.pop()
			continue
		}
		for i := range c.list {
			ts := c.list[i].proc
			if event {
				ts = c.list[i].event
			}
			real = min(real, earliest(ts))
		}
		if real == top.at {
			return top.at
		}
		a.pop()
		p, _ := o.table.Ref(top.key)
		if event {
			p.eventAt = never
		} else {
			p.procAt = never
		}
		o.reschedule(p, top.key, event)
	}
	return never
}

func (o *slotted[K, T, A, R]) restored() {
	o.event.heap, o.proc.heap = o.event.heap[:0], o.proc.heap[:0]
	o.table.Each(func(k K, c slots[T, A]) bool {
		if c.eventAt != never {
			o.event.push(c.eventAt, k)
		}
		if c.procAt != never {
			o.proc.push(c.procAt, k)
		}
		return true
	})
}
