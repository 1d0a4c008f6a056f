package window

import (
	"fmt"
	"math"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/state"
)

const never = math.MaxInt64

// pane is the aggregate of a stretch of time that lies wholly inside or wholly
// outside of every window.
type pane[A any] struct {
	start int64
	acc   A
}

// noPane is the start of a pane that is not there.
const noPane = math.MinInt64

// cell is a key's state: its panes and when its next window fires. It is kept
// small: with many keys a record costs what it takes to bring its cell into the
// processor's cache, so a count should fit into one line with the table's own
// fields. Most records need no more.
type cell[A any] struct {
	next int64 // end of the next window to fire; never if none is open
	at   int64 // when the agenda has the key
	// hot is the pane that took the last record.
	hot pane[A]
	// more is what only some windows need: nil until then.
	more *more[A]
}

type more[A any] struct {
	rest []pane[A] // the panes that are not hot, by start
	// run is the aggregate of the runs panes of the window that ends at next;
	// kept where there is an inverse and windows share panes.
	run  A
	runs int
}

// rest returns the panes that are not hot, by start.
func (c *cell[A]) rest() []pane[A] {
	if c.more == nil {
		return nil
	}
	return c.more.rest
}

// geometry is the arithmetic of panes. All in milliseconds.
type geometry struct {
	size, slide, offset int64
	width               int64 // of a pane: the greatest that divides size and slide
	lateness            int64
}

func newGeometry(a Assigner, lateness int64) geometry {
	g := geometry{size: a.size.Milliseconds(), slide: a.slide.Milliseconds(), offset: a.offset.Milliseconds(), lateness: lateness}
	x, y := g.size, g.slide
	for y != 0 {
		x, y = y, x%y
	}
	g.width = x
	return g
}

// reach is how far beyond a record its last window can end.
func (g *geometry) reach() int64 { return g.size + max(g.offset, -g.offset) }

// ends returns the ends of the first and the last window that the pane at start
// belongs to; ok is false when it belongs to none.
func (g *geometry) ends(start int64) (first, last int64, ok bool) {
	latest := StartOf(start, g.offset, g.slide)
	if latest+g.size <= start {
		return 0, 0, false
	}
	return latest - (latest+g.size-1-start)/g.slide*g.slide + g.size, latest + g.size, true
}

// paned is the operator of aligned windows that share panes.
type paned[K comparable, T, A, R any] struct {
	geometry
	name   string
	time   Time
	keyOf  func(T) K
	clone  func(K) K
	table  *state.Table[K, cell[A]]
	keys   []K // scratch
	agenda agenda[K]
	ctx    *pipeline.Ctx
	stop   func() bool
	late   func(T)
	c      *contents[T, A]
	fire   func(c *Context[K], a *A, emit func(R))
	emit   func(R)
	window Context[K]
	sum    A    // of the window that is firing
	runs   bool // windows share panes, and there is an inverse
	// results, if not nil, has the windows' rows leave as an output mode says.
	results *pipeline.Results[tableRow[K]]

	// The pane of the last record, and its windows: most records are in it, too.
	lo, hi, first, last int64
	covered             bool
}

func newPaned[K comparable, T, A, R any](s *pipeline.Setup[K], w *Windowed[K, T], c *contents[T, A], fire func(*Context[K], *A, func(R)), next pipeline.Receiver[R]) pipeline.Operator[T] {
	o := &paned[K, T, A, R]{
		geometry: newGeometry(w.assigner, w.lateness.Milliseconds()), name: s.Name(), time: w.assigner.time,
		keyOf: w.k.Key, clone: cloneOf(w.k.Keys()), ctx: s.Ctx(), stop: s.Stop, late: w.lateOutput(s), c: c, fire: fire,
	}
	o.runs = c.remove != nil && o.width < o.size
	o.emit = func(v R) { next(v, o.ctx) }
	o.window.Ctx = o.ctx
	o.table = pipeline.Table(s, "panes", codec.Codec[cell[A]](&cellCodec[A]{g: &o.geometry, accs: c.codec, flat: flat[A](), inverse: o.runs}))
	op := pipeline.Operator[T]{Element: o.element, Warm: o.warm, Large: func() bool { return o.table.Len() >= manyKeys }, Restored: o.restored}
	if o.time == EventTime {
		op.Watermark, op.NextEvent = o.advance, o.due
	} else {
		op.ProcessingTime, op.NextProcessing = o.advance, o.due
	}
	if o.results = pipeline.ResultsOf(s, o.rows()); o.results != nil {
		op.Results = o.results
	}
	s.Takes(o.merge)
	return op
}

