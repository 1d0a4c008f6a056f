// Package collection is a source and a sink in memory: the source reads slices
// that may grow, the sink keeps what it is given and plays an outside system
// with transactions, for tests and examples. Both outlive the jobs that use
// them, so a job can crash and be restarted against them in one process.
package collection

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"streamduel/connectors"
)

// Source holds splits of records. All its methods are safe for concurrent use.
type Source struct {
	// Start is where splits begin at a job's first start; earliest if empty.
	// Set it before use.
	Start connectors.StartFrom
	// BatchRecords bounds what one Poll returns; 1024 if zero.
	BatchRecords int

	mu        sync.Mutex
	bounded   bool
	splits    [][]connectors.Record
	committed map[connectors.SplitID]connectors.Position
	readers   map[*reader]struct{}
}

var _ connectors.Source = (*Source)(nil)

// NewSource returns a bounded source of the given splits.
func NewSource(splits ...[]connectors.Record) *Source {
	s := NewOpenSource(0)
	s.splits, s.bounded = slices.Clone(splits), true
	return s
}

// NewOpenSource returns an endless source of n empty splits, to be filled with
// Append and grown with Grow.
func NewOpenSource(n int) *Source {
	return &Source{
		splits:    make([][]connectors.Record, n),
		committed: make(map[connectors.SplitID]connectors.Position),
		readers:   make(map[*reader]struct{}),
	}
}

// Values returns a split whose records have the given values.
func Values(values ...string) []connectors.Record {
	rs := make([]connectors.Record, len(values))
	for i, v := range values {
		rs[i].Value = []byte(v)
	}
	return rs
}

// Append adds records to the end of a split and wakes who waits for them.
func (s *Source) Append(split int, rs ...connectors.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.splits[split] = append(s.splits[split], rs...)
	s.tell()
}

// Grow adds n empty splits.
func (s *Source) Grow(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.splits = append(s.splits, make([][]connectors.Record, n)...)
}

// Finish makes an endless source bounded: its readers come to their end.
func (s *Source) Finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bounded = true
	s.tell()
}

// tell wakes the readers. REQUIRES: s.mu.
func (s *Source) tell() {
	for r := range s.readers {
		signal(r.more)
	}
}

// SplitID is the id of split i.
func SplitID(i int) connectors.SplitID {
	return connectors.SplitID("collection/" + strconv.Itoa(i))
}

// index is the inverse of SplitID for splits that exist. REQUIRES: s.mu.
func (s *Source) index(id connectors.SplitID) (int, error) {
	n, ok := strings.CutPrefix(string(id), "collection/")
	i, err := strconv.Atoi(n)
	if !ok || err != nil || i < 0 || i >= len(s.splits) {
		return 0, fmt.Errorf("collection: no split %q", id)
	}
	return i, nil
}

// Describe implements connectors.Source.
func (s *Source) Describe() connectors.SourceDescription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return connectors.SourceDescription{Kind: "collection", Replayable: true, Bounded: s.bounded}
}

// Enumerator implements connectors.Source.
func (s *Source) Enumerator(context.Context, connectors.Env) (connectors.Enumerator, error) {
	return enumerator{s}, nil
}

