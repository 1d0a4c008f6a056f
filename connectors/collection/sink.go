package collection

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"

	"streamduel/connectors"
)

// Op is a step at which a Sink can be made to fail.
type Op string

// The steps. AfterCommit fails when the commit has already happened, as when
// its answer is lost.
const (
	OpWrite       Op = "write"
	OpFlush       Op = "flush"
	OpPrepare     Op = "prepare"
	OpCommit      Op = "commit"
	OpAfterCommit Op = "after-commit"
	OpRecover     Op = "recover"
)

// Record is what a Sink has collected.
type Record struct {
	connectors.Record
	Origin    connectors.Origin // zero if it came without
	HasOrigin bool
	Subtask   int
}

// Errors of the simulated outside system.
var (
	ErrFenced = errors.New("collection: a newer writer has taken over")
	ErrLost   = errors.New("collection: transactions that cannot be committed any more")
)

// Sink plays an outside system with transactions. All its methods are safe for
// concurrent use.
type Sink struct {
	// Fail, if set, is asked before each step with the number of its earlier
	// occurrences; an error that it returns is the step's. Set it before use.
	Fail func(op Op, before int) error

	mu        sync.Mutex
	visible   []Record
	open      map[uint64]*epoch // by transaction id: written or prepared, undecided
	decided   map[uint64]bool   // ended ones: true if committed
	nextID    uint64
	fence     int // writers of a lower number are fenced
	txnFence  int // the same of transactions
	counts    map[Op]int
	positions map[connectors.SplitID]connectors.Position
	metadata  string
	stored    bool
}

type epoch struct {
	job      string
	records  []Record
	prepared bool
}

var (
	_ connectors.Sink       = (*Sink)(nil)
	_ connectors.Recoverer  = (*Sink)(nil)
	_ connectors.Transactor = (*Sink)(nil)
)

// NewSink returns an empty sink.
func NewSink() *Sink {
	return &Sink{open: make(map[uint64]*epoch), decided: make(map[uint64]bool), counts: make(map[Op]int),
		positions: make(map[connectors.SplitID]connectors.Position)}
}

// Describe implements connectors.Sink.
func (s *Sink) Describe() connectors.SinkDescription {
	return connectors.SinkDescription{Kind: "collection", Guarantees: []connectors.Guarantee{
		connectors.AtMostOnce, connectors.AtLeastOnce, connectors.ExactlyOnce}}
}

// Records returns what a reader of committed records sees, in the order in
// which it became visible.
func (s *Sink) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.visible)
}

// Values returns the visible values, sorted.
func (s *Sink) Values() []string {
	rs := s.Records()
	out := make([]string, len(rs))
	for i := range rs {
		out[i] = string(rs[i].Value)
	}
	slices.Sort(out)
	return out
}

// Undecided is the number of transactions neither committed nor aborted.
func (s *Sink) Undecided() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// step counts an operation and fails it if it is to fail. REQUIRES: s.mu.
func (s *Sink) step(op Op) error {
	n := s.counts[op]
	s.counts[op]++
	if s.Fail == nil {
		return nil
	}
	if err := s.Fail(op, n); err != nil {
		return fmt.Errorf("collection: %s %d: %w", op, n, err)
	}
	return nil
}

func clone(r *connectors.Record, o *connectors.Origin, subtask int) Record {
	c := Record{Record: *r, Subtask: subtask}
	c.Key, c.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
	c.Headers = slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = bytes.Clone(c.Headers[i].Value)
	}
	if o != nil {
		c.Origin, c.HasOrigin = *o, true
	}
	return c
}

// Writer implements connectors.Sink.
func (s *Sink) Writer(_ context.Context, env connectors.WriterEnv) (connectors.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if env.Guarantee == connectors.ExactlyOnce && env.Pool < 1 {
		return nil, fmt.Errorf("collection: exactly-once needs a pool of at least 1, not %d", env.Pool)
	}
	return &writer{s: s, env: env, fence: s.fence, held: make(map[uint64]bool)}, nil
}

// writer keeps an epoch's records apart until it is committed; without
// exactly-once a record is visible when Write returns.
type writer struct {
	s     *Sink
	env   connectors.WriterEnv
	fence int
	cur   uint64          // 0: no record in this epoch yet
	held  map[uint64]bool // prepared and not released; true when committed
}

