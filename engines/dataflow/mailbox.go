package dataflow

import (
	"sync"
	"sync/atomic"

	"streamduel/engines/dataflow/checkpoints"
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
}

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
	return ms
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
