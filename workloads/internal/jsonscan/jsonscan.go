// Package jsonscan finds the fields of a JSON object without building
// anything: it yields each name with the raw bytes of its value. It checks what
// it has to walk over and no more; text that it accepts may still be wrong
// inside a nested value, or not be UTF-8.
package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
)

// ErrShape means that the bytes are not one JSON object.
var ErrShape = errors.New("not a JSON object")

// Scanner walks over the fields of one object. The zero value is one without
// input; a value of it can stay on the stack.
type Scanner struct {
	b    []byte
	i    int
	more bool
	err  error
}

// New returns a scanner at the start of an object.
func New(b []byte) Scanner {
	s := Scanner{b: b}
	s.space()
	if s.i >= len(b) || b[s.i] != '{' {
		s.err = ErrShape
		return s
	}
	s.i++
	s.space()
	if s.i < len(b) && b[s.i] == '}' {
		s.i++
		s.end()
		return s
	}
	s.more = true
	return s
}

func (s *Scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\n' || s.b[s.i] == '\r') {
		s.i++
	}
}

// end is called behind the closing brace: only space may follow.
func (s *Scanner) end() {
	if s.space(); s.i != len(s.b) {
		s.err = ErrShape
	}
	s.more = false
}

// Next returns the next field: its name as written between the quotes, and the
// bytes of its value, a string's quotes included. ok is false at the end and
// after an error.
func (s *Scanner) Next() (name, value []byte, ok bool) {
	if !s.more || s.err != nil {
		return nil, nil, false
	}
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return nil, nil, s.fail()
	}
	from := s.i
	if !s.str() {
		return nil, nil, s.fail()
	}
	name = s.b[from+1 : s.i-1]
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != ':' {
		return nil, nil, s.fail()
	}
	s.i++
	s.space()
	from = s.i
	if !s.value() {
		return nil, nil, s.fail()
	}
	value = s.b[from:s.i]
	s.space()
	if s.i >= len(s.b) {
		return nil, nil, s.fail()
	}
	switch s.b[s.i] {
	case ',':
		s.i++
		s.space()
	case '}':
		s.i++
		s.end()
	default:
		return nil, nil, s.fail()
	}
	return name, value, s.err == nil
}

// Err returns what was wrong, after Next has returned false.
func (s *Scanner) Err() error { return s.err }

func (s *Scanner) fail() bool {
	s.err, s.more = ErrShape, false
	return false
}

// str moves behind a string that begins here.
func (s *Scanner) str() bool {
	for i := s.i + 1; ; {
		n := bytes.IndexByte(s.b[i:], '"')
		if n < 0 {
			return false
		}
		i += n + 1
		// A quote behind an odd number of backslashes belongs to the string.
		back := i - 2
		for back > s.i && s.b[back] == '\\' {
			back--
		}
		if (i-2-back)%2 == 0 {
			s.i = i
			return true
		}
	}
}

// value moves behind a value that begins here.
func (s *Scanner) value() bool {
	if s.i >= len(s.b) {
		return false
	}
	switch c := s.b[s.i]; c {
	case '"':
		return s.str()
	case '{', '[':
		depth := 0
		for s.i < len(s.b) {
			switch s.b[s.i] {
			case '"':
				if !s.str() {
					return false
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					s.i++
					return true
				}
			}
			s.i++
		}
		return false
	default:
		from := s.i
		for s.i < len(s.b) && literal[s.b[s.i]] {
			s.i++
		}
		return s.i > from
	}
}

// literal marks the bytes of numbers, true, false and null.
var literal = func() (t [256]bool) {
	for _, c := range []byte("0123456789+-.eEtrufalsn") {
		t[c] = true
	}
	return t
}()

// Text returns the text of a value: of a string what it stands for, of anything
// else its bytes. It allocates only for strings with escapes.
func Text(value []byte) ([]byte, error) {
	if len(value) < 2 || value[0] != '"' {
		return value, nil
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, err
	}
	return []byte(s), nil
}
