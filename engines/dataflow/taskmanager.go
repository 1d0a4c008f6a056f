package dataflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/cluster"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/engines/dataflow/schedule"
	"streamduel/exchange"
	"streamduel/pipeline"
	"streamduel/state"
)

var _ engines.Distributed = Engine{}

// taskManager is a task manager in its own process. It has a run of its own,
// made from the same job, with the seats that the scheduler has given it; the
// coordinator of that run only passes on what it is told.
type taskManager struct {
	run   *run
	from  engines.Membership
	calls *cluster.Calls
	peers *peers

	mu      sync.Mutex
	regions []*deployment

	sharing sync.Once
	timing  sync.Mutex // nothing that is older than a restart is said behind it
}

// deployment is the tasks of a region that run here, from one restart of the
// region to the next.
type deployment struct {
	tenure
	region *region
	ctx    context.Context
	cancel context.CancelFunc
	conns  map[link]*conn

	mu      sync.Mutex // of opening and closing
	opened  bool
	started bool
	tasks   map[schedule.Subtask]*task
}

// MemberKind implements engines.Distributed.
func (Engine) MemberKind() string { return "task manager" }

// Member implements engines.Distributed.
func (Engine) Member(ctx context.Context, m engines.Membership, job engines.Job, config any, rt engines.Runtime) error {
	cfg, err := configOf(config)
	if err != nil {
		return err
	}
	if err := job.Resolve(); err != nil {
		return err
	}
	if rt.Clock == nil {
		rt.Clock = &clock.Clock{}
	}
	if rt.Log == nil {
		rt.Log = slog.New(slog.DiscardHandler)
	}
	r := &run{
		job: job, cfg: cfg, rt: rt, parent: ctx, done: make(chan struct{}),
		broken:  cfg.BreakExactlyOnce && job.Guarantee == connectors.ExactlyOnce,
		restart: engines.Positions{}, base: engines.Positions{}, claiming: make(chan struct{}, 1),
		rings: map[ringKey][]*exchange.Ring{},
	}
	if r.execution, err = lay(job, cfg); err != nil {
		return err
	}
	for _, n := range job.Graph.Nodes() {
		r.eventTime = r.eventTime || n.Watermarks != nil
		if n.Source != nil {
			r.sources = append(r.sources, newEnumeration(r, n))
		}
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	defer r.cancel()
	tm := &taskManager{run: r, from: m, calls: cluster.NewCalls(m.Send)}
	r.here = tm
	r.rt.Events = tm.event
	r.rt.Gate.Borrow(tm.permit)
	r.bad, r.unread = engines.NewBadInputs(r.emit), engines.NewUnreadSides(r.emit)
	r.coordinator = &coordinator{run: r, remote: tm.tell}
	r.seatsOf(func(s schedule.Subtask) bool { return r.places[s].TaskManager == m.Index })
	r.alignGroups()
	tm.regions = make([]*deployment, len(r.regions))
	tm.peers = newPeers(tm)
	go tm.peers.accept()
	defer m.Listener.Close()
	if err := tm.calls.Serve(m.Membership, tm.obey); err != nil {
		return fmt.Errorf("task manager %d: %w", m.Index+1, err)
	}
	return nil
}

// obey does what the leader says.
func (tm *taskManager) obey(e cluster.Envelope) error {
	r := tm.run
	switch e.Kind {
	case kindWelcome:
		var w welcome
		if err := e.Decode(&w); err != nil {
			return err
		}
		r.attempt = state.JoinAttempt(r.job.Folder, w.Attempt)
		var err error
		if r.backend, err = r.openBackendHere(); err != nil {
			tm.calls.Answer(e.Call, nil, err)
			return nil
		}
		r.store = checkpoints.Open(r.job.Folder, r.cfg.Checkpoint.Retained, r.backend, r.rt.Log)
		if w.Acks {
			r.rt.Acks = engines.NewAckLog()
		}
		r.rt.Gate.Throttle(w.Rate)
		r.clocks()
		r.watch()
		tm.calls.Answer(e.Call, nil, nil)
	case kindOpen:
		var o opening
		if err := e.Decode(&o); err != nil {
			return err
		}
		d := tm.deploy(o)
		go func() {
			err := d.open(tm, o)
			tm.calls.Answer(e.Call, nil, err)
		}()
	case kindStart:
		var a tenure
		if err := e.Decode(&a); err != nil {
			return err
		}
		tm.sharing.Do(tm.share) // not before: the worker knows of its subtasks now
		if d := tm.deployed(a); d != nil {
			d.mu.Lock()
			d.started = true
			d.region.launch()
			d.mu.Unlock()
		}
	case kindMail:
		var m mail
		if err := e.Decode(&m); err != nil {
			return err
		}
		d := tm.deployed(m.tenure)
		if d == nil {
			return nil // closed meanwhile
		}
		t := d.tasks[schedule.Subtask{Vertex: m.Vertex, Index: m.Index}]
		if t == nil {
			return fmt.Errorf("mail for subtask %d of vertex %d, which is not here", m.Index, m.Vertex)
		}
		message, err := m.message(t.seat.source)
		if err != nil {
			return err
		}
		t.box.send(message)
	case kindClose:
		var a tenure
		if err := e.Decode(&a); err != nil {
			return err
		}
		go func() {
			var err error
			if d := tm.deployed(a); d != nil {
				err = d.close(tm)
			}
			tm.calls.Answer(e.Call, tm.status(), err)
		}()
	case kindThrottle:
		var rate float64
		if err := e.Decode(&rate); err != nil {
			return err
		}
		r.rt.Gate.Throttle(rate)
	case kindSeal:
		r.rt.Gate.Close()
		go func() {
			ctx, cancel := context.WithTimeout(r.ctx, sealing)
			defer cancel()
			err := r.rt.Gate.Drain(ctx)
			s := tm.status()
			if r.rt.Acks != nil {
				s.Acks = r.rt.Acks.Export()
			}
			if err != nil {
				r.rt.Log.Error("requests in flight were not answered", "error", err)
			}
			tm.calls.Answer(e.Call, s, nil)
		}()
	case kindReport:
		return tm.calls.Post(kindStatus, tm.status())
	case kindTrim:
		var to map[int32]connectors.Position
		if err := e.Decode(&to); err != nil {
			return err
		}
		for partition, position := range to {
			r.rt.Acks.Trim(partition, position)
		}
	case kindLimits:
		var w limits
		if err := e.Decode(&w); err != nil {
			return err
		}
		r.limited(w)
	case kindRelied:
		names := []string{}
		if r.backend != nil {
			names = slices.Collect(maps.Keys(r.backend.Relied()))
		}
		tm.calls.Answer(e.Call, names, nil)
	default:
		return fmt.Errorf("a message of unknown kind %q", e.Kind)
	}
	return nil
}

// openBackendHere opens what the state of the seats here is kept in, nil for
// memory. What a task manager leaves when it is killed, the next start of the job
// deletes.
func (r *run) openBackendHere() (state.Backend, error) {
	subtasks := 0
	for _, s := range r.seats {
		if s.fragment.Stateful() {
			subtasks++
		}
	}
	if r.job.Backend == nil || subtasks == 0 {
		return nil, nil
	}
	b, err := r.job.Backend(state.BackendEnv{Folder: r.job.Folder, Attempt: r.attempt.Number, Subtasks: subtasks})
	if err != nil {
		return nil, fmt.Errorf("the state's backend: %w", err)
	}
	return b, nil
}

// sealing is how long a task manager waits for requests in flight at a
// failpoint; its worker waits as long.
const sealing = 10 * time.Second

// deploy notes that a region is being opened; a close may come before it is.
func (tm *taskManager) deploy(o opening) *deployment {
	g := tm.run.regions[o.Region]
	d := &deployment{tenure: o.tenure, region: g, conns: map[link]*conn{}}
	d.ctx, d.cancel = context.WithCancel(tm.run.ctx)
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.regions[o.Region] = d
	return d
}

func (tm *taskManager) deployed(a tenure) *deployment {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	if d := tm.regions[a.Region]; d != nil && d.Epoch == a.Epoch {
		return d
	}
	return nil
}

// open makes the region's tasks that belong here.
func (d *deployment) open(tm *taskManager, o opening) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := tm.run
	if err := d.ctx.Err(); err != nil {
		return err
	}
	var from *checkpoints.Checkpoint
	if o.Checkpoint != 0 {
		var err error
		if from, err = r.store.At(o.Checkpoint); err != nil {
			return err
		}
		defer from.Close()
	}
	if err := d.dial(tm, o.Addresses); err != nil {
		return err
	}
	d.region.deployment = d
	ts, err := r.openRegion(d.region, from)
	if err != nil {
		return err
	}
	d.tasks = map[schedule.Subtask]*task{}
	for i, s := range d.region.seats {
		s.current.Store(ts[i])
		d.tasks[schedule.Subtask{Vertex: s.fragment.Index, Index: s.index}] = ts[i]
	}
	d.opened = true
	return nil
}

