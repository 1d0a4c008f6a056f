package connectors

import "encoding/binary"

// OriginHeader is the name of the record header that carries an Origin, for
// workloads whose payload is the user's own. The load generator writes it on
// inputs, sinks copy it to outputs, the observer reads it.
const OriginHeader = "sd-origin"

// OriginSize is the length of an encoded Origin in bytes.
const OriginSize = 28

// AppendOrigin appends the origin's encoding: partition, sequence, scheduled
// and intake time, big endian.
func AppendOrigin(dst []byte, o Origin) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(o.Partition))
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.Sequence))
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.Scheduled))
	return binary.BigEndian.AppendUint64(dst, uint64(o.Intake))
}

// ParseOrigin reads what AppendOrigin wrote; ok is false when b is too short.
func ParseOrigin(b []byte) (o Origin, ok bool) {
	if len(b) < OriginSize {
		return Origin{}, false
	}
	return Origin{
		Partition: int32(binary.BigEndian.Uint32(b)),
		Sequence:  int64(binary.BigEndian.Uint64(b[4:])),
		Scheduled: int64(binary.BigEndian.Uint64(b[12:])),
		Intake:    int64(binary.BigEndian.Uint64(b[20:])),
	}, true
}

// FindOrigin returns the origin in a record's headers.
func FindOrigin(hs []Header) (o Origin, ok bool) {
	for i := range hs {
		if hs[i].Key == OriginHeader {
			return ParseOrigin(hs[i].Value)
		}
	}
	return Origin{}, false
}
