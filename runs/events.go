package runs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// Event is one line of events.jsonl: what the engine said, and when the
// observer heard it.
type Event struct {
	// T is in seconds since the cell's start on the observer's clock.
	T float64 `json:"t"`
	// Event is the engine's line as it came; Text stands in its place for a
	// line that is not JSON.
	Event json.RawMessage `json:"event,omitempty"`
	Text  string          `json:"text,omitempty"`
}

// EventWriter appends events to an events.jsonl, each written through at once
// so that a run that dies keeps them. It is safe for concurrent use.
type EventWriter struct {
	mu   sync.Mutex
	w    io.Writer
	line []byte
}

// NewEventWriter returns a writer to w.
func NewEventWriter(w io.Writer) *EventWriter { return &EventWriter{w: w} }

// Append writes one event; raw is the engine's line and is not kept.
func (e *EventWriter) Append(t float64, raw []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.line = append(e.line[:0], `{"t":`...)
	e.line = strconv.AppendFloat(e.line, t, 'f', 6, 64)
	raw = bytes.TrimSpace(raw)
	if json.Valid(raw) && !bytes.ContainsAny(raw, "\r\n") {
		e.line = append(e.line, `,"event":`...)
		e.line = append(e.line, raw...)
	} else {
		text, err := json.Marshal(string(raw))
		if err != nil {
			return err
		}
		e.line = append(e.line, `,"text":`...)
		e.line = append(e.line, text...)
	}
	e.line = append(e.line, "}\n"...)
	_, err := e.w.Write(e.line)
	return err
}

// ReadEvents reads an events.jsonl. name is for the errors, which give the
// line. A last line that was cut short by an interruption is left out.
func ReadEvents(r io.Reader, name string) ([]Event, error) {
	var all []Event
	in := bufio.NewReader(r)
	for line := 1; ; line++ {
		text, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return all, fmt.Errorf("%s: %w", name, err)
		}
		whole := err == nil
		if text = bytes.TrimSpace(text); len(text) > 0 {
			var e Event
			if parseErr := json.Unmarshal(text, &e); parseErr != nil {
				if whole {
					return all, fmt.Errorf("%s:%d: %w", name, line, describeJSON(parseErr, text))
				}
			} else {
				all = append(all, e)
			}
		}
		if !whole {
			return all, nil
		}
	}
}

// describeJSON adds the column to a JSON error.
func describeJSON(err error, text []byte) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		line, column := position(text, syntax.Offset)
		return fmt.Errorf("line %d, column %d: %w", line, column, err)
	case errors.As(err, &kind):
		line, column := position(text, kind.Offset)
		return fmt.Errorf("line %d, column %d: %s: a %s cannot be read as %s", line, column, kind.Field, kind.Value, kind.Type)
	}
	return err
}

func position(text []byte, offset int64) (line, column int) {
	before := text[:min(max(offset, 0), int64(len(text)))]
	line = bytes.Count(before, []byte("\n")) + 1
	return line, len(before) - bytes.LastIndexByte(before, '\n') - 1
}
