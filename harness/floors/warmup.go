package floors

import (
	"context"
	"time"
)

// warmLimit bounds a warm-up: a broker that still gets faster after this long is
// taken as it is.
const warmLimit = 60 * time.Second

// WarmUp drives a broker with the bare loop at a pace until it no longer gets
// faster, and returns how long that took. A broker on a virtual machine
// compiles itself while it serves: in its first half minute a produce request
// takes several times what it takes later, so what is measured first, a floor or
// a cell, would look slow beside what comes after it.
func WarmUp(ctx context.Context, o Options, p Pace) (time.Duration, error) {
	o.defaults()
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, warmLimit)
	defer cancel()
	var w warming
	for step := 0; limited.Err() == nil && !w.warm(); step++ {
		_, p50, err := o.paced(limited, warmTopics+step, p)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err != nil {
			continue // a cold broker may not keep the pace at all
		}
		w.step(p50)
	}
	return time.Since(began), nil
}

// warmTopics numbers the topics of a warm-up, apart from those of the paces.
const warmTopics = 1000

// warming tells from the medians of one step after another when they no longer
// fall.
type warming struct {
	best  float64 // milliseconds; 0 before the first
	level int     // steps in a row that were not faster than the best one
}

// warmFaster is the factor below which a step counts as faster than the best
// one, and warmLevel how many steps in a row must not be.
const (
	warmFaster = 0.9
	warmLevel  = 2
)

// step takes the next median in milliseconds.
func (w *warming) step(p50 float64) {
	if w.best == 0 || p50 < w.best*warmFaster {
		w.best, w.level = p50, 0
	} else {
		w.level++
	}
}

func (w *warming) warm() bool { return w.level >= warmLevel }
