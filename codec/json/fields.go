package json

import (
	"errors"
	"fmt"
)

// Fields are the names of the fields that a job takes out of an object. It is
// read only, so subtasks may share one.
type Fields struct {
	names []string
	// first and next are a hash table of the names, by what is cheap to have of
	// a name: its length and its first and last bytes. Numbers count from 1.
	first [tableSize]uint8
	next  []uint8
}

const (
	tableSize = 64
	maxFields = 64
)

// NewFields returns the fields of those names.
func NewFields(names ...string) (*Fields, error) {
	if len(names) == 0 || len(names) > maxFields {
		return nil, fmt.Errorf("json: %d fields are named; 1 to %d can be", len(names), maxFields)
	}
	f := &Fields{names: names, next: make([]uint8, len(names)+1)}
	for i, n := range names {
		for _, other := range names[:i] {
			if n == other {
				return nil, fmt.Errorf("json: field %q is named twice", n)
			}
		}
		if n == "" {
			return nil, errors.New("json: a field's name is empty")
		}
		h := hash([]byte(n))
		f.next[i+1], f.first[h] = f.first[h], uint8(i+1)
	}
	return f, nil
}

// MustFields is NewFields for names that are written in the program; it panics
// where they make no sense.
func MustFields(names ...string) *Fields {
	f, err := NewFields(names...)
	if err != nil {
		panic(err)
	}
	return f
}

// hash wants a name that is not empty.
func hash(n []byte) uint {
	return (uint(len(n))*5 + uint(n[0]) + uint(n[len(n)-1])*9) % tableSize
}

// Read reads one object: values[i] is that of the i-th name, with Present false
// where the object has no such field. The values are views of b. values must be
// as long as the names are many.
func (f *Fields) Read(b []byte, values []Value) error {
	if len(values) != len(f.names) {
		return fmt.Errorf("json: %d values for %d fields", len(values), len(f.names))
	}
	for i := range values {
		values[i] = Value{name: f.names[i]}
	}
	i, more, why := begin(b)
	for more {
		nameEnd, from, end, escapes, wrong := member(b, i)
		if wrong != 0 {
			i, why = end, wrong
			break
		}
		name := b[i+1 : nameEnd]
		if escapes&inName != 0 {
			name = unescape(name)
		}
		i, more, why = behindMember(b, end)
		if len(name) == 0 {
			continue
		}
		for n := f.first[hash(name)]; n != 0; n = f.next[n] {
			if string(name) == f.names[n-1] {
				v := &values[n-1]
				v.raw, v.at, v.escaped = b[from:end:end], from, escapes&inValue != 0
				break
			}
		}
	}
	if why != 0 {
		return &Error{Offset: i, Reason: faults[why]}
	}
	for n := range values {
		if values[n].raw == nil {
			values[n].at = i // what a missing field's error points at
		}
	}
	return nil
}
