package spill

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"streamduel/exchange"
)

// ErrDamaged means that what was written does not come back.
var ErrDamaged = errors.New("a spilled block is damaged")

// Reader reads blocks one after the other.
type Reader struct {
	in   *bufio.Reader
	head [header]byte
	at   int64
	of   string
	end  int64
}

// readers have buffers that are used again: a segment is short compared to them.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 128<<10) }}

// Read returns a reader of a segment. It has to be closed.
func (s *Segment) Read() *Reader {
	in := readers.Get().(*bufio.Reader)
	in.Reset(io.NewSectionReader(s, 0, s.len))
	return &Reader{in: in, of: s.file.name, end: s.len}
}

// Close gives the reader's buffer back.
func (r *Reader) Close() {
	if r.in != nil {
		r.in.Reset(nil)
		readers.Put(r.in)
		r.in = nil
	}
}

// Next reads a block into a buffer, over what it has; io.EOF behind the last.
func (r *Reader) Next(b *exchange.Buffer) error {
	h := &r.head
	if _, err := io.ReadFull(r.in, h[:]); err != nil {
		if errors.Is(err, io.EOF) && r.at == r.end {
			return io.EOF
		}
		return r.damaged(err)
	}
	n := binary.LittleEndian.Uint32(h[:])
	if n > exchange.MaxData {
		return r.damaged(fmt.Errorf("a block of %d bytes", n))
	}
	if cap(b.Data) < int(n) {
		b.Data = make([]byte, n)
	}
	b.Data = b.Data[:n]
	if _, err := io.ReadFull(r.in, b.Data); err != nil {
		return r.damaged(err)
	}
	if crc32.Update(crc32.Checksum(h[:9], castagnoli), castagnoli, b.Data) != binary.LittleEndian.Uint32(h[9:]) {
		return r.damaged(errors.New("its checksum does not fit"))
	}
	b.Off, b.Records, b.Flags = 0, int(binary.LittleEndian.Uint32(h[4:])), exchange.Flags(h[8])
	r.at += header + int64(n)
	return nil
}

func (r *Reader) damaged(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("shuffle file %s: byte %d: %w: %w", r.of, r.at, ErrDamaged, err)
}
