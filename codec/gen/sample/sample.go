// Package sample is what the generator is tested with: types of every kind, in
// several versions.
package sample

import (
	"time"

	"streamduel/codec/gen/sample/other"
)

//go:generate go run streamduel/cmd/codecgen -type Order,Everything,event,OrderV1,OrderV2,BoxV1,Box,number,reading,gapped

// Order is the third version of OrderV1.
//
//codec:name sample.Order
type Order struct {
	ID int64
	//codec:removed Price int64 until=1
	Customer string
	//codec:removed Tags []string until=2
	Lines    []Line
	Currency string        `codec:"since=2,default=EUR, or so"`
	Discount float64       `codec:"since=2,default=0.5"`
	Patience time.Duration `codec:"since=3,default=90e9"`
	At       *time.Time    `codec:"since=3"`
	Urgent   bool          `codec:"since=3,default=true"`
}

// OrderV1 is Order as it was first.
//
//codec:name sample.Order
type OrderV1 struct {
	ID       int64
	Price    int64
	Customer string
	Tags     []string
	Lines    []LineV1
}

// OrderV2 is Order in its second version.
//
//codec:name sample.Order
type OrderV2 struct {
	ID int64
	//codec:removed Price int64 until=1
	Customer string
	Tags     []string
	Lines    []LineV1
	Currency string  `codec:"since=2"`
	Discount float64 `codec:"since=2"`
}

// Line is a part of an order.
//
//codec:name sample.Line
type Line struct {
	Item  string
	Count int32
	Gift  bool `codec:"since=2"`
}

// LineV1 is Line as it was first.
//
//codec:name sample.Line
type LineV1 struct {
	Item  string
	Count int32
}

// Box holds what evolves; it did not change itself.
//
//codec:name sample.Box
type Box struct {
	Open bool
	Line Line
	More map[string]Line
}

// BoxV1 is Box with the first Line.
//
//codec:name sample.Box
type BoxV1 struct {
	Open bool
	Line LineV1
	More map[string]LineV1
}

type (
	colour uint8
	name   string
	small  int16
)

type base struct {
	Base   uint32
	hidden int64
}

// Everything has a field of every kind.
type Everything struct {
	base
	*other.Point
	B        bool
	I8       int8
	I16      small
	I32      int32
	I64      int64
	I        int
	U8       colour
	U16      uint16
	U32      uint32
	U64      uint64
	U        uint
	F32      float32
	F64      float64
	V        int     `codec:"varint"`
	V16      small   `codec:"varint"`
	UV       uint64  `codec:"varint"`
	Vs       []int64 `codec:"varint"`
	S        name
	View     name `codec:"view"`
	Bs       []byte
	ViewB    []byte `codec:"view"`
	T        time.Time
	D        time.Duration
	Ints     []int64
	Names    []name
	Matrix   [2][3]float32
	Grid     [][]string
	ByName   map[name]*base
	Ages     map[string]int32
	Ids      map[uint64]bool
	Opt      *int64
	OptS     *string
	Deep     **bool
	Other    other.Point
	Box      map[int32][]Line
	Skipped  chan int `codec:"-"`
	unsorted [3]name
}

// event is what a benchmark encodes. Its ad is a view.
type event struct {
	ad        []byte `codec:"view"`
	time      int64
	sequence  int64
	partition int32
	kind      colour
}

// reading is encoded as it lies in memory.
type reading struct {
	at     int64
	value  float64
	sensor uint32
	cell   [2]small
	base   pair
}

type pair struct{ low, high int }

// gapped is not: there are four bytes between its fields.
type gapped struct {
	sensor uint32
	at     int64
}

// number is a type of another package with a type argument.
type number = other.Labelled[int64]
