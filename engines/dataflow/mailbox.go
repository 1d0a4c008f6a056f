package dataflow

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/metrics"
)

// signal is mail without content: however often it is sent, it is handled once.
type signal uint32

const (
	sigMail  signal = 1 << iota // messages wait
	sigRoom                     // a buffer was given back
	sigFlush                    // the buffer timeout has passed
	sigTick                     // the watermark interval has passed
	sigData                     // an input channel or the fetcher has something
)

// mailbox is how everybody else talks to a subtask's goroutine. Between two
// steps of its default action a subtask looks at one atomic word.
type mailbox struct {
	signals  atomic.Uint32
	wake     chan struct{}
	mu       sync.Mutex
	messages []any
	handled  int64 // messages taken out
	// How long the last looks have waited, circular, and when there was one.
	looked int64
	waited [lookSpan]int64
	looks  int
}

// Flink measures how long mail waits by a mail of its own, once a second, and
// shows the last 60.
const (
	lookEvery = int64(time.Second)
	lookSpan  = 60
)

// look is a message that only measures how long it waits.
type look struct{ at int64 } // monotonic nanoseconds

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// signal sets a signal. The task is woken only when it was not set: whoever
// clears it handles it afterwards.
func (m *mailbox) signal(s signal) {
	if m.signals.Or(uint32(s))&uint32(s) != 0 {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// send puts a message in.
func (m *mailbox) send(message any) {
	m.mu.Lock()
	m.messages = append(m.messages, message)
	m.mu.Unlock()
	m.signal(sigMail)
}

// take clears and returns the signals.
func (m *mailbox) take() signal {
	if m.signals.Load() == 0 {
		return 0
	}
	return signal(m.signals.Swap(0))
}

// receive takes all messages out.
func (m *mailbox) receive() []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	ms := m.messages
	m.messages = nil
	m.handled += int64(len(ms))
	return ms
}

// measured notes how long a look has waited.
func (m *mailbox) measured(l look) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waited[m.looks%lookSpan] = clock.Mono() - l.at
	m.looks++
}

// show fills in what waits and has waited, and sends a look when it is time.
func (m *mailbox) show(v *engines.TaskIO) {
	now := clock.Mono()
	m.mu.Lock()
	v.MailboxSize, v.Mails = len(m.messages), m.handled
	waited := slices.Clone(m.waited[:min(m.looks, lookSpan)])
	due := m.looked == 0 || now-m.looked >= lookEvery
	if due {
		m.looked = now
	}
	m.mu.Unlock()
	if due {
		m.send(look{now})
	}
	slices.Sort(waited)
	for _, q := range metrics.Quantiles {
		if n := len(waited); n > 0 {
			v.MailboxMillis = append(v.MailboxMillis, float64(waited[int(q*float64(n-1))])/1e6)
		}
	}
}

// The messages of the coordinator to a subtask.
type (
	// trigger begins a checkpoint at a source. After the last one the source
	// reads no more.
	trigger struct {
		barrier
		last bool
	}
	// overtake makes a checkpoint's barriers overtake what is before them.
	overtake struct{ id int64 }
	// durable tells a subtask with sinks that a checkpoint is durable. Nothing
	// before oldest is kept any more.
	durable struct{ id, oldest int64 }
	// abortCheckpoint gives a checkpoint up.
	abortCheckpoint struct{ id int64 }
	// drain makes a source without an end of its own end.
	drain struct{}
)

// The events that travel in rings, in order with the records.
type (
	barrier struct {
		id        int64
		started   int64 // monotonic nanoseconds of the trigger
		unaligned bool  // it has overtaken
		overtaken []checkpoints.Frames
	}
	watermark struct{ at int64 }
	idleness  struct{ idle bool }
	end       struct{}
)
