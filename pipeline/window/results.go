package window

import (
	"slices"

	"streamduel/pipeline"
)

// tableRow is a row of a windowed aggregation's result table.
type tableRow[K comparable] struct {
	key K
	w   Window
}

func rowClone[K comparable](clone func(K) K) func(tableRow[K]) tableRow[K] {
	return func(r tableRow[K]) tableRow[K] { return tableRow[K]{clone(r.key), r.w} }
}

// changed tells of the windows of the pane at hand that are still there.
func (o *paned[K, T, A, R]) changed(k K, now int64) {
	for e := o.last; e >= o.first; e -= o.slide {
		if addTime(e-1, o.lateness) > now {
			o.results.Changed(tableRow[K]{k, Window{e - o.size, e}}, 0)
		}
	}
}

func (o *paned[K, T, A, R]) rows() pipeline.ResultTable[tableRow[K]] {
	return pipeline.ResultTable[tableRow[K]]{
		Clone: rowClone(o.clone),
		Emit: func(r tableRow[K], _ int) {
			if c, ok := o.table.Get(r.key); ok {
				o.evaluate(&c, r.key, r.w.End)
			}
		},
		Each: func(yield func(tableRow[K]) bool) {
			var ends []int64
			o.table.Each(func(k K, c cell[A]) bool {
				ends = o.windowsOf(ends[:0], &c)
				for _, e := range ends {
					if !yield(tableRow[K]{k, Window{e - o.size, e}}) {
						return false
					}
				}
				return true
			})
		},
	}
}

// windowsOf appends the ends of the windows that a key's panes belong to, in
// order.
func (o *paned[K, T, A, R]) windowsOf(ends []int64, c *cell[A]) []int64 {
	add := func(start int64) {
		if start == noPane {
			return
		}
		first, last, _ := o.ends(start)
		for e := first; e <= last; e += o.slide {
			ends = append(ends, e)
		}
	}
	add(c.hot.start)
	for _, p := range c.rest() {
		add(p.start)
	}
	slices.Sort(ends)
	return slices.Compact(ends)
}

// merge takes in what records of one pane were combined to before the exchange.
// None of the pane's windows had fired there, and the watermark here is not ahead
// of that.
func (o *paned[K, T, A, R]) merge(k K, start int64, acc A) {
	if start < o.lo || start >= o.hi {
		o.look(start)
	}
	c, fresh := o.table.Ref(k)
	if fresh {
		o.begin(c)
	}
	acc = o.c.codec.Clone(acc)
	fresh = o.heat(c)
	o.c.merge(&c.hot.acc, fresh, acc)
	if run, first := o.runOf(c, fresh); run != nil {
		o.c.merge(run, first, acc)
	}
	if o.first < c.next {
		o.open(c, o.first)
		o.schedule(c, k, false)
	}
	if o.results != nil {
		o.changed(k, o.now())
	}
}

// combine lets records be added up by pane before the exchange. A record that is
// late, in a gap between windows or out of range crosses as it is: where it goes
// is said behind the exchange.
func combine[K comparable, T, A, R any](w *Windowed[K, T], out *pipeline.Stream[R], cs *contents[T, A]) {
	a, lateness := w.assigner, w.lateness.Milliseconds()
	pipeline.CombineBefore(w.k, out, pipeline.Combining[K, T, A]{
		Accumulators: cs.codec, Fires: true,
		Add: func() func(acc *A, fresh bool, v T, c *pipeline.Ctx) {
			return func(acc *A, fresh bool, v T, c *pipeline.Ctx) { cs.add(acc, fresh, v, c.Timestamp) }
		},
		Group: func() func(c *pipeline.Ctx) (int64, bool) {
			g := newGeometry(a, lateness)
			var lo, hi, first int64
			var covered bool
			return func(c *pipeline.Ctx) (int64, bool) {
				ts := c.Timestamp
				if a.time != EventTime {
					ts = c.ProcessingTime()
				}
				if ts < lo || ts >= hi {
					if !inRange(ts, g.reach()) {
						return 0, false
					}
					lo = StartOf(ts, g.offset, g.width)
					hi = lo + g.width
					first, _, covered = g.ends(lo)
				}
				return lo, covered && (a.time != EventTime || first-1 > c.Watermark())
			}
		},
	})
}

func (o *slotted[K, T, A, R]) rows() pipeline.ResultTable[tableRow[K]] {
	return pipeline.ResultTable[tableRow[K]]{
		Clone: rowClone(o.clone),
		Emit: func(r tableRow[K], _ int) {
			c, _ := o.table.Get(r.key)
			for i := range c.list {
				if s := c.list[i]; s.w == r.w && s.has {
					o.evaluate(&s, r.key)
				}
			}
		},
		Each: func(yield func(tableRow[K]) bool) {
			o.table.Each(func(k K, c slots[T, A]) bool {
				for i := range c.list {
					if !yield(tableRow[K]{k, c.list[i].w}) {
						return false
					}
				}
				return true
			})
		},
	}
}
