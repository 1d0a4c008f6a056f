package microbatch

import (
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/join"
	"streamduel/pipeline/window"
)

type stream = *pipeline.Stream[event]

// function passes what it gets, and says how it emits.
func function(s stream, name string, emits pipeline.OutputMode) stream {
	out := pipeline.Process(byKeyOf(s), name, func(*pipeline.Setup[int64]) pipeline.Function[int64, event, event] {
		return pipeline.Function[int64, event, event]{Element: func(e event, _ *pipeline.KeyedCtx[int64], emit func(event)) { emit(e) }}
	}).Codec(eventCodec)
	if emits != "" {
		out = out.Emits(emits)
	}
	return out
}

func mapped(s stream, name string) stream {
	return pipeline.MapWithState(byKeyOf(s), name, eventCodec, pipeline.StateSpec[int64, event, event, event]{
		Function: func(_ int64, e event, _ *pipeline.MappedState[int64, event], emit func(event)) { emit(e) },
	}).Codec(eventCodec)
}

func counting(s stream, name string) stream {
	return pipeline.Aggregate(byKeyOf(s), name, countFunction(), eventCodec).Codec(eventCodec)
}

func windowing(s stream, name string, a window.Assigner) stream {
	return window.AggregateWith(window.On(byKeyOf(s), a), name, window.Count[event](), windowRow).Codec(eventCodec)
}

