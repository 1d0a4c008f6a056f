package recordbatch

import (
	"encoding/binary"
	"hash/crc32"
)

// rec is a record to be put into a batch.
type rec struct {
	delta, time int64
	key, value  []byte
	headers     [][2][]byte
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

func (r *rec) append(dst []byte) []byte {
	b := []byte{0}
	b = binary.AppendVarint(b, r.time)
	b = binary.AppendVarint(b, r.delta)
	b = appendBytes(b, r.key)
	b = appendBytes(b, r.value)
	b = binary.AppendVarint(b, int64(len(r.headers)))
	for _, h := range r.headers {
		b = appendBytes(appendBytes(b, h[0]), h[1])
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

// batch makes a whole batch that ends at offset last.
func batch(first, last int64, attrs int16, producer int64, recs ...rec) []byte {
	b := make([]byte, headerSize)
	binary.BigEndian.PutUint64(b, uint64(first))
	b[16] = 2
	binary.BigEndian.PutUint16(b[21:], uint16(attrs))
	binary.BigEndian.PutUint32(b[23:], uint32(last-first))
	binary.BigEndian.PutUint64(b[27:], 1_700_000_000_000)
	binary.BigEndian.PutUint64(b[35:], 1_700_000_099_000)
	binary.BigEndian.PutUint64(b[43:], uint64(producer))
	binary.BigEndian.PutUint32(b[57:], uint32(len(recs)))
	for i := range recs {
		b = recs[i].append(b)
	}
	seal(b)
	return b
}

// marker makes the batch that ends a transaction.
func marker(offset, producer int64, commit bool) []byte {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	return batch(offset, offset, attrTxn|attrControl, producer, rec{key: key, value: make([]byte, 6)})
}

// seal writes a batch's length and checksum.
func seal(b []byte) {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
}
