package dataflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"streamduel/connectors"
)

// broker is an outside world in memory that outlives the engine's crashes: a
// partitioned log to read, an output that can be written directly or in
// transactions, and committed positions. It behaves as Kafka does where
// recovery depends on it: initializing a transactional id aborts what is open
// under it, committing twice is harmless, committing what was aborted is not.
type broker struct {
	mu        sync.Mutex
	changed   chan struct{} // closed at every append
	input     map[string][][]connectors.Record
	committed map[connectors.SplitID]connectors.Position
	visible   []connectors.Record // what a read_committed reader sees, in order of visibility
	txns      map[string]*txn     // by transactional id
	dead      int                 // attempts up to this one are dead processes
	bounded   bool
	limit     int         // records a poll
	uneven    atomic.Bool // subtask 0 of a sink is much slower than the others
	log       []string
	writeHook func(env connectors.WriterEnv, r *connectors.Record) error
}

// txn is what a transactional id holds.
type txn struct {
	Epoch   int
	open    bool
	done    string // "committed" or "aborted" once it is
	records []connectors.Record
}

func newBroker() *broker {
	return &broker{
		changed: make(chan struct{}), input: map[string][][]connectors.Record{},
		committed: map[connectors.SplitID]connectors.Position{}, txns: map[string]*txn{}, limit: 50,
	}
}

var errDead = errors.New("this process is dead")

func (b *broker) alive(attempt int) error {
	if attempt <= b.dead {
		return errDead
	}
	return nil
}

// kill makes every process up to this attempt unable to do anything more.
func (b *broker) kill(attempt int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dead = max(b.dead, attempt)
}

func (b *broker) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// grow makes a topic have so many partitions.
func (b *broker) grow(topic string, partitions int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.input[topic]) < partitions {
		b.input[topic] = append(b.input[topic], nil)
	}
	b.wake()
}

func (b *broker) append(topic string, partition int, rs ...connectors.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range rs {
		r.Offset = int64(len(b.input[topic][partition]))
		b.input[topic][partition] = append(b.input[topic][partition], r)
	}
	b.wake()
}

func (b *broker) note(format string, a ...any) { b.log = append(b.log, fmt.Sprintf(format, a...)) }

// topic is a source over one topic.
type topic struct {
	b    *broker
	name string
}

func (t topic) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "memory", Replayable: true, Bounded: t.b.bounded}
}
func (t topic) Enumerator(_ context.Context, env connectors.Env) (connectors.Enumerator, error) {
	return &enumerator{t, env}, nil
}
func (t topic) Reader(_ context.Context, env connectors.Env) (connectors.Reader, error) {
	return &reader{topic: t, env: env, woken: make(chan struct{}, 1)}, nil
}
func (t topic) split(p int) connectors.Split {
	return connectors.Split{ID: connectors.SplitID(fmt.Sprintf("%s/%d", t.name, p)), Partition: int32(p)}
}

type enumerator struct {
	topic
	env connectors.Env
}

func (e *enumerator) Discover(context.Context) (ss []connectors.Split, err error) {
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	for p := range e.b.input[e.name] {
		ss = append(ss, e.split(p))
	}
	return ss, e.b.alive(e.env.Attempt)
}
func (e *enumerator) Bounds(_ context.Context, ids []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	out := map[connectors.SplitID]connectors.Bounds{}
	for p, rs := range e.b.input[e.name] {
		out[e.split(p).ID] = connectors.Bounds{Latest: connectors.Position(len(rs))}
	}
	return out, e.b.alive(e.env.Attempt)
}
func (e *enumerator) Start(_ context.Context, ids []connectors.SplitID, _ bool) (map[connectors.SplitID]connectors.Position, error) {
	out := map[connectors.SplitID]connectors.Position{}
	for _, id := range ids {
		out[id] = 0
	}
	return out, nil
}
func (e *enumerator) Commit(_ context.Context, ps map[connectors.SplitID]connectors.Position) error {
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	if err := e.b.alive(e.env.Attempt); err != nil {
		return err
	}
	maps.Copy(e.b.committed, ps)
	return nil
}
func (e *enumerator) Committed(_ context.Context, ids []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	e.b.mu.Lock()
	defer e.b.mu.Unlock()
	out := map[connectors.SplitID]connectors.Position{}
	for _, id := range ids {
		if p, ok := e.b.committed[id]; ok {
			out[id] = p
		}
	}
	return out, nil
}
func (e *enumerator) Close() error { return nil }

