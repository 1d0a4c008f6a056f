package pipelinetest_test

import (
	"fmt"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/pipeline/join"
	"streamduel/pipeline/pipelinetest"
	"streamduel/pipeline/window"
)

// partners are join functions that write a pair as "a1+a2", and a row without a
// partner as "a1+" or "+a2".
var (
	both      = func(l, r row) string { return l.String() + "+" + r.String() }
	onlyLeft  = func(l row) string { return l.String() + "+" }
	onlyRight = func(r row) string { return "+" + r.String() }
)

func at(in input, ts int64, key string) pipelinetest.Step { return in.At(ts, row{key, ts, ""}) }

func joins() (all []pipelinetest.Case) {
	// Right rows from 10 before to 5 after a left one.
	interval := func(a, b input) steps {
		return steps{
			at(a, 100, "a"), at(b, 90, "a"), at(b, 89, "a"), at(b, 105, "a"), at(b, 106, "a"), at(b, 100, "b"),
			wm(99), at(a, 110, "a"), wm(105), at(a, 103, "a"), at(b, 111, "a"), wm(110), at(a, 112, "a"), at(b, 104, "a"),
			at(a, 130, "c"), at(a, 150, "d"), wm(120), at(b, 121, "c"), wm(200), at(b, 201, "a"), at(a, 202, "a"), wm(300),
		}
	}
	inner := "a100+a90 a100+a105 a110+a105 a110+a106 a110+a111 a112+a105 a112+a106 a112+a111 c130+c121 a202+a201"
	for _, c := range []struct {
		name, want string
		f          join.Functions[row, row, string]
	}{
		{"interval join", inner, join.Functions[row, row, string]{Both: both}},
		{"interval join, left outer", inner + " d150+", join.Functions[row, row, string]{Both: both, Left: onlyLeft}},
		{"interval join, right outer", inner + " +a89 +b100", join.Functions[row, row, string]{Both: both, Right: onlyRight}},
		{"interval join, full outer", inner + " d150+ +a89 +b100", join.Functions[row, row, string]{Both: both, Left: onlyLeft, Right: onlyRight}},
	} {
		all = append(all, two(c.name, c.want, func(a, b input, g *pipeline.Graph) {
			j := join.Between(byKey(a, g), byKey(b, g), "join", join.Interval{Lower: -10 * ms, Upper: 5 * ms}, c.f)
			text(j)
			pipelinetest.Text(pipeline.Side(j, join.LateLeft[row]()).Codec(rowCodec), "late left")
			pipelinetest.Text(pipeline.Side(j, join.LateRight[row]()).Codec(rowCodec), "late right")
		}, interval))
		all[len(all)-1].Want["late left"] = "a103"
		all[len(all)-1].Want["late right"] = "a104"
	}
	// When each row without a partner is told of, and with what time.
	all = append(all, two("interval join, times", "1+2@2 7+@7 +8@10 9+@9 +9@11", func(a, b input, g *pipeline.Graph) {
		j := join.Between(byKey(a, g), byKey(b, g), "join", join.Interval{Lower: -2 * ms, Upper: 0, UpperExclusive: true}, join.Functions[row, row, [2]int64]{
			Both:  func(l, r row) [2]int64 { return [2]int64{l.n, r.n} },
			Left:  func(l row) [2]int64 { return [2]int64{l.n, -1} },
			Right: func(r row) [2]int64 { return [2]int64{-1, r.n} },
		}).Codec(pairsCodec)
		stamped := pipeline.Process(pipeline.KeyBy(j, func(v [2]int64) int64 { return v[0] }), "times", func(*pipeline.Setup[int64]) pipeline.Function[int64, [2]int64, string] {
			return pipeline.Function[int64, [2]int64, string]{Element: func(v [2]int64, c *pipeline.KeyedCtx[int64], emit func(string)) {
				l, r := fmt.Sprint(v[0]), fmt.Sprint(v[1])
				if v[0] < 0 {
					l = ""
				}
				if v[1] < 0 {
					r = ""
				}
				emit(fmt.Sprintf("%s+%s@%d", l, r, c.Timestamp))
			}}
		})
		text(stamped)
	}, func(a, b input) steps {
		return steps{a.At(2, row{"a", 1, ""}), b.At(1, row{"a", 2, ""}), wm(3), a.At(7, row{"a", 7, ""}), b.At(8, row{"a", 8, ""}), wm(7), wm(8), a.At(9, row{"b", 9, ""}), b.At(9, row{"b", 9, ""}), wm(100)}
	}))
	all = append(all, asOf()...)
	return append(all, windowed()...)
}

