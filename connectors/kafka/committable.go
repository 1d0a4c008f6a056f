package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"streamduel/connectors"
)

// prepared is what a committable says: whose transaction it is, and where one
// of its records lies. The record is how recovery finds out what became of a
// transaction that the broker does not remember: see Sink.Recover.
type prepared struct {
	txnID     string
	producer  int64
	epoch     int16 // with which the records were written; EndTxn needs this one
	topic     string
	partition int32
	offset    int64
}

const committableVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errCommittable = errors.New("kafka: not a committable of this sink")

// encode returns version, fields and checksum.
func (p *prepared) encode() connectors.Committable {
	b := make([]byte, 0, 48+len(p.txnID)+len(p.topic))
	b = append(b, committableVersion)
	b = appendString(b, p.txnID)
	b = binary.BigEndian.AppendUint64(b, uint64(p.producer))
	b = binary.BigEndian.AppendUint16(b, uint16(p.epoch))
	b = appendString(b, p.topic)
	b = binary.BigEndian.AppendUint32(b, uint32(p.partition))
	b = binary.BigEndian.AppendUint64(b, uint64(p.offset))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// decodeCommittable is the inverse of encode; anything else is an error.
func decodeCommittable(c connectors.Committable) (p prepared, err error) {
	if len(c) < 5 {
		return p, fmt.Errorf("%w: %d bytes", errCommittable, len(c))
	}
	if c[0] != committableVersion {
		return p, fmt.Errorf("%w: version %d, this program knows %d", errCommittable, c[0], committableVersion)
	}
	body, sum := c[:len(c)-4], binary.BigEndian.Uint32(c[len(c)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return p, fmt.Errorf("%w: checksum does not match", errCommittable)
	}
	b := []byte(body[1:])
	short := fmt.Errorf("%w: cut short", errCommittable)
	var ok bool
	if p.txnID, b, ok = cutString(b); !ok || len(b) < 10 {
		return prepared{}, short
	}
	p.producer = int64(binary.BigEndian.Uint64(b))
	p.epoch = int16(binary.BigEndian.Uint16(b[8:]))
	if p.topic, b, ok = cutString(b[10:]); !ok || len(b) != 12 {
		return prepared{}, short
	}
	p.partition = int32(binary.BigEndian.Uint32(b))
	p.offset = int64(binary.BigEndian.Uint64(b[4:]))
	if p.txnID == "" || p.topic == "" || p.producer < 0 || p.epoch < 0 || p.partition < 0 || p.offset < 0 {
		return prepared{}, fmt.Errorf("%w: %+v", errCommittable, p)
	}
	return p, nil
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}
