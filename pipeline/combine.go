package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"

	"streamduel/codec"
	"streamduel/state"
)

// Combining before an exchange: records of a key that one task has for one batch
// are added up there, and their accumulator crosses the exchange in their place.
// Spark calls it partial aggregation, or map-side combine.

// Combining is how the records of an aggregation can be added up before the
// exchange into it.
type Combining[K comparable, T, A any] struct {
	// Accumulators is the codec of what crosses the exchange.
	Accumulators codec.Codec[A]
	// Add makes, once a subtask, the function that adds a record to an accumulator,
	// which holds nothing yet where it is fresh.
	Add func() func(acc *A, fresh bool, v T, c *Ctx)
	// Group makes, once a subtask, the function that says to which part of its
	// key's records one belongs: the start of a pane. ok is false for one that must
	// cross as it is. Nil puts all records of a key together.
	Group func() func(c *Ctx) (part int64, ok bool)
	// Fires says that rows leave when a window fires, so that nobody can tell even
	// where results answer each input.
	Fires bool
}

// CombineBefore lets the records of k be combined before the aggregation that out
// comes out of, whose build must register what takes accumulators in: Setup.Takes,
// a func(key K, part int64, acc A).
func CombineBefore[K comparable, T, A, R any](k *Keyed[K, T], out *Stream[R], c Combining[K, T, A]) {
	for _, o := range out.from {
		o.node.combining = &combiner[K, T, A]{Combining: c, k: k, node: o.node}
	}
}

// Takes registers what accumulators that come over an exchange go into, a
// func(key K, part int64, acc A). They are views that end with the call.
func (s *Setup[K]) Takes(merge any) { s.b.merges[s.node] = taking[K]{merge, s.warm} }

// taking is what accumulators go into, and what brings their keys near.
type taking[K comparable] struct {
	merge any
	warm  []func(keys []K)
}

// combining is a combiner of any type.
type combining interface {
	unseen(OutputMode) bool
	write(b *builder, e *Edge) (any, error)
	read(b *builder, e *Edge) (Input, error)
}

// Combines reports whether records are combined before the exchange into the
// operator, where an engine wants that (TaskConfig.Combine) under an output mode:
// it must be possible, and nobody must be able to tell.
func (n *Node) Combines(m OutputMode) bool { return n.combining != nil && n.combining.unseen(m) }

func (b *builder) combines(e *Edge) bool {
	return b.cfg.Combine && e.Partitioning == Hash && e.To.Combines(b.cfg.OutputMode)
}

type combiner[K comparable, T, A any] struct {
	Combining[K, T, A]
	k    *Keyed[K, T]
	node *Node
}

func (x *combiner[K, T, A]) unseen(m OutputMode) bool {
	return m == Update || m == Complete || x.Fires
}

// combined crosses the exchange: an accumulator, or a record as it is.
type combined[K comparable, T, A any] struct {
	key   K
	whole bool
	v     T     // of a record
	part  int64 // of an accumulator
	acc   A
}

// The rows that a task keeps back, and after how many records of a batch it gives
// up where they are hardly fewer than the records.
const (
	mostCombined = 1 << 16
	tryCombining = 1 << 12
)

// gathering is a combiner in a task. It is empty between batches.
type gathering[K comparable, T, A any] struct {
	index   map[groupOf[K]]int32
	rows    []gathered[K, A]
	records int  // of the batch
	given   int  // accumulators that left
	vain    bool // for the rest of the batch
	next    Receiver[combined[K, T, A]]
	task    *Task
	at      int // the first of rows that has not left
}

type groupOf[K comparable] struct {
	key  K
	part int64
}

type gathered[K comparable, A any] struct {
	groupOf[K]
	time int64 // the latest of the records'
	acc  A
}

func (x *combiner[K, T, A]) write(b *builder, e *Edge) (any, error) {
	c, err := x.codec()
	if err != nil {
		return nil, err
	}
	out, err := exchangeWriter(b, e, c, keyer[combined[K, T, A]](func(maxParallelism, channels int) (func(combined[K, T, A]) int, error) {
		owner, err := state.Owner(x.k.codec.Append, channels, maxParallelism)
		return func(c combined[K, T, A]) int { return owner(c.key) }, err
	}))
	if err != nil {
		return nil, err
	}
	g := &gathering[K, T, A]{index: map[groupOf[K]]int32{}, next: out, task: b.task}
	b.task.gathered = append(b.task.gathered, g)
	add, key, clone := x.Add(), x.k.key, x.k.codec.Clone
	group := func(*Ctx) (int64, bool) { return 0, true }
	if x.Group != nil {
		group = x.Group()
	}
	return Receiver[T](func(v T, c *Ctx) {
		k := key(v)
		part, ok := group(c)
		if !ok || g.vain {
			out(combined[K, T, A]{key: k, whole: true, v: v}, c)
			return
		}
		g.records++
		i, ok := g.index[groupOf[K]{k, part}]
		if !ok {
			i = g.open(clone(k), part)
		}
		r := &g.rows[i]
		r.time = max(r.time, c.Timestamp)
		add(&r.acc, !ok, v, c)
		if len(g.rows) == mostCombined || g.records == tryCombining {
			g.weigh(c)
		}
	}), nil
}

