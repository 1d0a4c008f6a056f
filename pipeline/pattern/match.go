package pattern

import (
	"errors"
	"fmt"
	"strings"

	"streamduel/codec"
	"streamduel/pipeline"
)

// Functions say what comes of a sequence. What they get is valid during the
// call.
type Functions[T, R any] struct {
	// Match is called for a complete sequence. A result's event time is that of
	// the record that completes it; where the last step is NotFollowedBy, that at
	// which Within ends.
	Match func(s *Sequence[T], emit func(R))
	// TimedOut, if not nil, is called for a sequence that was not complete when
	// Within ended; a result's event time is that end.
	TimedOut func(s *Sequence[T], emit func(R))
	// Open, if set, makes the functions once per subtask, in place of those above,
	// so that they can keep memory and metrics of their own.
	Open func(r *pipeline.RuntimeContext) Functions[T, R]
}

// wrong says what is wrong with a pattern's functions, nothing if they will do.
func (f *Functions[T, R]) wrong(p *Pattern[T]) string {
	switch {
	case f.Match == nil:
		return "a pattern needs the function Match"
	case f.TimedOut != nil && p.within == 0:
		return "its pattern never times out: it has no Within"
	}
	return ""
}

// Late is the side output of records behind the watermark.
func Late[T any]() pipeline.Tag[T] { return pipeline.NewTag[T]("late") }

// Match finds a pattern in a keyed stream.
func Match[K comparable, T, R any](k *pipeline.Keyed[K, T], name string, p *Pattern[T], f Functions[T, R]) *pipeline.Stream[R] {
	for _, e := range p.check() {
		k.Fail("operator %q: its pattern: %s", name, e)
	}
	if f.Open == nil {
		if w := f.wrong(p); w != "" {
			k.Fail("operator %q: %s", name, w)
		}
	}
	values := k.Values()
	if values == nil {
		k.Fail("operator %q: a pattern keeps records: set their codec with Stream.Codec", name)
		return pipeline.Process(k, name, func(*pipeline.Setup[K]) (none pipeline.Function[K, T, R]) { return none })
	}
	return pipeline.Process(k, name, func(s *pipeline.Setup[K]) pipeline.Function[K, T, R] {
		late := Late[T]()
		f, p := f, p.opened(s.Runtime())
		if f.Open != nil {
			if f = f.Open(s.Runtime()); f.wrong(p) != "" {
				s.Runtime().Fail(fmt.Errorf("operator %q: %s", name, f.wrong(p)))
			}
		}
		m := &matcher[K, T, R]{
			name: name, p: p, within: p.within.Milliseconds(), f: f, values: values, late: pipeline.LateEmitter(s, &late),
			table: pipeline.Table(s, "sequences", codec.Codec[keyState[T]](stateCodec[T]{p.String(), values})),
			seen:  Sequence[T]{steps: p.steps},
		}
		return pipeline.Function[K, T, R]{Element: m.element, EventTimer: m.advance}
	})
}

// table is the part of state.Table that is used here.
type table[K comparable, V any] interface {
	Ref(k K) (v *V, fresh bool)
	Delete(k K)
}

type matcher[K comparable, T, R any] struct {
	name   string
	p      *Pattern[T]
	within int64 // milliseconds, or 0
	f      Functions[T, R]
	values codec.Codec[T]
	table  table[K, keyState[T]]
	late   func(T)
	seen   Sequence[T] // what functions are called with
}

var errNoTime = errors.New("its input has no event time: give the source pipeline.EventTime")

// element lets a record wait for the watermark.
func (m *matcher[K, T, R]) element(v T, c *pipeline.KeyedCtx[K], _ func(R)) {
	ts := c.Timestamp
	if ts == pipeline.NoTime {
		c.Fail(fmt.Errorf("operator %q: %w", m.name, errNoTime))
		return
	}
	if ts <= c.Watermark() {
		m.late(v)
		return
	}
	s, fresh := m.table.Ref(c.Key())
	if fresh {
		s.due = never
	}
	s.waiting = append(s.waiting, event[T]{ts: ts, value: m.values.Clone(v)})
	for i := len(s.waiting) - 1; i > 0 && s.waiting[i-1].ts > ts; i-- {
		s.waiting[i], s.waiting[i-1] = s.waiting[i-1], s.waiting[i]
	}
	m.wake(s, ts, c)
}

func (m *matcher[K, T, R]) wake(s *keyState[T], at int64, c *pipeline.KeyedCtx[K]) {
	if at < s.due {
		s.due = at
		c.EventTimer(at)
	}
}

