package microbatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"streamduel/connectors"
)

// topic is a source in memory: partitions that grow, positions that are
// committed, records that can be deleted.
type topic struct {
	mu        sync.Mutex
	name      string
	parts     [][]connectors.Record
	earliest  map[int]int64
	committed map[connectors.SplitID]connectors.Position
	bounded   bool
	latest    bool // later splits begin at their end, as with auto.offset.reset: latest
	atEnd     bool // so do those of the first start
	deleted   map[int]bool
	broken    error // of readers
	broker    *broker
	// incarnation is another after the topic was made anew; "" tells nobody.
	incarnation string
	chunk       int // records a poll returns at most
	changed     chan struct{}
}

func newTopic(name string, partitions int) *topic {
	return &topic{name: name, parts: make([][]connectors.Record, partitions), earliest: map[int]int64{}, chunk: 7,
		committed: map[connectors.SplitID]connectors.Position{}, changed: make(chan struct{})}
}

func (t *topic) split(p int) connectors.Split {
	return connectors.Split{ID: connectors.SplitID(fmt.Sprintf("%s/%d", t.name, p)), Partition: int32(p), Incarnation: t.incarnation}
}

func (t *topic) index(id connectors.SplitID) int {
	for p := range t.parts {
		if t.split(p).ID == id {
			return p
		}
	}
	return -1
}

// event is what test records carry.
type event struct {
	partition int32
	sequence  int64
	key       int64
	time      int64
}

func (e event) bytes() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(e.partition))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.sequence))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.key))
	return binary.LittleEndian.AppendUint64(b, uint64(e.time))
}

func eventOf(b []byte) (event, error) {
	if len(b) != 32 {
		return event{}, fmt.Errorf("an event of %d bytes", len(b))
	}
	u := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[8*i:])) }
	return event{int32(u(0)), u(1), u(2), u(3)}, nil
}

func decodeEvent(r *connectors.Record) (event, error) { return eventOf(r.Value) }

// add appends records to a partition.
func (t *topic) add(p int, keys ...int64) {
	for _, k := range keys {
		t.addAt(p, k, 0)
	}
}

func (t *topic) addAt(p int, key, time int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seq := int64(len(t.parts[p]))
	t.parts[p] = append(t.parts[p], connectors.Record{Value: event{int32(p), seq, key, time}.bytes(), Offset: seq})
	close(t.changed)
	t.changed = make(chan struct{})
}

// fill adds n records over all partitions.
func (t *topic) fill(n int, keys int64) {
	for i := range n {
		t.add(i%len(t.parts), int64(i)%keys)
	}
}

func (t *topic) grow(partitions int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.parts) < partitions {
		t.parts = append(t.parts, nil)
	}
}

func (t *topic) records() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.parts {
		n += len(p)
	}
	return n
}

func (t *topic) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "memory", Replayable: true, Bounded: t.bounded}
}

func (t *topic) Enumerator(ctx context.Context, _ connectors.Env) (connectors.Enumerator, error) {
	return topicEnumerator{t}, t.broker.answer(ctx)
}

func (t *topic) Reader(ctx context.Context, _ connectors.Env) (connectors.Reader, error) {
	return &topicReader{t: t, wake: make(chan struct{}, 1)}, t.broker.answer(ctx)
}

type topicEnumerator struct{ t *topic }

func (e topicEnumerator) Discover(ctx context.Context) (out []connectors.Split, err error) {
	if err := e.t.broker.answer(ctx); err != nil {
		return nil, err
	}
	e.t.mu.Lock()
	defer e.t.mu.Unlock()
	for p := range e.t.parts {
		if !e.t.deleted[p] {
			out = append(out, e.t.split(p))
		}
	}
	return out, nil
}

func (e topicEnumerator) Bounds(ctx context.Context, ids []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	if err := e.t.broker.answer(ctx); err != nil {
		return nil, err
	}
	e.t.mu.Lock()
	defer e.t.mu.Unlock()
	out := map[connectors.SplitID]connectors.Bounds{}
	for _, id := range ids {
		p := e.t.index(id)
		if p < 0 || e.t.deleted[p] {
			return nil, fmt.Errorf("split %s is gone", id)
		}
		out[id] = connectors.Bounds{Earliest: connectors.Position(e.t.earliest[p]), Latest: connectors.Position(len(e.t.parts[p]))}
	}
	return out, nil
}

func (e topicEnumerator) Start(_ context.Context, ids []connectors.SplitID, initial bool) (map[connectors.SplitID]connectors.Position, error) {
	e.t.mu.Lock()
	defer e.t.mu.Unlock()
	out := map[connectors.SplitID]connectors.Position{}
	for _, id := range ids {
		out[id] = 0
		if e.t.latest && !initial || e.t.atEnd && initial {
			out[id] = connectors.Position(len(e.t.parts[e.t.index(id)]))
		}
	}
	return out, nil
}

