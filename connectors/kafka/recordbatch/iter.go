package recordbatch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamduel/connectors"
)

var errShort = errors.New("record runs past its batch")

// Iter decodes the records of one batch in place: keys and values are
// views of the fetch response.
type Iter struct {
	rest      []byte
	left      int32
	first     int64 // offset of delta 0
	last      int64
	timestamp int64
	append    bool // timestamp holds for all records
	control   bool
}

// Left is the number of records that Next has not returned.
func (it *Iter) Left() int { return int(it.left) }

// First is the batch's first offset.
func (it *Iter) First() int64 { return it.first }

// Last is the batch's last offset.
func (it *Iter) Last() int64 { return it.last }

// Control reports whether the batch is a transaction's marker. Its record is
// not the user's.
func (it *Iter) Control() bool { return it.control }

// Stop makes the batch's remaining records those of nobody.
func (it *Iter) Stop() { it.left = 0 }

// Open makes the iterator read a batch that Check has passed. Records of a
// compressed one lie in memory of the decompressor's choice.
func (it *Iter) Open(b []byte, dec kgo.Decompressor) error {
	attrs := attributes(b)
	it.first, it.last = First(b), Last(b)
	it.append = attrs&attrLogAppend != 0
	it.control = attrs&attrControl != 0
	it.timestamp = int64(binary.BigEndian.Uint64(b[27:]))
	if it.append {
		it.timestamp = int64(binary.BigEndian.Uint64(b[35:]))
	}
	it.left = int32(binary.BigEndian.Uint32(b[57:]))
	it.rest = b[headerSize:]
	if it.left < 0 || it.left > 0 && len(it.rest) == 0 {
		return fmt.Errorf("record batch at offset %d claims %d records in %d bytes", it.first, it.left, len(it.rest))
	}
	if c := attrs & attrCodec; c != 0 {
		raw, err := dec.Decompress(it.rest, kgo.CompressionCodecType(c))
		if err != nil {
			return fmt.Errorf("record batch at offset %d does not decompress: %w", it.first, err)
		}
		it.rest = raw
	}
	return nil
}

// Headers turns a record's headers into the contract's form. Their names are
// interned, so that reading them costs no allocation; the bound keeps a topic
// with ever new names from growing it without end.
type Headers struct {
	arena []connectors.Header
	names map[string]string
}

// Reset forgets the headers of all records that were read so far, which must
// not be used any more.
func (h *Headers) Reset() { h.arena = h.arena[:0:cap(h.arena)] }

func (h *Headers) name(b []byte) string {
	if s, ok := h.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if h.names == nil {
		h.names = make(map[string]string)
	}
	if len(h.names) < 1024 {
		h.names[s] = s
	}
	return s
}

// Next decodes one record. Its headers lie in h until that is reset.
// REQUIRES: it.Left() > 0.
func (it *Iter) Next(r *connectors.Record, h *Headers) error {
	n, b := varint(it.rest)
	if b == nil || n < 1 || n > int64(len(b)) {
		return errShort
	}
	rest := b[n:]
	b = b[1:n] // one byte of attributes, unused
	var ts, off int64
	if ts, b = varint(b); b == nil {
		return errShort
	}
	if off, b = varint(b); b == nil || off < 0 || off > it.last-it.first {
		return errShort
	}
	r.Offset = it.first + off
	r.Timestamp = it.timestamp
	if !it.append {
		r.Timestamp += ts
	}
	var ok bool
	if r.Key, b, ok = varbytes(b); !ok {
		return errShort
	}
	if r.Value, b, ok = varbytes(b); !ok {
		return errShort
	}
	r.Headers = nil
	count, b := varint(b)
	if b == nil || count < 0 || count > int64(len(b)) {
		return errShort
	}
	if count > 0 {
		at := len(h.arena)
		for range count {
			var k, v []byte
			if k, b, ok = varbytes(b); !ok {
				return errShort
			}
			if v, b, ok = varbytes(b); !ok {
				return errShort
			}
			h.arena = append(h.arena, connectors.Header{Key: h.name(k), Value: v})
		}
		r.Headers = h.arena[at:len(h.arena):len(h.arena)]
	}
	it.rest = rest
	it.left--
	return nil
}

// varint reads a zigzag varint; a nil rest means that there is none.
func varint(b []byte) (int64, []byte) {
	if len(b) > 0 && b[0] < 0x80 { // one byte: most of them
		u := b[0]
		return int64(u>>1) ^ -int64(u&1), b[1:]
	}
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil
	}
	return v, b[n:]
}

// varbytes reads a length and as many bytes; length −1 is nil.
func varbytes(b []byte) (v, rest []byte, ok bool) {
	n, b := varint(b)
	if b == nil || n > int64(len(b)) {
		return nil, nil, false
	}
	if n < 0 {
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}
