package replay

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"streamduel/codec/json"
	"streamduel/workloads"
)

var _ workloads.Spoiler = (*generator)(nil)

// AppendBad appends the file's record with what is wrong put into it: of a record
// that does not decode the end is missing (JSON) or a field is too many (CSV), an
// event time that is missing is null or empty.
func (g *generator) AppendBad(dst []byte, in workloads.Input, kind workloads.BadKind) (value, key []byte) {
	record := bytes.TrimRight(g.record(in), " \t\r")
	switch {
	case kind == workloads.Undecodable && g.fields.json:
		return append(dst, record[:len(record)-1]...), nil
	case kind == workloads.Undecodable:
		return append(append(dst, record...), ",more"...), nil
	}
	if !g.fields.json {
		_ = columns(record, func(i int, v []byte) { // it was read when the file was
			if i > 0 {
				dst = append(dst, ',')
			}
			if i == g.fields.eventAt {
				dst = g.appendBadTime(dst, in, kind)
			} else {
				dst = appendColumn(dst, v)
			}
		})
		return dst, nil
	}
	// The last of several fields of one name counts.
	dst = append(append(dst, record[:len(record)-1]...), ',')
	dst = append(json.AppendText(dst, g.fields.event), ':')
	switch {
	case kind == workloads.NoEventTime:
		dst = append(dst, "null"...)
	case g.p.EventTimeUnit == unitRFC3339:
		dst = append(g.appendBadTime(append(dst, '"'), in, kind), '"')
	default:
		dst = g.appendBadTime(dst, in, kind)
	}
	return append(dst, '}'), nil
}

// appendBadTime writes an event time that cannot be as the file writes its times;
// nothing for one that is missing.
func (g *generator) appendBadTime(dst []byte, in workloads.Input, kind workloads.BadKind) []byte {
	if kind == workloads.NoEventTime {
		return dst
	}
	at := workloads.BadEventTime(in, kind)
	switch g.p.EventTimeUnit {
	case unitRFC3339:
		return time.UnixMilli(at).UTC().AppendFormat(dst, time.RFC3339Nano)
	case unitS:
		return strconv.AppendInt(dst, at/1000, 10)
	case unitUs:
		return strconv.AppendInt(dst, at*1000, 10)
	case unitNs:
		// 64 bits of nanoseconds end in the year 2262, which is far ahead as well.
		return strconv.AppendInt(dst, min(at, math.MaxInt64/1_000_000)*1_000_000, 10)
	}
	return strconv.AppendInt(dst, at, 10)
}

// appendColumn writes a CSV field, in quotes where it needs them.
func appendColumn(dst, v []byte) []byte {
	if !bytes.ContainsAny(v, ",\"\r\n") {
		return append(dst, v...)
	}
	dst = append(dst, '"')
	dst = append(dst, bytes.ReplaceAll(v, []byte(`"`), []byte(`""`))...)
	return append(dst, '"')
}
