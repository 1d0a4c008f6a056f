package window

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

// TestRefused builds jobs that cannot work; each is refused by name before it
// starts.
func TestRefused(t *testing.T) {
	type windowed = *Windowed[string, event]
	ms := time.Millisecond
	plain := func(a Assigner) job { return on(a, nil, summed) }
	with := func(a Assigner, f func(windowed) windowed) job { return on(a, f, summed) }
	late := func(d time.Duration) func(windowed) windowed {
		return func(w windowed) windowed { return w.AllowedLateness(d) }
	}
	evict := func(e Evictor[event]) func(windowed) windowed {
		return func(w windowed) windowed { return w.Evict(e) }
	}
	for _, c := range []struct {
		job  job
		want string
	}{
		{plain(TumblingEventTime(0)), "window size 0s"},
		{plain(TumblingEventTime(-ms)), "window size -1ms"},
		{plain(TumblingEventTime(1500 * time.Microsecond)), "whole milliseconds"},
		{plain(TumblingEventTime(5 * ms).Offset(5 * ms)), "offset 5ms"},
		{plain(SlidingEventTime(5*ms, 0)), "slide 0s"},
		{plain(SlidingEventTime(5*ms, 6*ms)), "slide 6ms is above the size 5ms"},
		{plain(SlidingEventTime(5*ms, 2*ms).Offset(-2 * ms)), "offset -2ms"},
		{plain(EventTimeSession(0)), "gap 0s"},
		{plain(ProcessingTimeSession(-ms)), "gap -1ms"},
		{plain(CountTumbling(0)), "count window of 0"},
		{plain(CountSliding(2, 0)), "slide 0"},
		{plain(CountSliding(2, 3)), "slide 3 is above the size 2"},
		{plain(Global()), "without a trigger"},
		{plain(Assigner{}), "no assigner"},
		{with(TumblingEventTime(ms), late(-ms)), "lateness -1ms"},
		{with(TumblingEventTime(ms), late(time.Microsecond)), "whole milliseconds"},
		{with(TumblingProcessingTime(ms), late(ms)), "only for windows of event time"},
		{with(TumblingEventTime(ms), trigger(CountTrigger[event](0))), "count trigger: 0"},
		{with(TumblingEventTime(ms), trigger(PurgingTrigger(CountTrigger[event](-1)))), "count trigger: -1"},
		{with(TumblingEventTime(ms), trigger(ContinuousEventTimeTrigger[event](0))), "interval 0s"},
		{with(TumblingEventTime(ms), trigger(ContinuousProcessingTimeTrigger[event](time.Microsecond))), "whole milliseconds"},
		{with(Global(), trigger(DeltaTrigger[event](1, nil))), "delta trigger"},
		{with(EventTimeSession(ms), trigger(DeltaTrigger(1, func(_, _ event) float64 { return 0 }))), "delta trigger cannot be used with sessions"},
		{with(TumblingEventTime(ms), evict(CountEvictor[event](-1))), "count evictor"},
		{with(TumblingEventTime(ms), evict(TimeEvictor[event](-ms))), "time evictor"},
		{with(TumblingEventTime(ms), evict(DeltaEvictor[event](1, nil))), "delta evictor"},
		{on(EventTimeSession(ms), nil, func(w windowed) *pipeline.Stream[string] {
			g := sumOf(false)
			g.Merge = nil
			return AggregateWith(w, "window", g, func(*Context[string], int64, func(string)) {})
		}), "no Merge"},
		{on(TumblingEventTime(ms), nil, func(w windowed) *pipeline.Stream[string] {
			g := Aggregator[event, []int, string]{Add: func(a []int, _ event) []int { return a }, Result: func([]int) string { return "" }}
			return Aggregate(w, "window", g)
		}), "set Aggregator.Codec"},
		{on(TumblingEventTime(ms), nil, func(w windowed) *pipeline.Stream[string] {
			return Process[string, event, string](w, "window", nil)
		}), "no function"},
	} {
		g := graph(c.job, false)
		err := g.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"window"`) {
			t.Errorf("want %q by name, got %v", c.want, err)
		}
	}
}

func TestValuesWithoutCodec(t *testing.T) {
	g := pipeline.New("no codec")
	in := pipelinetest.NewInput[event]("in")
	k := pipeline.KeyBy(in.Stream(g), func(e event) string { return e.key })
	Process(On(k, TumblingEventTime(time.Second)), "whole", func(*Context[string], []event, func(string)) {})
	if err := g.Check(); err == nil || !strings.Contains(err.Error(), `"whole"`) || !strings.Contains(err.Error(), "no codec") {
		t.Error(err)
	}
}

// TestBadTime sends event times that no window can be made of.
func TestBadTime(t *testing.T) {
	for _, j := range []job{on(TumblingEventTime(time.Second), nil, summed), on(EventTimeSession(time.Second), nil, summed)} {
		for _, c := range []struct {
			at     int64
			noTime bool
			by     string
			want   string
		}{{1 << 62, false, `"in"`, "too far ahead"}, {-1<<62 - 1, false, `"window"`, "out of range"}, {0, true, `"window"`, "no event time"}} {
			h := pipelinetest.New(t, graph(j, c.noTime), pipelinetest.Options{})
			err := h.Push("in", batchOf(event{"a", c.at, 1}))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.by) {
				t.Errorf("event time %d: %v", c.at, err)
			}
		}
	}
	gap := func(k *pipeline.Keyed[string, event]) *pipeline.Stream[string] {
		return summed(OnDynamicSessions(k, EventTime, func(e event) time.Duration { return time.Duration(e.value) }))
	}
	h := pipelinetest.New(t, graph(gap, false), pipelinetest.Options{})
	if err := h.Push("in", batchOf(event{"a", 1, 0})); err == nil || !strings.Contains(err.Error(), "gap of 0 ms") {
		t.Error(err)
	}
}

// TestSnapshotOfOtherWindows: state of windows of another size is refused.
func TestSnapshotOfOtherWindows(t *testing.T) {
	for _, eval := range []func(*Windowed[string, event]) *pipeline.Stream[string]{summed, summedInverse, listed} {
		a := pipelinetest.New(t, graph(on(SlidingEventTime(4*time.Second, time.Second), nil, eval), false), pipelinetest.Options{})
		if err := a.Push("in", batchOf(event{"a", 1, 1})); err != nil {
			t.Fatal(err)
		}
		b := pipelinetest.New(t, graph(on(SlidingEventTime(5*time.Second, time.Second), nil, eval), false), pipelinetest.Options{})
		if err := b.Restore(a.Snapshot()); err == nil || !strings.Contains(err.Error(), "was written as") {
			t.Error(err)
		}
	}
}

// FuzzState reads arbitrary bytes as state: an error or a value that encodes to
// what was read, no crash.
func FuzzState(f *testing.F) {
	g := newGeometry(SlidingEventTime(4*time.Second, time.Second), 0)
	cells := &cellCodec[int64]{g: &g, accs: codec.Int64{}, flat: true, inverse: true}
	windows := &slotsCodec[event, Elements[event]]{accs: elementsCodec[event]{eventCodec}, values: eventCodec}
	m := &more[int64]{rest: []pane[int64]{{1000, 7}}, run: 8, runs: 2}
	f.Add(cells.Append(nil, cell[int64]{next: 4000, at: 3999, hot: pane[int64]{2000, 1}, more: m}))
	e := event{"a", 1, 2}
	f.Add(windows.Append(nil, slots[event, Elements[event]]{eventAt: 5, procAt: never, list: []slot[event, Elements[event]]{{
		w: Window{1, 6}, has: true, acc: Elements[event]{[]event{e}, []int64{1}}, last: &e, event: []int64{5}, proc: []int64{9},
	}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, n, err := cells.Decode(b); err == nil {
			again, _, err := cells.Decode(cells.Append(nil, cells.Isolate(cells.Clone(c))))
			if err != nil || n > len(b) || !bytes.Equal(cells.Append(nil, again), cells.Append(nil, c)) {
				t.Errorf("%v: %v", c, err)
			}
		}
		if s, n, err := windows.Decode(b); err == nil {
			again, _, err := windows.Decode(windows.Append(nil, windows.Isolate(windows.Clone(s))))
			if err != nil || n > len(b) || !bytes.Equal(windows.Append(nil, again), windows.Append(nil, s)) {
				t.Errorf("%v: %v", s, err)
			}
		}
	})
}
