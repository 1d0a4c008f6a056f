package json

import (
	"encoding/binary"
	"math/bits"
)

// MaxDepth is how deep values may be nested. The limit keeps a hostile record
// from using up the stack.
const MaxDepth = 1000

// The functions of this file move behind the value that begins at b[i] and
// check it. They return where it ends, or where it is wrong and how.

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, in a word of text, the high bit of the bytes that end a run of
// plain characters: quotes, backslashes, control characters. Marks above the
// lowest may be false because of the borrow; the lowest never is.
func special(w uint64) uint64 {
	// With bit 1 turned over a quote is 0x20 and a space is not: quotes and
	// control characters are what is below 0x21.
	low, back := w^(2*ones), w^('\\'*ones)
	return ((low-0x21*ones)&^low | (back-ones)&^back) & highs
}

// text is for the string whose opening quote is at b[i].
func text(b []byte, i int) (end int, escaped bool, why fault) {
	for i++; ; i += 8 {
		if i+8 > len(b) {
			return textSlow(b, i)
		}
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			if i += bits.TrailingZeros64(m) >> 3; i < len(b) && b[i] == '"' {
				return i + 1, false, 0
			}
			return textSlow(b, i)
		}
	}
}

// textSlow goes on inside a string, byte by byte.
func textSlow(b []byte, i int) (end int, escaped bool, why fault) {
	for i < len(b) {
		switch c := b[i]; {
		case c == '"':
			return i + 1, escaped, 0
		case c == '\\':
			escaped = true
			if i, why = escape(b, i); why != 0 {
				return i, escaped, why
			}
		case c < ' ':
			return i, escaped, control
		default:
			i++
		}
	}
	return i, escaped, cut
}

func escape(b []byte, i int) (end int, why fault) {
	if i+1 >= len(b) {
		return len(b), cut
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2, 0
	case 'u':
		for j := i + 2; j < i+6; j++ {
			if j >= len(b) {
				return j, cut
			}
			if unhex(b[j]) > 15 {
				return i, badEscape
			}
		}
		return i + 6, 0
	}
	return i, badEscape
}

// unhex returns a hexadecimal digit's value, above 15 for others.
func unhex(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

func number(b []byte, i int) (end int, why fault) {
	from := i
	if b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b):
		return i, cut
	case b[i] == '0':
		i++
	case b[i]-'1' <= 8:
		i = digits(b, i)
	default:
		return from, badNumber
	}
	if i < len(b) && b[i] == '.' {
		j := digits(b, i+1)
		if j == i+1 {
			return short(b, j, from)
		}
		i = j
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		j := digits(b, i)
		if j == i {
			return short(b, j, from)
		}
		i = j
	}
	return i, 0
}

// short is for a number that wants a digit at b[i].
func short(b []byte, i, from int) (int, fault) {
	if i >= len(b) {
		return i, cut
	}
	return from, badNumber
}

func word(b []byte, i int, w string) (end int, why fault) {
	rest := b[i:]
	if len(rest) >= len(w) && string(rest[:len(w)]) == w {
		return i + len(w), 0
	}
	if len(rest) < len(w) && string(rest) == w[:len(rest)] {
		return len(b), cut
	}
	return i, noValue
}

// value is for any value; depth is how many more levels may be nested in it.
func value(b []byte, i, depth int) (end int, escaped bool, why fault) {
	if i >= len(b) {
		return i, false, cut
	}
	switch c := b[i]; c {
	case '"':
		return text(b, i)
	case '{':
		end, why = object(b, i, depth)
	case '[':
		end, why = list(b, i, depth)
	case 't':
		end, why = word(b, i, "true")
	case 'f':
		end, why = word(b, i, "false")
	case 'n':
		end, why = word(b, i, "null")
	default:
		if c == '-' || c-'0' <= 9 {
			end, why = number(b, i)
		} else {
			end, why = i, noValue
		}
	}
	return end, false, why
}

func object(b []byte, i, depth int) (end int, why fault) {
	if depth == 0 {
		return i, deep
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1, 0
	}
	for {
		switch {
		case i >= len(b):
			return i, cut
		case b[i] != '"':
			return i, noName
		}
		if i, _, why = text(b, i); why != 0 {
			return i, why
		}
		if i, why = colon(b, i); why != 0 {
			return i, why
		}
		if i, _, why = value(b, i, depth-1); why != 0 {
			return i, why
		}
		switch i = space(b, i); {
		case i >= len(b):
			return i, cut
		case b[i] == '}':
			return i + 1, 0
		case b[i] != ',':
			return i, noComma
		}
		i = space(b, i+1)
	}
}

// colon moves from a name's end to the value.
func colon(b []byte, i int) (end int, why fault) {
	switch i = space(b, i); {
	case i >= len(b):
		return i, cut
	case b[i] != ':':
		return i, noColon
	}
	return space(b, i+1), 0
}

func list(b []byte, i, depth int) (end int, why fault) {
	if depth == 0 {
		return i, deep
	}
	if i = space(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1, 0
	}
	for {
		if i, _, why = value(b, i, depth-1); why != 0 {
			return i, why
		}
		switch i = space(b, i); {
		case i >= len(b):
			return i, cut
		case b[i] == ']':
			return i + 1, 0
		case b[i] != ',':
			return i, noComma
		}
		i = space(b, i+1)
	}
}