// TestModeRules is Spark's UnsupportedOperationsSuite where we have the operator;
// its tests are named as they are there. An empty want is supported.
func TestModeRules(t *testing.T) {
	const a, u, c = pipeline.Append, pipeline.Update, pipeline.Complete
	five := window.TumblingEventTime(5 * time.Second)
	timedEvents := func(g *pipeline.Graph, in *topic) stream { return eventsWith(g, in, time.Second) }
	plain := func(g *pipeline.Graph, in *topic) stream {
		return pipeline.From(g, "in", in, decodeEvent).Codec(eventCodec)
	}
	joined := func(g *pipeline.Graph, in *topic) stream {
		other := eventsWith(g, newTopic("other", 1), time.Second)
		return join.Between(byKeyOf(timedEvents(g, in)), byKeyOf(other), "join", join.Interval{Upper: time.Second},
			join.Functions[event, event, event]{Both: func(l, _ event) event { return l }}).Codec(eventCodec)
	}
	type build = func(g *pipeline.Graph, in *topic) stream
	for _, x := range []struct {
		name  string
		build build
		want  map[pipeline.OutputMode]string // by mode; one that is not named is supported
	}{
		{"no aggregation", timedEvents, map[pipeline.OutputMode]string{c: "no operator of the job aggregates"}},
		{"aggregate - streaming aggregations with/without watermark", func(g *pipeline.Graph, in *topic) stream {
			return counting(timedEvents(g, in), "count")
		}, map[pipeline.OutputMode]string{a: `operator "count" aggregates without a window of event time`}},
		{"aggregate - streaming aggregations with watermark in append mode", func(g *pipeline.Graph, in *topic) stream {
			return windowing(timedEvents(g, in), "count", five)
		}, nil},
		{"aggregate - streaming aggregations without watermark in append mode", func(g *pipeline.Graph, in *topic) stream {
			return windowing(plain(g, in), "count", five)
		}, map[pipeline.OutputMode]string{a: "without a watermark"}},
		{"session window in update mode", func(g *pipeline.Graph, in *topic) stream {
			return windowing(timedEvents(g, in), "count", window.EventTimeSession(time.Second))
		}, map[pipeline.OutputMode]string{u: "aggregates sessions"}},
		{"windows of processing time", func(g *pipeline.Graph, in *topic) stream {
			return windowing(plain(g, in), "count", window.TumblingProcessingTime(time.Second))
		}, map[pipeline.OutputMode]string{a: "without a window of event time"}},
		{"ours: allowed lateness", func(g *pipeline.Graph, in *topic) stream {
			w := window.On(byKeyOf(timedEvents(g, in)), five).AllowedLateness(time.Second)
			return window.AggregateWith(w, "count", window.Count[event](), windowRow).Codec(eventCodec)
		}, map[pipeline.OutputMode]string{a: "in place of the allowed lateness"}},
		{"ours: a trigger", func(g *pipeline.Graph, in *topic) stream {
			w := window.On(byKeyOf(timedEvents(g, in)), five).Trigger(window.CountTrigger[event](3))
			return window.AggregateWith(w, "count", window.Count[event](), windowRow).Codec(eventCodec)
		}, map[pipeline.OutputMode]string{a: "a trigger, an evictor or a count", u: "a trigger, an evictor or a count", c: "a trigger, an evictor or a count"}},
		{"aggregate - multiple streaming aggregations", func(g *pipeline.Graph, in *topic) stream {
			return windowing(windowing(timedEvents(g, in), "first", five), "second", window.TumblingEventTime(time.Minute))
		}, map[pipeline.OutputMode]string{u: `operator "second" keeps state behind the aggregation "first"`, c: `operator "second" keeps state behind`}},
		{"flatMapGroupsWithState(Update) on streaming relation without aggregation", func(g *pipeline.Graph, in *topic) stream {
			return function(timedEvents(g, in), "f", u)
		}, map[pipeline.OutputMode]string{a: "emits by mode update", c: "no operator of the job aggregates"}},
		{"flatMapGroupsWithState(Update) on streaming relation with aggregation", func(g *pipeline.Graph, in *topic) stream {
			return function(windowing(timedEvents(g, in), "count", five), "f", u)
		}, map[pipeline.OutputMode]string{a: "beside the aggregation", u: "beside the aggregation", c: "beside the aggregation"}},
		{"flatMapGroupsWithState(Append) on streaming relation without aggregation", func(g *pipeline.Graph, in *topic) stream {
			return function(timedEvents(g, in), "f", a)
		}, map[pipeline.OutputMode]string{u: "emits by mode append", c: "no operator of the job aggregates"}},
		{"flatMapGroupsWithState(Append) on streaming relation before aggregation", func(g *pipeline.Graph, in *topic) stream {
			return windowing(function(timedEvents(g, in), "f", a), "count", five)
		}, nil},
		{"flatMapGroupsWithState(Append) on streaming relation after aggregation", func(g *pipeline.Graph, in *topic) stream {
			return function(windowing(timedEvents(g, in), "count", five), "f", a)
		}, map[pipeline.OutputMode]string{u: `operator "f" keeps state behind the aggregation "count"`, c: `operator "f" keeps state behind`}},
		{"multiple flatMapGroupsWithStates on streaming relation and all are in append mode", func(g *pipeline.Graph, in *topic) stream {
			return function(function(timedEvents(g, in), "f", a), "g", a)
		}, map[pipeline.OutputMode]string{u: `"f" and "g" say what they emit`, c: "no operator of the job aggregates"}},
		{"multiple flatMapGroupsWithStates on s streaming relation but some are not in append mode", func(g *pipeline.Graph, in *topic) stream {
			return function(function(timedEvents(g, in), "f", a), "g", u)
		}, map[pipeline.OutputMode]string{a: `"f" and "g" say what they emit`, u: `"f" and "g" say what they emit`, c: "no operator of the job aggregates"}},
		{"transformWithState", func(g *pipeline.Graph, in *topic) stream { return function(timedEvents(g, in), "f", "") },
			map[pipeline.OutputMode]string{c: "no operator of the job aggregates"}},
		{"mapGroupsWithState on streaming relation without aggregation", func(g *pipeline.Graph, in *topic) stream {
			return mapped(timedEvents(g, in), "m")
		}, map[pipeline.OutputMode]string{a: `operator "m" is a mapWithState`, c: "no operator of the job aggregates"}},
		{"mapGroupsWithState on streaming relation after aggregation", func(g *pipeline.Graph, in *topic) stream {
			return mapped(windowing(timedEvents(g, in), "count", five), "m")
		}, map[pipeline.OutputMode]string{a: "is a mapWithState", u: `operator "m" keeps state behind`, c: "is a mapWithState"}},
		{"multiple mapGroupsWithStates on streaming relation", func(g *pipeline.Graph, in *topic) stream {
			return mapped(mapped(timedEvents(g, in), "m"), "n")
		}, map[pipeline.OutputMode]string{a: "is a mapWithState", u: `operator "n" is a second mapWithState beside "m"`, c: "no operator of the job aggregates"}},
		{"mixing mapGroupsWithStates and flatMapGroupsWithStates on streaming relation", func(g *pipeline.Graph, in *topic) stream {
			return mapped(function(timedEvents(g, in), "f", u), "m")
		}, map[pipeline.OutputMode]string{a: "takes no query with both", u: "takes no query with both", c: "no operator of the job aggregates"}},
		{"Deduplicate on streaming relation before aggregation", func(g *pipeline.Graph, in *topic) stream {
			return windowing(pipeline.Dedupe(byKeyOf(timedEvents(g, in)), "d", time.Second, pipeline.EventTimeDomain), "count", five)
		}, nil},
		{"aggregation followed by dedup (with event-time)", func(g *pipeline.Graph, in *topic) stream {
			return pipeline.Dedupe(byKeyOf(windowing(timedEvents(g, in), "count", five)), "d", time.Second, pipeline.EventTimeDomain)
		}, map[pipeline.OutputMode]string{u: `operator "d" keeps state behind`, c: `operator "d" keeps state behind`}},
		{"aggregation followed by dedup (without event-time)", func(g *pipeline.Graph, in *topic) stream {
			return pipeline.Dedupe(byKeyOf(windowing(timedEvents(g, in), "count", five)), "d", 0, pipeline.EventTimeDomain)
		}, nil},
		{"inner join", joined, map[pipeline.OutputMode]string{u: `operator "join" joins two streams`, c: "no operator of the job aggregates"}},
		{"join, then aggregation", func(g *pipeline.Graph, in *topic) stream { return windowing(joined(g, in), "count", five) },
			map[pipeline.OutputMode]string{u: "joins two streams", c: "joins two streams"}},
		{"ours: updateStateByKey", func(g *pipeline.Graph, in *topic) stream {
			out := pipeline.UpdateStateByKey(byKeyOf(timedEvents(g, in)), "all", eventCodec, func(_ int64, _ []event, s event, _ bool) (event, bool) { return s, true })
			return pipeline.Map(out, "state", func(s pipeline.KeyState[int64, event]) event { return s.State })
		}, map[pipeline.OutputMode]string{a: "is an updateStateByKey", u: "is an updateStateByKey"}},
	} {
		for _, mode := range []pipeline.OutputMode{a, u, c} {
			t.Run(x.name+"/"+string(mode), func(t *testing.T) {
				_, err := planOf(mode, nil, x.build, nil)
				switch want := x.want[mode]; {
				case want == "" && err != nil:
					t.Errorf("refused: %v", err)
				case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), string(mode))):
					t.Errorf("%v\nwant %q and the mode", err, want)
				}
			})
		}
		t.Run(x.name+"/each-input", func(t *testing.T) {
			if _, err := planOf(pipeline.EachInput, nil, x.build, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestModeRefusals: settings and sinks that cannot take a mode, and a job that is
// refused where it starts.
func TestModeRefusals(t *testing.T) {
	count := countByValue["aggregate"]
	for _, x := range []struct {
		mode pipeline.OutputMode
		edit func(*Config)
		sink connectors.Sink
		want string
	}{
		{"sometimes", nil, nil, "outputMode: one of each-input, append, update, complete"},
		{pipeline.Append, func(c *Config) { c.Trigger, c.Interval, c.Cores = RealTime, Duration(10*time.Second), 8 }, nil, "outputMode: update"},
		{pipeline.Update, func(c *Config) {
			c.Trigger, c.Interval, c.Cores, c.RealTime.Stateful = RealTime, Duration(10*time.Second), 8, true
		}, nil, ""},
		{pipeline.Update, nil, &appendOnly{}, `sink`},
		{pipeline.Complete, nil, &appendOnly{}, "only takes rows that do not change"},
		{pipeline.EachInput, nil, &appendOnly{}, ""},
	} {
		_, err := planOf(x.mode, x.edit, count, x.sink)
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: %v, want %q", x.mode, err, x.want)
		}
	}
	b := modeBed(t, pipeline.Append, true, count)
	if _, err := b.tryStart("", 0); err == nil || !strings.Contains(err.Error(), `operator "count" aggregates without a window`) {
		t.Errorf("start: %v", err)
	}
}

// TestModePlan: the plan says the mode and where records are combined.
func TestModePlan(t *testing.T) {
	for _, x := range []struct {
		mode     pipeline.OutputMode
		off      bool
		combined bool
	}{{pipeline.Update, false, true}, {pipeline.Complete, false, true}, {pipeline.Update, true, false}, {pipeline.EachInput, false, false}} {
		p, err := planOf(x.mode, func(c *Config) { c.MapSideCombine = !x.off }, countByValue["aggregate"], nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Stages[1].Inputs[0].Combined; got != x.combined {
			t.Errorf("%s, off %v: combined %v", x.mode, x.off, got)
		}
		if want := strings.TrimPrefix(string(x.mode), "each-input"); p.OutputMode != want {
			t.Errorf("%s: the plan says %q", x.mode, p.OutputMode)
		}
	}
}
