package microbatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/schedule"
	"streamduel/state"
)

const blockPrefix = "block-"

// intake is a source in receiver mode: what its receivers have stored and no
// batch has finished. Tasks read from here instead of from the connector. Where
// executors are processes the blocks lie there, and this says where which is.
type intake struct {
	source *source
	cfg    ReceiverConfig
	log    *state.Folder // the write-ahead log; nil without one

	step   sync.Mutex // held while a block is stored
	frozen bool       // at a failpoint: nothing more is

	mu     sync.Mutex
	stocks map[connectors.SplitID]*stock
	order  []*stock
	next   int64         // number of the next block
	logged []loggedBlock // still needed, oldest first
	far    farIntake
}

// stock is what there is of a split.
type stock struct {
	split     connectors.Split
	end       connectors.Position // behind the blocks that are stored
	committed connectors.Position // what the outside system was told
	chunks    []*chunk
}

type loggedBlock struct {
	number int64
	ends   engines.Positions
}

// newIntake opens a source's write-ahead log and takes its blocks in.
func newIntake(s *source, cfg ReceiverConfig) (*intake, error) {
	in := &intake{source: s, cfg: cfg, stocks: map[connectors.SplitID]*stock{}}
	if !cfg.WriteAheadLog {
		return in, nil
	}
	var err error
	if in.log, err = receivedLog(s.run, s); err != nil {
		return nil, err
	}
	numbers, err := in.log.Numbered(blockPrefix)
	if err != nil {
		return nil, err
	}
	newest := 1 // with executors each receiver writes for itself
	if s.run.cfg.Executors > 1 {
		newest = cfg.Receivers
	}
	for i, n := range numbers {
		in.next = n + 1
		data, err := in.log.Read(logName(blockPrefix, n))
		if errors.Is(err, state.ErrTorn) && i >= len(numbers)-newest {
			// Nobody was told that it was received, so it comes again.
			if err := in.log.Remove(logName(blockPrefix, n)); err != nil {
				return nil, err
			}
			continue
		}
		var b block
		if err == nil {
			b, err = decodeBlock(data)
		}
		for _, c := range b {
			if st := in.stocks[c.split.ID]; st != nil && st.end != c.from {
				err = fmt.Errorf("split %s goes on at %d behind %d", c.split.ID, c.from, st.end)
			}
			if s.run.cfg.Executors > 1 {
				c.records = nil // executors read them from here
			}
		}
		if err != nil {
			return nil, s.fail(fmt.Errorf("write-ahead log: %s: %w"+remedyFolder, logName(blockPrefix, n), err))
		}
		in.put(b, n)
	}
	return in, nil
}

// put makes a block's chunks available. The lock is held, or not needed yet.
func (in *intake) put(b block, number int64) {
	ends := engines.Positions{}
	for _, c := range b {
		st := in.stocks[c.split.ID]
		if st == nil {
			st = &stock{split: c.split, end: c.from}
			in.stocks[c.split.ID] = st
		}
		c.number = number
		st.chunks = append(st.chunks, c)
		st.end = c.until
		ends[c.split.ID] = c.until
	}
	if in.log != nil {
		in.logged = append(in.logged, loggedBlock{number, ends})
	}
}

// oldest returns where batches begin with a split that no batch has named: where the
// source says, or where the log's blocks begin that were received before.
func (in *intake) oldest(id connectors.SplitID, from connectors.Position) connectors.Position {
	in.mu.Lock()
	defer in.mu.Unlock()
	if st := in.stocks[id]; st != nil && len(st.chunks) > 0 {
		return min(from, st.chunks[0].from)
	}
	return from
}

// follow begins to receive a split behind what is stored of it, at the earliest
// from a position. Batches take it from first on, so the log must have what lies
// between.
func (in *intake) follow(sp connectors.Split, from, first connectors.Position) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	st := in.stocks[sp.ID]
	if st == nil {
		st = &stock{split: sp, end: from}
		in.stocks[sp.ID] = st
	}
	if in.log != nil {
		begins := st.end
		if i := sort.Search(len(st.chunks), func(i int) bool { return st.chunks[i].until > first }); i < len(st.chunks) {
			begins = st.chunks[i].from
		} else if first == from {
			begins = first // nothing of it is needed
		}
		if begins > first || st.end < from && first < from {
			return fmt.Errorf("write-ahead log: split %s: what was received from position %d on is missing"+remedyFolder, sp.ID, first)
		}
	}
	st.split = sp // the log's blocks do not know its incarnation
	st.end = max(st.end, from)
	st.committed = from
	in.order = append(in.order, st)
	in.followFar(len(in.order) - 1)
	return nil
}

