package pipeline

import (
	"errors"
	"fmt"
	"time"

	"streamduel/codec"
	"streamduel/connectors"
)

// Graph is a job as written: operators and the edges between them.
type Graph struct {
	Name        string
	nodes       []*Node
	edges       []*Edge
	errs        []error
	parallelism int
	metrics     metricKinds
}

// New returns an empty graph.
func New(name string) *Graph { return &Graph{Name: name} }

// Nodes returns the operators in the order they were added, which is a
// topological one.
func (g *Graph) Nodes() []*Node { return g.nodes }

// Edges returns the edges in the order they were added.
func (g *Graph) Edges() []*Edge { return g.edges }

// SetParallelism sets the parallelism of all operators that have none of their
// own. It wins over what the job is started with.
func (g *Graph) SetParallelism(p int) {
	if p < 1 || p > 1<<15 {
		g.fail("job %q: parallelism %d: allowed are 1 to 32768", g.Name, p)
	}
	g.parallelism = p
}

// Parallelism returns what SetParallelism has set, or 0.
func (g *Graph) Parallelism() int { return g.parallelism }

func (g *Graph) fail(format string, a ...any) {
	g.errs = append(g.errs, fmt.Errorf(format, a...))
}

// Check returns what is wrong with the graph, each error with its operator's
// name.
func (g *Graph) Check() error {
	errs := g.errs
	names := map[string]bool{}
	sources, sinks := 0, 0
	for _, n := range g.nodes {
		if names[n.UID] {
			errs = append(errs, fmt.Errorf("operator %q: the name is used twice; names identify state", n.UID))
		}
		names[n.UID] = true
		switch n.Kind {
		case KindSource:
			sources++
			if err := n.checkBad(); err != nil {
				errs = append(errs, err)
			}
		case KindSink:
			sinks++
		}
	}
	errs = append(errs, g.checkGroups()...)
	if sources == 0 {
		errs = append(errs, errors.New("the job has no source"))
	}
	if sinks == 0 {
		errs = append(errs, errors.New("the job has no sink"))
	}
	return errors.Join(errs...)
}

// Kind tells operators apart where an engine must.
type Kind string

// The kinds of operators.
const (
	KindSource    Kind = "source"
	KindTransform Kind = "transform" // stateless
	KindKeyed     Kind = "keyed"     // has keyed state or timers
	KindOperator  Kind = "operator"  // has operator state, which belongs to no key
	KindSink      Kind = "sink"
)

// Node is an operator of a graph.
type Node struct {
	ID   int
	Name string // as written
	UID  string // identifies state over code changes; the name unless set
	Kind Kind
	// Parallelism is the operator's own; 0 takes the job's.
	Parallelism int
	// Unchained keeps engines from chaining the operator to its input and its
	// outputs.
	Unchained bool
	// StartsChain keeps engines from chaining the operator to its input.
	StartsChain bool
	// SlotGroup names the slot-sharing group that the operator was put into; ""
	// if none (see Group).
	SlotGroup string
	In, Out   []*Edge
	// Grid are the size, slide and offset of windows in processing time; an engine
	// whose processing time moves in steps can only close them on its own grid.
	Grid []time.Duration
	// PerBatch names what the operator does at a batch's end, with data or without, so
	// that an engine without batches cannot run it; "" is nothing.
	PerBatch string
	// Role is what a stateful operator is to output modes.
	Role Role

	Source connectors.Source // of a KindSource
	Sink   connectors.Sink   // of a KindSink
	// Watermarks of a KindSource: nil when it assigns no event time.
	Watermarks *Watermarks
	// Bad is what becomes of bad input of a KindSource; "" fails.
	Bad BadPolicy

	// build makes the operator in a task and returns its receiver, a
	// Receiver[T] of the input's type, a ports of several, or its *sourceHead.
	build func(b *builder, n *Node) any
	g     *Graph
	// snapshots is the codec of a stream of its whole state, a
	// codec.Codec[KeyState[K, S]]; nil if there is no such stream.
	snapshots any
	// combining is how its records can be combined before the exchange; nil if not.
	combining combining
}

// Stateful reports whether the operator's tasks have something to snapshot.
func (n *Node) Stateful() bool { return n.Kind == KindKeyed || n.Kind == KindOperator }

// DefaultSlotGroup is the slot-sharing group of operators that nobody has put
// into another.
const DefaultSlotGroup = "default"

// Group returns the slot-sharing group that the operator belongs to: its own,
// else that of its inputs if they all have the same, else the default.
func (n *Node) Group() string {
	if n.SlotGroup != "" {
		return n.SlotGroup
	}
	group := DefaultSlotGroup
	for i, e := range n.In {
		switch from := e.From.Group(); {
		case i == 0:
			group = from
		case from != group:
			return DefaultSlotGroup
		}
	}
	return group
}

// ports are the receivers of an operator with several inputs, one a port.
type ports []any

// Partitioning is how an edge spreads records over the downstream subtasks.
type Partitioning string

// The partitionings.
const (
	Forward   Partitioning = "forward"   // subtask i to subtask i
	Hash      Partitioning = "hash"      // by key group
	Rebalance Partitioning = "rebalance" // round robin
	Rescale   Partitioning = "rescale"   // round robin over a subtask's own share of the downstream ones
	Shuffle   Partitioning = "shuffle"   // at random, uniformly
	Broadcast Partitioning = "broadcast" // to all
	Global    Partitioning = "global"    // to subtask 0
	Custom    Partitioning = "custom"    // as a function says
)

