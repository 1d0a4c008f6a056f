package pipelinetest_test

import (
	"strings"

	"streamduel/pipeline"
	"streamduel/pipeline/pattern"
	"streamduel/pipeline/pipelinetest"
)

// word tells whether a row has a word.
func word(w string) func(row) bool { return func(r row) bool { return r.word == w } }

// letters is a load in which row i of a key has the i-th letter of s and the
// event time 10·i, read a little out of order.
func letters(in input, key, s string) (out steps) {
	for i := 0; i < len(s); i += 2 {
		for _, k := range []int{i + 1, i} {
			if k < len(s) {
				out = append(out, in.At(int64(10*(k+1)), row{key, int64(k + 1), s[k : k+1]}))
			}
		}
		out = append(out, wm(int64(10*(i+1))))
	}
	return append(out, wm(10_000))
}

func sequence(s *pattern.Sequence[row], emit func(string)) {
	var words []string
	for _, r := range s.All() {
		words = append(words, strings.TrimPrefix(r.String(), r.key))
	}
	emit(strings.Join(words, ""))
}

func patterns() (all []pipelinetest.Case) {
	a := pattern.Begin("a", word("a"))
	for _, c := range []struct {
		name, in, want string
		p              *pattern.Pattern[row]
	}{
		{"one record", "abca", "1a 4a", a},
		{"next", "abaxbab", "1a2b 6a7b", a.Next("b", word("b"))},
		{"followedBy", "axbab", "1a3b 4a5b", a.FollowedBy("b", word("b"))},
		{"followedBy overlapping", "aab", "1a3b 2a3b", a.FollowedBy("b", word("b"))},
		{"three steps", "axbxcb", "1a3b5c", a.FollowedBy("b", word("b")).FollowedBy("c", word("c"))},
		{"next behind followedBy", "axbcabxc", "1a3b4c", a.FollowedBy("b", word("b")).Next("c", word("c"))},
		{"times", "axaaa", "1a3a4a 3a4a5a", a.Times(3)},
		{"times consecutive", "aaxaaa", "4a5a6a", a.TimesConsecutive(3)},
		{"times and more", "aaxab", "1a2a5b 2a4a5b", a.Times(2).FollowedBy("b", word("b"))},
		{"notNext", "abcaxc", "4a6c", a.NotNext("b", word("b")).FollowedBy("c", word("c"))},
		{"notNext by the next", "acabc", "1a2c", a.NotNext("b", word("b")).Next("c", word("c"))},
		{"notFollowedBy", "axcaxbc", "1a3c", a.NotFollowedBy("b", word("b")).FollowedBy("c", word("c"))},
		{"notFollowedBy at the end", "abaxxxxab", "3a", a.NotFollowedBy("b", word("b")).Within(30 * ms)},
		{"notNext at the end", "abaxa", "3a", a.NotNext("b", word("b"))},
		{"notNext at the end, in time", "abaxa", "3a timeout(5a)", a.NotNext("b", word("b")).Within(30 * ms)},
		{"notNext, then notFollowedBy", "aaxxxxab", "2a", a.NotNext("c", word("a")).NotFollowedBy("b", word("b")).Within(30 * ms)},
		{"within", "axbaxxb", "1a3b timeout(4a)", a.FollowedBy("b", word("b")).Within(30 * ms)},
		{"skip past the last", "aaabab", "1a4b 5a6b", a.FollowedBy("b", word("b")).SkipPastLast()},
		{"a condition on what came before", "axyab", "1a5b 4a5b", a.FollowedBy("later", word("")).Given(func(r row, so *pattern.Sequence[row]) bool {
			return r.word == "b" && so.Of("a")[0].n < r.n && len(so.All()) == 1
		})},
	} {
		f := pattern.Functions[row, string]{Match: sequence}
		if strings.Contains(c.want, "timeout") {
			f.TimedOut = func(s *pattern.Sequence[row], emit func(string)) {
				sequence(s, func(v string) { emit("timeout(" + v + ")") })
			}
		}
		all = append(all, one("pattern, "+c.name, c.want, func(in input, g *pipeline.Graph) {
			text(pattern.Match(byKey(in, g), "match", c.p, f))
		}, func(in input) steps { return letters(in, "k", c.in) }))
	}
	late := one("pattern, late records and keys", "1a3b 1a2b", func(in input, g *pipeline.Graph) {
		m := pattern.Match(byKey(in, g), "match", a.FollowedBy("b", word("b")), pattern.Functions[row, string]{Match: sequence})
		text(m)
		pipelinetest.Text(pipeline.Side(m, pattern.Late[row]()).Codec(rowCodec), "late")
	}, func(in input) steps {
		return steps{
			in.At(10, row{"k", 1, "a"}, row{"l", 1, "a"}), wm(20), in.At(20, row{"k", 2, "b"}), in.At(30, row{"k", 3, "b"}), wm(25),
			in.At(26, row{"l", 2, "b"}), wm(100),
		}
	})
	late.Want["late"] = "k2b"
	return append(all, late)
}
