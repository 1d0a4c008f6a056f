// Package refused holds types that no codec is made for.
package refused

import "net/netip"

type channel struct {
	Ok int64
	C  chan int // want: field C of channel: chan int has no encoding
}

type function struct {
	F map[string]func() // want: field F of function: func() has no encoding
}

type faces struct {
	E error      // want: field E of faces: error has no encoding
	A []any      // want: field A of faces: any has no encoding
	C complex128 // want: field C of faces: complex128 has no encoding
	P uintptr    // want: field P of faces: uintptr has no encoding
}

type foreign struct {
	Addr netip.Addr
}

type anonymous struct {
	In struct{ X int64 } // want: field In of anonymous: a struct without a name has no codec
}

type list struct {
	Value int64
	Next  *list // want: list contains itself
}

type empty struct{} // want: empty has no fields in version 1

type gap struct {
	Late int64 `codec:"since=2"`
}

type tags struct {
	A string  `codec:"varint"`              // want: field A of tags: varint is for integers
	B int64   `codec:"view"`                // want: field B of tags: view is for strings
	C int64   `codec:"sicne=2"`             // want: field C of tags: option "sicne=2" is not known
	D int64   `codec:"since=0"`             // want: field D of tags: since=0 is no version
	E int64   `codec:"default=1"`           // want: field E of tags: a default is for fields that came in a later version
	F uint8   `codec:"since=2,default=300"` // want: field F of tags: default 300 is no constant of type uint8
	G []int64 `codec:"since=2,default=1"`   // want: field G of tags: a []int64 has no default
	H int64   `codec:"until=2"`             // want: field H of tags: a field that is there has no last version
}

type removals struct {
	A int64
	//codec:removed B
	//codec:removed C nothing until=2
	//codec:removed D int64 since=3 until=2
}

type number int64

type generic[T any] struct{ V T }