// Reader implements connectors.Source.
func (s *Source) Reader(context.Context, connectors.Env) (connectors.Reader, error) {
	r := &reader{s: s, more: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers[r] = struct{}{}
	return r, nil
}

type enumerator struct{ s *Source }

// Discover sorts ids as text, like every source; with more than ten splits
// that is not their numerical order.
func (e enumerator) Discover(context.Context) ([]connectors.Split, error) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	out := make([]connectors.Split, len(e.s.splits))
	for i := range out {
		out[i] = connectors.Split{ID: SplitID(i), Partition: int32(i)}
	}
	slices.SortFunc(out, func(a, b connectors.Split) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out, nil
}

func (e enumerator) Bounds(_ context.Context, splits []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	out := make(map[connectors.SplitID]connectors.Bounds, len(splits))
	for _, id := range splits {
		i, err := e.s.index(id)
		if err != nil {
			return nil, err
		}
		out[id] = connectors.Bounds{Latest: connectors.Position(len(e.s.splits[i]))}
	}
	return out, nil
}

func (e enumerator) Start(ctx context.Context, splits []connectors.SplitID, initial bool) (map[connectors.SplitID]connectors.Position, error) {
	bounds, err := e.Bounds(ctx, splits)
	if err != nil {
		return nil, err
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	out := make(map[connectors.SplitID]connectors.Position, len(splits))
	for _, id := range splits {
		switch {
		case initial && e.s.Start == connectors.StartLatest:
			out[id] = bounds[id].Latest
		case initial && e.s.Start == connectors.StartCommitted:
			out[id] = e.s.committed[id]
		default:
			out[id] = 0
		}
	}
	return out, nil
}

func (e enumerator) Commit(_ context.Context, positions map[connectors.SplitID]connectors.Position) error {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	maps.Copy(e.s.committed, positions)
	return nil
}

func (e enumerator) Committed(_ context.Context, splits []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	out := make(map[connectors.SplitID]connectors.Position)
	for _, id := range splits {
		if p, ok := e.s.committed[id]; ok {
			out[id] = p
		}
	}
	return out, nil
}

func (e enumerator) Close() error { return nil }

// reader reads assigned splits in turn.
type reader struct {
	s          *Source
	more, wake chan struct{} // capacity 1
	mu         sync.Mutex
	assigned   []*assigned
	turn       int
	batch      connectors.Batch
	records    []connectors.Record
}

type assigned struct {
	connectors.Assignment
	index int
	told  bool
}

// Assign implements connectors.Reader.
func (r *reader) Assign(as ...connectors.Assignment) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range as {
		r.s.mu.Lock()
		i, err := r.s.index(a.Split.ID)
		if err == nil && (a.From < 0 || a.From > connectors.Position(len(r.s.splits[i])) || a.Until < a.From) {
			err = fmt.Errorf("collection: split %s has positions 0 to %d; asked for %d to %d", a.Split.ID, len(r.s.splits[i]), a.From, a.Until)
		}
		r.s.mu.Unlock()
		if err != nil {
			return err
		}
		n := &assigned{Assignment: a, index: i}
		if k := slices.IndexFunc(r.assigned, func(x *assigned) bool { return x.Split.ID == a.Split.ID }); k >= 0 {
			r.assigned[k] = n
		} else {
			r.assigned = append(r.assigned, n)
		}
	}
	signal(r.more)
	return nil
}

// Unassign implements connectors.Reader.
func (r *reader) Unassign(ids ...connectors.SplitID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.assigned = slices.DeleteFunc(r.assigned, func(a *assigned) bool { return slices.Contains(ids, a.Split.ID) })
}

// Poll implements connectors.Reader.
func (r *reader) Poll(ctx context.Context) (*connectors.Batch, error) {
	for {
		select {
		case <-r.wake:
			r.batch = connectors.Batch{}
			return &r.batch, nil
		default:
		}
		b, eof := r.next()
		if eof {
			return nil, io.EOF
		}
		if b != nil {
			return b, nil
		}
		select {
		case <-r.more:
		case <-r.wake:
			r.batch = connectors.Batch{}
			return &r.batch, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// next returns a batch of the next split in turn that has news.
func (r *reader) next() (b *connectors.Batch, eof bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	limit := r.s.BatchRecords
	if limit == 0 {
		limit = 1024
	}
	eof = len(r.assigned) > 0
	for k := range r.assigned {
		a := r.assigned[(r.turn+k)%len(r.assigned)]
		if a.told {
			continue
		}
		eof = false
		all := r.s.splits[a.index]
		latest := connectors.Position(len(all))
		until := a.Until
		if r.s.bounded {
			until = min(until, latest)
		}
		to := min(until, latest, a.From+connectors.Position(limit))
		done := a.From >= until || to >= until
		if to <= a.From && !done {
			continue
		}
		r.turn = (r.turn + k + 1) % len(r.assigned)
		r.records = r.records[:0]
		for ; a.From < to; a.From++ {
			rec := all[a.From]
			rec.Offset = int64(a.From)
			r.records = append(r.records, rec)
		}
		a.told = done
		r.batch = connectors.Batch{Split: a.Split, Records: r.records, Next: a.From, Latest: latest, Done: done}
		return &r.batch, false
	}
	return nil, eof
}

// Wake implements connectors.Reader.
func (r *reader) Wake() { signal(r.wake) }

// Close implements connectors.Reader.
func (r *reader) Close() error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	delete(r.s.readers, r)
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