// manyKeys are more than the processor's nearest caches hold; tests lower it.
var manyKeys = 1 << 15

func (o *paned[K, T, A, R]) warm(vs []T) {
	o.keys = o.keys[:0]
	for i := range vs {
		o.keys = append(o.keys, o.keyOf(vs[i]))
	}
	o.table.Warm(o.keys)
	clear(o.keys) // they are views
}

func cloneOf[K any](c codec.Codec[K]) func(K) K {
	if c == nil {
		return nil // building fails for want of it
	}
	return c.Clone
}

func (o *paned[K, T, A, R]) element(v T, _ *pipeline.Ctx) {
	ts := o.ctx.Timestamp
	if o.time != EventTime {
		ts = o.ctx.ProcessingTime()
	}
	if ts < o.lo || ts >= o.hi {
		if !inRange(ts, o.reach()) {
			o.ctx.Fail(badTime(o.name, o.time, ts))
			return
		}
		o.look(ts)
	}
	now := o.now()
	if !o.covered { // in a gap between windows
		if addTime(ts, o.lateness) <= now {
			o.late(v)
		}
		return
	}
	if o.first-1 <= now {
		o.behind(v, ts, now)
		return
	}
	k := o.keyOf(v)
	c, fresh := o.table.Ref(k)
	switch {
	case fresh:
		o.begin(c)
		o.add(c, v, ts)
	case c.hot.start == o.lo:
		o.c.add(&c.hot.acc, false, v, ts)
		o.addRun(c, v, ts)
	default:
		o.add(c, v, ts)
	}
	if o.first < c.next {
		o.open(c, o.first)
		o.schedule(c, k, false)
	}
	if o.results != nil {
		o.changed(k, now)
	}
}

// look finds the pane that a time is in, and the pane's windows.
func (o *paned[K, T, A, R]) look(ts int64) {
	o.lo = StartOf(ts, o.offset, o.width)
	o.hi = o.lo + o.width
	o.first, o.last, o.covered = o.ends(o.lo)
}

// now is the time by which windows are late: those of processing time fire with
// the next tick, and those that are kept for ever are never late.
func (o *paned[K, T, A, R]) now() int64 {
	if o.time != EventTime || o.results.Keeps() {
		return math.MinInt64
	}
	return o.ctx.Watermark()
}

// behind takes a record for which at least one of its windows has fired.
func (o *paned[K, T, A, R]) behind(v T, ts, now int64) {
	if addTime(o.last-1, o.lateness) <= now {
		o.late(v)
		return
	}
	k := o.keyOf(v)
	c, fresh := o.table.Ref(k)
	if fresh {
		o.begin(c)
	}
	o.add(c, v, ts)
	open := int64(never)
	for e := o.last; e >= o.first; e -= o.slide {
		switch {
		case e-1 > now:
			open = e
		case o.results != nil: // its rows leave at the batch's end
		case addTime(e-1, o.lateness) > now:
			o.evaluate(c, k, e)
			o.ctx.Timestamp = ts
		}
	}
	if open < c.next {
		o.open(c, open)
	}
	o.schedule(c, k, false)
	if o.results != nil {
		o.changed(k, now)
	}
}

func (o *paned[K, T, A, R]) begin(c *cell[A]) {
	c.next, c.at, c.hot.start = never, never, noPane
}

// add adds a record to the pane at lo, making it the hot one.
func (o *paned[K, T, A, R]) add(c *cell[A], v T, ts int64) {
	fresh := o.heat(c)
	o.c.add(&c.hot.acc, fresh, v, ts)
	if run, first := o.runOf(c, fresh); run != nil {
		o.c.add(run, first, v, ts)
	}
}

// heat makes the pane at lo the hot one, and reports whether it is new and its
// accumulator holds nothing yet.
func (o *paned[K, T, A, R]) heat(c *cell[A]) (fresh bool) {
	lo := o.lo
	if c.hot.start == lo {
		return false
	}
	rest := c.rest()
	i := len(rest)
	for i > 0 && rest[i-1].start > lo {
		i--
	}
	if i > 0 && rest[i-1].start == lo {
		i--
		c.hot, rest[i] = rest[i], c.hot
		settle(rest, i)
		return false
	}
	if c.hot.start != noPane {
		m := c.extend()
		m.rest = append(m.rest, c.hot)
		settle(m.rest, len(m.rest)-1)
	}
	c.hot.start = lo
	return true
}

