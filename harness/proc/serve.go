package proc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"streamduel/clock"
)

// errInputEnded is why a served context ends when the parent is gone.
var errInputEnded = errors.New("standard input has ended")

// Server is the child's side: it reads command lines and writes event lines.
type Server struct {
	mu  sync.Mutex
	out io.Writer
	in  *bufio.Scanner
}

// NewServer returns a server on a child's standard input and output.
func NewServer(in io.Reader, out io.Writer) *Server {
	s := &Server{out: out, in: bufio.NewScanner(in)}
	s.in.Buffer(make([]byte, 0, 64<<10), 16<<20)
	return s
}

// Job reads the first line into v and refuses fields that v does not have.
func (s *Server) Job(v any) error {
	if !s.in.Scan() {
		if err := s.in.Err(); err != nil {
			return err
		}
		return errors.New("no job on standard input")
	}
	if err := Strict(s.in.Bytes(), v); err != nil {
		return fmt.Errorf("the job line does not decode: %w", err)
	}
	return nil
}

// Commands calls handle for each further line, in a goroutine of its own, and
// returns a context that ends when standard input does.
func (s *Server) Commands(ctx context.Context, handle func(line []byte)) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for s.in.Scan() {
			handle(s.in.Bytes())
		}
		cancel(errInputEnded)
	}()
	return ctx
}

// Emit writes one event: v's fields, which must be those of a JSON object,
// behind the kind and the time.
func (s *Server) Emit(kind string, v any) {
	b := fmt.Appendf(nil, `{"event":%q,"at":%d`, kind, clock.Mono())
	if v != nil {
		fields, err := json.Marshal(v)
		if err != nil {
			fields = fmt.Appendf(nil, `{"error":%q}`, err.Error())
		}
		if len(fields) > 2 {
			b = append(append(b, ','), fields[1:len(fields)-1]...)
		}
	}
	b = append(b, "}\n"...)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.out.Write(b) // a parent that is gone also closes standard input
}

// Answer is the event that answers a command.
type Answer struct {
	ID    int64  `json:"id"`
	Error string `json:"error,omitempty"`
}

// Answer emits the answer to a command; err may be nil.
func (s *Server) Answer(id int64, err error) {
	a := Answer{ID: id}
	if err != nil {
		a.Error = err.Error()
	}
	s.Emit("answer", a)
}

// Strict decodes one JSON value and refuses unknown fields.
func Strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}
