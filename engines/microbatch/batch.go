package microbatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/control"
)

// final is an error after which running the batch again would not help or not
// be allowed.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// runBatch runs a planned batch to its commit. nextDue is when the next one is
// due.
func (r *run) runBatch(b *batch, nextDue time.Time) error {
	begun := time.Now()
	if nextDue.Before(begun) {
		nextDue = begun
	}
	if len(r.slots) == 1 { // several at once are not late by one another
		r.late.expect(nextDue)
		defer func() { r.late.settle(time.Now()) }()
	}

	b.watermark = r.watermark.Load()
	if w := b.entry.Watermark; w != nil {
		b.watermark = max(b.watermark, *w)
	}
	if b.entry.Final {
		b.watermark = math.MaxInt64
	}
	b.before = r.lastCommit().Watermark
	if r.job.Guarantee == connectors.AtMostOnce && r.receivers == nil {
		if err := r.publish(b); err != nil {
			return err
		}
		r.settled(b.entry)
	}
	r.hit(pointLogged, b)

	// A batch is taken in as a whole, when it starts: that is when the engine
	// commits itself to it, however long reading then takes.
	r.consumed.Add(b.records)
	running := time.Now()
	var next int64
	var tooLong []time.Duration // attempts that outlasted a transaction
	for attempt := 1; ; attempt++ {
		var err error
		try := time.Now()
		if next, err = r.attemptBatch(b, attempt); err == nil {
			break
		}
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		if sink, timeout := r.outlasted(time.Since(try)); sink != "" {
			if tooLong = append(tooLong, time.Since(try)); len(tooLong) == 2 {
				return fmt.Errorf("batch %d: %w", b.entry.Batch, r.tooLong(sink, timeout, tooLong, err))
			}
			r.rt.Log.Warn("the batch outlasted its transaction and is run once more", "job", r.job.Name, "batch", b.entry.Batch, "timeout", timeout, "error", err)
			if err := r.reopen(r.ctx); err != nil {
				return err
			}
			if err := r.rebuild(b); err != nil {
				return err
			}
			continue
		}
		err = fmt.Errorf("batch %d: %w", b.entry.Batch, err)
		if _, no := errors.AsType[final](err); no || attempt >= r.cfg.BatchAttempts {
			return err
		}
		r.rt.Log.Warn("running the batch again", "job", r.job.Name, "attempt", attempt+1, "error", err)
		for {
			if err = r.rebuild(b); err == nil {
				break
			}
			// What cannot be opened now may be later: it counts as an attempt.
			if attempt++; attempt >= r.cfg.BatchAttempts || r.ctx.Err() != nil {
				return fmt.Errorf("batch %d: opening its tasks again: %w", b.entry.Batch, err)
			}
			r.rt.Log.Warn("the batch's tasks cannot be opened", "job", r.job.Name, "attempt", attempt+1, "error", err)
		}
	}
	if err := b.awaitTurn(r.ctx); err != nil {
		return err
	}
	r.consumed.Add(b.taken.Load() - b.records)
	b.durations["addBatch"] = millis(time.Since(running))
	r.hit(pointWritten, b)

	committing := time.Now()
	if err := r.attempt.Check(); err != nil {
		return err
	}
	// Of several batches at once the one before may have seen more.
	commit := commitEntry{Batch: b.entry.Batch, Watermark: b.watermark, Next: max(next, r.lastCommit().Next)}
	if err := r.logs.committed(commit); err != nil {
		return err
	}
	r.setCommit(commit)
	r.settled(b.entry)
	r.count(b)
	r.tellLost(b)
	r.trim(b.entry)
	for _, s := range r.sources {
		if s.intake != nil {
			if err := s.intake.release(ends(b.entry)); err != nil {
				return err
			}
		}
	}
	b.durations["commitOffsets"] = millis(time.Since(committing))
	r.hit(pointCommitted, b)
	r.completed(b, begun)
	return nil
}

