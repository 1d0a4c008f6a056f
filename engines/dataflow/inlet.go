package dataflow

import (
	"slices"
	"sync"
	"sync/atomic"

	"streamduel/exchange"
	"streamduel/exchange/remote"
	"streamduel/pipeline"
)

// inlet is the input of one subtask: the channels of all its exchange edges.
// Channels with data stand in a queue, each at most once, and go to its end
// after one buffer: so a full one cannot starve the others.
type inlet struct {
	box      *mailbox
	channels []channel

	mu     sync.Mutex
	ready  []int // circular
	head   int
	n      int
	queued []bool

	gates []*gate      // of debloating; none where buffers keep their size
	gate  *remote.Gate // of the channels from other processes; nil where there are none

	remotes int // channels from other processes

	urgent  atomic.Int32 // how many priority elements wait
	hurried []int        // their channels
}

// channel is one upstream subtask of one edge.
type channel struct {
	edge   *pipeline.Edge
	from   int // the upstream subtask
	ring   *exchange.Ring
	input  pipeline.Input
	remote bool  // its other end is in another process
	tag    int   // then its number in the gate
	gate   *gate // where the buffers on their way follow its speed
	flags  uint8 // what the frames in its buffers carry, as far as seen
}

func newInlet(box *mailbox) *inlet { return &inlet{box: box} }

// add adds a channel and returns its ring.
func (in *inlet) add(e *pipeline.Edge, from int) *exchange.Ring {
	ch := len(in.channels)
	r := exchange.NewRing(func() { in.arrived(ch) })
	r.OnPriority(func() { in.hurry(ch) })
	in.channels = append(in.channels, channel{edge: e, from: from, ring: r})
	in.queued = append(in.queued, false)
	in.ready = make([]int, len(in.channels))
	return r
}

// arrived is called by a writer whose ring was empty.
func (in *inlet) arrived(ch int) {
	in.enqueue(ch)
	in.box.signal(sigData)
}

// hurry is called by a writer for a priority element.
func (in *inlet) hurry(ch int) {
	in.mu.Lock()
	in.hurried = append(in.hurried, ch)
	in.urgent.Add(1)
	in.mu.Unlock()
	in.box.signal(sigData)
}

// nextUrgent takes a priority element, whether its channel is blocked or not.
func (in *inlet) nextUrgent() (ch int, e exchange.Element, ok bool) {
	in.mu.Lock()
	if len(in.hurried) == 0 {
		in.mu.Unlock()
		return 0, e, false
	}
	ch = in.hurried[0]
	in.hurried = in.hurried[1:]
	in.urgent.Add(-1)
	in.mu.Unlock()
	e, ok = in.channels[ch].ring.PopPriority()
	if in.channels[ch].ring.Len() > 0 {
		in.enqueue(ch) // the ring does not tell of what comes while a priority element waits
	}
	return ch, e, ok
}

func (in *inlet) enqueue(ch int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.queued[ch] {
		return
	}
	in.queued[ch] = true
	in.ready[(in.head+in.n)%len(in.ready)] = ch
	in.n++
}

func (in *inlet) dequeue() (ch int, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.n == 0 {
		return 0, false
	}
	ch = in.ready[in.head]
	if in.head++; in.head == len(in.ready) {
		in.head = 0
	}
	in.n--
	in.queued[ch] = false
	return ch, true
}

// next takes an element of a channel that is not blocked.
func (in *inlet) next(blocked []bool) (ch int, e exchange.Element, ok bool) {
	for {
		ch, ok = in.dequeue()
		if !ok {
			return 0, e, false
		}
		if blocked[ch] {
			continue // unblock puts it back
		}
		e, ok = in.channels[ch].ring.Pop()
		if !ok {
			continue
		}
		if in.channels[ch].ring.Len() > 0 {
			in.enqueue(ch)
		}
		return ch, e, true
	}
}

// unblock puts channels that were passed over back into the queue.
func (in *inlet) unblock() {
	for ch := range in.channels {
		if in.channels[ch].ring.Len() > 0 {
			in.enqueue(ch)
		}
	}
}

// beyond lets the buffers that come from other processes be more than there should
// be while channels are blocked, where that could keep the others' barriers away.
func (in *inlet) beyond(a *aligner) {
	if in.gate != nil {
		in.gate.Beyond(slices.Contains(a.blocked, true))
	}
}

// queuedRecords returns what waits in the rings.
func (in *inlet) queuedRecords() (records, bytes int) {
	for i := range in.channels {
		r, b := in.channels[i].ring.Queued()
		records += r
		bytes += b
	}
	return records, bytes
}
