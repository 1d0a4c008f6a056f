// Package connectors is a source and a sink of one's own, each as small as the
// contracts allow; docs/connectors.md explains them. Their tests run the checks
// of package connectorstest, which every connector should pass.
package connectors

import (
	"context"
	"fmt"
	"io"

	"streamduel/connectors"
)

// Source reads logs that are addressed by record number, as an HTTP service with
// "give me n records from i on" is. What it needs of them is Log.
type Source struct {
	Logs map[connectors.SplitID]Log
}

// Log is one such log: Read returns records from number i on, as many as it
// likes and none at the end; Len is how many there are now.
type Log interface {
	Read(ctx context.Context, i int64) ([]string, error)
	Len(ctx context.Context) (int64, error)
}

var _ connectors.Source = (*Source)(nil)

// Describe says that the source can be read again, which exactly-once and
// at-least-once need.
func (s *Source) Describe() connectors.SourceDescription {
	return connectors.SourceDescription{Kind: "logs", Replayable: true, Bounded: true}
}

// Enumerator is the coordinator's side.
func (s *Source) Enumerator(context.Context, connectors.Env) (connectors.Enumerator, error) {
	return &enumerator{source: s, committed: map[connectors.SplitID]connectors.Position{}}, nil
}

// Reader is a task's side.
func (s *Source) Reader(context.Context, connectors.Env) (connectors.Reader, error) {
	return &reader{source: s, woken: make(chan struct{}, 1)}, nil
}

type enumerator struct {
	source    *Source
	committed map[connectors.SplitID]connectors.Position
}

func (e *enumerator) Discover(context.Context) ([]connectors.Split, error) {
	var splits []connectors.Split
	for i, id := range sorted(e.source.Logs) {
		splits = append(splits, connectors.Split{ID: id, Partition: int32(i)})
	}
	return splits, nil
}

func (e *enumerator) Bounds(ctx context.Context, ids []connectors.SplitID) (map[connectors.SplitID]connectors.Bounds, error) {
	out := map[connectors.SplitID]connectors.Bounds{}
	for _, id := range ids {
		log := e.source.Logs[id]
		if log == nil {
			return nil, fmt.Errorf("log %s is gone", id)
		}
		n, err := log.Len(ctx)
		if err != nil {
			return nil, err
		}
		out[id] = connectors.Bounds{Latest: connectors.Position(n)}
	}
	return out, nil
}

// Start begins at the beginning. A source that could begin elsewhere would still
// have to do so for splits that were found later (initial is false).
func (e *enumerator) Start(_ context.Context, ids []connectors.SplitID, _ bool) (map[connectors.SplitID]connectors.Position, error) {
	out := map[connectors.SplitID]connectors.Position{}
	for _, id := range ids {
		out[id] = 0
	}
	return out, nil
}

// Commit has no outside place to write to, so an at-most-once job would begin
// anew; checkpoints hold the positions of the others.
func (e *enumerator) Commit(_ context.Context, positions map[connectors.SplitID]connectors.Position) error {
	for id, p := range positions {
		e.committed[id] = p
	}
	return nil
}

func (e *enumerator) Committed(_ context.Context, ids []connectors.SplitID) (map[connectors.SplitID]connectors.Position, error) {
	out := map[connectors.SplitID]connectors.Position{}
	for _, id := range ids {
		if p, ok := e.committed[id]; ok {
			out[id] = p
		}
	}
	return out, nil
}

func (e *enumerator) Close() error { return nil }

// reader reads its splits in turn.
type reader struct {
	source *Source
	splits []connectors.Assignment // From moves along
	woken  chan struct{}
}

func (r *reader) Assign(as ...connectors.Assignment) error {
	for _, a := range as {
		if r.source.Logs[a.Split.ID] == nil {
			return fmt.Errorf("log %s is not known", a.Split.ID)
		}
		r.Unassign(a.Split.ID)
		r.splits = append(r.splits, a)
	}
	return nil
}

func (r *reader) Unassign(ids ...connectors.SplitID) {
	for _, id := range ids {
		for i, a := range r.splits {
			if a.Split.ID == id {
				r.splits = append(r.splits[:i], r.splits[i+1:]...)
				break
			}
		}
	}
}

func (r *reader) Poll(ctx context.Context) (*connectors.Batch, error) {
	select {
	case <-r.woken:
		return &connectors.Batch{}, nil
	default:
	}
	for range len(r.splits) {
		a := r.splits[0]
		r.splits = append(r.splits[1:], a) // the next Poll begins with another
		log := r.source.Logs[a.Split.ID]
		n, err := log.Len(ctx)
		if err != nil {
			return nil, err
		}
		end := min(connectors.Position(n), a.Until)
		if a.From >= end {
			continue
		}
		lines, err := log.Read(ctx, int64(a.From))
		if err != nil {
			return nil, fmt.Errorf("log %s, position %d: %w", a.Split.ID, a.From, err)
		}
		b := &connectors.Batch{Split: a.Split, Latest: connectors.Position(n)}
		for i, line := range lines {
			at := a.From + connectors.Position(i)
			if at == end {
				break
			}
			b.Records = append(b.Records, connectors.Record{Value: []byte(line), Offset: int64(at)})
		}
		b.Next = a.From + connectors.Position(len(b.Records))
		b.Done = b.Next == a.Until
		r.splits[len(r.splits)-1].From = b.Next
		return b, nil
	}
	return nil, io.EOF // bounded: an unbounded source would wait here
}

// Wake makes a Poll return, which here never waits for long.
func (r *reader) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

func (r *reader) Close() error { return nil }
