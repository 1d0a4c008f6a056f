package microbatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"streamduel/connectors"
	"streamduel/engines/microbatch/schedule"
	"streamduel/pipeline"
)

// part is one output partition's transaction: what its task writes of a batch,
// committed by the task when it has done its work, and so before the batch is
// complete. Until the commit log has the batch some partitions are visible and
// some are not; a restart runs the batch again and skips the former.
type part struct {
	node    *pipeline.Node
	subtask int
	tx      connectors.Transaction
	// holds is the newest batch of which the partition has rows, −1 for none.
	holds int64
	since time.Time // when its transaction began; zero when none is open
	// lasted is how long the transaction of a failed attempt was open.
	lasted time.Duration
	// unsure says that a commit has failed and may have been carried out.
	unsure bool
	// anew says that it must be opened anew before it is used: it is not known what
	// became of it.
	anew bool
}

// carriedPart is the metadata of a partition's transaction.
type carriedPart struct {
	Query     string `json:"query"`
	Batch     int64  `json:"batch"`
	Partition int    `json:"partition"`
}

// parts are the transactions of a job's output partitions.
type parts struct {
	all []*part
	mu  sync.Mutex
	// held are the ends of the ranges that the sink has, by split; offset-range.
	held map[connectors.SplitID]connectors.Position
}

// openAtOnce bounds how many partitions' transactions are opened at a time: each
// is a client of its own.
const openAtOnce = 16

// openParts opens every output partition's transaction, which fences older
// processes, and reads what it holds.
func (r *run) openParts(ctx context.Context) error {
	r.parts.held = map[connectors.SplitID]connectors.Position{}
	for _, f := range r.fragments {
		for _, n := range f.Sinks {
			for k := range f.Parallelism {
				r.parts.all = append(r.parts.all, &part{node: n, subtask: k})
			}
		}
	}
	var failed failure
	var opening sync.WaitGroup
	room := make(chan struct{}, openAtOnce)
	for _, p := range r.parts.all {
		room <- struct{}{}
		opening.Go(func() {
			defer func() { <-room }()
			if err := r.openPart(ctx, p); err != nil {
				failed.set(err)
			}
		})
	}
	opening.Wait()
	return failed.get()
}

func (r *run) openPart(ctx context.Context, p *part) error {
	parallelism := r.fragments[r.stageOf(p.node)].Parallelism
	tx, err := p.node.Sink.(connectors.PartitionTransactor).PartitionTransaction(ctx, r.writerEnv(p.node, p.subtask, parallelism))
	if err != nil {
		return p.fail("opening the transaction", err)
	}
	p.tx, p.holds, p.since, p.unsure, p.anew = tx, -1, time.Time{}, false, false
	positions, metadata, ok, err := tx.Committed(ctx)
	if err != nil {
		return p.fail("reading what it holds", err)
	}
	if !ok || metadata == "" || r.cfg.BreakExactlyOnce {
		return nil
	}
	var c carriedPart
	if err := json.Unmarshal([]byte(metadata), &c); err != nil {
		return p.fail(fmt.Sprintf("its last transaction does not name a batch (%q)", metadata), err)
	}
	if c.Query != r.job.Name || c.Partition != p.subtask {
		return p.fail("reading what it holds", fmt.Errorf("rows of partition %d of job %q: the sink is another job's: give each job a sink of its own", c.Partition, c.Query))
	}
	p.holds = c.Batch
	if r.way == OffsetRange {
		r.parts.hold(positions)
	}
	return nil
}

func (p *parts) hold(positions map[connectors.SplitID]connectors.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, at := range positions {
		p.held[id] = max(p.held[id], at)
	}
}

// has reports whether the sink has a range already.
func (p *parts) has(id connectors.SplitID, rg splitRange) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return rg.From < rg.Until && p.held[id] >= rg.Until
}

func (p *part) fail(what string, err error) error {
	return fmt.Errorf("sink %q, partition %d: %s: %w", p.node.Name, p.subtask, what, err)
}

// reconcileParts checks that what the partitions hold and the logs belong
// together: a partition may be ahead of the commit log by the batch that was
// running, and no further.
func (r *run) reconcileParts(h *history) error {
	next := h.commit.Batch + 1
	for _, p := range r.parts.all {
		if p.holds > next || p.holds == next && h.entry(next) == nil {
			return fmt.Errorf("sink %q, partition %d, holds %s, the commit log ends at %s%s", p.node.Name, p.subtask, batchOf(p.holds), batchOf(h.commit.Batch), apart(p.holds))
		}
	}
	return nil
}

// checkRanges refuses a batch of which the sink has a part of a range: the folder
// or the sink is not the one that was written with.
func (r *run) checkRanges(b *batch, again bool) error {
	if r.way != OffsetRange {
		return nil
	}
	for _, splits := range b.entry.Sources {
		for id, rg := range splits {
			r.parts.mu.Lock()
			held := r.parts.held[id]
			r.parts.mu.Unlock()
			if held > rg.From && (held < rg.Until || !again) && rg.From < rg.Until {
				return final{fmt.Errorf("split %s: the sink holds its records up to %d and the batch takes %d to %d: the topic, the sink or the folder is another one than before: put back the one that belongs to the others, or begin anew"+remedySink, id, held, rg.From, rg.Until)}
			}
		}
	}
	return nil
}

