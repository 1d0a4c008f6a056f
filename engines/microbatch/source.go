package microbatch

import (
	"context"
	"errors"
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
	intake     *intake   // in receiver mode
}

type split struct {
	connectors.Split
	index    int
	gone     bool                // it was deleted, and that is allowed
	position connectors.Position // behind what is planned; the planner's
	latest   connectors.Position // as last seen; the planner's
	pin      connectors.Position // availableNow: where it ends; the planner's
	// incarnation is the one that is read; the planner's.
	incarnation string
	told        connectors.Position // to the outside system; under the source's lock
	first       atomic.Bool         // its first record has been taken
	reached     atomic.Int64        // behind what tasks have read
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

// unanswered is the error of an outside system that did not say what there is. It may
// when it is asked again.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

func (s *source) fail(err error) error { return fmt.Errorf("source %q: %w", s.node.Name, err) }

// add begins to follow a split.
func (s *source) add(sp connectors.Split, from connectors.Position) *split {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &split{Split: sp, index: len(s.splits), position: from, latest: from, incarnation: sp.Incarnation, watermark: noTime, since: s.run.rt.Clock.Millis()}
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

// tookFar takes over what a task in an executor has read.
func (s *source) tookFar(said *report) {
	s.run.waiting.Add(said.Records)
	s.passedFar(said.Ends)
}

// passedFar is took for a task in an executor, which has told of the first records.
func (s *source) passedFar(to engines.Positions) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, at := range to {
		if x := s.byID[id]; x != nil {
			x.reached.Store(max(x.reached.Load(), int64(at)))
		}
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
	if err != nil {
		err = unanswered{err}
	}
	s.looked = time.Now()
	var fresh []connectors.Split
	var ids []connectors.SplitID
	var anew, back []connectors.Split
	exists := map[connectors.SplitID]bool{}
	for _, sp := range found {
		exists[sp.ID] = true
		switch x := s.byID[sp.ID]; {
		case x == nil:
			fresh = append(fresh, sp)
			ids = append(ids, sp.ID)
		case x.gone:
			back = append(back, sp)
		case another(x.incarnation, sp.Incarnation):
			anew = append(anew, sp)
		}
	}
	var from map[connectors.SplitID]connectors.Position
	if err == nil && len(fresh) > 0 {
		from, err = s.enumerator.Start(ctx, ids, initial)
		if err == nil && !initial && s.run.cfg.Source.Mode == Structured {
			err = s.fromEarliest(ctx, from)
		}
	}
	s.mu.Unlock()
	if err != nil {
		return s.fail(err)
	}
	if err := s.begunAnew(ctx, anew); err != nil {
		return s.fail(err)
	}
	if err := s.cameBack(ctx, back); err != nil {
		return s.fail(err)
	}
	for _, x := range s.splits {
		if s.intake != nil && !exists[x.ID] { // its receiver would wait for it
			return s.fail(fmt.Errorf("split %s is gone%s", x.ID, remedyGone))
		}
	}
	for _, sp := range fresh {
		p, ok := from[sp.ID]
		if !ok {
			return s.fail(fmt.Errorf("split %s has no start position", sp.ID))
		}
		if err := s.begin(sp, p); err != nil {
			return s.fail(err)
		}
	}
	return nil
}

// beginAt takes the splits with which a start before this one began that got no batch
// into the log: the source may say another beginning by now, such as its end.
func (s *source) beginAt(ctx context.Context, begun map[connectors.SplitID]beginning) error {
	if len(begun) == 0 {
		return nil
	}
	found, err := s.enumerator.Discover(ctx)
	if err != nil {
		return err
	}
	for _, sp := range found {
		b, ok := begun[sp.ID]
		if !ok || another(b.Incarnation, sp.Incarnation) {
			continue
		}
		if err := s.begin(sp, b.Position); err != nil {
			return err
		}
	}
	return nil
}

// begin follows a split from where it begins.
func (s *source) begin(sp connectors.Split, from connectors.Position) error {
	if s.intake != nil {
		from = s.intake.oldest(sp.ID, from)
		if err := s.intake.follow(sp, from, from); err != nil {
			return err
		}
	}
	s.add(sp, from)
	s.run.emit(engines.Discovered{Split: sp.ID, From: from})
	return nil
}

// fromEarliest makes splits that were found later begin at their first record, as
// structured streaming does whatever the source says. Where that is not the
// first one ever, records are gone. The lock is held.
func (s *source) fromEarliest(ctx context.Context, from map[connectors.SplitID]connectors.Position) error {
	ids := make([]connectors.SplitID, 0, len(from))
	for id := range from {
		ids = append(ids, id)
	}
	bounds, err := s.enumerator.Bounds(ctx, ids)
	if err != nil {
		return err
	}
	for id := range from {
		if at := bounds[id].Earliest; at > 0 {
			if err := s.lost(id, 0, at, deletedUnfound); err != nil {
				return err
			}
		}
		from[id] = bounds[id].Earliest
	}
	return nil
}

// another reports whether a split has been made anew, as far as that is known.
func another(then, now string) bool { return then != "" && now != "" && then != now }

// What is said of records that are gone.
const (
	madeAnew     = "went with their split: it was deleted and made anew"
	deletedEarly = "were deleted before they were read"
	// Of a split that is new to the job.
	deletedUnfound = "were deleted before the split was found"
	behindEnd      = "are behind its end now: it was cut or made anew"
)

// begunAnew takes the splits that have been made anew from their first record, if
// the job may go on without what the old ones held.
func (s *source) begunAnew(ctx context.Context, anew []connectors.Split) error {
	for _, sp := range anew {
		x := s.byID[sp.ID]
		if err := s.lost(sp.ID, x.position, max(x.position, x.latest), madeAnew); err != nil {
			return err
		}
		if err := s.fromBeginning(ctx, x, sp); err != nil {
			return err
		}
	}
	return nil
}

// cameBack reads splits on that were gone and are there again: where the job was if
// it is known that they are the same, otherwise from their first record, as others
// that are found.
func (s *source) cameBack(ctx context.Context, back []connectors.Split) error {
	for _, sp := range back {
		x := s.byID[sp.ID]
		if x.incarnation == "" || x.incarnation != sp.Incarnation {
			if err := s.fromBeginning(ctx, x, sp); err != nil {
				return err
			}
		}
		x.gone = false
		s.run.emit(engines.Discovered{Split: sp.ID, From: x.position})
	}
	return nil
}

// fromBeginning reads a split from its first record in the place of one that had its
// name.
func (s *source) fromBeginning(ctx context.Context, x *split, sp connectors.Split) error {
	s.mu.Lock()
	bounds, err := s.enumerator.Bounds(ctx, []connectors.SplitID{sp.ID})
	x.told = 0
	s.mu.Unlock()
	if err != nil {
		return err
	}
	at := bounds[sp.ID].Earliest
	if at > 0 {
		if err := s.lost(sp.ID, 0, at, deletedUnfound); err != nil {
			return err
		}
	}
	x.incarnation, x.position = sp.Incarnation, at
	x.reached.Store(int64(at))
	return nil
}

// remedyGone ends what is said of a split that is not there any more.
const remedyGone = ": put it back, begin anew in an empty folder, or go on without it under source.mode: structured with failOnDataLoss: false"

// mayLose reports whether the job may go on without records that are gone.
func (s *source) mayLose() bool {
	return s.run.cfg.Source.Mode == Structured && !s.run.cfg.Source.FailOnDataLoss
}

// lost decides about records that are not there any more: nil when the job may
// go on without them.
func (s *source) lost(id connectors.SplitID, from, until connectors.Position, why string) error {
	if s.run.cfg.Source.Mode != Structured {
		return fmt.Errorf("split %s: records from position %d to %d %s: begin anew in an empty folder, or go on without them under source.mode: structured with failOnDataLoss: false", id, from, until, why)
	}
	if s.run.cfg.Source.FailOnDataLoss {
		return fmt.Errorf("split %s: records from position %d to %d %s; source.failOnDataLoss: false goes on without them", id, from, until, why)
	}
	s.run.rt.Log.Warn("records are lost", "job", s.run.job.Name, "split", id, "from", from, "until", until, "why", why)
	s.run.emit(engines.DataLost{Split: id, From: from, Until: until})
	return nil
}

// bounds asks for the ends of all splits in one call and checks that what was
// planned up to still joins on.
func (s *source) bounds(ctx context.Context) error { return s.joined(ctx, false) }

// joined is bounds; looked says whether splits have just been looked for.
func (s *source) joined(ctx context.Context, looked bool) error {
	if s.intake != nil {
		for _, x := range s.splits {
			x.latest = s.intake.end(x.ID)
		}
		return nil
	}
	ids := make([]connectors.SplitID, 0, len(s.splits))
	for _, x := range s.splits {
		if !x.gone {
			ids = append(ids, x.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	s.mu.Lock()
	bounds, err := s.enumerator.Bounds(ctx, ids)
	s.mu.Unlock()
	if err != nil {
		switch {
		case s.mayLose():
			return s.leave(ctx, err)
		case errors.Is(err, connectors.ErrGone):
			return s.fail(fmt.Errorf("%w%s", err, remedyGone))
		}
		return s.fail(unanswered{err})
	}
	for _, x := range s.splits {
		if x.gone {
			continue
		}
		b, ok := bounds[x.ID]
		if !ok {
			return s.fail(fmt.Errorf("split %s is gone%s", x.ID, remedyGone))
		}
		if x.position < b.Earliest {
			if err := s.lost(x.ID, x.position, b.Earliest, deletedEarly); err != nil {
				return s.fail(err)
			}
			x.position = b.Earliest
		}
		if x.position > b.Latest {
			if s.mayLose() && x.incarnation != "" && !looked {
				// It may be another one, which is then read from its beginning.
				if err := s.discover(ctx, false); err != nil {
					return err
				}
				return s.joined(ctx, true)
			}
			if err := s.lost(x.ID, b.Latest, x.position, behindEnd); err != nil {
				return s.fail(err)
			}
			x.position = b.Latest
		}
		x.latest = b.Latest
	}
	return nil
}

// leave goes on without the splits that have been deleted; cause is returned
// when there is none.
func (s *source) leave(ctx context.Context, cause error) error {
	s.mu.Lock()
	found, err := s.enumerator.Discover(ctx)
	s.mu.Unlock()
	if err != nil {
		return s.fail(unanswered{errors.Join(cause, err)})
	}
	exists := map[connectors.SplitID]bool{}
	for _, sp := range found {
		exists[sp.ID] = true
	}
	left := false
	for _, x := range s.splits {
		if !x.gone && !exists[x.ID] {
			if err := s.lost(x.ID, x.position, x.latest, "went with their split"); err != nil {
				return s.fail(err)
			}
			x.gone, x.latest, left = true, x.position, true
		}
	}
	if !left {
		return s.fail(unanswered{cause})
	}
	return s.bounds(ctx)
}

// publish commits positions to the outside system. They do not go back: of batches
// that begin at once the later one may be here first, and at most once a restart must
// begin behind both.
func (s *source) publish(ctx context.Context, ranges map[connectors.SplitID]splitRange) error {
	positions := make(map[connectors.SplitID]connectors.Position, len(ranges))
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range ranges {
		if x := s.byID[id]; x == nil || r.Until >= x.told {
			positions[id] = r.Until
		}
	}
	if len(positions) == 0 {
		return nil
	}
	if err := s.enumerator.Commit(ctx, positions); err != nil {
		return s.fail(fmt.Errorf("committing positions: %w", err))
	}
	for id, at := range positions {
		if x := s.byID[id]; x != nil {
			x.told = at
		}
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
