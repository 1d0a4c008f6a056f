package pipeline

import "fmt"

// Fragment is a part of a graph that runs as one task per subtask: operators
// chained by plain calls, with exchanges at its ends.
type Fragment struct {
	Index       int
	Name        string // its operators' names, "a → b"
	Nodes       []*Node
	Parallelism int
	In, Out     []*Edge // exchanges
	Sources     []*Node
	Sinks       []*Node
	chained     map[*Edge]bool
	graph       *Graph
}

// Stateful reports whether an operator of the fragment keeps state.
func (f *Fragment) Stateful() bool {
	for _, n := range f.Nodes {
		if n.Stateful() {
			return true
		}
	}
	return false
}

// ParallelismOf returns the operator's own parallelism or the job's.
func ParallelismOf(n *Node, job int) int {
	if n.Parallelism > 0 {
		return n.Parallelism
	}
	return max(job, 1)
}

// Chainable is the part of the chaining rule that both engines share: the edge
// is forward, both ends have the same parallelism, neither side forbids it.
// Dataflow also wants a single input (Flink's rule), so that an operator with
// two inputs always begins a task there; micro-batch does not, a union is a
// narrow dependency there.
func Chainable(e *Edge, job int) bool {
	return e.Partitioning == Forward && ParallelismOf(e.From, job) == ParallelismOf(e.To, job) &&
		!e.To.Unchained && !e.From.Unchained && !e.To.StartsChain
}

// Effective returns how an exchange edge spreads records: a forward edge
// between different parallelisms is a rebalance.
func (e *Edge) Effective(job int) Partitioning {
	if e.Partitioning == Forward && ParallelismOf(e.From, job) != ParallelismOf(e.To, job) {
		return Rebalance
	}
	return e.Partitioning
}

// Cut divides the graph into fragments, joining operators over the edges for
// which chain is true, and returns them in topological order. An edge whose
// joining would make a fragment wait for itself stays an exchange.
func (g *Graph) Cut(job int, chain func(*Edge) bool) ([]*Fragment, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	group := make([]int, len(g.nodes))
	for i := range group {
		group[i] = i
	}
	for _, e := range g.edges {
		if !chain(e) || group[e.From.ID] == group[e.To.ID] {
			continue
		}
		merged := make([]int, len(group))
		for i, v := range group {
			if v == group[e.To.ID] {
				v = group[e.From.ID]
			}
			merged[i] = v
		}
		if _, ok := g.order(merged, chain); ok {
			group = merged
		}
	}
	order, ok := g.order(group, chain)
	if !ok {
		return nil, fmt.Errorf("job %q: the graph has a cycle", g.Name)
	}
	var fs []*Fragment
	byGroup := map[int]*Fragment{}
	for _, id := range order {
		f := &Fragment{Index: len(fs), chained: map[*Edge]bool{}, graph: g}
		byGroup[id] = f
		fs = append(fs, f)
	}
	for _, n := range g.nodes {
		f := byGroup[group[n.ID]]
		f.Nodes = append(f.Nodes, n)
		f.Parallelism = ParallelismOf(n, job)
		if f.Name != "" {
			f.Name += " → "
		}
		f.Name += n.Name
		switch n.Kind {
		case KindSource:
			f.Sources = append(f.Sources, n)
		case KindSink:
			f.Sinks = append(f.Sinks, n)
		}
	}
	for _, e := range g.edges {
		from, to := byGroup[group[e.From.ID]], byGroup[group[e.To.ID]]
		if from == to && chain(e) {
			from.chained[e] = true
			continue
		}
		from.Out = append(from.Out, e)
		to.In = append(to.In, e)
	}
	return fs, nil
}

// order sorts the groups topologically; ok is false when their edges form a
// cycle, or when an edge within a group cannot be chained: the fragment would
// have an exchange with itself.
func (g *Graph) order(group []int, chain func(*Edge) bool) (order []int, ok bool) {
	indegree := map[int]int{}
	for i := range g.nodes {
		indegree[group[i]] += 0
	}
	type arrow struct{ from, to int }
	arrows := map[arrow]bool{}
	for _, e := range g.edges {
		a := arrow{group[e.From.ID], group[e.To.ID]}
		if a.from == a.to {
			if !chain(e) {
				return nil, false
			}
			continue
		}
		if !arrows[a] {
			arrows[a] = true
			indegree[a.to]++
		}
	}
	done := map[int]bool{}
	for len(done) < len(indegree) {
		progressed := false
		for i := range g.nodes { // by first node, so that the order is stable
			id := group[i]
			if done[id] || indegree[id] > 0 {
				continue
			}
			done[id], progressed = true, true
			order = append(order, id)
			for a := range arrows {
				if a.from == id {
					indegree[a.to]--
				}
			}
		}
		if !progressed {
			return nil, false
		}
	}
	return order, true
}
