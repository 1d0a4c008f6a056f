package spill

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"streamduel/exchange"
	"streamduel/state"
)

const header = 13

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// File holds segments. It is made with the first one, and begins anew when none is
// held any more. It is safe for concurrent use.
type File struct {
	folder string // in which it is
	within *state.Folder
	name   string
	mu     sync.Mutex
	f      *os.File
	end    int64
	held   int           // segments
	live   *atomic.Int64 // bytes in segments that are held, over several files
	buf    []byte
	closed bool
}

// New returns a file of a name in a folder inside within; neither is made yet. It
// adds to live what its segments take.
func New(within *state.Folder, folder, name string, live *atomic.Int64) *File {
	return &File{within: within, folder: folder, name: name, live: live}
}

// flushAt is how much is written at once.
const flushAt = 256 << 10

// Append writes what several channels have, one after the other; nil for those that
// have nothing. The buffers stay the caller's.
func (x *File) Append(channels ...[]*exchange.Buffer) ([]*Segment, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, fmt.Errorf("shuffle file %s: %w", x.name, os.ErrClosed)
	}
	if x.f == nil {
		dir, err := x.within.Sub(x.folder)
		if err != nil {
			return nil, err
		}
		if x.f, err = os.Create(filepath.Join(dir.Path(), x.name)); err != nil {
			return nil, err
		}
	}
	begin := x.end
	segments, err := x.append(channels)
	if err != nil {
		// What is half there is written over.
		if _, back := x.f.Seek(begin, io.SeekStart); back != nil {
			err = errors.Join(err, back)
		}
		x.end = begin
		return nil, err
	}
	for _, s := range segments {
		if s != nil {
			x.held++
		}
	}
	x.live.Add(x.end - begin)
	return segments, nil
}

func (x *File) append(channels [][]*exchange.Buffer) (segments []*Segment, err error) {
	x.buf = x.buf[:0]
	flush := func() error {
		err := x.within.WriteTo(x.f, x.buf)
		x.end += int64(len(x.buf))
		x.buf = x.buf[:0]
		return err
	}
	for _, buffers := range channels {
		if len(buffers) == 0 {
			segments = append(segments, nil)
			continue
		}
		begin := x.end + int64(len(x.buf))
		for _, b := range buffers {
			at := len(x.buf)
			x.buf = binary.LittleEndian.AppendUint32(x.buf, uint32(len(b.Data)))
			x.buf = binary.LittleEndian.AppendUint32(x.buf, uint32(b.Records))
			x.buf = append(x.buf, byte(b.Flags))
			sum := crc32.Update(crc32.Checksum(x.buf[at:], castagnoli), castagnoli, b.Data)
			x.buf = binary.LittleEndian.AppendUint32(x.buf, sum)
			if x.buf = append(x.buf, b.Data...); len(x.buf) >= flushAt {
				if err := flush(); err != nil {
					return nil, err
				}
			}
		}
		segments = append(segments, &Segment{file: x, off: begin, len: x.end + int64(len(x.buf)) - begin})
	}
	return segments, flush()
}

// Close removes the file. Segments of it cannot be read any more.
func (x *File) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	if x.f == nil {
		return nil
	}
	f := x.f
	x.f = nil
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// release gives a segment back. The file's room is used again when none is held.
func (x *File) release() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.held--; x.held > 0 || x.f == nil {
		return
	}
	// What cannot be cut now is written over.
	_ = x.f.Truncate(0)
	if _, err := x.f.Seek(0, io.SeekStart); err == nil {
		x.end = 0
	}
}

// Segment is a run of blocks in a file.
type Segment struct {
	file     *File
	off, len int64
}

// Len returns its bytes in the file.
func (s *Segment) Len() int64 { return s.len }

// Release gives it back; it must not be read any more.
func (s *Segment) Release() {
	s.file.live.Add(-s.len)
	s.file.release()
}

// ReadAt makes a segment the source of a Reader.
func (s *Segment) ReadAt(b []byte, off int64) (int, error) {
	s.file.mu.Lock()
	f := s.file.f
	s.file.mu.Unlock()
	if f == nil {
		return 0, fmt.Errorf("shuffle file %s: %w", s.file.name, os.ErrClosed)
	}
	n, err := f.ReadAt(b, s.off+off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("shuffle file %s: %w", s.file.name, err)
	}
	return n, err
}

// Part is what a map task has for one of those that read: first what is in files,
// then what is in memory.
type Part struct {
	Segments []*Segment
	Buffers  []*exchange.Buffer
}
