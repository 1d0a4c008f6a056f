package dataflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/cluster"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/engines/dataflow/schedule"
	"streamduel/exchange"
	"streamduel/exchange/remote"
	"streamduel/pipeline"
)

// members are a job's task managers, as the worker sees them. In the worker a
// task stands for each subtask (task.away): what is put into its mailbox is sent
// on, and what its task manager reports is shown by it. So the coordinator and
// the enumerations do not know where a subtask runs.
type members struct {
	run    *run
	leader *cluster.Leader
	wg     sync.WaitGroup
	ctx    context.Context // ends when the last task manager may go
	cancel context.CancelFunc

	mu      sync.Mutex
	each    []*process // by index
	regions map[*region]*away
	epoch   int64
	rate    float64
	before  map[*seat]counters   // of the task managers that had the seat before
	used    engines.ProcessUsage // by dead ones, as last heard
	bad     int64                // the same
	sealed  chan struct{}        // closed when all have answered; nil before
	closing bool

	timing sync.Mutex // nothing older than a restart is told behind it
}

// away is the tasks of a region, from one restart to the next.
type away struct {
	tenure
	ctx   context.Context
	tasks map[schedule.Subtask]*task
	on    []*process
}

// counters of a subtask that grow over restarts.
type counters struct{ consumed, written, blocked, idle int64 }

// process is a task manager's process.
type process struct {
	*cluster.Member
	of    *members
	calls *cluster.Calls
	tells *cluster.Queue
	last  status // of.mu
}

// refuseSpread returns what cannot be spread over processes.
func refuseSpread(cfg Config, rt engines.Runtime) error {
	var errs []error
	refuse := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if rt.Members == nil {
		refuse("whoever runs the job here cannot start processes")
	}
	if b := cfg.Buffers; cfg.Checkpoint.Unaligned && b.ExclusivePerChannel+b.FloatingPerGate+b.Overdraft > remote.MaxEvent/exchange.MaxData {
		refuse("checkpoint.unaligned: what a barrier overtakes in a channel to another process travels with it, at most %d buffers: lower buffers.floatingPerGate", remote.MaxEvent/exchange.MaxData)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("dataflow: taskManagers: value %d: %w", cfg.TaskManagers, err)
	}
	return nil
}

