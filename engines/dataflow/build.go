package dataflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/engines/dataflow/schedule"
	"streamduel/exchange"
	"streamduel/pipeline"
	"streamduel/state"
)

// build makes everything that a job consists of, in the order that recovery
// needs: the newest checkpoint, the sinks' transactions, and only then writers,
// state and positions.
func (r *run) build() (err error) {
	for _, n := range r.job.Graph.Nodes() {
		r.eventTime = r.eventTime || n.Watermarks != nil
	}
	if err := r.adopt(); err != nil {
		return err
	}
	if r.attempt, err = state.NextAttempt(r.job.Folder, r.job.Name); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.discard()
		}
	}()
	if r.cfg.TaskManagers > 1 {
		if r.members, err = lead(r); err != nil {
			return err
		}
	}
	if r.backend, err = r.job.OpenBackend(r.attempt, r.fragments); err != nil {
		return err
	}
	r.store = checkpoints.Open(r.job.Folder, r.cfg.Checkpoint.Retained, r.backend, r.rt.Log)
	from, err := r.store.Newest()
	if err != nil {
		return err
	}
	next, err := r.store.NextID()
	if err != nil {
		return err
	}
	r.coordinator = &coordinator{run: r, inbox: make(chan any, 256), next: next, ended: map[*seat]bool{}, restarts: r.cfg.Restart.strategy()}
	if from != nil {
		defer from.Close()
		r.coordinator.last = from.Metadata
	}
	starts, err := r.openSources(from)
	if err != nil {
		return err
	}
	if err := r.recover(from); err != nil {
		return err
	}
	if from == nil {
		// Where the job begins is durable before it begins, so that a restart
		// begins there too.
		if err := r.begin(starts); err != nil {
			return err
		}
	}
	if err := r.openTasks(from); err != nil {
		return err
	}
	r.emit(engines.Started{Attempt: r.attempt.Number, FixedSplits: r.job.Discovery <= 0})
	if from != nil {
		id := from.ID
		r.emit(engines.Restored{Checkpoint: &id, Positions: r.restartPositions()})
	}
	for i, s := range r.sources {
		s.begin(starts[i])
	}
	r.gauges = gaugeState{at: clock.Mono(), blocked: make([]int64, len(r.seats)), idle: make([]int64, len(r.seats))}
	return nil
}

// discard closes what build has opened before it failed.
func (r *run) discard() {
	for _, s := range r.seats {
		if t := s.task(); t != nil {
			t.discard()
		}
	}
	for _, s := range r.sources {
		s.enum.Close()
	}
	r.members.close()
	r.closeBackend()
}

func (r *run) closeBackend() {
	if r.backend != nil {
		r.backend.Close()
	}
}

func (r *run) env(n *pipeline.Node) connectors.Env {
	return connectors.Env{Job: r.job.Name, Node: n.Name, Attempt: r.attempt.Number, Log: r.rt.Log, Gate: r.rt.Gate}
}

// openSources opens the enumerators and finds where each split begins.
func (r *run) openSources(from *checkpoints.Checkpoint) (starts [][]assignment, err error) {
	for _, n := range r.job.Graph.Nodes() {
		if n.Source == nil {
			continue
		}
		s := newEnumeration(r, n)
		if s.enum, err = n.Source.Enumerator(r.ctx, r.env(n)); err != nil {
			return nil, s.wrap(err)
		}
		r.sources = append(r.sources, s)
		as, err := s.start(r.ctx, from)
		if err != nil {
			return nil, err
		}
		starts = append(starts, as)
		for _, a := range as {
			r.restart[a.Split.ID], r.base[a.Split.ID], r.settled[a.Split.ID] = a.From, a.From, a.From
		}
	}
	return starts, nil
}

// begin writes the checkpoint from which a job without one starts: positions
// only.
func (r *run) begin(starts [][]assignment) error {
	m := &checkpoints.Metadata{ID: r.coordinator.next, Attempt: r.attempt.Number, MaxParallelism: r.job.MaxParallelism}
	r.coordinator.next++
	for i, s := range r.sources {
		src := checkpoints.Source{Operator: s.node.UID}
		for _, a := range starts[i] {
			sp := checkpoints.Split{ID: a.Split.ID, Partition: a.Split.Partition, Position: a.From}
			if a.Until != connectors.NoEnd {
				sp.Until = &a.Until
			}
			src.Splits = append(src.Splits, sp)
		}
		m.Sources = append(m.Sources, src)
	}
	r.coordinator.oldest = m.ID
	return r.store.Complete(m)
}

