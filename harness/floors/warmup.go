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
	refused := 0
	for step := 0; limited.Err() == nil && !w.warm() && refused < warmTries; step++ {
		since := time.Now()
		_, p50, err := o.paced(limited, warmTopics+step, p)
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err == nil:
			refused = 0
			w.step(p50)
		case time.Since(since) < o.spanOf(p).window: // nothing was offered at all
			refused++
		} // else a cold broker that does not keep the pace yet
	}
	return time.Since(began), nil
}

// warmTopics numbers the topics of a warm-up, apart from those of the paces.
const warmTopics = 1000

// warmTries is how often in a row a broker may refuse a step before it is left as it
// is: what is wrong with it, the floors will say, or the first cell.
const warmTries = 3

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