// advance looks at all records that the watermark has reached.
func (m *matcher[K, T, R]) advance(ts int64, c *pipeline.KeyedCtx[K], emit func(R)) {
	s, fresh := m.table.Ref(c.Key())
	if fresh {
		s.due = never
	}
	if s.due == ts {
		wm, n := c.Watermark(), 0
		for ; n < len(s.waiting) && s.waiting[n].ts <= wm; n++ {
			m.timeOut(s, s.waiting[n].ts, c, emit)
			m.take(s, s.waiting[n], c, emit)
		}
		left := copy(s.waiting, s.waiting[n:])
		clear(s.waiting[left:])
		s.waiting = s.waiting[:left]
		m.timeOut(s, wm, c, emit)
		s.due = never
		at := never
		if left > 0 {
			at = s.waiting[0].ts
		}
		if m.within > 0 && len(s.runs) > 0 { // the first began first
			at = min(at, s.runs[0].events[0].ts+m.within)
		}
		if left > 0 || len(s.runs) > 0 {
			m.wake(s, at, c) // at the end: a timer is state too, after which s may have moved
			return
		}
	}
	if len(s.waiting) == 0 && len(s.runs) == 0 {
		m.table.Delete(c.Key())
	}
}

// timeOut ends the sequences whose time is over at now. They lie in the order of
// their beginnings.
func (m *matcher[K, T, R]) timeOut(s *keyState[T], now int64, c *pipeline.KeyedCtx[K], emit func(R)) {
	if m.within == 0 {
		return
	}
	n := 0
	for ; n < len(s.runs) && s.runs[n].events[0].ts+m.within <= now; n++ {
		r := &s.runs[n]
		c.Timestamp = r.events[0].ts + m.within
		m.seen.run = r
		switch {
		case m.onlyAwaited(r.step):
			m.f.Match(&m.seen, emit)
		case m.f.TimedOut != nil:
			m.f.TimedOut(&m.seen, emit)
		}
	}
	s.runs = append(s.runs[:0], s.runs[n:]...)
}

// onlyAwaited reports whether nothing more has to come from a step on, so that
// the sequence is complete when its time is over. NotNext asks for a record.
func (m *matcher[K, T, R]) onlyAwaited(at int) bool {
	for _, s := range m.p.steps[at:] {
		if s.kind != notFollowedBy {
			return false
		}
	}
	return true
}

// take shows a record to all sequences and lets it begin one.
func (m *matcher[K, T, R]) take(s *keyState[T], e event[T], c *pipeline.KeyedCtx[K], emit func(R)) {
	c.Timestamp = e.ts
	kept, matched := s.runs[:0], false
	for i := range s.runs {
		r := s.runs[i]
		alive := m.feed(&r, e)
		if alive && r.step == len(m.p.steps) {
			matched = true
			m.seen.run = &r
			m.f.Match(&m.seen, emit)
			if m.p.skipPast {
				break
			}
			continue
		}
		if alive {
			kept = append(kept, r)
		}
	}
	if matched && m.p.skipPast {
		kept = kept[:0]
	}
	clear(s.runs[len(kept):])
	s.runs = kept
	if matched && m.p.skipPast {
		return // the record is in a match
	}
	r := run[T]{}
	m.seen.run = &r
	if !m.p.steps[0].where(e.value, &m.seen) {
		return
	}
	r.add(0, e)
	if r.step == len(m.p.steps) {
		m.seen.run = &r
		m.f.Match(&m.seen, emit)
		return
	}
	s.runs = append(s.runs, r)
}

// feed shows a record to one sequence and reports whether it goes on.
func (m *matcher[K, T, R]) feed(r *run[T], e event[T]) (alive bool) {
	m.seen.run = r
	for i := r.step; i < len(m.p.steps); i++ {
		st := &m.p.steps[i]
		fits := st.where(e.value, &m.seen)
		switch st.kind {
		case notNext:
			if fits {
				return false
			}
			// It holds for good; the record may still be what comes after.
			r.step = i + 1
			if r.step == len(m.p.steps) {
				return true
			}
		case notFollowedBy:
			if fits {
				return false
			}
			if i+1 == len(m.p.steps) {
				return true // until Within ends
			}
		case next:
			if fits {
				r.add(i, e)
			}
			return fits
		default:
			if fits {
				r.add(i, e)
			}
			return true
		}
	}
	return true
}

// run is a sequence that has begun.
type run[T any] struct {
	step   int // the one to come
	events []event[T]
}

// add takes a record as a step. The events are copied, because a snapshot that
// is being written may hold them.
func (r *run[T]) add(step int, e event[T]) {
	e.step = step
	r.events = append(r.events[:len(r.events):len(r.events)], e)
	r.step = step + 1
}

