package exchange

import (
	"sync"
	"sync/atomic"
)

// Element is what waits in a ring: a buffer of records or an event (a
// watermark, a barrier, the end of a partition).
type Element struct {
	Buffer   *Buffer
	Event    any
	Priority bool // an event that has overtaken what was before it
}

// Ring is the queue of one channel. It has a priority lane, which a barrier
// uses to overtake, and its contents can be listed, which an unaligned snapshot
// does. It is unbounded by itself: the pools bound the buffers in it.
//
// It is safe for concurrent use by one writer and one reader.
type Ring struct {
	mu       sync.Mutex
	items    []Element // circular
	head, n  int
	priority []Element
	records  int
	bytes    int
	buffers  int
	notify   func()
	urgent   func() // for priority elements; nil is notify
	events   func(event any)
	size     atomic.Int64 // of the writer's next buffers, 0 for any
	resized  func(bytes int)
}

// NewRing returns an empty ring. notify is called, from the writer's goroutine,
// when an element arrives in a ring that was empty, and for each priority
// element.
func NewRing(notify func()) *Ring { return &Ring{items: make([]Element, 16), notify: notify} }

// Push appends an element.
func (r *Ring) Push(e Element) {
	r.mu.Lock()
	if r.n == len(r.items) {
		grown := make([]Element, 2*len(r.items))
		k := copy(grown, r.items[r.head:])
		copy(grown[k:], r.items[:r.head])
		r.items, r.head = grown, 0
	}
	r.items[(r.head+r.n)&(len(r.items)-1)] = e
	r.n++
	if e.Buffer != nil {
		r.buffers++
		r.records += e.Buffer.Records
		r.bytes += len(e.Buffer.Data)
	}
	wake := r.n == 1 && len(r.priority) == 0
	r.mu.Unlock()
	if wake && r.notify != nil {
		r.notify()
	}
	if e.Event != nil && r.events != nil {
		r.events(e.Event)
	}
}

// PushPriority puts an event before everything but earlier priority events.
func (r *Ring) PushPriority(event any) {
	r.mu.Lock()
	r.priority = append(r.priority, Element{Event: event, Priority: true})
	r.mu.Unlock()
	r.hurry()
}

// OnPriority makes f be called for priority elements in place of notify. It is
// called before the ring is used.
func (r *Ring) OnPriority(f func()) { r.urgent = f }

// OnEvent makes f be called, by the writer, for each event that Push has put in. It
// is called before the ring is used.
func (r *Ring) OnEvent(f func(event any)) { r.events = f }

// Resize tells how many bytes the buffers that come next should take. The reader
// says it, and the writer looks at Size when it begins a buffer.
func (r *Ring) Resize(bytes int) {
	if r.resized != nil {
		r.resized(bytes)
		return
	}
	r.size.Store(int64(bytes))
}

// OnResize makes f be called in place of noting the size: the writer is elsewhere.
// It is called before the ring is used.
func (r *Ring) OnResize(f func(bytes int)) { r.resized = f }

// Size returns what Resize has said; 0 is nothing.
func (r *Ring) Size() int { return int(r.size.Load()) }

func (r *Ring) hurry() {
	switch {
	case r.urgent != nil:
		r.urgent()
	case r.notify != nil:
		r.notify()
	}
}

// Overtake is PushPriority of an event that knows what it overtakes: make is
// called with all waiting elements, while the ring is locked.
func (r *Ring) Overtake(make func(waiting []Element) any) {
	r.mu.Lock()
	r.priority = append(r.priority, Element{Event: make(r.waiting(r.n)), Priority: true})
	r.mu.Unlock()
	r.hurry()
}

// Promote takes the first waiting event that match accepts out of the queue and
// puts what make returns, called with the elements before it, into the priority
// lane. It reports whether there was such an event.
func (r *Ring) Promote(match func(event any) bool, make func(before []Element) any) bool {
	r.mu.Lock()
	for i := range r.n {
		if e := r.items[r.at(i)]; e.Event == nil || !match(e.Event) {
			continue
		}
		r.priority = append(r.priority, Element{Event: make(r.waiting(i)), Priority: true})
		for ; i < r.n-1; i++ {
			r.items[r.at(i)] = r.items[r.at(i+1)]
		}
		r.items[r.at(r.n-1)] = Element{}
		r.n--
		r.mu.Unlock()
		r.hurry()
		return true
	}
	r.mu.Unlock()
	return false
}

func (r *Ring) at(i int) int { return (r.head + i) & (len(r.items) - 1) }

func (r *Ring) waiting(n int) []Element {
	es := make([]Element, n)
	for i := range es {
		es[i] = r.items[r.at(i)]
	}
	return es
}

// PopPriority takes the next priority element; ok is false when there is none.
func (r *Ring) PopPriority() (e Element, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.priority) == 0 {
		return e, false
	}
	e = r.priority[0]
	r.priority = r.priority[1:]
	return e, true
}

// Pop takes the next element; ok is false when there is none.
func (r *Ring) Pop() (e Element, ok bool) {
	e, _, ok = r.pop(true)
	return e, ok
}

// PopAffordable takes the next element if that is an event or the reader can
// afford a buffer. It returns how many buffers wait, behind the element where
// there is one.
func (r *Ring) PopAffordable(buffer bool) (e Element, backlog int, ok bool) { return r.pop(buffer) }

func (r *Ring) pop(buffer bool) (e Element, backlog int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.priority) > 0 {
		e = r.priority[0]
		r.priority = r.priority[1:]
		return e, r.buffers, true
	}
	if r.n == 0 || !buffer && r.items[r.head].Buffer != nil {
		return Element{}, r.buffers, false
	}
	e = r.items[r.head]
	r.items[r.head] = Element{}
	r.head = (r.head + 1) & (len(r.items) - 1)
	r.n--
	if e.Buffer != nil {
		r.buffers--
		r.records -= e.Buffer.Records
		r.bytes -= len(e.Buffer.Data)
	}
	return e, r.buffers, true
}

// Len returns the number of waiting elements.
func (r *Ring) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n + len(r.priority)
}

// Queued returns the records and bytes in waiting buffers.
func (r *Ring) Queued() (records, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records, r.bytes
}

// Waiting returns the waiting buffers and the bytes in them.
func (r *Ring) Waiting() (buffers, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buffers, r.bytes
}