func (g *gathering[K, T, A]) open(k K, part int64) int32 {
	i := int32(len(g.rows))
	x := groupOf[K]{k, part}
	g.rows = append(g.rows, gathered[K, A]{groupOf: x, time: NoTime})
	g.index[x] = i
	return i
}

// weigh lets go of what a task keeps back when it is too much, and for the rest
// of the batch where keeping it has not made it much less: then the looking up is
// for nothing.
func (g *gathering[K, T, A]) weigh(c *Ctx) {
	if (g.given+len(g.rows))*4 > g.records*3 {
		g.vain = true
	}
	if !g.vain && len(g.rows) < mostCombined {
		return
	}
	ts, origin := c.Timestamp, c.Origin
	g.empty() // inside a record, where a writer overdraws
	c.Timestamp, c.Origin = ts, origin
}

func (g *gathering[K, T, A]) empty() {
	g.give(func() bool { return false })
}

// give emits what is kept back until stop says so.
func (g *gathering[K, T, A]) give(stop func() bool) (done bool) {
	c := &g.task.ctx
	for ; g.at < len(g.rows); g.at++ {
		if stop() {
			return false
		}
		r := &g.rows[g.at]
		c.AtTimer(r.time)
		g.next(combined[K, T, A]{key: r.key, part: r.part, acc: r.acc}, c)
	}
	g.given += len(g.rows)
	clear(g.index)
	clear(g.rows)
	g.rows, g.at = g.rows[:0], 0
	return true
}

// endBatch emits what is left of a batch.
func (g *gathering[K, T, A]) endBatch() (done bool) {
	t := g.task
	if !g.give(func() bool { return t.pressure.Starved > 0 }) {
		return false
	}
	g.records, g.given, g.vain = 0, 0, false
	return true
}

func (x *combiner[K, T, A]) read(b *builder, e *Edge) (Input, error) {
	c, err := x.codec()
	if err != nil {
		return nil, err
	}
	r := b.port(e)
	element, ok := r.(Receiver[T])
	if !ok {
		return nil, fmt.Errorf("operator %q: its input is not one of the type that it combines", x.node.Name)
	}
	t, _ := b.merges[e.To].(taking[K])
	merge, ok := t.merge.(func(key K, part int64, acc A))
	if !ok {
		return nil, fmt.Errorf("operator %q says that it combines, and takes no accumulators", x.node.Name)
	}
	_, decode := codec.Functions(c)
	in := &input[combined[K, T, A]]{task: b.task, decode: decode, next: func(v combined[K, T, A], c *Ctx) {
		if v.whole {
			element(v.v, c)
			return
		}
		merge(v.key, v.part, v.acc)
	}}
	if b.cfg.Backend != nil && len(t.warm) > 0 {
		var keys []K
		in.ahead = &ahead[combined[K, T, A]]{warmer: warmer[combined[K, T, A]]{stored: true, warm: func(vs []combined[K, T, A]) {
			keys = keys[:0]
			for i := range vs {
				keys = append(keys, vs[i].key)
			}
			for _, warm := range t.warm {
				warm(keys)
			}
			clear(keys) // they are views
		}}}
	}
	return in, nil
}

var errCombined = errors.New("neither a record nor an accumulator")

// codec writes a record or an accumulator behind a byte that says which.
func (x *combiner[K, T, A]) codec() (codec.Codec[combined[K, T, A]], error) {
	values := x.k.Values()
	if values == nil {
		return nil, fmt.Errorf("operator %q: its input crosses an exchange and has no codec: call Stream.Codec", x.node.Name)
	}
	keys, accs, key := x.k.codec, x.Accumulators, x.k.key
	return codec.Struct("combined/1("+keys.ID()+","+values.ID()+","+accs.ID()+")", func(d []byte, c combined[K, T, A]) []byte {
		if c.whole {
			return values.Append(append(d, 1), c.v)
		}
		d = binary.LittleEndian.AppendUint64(append(d, 0), uint64(c.part))
		return accs.Append(keys.Append(d, c.key), c.acc)
	}, func(b []byte) (c combined[K, T, A], n int, err error) {
		if len(b) == 0 {
			return c, 0, codec.ErrShort
		}
		switch b[0] {
		case 1:
			c.whole = true
			c.v, n, err = values.Decode(b[1:])
			if err == nil {
				c.key = key(c.v)
			}
			return c, n + 1, err
		case 0:
		default:
			return c, 0, errCombined
		}
		if len(b) < 9 {
			return c, 0, codec.ErrShort
		}
		c.part = int64(binary.LittleEndian.Uint64(b[1:]))
		if c.key, n, err = keys.Decode(b[9:]); err != nil {
			return c, n, err
		}
		acc, m, err := accs.Decode(b[9+n:])
		c.acc = acc
		return c, 9 + n + m, err
	}, nil), nil
}

// gatherer is a gathering of any type.
type gatherer interface{ endBatch() (done bool) }
