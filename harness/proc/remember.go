package proc

import (
	"bytes"
	"io"
	"sync"
)

// remember passes standard error on and keeps the line that explains an end.
type remember struct {
	mu    sync.Mutex
	to    io.Writer
	part  []byte // of a line without an end yet
	last  string
	panic string
}

func (r *remember) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for rest := b; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		if room := 4096 - len(r.part); room > 0 {
			r.part = append(r.part, line[:min(len(line), room)]...)
		}
		if ended {
			r.note()
		}
		rest = after
	}
	if r.to == nil {
		return len(b), nil
	}
	return r.to.Write(b)
}

func (r *remember) note() {
	line := string(bytes.TrimSpace(r.part))
	r.part = r.part[:0]
	switch {
	case line == "":
	case r.panic == "" && (bytes.HasPrefix([]byte(line), []byte("panic: ")) || bytes.HasPrefix([]byte(line), []byte("fatal error: "))):
		r.panic = line
	default:
		r.last = line
	}
}

func (r *remember) line() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panic != "" {
		return r.panic
	}
	if len(r.part) > 0 {
		return string(bytes.TrimSpace(r.part))
	}
	return r.last
}