type reader struct {
	topic
	env    connectors.Env
	splits []connectors.Assignment
	turn   int
	woken  chan struct{}
	batch  connectors.Batch
}

func (r *reader) Assign(as ...connectors.Assignment) error {
	r.splits = append(r.splits, as...)
	return nil
}
func (r *reader) Unassign(ids ...connectors.SplitID) {
	r.splits = slices.DeleteFunc(r.splits, func(a connectors.Assignment) bool { return slices.Contains(ids, a.Split.ID) })
	r.turn = 0
}
func (r *reader) Close() error { return nil }
func (r *reader) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

func (r *reader) Poll(ctx context.Context) (*connectors.Batch, error) {
	for {
		r.b.mu.Lock()
		changed := r.b.changed
		if err := r.b.alive(r.env.Attempt); err != nil {
			r.b.mu.Unlock()
			return nil, err
		}
		left := false
		for range r.splits {
			a := &r.splits[r.turn]
			r.turn = (r.turn + 1) % len(r.splits)
			rs := r.b.input[r.name][a.Split.Partition]
			n := int(min(connectors.Position(len(rs)), a.Until) - a.From)
			n = min(n, r.b.limit)
			if n <= 0 {
				continue
			}
			left = true
			r.batch = connectors.Batch{Split: a.Split, Records: rs[a.From : int(a.From)+n], Next: a.From + connectors.Position(n), Latest: connectors.Position(len(rs))}
			a.From = r.batch.Next
			break
		}
		r.b.mu.Unlock()
		if left {
			return &r.batch, nil
		}
		if r.b.bounded {
			return nil, io.EOF
		}
		select {
		case <-changed:
		case <-r.woken:
			return &connectors.Batch{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// output is the sink.
type output struct{ b *broker }

func (o output) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "memory", Guarantees: []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce}}
}

type committable struct {
	ID    string
	Epoch int
}

func (o output) Writer(_ context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	w := &writer{b: o.b, env: env}
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	if err := o.b.alive(env.Attempt); err != nil {
		return nil, err
	}
	if env.Guarantee == connectors.ExactlyOnce {
		for i := range env.Pool {
			id := fmt.Sprintf("%s-%s-%d-%d", env.Job, env.Node, env.Subtask, i)
			o.b.init(id)
			w.free = append(w.free, id)
		}
		o.b.note("open %d", env.Subtask)
	}
	return w, nil
}

// init aborts what is open under an id and begins anew.
func (b *broker) init(id string) {
	t := b.txns[id]
	if t == nil {
		t = &txn{}
		b.txns[id] = t
	}
	if t.open {
		t.open, t.done = false, "aborted"
	}
	t.Epoch++
	t.records, t.done = nil, ""
}

func (b *broker) commit(c connectors.Committable) error {
	var x committable
	if err := json.Unmarshal(c, &x); err != nil {
		return err
	}
	t := b.txns[x.ID]
	switch {
	case t == nil || t.Epoch != x.Epoch:
		return fmt.Errorf("transaction %s/%d is fenced: its id was initialized again", x.ID, x.Epoch)
	case t.done == "committed":
		return nil
	case t.done == "aborted":
		return fmt.Errorf("transaction %s/%d was aborted", x.ID, x.Epoch)
	}
	t.open, t.done = false, "committed"
	b.visible = append(b.visible, t.records...)
	return nil
}

func (o output) Recover(_ context.Context, env connectors.WriterEnv, cs []connectors.Committable) error {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	if err := o.b.alive(env.Attempt); err != nil {
		return err
	}
	var lost error
	for _, c := range cs {
		if err := o.b.commit(c); err != nil {
			lost = fmt.Errorf("%w: %w", connectors.ErrLost, err)
		}
	}
	for id, t := range o.b.txns {
		if t.open && strings.HasPrefix(id, env.Job+"-"+env.Node+"-") {
			t.open, t.done, t.records = false, "aborted", nil
		}
	}
	o.b.note("recover %d", len(cs))
	return lost
}

type writer struct {
	b     *broker
	env   connectors.WriterEnv
	free  []string
	id    string // of the open transaction, or ""
	epoch int    // its
}

func (w *writer) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if err := w.env.Gate.Enter(ctx); err != nil {
		return err
	}
	defer w.env.Gate.Leave(1, 1)
	if w.b.uneven.Load() && w.env.Subtask == 0 {
		time.Sleep(100 * time.Microsecond)
	}
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if err := w.b.alive(w.env.Attempt); err != nil {
		return err
	}
	if w.b.writeHook != nil {
		if err := w.b.writeHook(w.env, r); err != nil {
			return err
		}
	}
	c := connectors.Record{Key: append([]byte(nil), r.Key...), Value: append([]byte(nil), r.Value...), Timestamp: r.Timestamp}
	if w.env.Guarantee != connectors.ExactlyOnce {
		w.b.visible = append(w.b.visible, c)
	} else {
		if w.id == "" {
			if len(w.free) == 0 {
				return errors.New("no transactional id is free")
			}
			// The one released last: a release that comes too early shows.
			w.id, w.free = w.free[len(w.free)-1], w.free[:len(w.free)-1]
			if w.b.txns[w.id].records != nil || w.b.txns[w.id].done != "" {
				w.b.init(w.id)
			}
			w.b.txns[w.id].open = true
			w.epoch = w.b.txns[w.id].Epoch
		}
		t := w.b.txns[w.id]
		if !t.open || t.Epoch != w.epoch {
			return fmt.Errorf("transaction %s is not open, or another's", w.id)
		}
		t.records = append(t.records, c)
	}
	if w.env.Acked != nil && o != nil {
		w.env.Acked(*o)
	}
	return nil
}