// end returns behind which position nothing of a split is stored.
func (in *intake) end(id connectors.SplitID) connectors.Position {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.stocks[id].end
}

// release forgets what a batch has finished.
func (in *intake) release(done engines.Positions) error {
	drop := map[*remoteExecutor][]int64{}
	in.mu.Lock()
	for id, until := range done {
		if st := in.stocks[id]; st != nil {
			n := sort.Search(len(st.chunks), func(i int) bool { return st.chunks[i].until > until })
			for _, c := range st.chunks[:n] {
				if c.holder != nil {
					drop[c.holder] = append(drop[c.holder], c.serial)
				}
			}
			clear(st.chunks[:n])
			st.chunks = st.chunks[n:]
		}
	}
	var files []int64
	for len(in.logged) > 0 {
		needed := false
		for id, end := range in.logged[0].ends {
			needed = needed || end > done[id]
		}
		if needed {
			break
		}
		files = append(files, in.logged[0].number)
		in.logged = in.logged[1:]
	}
	in.mu.Unlock()
	for e, serials := range drop {
		e.tell(kindDrop, serials)
	}
	for _, n := range files {
		if err := in.log.Remove(logName(blockPrefix, n)); err != nil {
			return err
		}
	}
	return nil
}

// freeze lets nothing more be stored and returns what the outside system was
// told: from there a restart receives.
func (in *intake) freeze() engines.Positions {
	in.step.Lock()
	defer in.step.Unlock()
	in.frozen = true
	in.mu.Lock()
	defer in.mu.Unlock()
	at := engines.Positions{}
	for id, st := range in.stocks {
		at[id] = st.committed
	}
	return at
}

// store keeps a block: durably where there is a log, then for the next batch to
// take, and only then is the outside system told. Without a log it is told first.
func (in *intake) store(ctx context.Context, b block) error {
	if len(b) == 0 {
		return nil
	}
	in.step.Lock()
	defer in.step.Unlock()
	if in.frozen {
		return context.Canceled
	}
	if err := in.source.run.attempt.Check(); err != nil {
		return schedule.Permanent{Err: err}
	}
	in.mu.Lock()
	number := in.next
	in.mu.Unlock()
	if in.log != nil {
		if err := in.log.Create(logName(blockPrefix, number), b.encode()); err != nil {
			return fmt.Errorf("write-ahead log: %w", err)
		}
	}
	return in.take(ctx, b, func() error {
		in.next++
		in.put(b, number)
		return nil
	})
}

// take gives a block to the next batch, by put, which is called with the lock held,
// and tells the outside system: behind it where there is a log, before it where a
// restart goes on behind what the outside system knows (at most once).
func (in *intake) take(ctx context.Context, b block, put func() error) error {
	locked := func(f func() error) error {
		in.mu.Lock()
		defer in.mu.Unlock()
		return f()
	}
	if in.log != nil {
		if err := locked(put); err != nil {
			return err
		}
	}
	ends := map[connectors.SplitID]splitRange{}
	for _, c := range b {
		ends[c.split.ID] = splitRange{Until: c.until}
	}
	if err := in.source.publish(ctx, ends); err != nil {
		return err
	}
	if in.log == nil {
		if err := locked(put); err != nil {
			return err
		}
	}
	return locked(func() error {
		for id, rg := range ends {
			in.stocks[id].committed = rg.Until
		}
		return nil
	})
}

// receiver is a long-running task that receives a part of a source's splits.
type receiver struct {
	source *source
	// splits returns those to be received that it has not returned before.
	splits func() []connectors.Assignment
	store  func(context.Context, block) error
}

// receiver returns one of those that store here.
func (in *intake) receiver(k int) *receiver {
	next := k
	return &receiver{source: in.source, store: in.store, splits: func() (out []connectors.Assignment) {
		in.mu.Lock()
		defer in.mu.Unlock()
		for ; next < len(in.order); next += in.cfg.Receivers {
			out = append(out, in.order[next].assignment())
		}
		return out
	}}
}

