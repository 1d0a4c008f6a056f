package json

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Value is a field's value in its record: a view, valid as long as the record's
// bytes are. What it is not asked for is not computed.
type Value struct {
	name    string
	raw     []byte
	at      int
	escaped bool
}

// Name returns the name that was given to NewFields, "" for a Scanner's values.
func (v Value) Name() string { return v.name }

// Present reports whether the record has the field.
func (v Value) Present() bool { return v.raw != nil }

// IsNull reports whether the field is there and null.
func (v Value) IsNull() bool { return len(v.raw) > 0 && v.raw[0] == 'n' }

// Raw returns the value's text, nil where the record has no such field.
func (v Value) Raw() []byte { return v.raw }

// Offset returns where in the record the value begins.
func (v Value) Offset() int { return v.at }

// Scan walks over the fields of a value that is an object. Offsets in errors
// count from the value's beginning.
func (v Value) Scan() Scanner { return Scan(v.raw) }

// Err returns an error that points at the value, for reasons of the caller's.
func (v Value) Err(reason string) error {
	return &Error{Offset: v.at, Field: v.name, Reason: reason}
}

// wrong says what a value is instead of what was asked for.
func (v Value) wrong(want string) error {
	if v.raw == nil {
		return v.Err("the field is missing; " + want + " is expected")
	}
	is := "a number"
	switch v.raw[0] {
	case '"':
		is = "a string"
	case '{':
		is = "an object"
	case '[':
		is = "a list"
	case 't', 'f':
		is = "a bool"
	case 'n':
		is = "null"
	}
	return v.Err(want + " is expected, this is " + is)
}

// Text returns the characters of a string, as a view unless it holds escapes.
func (v Value) Text() ([]byte, error) {
	if len(v.raw) < 2 || v.raw[0] != '"' {
		return nil, v.wrong("a string")
	}
	t := v.raw[1 : len(v.raw)-1 : len(v.raw)-1]
	if v.escaped {
		return unescape(t), nil
	}
	return t, nil
}

// Str returns a string as a copy.
func (v Value) Str() (string, error) {
	t, err := v.Text()
	return string(t), err
}

// Int returns an integer, exactly. A fraction, an exponent and what int64 cannot
// hold are errors.
func (v Value) Int() (int64, error) {
	if !v.isNumber() {
		return 0, v.wrong("an integer")
	}
	n, ok := integer(v.raw)
	if !ok {
		return 0, v.Err(string(clip(v.raw)) + " is no integer of 64 bits")
	}
	return n, nil
}

// QuotedInt returns an integer that is written as a string, as encoding/json's
// option "string" does; one without quotes is read, too.
func (v Value) QuotedInt() (int64, error) {
	if len(v.raw) < 2 || v.raw[0] != '"' {
		return v.Int()
	}
	n, ok := integer(v.raw[1 : len(v.raw)-1])
	if !ok {
		return 0, v.Err(string(clip(v.raw)) + " is no integer of 64 bits in quotes")
	}
	return n, nil
}

// Float returns a number. One that float64 cannot hold is an error.
func (v Value) Float() (float64, error) {
	if !v.isNumber() {
		return 0, v.wrong("a number")
	}
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(v.raw), len(v.raw)), 64)
	if err != nil {
		return 0, v.Err(string(clip(v.raw)) + " is too large for a float of 64 bits")
	}
	return f, nil
}

// Bool returns true or false.
func (v Value) Bool() (bool, error) {
	if len(v.raw) == 0 || v.raw[0] != 't' && v.raw[0] != 'f' {
		return false, v.wrong("a bool")
	}
	return v.raw[0] == 't', nil
}

func (v Value) isNumber() bool {
	return len(v.raw) > 0 && (v.raw[0] == '-' || v.raw[0]-'0' <= 9)
}

// clip keeps what an error quotes short.
func clip(b []byte) []byte { return b[:min(len(b), 40)] }

// integer reads an optional minus and digits. What it is given may be any text.
func integer(b []byte) (int64, bool) {
	neg := len(b) > 0 && b[0] == '-'
	if neg {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c -= '0'; c > 9 {
			return 0, false
		} else {
			n = n*10 + uint64(c) // below 10^19, so below 2^64
		}
	}
	if neg {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n <= math.MaxInt64
}

// unescape resolves the escape sequences of a string that has been checked. A
// surrogate without its other half becomes U+FFFD, as in encoding/json.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return append(out, b...)
		}
		out = append(out, b[:i]...)
		c := b[i+1]
		b = b[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(b)
			b = b[4:]
			if utf16.IsSurrogate(r) {
				low := rune(utf8.RuneError)
				if len(b) >= 6 && b[0] == '\\' && b[1] == 'u' {
					low = hex4(b[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					b = b[6:]
				}
			}
			out = utf8.AppendRune(out, r)
			continue
		}
		out = append(out, c)
	}
}

func hex4(b []byte) rune {
	return rune(unhex(b[0]))<<12 | rune(unhex(b[1]))<<8 | rune(unhex(b[2]))<<4 | rune(unhex(b[3]))
}
