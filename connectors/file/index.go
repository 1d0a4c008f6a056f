package file

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
)

// index knows where the lines of a file begin, at every stride-th line. It is
// extended by counting line ends in what was appended since it last looked, so
// a job that goes on in the middle of a file reads it once at the speed of the
// disk and decodes nothing, and everything after is a seek.
type index struct {
	path string

	mu    sync.Mutex
	marks []int64 // marks[i] is where line i*stride begins
	lines int64   // complete lines
	end   int64   // where the line after them begins
}

const stride = 1024

func newIndex(path string) *index { return &index{path: path, marks: []int64{0}} }

// extend looks at what was appended. tail says that bytes without a line end
// follow the last complete line.
func (x *index) extend() (lines int64, tail bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, err := os.Open(x.path)
	if err != nil {
		return 0, false, fmt.Errorf("file source: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, false, fmt.Errorf("file source: %w", err)
	}
	if st.Size() < x.end {
		return 0, false, fmt.Errorf("file source: %s was cut from %d to %d bytes while it was read", x.path, x.end, st.Size())
	}
	var buf []byte
	at := x.end
	for at < st.Size() {
		if buf == nil {
			buf = make([]byte, 256<<10)
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), st.Size()-at)], at)
		if err != nil && err != io.EOF {
			return 0, false, fmt.Errorf("file source: %w", err)
		}
		if n == 0 {
			break
		}
		for b, from := buf[:n], at; ; {
			k := bytes.IndexByte(b, '\n')
			if k < 0 {
				break
			}
			b, from = b[k+1:], from+int64(k)+1
			x.lines++
			x.end = from
			if x.lines%stride == 0 {
				x.marks = append(x.marks, from)
			}
		}
		at += int64(n)
	}
	return x.lines, at > x.end, nil
}

// seek returns where to begin reading for a line, and how many line ends to
// skip from there.
func (x *index) seek(line int64) (offset, skip int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if line >= x.lines {
		return x.end, line - x.lines
	}
	return x.marks[line/stride], line % stride
}
