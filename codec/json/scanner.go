package json

// Scanner walks over the fields of one object. A value of it can stay on the
// stack.
type Scanner struct {
	b    []byte
	i    int
	more bool
	why  fault
}

// Scan returns a scanner at the start of an object.
func Scan(b []byte) Scanner {
	s := Scanner{b: b}
	s.i, s.more, s.why = begin(b)
	return s
}

// begin moves to an object's first field; more is false where it has none.
func begin(b []byte) (i int, more bool, why fault) {
	switch i = space(b, 0); {
	case i >= len(b):
		return i, false, cut
	case b[i] != '{':
		return i, false, noObject
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		i, why = finish(b, i+1)
		return i, false, why
	}
	return i, true, 0
}

// finish is called behind the closing brace: only space may follow.
func finish(b []byte, i int) (int, fault) {
	if i = space(b, i); i != len(b) {
		return i, behind
	}
	return i, 0
}

// Which strings of a field hold escapes.
const (
	inName  = 1
	inValue = 2
)

// member checks the field whose name's quote should be at b[i]. The name is
// b[i+1:nameEnd], the value b[from:end]; end is where it is wrong if it is. The
// results are numbers, not a struct, because five of them fit into registers.
func member(b []byte, i int) (nameEnd, from, end int, escapes uint8, why fault) {
	if i >= len(b) {
		return 0, 0, i, 0, cut
	}
	if b[i] != '"' {
		return 0, 0, i, 0, noName
	}
	i, escaped, why := text(b, i)
	if why != 0 {
		return 0, 0, i, 0, why
	}
	if escaped {
		escapes = inName
	}
	nameEnd = i - 1
	if i+1 < len(b) && b[i] == ':' && b[i+1] > ' ' {
		i++
	} else if i, why = colon(b, i); why != 0 {
		return 0, 0, i, 0, why
	}
	from = i
	if i < len(b) && b[i] == '"' {
		end, escaped, why = text(b, i)
		if escaped {
			escapes |= inValue
		}
	} else {
		end, _, why = value(b, i, MaxDepth-1)
	}
	return nameEnd, from, end, escapes, why
}

// behindMember moves from a field's end to the next one or to the text's end.
func behindMember(b []byte, i int) (next int, more bool, why fault) {
	if i+1 < len(b) && b[i] == ',' && b[i+1] > ' ' {
		return i + 1, true, 0
	}
	switch i = space(b, i); {
	case i >= len(b):
		return i, false, cut
	case b[i] == ',':
		return space(b, i+1), true, 0
	case b[i] == '}':
		i, why = finish(b, i+1)
		return i, false, why
	}
	return i, false, noComma
}

// Next returns the next field: its name, and its value. The name is a view of
// the text unless it holds escapes. ok is false at the end and after an error.
func (s *Scanner) Next() (name []byte, v Value, ok bool) {
	if !s.more || s.why != 0 {
		return nil, Value{}, false
	}
	b := s.b
	nameEnd, from, end, escapes, why := member(b, s.i)
	if why != 0 {
		s.i, s.why = end, why
		return nil, Value{}, false
	}
	name = b[s.i+1 : nameEnd : nameEnd]
	if escapes&inName != 0 {
		name = unescape(name)
	}
	s.i, s.more, s.why = behindMember(b, end)
	return name, Value{raw: b[from:end:end], at: from, escaped: escapes&inValue != 0}, s.why == 0
}

// Err returns what was wrong, an *Error, after Next has returned false.
func (s *Scanner) Err() error {
	if s.why == 0 {
		return nil
	}
	return &Error{Offset: s.i, Reason: faults[s.why]}
}