var pairsCodec = codec.Struct("pairs/1", func(d []byte, v [2]int64) []byte {
	return codec.Int64{}.Append(codec.Int64{}.Append(d, v[0]), v[1])
}, func(b []byte) (v [2]int64, n int, err error) {
	if len(b) < 16 {
		return v, 0, codec.ErrShort
	}
	v[0], _, _ = codec.Int64{}.Decode(b)
	v[1], _, _ = codec.Int64{}.Decode(b[8:])
	return v, 16, nil
}, nil)

func asOf() []pipelinetest.Case {
	f := join.Functions[row, row, string]{Both: both, Left: onlyLeft}
	c := two("join with a versioned table", "a5+ a15+a12 a20+a20 a25+a20 a35+ a40+a40x a41+a40x a51+a40x b51+", func(a, b input, g *pipeline.Graph) {
		j := join.AsOf(byKey(a, g), byKey(b, g), "as of", func(r row) bool { return r.word == "gone" }, f)
		text(j)
		pipelinetest.Text(pipeline.Side(j, join.LateLeft[row]()).Codec(rowCodec), "late left")
	}, func(a, b input) steps {
		return steps{
			at(b, 10, "a"), at(a, 15, "a"), at(a, 5, "a"), wm(4), at(b, 12, "a"), wm(16),
			at(b, 20, "a"), at(a, 25, "a"), at(a, 20, "a"), wm(25),
			b.At(30, row{"a", 30, "gone"}), at(a, 35, "a"), wm(36),
			at(b, 40, "a"), b.At(40, row{"a", 40, "x"}), at(a, 41, "a"), at(a, 40, "a"), wm(50),
			at(a, 45, "a"), at(b, 39, "a"), at(a, 51, "a"), at(a, 51, "b"), wm(60),
		}
	})
	c.Want["late left"] = "a45"
	return []pipelinetest.Case{c, two("regular join", "a3+a5 a3+a7 a4+a7 a4+a9", func(a, b input, g *pipeline.Graph) {
		text(join.Regular(byKey(a, g), byKey(b, g), "regular", 10*ms, both))
	}, func(a, b input) steps {
		return steps{
			now(1), at(a, 3, "a"), now(2), at(b, 5, "a"), at(b, 5, "b"), now(10), at(b, 7, "a"), now(11), at(b, 9, "a"), now(12), at(a, 4, "a"), now(100), at(a, 6, "a"), at(b, 6, "b"),
		}
	}), two("regular join for ever", "a3+a5 a6+a5 a3+a7 a6+a7", func(a, b input, g *pipeline.Graph) {
		text(join.Regular(byKey(a, g), byKey(b, g), "regular", 0, both))
	}, func(a, b input) steps {
		return steps{at(a, 3, "a"), now(2), at(b, 5, "a"), now(1000), at(a, 6, "a"), wm(1000), at(b, 7, "a")}
	})}
}

func windowed() []pipelinetest.Case {
	load := func(a, b input) steps {
		return steps{at(a, 1, "a"), at(b, 2, "a"), at(b, 5, "b"), wm(5), at(a, 9, "a"), at(b, 8, "a"), at(a, 10, "a"), wm(9), at(b, 19, "a"), at(a, 21, "a"), wm(40)}
	}
	const matches = "a1+a2 a1+a8 a9+a2 a9+a8 a10+a19"
	return []pipelinetest.Case{
		two("window join", matches, func(a, b input, g *pipeline.Graph) {
			text(join.Window(byKey(a, g), byKey(b, g), "join", window.TumblingEventTime(10*ms), nil, join.Functions[row, row, string]{Both: both}))
		}, load),
		two("window join, full outer", matches+" +b5 a21+", func(a, b input, g *pipeline.Graph) {
			text(join.Window(byKey(a, g), byKey(b, g), "join", window.TumblingEventTime(10*ms), nil, join.Functions[row, row, string]{Both: both, Left: onlyLeft, Right: onlyRight}))
		}, load),
		two("cogroup", "a:2,2@9 b:0,1@9 a:1,1@19 a:1,0@29", func(a, b input, g *pipeline.Graph) {
			text(join.CoGroup(byKey(a, g), byKey(b, g), "group", window.TumblingEventTime(10*ms), nil, func(c *window.Context[string], l, r []row, emit func(string)) {
				emit(fmt.Sprintf("%s:%d,%d@%d", c.Key(), len(l), len(r), c.Timestamp))
			}))
		}, load),
	}
}