func (st *stock) assignment() connectors.Assignment {
	return connectors.Assignment{Split: st.split, From: st.end, Until: connectors.NoEnd}
}

// run receives until ctx ends. What it has in hand is then stored, if last says
// so.
func (x *receiver) run(ctx context.Context, last func() bool) error {
	cfg := x.source.run.cfg.Source.Receiver
	reader, err := x.source.node.Source.Reader(ctx, x.source.run.env(x.source.node))
	if err != nil {
		return x.source.fail(err)
	}
	defer reader.Close()
	tick := time.NewTicker(cfg.BlockInterval.Std())
	defer tick.Stop()
	ended := make(chan struct{})
	due := make(chan struct{}, 1)
	var wait sync.WaitGroup
	wait.Go(func() { // a poll that waits for data is woken for its block
		for {
			select {
			case <-tick.C:
				select {
				case due <- struct{}{}:
				default:
				}
				reader.Wake()
			case <-ended:
				return
			}
		}
	})
	defer wait.Wait()
	defer close(ended)
	var held block
	at := map[connectors.SplitID]connectors.Position{}
	pace := time.Now()
	for {
		if as := x.splits(); len(as) > 0 {
			for _, a := range as {
				at[a.Split.ID] = a.From
			}
			err = reader.Assign(as...)
		}
		var b *connectors.Batch
		if err == nil {
			b, err = reader.Poll(ctx)
		}
		if errors.Is(err, io.EOF) { // no split yet
			err = nil
			select {
			case <-ctx.Done():
			case <-due:
			}
		}
		if err != nil && ctx.Err() == nil {
			return x.source.fail(err)
		}
		if err == nil && b != nil && (len(b.Records) > 0 || b.Next > at[b.Split.ID]) && b.Split.ID != "" {
			held = held.add(at[b.Split.ID], b)
			at[b.Split.ID] = b.Next
			pace = x.paced(ctx, pace, len(b.Records))
		}
		if ctx.Err() != nil {
			if last() {
				return x.store(context.WithoutCancel(ctx), held)
			}
			return nil
		}
		select {
		case <-due:
			if err := x.store(ctx, held); err != nil {
				return err
			}
			held = nil
		default:
		}
	}
}

// paced waits until n records may have been received at the receiver's limit,
// counted from pace, and returns from when the next ones count.
func (x *receiver) paced(ctx context.Context, pace time.Time, n int) time.Time {
	cfg := x.source.run.cfg.Source.Receiver
	// The limit is the job's: all receivers of all sources share it.
	rate := x.source.run.limit.current() / float64(cfg.Receivers*len(x.source.run.sources))
	if m := float64(cfg.MaxRate); m > 0 && (rate == 0 || m < rate) {
		rate = m
	}
	now := time.Now()
	if rate == 0 {
		return now
	}
	if pace.Before(now) {
		pace = now
	}
	pace = pace.Add(time.Duration(float64(n) / rate * 1e9))
	t := time.NewTimer(pace.Sub(now))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return pace
}

// blockReader gives a task the ranges of a batch from what was received.
type blockReader struct {
	in     *intake
	assign []connectors.Assignment
	batch  connectors.Batch
}

var _ connectors.Reader = (*blockReader)(nil)

// Assign takes the ranges of the next batch.
func (r *blockReader) Assign(a ...connectors.Assignment) error {
	r.assign = append(r.assign[:0], a...)
	return nil
}

// Unassign is not used by this engine.
func (r *blockReader) Unassign(...connectors.SplitID) {}

// Poll returns the next chunk.
func (r *blockReader) Poll(ctx context.Context) (*connectors.Batch, error) {
	for i := range r.assign {
		a := &r.assign[i]
		if a.From >= a.Until {
			continue
		}
		c, end := r.in.find(a.Split.ID, a.From)
		if c == nil || c.until > a.Until {
			return nil, fmt.Errorf("split %s: no received block holds position %d: it was lost", a.Split.ID, a.From)
		}
		a.From = c.until
		r.batch = connectors.Batch{Split: a.Split, Records: c.records, Next: c.until, Latest: end, Done: c.until == a.Until}
		return &r.batch, ctx.Err()
	}
	return nil, io.EOF
}

// Wake has nothing to wake: Poll never waits.
func (r *blockReader) Wake() {}

