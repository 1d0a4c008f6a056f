package microbatch

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"streamduel/connectors"
	"streamduel/engines"
)

// recover reads the logs, asks the sink what it holds, and builds the tasks
// from the state version that belongs to the batch to go on with.
//
// The batch behind the newest commit is the one to go on with. If it is in the
// offset log it is run again, and so are those behind it that had waited in the
// queue: with the logged ranges and the logged time.
func (r *run) recover() error {
	h, err := r.logs.load()
	if err != nil {
		return err
	}
	if r.exactlyOnce && !r.cfg.BreakExactlyOnce {
		if err := r.reconcile(h); err != nil {
			return err
		}
		if err := r.reconcileParts(h); err != nil {
			return err
		}
	} else {
		for _, t := range r.transactions {
			t.holds.Batch = -1
		}
	}
	r.commit = h.commit
	newest := h.newest()
	if newest != nil {
		r.nextBatch = newest.Batch + 1
		r.lastTime = newest.Time
	}
	if r.job.Guarantee == connectors.AtMostOnce {
		err = r.recoverAtMostOnce(newest)
	} else {
		err = r.recoverFrom(h)
	}
	if err != nil {
		return err
	}
	if err := r.follow(newest); err != nil {
		return err
	}
	r.watermark.Store(r.commit.Next)
	r.storeTimers()
	return nil
}

// reconcile compares the commit log with what the sinks' transactions hold. The
// sinks are right: output and positions are committed there together.
func (r *run) reconcile(h *history) error {
	at := h.commit.Batch
	all := len(r.transactions) > 0
	for _, t := range r.transactions {
		switch held := t.holds.Batch; {
		case held == at:
			all = false
		case held == at+1 && h.entry(held) != nil:
		default:
			return fmt.Errorf("sink %q holds %s, the commit log ends at %s%s", t.node.Name, batchOf(held), batchOf(at), apart(held))
		}
	}
	if !all {
		return nil
	}
	// The crash came between the sink's commit and the log's.
	if err := r.attempt.Check(); err != nil {
		return err
	}
	h.commit = r.transactions[0].holds
	return r.logs.committed(h.commit)
}

// recoverFrom goes on behind the newest commit.
func (r *run) recoverFrom(h *history) error {
	version := h.commit.Batch + 1
	for _, e := range h.offsets {
		if e.Batch >= version {
			r.replays = append(r.replays, e)
		}
	}
	err := r.rebuildAll(version, h.commit.Watermark)
	if errors.Is(err, errVersion) && r.exactlyOnce {
		return fmt.Errorf("%w: put it back, or begin anew"+remedySink, err)
	}
	if !errors.Is(err, errVersion) {
		return err
	}
	// At-least-once allows to go back further: outputs are repeated, and none is
	// lost.
	older, replays, commit, back := r.goBack(h, version)
	if back != nil {
		return fmt.Errorf("%w; going back to an older version: %w", err, back)
	}
	r.rt.Log.Warn("a state version is damaged, going back", "job", r.job.Name, "version", version, "to", older, "error", err)
	r.replays, r.commit = replays, commit
	return r.rebuildAll(older, commit.Watermark)
}

// goBack finds the newest version before one that all partitions have, and the
// batches that lead from it to the present.
func (r *run) goBack(h *history, version int64) (older int64, replays []*offsetEntry, commit commitEntry, err error) {
	older = version - 1
	for _, ps := range r.states {
		for _, p := range ps {
			v, err := p.newest(older)
			if err != nil {
				return 0, nil, commit, err
			}
			older = v
		}
	}
	commit = commitEntry{Batch: -1, Watermark: noTime, Next: noTime}
	if older > 0 {
		if commit, err = r.logs.readCommit(older - 1); err != nil {
			return 0, nil, commit, err
		}
	}
	for b := older; b <= h.commit.Batch; b++ {
		e, err := r.logs.readOffset(b)
		if err != nil {
			return 0, nil, commit, err
		}
		replays = append(replays, e)
	}
	for _, e := range h.offsets {
		if e.Batch > h.commit.Batch {
			replays = append(replays, e)
		}
	}
	return older, replays, commit, nil
}

