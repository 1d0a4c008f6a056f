// Package exchange moves records between tasks: buffers of 32 KiB that typed
// writers fill and typed readers empty, bounded pools that they come from, and
// the rings in which they wait.
//
// Both engines use the same buffers and the same record frames. How many
// buffers there are, when a half-full one leaves, and what a full pool means is
// an engine's decision.
//
// Non-obvious:
//   - A writer holds one free buffer for every channel at all times, or counts
//     as starved. So "not starved" means that the next record can be written
//     whatever channel it goes to, and a task checks just one number before
//     each record. Inside a record it may overdraw.
//   - A record frame has no length. Its buffer says by flags which optional
//     fields each frame starts with; the codec finds the frame's end. Only a
//     record that does not fit behind the limit travels in Part buffers of its
//     own.
package exchange

import "sync"

// Size is the limit of a buffer in bytes. A record that begins below it may run
// over it by up to slack bytes.
const (
	Size    = 32 << 10
	MinSize = 256 // smallest limit that a writer can be given
	slack   = 4 << 10

	// MaxData is what a buffer holds at most.
	MaxData = Size + slack
)

// Flags say what the frames in a buffer carry.
type Flags uint8

// The flags of a buffer.
const (
	Timestamps Flags = 1 << iota // each frame starts with its event time, 8 bytes
	Origins                      // then its origin, 28 bytes
	Part                         // the buffer is a part of one record
	PartEnd                      // with Part: the record's last part
)

// Buffer holds frames on their way from one task to another.
type Buffer struct {
	Data    []byte
	Off     int // how far a reader has come
	Records int // frames that end in this buffer
	Flags   Flags
	Limit   int // bytes from which on it is full; its writer sets it
	Tag     int // the owner's own
	owner   Owner
}

// Owner is where a buffer goes when its reader is done with it.
type Owner interface {
	// Take gets an emptied buffer back, from any goroutine.
	Take(*Buffer)
}

// NewBuffer returns an empty buffer of the full size that its owner gets back.
func NewBuffer(owner Owner) *Buffer {
	return &Buffer{Data: make([]byte, 0, MaxData), owner: owner}
}

// View returns a buffer that shares b's contents, for one more reader: it has an
// offset and an owner of its own. Until it is released nobody may release or
// change b.
func View(b *Buffer, owner Owner) *Buffer {
	n := len(b.Data)
	return &Buffer{Data: b.Data[:n:n], Records: b.Records, Flags: b.Flags, owner: owner}
}

// Release gives the buffer back to its owner; the caller must not touch it
// again.
func (b *Buffer) Release() {
	if b.owner != nil {
		b.Data, b.Off, b.Records, b.Flags = b.Data[:0], 0, 0, 0
		b.owner.Take(b)
	}
}

// Pool is a bounded set of buffers. It is safe for concurrent use: the reader
// of a buffer releases it, its writer takes it.
type Pool struct {
	mu        sync.Mutex
	free      []*Buffer
	made      int
	bound     int
	out       int // buffers in use, overdrawn ones included
	wanted    bool
	available func()
}

// NewPool returns a pool of at most bound buffers, made when first needed.
// available is called, from the releasing goroutine, when a buffer becomes free
// after TryGet had none; it may be nil.
func NewPool(bound int, available func()) *Pool {
	return &Pool{bound: bound, available: available}
}

// Bound returns how many buffers the pool has.
func (p *Pool) Bound() int { return p.bound }

// InUse returns how many buffers are out, overdrawn ones included.
func (p *Pool) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out
}

// TryGet returns an empty buffer, or nil when all are in use; then available is
// called once when that changes.
func (p *Pool) TryGet() *Buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out >= p.bound {
		p.wanted = true
		return nil
	}
	return p.take()
}

// Overdraft returns a buffer beyond the bound. It is for a task that is inside
// a record and must not block there.
func (p *Pool) Overdraft() *Buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take()
}

func (p *Pool) take() *Buffer {
	p.out++
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	p.made++
	return NewBuffer(p)
}

// Take implements Owner.
func (p *Pool) Take(b *Buffer) {
	p.mu.Lock()
	p.out--
	// Buffers made by overdraft are let go, so the pool shrinks back.
	if len(p.free) < p.bound {
		p.free = append(p.free, b)
	} else {
		p.made--
	}
	notify := p.wanted && p.out < p.bound
	if notify {
		p.wanted = false
	}
	p.mu.Unlock()
	if notify && p.available != nil {
		p.available()
	}
}