func (e topicEnumerator) Commit(ctx context.Context, p map[connectors.SplitID]connectors.Position) error {
	if err := e.t.broker.answer(ctx); err != nil {
		return err
	}
	e.t.mu.Lock()
	defer e.t.mu.Unlock()
	maps.Copy(e.t.committed, p)
	return nil
}

func (e topicEnumerator) Committed(_ context.Context, ids []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	e.t.mu.Lock()
	defer e.t.mu.Unlock()
	out := map[connectors.SplitID]connectors.Position{}
	for _, id := range ids {
		if p, ok := e.t.committed[id]; ok {
			out[id] = p
		}
	}
	return out, nil
}

func (e topicEnumerator) Close() error { return nil }

type topicReader struct {
	t      *topic
	assign []connectors.Assignment
	turn   int
	wake   chan struct{}
	batch  connectors.Batch
}

func (r *topicReader) Assign(a ...connectors.Assignment) error {
	for _, x := range a {
		i := slices.IndexFunc(r.assign, func(y connectors.Assignment) bool { return y.Split.ID == x.Split.ID })
		if i < 0 {
			r.assign = append(r.assign, x)
			continue
		}
		r.assign[i] = x
	}
	return nil
}

func (r *topicReader) Unassign(ids ...connectors.SplitID) {
	r.assign = slices.DeleteFunc(r.assign, func(a connectors.Assignment) bool { return slices.Contains(ids, a.Split.ID) })
}

func (r *topicReader) Poll(ctx context.Context) (*connectors.Batch, error) {
	for {
		if err := r.t.broker.answer(ctx); err != nil {
			return nil, err
		}
		r.t.mu.Lock()
		changed, open := r.t.changed, false
		if err := r.t.broken; err != nil {
			r.t.mu.Unlock()
			return nil, err
		}
		for range r.assign {
			r.turn = (r.turn + 1) % len(r.assign)
			a := &r.assign[r.turn]
			if a.From >= a.Until {
				continue
			}
			p := r.t.index(a.Split.ID)
			if a.Split.Incarnation != r.t.incarnation {
				r.t.mu.Unlock()
				return nil, fmt.Errorf("split %s at position %d: the topic was deleted and created again", a.Split.ID, a.From)
			}
			if r.t.bounded && a.Until == connectors.NoEnd && p >= 0 && int(a.From) >= len(r.t.parts[p]) {
				continue // it ends by itself
			}
			open = true
			if p < 0 || int(a.From) >= len(r.t.parts[p]) {
				continue
			}
			until := min(int(a.Until), len(r.t.parts[p]), int(a.From)+r.t.chunk)
			r.batch = connectors.Batch{Split: a.Split, Records: r.t.parts[p][a.From:until], Next: connectors.Position(until), Latest: connectors.Position(len(r.t.parts[p])), Done: until == int(a.Until)}
			a.From = connectors.Position(until)
			r.t.mu.Unlock()
			return &r.batch, nil
		}
		r.t.mu.Unlock()
		if !open {
			return nil, io.EOF
		}
		select {
		case <-changed:
		case <-r.wake:
			return &connectors.Batch{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *topicReader) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
func (r *topicReader) Close() error { return nil }

// row is an output.
type row struct {
	partition  int32
	sequence   int64
	key, value int64
}

// broker is what topic and store are on: it can be gone. A client waits for it as
// long as its patience lasts. One that is nil is always there.
type broker struct {
	patience time.Duration
	mu       sync.Mutex
	back     chan struct{} // nil while it is there
}

func (b *broker) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.back = make(chan struct{})
}

func (b *broker) comeBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.back)
	b.back = nil
}

func (b *broker) answer(ctx context.Context) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	back := b.back
	b.mu.Unlock()
	if back == nil {
		return nil
	}
	t := time.NewTimer(b.patience)
	defer t.Stop()
	select {
	case <-back:
		return nil
	case <-t.C:
		return fmt.Errorf("the broker has not answered for %v", b.patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errFenced = errors.New("fenced by a newer process")

// store is a sink in memory that outlives the processes that write to it.
type store struct {
	mu      sync.Mutex
	visible []row
	aborted int
	epoch   int
	marks   *marks         // what transactions carried; nil until first used
	parts   map[int]*marks // the same of output partitions
	fences  map[int]int
	begun   int
	timeout time.Duration // of transactions; 0 is none
	// failWrites makes the so-manieth write from now fail, once.
	failWrites int
	// failCommits makes the answer to the so-manieth commit from now be lost, once.
	failCommits int
	broker      *broker
	only        []connectors.Guarantee
}

// marks are the positions and metadata that transactions carry. Two stores may
// share them, as two sinks of one broker do.
type marks struct {
	mu       sync.Mutex
	carried  map[connectors.SplitID]connectors.Position
	metadata string
	commits  int
}

func (s *store) Describe() connectors.SinkDescription {
	d := connectors.SinkDescription{Kind: "memory", Guarantees: []connectors.Guarantee{connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce}}
	if s.only != nil {
		d.Guarantees = s.only
	}
	return d
}

func (s *store) rows() []row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.visible)
}

// kill makes everything that a dead process would still send fail.
func (s *store) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
}

