package microbatch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/control"
	"streamduel/pipeline"
)

// source is the driver's side of one source operator: its splits and how far
// they have been planned.
type source struct {
	run        *run
	node       *pipeline.Node
	mu         sync.RWMutex // guards byID, event times, and use of the enumerator
	enumerator connectors.Enumerator
	splits     []*split // in the order of discovery, which is where their tasks come from
	byID       map[connectors.SplitID]*split
	looked     time.Time // last discovery
}

type split struct {
	connectors.Split
	index    int
	position connectors.Position // behind what is planned; the planner's
	latest   connectors.Position // as last seen; the planner's
	pin      connectors.Position // availableNow: where it ends; the planner's
	first    atomic.Bool         // its first record has been taken
	reached  atomic.Int64        // behind what tasks have read
	// watermark is what the split has reached, since when by the batch's clock.
	watermark, since int64
	idle             bool // its generator says so
}

func openSource(r *run, n *pipeline.Node) (*source, error) {
	e, err := n.Source.Enumerator(r.ctx, r.env(n))
	if err != nil {
		return nil, fmt.Errorf("source %q: %w", n.Name, err)
	}
	return &source{run: r, node: n, enumerator: e, byID: map[connectors.SplitID]*split{}}, nil
}

func (s *source) fail(err error) error { return fmt.Errorf("source %q: %w", s.node.Name, err) }

// add begins to follow a split.
func (s *source) add(sp connectors.Split, from connectors.Position) *split {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &split{Split: sp, index: len(s.splits), position: from, latest: from, watermark: noTime, since: s.run.rt.Clock.Millis()}
	x.reached.Store(int64(from))
	s.splits = append(s.splits, x)
	s.byID[sp.ID] = x
	return x
}

// took tells that records of a split have been read, up to a position; tasks
// call it. A split is one task's at a time.
func (s *source) took(id connectors.SplitID, until connectors.Position) {
	s.mu.RLock()
	x := s.byID[id]
	s.mu.RUnlock()
	if x == nil {
		return
	}
	x.reached.Store(max(x.reached.Load(), int64(until)))
	if !x.first.Load() && x.first.CompareAndSwap(false, true) {
		s.run.emit(engines.FirstRecord{Split: id})
	}
}

// reached adds how far each split has been read.
func (s *source) reached(positions engines.Positions) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, x := range s.byID {
		positions[id] = connectors.Position(x.reached.Load())
	}
}

// discover looks for splits that have appeared. initial says that the job starts
// for the first time.
func (s *source) discover(ctx context.Context, initial bool) error {
	s.mu.Lock()
	found, err := s.enumerator.Discover(ctx)
	s.looked = time.Now()
	var fresh []connectors.Split
	var ids []connectors.SplitID
	for _, sp := range found {
		if s.byID[sp.ID] == nil {
			fresh = append(fresh, sp)
			ids = append(ids, sp.ID)
		}
	}
	var from map[connectors.SplitID]connectors.Position
	if err == nil && len(fresh) > 0 {
		from, err = s.enumerator.Start(ctx, ids, initial)
	}
	s.mu.Unlock()
	if err != nil {
		return s.fail(err)
	}
	for _, sp := range fresh {
		p, ok := from[sp.ID]
		if !ok {
			return s.fail(fmt.Errorf("split %s has no start position", sp.ID))
		}
		s.add(sp, p)
		s.run.emit(engines.Discovered{Split: sp.ID, From: p})
	}
	return nil
}

// bounds asks for the ends of all splits in one call and checks that what was
// planned up to still joins on.
func (s *source) bounds(ctx context.Context) error {
	if len(s.splits) == 0 {
		return nil
	}
	ids := make([]connectors.SplitID, len(s.splits))
	for i, x := range s.splits {
		ids[i] = x.ID
	}
	s.mu.Lock()
	bounds, err := s.enumerator.Bounds(ctx, ids)
	s.mu.Unlock()
	if err != nil {
		return s.fail(err)
	}
	for _, x := range s.splits {
		b, ok := bounds[x.ID]
		if !ok {
			return s.fail(fmt.Errorf("split %s is gone", x.ID))
		}
		if x.position < b.Earliest {
			return s.fail(fmt.Errorf("split %s: records from position %d on were deleted before they were read; the first one there is %d", x.ID, x.position, b.Earliest))
		}
		if x.position > b.Latest {
			return s.fail(fmt.Errorf("split %s: position %d lies behind its end %d: it was cut or made anew", x.ID, x.position, b.Latest))
		}
		x.latest = b.Latest
	}
	return nil
}

// publish commits positions to the outside system.
func (s *source) publish(ctx context.Context, ranges map[connectors.SplitID]splitRange) error {
	positions := make(map[connectors.SplitID]connectors.Position, len(ranges))
	for id, r := range ranges {
		positions[id] = r.Until
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enumerator.Commit(ctx, positions); err != nil {
		return s.fail(fmt.Errorf("committing positions: %w", err))
	}
	return nil
}

// observe takes over the event times that the tasks have seen.
func (s *source) observe(t *taskSource, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range t.assign {
		x := s.byID[a.Split.ID]
		wm, idle := t.head.Watermark(a.Split.ID)
		x.since, x.idle = now, idle
		x.watermark = max(x.watermark, wm)
	}
}

// eventTime is the source's watermark after what it has read up to the batch time
// now, and whether it has one.
func (s *source) eventTime(policy WatermarkPolicy, now int64) (wm int64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]control.SplitTime, len(s.splits))
	for i, x := range s.splits {
		idle := s.node.Watermarks.Idle
		all[i] = control.SplitTime{Watermark: x.watermark, Idle: x.idle || idle > 0 && now-x.since >= idle.Milliseconds()}
	}
	if policy == MinOverPartitions {
		return control.MinOverSplits(all)
	}
	return control.MaxOverSplits(all)
}

// known returns the splits so far; the slice is not changed any more.
func (s *source) known() []*split {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.splits[:len(s.splits):len(s.splits)]
}