func (w *writer) Flush(context.Context) error {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	return w.b.alive(w.env.Attempt)
}

func (w *writer) Prepare(context.Context) (connectors.Committable, error) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if err := w.b.alive(w.env.Attempt); err != nil || w.id == "" {
		return nil, err
	}
	c, err := json.Marshal(committable{w.id, w.epoch})
	w.id = ""
	return c, err
}

func (w *writer) Commit(_ context.Context, c connectors.Committable) error {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if err := w.b.alive(w.env.Attempt); err != nil {
		return err
	}
	return w.b.commit(c)
}

func (w *writer) Release(c connectors.Committable) {
	var x committable
	if json.Unmarshal(c, &x) == nil {
		w.free = append(w.free, x.ID)
	}
}

func (w *writer) Abort(context.Context) error      { return nil }
func (w *writer) InFlight() (records, bytes int64) { return 0, 0 }
func (w *writer) Close() error                     { return nil }

// visibleFrom counts the visible outputs of a partition's inputs from a position
// on.
func (b *broker) visibleFrom(t testing.TB, partition int32, position int64) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.visible {
		v, _, err := itemCodec.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if v.partition == partition && v.sequence >= position {
			n++
		}
	}
	return n
}

// expire aborts every open transaction, as a broker does whose transaction
// timeout has passed, and returns how many records it drops.
func (b *broker) expire() (records int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.txns {
		if t.open {
			records += len(t.records)
			t.open, t.done, t.records = false, "aborted", nil
			t.Epoch++
		}
	}
	return records
}

// open lists the transactions that are neither committed nor aborted.
func (b *broker) open() (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, t := range b.txns {
		if t.open {
			ids = append(ids, id)
		}
	}
	sort.Strings(ids)
	return ids
}
