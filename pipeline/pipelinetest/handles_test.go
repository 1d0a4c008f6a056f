package pipelinetest_test

import (
	"fmt"
	"slices"
	"strings"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state"
)

// handles are functions with each kind of keyed state, in the table of operators:
// what they keep outlives a restore at every parallelism.
func handles() []pipelinetest.Case {
	ints := codec.Codec[int64](codec.Int64{})
	words := codec.Codec[string](codec.StringView{}) // rows are views
	process := func(name, want string, make func(s *pipeline.Setup[string]) func(r row, c *pipeline.KeyedCtx[string], emit func(string)), steps func(in input) steps) pipelinetest.Case {
		return one(name, want, func(in input, g *pipeline.Graph) {
			text(pipeline.Process(byKey(in, g), "keep", func(s *pipeline.Setup[string]) pipeline.Function[string, row, string] {
				return pipeline.Function[string, row, string]{Element: make(s)}
			}))
		}, steps)
	}
	// aged asks for what is kept at times around the end of a time to live of 10 ms.
	aged := func(in input) steps {
		return steps{
			now(100), in.At(1, row{"a", 3, "put"}), now(105), in.At(2, row{"a", 0, "get"}),
			now(109), in.At(3, row{"a", 0, "get"}), now(110), in.At(4, row{"a", 0, "get"}),
			now(114), in.At(5, row{"a", 0, "get"}), now(124), in.At(6, row{"a", 0, "get"}),
		}
	}
	ttl := func(update state.UpdateOn) pipeline.TTL { return pipeline.TTL{After: 10 * ms, Update: update} }
	value := func(update state.UpdateOn) func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
		return func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
			v := pipeline.ValueState(s, "value", ints, ttl(update))
			return func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
				if r.word == "put" {
					v.Set(c.Key(), r.n)
				} else {
					n, ok := v.Get(c.Key())
					emit(fmt.Sprint(n, ok, c.ProcessingTime()))
				}
			}
		}
	}
	fields := func(update state.UpdateOn) func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
		return func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
			m := pipeline.MapState(s, "map", words, ints, ttl(update))
			return func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
				if r.word == "put" {
					m.Put(c.Key(), "x", r.n)
					return
				}
				m.Each(c.Key(), func(f string, n int64) bool {
					emit(fmt.Sprint(f, n, "@", c.ProcessingTime()))
					return true
				})
			}
		}
	}
	noSpaces := func(s string) string { return strings.ReplaceAll(s, " ", ",") }
	return []pipelinetest.Case{
		process("value state, aged by writes", noSpacesIn("3 true 105|3 true 109|0 false 110|0 false 114|0 false 124"), spaceless(value(state.OnWrite)), aged),
		process("value state, aged by reads", noSpacesIn("3 true 105|3 true 109|3 true 110|3 true 114|0 false 124"), spaceless(value(state.OnReadAndWrite)), aged),
		process("map state, aged by writes", "x3@105 x3@109", spaceless(fields(state.OnWrite)), aged),
		process("map state, aged by reads", "x3@105 x3@109 x3@110 x3@114", spaceless(fields(state.OnReadAndWrite)), aged),
		process("list state", "a[x] a[x,y] b[z] a[x,y,u] a[x,y,u,v] a[x,y,u,v,w] b[z,w]", func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
			l := pipeline.ListState(s, "list", words)
			return func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
				l.Add(c.Key(), r.word)
				emit(noSpaces(fmt.Sprint(c.Key(), l.Get(c.Key()))))
			}
		}, some),
		process("map state", "a:x=3 a:x=3,y=5 b:z=7 a:u=1,x=3,y=5 a:u=1,v=1,x=3,y=5 a:u=1,v=1,w=9,x=3,y=5 b:w=7,z=7", func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
			m := pipeline.MapState(s, "map", words, ints)
			return func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
				m.Put(c.Key(), r.word, r.n)
				var all []string
				m.Each(c.Key(), func(f string, n int64) bool { all = append(all, fmt.Sprint(f, "=", n)); return true })
				slices.Sort(all)
				emit(c.Key() + ":" + strings.Join(all, ","))
			}
		}, some),
		process("reducing and aggregating state", "3/x 8/xy 7/z 9/xyu 10/xyuv 19/xyuvw 14/zw", func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
			sum := pipeline.ReducingState(s, "sum", ints, func(a, b int64) int64 { return a + b })
			all := pipeline.AggregatingState(s, "words", words, func(acc *string, w string) { *acc += strings.Clone(w) }, func(acc string) string { return acc })
			return func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
				all.Add(c.Key(), r.word)
				w, _ := all.Get(c.Key())
				emit(fmt.Sprint(sum.Add(c.Key(), r.n), "/", w))
			}
		}, some),
	}
}

func noSpacesIn(rows string) string {
	return strings.ReplaceAll(strings.ReplaceAll(rows, " ", ","), "|", " ")
}

// spaceless writes a function's rows without spaces, which separate rows.
func spaceless(make func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string))) func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
	return func(s *pipeline.Setup[string]) func(row, *pipeline.KeyedCtx[string], func(string)) {
		f := make(s)
		return func(r row, c *pipeline.KeyedCtx[string], emit func(string)) {
			f(r, c, func(v string) { emit(strings.ReplaceAll(v, " ", ",")) })
		}
	}
}