// borrow gives the tasks' writers their partitions' transactions.
func (r *run) borrow(g *generation, b *batch) {
	for _, p := range r.parts.all {
		p.lasted = 0
		for _, w := range g.stages[r.stageOf(p.node)].tasks[p.subtask].writers {
			if w.node == p.node {
				w.part, w.Writer = p, p.tx.Writer(p.subtask)
				w.skip = r.way == OutputPartition && p.holds == b.entry.Batch
			}
		}
	}
}

// begin opens the partition's transaction with its first row: one that has no
// rows commits nothing.
func (p *part) begin(ctx context.Context) error {
	if err := p.tx.Begin(ctx); err != nil {
		return p.fail("beginning a transaction", err)
	}
	p.since = time.Now()
	return nil
}

// commitParts ends the transactions of a task that has done its work. The
// context is the job's: another task's failure is not to cut a commit short.
func (t *task) commitParts(b *batch) error {
	r := t.run
	for _, w := range t.writers {
		p := w.part
		if p == nil || p.since.IsZero() {
			continue
		}
		metadata, err := json.Marshal(carriedPart{r.job.Name, r.carried(b), p.subtask})
		if err != nil {
			return schedule.Permanent{Err: err}
		}
		positions := t.ranges(b)
		if err := p.tx.Prepare(r.ctx, positions, string(metadata)); err != nil {
			return p.fail("preparing the transaction", err)
		}
		b.ready.Do(func() { r.hit(pointPrepared, b) })
		// A process that has been superseded must not commit.
		if err := r.attempt.Check(); err != nil {
			return schedule.Permanent{Err: err}
		}
		if err := p.tx.Commit(r.ctx); err != nil {
			p.unsure = !errors.Is(err, connectors.ErrRetriable)
			return p.fail("committing the transaction", err)
		}
		p.since, p.holds = time.Time{}, b.entry.Batch
		r.parts.hold(positions)
		if b.visible.Add(1) >= int64(len(r.parts.all)+1)/2 {
			b.half.Do(func() { r.hit(pointTransactions, b) })
		}
	}
	return nil
}

// carried is the batch that a transaction names; the negative control stays one
// behind.
func (r *run) carried(b *batch) int64 {
	if r.cfg.BreakExactlyOnce {
		return b.entry.Batch - 1
	}
	return b.entry.Batch
}

// ranges are the ends of what the task has read, where that travels with its
// rows.
func (t *task) ranges(b *batch) map[connectors.SplitID]connectors.Position {
	if t.run.way != OffsetRange {
		return nil
	}
	until := map[connectors.SplitID]connectors.Position{}
	for _, src := range t.sources {
		for _, a := range src.assign {
			until[a.Split.ID] = a.Until
			if t.run.cfg.BreakExactlyOnce {
				until[a.Split.ID] = a.From
			}
		}
	}
	return until
}

// passedParts passes the points that no partition has reached, because none had
// rows or too few of them.
func (r *run) passedParts(b *batch) {
	b.ready.Do(func() { r.hit(pointPrepared, b) })
	b.half.Do(func() { r.hit(pointTransactions, b) })
}

// abandon takes back what the partitions of a failed attempt have open. Where it
// is not known what became of a transaction, the sink is asked before the next.
func (r *run) abandon() {
	for _, p := range r.parts.all {
		if p.since.IsZero() {
			continue
		}
		p.lasted, p.since = time.Since(p.since), time.Time{}
		// The job may be ending: the abort has a time of its own.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 5*time.Second)
		err := p.tx.Abort(ctx)
		cancel()
		if err != nil {
			r.rt.Log.Warn("aborting a partition", "sink", p.node.Name, "partition", p.subtask, "error", err)
		}
		p.anew = err != nil || p.unsure
	}
}

// reopenPart opens a partition's transaction anew. An attempt that was superseded
// must not: it would fence the newer one.
func (r *run) reopenPart(ctx context.Context, p *part) error {
	if err := r.attempt.Check(); err != nil {
		return final{err}
	}
	if p.tx != nil {
		if err := p.tx.Close(); err != nil {
			r.rt.Log.Warn("closing a transaction", "sink", p.node.Name, "partition", p.subtask, "error", err)
		}
		p.tx = nil
	}
	return r.openPart(ctx, p)
}

func (r *run) closeParts() {
	for _, p := range r.parts.all {
		if p.tx == nil {
			continue
		}
		if err := p.tx.Close(); err != nil {
			r.rt.Log.Warn("closing a transaction", "sink", p.node.Name, "partition", p.subtask, "error", err)
		}
	}
}
