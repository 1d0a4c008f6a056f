package json

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// Writer writes one object behind bytes that the caller owns:
//
//	w := json.Begin(r.Value)
//	w.Text("campaign", name)
//	w.Int("views", n)
//	r.Value = w.End()
//
// Names are the program's own; they are escaped like any text.
type Writer struct {
	b    []byte
	some bool
}

// Begin begins an object behind dst.
func Begin(dst []byte) Writer { return Writer{b: append(dst, '{')} }

// End ends the object and returns everything.
func (w *Writer) End() []byte { return append(w.b, '}') }

func (w *Writer) name(n string) {
	if w.some {
		w.b = append(w.b, ',')
	}
	w.some = true
	w.b = append(AppendText(w.b, n), ':')
}

// Text writes a string.
func (w *Writer) Text(name, v string) {
	w.name(name)
	w.b = AppendText(w.b, v)
}

// Int writes an integer.
func (w *Writer) Int(name string, v int64) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, v, 10)
}

// Uint writes an integer without a sign.
func (w *Writer) Uint(name string, v uint64) {
	w.name(name)
	w.b = strconv.AppendUint(w.b, v, 10)
}

// Float writes a number; see AppendFloat.
func (w *Writer) Float(name string, v float64) {
	w.name(name)
	w.b = AppendFloat(w.b, v)
}

// Bool writes true or false.
func (w *Writer) Bool(name string, v bool) {
	w.name(name)
	w.b = strconv.AppendBool(w.b, v)
}

// Null writes null.
func (w *Writer) Null(name string) {
	w.name(name)
	w.b = append(w.b, "null"...)
}

// Raw writes a value that is JSON already; it is not checked.
func (w *Writer) Raw(name string, v []byte) {
	w.name(name)
	w.b = append(w.b, v...)
}

// Object writes an object that f fills.
func (w *Writer) Object(name string, f func(*Writer)) {
	w.name(name)
	in := Begin(w.b)
	f(&in)
	w.b = in.End()
}

// AppendText appends a string in quotes, escaped where JSON wants it and nowhere
// else. What is not UTF-8 becomes U+FFFD.
func AppendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += n
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}

// AppendFloat appends a number so that reading it gives the same float. NaN and
// the infinities, which JSON has not, become null.
func AppendFloat(dst []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(dst, "null"...)
	}
	format := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, 64)
}