// recover takes up the sinks' transactions. It runs before any writer is
// opened, because opening one aborts what its ids hold.
func (r *run) recover(from *checkpoints.Checkpoint) error {
	if from != nil {
		r.coordinator.oldest = from.ID
		r.rt.Log.Info("going back to a checkpoint", "checkpoint", from.ID, "attempt", r.attempt.Number)
		r.failpoint("R1", from.ID)
	}
	if err := r.recoverSinks(from, r.job.Graph.Nodes()); err != nil || from == nil {
		return err
	}
	return r.store.Sweep()
}

// recoverSinks commits again what a checkpoint lists of the sinks among the
// nodes, aborts what else they have open, and notes that.
func (r *run) recoverSinks(from *checkpoints.Checkpoint, nodes []*pipeline.Node) error {
	done := map[string]bool{}
	for _, n := range nodes {
		if n.Sink == nil {
			continue
		}
		var cs []connectors.Committable
		if from != nil {
			cs = from.Committables(n.UID)
		}
		if r.job.Guarantee != connectors.ExactlyOnce && len(cs) == 0 {
			continue // what it was exactly-once with before it still commits
		}
		if err := r.attempt.Check(); err != nil {
			return err
		}
		if err := r.recoverSink(from, n, cs); err != nil {
			return fmt.Errorf("sink %q: recovering its transactions: %w", n.Name, err)
		}
		done[n.UID] = true
	}
	if from == nil {
		return nil
	}
	r.failpoint("R2", from.ID)
	if err := r.attempt.Check(); err != nil {
		return err
	}
	if err := r.store.Recovered(from, func(operator string) bool { return done[operator] }); err != nil {
		return fmt.Errorf("noting that checkpoint %d is committed: %w", from.ID, err)
	}
	return nil
}

func (r *run) recoverSink(from *checkpoints.Checkpoint, n *pipeline.Node, cs []connectors.Committable) error {
	sink, ok := n.Sink.(connectors.Recoverer)
	if !ok {
		return fmt.Errorf("a sink of kind %s cannot commit what checkpoint %d lists", n.Sink.Describe().Kind, from.ID)
	}
	env := r.writerEnv(n, 0, pipeline.ParallelismOf(n, r.job.Parallelism))
	if r.cfg.BreakRecovery {
		// With nothing to commit it initializes all ids of the sink.
		if err := sink.Recover(r.ctx, env, nil); err != nil {
			return err
		}
	}
	err := sink.Recover(r.ctx, env, cs)
	if r.cfg.AcceptLost && errors.Is(err, connectors.ErrLost) {
		r.rt.Log.Error("going on without prepared output", "sink", n.Name, "checkpoint", from.ID, "error", err)
		r.emit(engines.Lost{Checkpoint: from.ID, Error: err.Error()})
		return nil
	}
	if errors.Is(err, connectors.ErrLost) {
		return fmt.Errorf("%w; acceptLost: true goes on without it", err)
	}
	return err
}

// elsewhere is how many checkpoints in a row may be given up because regions that a
// sink is not in are restarted: it prepares an epoch for each, and nothing tells it
// before. Ids that are not used cost nothing.
const elsewhere = 64

func (r *run) writerEnv(n *pipeline.Node, subtask, parallelism int) connectors.WriterEnv {
	env := connectors.WriterEnv{
		Env: r.env(n), Subtask: subtask, Parallelism: parallelism, Guarantee: r.job.Guarantee,
		// One epoch is open, and one is listed by each checkpoint that is kept or
		// under way or has been given up; some savepoints may have been as well.
		Pool: 4 + r.cfg.Checkpoint.Concurrent + r.cfg.Checkpoint.Retained + r.cfg.Checkpoint.TolerableFailures,
	}
	if r.broken {
		env.Pool++ // commits run ahead of the metadata, so releases lag by one
	}
	if len(r.execution.regions) > 1 {
		env.Pool += elsewhere
	}
	if r.rt.Acks != nil {
		env.Acked = r.rt.Acks.Acked
	}
	return env
}

