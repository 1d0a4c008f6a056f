package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamduel/connectors"
)

// The record batch format, magic 2 (Kafka protocol guide, "Record Batch"):
//
//	 0 first offset i64     21 attributes i16        43 producer id i64
//	 8 length i32           23 last offset delta i32 51 producer epoch i16
//	12 leader epoch i32     27 first timestamp i64   53 first sequence i32
//	16 magic i8             35 max timestamp i64     57 record count i32
//	17 crc i32 (of 21…)                              61 records
const (
	batchHeader   = 61
	attrCodec     = 0x07
	attrLogAppend = 0x08
	attrTxn       = 0x10
	attrControl   = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errShort = errors.New("record runs past its batch")

// batchIter decodes the records of one batch in place: keys and values are
// views of the fetch response.
type batchIter struct {
	rest      []byte
	left      int32
	first     int64 // offset of delta 0
	last      int64
	timestamp int64
	append    bool // timestamp holds for all records
	control   bool
}

// nextBatchLen returns the length of the first batch in b, or 0 if b holds no
// whole batch (a broker cuts a response off anywhere).
func nextBatchLen(b []byte) int {
	if len(b) < batchHeader {
		return 0
	}
	n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + 12
	if n < batchHeader || n > int64(len(b)) {
		return 0
	}
	return int(n)
}

// checkBatch validates a whole batch and returns the offset behind it.
func checkBatch(b []byte) (next int64, err error) {
	first := int64(binary.BigEndian.Uint64(b))
	if magic := b[16]; magic != 2 {
		return 0, fmt.Errorf("record batch at offset %d has format %d; only format 2 (Kafka 0.11 and newer) is read", first, magic)
	}
	if want, got := binary.BigEndian.Uint32(b[17:]), crc32.Checksum(b[21:], castagnoli); want != got {
		return 0, fmt.Errorf("record batch at offset %d is damaged: checksum %08x, computed %08x", first, want, got)
	}
	delta := int32(binary.BigEndian.Uint32(b[23:]))
	if first < 0 || delta < 0 {
		return 0, fmt.Errorf("record batch at offset %d ends %d behind", first, delta)
	}
	return first + int64(delta) + 1, nil
}

// open makes the iterator read a batch that checkBatch has passed.
func (it *batchIter) open(b []byte, dec kgo.Decompressor) error {
	attrs := int16(binary.BigEndian.Uint16(b[21:]))
	it.first = int64(binary.BigEndian.Uint64(b))
	it.last = it.first + int64(int32(binary.BigEndian.Uint32(b[23:])))
	it.append = attrs&attrLogAppend != 0
	it.control = attrs&attrControl != 0
	it.timestamp = int64(binary.BigEndian.Uint64(b[27:]))
	if it.append {
		it.timestamp = int64(binary.BigEndian.Uint64(b[35:]))
	}
	it.left = int32(binary.BigEndian.Uint32(b[57:]))
	it.rest = b[batchHeader:]
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

// headers turns a record's headers into the contract's form. Their names are
// interned, so that reading them costs no allocation; the bound keeps a topic
// with ever new names from growing it without end.
type headers struct {
	arena []connectors.Header
	names map[string]string
}

func (h *headers) name(b []byte) string {
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

// next decodes one record. REQUIRES: it.left > 0.
func (it *batchIter) next(r *connectors.Record, h *headers) error {
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

// chunk is what one fetch returned of one partition: whole, checked batches.
type chunk struct {
	batches []byte
	latest  int64
	aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction // by first offset; not yet reached
	active  map[int64]struct{}                                   // producers whose records are being aborted
}

// skip reports whether the batch belongs to an aborted transaction, and keeps
// account of which transactions are being passed. The broker lists every
// aborted transaction that overlaps the response, so the account starts anew
// with each.
func (c *chunk) skip(b []byte) bool {
	attrs := int16(binary.BigEndian.Uint16(b[21:]))
	if attrs&attrTxn == 0 || len(c.aborted) == 0 && len(c.active) == 0 {
		return false
	}
	first := int64(binary.BigEndian.Uint64(b))
	last := first + int64(int32(binary.BigEndian.Uint32(b[23:])))
	for len(c.aborted) > 0 && c.aborted[0].FirstOffset <= last {
		if c.active == nil {
			c.active = make(map[int64]struct{})
		}
		c.active[c.aborted[0].ProducerID] = struct{}{}
		c.aborted = c.aborted[1:]
	}
	pid := int64(binary.BigEndian.Uint64(b[43:]))
	if _, ok := c.active[pid]; !ok {
		return false
	}
	if attrs&attrControl != 0 {
		delete(c.active, pid) // its end: an abort, else it would not be listed
		return false
	}
	return true
}
