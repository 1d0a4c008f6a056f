package engines

import (
	"math/bits"
	"sync"

	"streamduel/connectors"
)

// AckLog remembers which inputs' outputs have been acknowledged by the sinks,
// so that at a crash the number of copies or losses to come is known before
// they happen: with one output an input, a restart from positions P repeats the
// acknowledged outputs at or after P, and leaves out for good the inputs before
// P that were not acknowledged.
//
// It is safe for concurrent use.
type AckLog struct {
	mu    sync.Mutex
	parts map[int32]*ackBits
}

type ackBits struct {
	base int64 // multiple of 64: first position the words hold
	word []uint64
	end  int64 // highest acknowledged position + 1
}

// NewAckLog returns an empty log.
func NewAckLog() *AckLog { return &AckLog{parts: map[int32]*ackBits{}} }

// Acked tells that the output of an input has been acknowledged.
func (l *AckLog) Acked(o connectors.Origin) {
	if o.Partition < 0 {
		return // a timer's output answers no single input
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.parts[o.Partition]
	if p == nil {
		p = &ackBits{base: o.Sequence &^ 63}
		l.parts[o.Partition] = p
	}
	if o.Sequence < p.base {
		// Only a replay or a reordering across subtasks reaches back.
		n := (p.base - o.Sequence + 63) / 64
		p.word = append(make([]uint64, n), p.word...)
		p.base -= n * 64
	}
	i := (o.Sequence - p.base) / 64
	for int64(len(p.word)) <= i {
		p.word = append(p.word, 0)
	}
	p.word[i] |= 1 << (o.Sequence & 63)
	p.end = max(p.end, o.Sequence+1)
}

// Trim forgets what lies below the positions, which are durable: recovery will
// never reach back behind them.
func (l *AckLog) Trim(partition int32, position connectors.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.parts[partition]
	if p == nil {
		return
	}
	n := (int64(position) - p.base) / 64
	if n <= 0 {
		return
	}
	n = min(n, int64(len(p.word)))
	p.word = append(p.word[:0], p.word[n:]...)
	p.base += n * 64
}

// From counts the acknowledged inputs of a partition at or after a position.
func (l *AckLog) From(partition int32, position connectors.Position) (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.parts[partition]
	if p == nil {
		return 0
	}
	return p.count(max(int64(position), p.base), p.end)
}

// Missing counts the inputs of a partition between two positions whose output
// has not been acknowledged.
func (l *AckLog) Missing(partition int32, from, until connectors.Position) (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until <= from {
		return 0
	}
	p := l.parts[partition]
	if p == nil {
		return int64(until - from)
	}
	return int64(until-from) - p.count(max(int64(from), p.base), min(int64(until), p.end))
}

func (p *ackBits) count(from, until int64) (n int64) {
	for s := from; s < until; {
		i := (s - p.base) / 64
		if i >= int64(len(p.word)) {
			break
		}
		w := p.word[i] >> (s & 63)
		next := s&^63 + 64
		if next > until {
			w &= 1<<(until-s) - 1
		}
		n += int64(bits.OnesCount64(w))
		s = next
	}
	return n
}

// Acknowledged is what an AckLog knows of a partition, for another process.
type Acknowledged struct {
	Partition int32    `json:"partition"`
	Base      int64    `json:"base"` // position of the first word's first bit
	Words     []uint64 `json:"words"`
	End       int64    `json:"end"`
}

// Export returns everything that the log knows.
func (l *AckLog) Export() (all []Acknowledged) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, p := range l.parts {
		all = append(all, Acknowledged{n, p.base, append([]uint64(nil), p.word...), p.end})
	}
	return all
}

// Merge adds what another log has exported.
func (l *AckLog) Merge(all []Acknowledged) {
	for _, a := range all {
		for i, w := range a.Words {
			for ; w != 0; w &= w - 1 {
				l.Acked(connectors.Origin{Partition: a.Partition, Sequence: a.Base + int64(i)*64 + int64(bits.TrailingZeros64(w))})
			}
		}
	}
}
