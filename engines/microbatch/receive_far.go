package microbatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/schedule"
)

// The driver's side of receivers that run on executors. The blocks stay where they
// were received; what the driver keeps of each is which positions it holds and
// where it is. A batch's task gets its part from there, or from the write-ahead
// log. Without a log what a lost executor held is gone: the batch that it belongs to
// goes on without it and says so.

// farIntake is what an intake has where executors are processes.
type farIntake struct {
	// tickets are the numbers under which running receivers may store their next
	// blocks. What comes without one is of a receiver that was given up.
	tickets map[int64]*farAttempt
	running map[int]*farAttempt // by receiver
}

// reception is all that an executor must know to run a receiver.
type reception struct {
	Attempt schedule.Attempt        `json:"attempt"`
	Source  int                     `json:"source"` // of the job's
	Number  int64                   `json:"number"` // of its first block
	Limit   float64                 `json:"limit,omitempty"`
	Splits  []connectors.Assignment `json:"splits,omitempty"`
}

// following is further splits for a receiver.
type following struct {
	Attempt schedule.Attempt        `json:"attempt"`
	Splits  []connectors.Assignment `json:"splits"`
}

// storedBlock is what the driver must know of a block that a receiver has stored.
type storedBlock struct {
	Attempt schedule.Attempt `json:"attempt"`
	Number  int64            `json:"number"`
	Chunks  []storedChunk    `json:"chunks"`
}

type storedChunk struct {
	Split  connectors.Split    `json:"split"`
	From   connectors.Position `json:"from"`
	Until  connectors.Position `json:"until"`
	Serial int64               `json:"serial"`
}

// piece is a chunk that a task reads.
type piece struct {
	Split  connectors.Split    `json:"split"`
	From   connectors.Position `json:"from"`
	Until  connectors.Position `json:"until"`
	Peer   int                 `json:"peer"`             // that has it; logged: the log
	Serial int64               `json:"serial,omitempty"` // by which the peer knows it
	Block  int64               `json:"block,omitempty"`  // of the log
}

const logged = -1

// gap is a part of a batch's range that no block holds any more.
type gap struct {
	split       connectors.SplitID
	from, until connectors.Position
}

// launchReceiver begins an attempt at a receiver. The dispatcher is locked, and the
// intake may wait for the outside system, so that is done beside.
func (e *remoteExecutor) launchReceiver(a *attempt) {
	f := &farAttempt{attempt: a}
	f.ctx, f.cancel = context.WithCancel(a.work.ctx)
	e.mu.Lock()
	e.attempts[a.Attempt] = f
	e.mu.Unlock()
	e.of.wg.Go(func() { a.work.intake.launch(e, f) })
}

func (in *intake) launch(e *remoteExecutor, f *farAttempt) {
	r := in.source.run
	l := reception{Attempt: f.Attempt, Source: slices.Index(r.sources, in.source), Limit: r.limit.current()}
	in.mu.Lock()
	defer in.mu.Unlock()
	if !e.runs(f) {
		return // it was lost with its executor
	}
	l.Number = in.ticket(f)
	for i := f.Task; i < len(in.order); i += in.cfg.Receivers {
		l.Splits = append(l.Splits, in.order[i].assignment())
	}
	if in.far.running == nil {
		in.far.running = map[int]*farAttempt{}
	}
	f.on = e
	in.far.running[f.Task] = f
	e.tell(kindReceive, l)
	context.AfterFunc(f.ctx, func() {
		if e.runs(f) {
			e.tell(kindKill, f.Attempt)
		}
	})
}

// ticket returns the number of an attempt's next block. The lock is held.
func (in *intake) ticket(f *farAttempt) int64 {
	if in.far.tickets == nil {
		in.far.tickets = map[int64]*farAttempt{}
	}
	n := in.next
	in.next++
	in.far.tickets[n] = f
	return n
}

// followFar tells the receiver of a new split. The lock is held.
func (in *intake) followFar(i int) {
	if f := in.far.running[i%in.cfg.Receivers]; f != nil && f.on.runs(f) {
		f.on.tell(kindFollow, following{f.Attempt, []connectors.Assignment{in.order[i].assignment()}})
	}
}

// runs reports whether an attempt has not ended.
func (e *remoteExecutor) runs(f *farAttempt) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.attempts[f.Attempt] == f
}

// receiverEnded takes in that a receiver has ended.
func (e *remoteExecutor) receiverEnded(f *farAttempt, x ended) {
	defer e.landing.Done()
	r := e.of.run
	in := f.work.intake
	err := in.void(func(t *farAttempt) bool { return t == f })
	switch {
	case err != nil:
		err = schedule.Permanent{Err: err}
	case x.Permanent:
		err = schedule.Permanent{Err: errors.New(x.Error)}
	case x.Error != "":
		err = errors.New(x.Error)
	}
	if err != nil && f.work.ctx.Err() == nil {
		r.rt.Log.Warn("a receiver has failed", "job", r.job.Name, "source", in.source.node.Name, "receiver", f.Task, "attempt", f.N+1, "executor", e.Index+1, "error", err)
	}
	r.dispatcher.ended(f.attempt, err)
	f.cancel()
}