// openTasks makes the execution graph: the seats by region, then rings, then
// tasks with their writers and readers, then state.
func (r *run) openTasks(from *checkpoints.Checkpoint) error {
	if err := r.allHaveOperators(from); err != nil {
		return err
	}
	if from != nil {
		if err := r.onlyThere(from); err != nil {
			return err
		}
	}
	r.rings = map[ringKey][]*exchange.Ring{}
	r.seatsOf(func(schedule.Subtask) bool { return true })
	r.alignGroups()
	for _, g := range r.regions {
		ts, err := r.openRegion(g, from)
		if err != nil {
			return err
		}
		for i, s := range g.seats {
			s.current.Store(ts[i])
		}
	}
	return nil
}

// seatsOf makes the seats of those subtasks that are of this process, and the
// regions.
func (r *run) seatsOf(here func(schedule.Subtask) bool) {
	at := map[schedule.Subtask]*seat{}
	for v, f := range r.fragments {
		for i := range f.Parallelism {
			if !here(schedule.Subtask{Vertex: v, Index: i}) {
				continue
			}
			s := &seat{fragment: f, index: i, name: f.Name + " (" + strconv.Itoa(i+1) + "/" + strconv.Itoa(f.Parallelism) + ")"}
			at[schedule.Subtask{Vertex: v, Index: i}] = s
			r.seats = append(r.seats, s)
			if len(f.Sinks) > 0 {
				r.sinkSeats = append(r.sinkSeats, s)
			}
			for _, e := range r.sources {
				if slices.Contains(f.Sources, e.node) {
					e.seats = append(e.seats, s)
					s.source = e
				}
			}
		}
	}
	for _, subtasks := range r.execution.regions {
		g := &region{run: r, number: len(r.regions)}
		for _, s := range subtasks {
			if at[s] != nil {
				at[s].region = g
				g.seats = append(g.seats, at[s])
			}
		}
		r.regions = append(r.regions, g)
	}
}