// Edge connects two operators.
type Edge struct {
	ID           int
	From, To     *Node
	Partitioning Partitioning
	Port         int    // which input of To it is
	Side         string // name of the side output it carries; "" is the main output

	// write makes the typed receiver that serializes into the edge's writer;
	// read makes the typed input that decodes into the receiver of To. Both are
	// used only where an engine makes the edge an exchange.
	write func(b *builder, e *Edge) (any, error)
	read  func(b *builder, e *Edge, receiver any) (Input, error)
}

// Stream is a typed stream of a graph: the output of one operator, or the union
// of several.
type Stream[T any] struct {
	g     *Graph
	from  []output
	codec codec.Codec[T]
}

type output struct {
	node *Node
	side string
	// spread is how the next operator's edge partitions unless it is keyed; ""
	// is forward. pick is the keyer of a custom one.
	spread Partitioning
	pick   any
}

// streamOf is the main output of an operator.
func streamOf[T any](n *Node) *Stream[T] { return &Stream[T]{g: n.g, from: []output{{node: n}}} }

func (s *Stream[T]) name() string { return s.from[0].node.Name }

// Fail makes the job be refused when it is checked. The message names the
// operator.
func (s *Stream[T]) Fail(format string, a ...any) { s.g.fail(format, a...) }

// Codec sets the codec for where the stream crosses an exchange. Basic types
// have one already.
func (s *Stream[T]) Codec(c codec.Codec[T]) *Stream[T] {
	t := *s
	t.codec = c
	return &t
}

// Parallelism sets the parallelism of the operator that the stream came out of.
func (s *Stream[T]) Parallelism(p int) *Stream[T] {
	if p < 1 || p > 1<<15 {
		s.g.fail("operator %q: parallelism %d: allowed are 1 to 32768", s.name(), p)
	}
	for _, o := range s.from {
		o.node.Parallelism = p
	}
	return s
}

// UID sets the identity of the operator's state, so that the operator can be
// renamed and its state still be found.
func (s *Stream[T]) UID(uid string) *Stream[T] {
	for _, o := range s.from {
		o.node.UID = uid
	}
	return s
}

// SlotSharingGroup puts the operator, and those after it that say nothing else,
// into a group whose subtasks share slots with each other only. An engine that
// places no tasks beforehand ignores it.
func (s *Stream[T]) SlotSharingGroup(name string) *Stream[T] {
	for _, o := range s.from {
		o.node.SlotGroup = name
	}
	return s
}

// DisableChaining makes the operator a task of its own.
func (s *Stream[T]) DisableChaining() *Stream[T] {
	for _, o := range s.from {
		o.node.Unchained = true
	}
	return s
}

// ProcessingGrid tells engines of durations in processing time that the operator
// counts by (see Node.Grid).
func (s *Stream[T]) ProcessingGrid(ds ...time.Duration) *Stream[T] {
	for _, o := range s.from {
		o.node.Grid = append(o.node.Grid, ds...)
	}
	return s
}

// StartNewChain makes the operator the first of its task.
func (s *Stream[T]) StartNewChain() *Stream[T] {
	for _, o := range s.from {
		o.node.StartsChain = true
	}
	return s
}

func (g *Graph) add(n *Node) *Node {
	n.ID = len(g.nodes)
	if n.Name == "" {
		g.fail("operator %d has no name", n.ID)
	}
	n.UID, n.g = n.Name, g
	g.nodes = append(g.nodes, n)
	return n
}

// attach adds a node behind a stream.
func attach[T any](s *Stream[T], n *Node, p Partitioning, key keyer[T]) *Node {
	n = s.g.add(n)
	join(s, n, 0, p, key)
	return n
}

// join makes a stream the input of a node at one of its ports.
func join[T any](s *Stream[T], n *Node, port int, p Partitioning, key keyer[T]) {
	if s.g != n.g {
		n.g.fail("operator %q: its inputs belong to different jobs", n.Name)
		return
	}
	for _, o := range s.from {
		connect(s, o, n, port, p, key)
	}
}

func connect[T any](s *Stream[T], o output, to *Node, port int, p Partitioning, key keyer[T]) {
	if p == Forward && o.spread != "" {
		p = o.spread
		key, _ = o.pick.(keyer[T])
	}
	e := &Edge{ID: len(s.g.edges), From: o.node, To: to, Partitioning: p, Port: port, Side: o.side}
	s.g.edges = append(s.g.edges, e)
	o.node.Out = append(o.node.Out, e)
	to.In = append(to.In, e)
	resolve := func() (codec.Codec[T], error) {
		if s.codec != nil {
			return s.codec, nil
		}
		if c, ok := codec.Of[T](); ok {
			return c, nil
		}
		var zero T
		return nil, fmt.Errorf("operator %q: its output type %T crosses an exchange to %q and has no codec: call Stream.Codec", o.node.Name, zero, to.Name)
	}
	e.write = func(b *builder, e *Edge) (any, error) {
		if b.combines(e) {
			return to.combining.write(b, e)
		}
		c, err := resolve()
		if err != nil {
			return nil, err
		}
		return exchangeWriter(b, e, c, key)
	}
	e.read = func(b *builder, e *Edge, receiver any) (Input, error) {
		if b.combines(e) {
			return to.combining.read(b, e)
		}
		c, err := resolve()
		if err != nil {
			return nil, err
		}
		_, decode := codec.Functions(c)
		in := &input[T]{task: b.task, decode: decode, form: codec.FormOf(c)}
		in.keep, in.next = headFilter(b, receiver.(Receiver[T]), e.To)
		if ps, ok := b.receivers[e.To].(ports); ok {
			if w, ok := ps[len(ps)-1].(warmer[T]); ok {
				in.ahead = &ahead[T]{warmer: w}
			}
		}
		return in, nil
	}
}