// Close has nothing to close.
func (r *blockReader) Close() error { return nil }

func (in *intake) find(id connectors.SplitID, at connectors.Position) (*chunk, connectors.Position) {
	in.mu.Lock()
	defer in.mu.Unlock()
	st := in.stocks[id]
	if st == nil {
		return nil, 0
	}
	i := sort.Search(len(st.chunks), func(i int) bool { return st.chunks[i].until > at })
	if i == len(st.chunks) || st.chunks[i].from != at {
		return nil, 0
	}
	return st.chunks[i], st.end
}

// receivers are the long-running tasks of a job in receiver mode.
type receivers struct {
	run    *run
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup
	mu     sync.Mutex
	ending bool // as asked
	last   bool // what is in hand is to be stored at the end
	err    error
}

// refuseReceivers says what a job in receiver mode cannot be.
func (r *run) refuseReceivers() error {
	wal := r.cfg.Source.Receiver.WriteAheadLog
	n := 0
	for _, s := range r.sources {
		if s.node.Source.Describe().Bounded {
			return fmt.Errorf("source %q ends by itself: receivers follow sources that do not; use another source.mode", s.node.Name)
		}
		n += r.cfg.Source.Receiver.Receivers
	}
	switch {
	case r.exactlyOnce:
		return errors.New("source.mode is receiver: a receiver cannot be exactly-once, because a block and the position that it ends at are not one write; use another mode or at-least-once with source.receiver.writeAheadLog")
	case r.job.Guarantee == connectors.AtLeastOnce && !wal:
		return errors.New("source.mode is receiver without a write-ahead log: blocks are lost at a crash, so the job cannot be at-least-once; set source.receiver.writeAheadLog")
	case r.job.Guarantee == connectors.AtMostOnce && wal:
		return errors.New("source.receiver.writeAheadLog is set: blocks are read again after a crash, so the job cannot be at-most-once")
	case n >= r.cfg.cores()*r.cfg.Executors:
		return fmt.Errorf("%d receivers occupy all of %d cores and no batch would run: more cores, or fewer source.receiver.receivers", n, r.cfg.cores()*r.cfg.Executors)
	}
	return nil
}

// startReceivers hands the receivers to the scheduler, ahead of all batches.
func (r *run) startReceivers() {
	rs := &receivers{run: r}
	rs.ctx, rs.cancel = context.WithCancel(r.ctx)
	if ex := r.executors; ex != nil {
		ex.mu.Lock()
		for _, s := range r.sources {
			ex.intakes = append(ex.intakes, s.intake)
		}
		ex.mu.Unlock()
	}
	last := func() bool {
		rs.mu.Lock()
		defer rs.mu.Unlock()
		return rs.last
	}
	for i, s := range r.sources {
		w := &work{
			job: schedule.Job{ID: int64(-1 - i), Pool: r.cfg.Scheduler.ReceiverPool, Stages: []schedule.Stage{{Tasks: make([]schedule.Task, r.cfg.Source.Receiver.Receivers)}}},
			run: func(a *attempt) error { return s.intake.receiver(a.Task).run(rs.ctx, last) }, cancel: rs.cancel, ctx: rs.ctx,
			intake: s.intake,
		}
		rs.wait.Go(func() {
			err := r.dispatcher.do(w)
			rs.mu.Lock()
			defer rs.mu.Unlock()
			if err != nil && !rs.ending && r.ctx.Err() == nil {
				rs.err = fmt.Errorf("receiving: %w", err)
				r.cancel()
			}
		})
	}
	r.receivers = rs
}

// end stops the receivers. What they have in hand becomes a last block if finish
// says so.
func (rs *receivers) end(finish bool) error {
	if rs == nil {
		return nil
	}
	rs.mu.Lock()
	rs.ending, rs.last = true, rs.last || finish
	last := rs.last
	rs.mu.Unlock()
	if last {
		rs.run.executors.finish()
	}
	rs.cancel()
	rs.wait.Wait()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.err
}

// received reports whether blocks wait for a batch. It is the planner's.
func (r *run) received() bool {
	if r.receivers == nil {
		return false
	}
	for _, s := range r.sources {
		for _, x := range s.splits {
			if s.intake.end(x.ID) > x.position {
				return true
			}
		}
	}
	return false
}
