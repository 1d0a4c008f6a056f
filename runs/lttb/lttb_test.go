package lttb

import (
	"math"
	"slices"
	"testing"
)

func wave(n int) []Point {
	points := make([]Point, n)
	for i := range points {
		points[i] = Point{float64(i), math.Sin(float64(i) / 50)}
	}
	return points
}

func TestKeepsAllOfAShortSeries(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 10} {
		if got := Indices(wave(n), 10); len(got) != n {
			t.Errorf("%d points became %d", n, len(got))
		}
	}
	if got := Indices(wave(10), 2); len(got) != 10 {
		t.Errorf("two points are no picture, kept %d", len(got))
	}
}

func TestKeepsEndsOrderAndCount(t *testing.T) {
	for _, size := range []int{11, 12, 99, 1000, 12345} {
		for _, n := range []int{3, 4, 10} {
			got := Indices(wave(size), n)
			if len(got) != n || got[0] != 0 || got[n-1] != size-1 {
				t.Errorf("%d to %d: %v", size, n, got)
			}
			for i := 1; i < len(got); i++ {
				if got[i] <= got[i-1] {
					t.Errorf("%d to %d: not ascending: %v", size, n, got)
				}
			}
		}
	}
}

func TestKeepsASpike(t *testing.T) {
	points := wave(10_000)
	points[4321].Y = 50
	if got := Indices(points, 100); !slices.Contains(got, 4321) {
		t.Error("the spike is gone")
	}
}

func TestGaps(t *testing.T) {
	points := wave(1000)
	for i := 300; i < 700; i++ {
		points[i].Y = math.NaN()
	}
	got := Indices(points, 50)
	gaps := 0
	for _, i := range got {
		if math.IsNaN(points[i].Y) {
			gaps++
		}
	}
	if gaps == 0 || gaps > 25 {
		t.Errorf("%d of 50 are gaps", gaps)
	}
	for i := range points {
		points[i].Y = math.NaN()
	}
	if got := Indices(points, 50); len(got) != 50 {
		t.Errorf("all gaps: %d kept", len(got))
	}
}