type event[T any] struct {
	ts    int64
	step  int
	value T
}

// keyState is what is kept of a key.
type keyState[T any] struct {
	due     int64 // the timer that counts
	waiting []event[T]
	runs    []run[T]
}

const never = int64(1<<63 - 1)

// stateCodec writes a key's state. Its name holds the pattern: what was begun
// under another one is refused rather than taken for something else.
type stateCodec[T any] struct {
	pattern string
	values  codec.Codec[T]
}

func (c stateCodec[T]) ID() string { return "pattern/1(" + c.pattern + "; " + c.values.ID() + ")" }

// Reads evolves as the records do; the pattern must be the same.
func (c stateCodec[T]) Reads(id string) codec.Codec[keyState[T]] {
	records, ok := strings.CutPrefix(id, "pattern/1("+c.pattern+"; ")
	records, ok2 := strings.CutSuffix(records, ")")
	if ok && ok2 {
		if values := codec.Reading(c.values, records); values != nil {
			return stateCodec[T]{c.pattern, values}
		}
	}
	return nil
}

func (c stateCodec[T]) Append(d []byte, s keyState[T]) []byte {
	d = c.appendEvents(codec.Int64{}.Append(d, s.due), s.waiting)
	d = codec.Int64{}.Append(d, int64(len(s.runs)))
	for _, r := range s.runs {
		d = c.appendEvents(codec.Int64{}.Append(d, int64(r.step)), r.events)
	}
	return d
}

func (c stateCodec[T]) appendEvents(d []byte, es []event[T]) []byte {
	d = codec.Int64{}.Append(d, int64(len(es)))
	for _, e := range es {
		d = codec.Int64{}.Append(codec.Int64{}.Append(d, e.ts), int64(e.step))
		d = c.values.Append(d, e.value)
	}
	return d
}

// reader decodes numbers and events, and remembers the first error.
type reader[T any] struct {
	b   []byte
	n   int
	err error
}

func (r *reader[T]) int() int64 {
	if r.err != nil {
		return 0
	}
	v, n, err := codec.Int64{}.Decode(r.b[r.n:])
	r.n, r.err = r.n+n, err
	return v
}

// count reads a length of things that take size bytes at least.
func (r *reader[T]) count(size int) int {
	v := r.int()
	if r.err == nil && (v < 0 || v > int64((len(r.b)-r.n)/size)) {
		r.err = codec.ErrShort
	}
	if r.err != nil {
		return 0
	}
	return int(v)
}

func (r *reader[T]) events(values codec.Codec[T]) []event[T] {
	es := make([]event[T], r.count(17))
	for i := range es {
		es[i].ts, es[i].step = r.int(), int(r.int())
		if r.err != nil {
			return nil
		}
		v, n, err := values.Decode(r.b[r.n:])
		es[i].value, r.n, r.err = v, r.n+n, err
	}
	return es
}

func (c stateCodec[T]) Decode(b []byte) (s keyState[T], n int, err error) {
	r := reader[T]{b: b}
	s.due = r.int()
	s.waiting = r.events(c.values)
	s.runs = make([]run[T], r.count(16))
	for i := range s.runs {
		s.runs[i].step, s.runs[i].events = int(r.int()), r.events(c.values)
		if r.err == nil && len(s.runs[i].events) == 0 {
			r.err = errors.New("pattern: a sequence without a record")
		}
	}
	return s, r.n, r.err
}

// Clone copies views of a decoder's input.
func (c stateCodec[T]) Clone(s keyState[T]) keyState[T] {
	s = c.Isolate(s)
	for i := range s.waiting {
		s.waiting[i].value = c.values.Clone(s.waiting[i].value)
	}
	for i := range s.runs {
		es := append([]event[T](nil), s.runs[i].events...)
		for j := range es {
			es[j].value = c.values.Clone(es[j].value)
		}
		s.runs[i].events = es
	}
	return s
}

// Isolate parts the lists from a snapshot that is being written; records and the
// events of a sequence are never changed in place.
func (c stateCodec[T]) Isolate(s keyState[T]) keyState[T] {
	s.waiting = append([]event[T](nil), s.waiting...)
	s.runs = append([]run[T](nil), s.runs...)
	return s
}

// String describes the pattern for plans and messages.
func (p *Pattern[T]) String() string {
	words := [...]string{"begin", "next", "followedBy", "notNext", "notFollowedBy"}
	var b strings.Builder
	for i, s := range p.steps {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(words[s.kind] + " " + s.name)
	}
	if p.within > 0 {
		b.WriteString(" within " + p.within.String())
	}
	return b.String()
}
