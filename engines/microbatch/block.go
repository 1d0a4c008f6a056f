package microbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"streamduel/connectors"
)

// chunk is a run of one split's records in a block.
type chunk struct {
	split       connectors.Split
	from, until connectors.Position // until counts what carries no record
	records     []connectors.Record
	number      int64 // of its block
	// holder has the records, under a serial number, where executors are processes;
	// nil when only the write-ahead log has them.
	holder *remoteExecutor
	serial int64
}

// block is what a receiver has taken in during one block interval.
type block []*chunk

// add copies a batch: its records live until the reader's next poll only, their
// bytes longer.
func (b block) add(from connectors.Position, batch *connectors.Batch) block {
	var c *chunk
	for _, x := range b {
		if x.split.ID == batch.Split.ID {
			c = x
		}
	}
	if c == nil {
		c = &chunk{split: batch.Split, from: from, until: from}
		b = append(b, c)
	}
	for i := range batch.Records {
		r := batch.Records[i]
		var headers []connectors.Header
		for _, h := range r.Headers {
			headers = append(headers, connectors.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
		}
		r.Headers = headers
		c.records = append(c.records, r)
	}
	c.until = batch.Next
	return b
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// encode writes a block for the write-ahead log.
func (b block) encode() []byte {
	var d []byte
	for _, c := range b {
		d = appendBytes(d, []byte(c.split.ID))
		d = binary.AppendVarint(d, int64(c.split.Partition))
		d = binary.AppendVarint(d, int64(c.from))
		d = binary.AppendVarint(d, int64(c.until))
		d = binary.AppendUvarint(d, uint64(len(c.records)))
		for i := range c.records {
			r := &c.records[i]
			d = binary.AppendVarint(d, r.Offset)
			d = binary.AppendVarint(d, r.Timestamp)
			d = append(d, set(r.Key != nil))
			d = appendBytes(d, r.Key)
			d = append(d, set(r.Value != nil))
			d = appendBytes(d, r.Value)
			d = binary.AppendUvarint(d, uint64(len(r.Headers)))
			for _, h := range r.Headers {
				d = appendBytes(d, []byte(h.Key))
				d = appendBytes(d, h.Value)
			}
		}
	}
	return d
}

func set(b bool) byte {
	if b {
		return 1
	}
	return 0
}

var errBlock = errors.New("not a block of received records")

// blockDecoder reads what encode wrote; err is set by the first thing wrong.
type blockDecoder struct {
	b   []byte
	err error
}

func (d *blockDecoder) number() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.err = errBlock
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *blockDecoder) count() int {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > uint64(len(d.b)) {
		d.err = errBlock
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

func (d *blockDecoder) bytes() []byte {
	n := d.count()
	if n > len(d.b) {
		d.err = errBlock
		n = 0
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

// optional reads bytes that may be nil, which is not the same as empty.
func (d *blockDecoder) optional() []byte {
	if len(d.b) == 0 {
		d.err = errBlock
		return nil
	}
	there := d.b[0] == 1
	d.b = d.b[1:]
	if b := d.bytes(); there {
		return b
	}
	return nil
}

func decodeBlock(data []byte) (block, error) {
	d := &blockDecoder{b: data}
	var b block
	for len(d.b) > 0 && d.err == nil {
		c := &chunk{}
		c.split.ID = connectors.SplitID(d.bytes())
		c.split.Partition = int32(d.number())
		c.from = connectors.Position(d.number())
		c.until = connectors.Position(d.number())
		for n := d.count(); n > 0 && d.err == nil; n-- {
			r := connectors.Record{Offset: d.number(), Timestamp: d.number(), Key: d.optional(), Value: d.optional()}
			for h := d.count(); h > 0 && d.err == nil; h-- {
				r.Headers = append(r.Headers, connectors.Header{Key: string(d.bytes()), Value: d.bytes()})
			}
			c.records = append(c.records, r)
		}
		b = append(b, c)
	}
	if d.err != nil {
		return nil, fmt.Errorf("%d bytes: %w", len(data), d.err)
	}
	return b, nil
}
