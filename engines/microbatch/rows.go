package microbatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"streamduel/connectors"
	"streamduel/engines/cluster"
	"streamduel/engines/microbatch/schedule"
)

// Rows on their way from a task in an executor to the driver, which writes them
// when the attempt has succeeded. Of a task that is run again, none but the
// attempt that counts is written.
//
// A message holds the attempt and then rows:
//
//	sink uvarint | flags 1 | key, value, headers | timestamp varint | origin
//
// with byte strings behind their length as uvarint; lengths of keys and values
// are one more than they are, and 0 for none at all.

const rowWithOrigin = 1

// rowsAt is when a message of rows goes out.
const rowsAt = 256 << 10

// rowWriter is a sink's writer in an executor that sends rows to the driver. The
// writers of a task share one buffer.
type rowWriter struct {
	connectors.Writer // none: nothing else is used
	out               *rowBuffer
	sink              int // of the stage's
}

type rowBuffer struct {
	send func(cluster.Message) error
	head int // bytes that name the attempt
	buf  []byte
}

func newRowBuffer(a schedule.Attempt, send func(cluster.Message) error) *rowBuffer {
	b := appendAttempt(nil, a)
	return &rowBuffer{send: send, head: len(b), buf: b}
}

func appendAttempt(b []byte, a schedule.Attempt) []byte {
	for _, n := range []int64{a.Job, int64(a.Stage), int64(a.Task), int64(a.N)} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// Write implements connectors.Writer.
func (w rowWriter) Write(_ context.Context, r *connectors.Record, o *connectors.Origin) error {
	b := binary.AppendUvarint(w.out.buf, uint64(w.sink))
	flags := byte(0)
	if o != nil {
		flags |= rowWithOrigin
	}
	b = append(b, flags)
	b = appendOptional(appendOptional(b, r.Key), r.Value)
	b = binary.AppendUvarint(b, uint64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		b = append(binary.AppendUvarint(b, uint64(len(h.Key))), h.Key...)
		b = appendOptional(b, h.Value)
	}
	b = binary.AppendVarint(b, r.Timestamp)
	if o != nil {
		b = connectors.AppendOrigin(b, *o)
	}
	if w.out.buf = b; len(b) >= rowsAt {
		return w.out.flush()
	}
	return nil
}

// Flush implements connectors.Writer.
func (w rowWriter) Flush(context.Context) error { return w.out.flush() }

// Close implements connectors.Writer.
func (rowWriter) Close() error { return nil }

func (o *rowBuffer) flush() error {
	if len(o.buf) == o.head {
		return nil
	}
	err := o.send(cluster.Message{Kind: kindRows, Body: o.buf})
	o.buf = o.buf[:o.head]
	return err
}

func appendOptional(b, s []byte) []byte {
	if s == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(s))+1), s...)
}

var errRows = errors.New("rows that do not decode")

// rowReader takes a message of rows apart.
type rowReader struct {
	b      []byte
	record connectors.Record
	origin connectors.Origin
}

// attempt reads which one has written the rows.
func (r *rowReader) attempt() (a schedule.Attempt, err error) {
	var n [4]int64
	for i := range n {
		if n[i], err = r.varint(); err != nil {
			return a, err
		}
	}
	return schedule.Attempt{Job: n[0], Stage: int(n[1]), Task: int(n[2]), N: int(n[3])}, nil
}

// next reads a row; the record and the origin, which may be nil, are valid until
// the next call.
func (r *rowReader) next() (sink int, rec *connectors.Record, o *connectors.Origin, err error) {
	n, err := r.uvarint()
	if err != nil {
		return 0, nil, nil, err
	}
	flags, err := r.take(1)
	if err != nil {
		return 0, nil, nil, err
	}
	r.record = connectors.Record{Headers: r.record.Headers[:0]}
	if r.record.Key, err = r.optional(); err != nil {
		return 0, nil, nil, err
	}
	if r.record.Value, err = r.optional(); err != nil {
		return 0, nil, nil, err
	}
	headers, err := r.uvarint()
	if err != nil {
		return 0, nil, nil, err
	}
	for range headers {
		size, err := r.uvarint()
		if err != nil {
			return 0, nil, nil, err
		}
		key, err := r.take(size)
		if err != nil {
			return 0, nil, nil, err
		}
		value, err := r.optional()
		if err != nil {
			return 0, nil, nil, err
		}
		r.record.Headers = append(r.record.Headers, connectors.Header{Key: string(key), Value: value})
	}
	if r.record.Timestamp, err = r.varint(); err != nil {
		return 0, nil, nil, err
	}
	if flags[0]&rowWithOrigin != 0 {
		b, err := r.take(connectors.OriginSize)
		if err != nil {
			return 0, nil, nil, err
		}
		var ok bool
		if r.origin, ok = connectors.ParseOrigin(b); !ok {
			return 0, nil, nil, fmt.Errorf("%w: an origin", errRows)
		}
		o = &r.origin
	}
	return int(n), &r.record, o, nil
}

func (r *rowReader) uvarint() (uint64, error) {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		return 0, errRows
	}
	r.b = r.b[n:]
	return v, nil
}

func (r *rowReader) varint() (int64, error) {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		return 0, errRows
	}
	r.b = r.b[n:]
	return v, nil
}

func (r *rowReader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.b)) {
		return nil, errRows
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b, nil
}

func (r *rowReader) optional() ([]byte, error) {
	n, err := r.uvarint()
	if err != nil || n == 0 {
		return nil, err
	}
	return r.take(n - 1)
}