// lead starts a run's task managers.
func lead(r *run) (*members, error) {
	l, err := cluster.Lead(cluster.Config{Command: r.rt.Members.Command})
	if err != nil {
		return nil, err
	}
	ms := &members{run: r, leader: l, each: make([]*process, r.cfg.TaskManagers), regions: map[*region]*away{}, before: map[*seat]counters{}}
	ms.ctx, ms.cancel = context.WithCancel(context.WithoutCancel(r.ctx))
	errs := make([]error, len(ms.each))
	var wg sync.WaitGroup
	for i := range ms.each {
		wg.Go(func() { ms.each[i], errs[i] = ms.start(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		ms.close()
		return nil, err
	}
	if r.rt.Gate != nil {
		r.rt.Gate.Extend(ms)
	}
	return ms, nil
}

// starting is how long a process may take until it can open tasks.
const starting = time.Minute

func (ms *members) start(index int) (*process, error) {
	ctx, cancel := context.WithTimeout(ms.run.ctx, starting)
	defer cancel()
	cm, err := ms.leader.Start(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("task manager %d: %w", index+1, err)
	}
	m := &process{Member: cm, of: ms, tells: cluster.NewQueue()}
	m.calls = cluster.NewCalls(cm.Send)
	ms.wg.Go(m.listen)
	ms.wg.Go(func() { m.tells.Serve(ms.ctx, m.tell) })
	if err = cm.Send(cluster.Message{Kind: engines.JobMessage, Body: ms.run.rt.Members.Job}); err == nil {
		ms.mu.Lock()
		w := welcome{Attempt: ms.run.attempt.Number, Rate: ms.rate, Acks: ms.run.rt.Acks != nil}
		ms.mu.Unlock()
		err = m.calls.Call(ctx, kindWelcome, w, nil)
	}
	if err != nil {
		m.Kill()
		return nil, fmt.Errorf("task manager %d: %w", index+1, err)
	}
	return m, nil
}

// listen takes a task manager's messages until it is lost.
func (m *process) listen() {
	for msg := range m.Messages() {
		if msg.Kind == engines.RefusedMessage {
			m.calls.End(errors.New(string(msg.Body)))
			continue
		}
		if err := m.receive(msg); err != nil {
			m.calls.End(err)
			m.Kill()
		}
	}
	<-m.Lost()
	m.Kill() // it may only be cut off
	ms := m.of
	m.calls.End(m.Err())
	ms.mu.Lock()
	if ms.closing {
		ms.mu.Unlock()
		return
	}
	var hit []*task
	for _, a := range ms.regions {
		if slices.Contains(a.on, m) {
			for _, t := range a.tasks {
				if t.away == m {
					hit = append(hit, t)
					break
				}
			}
		}
	}
	ms.mu.Unlock()
	lost := fmt.Errorf("task manager %d was lost: %w", m.Index+1, m.Cause())
	if ms.run.cfg.Restart.Strategy == RestartNone {
		lost = fmt.Errorf("%w; with another restart.strategy than none its tasks would be started again", lost)
	}
	for _, t := range hit {
		t.region.failed(t, lost)
	}
}

func (m *process) receive(msg cluster.Message) error {
	e, mine, err := m.calls.Receive(msg)
	if err != nil || !mine {
		return err
	}
	ms, r := m.of, m.of.run
	switch msg.Kind {
	case kindTell:
		var w tell
		if err := json.Unmarshal(e.Body, &w); err != nil {
			return err
		}
		m.tells.Put(w)
	case kindPassage:
		var p passage
		if err := json.Unmarshal(e.Body, &p); err != nil {
			return err
		}
		ms.wg.Go(func() {
			defer m.calls.Answer(e.Call, nil, nil)
			r.failpoint(p.Point, p.Epoch)
		})
	case kindPermit:
		ms.wg.Go(func() { ms.lend(m, e.Call) })
	case kindClaim:
		var c claimed
		if err := json.Unmarshal(e.Body, &c); err != nil {
			return err
		}
		ms.wg.Go(func() { m.calls.Answer(e.Call, nil, r.sources[c.Source].claim(r.ctx, c.Split, c.Next)) })
	case kindEvent:
		var h engines.Happened
		if err := json.Unmarshal(e.Body, &h); err != nil {
			return err
		}
		r.emit(eventOf(h))
	case kindTimes:
		var w times
		if err := json.Unmarshal(e.Body, &w); err != nil {
			return err
		}
		ms.timed(w)
	case kindStatus:
		var s status
		if err := json.Unmarshal(e.Body, &s); err != nil {
			return err
		}
		m.show(s)
	case kindParted:
		var p parted
		if err := json.Unmarshal(e.Body, &p); err != nil {
			return err
		}
		ms.parted(p, m)
	default:
		return fmt.Errorf("a message of unknown kind %q", msg.Kind)
	}
	return nil
}

// deployment returns a region's tasks if they are still those of the message.
func (ms *members) deployment(a tenure) *away {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for g, d := range ms.regions {
		if g.number == a.Region && d.Epoch == a.Epoch {
			return d
		}
	}
	return nil
}

// tell tells the coordinator what a subtask has said.
func (m *process) tell(x any) {
	w := x.(tell)
	d := m.of.deployment(w.tenure)
	if d == nil {
		return // of tasks that have been replaced
	}
	t := d.tasks[schedule.Subtask{Vertex: w.Vertex, Index: w.Index}]
	if t == nil || t.away != m {
		return
	}
	message, err := w.message(t)
	if err != nil {
		t.region.failed(t, err)
		return
	}
	switch x := message.(type) {
	case crashed:
		t.region.failed(t, x.err)
	case committed:
		t.run.coordinator.committed(t, x.id)
	default:
		t.run.coordinator.tell(message)
	}
}

// grace is how long the loss of a process may take to become known after that of
// a connection to it, which says less.
const grace = 2 * time.Second

// parted fails a region two of whose task managers have lost each other.
func (ms *members) parted(p parted, m *process) {
	d := ms.deployment(p.tenure)
	if d == nil || d.ctx.Err() != nil {
		return
	}
	i := slices.IndexFunc(d.on, func(o *process) bool { return o.Index == p.Peer })
	if i < 0 {
		return
	}
	ms.wg.Go(func() {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-t.C:
		case <-d.on[i].Lost():
			return // which says it
		case <-d.ctx.Done():
			return
		}
		for _, t := range d.tasks {
			if t.away == m {
				t.region.failed(t, errors.New(p.Error))
				return
			}
		}
	})
}

// open makes a region's tasks: here those that stand for the subtasks, which are
// opened in their task managers.
func (ms *members) open(g *region, from *checkpoints.Checkpoint) ([]*task, error) {
	r := ms.run
	if err := ms.revive(g); err != nil {
		return nil, err
	}
	ms.timing.Lock()
	g.forgetTimes()
	ms.timing.Unlock()
	g.ctx, g.cancel = context.WithCancel(r.ctx)
	ms.mu.Lock()
	ms.epoch++
	d := &away{tenure: tenure{g.number, ms.epoch}, ctx: g.ctx, tasks: map[schedule.Subtask]*task{}}
	o := opening{tenure: d.tenure, Addresses: map[int]string{}}
	if from != nil {
		o.Checkpoint = from.ID
	}
	var ts []*task
	for _, s := range g.seats {
		place := schedule.Subtask{Vertex: s.fragment.Index, Index: s.index}
		m := ms.each[r.places[place].TaskManager]
		t := &task{run: r, seat: s, ctx: g.ctx, box: newMailbox(), away: m, target: pipeline.NoTime, now: pipeline.NoTime}
		t.follow(s.task())
		t.shown.watermark.Store(pipeline.NoTime)
		ts = append(ts, t)
		d.tasks[place] = t
		if !slices.Contains(d.on, m) {
			d.on = append(d.on, m)
		}
		o.Addresses[m.Index] = m.Data
	}
	ms.regions[g] = d
	ms.mu.Unlock()
	ctx, cancel := context.WithCancel(g.ctx)
	defer cancel()
	var once sync.Once
	var failed error
	d.all(func(m *process) {
		if err := m.calls.Call(ctx, kindOpen, o, nil); err != nil {
			once.Do(func() { failed = fmt.Errorf("task manager %d: %w", m.Index+1, err) })
			cancel()
		}
	})
	if failed != nil {
		g.cancel()
		d.all(func(m *process) { ms.end(m, d) })
		return nil, failed
	}
	for _, m := range d.on {
		g.wg.Go(func() {
			<-g.ctx.Done()
			ms.end(m, d)
		})
	}
	return ts, nil
}

// all calls f for all task managers of the tasks at once and waits.
func (d *away) all(f func(*process)) {
	var wg sync.WaitGroup
	for _, m := range d.on {
		wg.Go(func() { f(m) })
	}
	wg.Wait()
}

// end ends the tasks in one task manager and waits until they have ended, or the
// task manager has.
func (ms *members) end(m *process, d *away) {
	var s status
	err := m.calls.Call(ms.ctx, kindClose, d.tenure, &s)
	switch {
	case err == nil:
		m.show(s)
	case m.Err() == nil && ms.ctx.Err() == nil:
		// A function that does not come back: here it can be ended all the same.
		ms.run.rt.Log.Warn("killing a task manager that does not end its tasks", "taskManager", m.Index+1, "error", err)
		m.Kill()
		<-m.Lost()
	}
}

// revive starts the task managers of a region that were lost.
func (ms *members) revive(g *region) error {
	for _, s := range g.seats {
		i := ms.run.places[schedule.Subtask{Vertex: s.fragment.Index, Index: s.index}].TaskManager
		ms.mu.Lock()
		m := ms.each[i]
		ms.mu.Unlock()
		if m.Err() == nil {
			continue
		}
		again, err := ms.start(i)
		if err != nil {
			return err
		}
		ms.mu.Lock()
		ms.each[i] = again
		ms.bad += m.last.Bad
		ms.used.AllocBytes += m.last.Used.AllocBytes
		ms.used.GCPauseMillisMax = max(ms.used.GCPauseMillisMax, m.last.Used.GCPauseMillisMax)
		for _, s := range ms.run.seats {
			if t := s.task(); t != nil && t.away == m {
				ms.before[s] = counters{t.shown.consumed.Load(), t.shown.written.Load(), t.waits.blocked.Load(), t.waits.idle.Load()}
			}
		}
		ms.mu.Unlock()
	}
	return nil
}

// launch lets a region's tasks run.
func (ms *members) launch(g *region) {
	ms.mu.Lock()
	d := ms.regions[g]
	ms.mu.Unlock()
	for _, m := range d.on {
		_ = m.calls.Post(kindStart, d.tenure) // one that cannot be told is lost, which is told
	}
	for place, t := range d.tasks {
		g.spawn(t, func() error { return t.forward(mail{tenure: d.tenure, Vertex: place.Vertex, Index: place.Index}) })
	}
}

// forward sends on what comes into the mailbox.
func (t *task) forward(to mail) error {
	for {
		select {
		case <-t.box.wake:
		case <-t.ctx.Done():
			return nil
		}
		if t.box.take()&sigMail == 0 {
			continue
		}
		for _, message := range t.box.receive() {
			m, err := mailOf(message)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			m.tenure, m.Vertex, m.Index = to.tenure, to.Vertex, to.Index
			if err := t.away.calls.Post(kindMail, m); err != nil {
				return nil //nolint:nilerr // it is lost, which is told
			}
		}
	}
}

// assign gives a source's subtask splits before it runs.
func (t *task) assign(as assign) {
	if t.away != nil {
		t.box.send(as)
		return
	}
	t.source.assign(as)
}

// show takes over what a task manager reports.
func (m *process) show(s status) {
	ms, r := m.of, m.of.run
	ms.mu.Lock()
	defer ms.mu.Unlock()
	acks := s.Acks
	s.Acks = nil
	m.last = s
	if r.rt.Acks != nil {
		r.rt.Acks.Merge(acks)
	}
	of := map[schedule.Subtask]taskStatus{}
	for _, w := range s.Tasks {
		of[schedule.Subtask{Vertex: w.Vertex, Index: w.Index}] = w
	}
	for _, seat := range r.seats {
		t := seat.task()
		w, ok := of[schedule.Subtask{Vertex: seat.fragment.Index, Index: seat.index}]
		if t == nil || !ok || t.away != m {
			continue
		}
		b := ms.before[seat]
		t.shown.consumed.Store(b.consumed + w.Consumed)
		t.shown.written.Store(b.written + w.Written)
		t.shown.held.Store(w.Held)
		t.shown.heldBytes.Store(w.HeldBytes)
		t.waits.blocked.Store(b.blocked + w.Blocked)
		t.waits.idle.Store(b.idle + w.Idle)
		t.waits.since.Store(w.Since)
		t.waits.reason.Store(w.Reason)
		wm := pipeline.NoTime
		if w.Watermark != nil {
			wm = *w.Watermark
		}
		t.shown.watermark.Store(wm)
		t.shown.pressure.Store(w.Pressure)
		t.shown.metrics.Store(&w.Metrics)
		if w.IO != nil && seat.source != nil {
			pending := seat.source.pending(seat) // its own process knows no end of a split
			w.IO.Pending = &pending
			w.IO.Splits = seat.source.splitTimes(seat)
		}
		t.shown.io.Store(w.IO)
	}
	for _, w := range s.Splits {
		r.sources[w.Source].show(w)
	}
}

// show takes over how far a split has been read elsewhere.
func (s *enumeration) show(w splitStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.views[w.Split]; v != nil {
		v.position.Store(w.Position)
		v.reached.Store(w.Reached)
		v.latest.Store(max(v.latest.Load(), w.Latest))
		v.watermark.Store(w.Watermark)
		v.active.Store(w.Active)
		v.paused.Store(w.Paused)
		v.idle.Store(w.Idle)
	}
}

// look asks the task managers how they are; the next look at the gauges shows
// it.
func (ms *members) look() {
	if ms == nil {
		return
	}
	for _, m := range ms.alive() {
		go m.calls.Post(kindReport, nil) //nolint:errcheck // one that cannot be asked is lost
	}
}

func (ms *members) alive() (list []*process) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.each {
		if m != nil && !ms.closing && m.Err() == nil {
			list = append(list, m)
		}
	}
	return list
}

// trim tells of a durable checkpoint: what lies before it is not asked for any
// more.
func (ms *members) trim(m *checkpoints.Metadata) {
	if ms == nil {
		return
	}
	to := map[int32]connectors.Position{}
	for _, s := range m.Sources {
		for _, sp := range s.Splits {
			to[sp.Partition] = sp.Position
		}
	}
	for _, m := range ms.alive() {
		_ = m.calls.Post(kindTrim, to)
	}
}

// close ends all task managers.
func (ms *members) close() {
	if ms == nil {
		return
	}
	ms.mu.Lock()
	ms.closing = true
	ms.mu.Unlock()
	ms.leader.Close()
	ms.cancel()
	ms.wg.Wait()
}
