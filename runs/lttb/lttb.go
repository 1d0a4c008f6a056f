// Package lttb thins a time series for drawing, by largest triangle three
// buckets (Sveinn Steinarsson, Downsampling Time Series for Visual
// Representation, University of Iceland, 2013): of each bucket it keeps the
// point that spans the largest triangle with the point kept before and the
// mean of the bucket after, so that peaks and bends stay where they were.
package lttb

import "math"

// Point is one point of a series.
type Point struct{ X, Y float64 }

// Indices returns the indices of at most n points to keep, ascending; x must
// not decrease. The first and the last point are always kept. All points are
// kept when there are no more than n, or when n is below 3.
//
// NaN in y marks a gap and is kept as such: a bucket of gaps keeps its first
// point, and a bucket with both prefers the points.
func Indices(points []Point, n int) []int {
	if n < 3 || len(points) <= n {
		all := make([]int, len(points))
		for i := range all {
			all[i] = i
		}
		return all
	}
	kept := make([]int, 0, n)
	kept = append(kept, 0)
	last := len(points) - 1
	width := float64(last-1) / float64(n-2)
	bound := func(bucket int) int { return min(1+int(float64(bucket)*width), last) }
	anchor := points[0]
	for bucket := range n - 2 {
		from, to := bound(bucket), bound(bucket+1)
		mean, ok := meanOf(points[to:max(min(bound(bucket+2), last), to+1)])
		if !ok {
			mean = anchor
		}
		best, bestArea := from, -1.0
		for i := from; i < to; i++ {
			p := points[i]
			if math.IsNaN(p.Y) {
				continue
			}
			area := math.Abs((anchor.X-mean.X)*(p.Y-anchor.Y) - (anchor.X-p.X)*(mean.Y-anchor.Y))
			if math.IsNaN(area) { // the anchor is a gap: any point will do
				area = 0
			}
			if area > bestArea {
				best, bestArea = i, area
			}
		}
		kept = append(kept, best)
		anchor = points[best]
	}
	return append(kept, last)
}

func meanOf(points []Point) (mean Point, ok bool) {
	n := 0.0
	for _, p := range points {
		if math.IsNaN(p.Y) {
			continue
		}
		mean.X += p.X
		mean.Y += p.Y
		n++
	}
	if n == 0 {
		return Point{}, false
	}
	return Point{mean.X / n, mean.Y / n}, true
}
