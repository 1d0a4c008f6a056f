// Package other has struct types that sample uses.
package other

// Point is a place.
type Point struct{ X, Y float64 }

// Labelled is a value with a label.
type Labelled[T any] struct {
	Label string
	Value T
}
