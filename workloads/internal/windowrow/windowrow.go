// Package windowrow is the text of a finished window's count, which workloads
// with windows write and observers read.
package windowrow

import (
	"errors"
	"strconv"

	"streamduel/connectors"
	"streamduel/workloads"
	"streamduel/workloads/idrecord"
)

// The text of a row: count,hash,kind,window,key with widths 12, 16, 1, 15 and
// any. A closing record has kind c and its partition for a key.
const (
	countWidth  = 12
	windowWidth = 15
	hashAt      = countWidth + 1
	kindAt      = hashAt + 16 + 1
	windowAt    = kindAt + 2
	keyAt       = windowAt + windowWidth + 1
)

// Append writes a row into an outgoing record, with its key as the record's
// key.
func Append(out *connectors.Record, window, count int64, hash uint64, closing bool, partition int32, key string) {
	kind := byte(idrecord.Plain)
	if closing {
		kind = idrecord.Closing
	}
	v := idrecord.AppendUint(out.Value, uint64(count), countWidth)
	v = append(v, ',')
	v = idrecord.AppendHex(v, hash)
	v = append(v, ',', kind, ',')
	if window < 0 { // before 1970
		v = append(v, '-')
		v = idrecord.AppendUint(v, uint64(-window), windowWidth-1)
	} else {
		v = idrecord.AppendUint(v, uint64(window), windowWidth)
	}
	v = append(v, ',')
	at := len(v)
	if closing {
		v = strconv.AppendInt(v, int64(partition), 10)
	} else {
		v = append(v, key...)
	}
	out.Key = append(out.Key, v[at:]...)
	out.Value = v
}

var errRow = errors.New("not an output of the form count,hash,kind,window,key with widths 12,16,1,15 and any")

// Parse reads what Append wrote; the row's key aliases v.
func Parse(v []byte, out *workloads.Row) error {
	if len(v) < keyAt || v[hashAt-1] != ',' || v[kindAt-1] != ',' || v[windowAt-1] != ',' || v[keyAt-1] != ',' {
		return errRow
	}
	n, ok1 := idrecord.ParseUint(v[:countWidth])
	hash, ok2 := idrecord.ParseHex(v[hashAt : kindAt-1])
	text, sign := v[windowAt:keyAt-1], int64(1)
	if text[0] == '-' {
		text, sign = text[1:], -1
	}
	window, ok3 := idrecord.ParseUint(text)
	if !ok1 || !ok2 || !ok3 {
		return errRow
	}
	switch key := v[keyAt:]; v[kindAt] {
	case idrecord.Plain:
		*out = workloads.Row{Key: key, Window: sign * int64(window), Value: int64(n), IDHash: hash, HasHash: true}
	case idrecord.Closing:
		p, ok := idrecord.ParseUint(key)
		if !ok || len(key) == 0 || p >= 1<<31 {
			return errRow
		}
		*out = workloads.Row{Partition: int32(p), Closing: true}
	default:
		return errRow
	}
	return nil
}