// awaitTurn waits until the batches before are complete: they end in order, so
// that the logs have no gaps.
func (b *batch) awaitTurn(ctx context.Context) error {
	if b.previous == nil {
		return nil
	}
	select {
	case <-b.previous:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *run) lastCommit() commitEntry {
	r.positionsMu.Lock()
	defer r.positionsMu.Unlock()
	return r.commit
}

func (r *run) setCommit(c commitEntry) {
	r.positionsMu.Lock()
	defer r.positionsMu.Unlock()
	r.commit = c
}

// settled tells that recovery will not go back behind the end of a batch.
func (r *run) settled(e *offsetEntry) {
	r.positionsMu.Lock()
	defer r.positionsMu.Unlock()
	r.durable = ends(e)
}

func ends(e *offsetEntry) engines.Positions {
	positions := engines.Positions{}
	for _, splits := range e.Sources {
		for id, rg := range splits {
			positions[id] = rg.Until
		}
	}
	return positions
}

func starts(e *offsetEntry) engines.Positions {
	positions := engines.Positions{}
	for _, splits := range e.Sources {
		for id, rg := range splits {
			positions[id] = rg.From
		}
	}
	return positions
}

// trim forgets the acknowledgements of a batch that is complete: nothing will
// ask for them any more.
func (r *run) trim(e *offsetEntry) {
	r.positionsMu.Lock()
	r.base = ends(e)
	r.positionsMu.Unlock()
	if r.rt.Acks == nil {
		return
	}
	partitions := map[int32]int{}
	for _, splits := range e.Sources {
		for _, rg := range splits {
			partitions[rg.Partition]++
		}
	}
	below := map[int32]connectors.Position{}
	for _, splits := range e.Sources {
		for _, rg := range splits {
			// Acknowledgements are kept by the number that a record's origin names.
			// Where two splits have the same, only the generator knows whose it is,
			// and nothing is forgotten.
			if partitions[rg.Partition] == 1 {
				r.rt.Acks.Trim(rg.Partition, rg.Until)
				below[rg.Partition] = rg.Until
			}
		}
	}
	r.executors.trim(below)
}

// publish commits the batch's end positions to the outside system.
func (r *run) publish(b *batch) error {
	if err := r.attempt.Check(); err != nil {
		return err
	}
	for _, s := range r.sources {
		if ranges := b.entry.Sources[s.node.UID]; len(ranges) > 0 {
			if err := s.publish(r.ctx, ranges); err != nil {
				return err
			}
		}
	}
	return nil
}

// completed does the book-keeping of a committed batch.
func (r *run) completed(b *batch, begun time.Time) {
	now := time.Now()
	b.durations["triggerExecution"] = millis(now.Sub(b.planned))
	// Waiting is what lies between the tick and the first task, planning left out.
	processing, scheduling := millis(now.Sub(begun)), max(millis(begun.Sub(b.due)-b.planning), 0)
	r.unplan(b)
	r.watermark.Store(r.lastCommit().Next)
	r.storeTimers()
	var usage engines.StateUsage
	var outcomes []outcome
	bytes, slowest := int64(0), time.Duration(0)
	for _, s := range b.slot.generation.Load().stages {
		for _, t := range s.tasks {
			o := t.outcome()
			outcomes = append(outcomes, o)
			usage.Sum(o.StateUsage)
			bytes += int64(o.StateBytes)
			slowest = max(slowest, o.StateTime)
		}
	}
	r.stateUsage.Store(&usage)
	b.durations["stateCommit"] = millis(slowest) // lies within addBatch
	r.positionsMu.Lock()
	durable := r.durable
	r.positionsMu.Unlock()
	r.emit(engines.Durable{Positions: durable})
	done := engines.BatchCompleted{
		Batch: b.entry.Batch, Records: b.records, SchedulingDelay: scheduling, ProcessingDelay: processing,
		Durations: b.durations, StateUsage: usage, StateBytes: bytes, Lag: b.lag,
		TotalDelay: processing + scheduling, End: ends(b.entry), Start: starts(b.entry), Stages: b.slot.generation.Load().metrics(),
	}
	if took := b.durations["triggerExecution"]; took > 0 {
		done.ProcessedRowsPerSecond = float64(b.records) / took * 1000
	}
	if !r.lastBegan.IsZero() && b.planned.After(r.lastBegan) {
		done.InputRowsPerSecond = float64(b.records) / b.planned.Sub(r.lastBegan).Seconds()
	}
	r.lastBegan = b.planned
	if b.watermark != noTime {
		wm := b.watermark
		done.WatermarkMs = &wm
	}
	done.Sources = r.perSource(b.entry, b.latest, &done)
	done.StateOperators, done.Sinks = r.perOperator(outcomes)
	r.emit(done)
	if rate, changed := r.limit.completed(b.records, processing, scheduling); changed {
		r.emit(engines.RateLimited{RecordsPerSecond: rate})
		r.executors.limit(rate)
	}
	// For monitoring only, so neither in the batch's way nor for every batch.
	if r.job.Guarantee == connectors.AtLeastOnce && r.receivers == nil && now.Sub(r.published) >= time.Second {
		r.published = now
		if err := r.publish(b); err != nil && r.ctx.Err() == nil {
			r.rt.Log.Warn("positions are not published", "job", r.job.Name, "error", err)
		}
	}
	if n := b.entry.Batch; n%10 == 9 {
		oldest := n - int64(r.cfg.RetainedBatches)
		r.maintenance.do(func() error { return r.purge(oldest) })
	}
}

func (r *run) purge(oldest int64) error {
	if oldest <= 0 {
		return nil
	}
	if err := r.logs.purge(oldest); err != nil {
		return err
	}
	for _, ps := range r.states {
		for _, p := range ps {
			if err := p.purge(oldest); err != nil {
				return err
			}
		}
	}
	if r.backend == nil {
		return nil
	}
	final := r.lastCommit().Batch + 1
	err := r.backend.Sweep(func() (map[string]bool, error) {
		// Before the versions: a store lets go of a file when one names it.
		kept, err := r.executors.relied()
		if err != nil {
			return nil, err
		}
		for _, ps := range r.states {
			for _, p := range ps {
				if err := p.kept(kept, final); err != nil {
					return nil, err
				}
			}
		}
		return kept, nil
	})
	if errors.Is(err, errNotNow) {
		return nil // the next one finds what this would have deleted
	}
	return err
}

// storeTimers tells the planner when the earliest timers are due.
func (r *run) storeTimers() {
	event, processing := never, never
	if len(r.slots) == 1 { // with several there are no timers, and another's tasks may run now
		for _, s := range r.slots[0].generation.Load().stages {
			for _, t := range s.tasks {
				o := t.outcome()
				event, processing = min(event, o.EventTimer), min(processing, o.ProcessingTimer)
			}
		}
	}
	r.nextEvent.Store(event)
	r.nextProcessing.Store(processing)
}

// attemptBatch runs the stages and makes their output and state durable. It
// returns the watermark of the next batch.
func (r *run) attemptBatch(b *batch, try int) (next int64, err error) {
	g := b.slot.generation.Load()
	b.taken.Store(0)
	half := r.halfway(b)
	if err := r.reopenUnknown(g.ctx); err != nil {
		return 0, err
	}
	if err := r.checkRanges(b, b.replay || try > 1); err != nil {
		return 0, err
	}
	var open []*transaction
	for _, t := range r.transactions {
		if t.holds.Batch == b.entry.Batch {
			continue
		}
		if err := t.tx.Begin(g.ctx); err != nil {
			r.abort(open)
			return 0, t.fail("beginning a transaction", err)
		}
		open = append(open, t)
	}
	for _, s := range g.stages {
		for _, t := range s.tasks {
			for _, w := range t.writers {
				w.half, w.before = half, w.n
				if r.way == BatchTransaction {
					tx := r.transactionOf(w)
					if w.skip = tx.holds.Batch == b.entry.Batch; !w.skip {
						w.Writer = tx.tx.Writer(w.subtask)
					}
				}
			}
		}
	}
	r.borrow(g, b)
	r.progress.Store(r.written())
	if err := r.execute(g, b, try); err != nil {
		r.abort(open)
		r.abandon()
		return 0, err
	}
	if r.byPartition() {
		r.passedParts(b)
	}
	if b.records > 0 {
		if half == nil || half.fails != nil {
			r.hit(pointHalfWritten, b)
			if half == nil {
				r.rt.Failpoints.Passed(pointTaskFails)
			}
		} else if half.left.Load() > 0 { // fewer rows than records: this is as far as it goes
			half.hit()
		}
	}
	next = r.nextWatermark(b)
	return next, r.endTransactions(open, b, next)
}

// halfway arms the failpoint in the middle of the output, if it will fire in
// this batch.
func (r *run) halfway(b *batch) *halfway {
	if b.records == 0 {
		return nil
	}
	h := &halfway{hit: func() { r.hit(pointHalfWritten, b) }}
	switch {
	case r.rt.Failpoints.Armed(pointTaskFails):
		h.fails = func(rows int64) bool {
			return r.rt.Failpoints.Fails(pointTaskFails, func() engines.Recovery {
				return engines.Recovery{Epoch: b.entry.Batch, Records: b.records, Again: rows}
			})
		}
	case !r.rt.Failpoints.Armed(pointHalfWritten):
		return nil
	}
	h.left.Store(max(b.records/2, 1))
	return h
}

func (r *run) transactionOf(w *sinkWriter) *transaction {
	for _, t := range r.transactions {
		if t.node == w.node {
			return t
		}
	}
	return nil
}

func (r *run) abort(open []*transaction) {
	for _, t := range open {
		// The job may be ending: the abort has a time of its own.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 5*time.Second)
		if err := t.tx.Abort(ctx); err != nil {
			r.rt.Log.Warn("aborting a batch", "sink", t.node.Name, "error", err)
			r.unaborted = true
		}
		cancel()
	}
}

// endTransactions commits output and positions together. With several sinks
// each has a transaction of its own: a crash between two of them leaves one with
// the batch and one without, and recovery runs the batch again for the latter.
func (r *run) endTransactions(open []*transaction, b *batch, next int64) error {
	if r.way != BatchTransaction {
		return nil
	}
	commit := commitEntry{Batch: b.entry.Batch, Watermark: b.watermark, Next: next}
	positions := map[connectors.SplitID]connectors.Position{}
	for _, splits := range b.entry.Sources {
		for id, rg := range splits {
			positions[id] = rg.Until
			if r.cfg.BreakExactlyOnce {
				positions[id] = rg.From
			}
		}
	}
	carried := commit
	if r.cfg.BreakExactlyOnce {
		carried = r.lastCommit() // the offsets stay one batch behind the output
	}
	for _, t := range open {
		metadata, err := json.Marshal(carriedEntry{carried, t.index})
		if err != nil {
			return final{err}
		}
		if err := t.tx.Prepare(r.ctx, positions, string(metadata)); err != nil {
			r.abort(open)
			return t.fail("preparing the transaction", err)
		}
	}
	r.hit(pointPrepared, b)
	// A process that has been superseded must not commit.
	if err := r.attempt.Check(); err != nil {
		r.abort(open)
		return final{err}
	}
	for i, t := range open {
		err := t.tx.Commit(r.ctx)
		switch {
		case errors.Is(err, connectors.ErrRetriable):
			r.abort(open[i:])
			return t.fail("committing the transaction", err)
		case err != nil:
			return final{t.fail("committing the transaction: its outcome is not known", err)}
		}
		t.holds = commit
	}
	if !r.cfg.BreakExactlyOnce {
		r.settled(b.entry)
	}
	r.hit(pointTransactions, b)
	return nil
}

// nextWatermark collects what the tasks have seen. It never moves back.
func (r *run) nextWatermark(b *batch) int64 {
	for _, s := range b.slot.generation.Load().stages {
		for _, t := range s.tasks {
			for _, src := range t.sources {
				src.source.observe(src, b.entry.Time)
			}
		}
	}
	var sources []int64
	for _, s := range r.sources {
		if s.node.Watermarks == nil {
			continue
		}
		wm, ok := s.eventTime(r.cfg.Watermark, b.entry.Time)
		if !ok {
			wm = noTime
		}
		sources = append(sources, wm)
	}
	return max(b.watermark, control.AcrossSources(sources, r.cfg.MultipleWatermarkPolicy == LargestSource))
}
