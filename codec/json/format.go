package json

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"streamduel/codec"
)

// Format returns the format of messages that are one JSON value each, read into
// a struct and written from it by encoding/json with its rules and tags. It
// takes some ten times as long as Fields and allocates.
func Format[T any]() codec.Format[T] { return format[T]{} }

// StrictFormat is Format that refuses fields which T has not.
func StrictFormat[T any]() codec.Format[T] { return format[T]{strict: true} }

type format[T any] struct{ strict bool }

func (f format[T]) Parse(b []byte) (v T, err error) {
	if !f.strict {
		return v, place(json.Unmarshal(b, &v), len(b))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		var syntax *json.SyntaxError
		if !errors.As(err, &syntax) && d.InputOffset() > 0 {
			return v, &Error{Offset: int(d.InputOffset()), Reason: err.Error()}
		}
		return v, place(err, len(b))
	}
	if at := int(d.InputOffset()); space(b, at) != len(b) {
		return v, &Error{Offset: at, Reason: faults[behind]}
	}
	return v, nil
}

// place turns the library's errors into ours, which say where.
func place(err error, length int) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return &Error{Offset: min(int(syntax.Offset), length), Reason: syntax.Error()}
	case errors.As(err, &kind):
		return &Error{Offset: int(kind.Offset), Field: kind.Field, Reason: fmt.Sprintf("%s does not fit into %s", kind.Value, kind.Type)}
	}
	return &Error{Offset: length, Reason: err.Error()}
}

func (f format[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}
