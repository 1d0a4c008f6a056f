package pipeline_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"streamduel/pipeline"
)

// cut describes fragments as "a → b ×2 | c ×1", by name and parallelism.
func cut(t *testing.T, g *pipeline.Graph, job int, chain func(*pipeline.Edge) bool) string {
	t.Helper()
	fs, err := g.Cut(job, chain)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for i, f := range fs {
		if f.Index != i {
			t.Errorf("fragment %d has index %d", i, f.Index)
		}
		parts = append(parts, fmt.Sprintf("%s ×%d", f.Name, f.Parallelism))
	}
	return strings.Join(parts, " | ")
}

func shared(job int) func(*pipeline.Edge) bool {
	return func(e *pipeline.Edge) bool { return pipeline.Chainable(e, job) }
}

// oneInput is Flink's rule: only an operator with a single input is chained.
func oneInput(job int) func(*pipeline.Edge) bool {
	return func(e *pipeline.Edge) bool { return pipeline.Chainable(e, job) && len(e.To.In) == 1 }
}

func TestCut(t *testing.T) {
	same := func(v int64) int64 { return v }
	for _, c := range []struct {
		name           string
		build          func(g *pipeline.Graph)
		shared, flinks string
	}{
		{"one chain", func(g *pipeline.Graph) {
			toText(pipeline.Map(numbers(g, "in"), "a", same), "out")
		}, "in → a → out ×2", "in → a → out ×2"},
		{"keyBy", func(g *pipeline.Graph) {
			toText(pipeline.Reduce(pipeline.KeyBy(numbers(g, "in"), same), "sum", func(a, b int64) int64 { return a + b }), "out")
		}, "in ×2 | sum → out ×2", "in ×2 | sum → out ×2"},
		{"parallelism", func(g *pipeline.Graph) {
			toText(pipeline.Map(pipeline.Map(numbers(g, "in"), "a", same).Parallelism(3), "b", same), "out")
		}, "in ×2 | a ×3 | b → out ×2", "in ×2 | a ×3 | b → out ×2"},
		{"the job's own parallelism, set again", func(g *pipeline.Graph) {
			toText(pipeline.Map(numbers(g, "in"), "a", same).Parallelism(2), "out")
		}, "in → a → out ×2", "in → a → out ×2"},
		{"chaining off", func(g *pipeline.Graph) {
			toText(pipeline.Map(pipeline.Map(numbers(g, "in"), "a", same).DisableChaining(), "b", same), "out")
		}, "in ×2 | a ×2 | b → out ×2", "in ×2 | a ×2 | b → out ×2"},
		{"union", func(g *pipeline.Graph) {
			toText(pipeline.Map(pipeline.Union(numbers(g, "x"), numbers(g, "y")), "a", same), "out")
		}, "x → y → a → out ×2", "x ×2 | y ×2 | a → out ×2"},
		{"diamond", func(g *pipeline.Graph) {
			in := numbers(g, "in")
			toText(pipeline.Union(pipeline.Map(in, "a", same), pipeline.Map(in, "b", same)), "out")
		}, "in → a → b → out ×2", "in → a → b ×2 | out ×2"},
		// in → out may not be chained: the fragment would wait for spread, which
		// waits for it.
		{"a way round", func(g *pipeline.Graph) {
			in := numbers(g, "in")
			toText(pipeline.Union(in, pipeline.Map(in.Rebalance(), "spread", same)), "out")
		}, "in ×2 | spread → out ×2", "in ×2 | spread ×2 | out ×2"},
		{"fan-out", func(g *pipeline.Graph) {
			in := numbers(g, "in")
			toText(in, "x")
			toText(pipeline.Map(in.Rebalance(), "spread", same), "y")
		}, "in → x ×2 | spread → y ×2", "in → x ×2 | spread → y ×2"},
	} {
		for _, rule := range []struct {
			name, want string
			chain      func(*pipeline.Edge) bool
		}{{"shared", c.shared, shared(2)}, {"one input", c.flinks, oneInput(2)}} {
			g := pipeline.New("test")
			c.build(g)
			if got := cut(t, g, 2, rule.chain); got != rule.want {
				t.Errorf("%s, %s: %s, want %s", c.name, rule.name, got, rule.want)
			}
		}
	}
}

// Whatever the graph and the rule: every operator is in one fragment; every
// edge is a call within one or an exchange to a later one; all operators of a
// fragment have its parallelism.
func TestCutOfAnyGraph(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 5))
		g := pipeline.New("test")
		streams := []*pipeline.Stream[int64]{numbers(g, "in")}
		pick := func() *pipeline.Stream[int64] { return streams[rng.IntN(len(streams))] }
		for i := range 2 + rng.IntN(9) {
			name := fmt.Sprintf("n%d", i)
			s := pick()
			if rng.IntN(3) == 0 {
				s = pipeline.Union(s, pick())
			}
			switch rng.IntN(4) {
			case 0:
				s = pipeline.Map(s.Rebalance(), name, func(v int64) int64 { return v })
			case 1:
				s = pipeline.Reduce(pipeline.KeyBy(s, func(v int64) int64 { return v }), name, func(a, _ int64) int64 { return a })
			default:
				s = pipeline.Map(s, name, func(v int64) int64 { return v })
			}
			if rng.IntN(5) == 0 {
				s = s.Parallelism(1 + rng.IntN(3))
			}
			if rng.IntN(6) == 0 {
				s = s.DisableChaining()
			}
			streams = append(streams, s)
		}
		toText(pick(), "out")
		// Also a rule that makes no sense must not make a graph that hangs.
		arbitrary := func(e *pipeline.Edge) bool { return pipeline.Chainable(e, 2) && (uint64(e.ID)*seed)%3 != 0 }
		for i, chain := range []func(*pipeline.Edge) bool{shared(2), oneInput(2), arbitrary} {
			fs, err := g.Cut(2, chain)
			if err != nil {
				t.Fatal(err)
			}
			at := map[*pipeline.Node]int{}
			for _, f := range fs {
				for _, n := range f.Nodes {
					if _, twice := at[n]; twice {
						t.Fatalf("seed %d, rule %d: %s is in two fragments", seed, i, n.Name)
					}
					at[n] = f.Index
					if pipeline.ParallelismOf(n, 2) != f.Parallelism {
						t.Fatalf("seed %d, rule %d: %s in a fragment of parallelism %d", seed, i, n.Name, f.Parallelism)
					}
				}
			}
			if len(at) != len(g.Nodes()) {
				t.Fatalf("seed %d, rule %d: %d of %d operators", seed, i, len(at), len(g.Nodes()))
			}
			for _, e := range g.Edges() {
				from, to := at[e.From], at[e.To]
				crosses := slices.Contains(fs[from].Out, e) && slices.Contains(fs[to].In, e)
				if from > to || crosses != (from != to) || from == to && !chain(e) {
					t.Fatalf("seed %d, rule %d: edge %s → %s from fragment %d to %d, exchange: %v, chainable: %v", seed, i, e.From.Name, e.To.Name, from, to, crosses, chain(e))
				}
			}
		}
	}
}

func TestStateful(t *testing.T) {
	g := pipeline.New("test")
	toText(pipeline.Reduce(pipeline.KeyBy(numbers(g, "in"), func(v int64) int64 { return v }), "sum", func(a, _ int64) int64 { return a }), "out")
	fs, err := g.Cut(1, shared(1))
	if err != nil {
		t.Fatal(err)
	}
	if fs[0].Stateful() || !fs[1].Stateful() {
		t.Errorf("%v, %v", fs[0].Stateful(), fs[1].Stateful())
	}
}