// stored takes in that a receiver has stored a block, and returns the number of its
// next one.
func (e *remoteExecutor) stored(s storedBlock) (next int64, err error) {
	e.mu.Lock()
	f := e.attempts[s.Attempt]
	e.mu.Unlock()
	if f == nil || f.t != nil {
		return 0, errors.New("a block of a receiver that is not to run")
	}
	in := f.work.intake
	in.step.Lock()
	defer in.step.Unlock()
	if in.frozen {
		return 0, context.Canceled
	}
	if err := in.source.run.attempt.Check(); err != nil {
		return 0, err
	}
	var b block
	for _, c := range s.Chunks {
		b = append(b, &chunk{split: c.Split, from: c.From, until: c.Until, holder: e, serial: c.Serial})
	}
	given := func() error {
		if in.far.tickets[s.Number] != f {
			return errors.New("a block of a receiver that was given up")
		}
		return nil
	}
	in.mu.Lock()
	err = given()
	in.mu.Unlock()
	if err != nil {
		return 0, err
	}
	err = in.take(in.source.run.ctx, b, func() error {
		if err := given(); err != nil { // it was lost with its executor meanwhile
			return err
		}
		delete(in.far.tickets, s.Number)
		in.put(b, s.Number)
		next = in.ticket(f)
		return nil
	})
	return next, err
}

// void takes the tickets of receivers back: what they may have written to the log
// under them was told nobody, and is received again.
func (in *intake) void(of func(*farAttempt) bool) error {
	var files []int64
	in.mu.Lock()
	for n, f := range in.far.tickets {
		if of(f) {
			delete(in.far.tickets, n)
			files = append(files, n)
		}
	}
	in.mu.Unlock()
	if in.log == nil {
		return nil
	}
	var errs []error
	for _, n := range files {
		errs = append(errs, in.log.Remove(logName(blockPrefix, n)))
	}
	return errors.Join(errs...)
}

// loseBlocks takes in that an executor is gone, before anything of it runs
// elsewhere.
func (ex *executors) loseBlocks(e *remoteExecutor) error {
	ex.mu.Lock()
	intakes := ex.intakes
	ex.mu.Unlock()
	for _, in := range intakes {
		if err := in.void(func(f *farAttempt) bool { return f.on == e }); err != nil {
			return fmt.Errorf("write-ahead log: %w", err)
		}
		if n := in.lose(e); n > 0 {
			ex.run.rt.Log.Warn("received blocks were lost with their executor", "job", ex.run.job.Name, "source", in.source.node.Name, "executor", e.Index+1, "chunks", n)
		}
	}
	return nil
}

// lose forgets where an executor had blocks, and without a log the blocks; it
// returns how many parts of them are lost.
func (in *intake) lose(e *remoteExecutor) (lost int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, st := range in.stocks {
		kept := st.chunks[:0]
		for _, c := range st.chunks {
			if c.holder == e {
				if c.holder = nil; in.log == nil {
					lost++
					continue
				}
			}
			kept = append(kept, c)
		}
		clear(st.chunks[len(kept):])
		st.chunks = kept
	}
	return lost
}

// pieces returns where an executor finds what was received of some ranges, and what
// is not there any more. peer numbers those that it is fetched from.
func (in *intake) pieces(ranges []connectors.Assignment, at *remoteExecutor, peer func(*remoteExecutor) int) (found []piece, gaps []gap) {
	found = []piece{}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, a := range ranges {
		from := a.From
		var chunks []*chunk
		if st := in.stocks[a.Split.ID]; st != nil {
			i := sort.Search(len(st.chunks), func(i int) bool { return st.chunks[i].until > from })
			chunks = st.chunks[i:]
		}
		for _, c := range chunks {
			if c.from >= a.Until {
				break
			}
			if c.from > from {
				gaps = append(gaps, gap{a.Split.ID, from, c.from})
			}
			from = c.until
			p := piece{Split: a.Split, From: c.from, Until: c.until, Peer: logged, Block: c.number}
			// The log is as near as any other executor.
			if c.holder == at || in.log == nil {
				p.Peer, p.Serial = peer(c.holder), c.serial
			}
			found = append(found, p)
		}
		if from < a.Until {
			gaps = append(gaps, gap{a.Split.ID, from, a.Until})
		}
	}
	return found, gaps
}

// lose notes what the attempt that counts did not find. The dispatcher is locked.
func (b *batch) lose(at place, gaps []gap) {
	if len(gaps) == 0 {
		delete(b.lost, at)
		return
	}
	if b.lost == nil {
		b.lost = map[place][]gap{}
	}
	b.lost[at] = gaps
}

// tellLost says what a batch that is complete has gone without.
func (r *run) tellLost(b *batch) {
	at := slices.SortedFunc(maps.Keys(b.lost), func(x, y place) int { return x.Task - y.Task })
	for _, p := range at {
		for _, g := range b.lost[p] {
			r.emit(engines.DataLost{Split: g.split, From: g.from, Until: g.until})
		}
	}
	b.lost = nil
}
