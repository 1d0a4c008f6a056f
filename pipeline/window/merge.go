package window

import "slices"

// Merge is one merge among windows.
type Merge struct {
	From []Window
	Into Window
}

// MergeAll returns how a set of windows merges: those that overlap or touch,
// directly or through others, become one. Windows that stay alone are left out.
func MergeAll(ws []Window) []Merge {
	ws = slices.Clone(ws)
	slices.SortStableFunc(ws, func(a, b Window) int {
		switch {
		case a.Start != b.Start:
			return cmp64(a.Start, b.Start)
		default:
			return cmp64(a.End, b.End)
		}
	})
	var all []Merge
	for _, w := range ws {
		if n := len(all); n > 0 && all[n-1].Into.Intersects(w) {
			m := &all[n-1]
			m.From, m.Into = append(m.From, w), m.Into.Cover(w)
			continue
		}
		all = append(all, Merge{[]Window{w}, w})
	}
	return slices.DeleteFunc(all, func(m Merge) bool { return len(m.From) < 2 })
}

func cmp64(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Join says what adding w does to n windows that are sorted and pairwise apart,
// as the windows of one key are: those from lo to hi (hi not included) merge
// with it into one; lo == hi means that it is new and belongs at lo.
func Join(n int, at func(i int) Window, w Window) (lo, hi int, into Window) {
	into = w
	hi = n
	// From the back: a record mostly falls into the last session or behind it.
	for hi > 0 && at(hi-1).Start > w.End {
		hi--
	}
	lo = hi
	for lo > 0 && at(lo-1).End >= w.Start {
		lo--
		into = into.Cover(at(lo))
	}
	return lo, hi, into
}
