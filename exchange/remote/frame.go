package remote

import (
	"encoding/binary"
	"fmt"

	"streamduel/exchange"
)

type kind uint8

const (
	kindData kind = iota + 1
	kindEvent
	kindCredit
	kindBacklog
	kindPing
	kindBye
	kindSize
)

const headerSize = 20

// MaxEvent bounds an event's body, which may hold what it has overtaken: anything
// longer is a broken stream.
const MaxEvent = 16 << 20

type header struct {
	kind    kind
	flags   uint8
	channel uint32
	length  int
	count   int
	backlog int
}

func (h header) append(b []byte) []byte {
	b = append(b, byte(h.kind), h.flags, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, h.channel)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.length))
	b = binary.LittleEndian.AppendUint32(b, uint32(h.count))
	return binary.LittleEndian.AppendUint32(b, uint32(h.backlog))
}

// parseHeader refuses whatever no peer of this version sends.
func parseHeader(b *[headerSize]byte) (header, error) {
	h := header{
		kind: kind(b[0]), flags: b[1], channel: binary.LittleEndian.Uint32(b[4:]),
		length:  int(binary.LittleEndian.Uint32(b[8:])),
		count:   int(int32(binary.LittleEndian.Uint32(b[12:]))),
		backlog: int(int32(binary.LittleEndian.Uint32(b[16:]))),
	}
	limit := 0
	switch h.kind {
	case kindData:
		limit = exchange.MaxData
	case kindEvent:
		limit = MaxEvent
	case kindCredit, kindBacklog, kindPing, kindBye, kindSize:
	default:
		return h, fmt.Errorf("a frame of unknown kind %d", h.kind)
	}
	if b[2]|b[3] != 0 || h.length < 0 || h.length > limit || h.count < 0 || h.backlog < 0 {
		return h, fmt.Errorf("a malformed frame of kind %d: length %d, count %d, backlog %d", h.kind, h.length, h.count, h.backlog)
	}
	return h, nil
}