// openRegion makes new tasks for a region's seats, and the rings between them.
func (r *run) openRegion(g *region, from *checkpoints.Checkpoint) (ts []*task, err error) {
	if r.members != nil {
		return r.members.open(g, from)
	}
	within := r.ctx
	if g.deployment != nil {
		within = g.deployment.ctx
	}
	g.ctx, g.cancel = context.WithCancel(within)
	of := map[*pipeline.Fragment]map[int]*task{}
	for _, s := range g.seats {
		t := &task{run: r, seat: s, ctx: g.ctx, box: newMailbox(), target: pipeline.NoTime, now: pipeline.NoTime}
		t.follow(s.task())
		if len(s.fragment.Sources) == 0 {
			t.in = newInlet(t.box)
		}
		if of[s.fragment] == nil {
			of[s.fragment] = map[int]*task{}
		}
		of[s.fragment][s.index] = t
		ts = append(ts, t)
	}
	opened := ts
	defer func() {
		if err != nil {
			g.cancel()
			for _, t := range opened {
				t.discard()
			}
		}
	}()
	if g.deployment != nil {
		if err := g.deployment.connect(r.here, ts); err != nil {
			return nil, err
		}
	} else {
		r.connect(of)
	}
	for _, t := range ts {
		if err := r.openTask(t, from); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return ts, nil
}

// allHaveOperators refuses a checkpoint with state that the job would lose.
func (r *run) allHaveOperators(from *checkpoints.Checkpoint) error {
	if from == nil {
		return nil
	}
	known := map[string]bool{}
	for _, f := range r.fragments {
		if n := statefulOperator(f); n != nil {
			known[n.UID] = true
		}
	}
	for _, n := range r.job.Graph.Nodes() {
		if n.Source != nil || n.Sink != nil {
			known[n.UID] = true
		}
	}
	var errs []error
	refuse := func(what, operator string) {
		if known[operator] {
			return
		}
		known[operator] = true // once
		if r.cfg.AllowNonRestored {
			r.rt.Log.Warn("part of a checkpoint is not restored", "checkpoint", from.ID, "what", what, "operator", operator)
			return
		}
		errs = append(errs, fmt.Errorf("checkpoint %d has %s of operator %q, the job has not; allowNonRestored: true drops it", from.ID, what, operator))
	}
	for _, s := range from.Metadata.States {
		refuse("state", s.Operator)
	}
	for _, s := range from.Sources {
		refuse("positions", s.Operator)
	}
	for _, s := range from.Sinks {
		refuse("prepared output", s.Operator)
	}
	return errors.Join(errs...)
}

// connect makes a ring for every pair of the tasks that an edge joins. What an
// exchange connects is in one region, so none of them leads out of it.
func (r *run) connect(of map[*pipeline.Fragment]map[int]*task) {
	up := map[*pipeline.Edge]*pipeline.Fragment{}
	for _, f := range r.fragments {
		for _, e := range f.Out {
			up[e] = f
		}
	}
	for _, f := range r.fragments {
		for _, e := range f.In {
			for i := range up[e].Parallelism {
				if of[up[e]][i] == nil {
					continue
				}
				rings := make([]*exchange.Ring, f.Parallelism)
				for j, t := range of[f] {
					if e.Effective(r.job.Parallelism) == pipeline.Forward && i != j {
						continue
					}
					rings[j] = t.in.add(e, i)
				}
				r.rings[ringKey{e, i}] = rings
			}
		}
	}
}

func (r *run) openTask(t *task, from *checkpoints.Checkpoint) (err error) {
	f := t.fragment
	for _, n := range f.Sinks {
		w, err := n.Sink.Writer(t.ctx, r.writerEnv(n, t.index, f.Parallelism))
		if err != nil {
			return fmt.Errorf("sink %q: %w", n.Name, err)
		}
		t.sinks = append(t.sinks, &sinkWriter{node: n, writer: w})
	}
	t.take = 1
	t.pipe, err = f.Build(pipeline.TaskConfig{
		Context: t.ctx, Subtask: t.index, Job: r.job.Parallelism, MaxParallelism: r.job.MaxParallelism,
		Host: t, Origins: r.job.Origins, Backend: r.backend, BadInput: r.bad.Take, Unread: r.unread.Take,
		Slice: t.take * frameBytes,
		Wake:  func() { t.box.signal(sigData) }, // only wakes: the loop looks for itself
	})
	if err != nil {
		return err
	}
	for _, o := range t.pipe.Outputs() {
		o.Writer.SetLimit(r.cfg.Buffers.Size)
	}
	if t.in != nil {
		for i := range t.in.channels {
			c := &t.in.channels[i]
			if c.input, err = t.pipe.NewInput(c.edge); err != nil {
				return err
			}
		}
		t.in.gates = newGates(t.in, r.cfg.Buffers)
		t.align = newAligner(len(t.in.channels), r.job.Guarantee == connectors.ExactlyOnce)
		t.valve = newValve(len(t.in.channels), r.cfg.Watermark == TaskMax)
	}
	if from != nil {
		if err := t.refill(from); err != nil {
			return fmt.Errorf("restoring checkpoint %d: %w", from.ID, err)
		}
		if n := statefulOperator(f); n != nil {
			if err := t.pipe.RestoreFrom(from.States(n.UID)...); err != nil {
				return fmt.Errorf("restoring checkpoint %d: %w", from.ID, err)
			}
		}
	}
	if len(f.Sources) == 0 {
		return nil
	}
	n := f.Sources[0] // a chain has one head
	s := &sourceReader{task: t, node: n, head: t.pipe.Source(n), splits: map[connectors.SplitID]*split{}}
	s.rejoin()
	t.source = s
	reader, err := n.Source.Reader(t.ctx, r.env(n))
	if err != nil {
		return fmt.Errorf("source %q: %w", n.Name, err)
	}
	s.fetch = newFetcher(t.ctx, n.Name, reader, t.seat.source.bounded, func() { t.box.signal(sigData) })
	if r.job.Guarantee == connectors.AtMostOnce {
		s.fetch.claim = t.seat.source.claim
	}
	return nil
}