// close ends the tasks and gives back what they hold. It returns when nothing of
// them runs any more.
func (d *deployment) close(tm *taskManager) (err error) {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		c.Abort()
	}
	switch {
	case !d.opened:
	case d.started:
		err = d.region.close()
	default:
		for _, t := range d.tasks {
			t.discard()
		}
	}
	d.opened = false
	tm.forgetTimes(d.region)
	tm.peers.forget(d.tenure)
	return err
}

// tell passes on what a subtask tells the coordinator.
func (tm *taskManager) tell(message any) {
	t, w, err := tellOf(message)
	if err != nil {
		panic(err) // fails the subtask that has said it
	}
	w.Vertex, w.Index, w.tenure = t.fragment.Index, t.index, t.region.deployment.tenure
	tm.post(kindTell, w)
}

// post sends what has no answer. A leader that cannot be told is gone, which
// ends this process.
func (tm *taskManager) post(kind string, body any) {
	if err := tm.calls.Post(kind, body); err != nil {
		tm.run.rt.Log.Debug("the coordinator could not be told", "kind", kind, "error", err)
	}
}

func (tm *taskManager) event(e engines.Event) {
	h, err := engines.Happening(e)
	if err != nil {
		tm.run.rt.Log.Error("event", "error", err)
		return
	}
	tm.post(kindEvent, h)
}

