package dataflow

import (
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

func planOf(t *testing.T, g *pipeline.Graph, parallelism int) engines.Plan {
	t.Helper()
	p, err := New().Plan(engines.Job{Name: "j", Graph: g, Parallelism: parallelism, Guarantee: connectors.AtLeastOnce}, New().Config())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTheNearestParallelismWins: the operator's own, then the job's, then what
// it is started with.
func TestTheNearestParallelismWins(t *testing.T) {
	b := newBroker()
	graph := func(job, own int) *pipeline.Graph {
		g := pipeline.New("j")
		if job > 0 {
			g.SetParallelism(job)
		}
		in := pipeline.From(g, "in", topic{b, "in"}, decodeItem).Codec(itemCodec)
		counts := countBy(in)
		if own > 0 {
			counts = counts.Parallelism(own)
		}
		pipeline.To(counts, "out", output{b}, encodeItem)
		return g
	}
	for _, c := range []struct{ job, own, start, in, count int }{
		{0, 0, 0, 1, 1}, {0, 0, 2, 2, 2}, {3, 0, 2, 3, 3}, {3, 5, 2, 3, 5}, {0, 5, 2, 2, 5},
	} {
		p := planOf(t, graph(c.job, c.own), c.start)
		expect(t, []int{p.Operators[0].Parallelism, p.Operators[1].Parallelism}, []int{c.in, c.count})
	}
	_, err := New().Plan(engines.Job{Name: "j", Graph: graph(0, 5), MaxParallelism: 4, Guarantee: connectors.AtLeastOnce}, New().Config())
	if err == nil || !strings.Contains(err.Error(), "maximum parallelism 4 is below the parallelism 5") {
		t.Errorf("got %v", err)
	}
}

// TestSlotSharingGroups: an operator's group goes on behind it, is a reason not
// to chain, and needs slots of its own.
func TestSlotSharingGroups(t *testing.T) {
	b := newBroker()
	g := pipeline.New("j")
	in := pipeline.From(g, "in", topic{b, "in"}, decodeItem).Codec(itemCodec)
	heavy := pipeline.Map(in, "heavy", func(v item) item { return v }).Codec(itemCodec).SlotSharingGroup("heavy")
	after := pipeline.Map(heavy, "after", func(v item) item { return v }).Codec(itemCodec)
	both := pipeline.Map(pipeline.Union(after, in), "both", func(v item) item { return v }).Codec(itemCodec)
	pipeline.To(both, "out", output{b}, encodeItem)
	p := planOf(t, g, 3)
	var got []string
	for _, s := range p.Stages {
		got = append(got, s.Name+": "+s.Group)
	}
	expect(t, strings.Join(got, ", "), "in: default, heavy → after: heavy, both → out: default")
	expect(t, p.Slots.Needed, 6)
	expect(t, p.Slots.Groups, []engines.PlanGroup{{Name: "default", Slots: 3}, {Name: "heavy", Slots: 3}})
}

// TestOperatorIDsAreStable: a name, or a UID given to an operator, identifies it
// whatever is added before it or however it is renamed.
func TestOperatorIDsAreStable(t *testing.T) {
	b := newBroker()
	graph := func(name string, more bool) *pipeline.Graph {
		g := pipeline.New("j")
		in := pipeline.From(g, "in", topic{b, "in"}, decodeItem).Codec(itemCodec)
		if more {
			in = pipeline.Map(in, "new", func(v item) item { return v }).Codec(itemCodec)
		}
		renamed := pipeline.Map(in, name, func(v item) item { return v }).Codec(itemCodec).UID("first")
		pipeline.To(countBy(renamed), "out", output{b}, encodeItem)
		return g
	}
	ids := func(g *pipeline.Graph) (out []string) {
		for _, o := range planOf(t, g, 1).Operators {
			if o.UID != "new" {
				out = append(out, o.UID)
			}
		}
		return out
	}
	expect(t, ids(graph("map", false)), ids(graph("parse", true)))
}
