package pipelinetest_test

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state/lsm"
)

type function = pipeline.Function[string, row, string]

// counter counts a key's records and tells the count ten milliseconds after the
// first one and once more for every record. Each mutant breaks one property that
// operators must have; the whole one has none broken.
type counter struct {
	name  string
	fault string
}

func (m counter) build(g *pipeline.Graph, in input) {
	if m.fault == "one subtask" {
		shared := 0
		text(pipeline.Map(in.Stream(g).Codec(rowCodec).Rebalance(), "count", func(r row) string { shared++; return fmt.Sprintf("%s%d", r.key, shared) }))
		return
	}
	keyed := byKey(in, g)
	if m.fault == "pauses" {
		text(pipeline.Operate(keyed, "count", func(s *pipeline.Setup[string], next pipeline.Receiver[string]) pipeline.Operator[row] {
			return stopping(s, next)
		}))
		return
	}
	text(pipeline.Process(keyed, "count", m.function))
}

func (m counter) function(s *pipeline.Setup[string]) function {
	counts := pipeline.Table(s, "count", pipeline.List[int64](codec.Int64{}))
	firsts := pipeline.Table(s, "first", rowCodec)
	memory, timers, total := map[string]int64{}, map[string]int64{}, int64(0)
	f := function{Element: func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
		first, fresh := firsts.Ref(c.Key())
		if fresh {
			*first = rowCodec.Clone(r)
			if m.fault == "clones" {
				*first = r
			}
		}
		var n int64
		switch m.fault {
		case "snapshot":
			key := codec.StringView{}.Clone(c.Key())
			memory[key]++
			n = memory[key]
		case "keys":
			total++
			n = total
		case "changes":
			old, ok := counts.Get(c.Key())
			if !ok {
				counts.Put(c.Key(), []int64{0})
				old, _ = counts.Get(c.Key())
			}
			old[0]++ // behind the table's back
			n = old[0]
		default:
			v, fresh := counts.Ref(c.Key())
			if fresh {
				*v = []int64{0}
			}
			(*v)[0]++
			n = (*v)[0]
		}
		if fresh {
			at := c.Timestamp + 10
			if m.fault == "timers" {
				timers[codec.StringView{}.Clone(c.Key())] = at
			} else {
				c.EventTimer(at)
			}
		}
		if at, ok := timers[c.Key()]; ok && c.Watermark() >= at {
			delete(timers, c.Key())
			emit(fmt.Sprintf("%s@%d", c.Key(), at))
		}
		w := first.word
		emit(fmt.Sprintf("%s%d%s", c.Key(), n, w))
	}}
	if m.fault != "timers" {
		f.EventTimer = func(ts int64, c *pipeline.KeyedCtx[string], emit func(string)) {
			emit(fmt.Sprintf("%s@%d", c.Key(), ts))
		}
	}
	return f
}

// stopping emits a backlog when the watermark comes and, told to pause, forgets
// to go on.
func stopping(s *pipeline.Setup[string], next pipeline.Receiver[string]) pipeline.Operator[row] {
	table := pipeline.Table(s, "waiting", codec.Codec[int64](codec.Int64{}))
	return pipeline.Operator[row]{
		Element: func(r row, c *pipeline.Ctx) {
			n, _ := table.Ref(r.key)
			*n++
		},
		Watermark: func(wm int64) bool {
			table.Each(func(k string, n int64) bool {
				for ; n > 0; n-- {
					if s.Stop() {
						break
					}
					next(fmt.Sprintf("%s%d", k, n), s.Ctx())
				}
				table.Delete(k)
				return true
			})
			return true
		},
		NextEvent: func() int64 { return math.MaxInt64 },
	}
}

// TestMutants makes sure that the table of operators would show an operator that
// is wrong: one broken property each.
func TestMutants(t *testing.T) {
	load := func(in input) steps {
		return steps{
			now(1), in.At(1, row{"key", 1, "first"}, row{"other", 2, "second"}, row{"key", 3, "third"}), wm(1),
			in.At(5, row{"key", 4, "a long word that takes the place of an earlier one"}, row{"other", 5, "x"}), wm(5), wm(15),
			in.At(20, row{"key", 6, "y"}), wm(20),
		}
	}
	const want = "key1first other1second key2first key3first other2second key@11 other@11 key4first"
	for _, m := range []counter{
		{"nothing", ""},
		{"state outside of the snapshot", "snapshot"},
		{"timers outside of the snapshot", "timers"},
		{"state changed behind the table's back", "changes"},
		{"one count for all keys of a subtask", "keys"},
		{"a view kept beyond its push", "clones"},
	} {
		t.Run(m.name, func(t *testing.T) {
			in := pipelinetest.NewInput[row]("in")
			c := pipelinetest.Case{Name: m.name, Steps: load(in), Want: map[string]string{"out": want}, Build: func(g *pipeline.Graph) { m.build(g, in) }}
			if err := c.Check(t, lsm.InMemory(1)); (err == nil) != (m.fault == "") {
				t.Errorf("broken: %s: %v", m.name, err)
			}
		})
	}
	for _, m := range []struct {
		counter
		want string
	}{
		{counter{"a count shared by all subtasks but not kept", "one subtask"}, "key1 other2 key3 key4 other5 key6"},
		{counter{"a pause from which it does not come back", "pauses"}, "key1 key2 other1 key1 other1 key1"},
	} {
		t.Run(m.name, func(t *testing.T) {
			in := pipelinetest.NewInput[row]("in")
			c := pipelinetest.Case{Name: m.name, Steps: load(in), Want: map[string]string{"out": m.want}, Build: func(g *pipeline.Graph) { m.build(g, in) }}
			h := pipelinetest.NewHarness(t, pipelinetest.Options{}, c.Build)
			h.Do(c.Steps...)
			if got := fmt.Sprint(len(h.Texts("out"))); got != "6" {
				t.Errorf("run in the plainest way it gives %v", h.Texts("out"))
			}
			if err := c.Check(t, lsm.InMemory(1)); err == nil {
				t.Errorf("broken and not caught: %s", m.name)
			}
		})
	}
}

