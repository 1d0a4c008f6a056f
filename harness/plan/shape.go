package plan

import (
	"fmt"
	"math"
	"time"
)

// Segment is a stretch of time in which the rate goes in a straight line.
type Segment struct {
	Length time.Duration `json:"nanos"`
	From   float64       `json:"from"` // records per second at its start
	To     float64       `json:"to"`   // and at its end
}

// Shape is the offered rate over time. Straight lines keep its integral, and
// the integral's inverse, exact. The zero value offers nothing.
type Shape struct {
	Segments []Segment `json:"segments,omitempty"`
	// Loop is how many of the last segments repeat for ever; 0 for none.
	Loop int `json:"loop,omitempty"`
	// Tail is the rate after the last segment, if there is no loop.
	Tail float64 `json:"tail,omitempty"`
	Spread
	// Bad says which records are bad input.
	Bad Bad `json:"bad,omitzero"`
}

// Point is a rate at a time since the start of the load.
type Point struct {
	At   time.Duration `json:"nanos"`
	Rate float64       `json:"rate"` // records per second
}

// Constant is one rate for ever.
func Constant(rate float64) Shape { return Shape{Tail: rate} }

// Steps holds each point's rate until the next point, the last one for ever.
// Before the first point the rate is zero.
func Steps(points ...Point) Shape {
	var s Shape
	var at time.Duration
	var rate float64
	for _, p := range points {
		s.add(p.At-at, rate, rate)
		at, rate = p.At, p.Rate
	}
	s.Tail = rate
	return s
}

// Ramp goes from one rate to another over a time and stays there.
func Ramp(from, to float64, over time.Duration) Shape {
	return Shape{Segments: []Segment{{over, from, to}}, Tail: to}
}

// Burst is base, and peak for length at the end of each period of every.
func Burst(base, peak float64, every, length time.Duration) Shape {
	return Shape{Segments: []Segment{{every - length, base, base}, {length, peak, peak}}, Loop: 2}
}

// sinePieces is how many straight lines stand for one period of a sine: the
// rate is then off by at most (π/64)²/2 = 0.12 % of the amplitude.
const sinePieces = 64

// Sine swings around mean by amplitude, starting at mean and rising.
func Sine(mean, amplitude float64, period time.Duration) Shape {
	rate := func(k int) float64 {
		return mean + amplitude*math.Sin(2*math.Pi*float64(k%sinePieces)/sinePieces)
	}
	s := Shape{Loop: sinePieces}
	for k := range sinePieces {
		from := period * time.Duration(k) / sinePieces
		to := period * time.Duration(k+1) / sinePieces
		s.Segments = append(s.Segments, Segment{to - from, rate(k), rate(k + 1)})
	}
	return s
}

// Trace joins the points by straight lines and stays at the last rate. Before
// the first point the rate is that of the first. Two points at one time are a
// step.
func Trace(points ...Point) Shape {
	var s Shape
	for i, p := range points {
		if i == 0 {
			s.add(p.At, p.Rate, p.Rate)
			continue
		}
		s.add(p.At-points[i-1].At, points[i-1].Rate, p.Rate)
	}
	if n := len(points); n > 0 {
		s.Tail = points[n-1].Rate
	}
	return s
}

func (s *Shape) add(length time.Duration, from, to float64) {
	if length != 0 {
		s.Segments = append(s.Segments, Segment{length, from, to})
	}
}

// Cut is the shape up to d and nothing behind it. A loop is written out.
func (s Shape) Cut(d time.Duration) Shape {
	out := Shape{Spread: s.Spread, Bad: s.Bad}
	left := d
	take := func(g Segment) bool {
		if left <= 0 {
			return false
		}
		if g.Length > left {
			g.To = g.From + (g.To-g.From)*(float64(left)/float64(g.Length))
			g.Length = left
		}
		left -= g.Length
		out.add(g.Length, g.From, g.To)
		return left > 0
	}
	for _, g := range s.Segments {
		if !take(g) {
			return out
		}
	}
	if s.Loop == 0 || s.loopLength() <= 0 {
		take(Segment{left, s.Tail, s.Tail})
		return out
	}
	for {
		for _, g := range s.Segments[len(s.Segments)-s.Loop:] {
			if !take(g) {
				return out
			}
		}
	}
}

// Then is this shape's segments followed by another shape; this shape's loop
// and tail are dropped, so it is usually one made by Cut.
func (s Shape) Then(next Shape) Shape {
	return Shape{
		Segments: append(append([]Segment(nil), s.Segments...), next.Segments...),
		Loop:     next.Loop,
		Tail:     next.Tail,
	}
}

func (s Shape) loopLength() (d time.Duration) {
	for _, g := range s.Segments[len(s.Segments)-s.Loop:] {
		d += g.Length
	}
	return d
}

// Validate reports the first thing that makes the shape unusable.
func (s Shape) Validate() error {
	bad := func(r float64) bool { return !(r >= 0 && r <= MaxRate) }
	for i, g := range s.Segments {
		switch {
		case g.Length < 0:
			return fmt.Errorf("load shape: part %d lasts %v; times must rise", i+1, g.Length)
		case bad(g.From):
			return fmt.Errorf("load shape: part %d starts at %g records/s; allowed are 0 to %g", i+1, g.From, float64(MaxRate))
		case bad(g.To):
			return fmt.Errorf("load shape: part %d ends at %g records/s; allowed are 0 to %g", i+1, g.To, float64(MaxRate))
		}
	}
	if bad(s.Tail) {
		return fmt.Errorf("load shape: a rate of %g records/s; allowed are 0 to %g", s.Tail, float64(MaxRate))
	}
	if s.Loop < 0 || s.Loop > len(s.Segments) {
		return fmt.Errorf("load shape: %d of %d parts repeat", s.Loop, len(s.Segments))
	}
	if s.Loop > 0 {
		var n float64
		for _, g := range s.Segments[len(s.Segments)-s.Loop:] {
			n += (g.From + g.To) / 2 * g.Length.Seconds()
		}
		if n <= 0 || s.loopLength() <= 0 {
			return fmt.Errorf("load shape: the repeated part offers no record")
		}
	}
	if err := s.Bad.validate(); err != nil {
		return err
	}
	return s.Spread.validate()
}

// MaxRate is the highest rate in records per second: above it the schedule's
// nanoseconds would no longer tell records apart.
const MaxRate = 1e9
