// Package gen writes codecs for struct types at compile time: what they append
// and read is plain code, without reflection and without allocating for what has
// no pointers. cmd/codecgen is its command:
//
//	//go:generate go run streamduel/cmd/codecgen -type Order,position
//
// makes OrderCodec and positionCodec in a file beside the types, for the struct
// types that their fields are made of, too. A generated codec has the methods of
// codec.Codec, Version, Size, Isolate (state.Isolator) and Reads (codec.Evolver).
//
// # Fields
//
// All fields are encoded, unexported and embedded ones too: bool, integers and
// floats in their width, int and uint in eight bytes, string, []byte, time.Time
// (the instant, in UTC), time.Duration, and slices, arrays, maps and pointers of
// them and of structs. An empty slice or map comes back as nil. Other kinds are
// refused with the field's file and line, and so are types that contain
// themselves. A field's tag `codec:"…"` holds, separated by commas:
//
//   - the field is not encoded
//     varint      an integer takes one to ten bytes, fewer near zero
//     view        a string or []byte is read as a view of the input; Clone copies it
//     name=x      the field was called x; renaming a field is no change then
//     since=n     the field came in version n
//     default=e   what it is when an older version is read; the last option. An
//     expression, for strings the text itself; the zero value otherwise
//
// Where all fields are integers and floats of fixed width (or arrays and structs
// of them) that lie without gaps, the encoding is the value's memory, and an
// exchange moves such values without a call (codec.Form). The same fields in an
// order that leaves gaps are encoded one by one.
//
// # Versions
//
// A type's version is 1, or the highest that its fields name. A field that is
// removed leaves a line in its place, so that older versions can be skipped over:
//
//	//codec:removed Price int64 until=2
//	//codec:removed Currency string since=2 until=3
//
// until is the last version that has it. The ID of a generated codec holds each
// struct's name, version and a sum over its fields: a struct that was changed
// without a new version is refused, not misread. A type's name is its package's
// and its own; the line "//codec:name x.Y" in its comment keeps an older one.
package gen