func (s *store) Writer(ctx context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	if err := s.broker.answer(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &storeWriter{s: s, env: env, epoch: s.epoch}, nil
}

func (s *store) Transaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	if err := s.broker.answer(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++ // fences older ones, whose open rows are never seen
	if s.marks == nil {
		s.marks = &marks{}
	}
	return &storeTransaction{s: s, env: env, epoch: s.epoch, marks: s.marks, part: -1}, nil
}

// PartitionTransaction fences older ones of its partition only.
func (s *store) PartitionTransaction(ctx context.Context, env connectors.WriterEnv) (connectors.Transaction, error) {
	if err := s.broker.answer(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts == nil {
		s.parts, s.fences = map[int]*marks{}, map[int]int{}
	}
	k := env.Subtask
	if s.parts[k] == nil {
		s.parts[k] = &marks{}
	}
	s.fences[k]++
	return &storeTransaction{s: s, env: env, epoch: s.epoch, marks: s.parts[k], part: k, fence: s.fences[k]}, nil
}

type storeWriter struct {
	connectors.Writer
	s     *store
	env   connectors.WriterEnv
	epoch int
	tx    *storeTransaction
}

func (w *storeWriter) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if err := w.env.Gate.Enter(ctx); err != nil {
		return err
	}
	defer w.env.Gate.Leave(1, 1)
	if err := w.s.broker.answer(ctx); err != nil {
		return err
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.epoch != w.s.epoch {
		return errFenced
	}
	if w.s.failWrites > 0 {
		if w.s.failWrites--; w.s.failWrites == 0 {
			return errors.New("the disk of the broker is full")
		}
	}
	e, err := eventOf(r.Value)
	if err != nil {
		return err
	}
	x := row{e.partition, e.sequence, e.key, e.time}
	if w.tx != nil {
		w.tx.open = append(w.tx.open, x)
	} else {
		w.s.visible = append(w.s.visible, x)
		if w.env.Acked != nil && o != nil {
			w.env.Acked(*o)
		}
	}
	return nil
}

func (w *storeWriter) Flush(context.Context) error { return nil }
func (w *storeWriter) Close() error                { return nil }

type storeTransaction struct {
	s         *store
	env       connectors.WriterEnv
	epoch     int
	marks     *marks
	part      int // −1 for the batch
	fence     int
	prepared  bool
	open      []row
	positions map[connectors.SplitID]connectors.Position
	metadata  string
	active    bool
	since     time.Time
}

func (t *storeTransaction) check() error {
	if t.epoch != t.s.epoch || t.part >= 0 && t.fence != t.s.fences[t.part] {
		return errFenced
	}
	return nil
}

func (t *storeTransaction) Committed(context.Context) (map[connectors.SplitID]connectors.Position, string, bool, error) {
	m := t.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.carried, m.metadata, m.commits > 0, nil
}

func (t *storeTransaction) Begin(ctx context.Context) error {
	if err := t.s.broker.answer(ctx); err != nil {
		return err
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.active {
		return errors.New("a transaction is open")
	}
	t.active, t.open, t.prepared, t.since = true, nil, false, time.Now()
	t.s.begun++
	return t.check()
}

func (t *storeTransaction) Writer(subtask int) connectors.Writer {
	env := t.env
	env.Subtask = subtask
	return &storeWriter{s: t.s, env: env, epoch: t.epoch, tx: t}
}

func (t *storeTransaction) Prepare(ctx context.Context, p map[connectors.SplitID]connectors.Position, metadata string) error {
	if err := t.s.broker.answer(ctx); err != nil {
		return err
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.positions, t.metadata, t.prepared = maps.Clone(p), metadata, true
	return t.check()
}

func (t *storeTransaction) Commit(ctx context.Context) error {
	if err := t.s.broker.answer(ctx); err != nil {
		return err
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if err := t.check(); err != nil {
		return err
	}
	if t.s.timeout > 0 && time.Since(t.since) >= t.s.timeout {
		return errors.New("the transaction is not known any more")
	}
	if !t.active || !t.prepared {
		return errors.New("commit without prepare")
	}
	if t.s.failCommits > 0 {
		if t.s.failCommits--; t.s.failCommits == 0 {
			t.s.publish(t)
			return errors.New("the answer is lost")
		}
	}
	t.s.publish(t)
	return nil
}

// publish makes a transaction visible. The lock is held.
func (s *store) publish(t *storeTransaction) {
	s.visible = append(s.visible, t.open...)
	m := t.marks
	m.mu.Lock()
	defer m.mu.Unlock()
	m.carried, m.metadata = t.positions, t.metadata
	m.commits++
	t.active = false
}

func (t *storeTransaction) Abort(ctx context.Context) error {
	if err := t.s.broker.answer(ctx); err != nil {
		return err
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.active = false
	t.s.aborted += len(t.open)
	return t.check()
}

func (t *storeTransaction) Close() error { return nil }

func (t *storeTransaction) Timeout() time.Duration {
	if t.s.timeout == 0 {
		return time.Hour
	}
	return t.s.timeout
}