// passage tells that a subtask has come to a failpoint and waits until it may go
// on: an armed one ends the job's processes.
func (tm *taskManager) passage(point string, epoch int64) {
	if err := tm.calls.Call(tm.run.ctx, kindPassage, passage{point, epoch}, nil); err != nil {
		<-tm.run.ctx.Done()
	}
}

// permit asks how many records may pass the sinks here.
func (tm *taskManager) permit(ctx context.Context) (n int, err error) {
	err = tm.calls.Call(ctx, kindPermit, nil, &n)
	return n, err
}

// claim is enumeration.claim at the worker.
func (tm *taskManager) claim(ctx context.Context, s *enumeration, id connectors.SplitID, next connectors.Position) error {
	for i, source := range tm.run.sources {
		if source == s {
			return tm.calls.Call(ctx, kindClaim, claimed{i, id, next}, nil)
		}
	}
	return errors.New("a claim of a source that the job has not")
}

// status gathers what is known of this process.
func (tm *taskManager) status() (s status) {
	r, now := tm.run, clock.Mono()
	for _, seat := range r.seats {
		t := seat.task()
		if t == nil {
			continue
		}
		w := taskStatus{
			Vertex: seat.fragment.Index, Index: seat.index,
			Consumed: t.shown.consumed.Load(), Written: t.shown.written.Load(),
			Held: t.shown.held.Load() + t.shown.partial.Load(), HeldBytes: t.shown.heldBytes.Load() + t.shown.partBytes.Load(),
			Blocked: t.waits.blocked.Load(), Idle: t.waits.idle.Load(), Reason: t.waits.reason.Load(), Since: t.waits.since.Load(),
		}
		r.gauges.mu.Lock()
		w.Pressure = seat.pressure.view()
		r.gauges.mu.Unlock()
		if t.in != nil {
			records, bytes := t.in.queuedRecords()
			w.Held += int64(records)
			w.HeldBytes += int64(bytes)
		}
		if wm := t.shown.watermark.Load(); len(t.fragment.Out) == 0 && wm != pipeline.NoTime {
			w.Watermark = &wm
		}
		w.Metrics, w.IO = t.metrics(now), t.view()
		s.Tasks = append(s.Tasks, w)
	}
	for i, source := range r.sources {
		source.mu.Lock()
		for id, v := range source.views {
			s.Splits = append(s.Splits, splitStatus{
				Source: i, Split: id, Position: v.position.Load(), Reached: v.reached.Load(), Latest: v.latest.Load(),
				Watermark: v.watermark.Load(), Active: v.active.Load(), Paused: v.paused.Load(), Idle: v.idle.Load(),
			})
		}
		source.mu.Unlock()
	}
	s.Gate[0], s.Gate[1], s.Gate[2] = r.rt.Gate.Counts()
	s.Bad = r.bad.Count()
	s.Used = engines.OwnUsage()
	return s
}
