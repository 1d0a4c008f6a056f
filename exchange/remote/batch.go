package remote

import (
	"fmt"
	"net"

	"streamduel/exchange"
)

// batch gathers frames for one system call. Headers and events stand in one
// slice, buffers stay where they are until they are written.
type batch struct {
	small []byte // headers and events, in order
	cuts  []int  // where in small a buffer's bytes go in between
	vec   net.Buffers
	rest  net.Buffers // of vec, while it is written
	held  []*exchange.Buffer
	bytes int
	data  int64
}

func (b *batch) empty() bool { return len(b.small) == 0 }

func (b *batch) header(h header) {
	b.small = h.append(b.small)
	b.bytes += headerSize
}

func (b *batch) buffer(id uint32, buf *exchange.Buffer, backlog int) {
	b.header(header{kind: kindData, flags: uint8(buf.Flags), channel: id, length: len(buf.Data), count: buf.Records, backlog: backlog})
	b.cuts = append(b.cuts, len(b.small))
	b.held = append(b.held, buf)
	b.bytes += len(buf.Data)
	b.data += int64(len(buf.Data))
}

func (b *batch) event(codec Events, id uint32, e exchange.Element) error {
	h := header{kind: kindEvent, channel: id}
	if e.Priority {
		h.flags = 1
	}
	start := len(b.small)
	small, err := codec.Append(h.append(b.small), e.Event)
	if err != nil {
		return fmt.Errorf("channel %d: %w", id, err)
	}
	h.length = len(small) - start - headerSize
	if h.length > MaxEvent {
		return fmt.Errorf("channel %d: an event of %d bytes, %d at most", id, h.length, MaxEvent)
	}
	h.append(small[:start])
	b.small = small
	b.bytes += len(small) - start
	return nil
}

// flush writes all frames and releases the buffers.
func (b *batch) flush(to net.Conn) error {
	vec := b.vec[:0]
	from := 0
	for i, cut := range b.cuts {
		vec = append(vec, b.small[from:cut], b.held[i].Data)
		from = cut
	}
	if from < len(b.small) {
		vec = append(vec, b.small[from:])
	}
	b.vec, b.rest = vec, vec
	_, err := b.rest.WriteTo(to)
	for i, buf := range b.held {
		buf.Release()
		b.held[i] = nil
	}
	clear(b.vec)
	if cap(b.small) > keptBody {
		b.small = nil
	}
	b.small, b.cuts, b.held, b.bytes, b.data = b.small[:0], b.cuts[:0], b.held[:0], 0, 0
	return err
}