// runOf returns the running aggregate that the hot pane counts in, nil if none;
// fresh says that the pane is new to it, first that it holds nothing yet.
func (o *paned[K, T, A, R]) runOf(c *cell[A], fresh bool) (run *A, first bool) {
	if !o.runs || !o.inNext(c, o.lo) {
		return nil, false
	}
	m := c.extend()
	first = m.runs == 0
	if fresh {
		m.runs++
	}
	return &m.run, first
}

func (c *cell[A]) extend() *more[A] {
	if c.more == nil {
		c.more = new(more[A])
	}
	return c.more
}

// settle moves the pane at i to its place by start.
func settle[A any](ps []pane[A], i int) {
	p := ps[i]
	for ; i > 0 && ps[i-1].start > p.start; i-- {
		ps[i] = ps[i-1]
	}
	for ; i+1 < len(ps) && ps[i+1].start < p.start; i++ {
		ps[i] = ps[i+1]
	}
	ps[i] = p
}

func (o *paned[K, T, A, R]) addRun(c *cell[A], v T, ts int64) {
	if o.runs && o.inNext(c, o.lo) {
		o.c.add(&c.more.run, false, v, ts)
	}
}

func (o *paned[K, T, A, R]) inNext(c *cell[A], start int64) bool {
	return c.next != never && start < c.next && start >= c.next-o.size
}

// open makes the window that ends at e the next to fire.
func (o *paned[K, T, A, R]) open(c *cell[A], e int64) {
	c.next = e
	if o.runs && e != never {
		m := c.extend()
		m.runs = o.total(c, e, &m.run)
	}
}

// total puts the aggregate of the window that ends at e into dst and returns of
// how many panes it is made.
func (o *paned[K, T, A, R]) total(c *cell[A], e int64, dst *A) (panes int) {
	hot := c.hot.start >= e-o.size && c.hot.start < e && c.hot.start != noPane
	take := func(p *pane[A]) {
		o.c.merge(dst, panes == 0, p.acc)
		panes++
	}
	rest := c.rest()
	for i := range rest {
		p := &rest[i]
		if hot && c.hot.start < p.start {
			take(&c.hot)
			hot = false
		}
		if p.start >= e {
			break
		}
		if p.start >= e-o.size {
			take(p)
		}
	}
	if hot {
		take(&c.hot)
	}
	return panes
}

// evaluate fires the window that ends at e.
func (o *paned[K, T, A, R]) evaluate(c *cell[A], k K, e int64) {
	a := &o.sum
	switch {
	case o.runs && e == c.next:
		a = &c.more.run
	case o.width == o.size: // a window is a pane
		a = nil
		if c.hot.start == e-o.size {
			a = &c.hot.acc
		}
		rest := c.rest()
		for i := range rest {
			if rest[i].start == e-o.size {
				a = &rest[i].acc
			}
		}
		if a == nil {
			return
		}
	default:
		if o.total(c, e, a) == 0 {
			return
		}
	}
	o.ctx.Timestamp = e - 1
	o.window.key, o.window.window = k, Window{e - o.size, e}
	o.fire(&o.window, a, o.emit)
}

// schedule puts a key on the agenda for when it is due, unless it is there at
// that time or before. owned says that k holds no view.
func (o *paned[K, T, A, R]) schedule(c *cell[A], k K, owned bool) {
	at := dueOf(&o.geometry, c)
	if at >= c.at {
		return
	}
	c.at = at
	if !owned {
		k = o.clone(k)
	}
	o.agenda.push(at, k)
}

// dueOf returns when a key has a window to fire or a pane to drop. Without
// lateness the last window of a pane fires when the pane goes.
func dueOf[A any](g *geometry, c *cell[A]) int64 {
	at := int64(never)
	if c.next != never {
		at = c.next - 1
	}
	if g.lateness > 0 || c.next == never {
		oldest := c.hot.start
		if rest := c.rest(); len(rest) > 0 && (oldest == noPane || rest[0].start < oldest) {
			oldest = rest[0].start
		}
		if oldest != noPane {
			_, last, _ := g.ends(oldest)
			at = min(at, addTime(last-1, g.lateness))
		}
	}
	return at
}

