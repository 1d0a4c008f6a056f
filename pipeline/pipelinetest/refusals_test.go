package pipelinetest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/pipeline/join"
	"streamduel/pipeline/pattern"
	"streamduel/pipeline/pipelinetest"
)

// bare has no codec.
type bare struct{ _ int64 }

// TestRefusals: what is wrong is refused before the job runs, by the operator's
// name.
func TestRefusals(t *testing.T) {
	in, other := pipelinetest.NewInput[row]("in"), pipelinetest.NewInput[row]("other")
	pairs := join.Functions[row, row, string]{Both: both}
	match := pattern.Functions[row, string]{Match: sequence}
	ask := func(context.Context, row) ([]row, error) { return nil, nil }
	for _, c := range []struct {
		want  string
		build func(a, b *pipeline.Keyed[string, row])
	}{
		{`operator "x": a time to live of -1ns`, func(a, _ *pipeline.Keyed[string, row]) { pipeline.Dedupe(a, "x", -1, pipeline.EventTimeDomain) }},
		{`operator "x": time domain "lunar"`, func(a, _ *pipeline.Keyed[string, row]) { pipeline.Dedupe(a, "x", 0, "lunar") }},
		{`operator "x": the best 0`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.TopN(a, "x", 0, func(a, b row) bool { return false })
		}},
		{`operator "x": its aggregate function needs Add and Result`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.Aggregate(a, "x", pipeline.AggregateFunction[row, sum, string]{}, sumCodec)
		}},
		{`operator "x": updateStateByKey needs its function`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.UpdateStateByKey[string, row, int64](a, "x", nil, nil)
		}},
		{`operator "x": mapWithState needs its function`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.MapWithState(a, "x", nil, pipeline.StateSpec[string, row, int64, string]{})
		}},
		{`operator "x": a timeout of 1ns`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.MapWithState(a, "x", nil, pipeline.StateSpec[string, row, int64, string]{Timeout: 1, Function: func(string, row, *pipeline.MappedState[string, int64], func(string)) {}})
		}},
		{`operator "x": an aggregate in two stages needs Merge`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.AggregateTwoStage(a, "x", pipeline.TwoStage{Salts: 2, Interval: ms}, pipeline.AggregateFunction[row, sum, string]{Add: mean.Add, Result: mean.Result}, sumCodec)
		}},
		{`operator "x": 1 salts`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.AggregateTwoStage(a, "x", pipeline.TwoStage{Salts: 1, Interval: ms}, mean, sumCodec)
		}},
		{`operator "x": a part goes on after at least 1 ms`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.AggregateTwoStage(a, "x", pipeline.TwoStage{Salts: 2}, mean, sumCodec)
		}},
		{`PartitionCustom has no function`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.Map(a.Stream().PartitionCustom(nil), "x", row.String)
		}},
		{`their streams are connected by keys of different encodings, string/1 and other/1`, func(a, b *pipeline.Keyed[string, row]) {
			s := codec.Struct("other/1", codec.String{}.Append, codec.String{}.Decode, nil)
			pipeline.Connect(a, b.KeyCodec(s))
		}},
		{`operator "x": the interval from 1ms to 0s is empty`, func(a, b *pipeline.Keyed[string, row]) {
			join.Between(a, b, "x", join.Interval{Lower: ms}, pairs)
		}},
		{`operator "x": the interval from 0s to 0s is empty`, func(a, b *pipeline.Keyed[string, row]) {
			join.Between(a, b, "x", join.Interval{LowerExclusive: true}, pairs)
		}},
		{`are not whole milliseconds`, func(a, b *pipeline.Keyed[string, row]) {
			join.Between(a, b, "x", join.Interval{Upper: time.Microsecond}, pairs)
		}},
		{`operator "x": an interval join needs the function Both`, func(a, b *pipeline.Keyed[string, row]) {
			join.Between(a, b, "x", join.Interval{}, join.Functions[row, row, string]{})
		}},
		{`operator "x": a join with a versioned table has the functions Both and`, func(a, b *pipeline.Keyed[string, row]) {
			join.AsOf(a, b, "x", nil, join.Functions[row, row, string]{Both: both, Right: onlyRight})
		}},
		{`operator "x": a time to live of 1ns`, func(a, b *pipeline.Keyed[string, row]) { join.Regular(a, b, "x", 1, both) }},
		{`operator "x": a join keeps rows of both sides: set their codecs`, func(a, _ *pipeline.Keyed[string, row]) {
			none := pipeline.KeyBy(pipeline.Map(a.Stream(), "bare", func(row) bare { return bare{} }), func(bare) string { return "" })
			join.Regular(a, none, "x", 0, func(row, bare) string { return "" })
		}},
		{`operator "x": its pattern: the last step b must not follow and needs Within`, func(a, _ *pipeline.Keyed[string, row]) {
			pattern.Match(a, "x", pattern.Begin("a", word("a")).NotFollowedBy("b", word("b")), match)
		}},
		{`operator "x": its pattern: two steps are called a`, func(a, _ *pipeline.Keyed[string, row]) {
			pattern.Match(a, "x", pattern.Begin("a", word("a")).Next("a", word("b")), match)
		}},
		{`operator "x": its pattern: within 0s`, func(a, _ *pipeline.Keyed[string, row]) {
			pattern.Match(a, "x", pattern.Begin("a", word("a")).Within(0), match)
		}},
		{`operator "x": its pattern: a step is to be taken fewer than one time`, func(a, _ *pipeline.Keyed[string, row]) {
			pattern.Match(a, "x", pattern.Begin("a", word("a")).Times(0), match)
		}},
		{`operator "x": its pattern: the step b cannot be repeated`, func(a, _ *pipeline.Keyed[string, row]) {
			pattern.Match(a, "x", pattern.Begin("a", word("a")).NotNext("b", word("b")).Times(2).Within(ms), match)
		}},
		{`operator "x": its pattern never times out`, func(a, _ *pipeline.Keyed[string, row]) {
			pattern.Match(a, "x", pattern.Begin("a", word("a")), pattern.Functions[row, string]{Match: sequence, TimedOut: sequence})
		}},
		{`operator "x": timeout -1s: 0s (none) or more is allowed`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.AsyncMap(a.Stream(), "x", pipeline.Async{Timeout: -time.Second}, ask, nil)
		}},
		{`operator "x": capacity -1: 0 (for 100 records under way) or more is allowed`, func(a, _ *pipeline.Keyed[string, row]) {
			pipeline.AsyncMap(a.Stream(), "x", pipeline.Async{Capacity: -1}, ask, nil)
		}},
		{`operator "x": records of type pipelinetest_test.bare under way go into the snapshot and have no codec`, func(a, _ *pipeline.Keyed[string, row]) {
			none := pipeline.Map(a.Stream(), "bare", func(row) bare { return bare{} })
			pipeline.AsyncMap(none, "x", pipeline.Async{}, func(context.Context, bare) ([]row, error) { return nil, nil }, nil)
		}},
	} {
		g := pipeline.New("test")
		a, b := byKey(in, g), byKey(other, g)
		text(a.Stream())
		c.build(a, b)
		if _, err := pipelinetest.Build(g, pipelinetest.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

// TestFailures: what only shows when the job runs fails it by the operator's
// name.
func TestFailures(t *testing.T) {
	untimed := func(g *pipeline.Graph) *pipeline.Keyed[string, row] {
		s := pipeline.From(g, "untimed", pipelinetest.Source{Name: "untimed"}, func(*connectors.Record) (row, error) { return row{"a", 1, "a"}, nil })
		return pipeline.KeyBy(s.Codec(rowCodec), keyOf)
	}
	var kept *pipeline.BroadcastCtx
	for _, c := range []struct {
		want  string
		build func(g *pipeline.Graph)
	}{
		{`operator "x": its partitioner returned 7 of 1 partitions`, func(g *pipeline.Graph) {
			pipelinetest.Text(pipeline.Map(untimed(g).Stream().PartitionCustom(func(row, int) int { return 7 }), "x", row.String), "out")
		}},
		{`operator "x" works by event time, and its input has none`, func(g *pipeline.Graph) {
			text(pipeline.Dedupe(untimed(g), "x", ms, pipeline.EventTimeDomain))
		}},
		{`operator "x" joins by event time, and its input has none`, func(g *pipeline.Graph) {
			k := untimed(g)
			text(join.Between(k, k, "x", join.Interval{}, join.Functions[row, row, string]{Both: both}))
		}},
		{`operator "x": its input has no event time`, func(g *pipeline.Graph) {
			text(pattern.Match(untimed(g), "x", pattern.Begin("a", word("a")), pattern.Functions[row, string]{Match: sequence}))
		}},
		{`operator "x": broadcast state is written outside of its broadcast side`, func(g *pipeline.Graph) {
			k := untimed(g)
			text(pipeline.ProcessBroadcast(k, k.Stream(), "x", func(s *pipeline.Setup[string]) pipeline.BroadcastFunction[string, row, row, string] {
				rules := pipeline.Broadcasted(s, "rules", codec.Codec[string](codec.String{}), rowCodec)
				return pipeline.BroadcastFunction[string, row, row, string]{
					Broadcast: func(r row, c *pipeline.BroadcastCtx, _ func(string)) { kept = c },
					Element: func(r row, _ *pipeline.KeyedCtx[string], _ func(string)) {
						if kept != nil {
							rules.Put(kept, "a", r)
						}
					},
				}
			}))
		}},
	} {
		g := pipeline.New("test")
		c.build(g)
		h := pipelinetest.New(t, g, pipelinetest.Options{})
		var err error
		for range 2 {
			if err == nil {
				err = h.Push("untimed", &connectors.Batch{Split: pipelinetest.Split(0), Records: make([]connectors.Record, 2)})
			}
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}
