// Package recordbatch walks Kafka record batches in place, as a fetch response
// holds them: no struct is made for a record that its reader does not want,
// and keys and values are views of the response.
//
// It knows the format and what transactions do to it, and nothing of requests:
// the source of package connectors/kafka and the observer fetch each in their
// own way, and both walk what they fetched with this package.
//
// The format, magic 2 (Kafka protocol guide, "Record Batch"):
//
//	 0 first offset i64     21 attributes i16        43 producer id i64
//	 8 length i32           23 last offset delta i32 51 producer epoch i16
//	12 leader epoch i32     27 first timestamp i64   53 first sequence i32
//	16 magic i8             35 max timestamp i64     57 record count i32
//	17 crc i32 (of 21…)                              61 records
//
// # Non-obvious
//
//   - A broker cuts a response off anywhere; [Len] tells whether a whole batch
//     follows. [Check] comes before everything else that looks into a batch.
//   - Offsets between the records of a batch, and between batches, may be
//     missing: markers take one, compaction takes any. A reader's next position
//     is [Last] + 1, whatever records it found.
//   - A batch may begin before the offset that was asked for.
package recordbatch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	headerSize    = 61
	attrCodec     = 0x07
	attrLogAppend = 0x08
	attrTxn       = 0x10
	attrControl   = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Len returns the length in bytes of the first batch in b, or 0 if b holds no
// whole batch.
func Len(b []byte) int {
	if len(b) < headerSize {
		return 0
	}
	n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + 12
	if n < headerSize || n > int64(len(b)) {
		return 0
	}
	return int(n)
}

// Check validates a whole batch and returns the offset behind it.
func Check(b []byte) (next int64, err error) {
	first := First(b)
	if magic := b[16]; magic != 2 {
		return 0, fmt.Errorf("record batch at offset %d has format %d; only format 2 (Kafka 0.11 and newer) is read", first, magic)
	}
	if want, got := binary.BigEndian.Uint32(b[17:]), crc32.Checksum(b[21:], castagnoli); want != got {
		return 0, fmt.Errorf("record batch at offset %d is damaged: checksum %08x, computed %08x", first, want, got)
	}
	last := Last(b)
	if first < 0 || last < first || last == 1<<63-1 {
		return 0, fmt.Errorf("record batch at offset %d ends %d behind", first, int32(binary.BigEndian.Uint32(b[23:])))
	}
	return last + 1, nil
}

// First returns the offset at which a whole batch begins.
func First(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }

// Last returns the last offset that a whole batch takes.
func Last(b []byte) int64 { return First(b) + int64(int32(binary.BigEndian.Uint32(b[23:]))) }

// LeaderEpoch returns the epoch of the leader that appended a whole batch, or
// -1 where the broker does not say.
func LeaderEpoch(b []byte) int32 { return int32(binary.BigEndian.Uint32(b[12:])) }

func attributes(b []byte) int16 { return int16(binary.BigEndian.Uint16(b[21:])) }
