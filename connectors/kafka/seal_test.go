package kafka

import (
	"encoding/binary"
	"hash/crc32"
)

// seal writes a batch's length and checksum.
func seal(b []byte) {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
}