// recoverAtMostOnce runs nothing again. State is the newest that each partition
// has; the inputs between it and the committed positions are lost to it.
func (r *run) recoverAtMostOnce(newest *offsetEntry) error {
	limit := int64(0)
	if newest != nil {
		limit = newest.Batch + 1
	}
	for _, s := range r.slots {
		if err := r.build(s, r.commit.Watermark, func(p *partitionState) (int64, error) { return p.newest(limit) }); err != nil {
			return err
		}
	}
	for _, ps := range r.states {
		for _, p := range ps {
			p.whole = newest != nil
		}
	}
	return nil
}

func (r *run) rebuildAll(version, watermark int64) error {
	for _, s := range r.slots {
		if err := r.rebuildAt(s, version, watermark); err != nil {
			return err
		}
	}
	return nil
}

// rebuildAt drops what is newer than a state version and builds the tasks from
// it.
func (r *run) rebuildAt(s *slot, version, watermark int64) error {
	if g := s.generation.Load(); g != nil {
		r.retire(s, g)
	}
	err := r.build(s, watermark, func(*partitionState) (int64, error) { return version, nil })
	if err != nil {
		return err
	}
	for _, ps := range r.states {
		for _, p := range ps {
			if err := p.discard(version); err != nil {
				return err
			}
		}
	}
	return nil
}

// rebuild makes ready for running a batch again after it has failed.
func (r *run) rebuild(b *batch) error {
	b.counted, b.lost = nil, nil
	return r.rebuildAt(b.slot, b.entry.Batch, b.before)
}

// retire ends a generation; what its writers have counted is kept.
func (r *run) retire(s *slot, g *generation) {
	g.close(r.borrowsWriters())
	r.generationMu.Lock()
	defer r.generationMu.Unlock()
	r.retired += g.written()
	s.generation.Store(nil)
}

// follow sets the sources to where planning goes on and looks for new splits.
func (r *run) follow(newest *offsetEntry) error {
	first := newest
	if len(r.replays) > 0 {
		first = r.replays[0]
	}
	if err := r.sameSources(newest); err != nil {
		return err
	}
	var begun map[string]map[connectors.SplitID]beginning
	if newest == nil {
		var err error
		if begun, err = r.logs.begun(); err != nil {
			return err
		}
	}
	positions := engines.Positions{}
	for _, s := range r.sources {
		var committed map[connectors.SplitID]connectors.Position
		if newest != nil {
			ranges := newest.Sources[s.node.UID]
			found, err := s.enumerator.Discover(r.ctx)
			if err != nil {
				return s.fail(err)
			}
			exists := map[connectors.SplitID]connectors.Split{}
			var ids []connectors.SplitID
			for _, sp := range found {
				exists[sp.ID] = sp
				if _, ok := ranges[sp.ID]; ok {
					ids = append(ids, sp.ID)
				}
			}
			if err := r.joinsOn(s, ranges, exists); err != nil {
				return s.fail(err)
			}
			if r.job.Guarantee == connectors.AtMostOnce {
				if committed, err = s.enumerator.Committed(r.ctx, ids); err != nil {
					return s.fail(err)
				}
			}
			for _, id := range ids { // in the order of Discover, so that tasks are spread alike
				rg := ranges[id]
				at := rg.Until
				anew := another(rg.Incarnation, exists[id].Incarnation)
				if r.job.Guarantee == connectors.AtMostOnce && !anew {
					at = rg.From // never committed: nothing of it was processed
					if p, ok := committed[id]; ok {
						at = p
					}
				}
				x := s.add(connectors.Split{ID: id, Partition: rg.Partition, Incarnation: exists[id].Incarnation}, at)
				if rg.Watermark != nil {
					x.watermark = *rg.Watermark
				}
				positions[id] = at
				if len(r.replays) > 0 {
					if f, ok := first.Sources[s.node.UID][id]; ok {
						positions[id] = f.From
					} else {
						positions[id] = rg.From
					}
				}
				x.reached.Store(int64(positions[id]))
				if s.intake != nil {
					if err := s.intake.follow(x.Split, at, positions[id]); err != nil {
						return s.fail(err)
					}
				}
			}
		}
		if newest == nil {
			if err := s.beginAt(r.ctx, begun[s.node.UID]); err != nil {
				return s.fail(err)
			}
		}
		if err := s.discover(r.ctx, newest == nil && begun == nil); err != nil {
			return err
		}
		if newest == nil {
			for _, x := range s.splits {
				positions[x.ID] = x.position
			}
		}
	}
	r.durable, r.base = positions, positions
	if newest == nil && begun == nil {
		if err := r.logs.begin(r.sources); err != nil {
			return err
		}
	}
	if newest != nil {
		batch := r.nextBatch
		if len(r.replays) > 0 {
			batch = first.Batch
		}
		r.emit(engines.Restored{Batch: &batch, Positions: positions, Replay: len(r.replays) > 0})
	}
	r.emit(engines.Started{Attempt: r.attempt.Number, FixedSplits: r.discovery() <= 0})
	return nil
}