// advance fires and drops what is due.
func (o *paned[K, T, A, R]) advance(now int64) bool {
	for len(o.agenda.heap) > 0 && o.agenda.heap[0].at <= now {
		if o.stop() {
			return false
		}
		e := o.agenda.pop()
		c, fresh := o.table.Ref(e.key)
		if fresh {
			o.table.Delete(e.key)
			continue
		}
		if c.at != e.at {
			continue
		}
		c.at = never
		o.ctx.AtTimer(e.at)
		if end := c.next; end-1 <= e.at {
			if o.results == nil {
				o.evaluate(c, e.key, end)
			}
			o.after(c, end)
		}
		o.drop(c, e.at)
		if c.hot.start == noPane && len(c.rest()) == 0 {
			o.table.Delete(e.key)
			continue
		}
		o.schedule(c, e.key, true)
	}
	return true
}

// after finds the next window with a record behind the one that ended at end.
func (o *paned[K, T, A, R]) after(c *cell[A], end int64) {
	next := int64(never)
	consider := func(start int64) {
		if start == noPane {
			return
		}
		first, last, _ := o.ends(start)
		if last > end {
			next = min(next, max(first, end+o.slide))
		}
	}
	consider(c.hot.start)
	for _, p := range c.rest() {
		consider(p.start)
		if next == end+o.slide {
			break
		}
	}
	if !o.runs {
		c.next = next
		return
	}
	o.slideRun(c, next)
}

// slideRun turns the running aggregate into that of the window that ends at
// next: the panes that leave are taken out, those that enter are put in.
func (o *paned[K, T, A, R]) slideRun(c *cell[A], next int64) {
	old := c.next
	if next == never || next-o.size >= old {
		o.open(c, next)
		return
	}
	m := c.more
	move := func(p *pane[A]) {
		switch s := p.start; {
		case s == noPane:
		case s >= old-o.size && s < old && s < next-o.size:
			o.c.remove(&m.run, p.acc)
			m.runs--
		case s >= old && s < next:
			o.c.merge(&m.run, m.runs == 0, p.acc)
			m.runs++
		}
	}
	for i := range m.rest {
		move(&m.rest[i])
	}
	move(&c.hot)
	c.next = next
	if m.runs == 0 { // what is left of a float may not be zero
		o.open(c, next)
	}
}

// drop removes the panes that no window to come can need: those whose last
// window has fired and is beyond the lateness.
func (o *paned[K, T, A, R]) drop(c *cell[A], at int64) {
	gone := func(start int64) bool {
		_, last, _ := o.ends(start)
		return addTime(last-1, o.lateness) <= at
	}
	rest := c.rest()
	n := 0
	for n < len(rest) && gone(rest[n].start) {
		n++
	}
	if n > 0 {
		left := copy(rest, rest[n:])
		clear(rest[left:])
		rest = rest[:left]
		c.more.rest = rest
	}
	if c.hot.start != noPane && gone(c.hot.start) {
		// The newest of the others takes its place.
		if n := len(rest); n > 0 {
			c.hot = rest[n-1]
			clear(rest[n-1:])
			c.more.rest = rest[:n-1]
		} else {
			c.hot = pane[A]{start: noPane}
		}
	}
}

// due returns when the earliest key is due. What is stale goes.
func (o *paned[K, T, A, R]) due() int64 {
	for len(o.agenda.heap) > 0 {
		top := o.agenda.heap[0]
		if c, ok := o.table.Get(top.key); ok && c.at == top.at {
			return top.at
		}
		o.agenda.pop()
	}
	return never
}

func (o *paned[K, T, A, R]) restored() {
	o.agenda.heap = o.agenda.heap[:0]
	o.table.Each(func(k K, c cell[A]) bool {
		o.agenda.push(c.at, k)
		return true
	})
}

func badTime(name string, t Time, ts int64) error {
	switch {
	case t == ProcessingTime:
		return fmt.Errorf("operator %q: processing time %d is none that a window can be made of", name, ts)
	case ts == pipeline.NoTime:
		return fmt.Errorf("operator %q: a record has no event time: give its source pipeline.EventTime, or use windows of processing time", name)
	}
	return fmt.Errorf("operator %q: event time %d ms is out of range", name, ts)
}