// TestMutantsByProperty: for each property that the table holds operators to, one
// that breaks it and nothing else is caught, and by that property.
func TestMutantsByProperty(t *testing.T) {
	type stage = pipeline.Operator[row]
	operator := func(make func(s *pipeline.Setup[string], next pipeline.Receiver[string]) stage) func(input, *pipeline.Graph) {
		return func(in input, g *pipeline.Graph) { text(pipeline.Operate(byKey(in, g), "broken", make)) }
	}
	number := codec.Codec[int64](codec.Int64{})
	many := func(in input) (out steps) { // more keys than a cache on disk holds
		for i := range int64(40) {
			out = append(out, in.At(1, row{fmt.Sprintf("k%02d", i), i, ""}))
		}
		return append(out, wm(1), in.At(2, row{"k00", 0, ""}), wm(2))
	}
	for _, m := range []struct {
		property, want, caught string
		build                  func(input, *pipeline.Graph)
		load                   func(in input) steps
	}{
		{"batch", "a1 a2 a3", "at parallelism 1:", operator(func(_ *pipeline.Setup[string], next pipeline.Receiver[string]) stage {
			var ahead row // what is looked at ahead is taken for what comes
			return stage{
				Large: func() bool { return true }, Warm: func(vs []row) { ahead = vs[len(vs)-1] },
				Element: func(r row, c *pipeline.Ctx) {
					if ahead.key == r.key {
						r = ahead
					}
					next(r.String(), c)
				},
			}
		}), func(in input) steps { return steps{in.At(1, row{"a", 1, ""}, row{"a", 2, ""}, row{"a", 3, ""})} }},
		{"snapshot", "a1 a2 a3", "restarted", operator(func(_ *pipeline.Setup[string], next pipeline.Receiver[string]) stage {
			counts := map[string]int64{}
			return stage{Element: func(r row, c *pipeline.Ctx) {
				key := codec.StringView{}.Clone(r.key)
				counts[key]++
				next(fmt.Sprint(key, counts[key]), c)
			}}
		}), func(in input) steps { return steps{at(in, 1, "a"), wm(1), at(in, 2, "a"), wm(2), at(in, 3, "a")} }},
		{"rescale", "a1 b1 c1 d1 e1 a2 b2 c2 d2 e2", "restarted", operator(func(s *pipeline.Setup[string], next pipeline.Receiver[string]) stage {
			counts := pipeline.Table(s, "count", number)
			counts.HashBy(func(string) uint32 { return 0 }) // every key in one key group
			return stage{Element: func(r row, c *pipeline.Ctx) {
				n, _ := counts.Ref(r.key)
				*n++
				next(fmt.Sprint(codec.StringView{}.Clone(r.key), *n), c)
			}}
		}), func(in input) (out steps) {
			for ts := range int64(2) {
				for _, k := range []string{"a", "b", "c", "d", "e"} {
					out = append(out, at(in, ts+1, k))
				}
				out = append(out, wm(ts+1))
			}
			return out
		}},
		{"backend", "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2", "backend lsm", operator(func(s *pipeline.Setup[string], next pipeline.Receiver[string]) stage {
			counts := pipeline.Table(s, "count", number)
			return stage{Element: func(r row, c *pipeline.Ctx) {
				n, _ := counts.Ref(r.key)
				for i := range 40 { // the pointer is good until the next call only
					counts.Ref(fmt.Sprint("other", i))
				}
				*n++
				next(fmt.Sprint(*n), c)
			}}
		}), many},
		{"engine", "a1", "on ", operator(func(s *pipeline.Setup[string], next pipeline.Receiver[string]) stage {
			seen := pipeline.Table(s, "seen", number)
			return stage{Element: func(r row, c *pipeline.Ctx) {
				last, fresh := seen.Ref(r.key)
				was := *last
				*last = time.Now().UnixMilli() // and not the engine's processing time
				if fresh || *last-was > 300 {
					next(r.String(), c)
				}
			}}
		}), func(in input) steps { return steps{at(in, 1, "a"), wm(1), in.At(2, row{"a", 2, ""}), wm(2)} }},
	} {
		t.Run(m.property, func(t *testing.T) {
			in := pipelinetest.NewInput[row]("in")
			c := pipelinetest.Case{Name: m.property, Steps: m.load(in), Want: map[string]string{"out": m.want}, Build: func(g *pipeline.Graph) { m.build(in, g) }}
			var err error
			if m.property == "engine" {
				// Made-up time, in which the first checks take none.
				synctest.Test(t, func(t *testing.T) { err = c.Check(t, lsm.InMemory(1)) })
				if err != nil {
					t.Fatalf("wrong without an engine: %v", err)
				}
				for i, w := range ways() {
					dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
					synctest.Test(t, func(t *testing.T) {
						if err := w.check(t, c, dir); err == nil || !strings.Contains(err.Error(), m.caught) {
							t.Errorf("not caught: %v", err)
						}
					})
				}
				return
			}
			if err = c.Check(t, lsm.InMemory(1)); err == nil || !strings.Contains(err.Error(), m.caught) {
				t.Errorf("not caught by what it breaks: %v", err)
			}
		})
	}
}
