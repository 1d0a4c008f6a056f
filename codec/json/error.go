package json

import "strconv"

// Error says where a record is not what was expected.
type Error struct {
	Offset int    // of the offending byte in the record
	Field  string // the field it is about, "" where the text itself is broken
	Reason string
}

func (e *Error) Error() string {
	s := "json: byte " + strconv.Itoa(e.Offset)
	if e.Field != "" {
		s += ", field " + strconv.Quote(e.Field)
	}
	return s + ": " + e.Reason
}

// fault is what is wrong with a text, 0 for nothing.
type fault uint8

const (
	cut fault = iota + 1
	noObject
	noName
	noColon
	noComma
	noValue
	badNumber
	badEscape
	control
	behind
	deep
)

var faults = [...]string{
	cut:       "the text ends inside a value",
	noObject:  "an object begins with '{'",
	noName:    "a field's name in quotes is expected",
	noColon:   "':' is expected behind a field's name",
	noComma:   "',' or the end of the object or list is expected",
	noValue:   "no value begins like this",
	badNumber: "this is no number",
	badEscape: "this is no escape sequence",
	control:   "a control character inside a string must be escaped",
	behind:    "something follows the object's end",
	deep:      "values are nested deeper than " + strconv.Itoa(MaxDepth),
}