// sameSources refuses a job with other sources than its offset log: a batch that is to
// be run again has records of each.
func (r *run) sameSources(newest *offsetEntry) error {
	if newest == nil {
		return nil
	}
	now := map[string]bool{}
	for _, s := range r.sources {
		now[s.node.UID] = true
		if newest.Sources[s.node.UID] == nil {
			return fmt.Errorf("source %q is not in the offset log: sources cannot be added to a job that has run: begin anew in an empty folder", s.node.Name)
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(newest.Sources)) {
		if !now[uid] {
			return fmt.Errorf("source %q of the offset log is not in the job: sources cannot be removed from a job that has run: put it back, or begin anew in an empty folder", uid)
		}
	}
	return nil
}

// joinsOn checks that what the log says of a source's splits goes on from what
// there is now: that none is gone or another, and that the ranges to be run again
// can be read. What is missing and may be left is left, in ranges and replays:
// nothing is read of it.
func (r *run) joinsOn(s *source, ranges map[connectors.SplitID]splitRange, exists map[connectors.SplitID]connectors.Split) error {
	var there []connectors.SplitID
	for _, id := range slices.Sorted(maps.Keys(ranges)) {
		sp, ok := exists[id]
		if ok && !another(ranges[id].Incarnation, sp.Incarnation) {
			there = append(there, id)
			continue
		}
		from, why := ranges[id].Until, madeAnew
		if len(r.replays) > 0 {
			if f, ok := r.replays[0].Sources[s.node.UID][id]; ok {
				from = f.From
			}
		}
		if !ok {
			if !s.mayLose() {
				return fmt.Errorf("split %s of the offset log is gone%s", id, remedyGone)
			}
			why = "went with their split"
		}
		if err := s.lost(id, from, ranges[id].Until, why); err != nil {
			return err
		}
		for _, e := range r.replays {
			e.leave(s, id, e.Sources[s.node.UID][id].Until)
		}
		if ok { // the new one from its beginning
			b, err := s.enumerator.Bounds(r.ctx, []connectors.SplitID{id})
			if err != nil {
				return err
			}
			rg := ranges[id]
			rg.From, rg.Until = b[id].Earliest, b[id].Earliest
			ranges[id] = rg
		}
	}
	if len(there) == 0 || len(r.replays) == 0 || s.intake != nil { // blocks hold what is run again
		return nil
	}
	bounds, err := s.enumerator.Bounds(r.ctx, there)
	if err != nil {
		return err
	}
	for _, e := range r.replays {
		for _, id := range there {
			rg, b := e.Sources[s.node.UID][id], bounds[id]
			if rg.From == rg.Until || rg.From >= b.Earliest && rg.Until <= b.Latest {
				continue
			}
			if !s.mayLose() {
				return fmt.Errorf("batch %d cannot be run again: it took %d to %d of split %s, which now has %d to %d: put the records back, or go on without them under source.mode: structured with failOnDataLoss: false", e.Batch, rg.From, rg.Until, id, b.Earliest, b.Latest)
			}
			if rg.From < b.Earliest {
				if err := s.lost(id, rg.From, min(rg.Until, b.Earliest), deletedEarly); err != nil {
					return err
				}
			}
			if rg.Until > b.Latest {
				if err := s.lost(id, max(rg.From, b.Latest), rg.Until, behindEnd); err != nil {
					return err
				}
				rg.Until = b.Latest
				end := ranges[id]
				end.Until = min(end.Until, b.Latest)
				ranges[id] = end
			}
			rg.From = min(max(rg.From, b.Earliest), rg.Until)
			e.Sources[s.node.UID][id] = rg
		}
	}
	return nil
}

// leave takes a split's records out of a batch that is to be run again.
func (e *offsetEntry) leave(s *source, id connectors.SplitID, until connectors.Position) {
	if rg, ok := e.Sources[s.node.UID][id]; ok {
		rg.From, rg.Until = until, until
		e.Sources[s.node.UID][id] = rg
	}
}
