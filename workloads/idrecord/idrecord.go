// Package idrecord is the text record that the ledger's own workloads are made
// of: it carries its id, so that nothing beside it has to travel. Fields have
// fixed widths, so that reading one is a few loads and no search:
//
//	partition,sequence,scheduled,key,kind,filler
//	00003,000000012345,0000001234567890123,0000042,r,…
//
// kind is r for a record and c for the closing record of its partition. The
// filler is printable and differs from record to record, so that a compressing
// client gains little by it.
package idrecord

import (
	"errors"
	"fmt"

	"streamduel/workloads"
	"streamduel/workloads/internal/draw"
)

// Widths of the fields, in bytes. They bound what a load may hold: 100,000
// partitions, 10¹² records each, ten million keys.
const (
	PartitionWidth = 5
	SequenceWidth  = 12
	ScheduledWidth = 19
	KeyWidth       = 7

	sequenceAt  = PartitionWidth + 1
	scheduledAt = sequenceAt + SequenceWidth + 1
	keyAt       = scheduledAt + ScheduledWidth + 1
	kindAt      = keyAt + KeyWidth + 1
	fillerAt    = kindAt + 2
)

// MinBytes is the length of a record without filler.
const MinBytes = fillerAt

// Kinds of records.
const (
	Plain   = 'r'
	Closing = 'c'
)

// Record is a parsed record. KeyText aliases the payload.
type Record struct {
	Partition int32
	Sequence  int64
	Scheduled int64 // monotonic nanoseconds
	Key       int64
	Closing   bool
}

// Params are the parameters of workloads that send these records.
type Params struct {
	Keys        int     `json:"keys"`        // number of keys
	RecordBytes int     `json:"recordBytes"` // length of a record in bytes
	Skew        float64 `json:"skew"`        // exponent of a Zipf distribution over the keys; 0 = uniform
	HotKey      float64 `json:"hotKey"`      // share of the records that have key 0, beside what it gets anyway
}

// Defaults returns 1,000 keys, uniform, in records of 100 bytes.
func Defaults() Params { return Params{Keys: 1000, RecordBytes: 100} }

// Validate says what is allowed where a parameter is impossible.
func (p *Params) Validate() error {
	var errs []error
	if p.Keys < 1 || p.Keys > 1_000_000 {
		errs = append(errs, errors.New("keys: 1 to 1000000"))
	}
	if p.RecordBytes < MinBytes || p.RecordBytes > 1<<20 {
		errs = append(errs, fmt.Errorf("recordBytes: %d to 1048576 bytes", MinBytes))
	}
	if !(p.Skew >= 0 && p.Skew <= 4) {
		errs = append(errs, errors.New("skew: a Zipf exponent from 0 (uniform) to 4"))
	}
	if !(p.HotKey >= 0 && p.HotKey <= 1) {
		errs = append(errs, errors.New("hotKey: a share from 0 to 1"))
	}
	return errors.Join(errs...)
}

// Generator makes the records.
type Generator struct {
	seed   uint64
	bytes  int
	keys   *draw.Zipf
	hot    float64
	filler []byte
}

var (
	_ workloads.Generator = (*Generator)(nil)
	_ workloads.Spoiler   = (*Generator)(nil)
)

// fillerSpread is how many different places in the filler a record's part may
// begin at.
const fillerSpread = 1 << 12

// NewGenerator returns a generator; p must be valid.
func NewGenerator(p Params, seed uint64) *Generator {
	g := &Generator{seed: draw.Mix(seed), bytes: p.RecordBytes, keys: draw.NewZipf(p.Keys, p.Skew), hot: p.HotKey}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
	g.filler = make([]byte, fillerSpread+p.RecordBytes)
	for i := range g.filler {
		g.filler[i] = letters[draw.Hash(^g.seed, int64(i))%uint64(len(letters))]
	}
	return g
}

// Append appends the record of an input. It has no Kafka key: the schedule
// names the partition.
func (g *Generator) Append(dst []byte, in workloads.Input) (value, key []byte) {
	return g.append(dst, in, Plain), nil
}

// AppendBad appends a record that cannot be read, whatever the kind: its first
// byte is no digit. The rest is as it would have been.
func (g *Generator) AppendBad(dst []byte, in workloads.Input, _ workloads.BadKind) (value, key []byte) {
	at := len(dst)
	dst = g.append(dst, in, Plain)
	dst[at] = '!'
	return dst, nil
}

// Closing appends the closing record of a partition.
func (g *Generator) Closing(dst []byte, in workloads.Input) (value, key []byte) {
	return g.append(dst, in, Closing), nil
}

func (g *Generator) append(dst []byte, in workloads.Input, kind byte) []byte {
	random := draw.Hash(g.seed, in.Index)
	at := len(dst)
	dst = AppendUint(dst, uint64(in.Partition), PartitionWidth)
	dst = append(dst, ',')
	dst = AppendUint(dst, uint64(in.Sequence), SequenceWidth)
	dst = append(dst, ',')
	dst = AppendUint(dst, uint64(in.Scheduled), ScheduledWidth)
	dst = append(dst, ',')
	k := g.keys.At(random)
	if g.hot > 0 && draw.Unit(draw.Mix(^random)) < g.hot {
		k = 0
	}
	dst = AppendUint(dst, uint64(k), KeyWidth)
	dst = append(dst, ',', kind, ',')
	from := int(draw.Mix(random) % fillerSpread)
	return append(dst, g.filler[from:from+g.bytes-(len(dst)-at)]...)
}

// errShape is made once: a parser is called for every record.
var errShape = errors.New(`not a record of the form partition,sequence,scheduled,key,kind,filler with widths 5,12,19,7,1`)

// Parse reads a record.
func Parse(b []byte) (r Record, err error) {
	if len(b) < MinBytes || b[sequenceAt-1] != ',' || b[scheduledAt-1] != ',' || b[keyAt-1] != ',' || b[kindAt-1] != ',' || b[fillerAt-1] != ',' {
		return Record{}, errShape
	}
	p, ok1 := ParseUint(b[:PartitionWidth])
	s, ok2 := ParseUint(b[sequenceAt : sequenceAt+SequenceWidth])
	t, ok3 := ParseUint(b[scheduledAt : scheduledAt+ScheduledWidth])
	k, ok4 := ParseUint(b[keyAt : keyAt+KeyWidth])
	kind := b[kindAt]
	if !(ok1 && ok2 && ok3 && ok4) || t > 1<<63-1 || kind != Plain && kind != Closing {
		return Record{}, errShape
	}
	return Record{Partition: int32(p), Sequence: int64(s), Scheduled: int64(t), Key: int64(k), Closing: kind == Closing}, nil
}

// AppendUint appends v in decimal with leading zeros; digits above the width
// are lost, so the width must fit what v can be.
func AppendUint(dst []byte, v uint64, width int) []byte {
	at := len(dst)
	dst = append(dst, "00000000000000000000"[:width]...)
	for i := at + width - 1; v > 0 && i >= at; i-- {
		q := v / 10
		dst[i] = byte('0' + v - q*10)
		v = q
	}
	return dst
}

// ParseUint reads a field of decimal digits, at most 19 of them.
func ParseUint(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		c -= '0'
		if c > 9 {
			return 0, false
		}
		v = v*10 + uint64(c)
	}
	return v, true
}

// AppendHex appends v in sixteen hexadecimal digits.
func AppendHex(dst []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}

// ParseHex reads a field of lower-case hexadecimal digits, at most sixteen.
func ParseHex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}