func (w *writer) begin() error {
	if w.fence < w.s.fence {
		return ErrFenced
	}
	if w.env.Guarantee != connectors.ExactlyOnce || w.cur != 0 {
		return nil
	}
	if len(w.held) >= w.env.Pool {
		return fmt.Errorf("collection: all %d transactions of the pool hold an epoch that was not released", w.env.Pool)
	}
	w.s.nextID++
	w.cur = w.s.nextID
	w.s.open[w.cur] = &epoch{job: w.env.Job + "/" + w.env.Node}
	return nil
}

// Write implements connectors.Writer.
func (w *writer) Write(ctx context.Context, r *connectors.Record, o *connectors.Origin) error {
	if err := w.env.Gate.Enter(ctx); err != nil {
		return err
	}
	w.s.mu.Lock()
	err := w.begin()
	if err == nil {
		err = w.s.step(OpWrite)
	}
	if err == nil {
		c := clone(r, o, w.env.Subtask)
		if w.cur != 0 {
			w.s.open[w.cur].records = append(w.s.open[w.cur].records, c)
		} else {
			w.s.visible = append(w.s.visible, c)
		}
	}
	w.s.mu.Unlock()
	if err != nil {
		w.env.Gate.Leave(1, 0)
		return err
	}
	if w.env.Acked != nil {
		var at connectors.Origin
		if o != nil {
			at = *o
		}
		w.env.Acked(at)
	}
	w.env.Gate.Leave(1, 1)
	return nil
}

// Flush implements connectors.Writer.
func (w *writer) Flush(context.Context) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.step(OpFlush)
}

// Prepare implements connectors.Writer.
func (w *writer) Prepare(context.Context) (connectors.Committable, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if err := w.s.step(OpPrepare); err != nil {
		return nil, err
	}
	if w.cur == 0 {
		return nil, nil
	}
	e := w.s.open[w.cur]
	if e == nil || w.fence < w.s.fence {
		return nil, ErrFenced
	}
	e.prepared = true
	id := w.cur
	w.held[id], w.cur = false, 0
	return encode(id), nil
}

// Commit implements connectors.Writer.
func (w *writer) Commit(_ context.Context, c connectors.Committable) error {
	if c == nil {
		return nil
	}
	id, err := decode(c)
	if err != nil {
		return err
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if _, ok := w.held[id]; !ok {
		return fmt.Errorf("collection: commit of an epoch that this writer did not prepare")
	}
	if err := w.s.step(OpCommit); err != nil {
		return err
	}
	if !w.s.commit(id) {
		return ErrFenced
	}
	w.held[id] = true
	return w.s.step(OpAfterCommit)
}

// commit makes a transaction visible; false if it was aborted. REQUIRES: s.mu.
func (s *Sink) commit(id uint64) bool {
	if e := s.open[id]; e != nil {
		s.visible = append(s.visible, e.records...)
		s.decided[id] = true
		delete(s.open, id)
	}
	return s.decided[id]
}

// Release implements connectors.Writer.
func (w *writer) Release(c connectors.Committable) {
	if id, err := decode(c); err == nil && w.held[id] {
		delete(w.held, id)
	}
}

// Abort implements connectors.Writer.
func (w *writer) Abort(context.Context) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	delete(w.s.open, w.cur)
	w.cur = 0
	return nil
}

// InFlight implements connectors.Writer: everything is acknowledged at once.
func (w *writer) InFlight() (records, bytes int64) { return 0, 0 }

// Close implements connectors.Writer.
func (w *writer) Close() error { return w.Abort(context.Background()) }

// Recover implements connectors.Recoverer.
func (s *Sink) Recover(_ context.Context, env connectors.WriterEnv, cs []connectors.Committable) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.step(OpRecover); err != nil {
		return err
	}
	s.fence++
	lost := 0
	for _, c := range cs {
		if c == nil {
			continue
		}
		id, err := decode(c)
		if err != nil {
			return err
		}
		if !s.commit(id) {
			lost++
		}
	}
	maps.DeleteFunc(s.open, func(_ uint64, e *epoch) bool { return e.job == env.Job+"/"+env.Node })
	if lost > 0 {
		return fmt.Errorf("%w: %d of %d: %w", ErrLost, lost, len(cs), connectors.ErrLost)
	}
	return nil
}

const committableVersion = 1

func encode(id uint64) connectors.Committable {
	b := binary.BigEndian.AppendUint64([]byte{committableVersion}, id)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func decode(c connectors.Committable) (uint64, error) {
	if len(c) != 13 || c[0] != committableVersion || crc32.ChecksumIEEE(c[:9]) != binary.BigEndian.Uint32(c[9:]) {
		return 0, fmt.Errorf("collection: %x is not a committable of this sink", []byte(c))
	}
	return binary.BigEndian.Uint64(c[1:]), nil
}
