package window

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"streamduel/pipeline"
)

// model evaluates windows of event time in the plainest way: all records of all
// windows kept, everything looked at whenever time moves.
type model struct {
	assigner Assigner
	lateness int64
	wm       int64
	windows  map[string]map[Window][]int64
	rows     []string
}

func (m *model) fire(k string, w Window) {
	var n int64
	for _, v := range m.windows[k][w] {
		n += v
	}
	m.rows = append(m.rows, unspaced(fmt.Sprintf("%s@[%d,%d)=%d", k, w.Start, w.End, n)))
}

func (m *model) step(s step) {
	if s.watermark != nil {
		old := m.wm
		m.wm = max(m.wm, *s.watermark)
		type due struct {
			k string
			w Window
		}
		var dues []due
		for k, ws := range m.windows {
			for w := range ws {
				if w.MaxTimestamp() > old && w.MaxTimestamp() <= m.wm {
					dues = append(dues, due{k, w})
				}
			}
		}
		slices.SortFunc(dues, func(a, b due) int { return cmp64(a.w.End, b.w.End) })
		for _, d := range dues {
			m.fire(d.k, d.w)
		}
		for _, ws := range m.windows {
			maps.DeleteFunc(ws, func(w Window, _ []int64) bool { return m.gone(w) })
		}
		return
	}
	e := s.event
	if m.windows[e.key] == nil {
		m.windows[e.key] = map[Window][]int64{}
	}
	ws := m.windows[e.key]
	late := true
	for _, w := range m.assigner.Assign(nil, e.at) {
		var held []int64
		if m.assigner.kind == session {
			for changed := true; changed; {
				changed = false
				for o, vs := range ws {
					if o.Intersects(w) {
						held = append(held, vs...)
						w = w.Cover(o)
						delete(ws, o)
						changed = true
					}
				}
			}
		} else {
			held = ws[w]
		}
		if m.gone(w) {
			continue
		}
		late = false
		ws[w] = append(held, e.value)
		if w.MaxTimestamp() <= m.wm {
			m.fire(e.key, w)
		}
	}
	if late && m.wm != pipeline.NoTime && e.at+m.lateness <= m.wm {
		m.rows = append(m.rows, unspaced(fmt.Sprintf("late %s@%d=%d", e.key, e.at, e.value)))
	}
}

func (m *model) gone(w Window) bool {
	return m.wm != pipeline.NoTime && w.MaxTimestamp()+m.lateness <= m.wm
}

func draw(t *rapid.T) (a Assigner, lateness time.Duration, steps []step) {
	ms := func(label string, lo, hi int) time.Duration {
		return time.Duration(rapid.IntRange(lo, hi).Draw(t, label)) * time.Millisecond
	}
	switch rapid.IntRange(0, 3).Draw(t, "assigner") {
	case 0:
		size := ms("size", 1, 12)
		a = TumblingEventTime(size).Offset(time.Duration(rapid.IntRange(-int(size/1e6)+1, int(size/1e6)-1).Draw(t, "offset")) * 1e6)
	case 1:
		size := ms("size", 1, 12)
		slide := ms("slide", 1, int(size/1e6))
		a = SlidingEventTime(size, slide).Offset(time.Duration(rapid.IntRange(-int(slide/1e6)+1, int(slide/1e6)-1).Draw(t, "offset")) * 1e6)
	case 2:
		a = SlidingEventTime(ms("size", 1, 4), ms("slide", 1, 8)).WithGaps()
	case 3:
		a = EventTimeSession(ms("gap", 1, 6))
	}
	if rapid.Bool().Draw(t, "with lateness") {
		lateness = ms("lateness", 1, 15)
	}
	at := rapid.Int64Range(-30, 30).Draw(t, "start")
	for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
		at += rapid.Int64Range(0, 4).Draw(t, "advance")
		if rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
			steps = append(steps, wm(at-rapid.Int64Range(0, 10).Draw(t, "delay")))
			continue
		}
		k := rapid.SampledFrom([]string{"a", "b", "ccc"}).Draw(t, "key")
		steps = append(steps, rec(k, at-rapid.Int64Range(0, 25).Draw(t, "disorder"), int64(i+1)))
	}
	return a, lateness, append(steps, wm(at+1000))
}

var evaluations = map[string]struct {
	eval func(*Windowed[string, event]) *pipeline.Stream[string]
	on   func(*Windowed[string, event]) *Windowed[string, event]
}{
	"panes":              {summed, nil},
	"panes with inverse": {summedInverse, nil},
	"reduced":            {reduced, nil},
	"window by window":   {summed, trigger(EventTimeTrigger[event]())},
	"whole":              {processed, nil},
	"evicting": {reduced, func(w *Windowed[string, event]) *Windowed[string, event] {
		return w.Evict(CountEvictor[event](1 << 20))
	}},
}

// TestAgainstModel runs random records and watermarks through every way to
// evaluate windows, in batches of any size, with outputs that starve, with
// restarts at another parallelism anywhere, and compares with the model.
func TestAgainstModel(t *testing.T) {
	for name, e := range evaluations {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				a, lateness, steps := draw(rt)
				m := &model{assigner: a, lateness: lateness.Milliseconds(), wm: pipeline.NoTime, windows: map[string]map[Window][]int64{}}
				for _, s := range steps {
					m.step(s)
				}
				j := on(a, func(w *Windowed[string, event]) *Windowed[string, event] {
					if e.on != nil {
						w = e.on(w)
					}
					return w.AllowedLateness(lateness)
				}, e.eval)
				o := options{batch: rapid.IntRange(1, 8).Draw(rt, "batch")}
				o.Parallelism = rapid.IntRange(1, 4).Draw(rt, "parallelism")
				o.Unchained, o.Block = rapid.Bool().Draw(rt, "unchained"), rapid.Bool().Draw(rt, "blocked")
				o.Buffers = 1
				if every := rapid.IntRange(0, 9).Draw(rt, "restarts"); every > 0 {
					o.pauses = func(i int) bool { return i%every == 0 }
				}
				// Looking ahead in buffers is for many keys; it must change nothing.
				if rapid.Bool().Draw(rt, "look ahead") {
					defer func(n int) { manyKeys = n }(manyKeys)
					manyKeys = 0
				}
				keys = 0
				got, want := perWindow(play(t, j, steps, o)), perWindow(m.rows)
				if !slices.Equal(got, want) {
					rt.Fatalf("%+v, lateness %v\ngot  %q\nwant %q", a, lateness, got, want)
				}
				if keys != 0 {
					rt.Fatalf("%d entries of state are left over", keys)
				}
			})
		})
	}
}

// perWindow sorts rows by key and window, leaving the firings of one window in
// their order.
func perWindow(rows []string) []string {
	rows = slices.Clone(rows)
	window := func(r string) string {
		w, _, _ := cutLast(r)
		return w
	}
	slices.SortStableFunc(rows, func(a, b string) int { return cmp.Compare(window(a), window(b)) })
	return rows
}

func cutLast(r string) (head, tail string, ok bool) {
	for i := len(r) - 1; i >= 0; i-- {
		if r[i] == '=' {
			return r[:i], r[i:], true
		}
	}
	return r, "", false
}
