package load

import (
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

// slabRecords is how many records share a slab: enough that a slab's cost does
// not count, few enough that one slow partition does not hold much.
const slabRecords = 256

// slab holds some records and all their bytes. It is free again when the
// client has told the end of every one of them.
type slab struct {
	records [slabRecords]kgo.Record
	headers [slabRecords]kgo.RecordHeader
	buf     []byte
	used    int
	left    atomic.Int32
	done    func(*kgo.Record, error) // the promise, made once
	next    *slab
}

// slabs is a free list; records come from one goroutine and return in another.
type slabs struct {
	mu   sync.Mutex
	free *slab
	// acked is called for every record, serially, before its slab is reused.
	acked func(*kgo.Record, error)
}

func (s *slabs) get() *slab {
	s.mu.Lock()
	b := s.free
	if b != nil {
		s.free = b.next
	}
	s.mu.Unlock()
	if b == nil {
		b = &slab{}
		b.done = func(r *kgo.Record, err error) {
			s.acked(r, err)
			if b.left.Add(-1) == 0 {
				s.mu.Lock()
				b.next, s.free = s.free, b
				s.mu.Unlock()
			}
		}
	}
	// The filler holds one share itself, so that the slab cannot be freed
	// between two of its records.
	b.used, b.buf = 0, b.buf[:0]
	b.left.Store(1)
	return b
}

// release gives up the filler's share.
func (s *slabs) release(b *slab) {
	if b.left.Add(-1) == 0 {
		s.mu.Lock()
		b.next, s.free = s.free, b
		s.mu.Unlock()
	}
}

// add returns the slab's next record, whose value is what was appended to buf
// behind from. key is copied.
func (b *slab) add(from int, key []byte, origin *connectors.Origin) *kgo.Record {
	r := &b.records[b.used]
	*r = kgo.Record{Value: b.buf[from:len(b.buf):len(b.buf)]}
	if key != nil {
		at := len(b.buf)
		b.buf = append(b.buf, key...)
		r.Key = b.buf[at:len(b.buf):len(b.buf)]
	}
	if origin != nil {
		at := len(b.buf)
		b.buf = connectors.AppendOrigin(b.buf, *origin)
		h := b.headers[b.used : b.used+1 : b.used+1]
		h[0] = kgo.RecordHeader{Key: connectors.OriginHeader, Value: b.buf[at:len(b.buf):len(b.buf)]}
		r.Headers = h
	}
	b.used++
	b.left.Add(1)
	return r
}
