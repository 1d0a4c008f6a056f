package window

import (
	"slices"
	"testing"
	"time"

	"streamduel/pipeline"
)

func on(a Assigner, f func(*Windowed[string, event]) *Windowed[string, event], eval func(*Windowed[string, event]) *pipeline.Stream[string]) job {
	return func(k *pipeline.Keyed[string, event]) *pipeline.Stream[string] {
		w := On(k, a).SideOutputLate(lateTag)
		if f != nil {
			w = f(w)
		}
		return withLate(eval(w))
	}
}

func trigger(t Trigger[event]) func(*Windowed[string, event]) *Windowed[string, event] {
	return func(w *Windowed[string, event]) *Windowed[string, event] { return w.Trigger(t) }
}

func TestOperator(t *testing.T) {
	late := func(d time.Duration) func(*Windowed[string, event]) *Windowed[string, event] {
		return func(w *Windowed[string, event]) *Windowed[string, event] { return w.AllowedLateness(d) }
	}
	type windowed = *Windowed[string, event]
	ms := time.Millisecond
	cases := []struct {
		name  string
		job   job
		steps []step
		want  []string
	}{
		{
			"tumbling fires when the watermark reaches its max timestamp", on(TumblingEventTime(10*ms), nil, summed),
			[]step{rec("a", 0, 1), rec("a", 9, 2), rec("a", 10, 4), wm(8), rec("a", 5, 8), wm(9), rec("a", 9, 16), wm(100)},
			[]string{"a@[0,10)=11", "late a@9=16", "a@[10,20)=4"},
		},
		{
			"late records fire again within the lateness", on(TumblingEventTime(10*ms), late(5*ms), summed),
			[]step{rec("a", 1, 1), wm(9), rec("a", 2, 2), wm(13), rec("a", 3, 4), wm(14), rec("a", 4, 8)},
			[]string{"a@[0,10)=1", "a@[0,10)=3", "a@[0,10)=7", "late a@4=8"},
		},
		{
			"a late record makes a window within the lateness", on(TumblingEventTime(10*ms), late(5*ms), reduced),
			[]step{wm(12), rec("a", 1, 1), wm(14), rec("a", 1, 2)},
			[]string{"a@[0,10)=1", "late a@1=2"},
		},
		{
			"sliding", on(SlidingEventTime(4*ms, 2*ms), nil, summed),
			[]step{rec("a", 1, 1), rec("a", 2, 2), rec("a", 5, 4), wm(20)},
			[]string{"a@[-2,2)=1", "a@[0,4)=3", "a@[2,6)=6", "a@[4,8)=4"},
		},
		{
			"a record too late for some windows is in the others", on(SlidingEventTime(4*ms, 2*ms), nil, summed),
			[]step{rec("a", 2, 1), wm(3), rec("a", 2, 2), rec("a", 1, 4), wm(20)},
			[]string{"a@[0,4)=1", "late a@1=4", "a@[2,6)=3"},
		},
		{
			"slide that does not divide the size", on(SlidingEventTime(5*ms, 3*ms), nil, summed),
			[]step{rec("a", 4, 1), rec("a", 5, 2), wm(20)},
			[]string{"a@[0,5)=1", "a@[3,8)=3"},
		},
		{
			"records in gaps between windows are left out", on(SlidingEventTime(2*ms, 5*ms).WithGaps(), nil, summed),
			[]step{rec("a", 1, 1), rec("a", 2, 2), rec("a", 5, 4), wm(3), rec("a", 2, 8), rec("a", 1, 16), wm(20)},
			[]string{"a@[0,2)=1", "late a@2=8", "late a@1=16", "a@[5,7)=4"},
		},
		{
			"sessions merge", on(EventTimeSession(3*ms), nil, listed),
			[]step{rec("a", 1, 1), rec("a", 7, 2), rec("b", 2, 3), rec("a", 4, 4), wm(9), rec("a", 12, 5), wm(20)},
			[]string{"b@[2,5)=[3]", "a@[1,10)=[1 2 4]", "a@[12,15)=[5]"},
		},
		{
			"a late record extends a session within the lateness", on(EventTimeSession(3*ms), late(10*ms), summed),
			[]step{rec("a", 1, 1), wm(5), rec("a", 3, 2), wm(6), rec("a", 20, 4), wm(16), rec("a", 2, 8), wm(40)},
			[]string{"a@[1,4)=1", "a@[1,6)=3", "late a@2=8", "a@[20,23)=4"},
		},
		{
			"count trigger, contents kept", on(TumblingEventTime(10*ms), trigger(CountTrigger[event](2)), summed),
			[]step{rec("a", 1, 1), rec("a", 2, 2), rec("a", 3, 4), rec("a", 4, 8), rec("a", 5, 16), wm(20)},
			[]string{"a@[0,10)=3", "a@[0,10)=15"},
		},
		{
			"purging count trigger", on(TumblingEventTime(10*ms), trigger(PurgingTrigger(CountTrigger[event](2))), summed),
			[]step{rec("a", 1, 1), rec("a", 2, 2), rec("a", 3, 4), rec("a", 4, 8), rec("a", 5, 16), wm(20)},
			[]string{"a@[0,10)=3", "a@[0,10)=12"},
		},
		{
			"count trigger over sessions adds the counts", on(EventTimeSession(3*ms), trigger(CountTrigger[event](3)), summed),
			[]step{rec("a", 1, 1), rec("a", 7, 2), rec("a", 4, 4), wm(20)},
			[]string{"a@[1,10)=7"},
		},
		{
			"continuous event time", on(TumblingEventTime(10*ms), trigger(ContinuousEventTimeTrigger[event](3*ms)), summed),
			[]step{rec("a", 1, 1), wm(2), rec("a", 4, 2), wm(3), rec("a", 5, 4), wm(6), wm(20)},
			[]string{"a@[0,10)=3", "a@[0,10)=7", "a@[0,10)=7"},
		},
		{
			"continuous event time over sessions", on(EventTimeSession(5*ms), trigger(ContinuousEventTimeTrigger[event](4*ms)), summed),
			[]step{rec("a", 1, 1), rec("a", 5, 2), wm(3), wm(4), wm(8), wm(30)},
			[]string{"a@[1,10)=3", "a@[1,10)=3", "a@[1,10)=3"},
		},
		{
			"continuous processing time", on(TumblingEventTime(10*ms), trigger(ContinuousProcessingTimeTrigger[event](5*ms)), summed),
			[]step{now(2), rec("a", 1, 1), now(4), now(5), rec("a", 2, 2), now(9), now(10), wm(20), now(30)},
			[]string{"a@[0,10)=1", "a@[0,10)=3"},
		},
		{
			"delta", on(Global(), trigger(DeltaTrigger(5, func(old, v event) float64 { return float64(v.value - old.value) })), listed),
			[]step{rec("a", 1, 1), rec("a", 2, 4), rec("a", 3, 7), rec("a", 3, 12), rec("a", 3, 13)},
			[]string{"a@all=[1 4 7]", "a@all=[1 4 7 12 13]"},
		},
		{
			"count windows", on(CountTumbling(2), nil, summed),
			[]step{rec("a", 1, 1), rec("b", 1, 2), rec("a", 2, 4), rec("a", 3, 8), rec("a", 4, 16), rec("a", 4, 32)},
			[]string{"a@all=5", "a@all=24"},
		},
		{
			"sliding count windows", on(CountSliding(3, 2), nil, listed),
			[]step{rec("a", 1, 1), rec("a", 1, 2), rec("a", 1, 3), rec("a", 1, 4), rec("a", 1, 5), rec("a", 1, 6)},
			[]string{"a@all=[1 2]", "a@all=[2 3 4]", "a@all=[4 5 6]"},
		},
		{
			"sliding count windows aggregated", on(CountSliding(3, 2), nil, summed),
			[]step{rec("a", 1, 1), rec("a", 1, 2), rec("a", 1, 3), rec("a", 1, 4)},
			[]string{"a@all=3", "a@all=9"},
		},
		{
			"time evictor", on(Global(), func(w windowed) windowed {
				return w.Trigger(CountTrigger[event](2)).Evict(TimeEvictor[event](5 * ms))
			}, listed),
			[]step{rec("a", 1, 1), rec("a", 5, 2), rec("a", 6, 3), rec("a", 11, 4), rec("a", 3, 5), rec("a", 12, 6)},
			[]string{"a@all=[1 2]", "a@all=[4]", "a@all=[4 6]"},
		},
		{
			"evictor after the function", on(TumblingEventTime(10*ms), func(w windowed) windowed {
				return w.Trigger(CountTrigger[event](2)).Evict(CountEvictor[event](1).AfterFunction())
			}, listed),
			[]step{rec("a", 1, 1), rec("a", 5, 2), rec("a", 6, 3), rec("a", 7, 4), wm(20)},
			[]string{"a@[0,10)=[1 2]", "a@[0,10)=[2 3 4]"},
		},
		{
			"delta evictor, reduced", on(TumblingEventTime(10*ms), func(w windowed) windowed {
				return w.Evict(DeltaEvictor(5, func(v, last event) float64 { return float64(last.value - v.value) }))
			}, reduced),
			[]step{rec("a", 1, 1), rec("a", 5, 7), rec("a", 6, 10), wm(20)},
			[]string{"a@[0,10)=17"},
		},
		{
			"tumbling in processing time", on(TumblingProcessingTime(10*ms), nil, summed),
			[]step{now(3), rec("a", 500, 1), now(8), rec("a", 0, 2), now(9), rec("a", 0, 4), now(15), rec("a", 0, 8), wm(1000), now(30)},
			[]string{"a@[0,10)=3", "a@[0,10)=4", "a@[10,20)=8"},
		},
		{
			"the same with a trigger", on(TumblingProcessingTime(10*ms), trigger(ProcessingTimeTrigger[event]()), summed),
			[]step{now(3), rec("a", 500, 1), now(8), rec("a", 0, 2), now(9), rec("a", 0, 4), now(15), rec("a", 0, 8), wm(1000), now(30)},
			[]string{"a@[0,10)=3", "a@[0,10)=4", "a@[10,20)=8"},
		},
		{
			"sliding in processing time", on(SlidingProcessingTime(4*ms, 2*ms), nil, summedInverse),
			[]step{now(1), rec("a", 0, 1), now(2), rec("a", 0, 2), now(9)},
			[]string{"a@[-2,2)=1", "a@[0,4)=3", "a@[2,6)=2"},
		},
		{
			"sessions in processing time", on(ProcessingTimeSession(5*ms), nil, summed),
			[]step{now(1), rec("a", 0, 1), now(4), rec("a", 0, 2), now(8), now(9), rec("a", 0, 4), now(20)},
			[]string{"a@[1,9)=3", "a@[9,14)=4"},
		},
		{
			"dynamic gaps", func(k *pipeline.Keyed[string, event]) *pipeline.Stream[string] {
				return summed(OnDynamicSessions(k, EventTime, func(e event) time.Duration { return time.Duration(e.value) * ms }))
			},
			[]step{rec("a", 1, 1), rec("a", 2, 8), rec("a", 20, 3), rec("a", 9, 2), wm(40)},
			[]string{"a@[1,11)=11", "a@[20,23)=3"},
		},
		{
			"offset", on(TumblingEventTime(10*ms).Offset(-3*ms), nil, summed),
			[]step{rec("a", 6, 1), rec("a", 7, 2), wm(40)},
			[]string{"a@[-3,7)=1", "a@[7,17)=2"},
		},
		{
			"negative time", on(TumblingEventTime(10*ms), nil, summed),
			[]step{rec("a", -1, 1), wm(-2), rec("a", -10, 2), wm(-1)},
			[]string{"a@[-10,0)=3"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want := perKeyLate(unspacedAll(c.want))
			if got := perKeyLate(play(t, c.job, c.steps, options{})); !slices.Equal(got, want) {
				t.Fatalf("got  %q\nwant %q", got, want)
			}
			checkAll(t, c.job, c.steps, c.want)
		})
	}
}

// perKeyLate is perKey with late records behind the others: they leave by
// another edge, whose place among the rows is not defined.
func perKeyLate(rows []string) []string {
	rows = perKey(rows)
	slices.SortStableFunc(rows, func(a, b string) int { return lateness(a) - lateness(b) })
	return rows
}

func lateness(row string) int {
	if len(row) > 4 && row[:4] == "late" {
		return 1
	}
	return 0
}
