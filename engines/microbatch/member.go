package microbatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/cluster"
	"streamduel/engines/microbatch/fetch"
	"streamduel/engines/microbatch/schedule"
	"streamduel/exchange"
	"streamduel/exchange/remote"
	"streamduel/pipeline"
	"streamduel/state"
)

var _ engines.Distributed = Engine{}

// MemberKind implements engines.Distributed.
func (Engine) MemberKind() string { return "executor" }

// memberProcess is an executor in its own process. It has a run of its own, made
// from the same job, of which it uses the operators, the state's folders and the
// connectors; what is run, and when, the driver says.
//
// A task stays here between batches, with its reader and its state: one that is
// launched for the batch behind goes on, one that has failed or was elsewhere
// meanwhile is made anew from the version of the state that the driver names.
type memberProcess struct {
	run    *run
	from   engines.Membership
	calls  *cluster.Calls
	store  *fetch.Store
	client *fetch.Client

	mu          sync.Mutex
	generations map[int64]*residents
	running     map[schedule.Attempt]context.CancelFunc
	receivers   map[schedule.Attempt]*awayReceiver
	streams     map[schedule.Attempt]*awayStream
	blocks      atomic.Int64 // serial number of the newest
}

// residents are the tasks of a generation that are here.
type residents struct {
	*generation
	mu    sync.Mutex
	tasks map[place]*resident
}

// resident is a task between its attempts.
type resident struct {
	*task
	version int64 // of its state: the batch that it is ready for
}

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
	p := &memberProcess{from: m, calls: cluster.NewCalls(m.Send), generations: map[int64]*residents{}, running: map[schedule.Attempt]context.CancelFunc{}, receivers: map[schedule.Attempt]*awayReceiver{}, streams: map[schedule.Attempt]*awayStream{}}
	rt.Events = p.event
	rt.Gate.Borrow(p.permit)
	r, err := newRun(ctx, job, cfg, rt)
	if err != nil {
		return err
	}
	defer r.cancel()
	r.member, r.self = true, "executor-"+executorID(m.Index)
	p.run = r
	for _, n := range job.Graph.Nodes() {
		if n.Kind == pipeline.KindSource {
			r.sources = append(r.sources, &source{run: r, node: n, byID: map[connectors.SplitID]*split{}})
		}
	}
	if _, err := r.openStates(); err != nil {
		return err
	}
	self := remote.Greeting{Name: "executor " + executorID(m.Index), Token: m.Token}
	p.store = fetch.NewStore(func(b *exchange.Buffer) {
		r.bufferedBytes.Add(-int64(len(b.Data)))
		b.Release()
	})
	p.client = fetch.NewClient(self)
	r.maintenance = newMaintenance()
	go fetch.Serve(m.Listener, self, p.store, rt.Log)
	defer m.Listener.Close()
	if err := p.calls.Serve(m.Membership, p.obey); err != nil {
		return fmt.Errorf("executor %s: %w", executorID(m.Index), err)
	}
	return nil
}

// obey does what the leader says.
func (p *memberProcess) obey(e cluster.Envelope) error {
	r := p.run
	switch e.Kind {
	case kindWelcome:
		var w welcome
		if err := e.Decode(&w); err != nil {
			return err
		}
		r.attempt = state.JoinAttempt(r.job.Folder, w.Attempt)
		if err := p.openBackend(); err != nil {
			p.calls.Answer(e.Call, nil, err)
			return nil
		}
		if w.Acks {
			r.rt.Acks = engines.NewAckLog()
		}
		r.rt.Gate.Throttle(w.Rate)
		p.calls.Answer(e.Call, nil, nil)
	case kindOpen:
		var o opening
		if err := e.Decode(&o); err != nil {
			return err
		}
		g := p.generation(o.Generation)
		go func() {
			var a opened
			err := guard(func() error { return p.open(g, o, &a) })
			p.calls.Answer(e.Call, a, err)
		}()
	case kindLaunch:
		var l launching
		if err := e.Decode(&l); err != nil {
			return err
		}
		g := p.generation(l.Generation)
		ctx, cancel := context.WithCancel(g.ctx)
		p.mu.Lock()
		p.running[l.Attempt] = cancel
		p.mu.Unlock()
		go p.launch(ctx, g, l)
	case kindKill:
		var a schedule.Attempt
		if err := e.Decode(&a); err != nil {
			return err
		}
		p.mu.Lock()
		if cancel := p.running[a]; cancel != nil {
			cancel()
		}
		p.mu.Unlock()
	case kindLeave:
		var l leaving
		if err := e.Decode(&l); err != nil {
			return err
		}
		if t := p.generation(l.Generation).take(l.place); t != nil {
			go t.close(false)
		}
	case kindRelied:
		names := []string{}
		if r.backend != nil {
			names = slices.Collect(maps.Keys(r.backend.Relied()))
		}
		p.calls.Answer(e.Call, names, nil)
	case kindStream, kindOrder:
		return p.streaming(e.Kind, e.Decode)
	case kindReceive, kindFollow, kindFinish, kindDrop, kindLimit:
		return p.receiving(e.Kind, e.Decode)
	case kindForget:
		var n int64
		if err := e.Decode(&n); err != nil {
			return err
		}
		p.store.Drop(func(k fetch.Key) bool { return k.Generation == n })
	case kindClose:
		var n int64
		if err := e.Decode(&n); err != nil {
			return err
		}
		go func() {
			p.closeGeneration(n)
			p.calls.Answer(e.Call, nil, nil)
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
			if err := r.rt.Gate.Drain(ctx); err != nil {
				r.rt.Log.Error("requests in flight were not answered", "error", err)
			}
			s := p.status()
			if r.rt.Acks != nil {
				s.Acks = r.rt.Acks.Export()
			}
			s.Reached = engines.Positions{}
			for _, src := range r.sources {
				src.reached(s.Reached)
			}
			p.calls.Answer(e.Call, s, nil)
		}()
	case kindReport:
		return p.calls.Post(kindStatus, p.status())
	case kindTrim:
		var to map[int32]connectors.Position
		if err := e.Decode(&to); err != nil {
			return err
		}
		if r.rt.Acks != nil {
			for partition, position := range to {
				r.rt.Acks.Trim(partition, position)
			}
		}
	default:
		return fmt.Errorf("a message of unknown kind %q", e.Kind)
	}
	return nil
}

// openBackend opens what the state here is kept in, if that is not memory. What
// an executor leaves there when it is killed, the next start of the job deletes.
func (p *memberProcess) openBackend() error {
	r := p.run
	if r.job.Backend == nil || len(r.states) == 0 {
		return nil
	}
	// The memory is shared by the partitions that belong here. Those that a lost
	// executor leaves for a while come on top.
	n := 0
	for _, ps := range r.states {
		for k := range ps {
			if home(k, r.cfg.Executors) == p.from.Index {
				n++
			}
		}
	}
	b, err := r.job.Backend(state.BackendEnv{Folder: r.job.Folder, Attempt: r.attempt.Number, Subtasks: n})
	if err != nil {
		return fmt.Errorf("the state's backend: %w", err)
	}
	r.setBackend(b)
	return nil
}

// sealing is how long an executor waits for requests in flight at a failpoint;
// its worker waits as long.
const sealing = 10 * time.Second

func (p *memberProcess) event(e engines.Event) {
	h, err := engines.Happening(e)
	if err == nil {
		err = p.calls.Post(kindEvent, h)
	}
	if err != nil {
		p.run.rt.Log.Debug("the driver could not be told", "event", e.Kind(), "error", err)
	}
}

// permit asks how many records may pass the sinks here.
func (p *memberProcess) permit(ctx context.Context) (n int, err error) {
	err = p.calls.Call(ctx, kindPermit, nil, &n)
	return n, err
}

// taken is what tasks have read that do not wait for a batch.
func (p *memberProcess) taken() int64 { return p.run.consumed.Load() }

func (p *memberProcess) status() (s status) {
	r := p.run
	s.Gate[0], s.Gate[1], s.Gate[2] = r.rt.Gate.Counts()
	s.Bad = r.bad.Count()
	s.Used = engines.OwnUsage()
	s.Buffered = r.bufferedBytes.Load() + r.spilledBytes.Load()
	s.Taken = p.taken()
	if r.cfg.Trigger.streaming() {
		for _, m := range r.meters {
			s.Busy = append(s.Busy, m.busy(time.Now()))
		}
	}
	return s
}

// generation returns the tasks of a number, none at first.
func (p *memberProcess) generation(number int64) *residents {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.generations[number]
	if g == nil {
		g = &residents{generation: p.run.newGeneration(), tasks: map[place]*resident{}}
		g.number = number
		p.generations[number] = g
	}
	return g
}

// closeGeneration ends tasks. Nothing of them is launched any more.
func (p *memberProcess) closeGeneration(number int64) {
	p.mu.Lock()
	g := p.generations[number]
	delete(p.generations, number)
	p.mu.Unlock()
	if g == nil {
		return
	}
	g.cancel()
	g.mu.Lock()
	for _, t := range g.tasks {
		t.close(false)
	}
	g.mu.Unlock()
	p.store.Drop(func(k fetch.Key) bool { return k.Generation == number })
	g.unspill()
	// Full versions of the state that are still to be written belong to what was.
	written := make(chan struct{})
	p.run.maintenance.do(func() error { close(written); return nil })
	<-written
}

// open makes tasks before there is a batch.
func (p *memberProcess) open(g *residents, o opening, a *opened) error {
	for _, x := range o.Tasks {
		t, err := p.build(g, x.place, x.Version, o.Watermark)
		if err != nil {
			return err
		}
		a.Outcomes = append(a.Outcomes, t.outcome())
		g.put(x.place, t)
	}
	return nil
}

// build makes a task with a version of its state.
func (p *memberProcess) build(g *residents, at place, version, watermark int64) (*resident, error) {
	r := p.run
	if at.Stage >= len(g.stages) {
		return nil, fmt.Errorf("a task of stage %d, and there are %d: this is another program", at.Stage, len(g.stages))
	}
	t := &task{run: r, stage: g.stages[at.Stage], wake: g.wakes[at.Stage][at.Task]}
	err := r.buildTask(g.generation, t, at.Task)
	if err == nil {
		err = t.restore(watermark, func(*partitionState) (int64, error) { return version, nil })
	}
	if err != nil {
		t.close(false)
		return nil, err
	}
	return &resident{t, version}, nil
}

// take takes a task out while an attempt runs.
func (g *residents) take(at place) *resident {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tasks[at]
	delete(g.tasks, at)
	return t
}

func (g *residents) put(at place, t *resident) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tasks[at] = t
}

// launch runs an attempt and tells how it ended.
func (p *memberProcess) launch(ctx context.Context, g *residents, l launching) {
	out := ended{Attempt: l.Attempt}
	err := guard(func() error { return p.attempt(ctx, g, l, &out.Outcome) })
	p.tellEnded(out, err)
}

// tellEnded tells how an attempt has ended.
func (p *memberProcess) tellEnded(out ended, err error) {
	p.mu.Lock()
	p.running[out.Attempt]()
	delete(p.running, out.Attempt)
	p.mu.Unlock()
	if err != nil {
		out.Error = err.Error()
		_, out.Permanent = errors.AsType[schedule.Permanent](err)
		if lost, ok := errors.AsType[*fetch.Lost](err); ok {
			out.Missing = lost.Addr
		}
	}
	out.Gate[0], out.Gate[1], out.Gate[2] = p.run.rt.Gate.Counts()
	out.Taken = p.taken()
	if err := p.calls.Post(kindEnded, out); err != nil {
		p.run.rt.Log.Debug("the driver could not be told", "attempt", out.Attempt, "error", err)
	}
}

func (p *memberProcess) attempt(ctx context.Context, g *residents, l launching, out *outcome) (err error) {
	if err := p.run.maintenance.failed(); err != nil {
		return schedule.Permanent{Err: err}
	}
	at := place{l.Attempt.Stage, l.Attempt.Task}
	t := g.take(at)
	switch {
	case t == nil:
	case t.state != nil && t.version != l.Version:
		t.close(false) // it was elsewhere meanwhile
		t = nil
	default:
		if _, err := t.Watermark(l.Before); err != nil {
			return err
		}
	}
	if t == nil {
		if s := p.run.states[p.run.fragments[at.Stage]]; s != nil && l.Attempt.N > 0 && !l.Speculative {
			// An attempt before, wherever it ran, may have left its version behind.
			if err := s[at.Task].discard(l.Version); err != nil {
				return err
			}
		}
		if t, err = p.build(g, at, l.Version, l.Before); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			if x, ok := errors.AsType[*panicked](err); ok {
				x.at = t.At()
			}
			for _, e := range t.stage.fragment.Out {
				g.shuffles[e].drop(at.Task)
			}
			t.close(false)
		}
	}()
	b := &batch{entry: &offsetEntry{Batch: l.Batch, Time: l.Time}, watermark: l.Watermark, before: l.Before, assigned: true}
	t.taken = 0
	for i, src := range t.sources {
		src.assign = l.Assign[i]
		if r, ok := src.reader.(*pieceReader); ok {
			*r = pieceReader{p: p, source: src.source, pieces: l.Pieces[i], peers: l.Peers}
		}
	}
	if t.state != nil {
		t.state.whole = l.Whole
	}
	if l.Rows {
		rows := newRowBuffer(l.Attempt, p.from.Send)
		for _, w := range t.writers {
			direct, told := w.Writer, w.told
			w.Writer, w.told = rowWriter{out: rows, sink: slices.Index(t.stage.fragment.Sinks, w.node)}, nil
			defer func() { w.Writer, w.told = direct, told }()
		}
	}
	in := &inlet{p: p, g: g, t: t, l: &l, at: at}
	t.inlet = in.feed
	began := time.Now()
	err = guard(func() error { return t.process(ctx, b) })
	t.took = time.Since(began)
	if err != nil {
		return err
	}
	for i, e := range t.stage.fragment.Out {
		p.store.Put(fetch.Key{Generation: g.number, Stage: at.Stage, Out: i, Up: at.Task}, l.Batch, g.shuffles[e].yield(at.Task))
	}
	t.version = l.Batch + 1
	*out = t.outcome()
	out.Counted = t.Metrics().Take()
	g.put(at, t)
	return nil
}

// inlet brings a task the outputs of the stages before it, from here and from
// other executors, one map task's after the other: the order is the same
// wherever they lie.
type inlet struct {
	p  *memberProcess
	g  *residents
	t  *resident
	l  *launching
	at place
}

func (in *inlet) feed(ctx context.Context, edge int, from []pipeline.Input) error {
	r := in.p.run
	e := r.fragments[in.at.Stage].In[edge]
	stage := r.stageOf(e.From)
	req := fetch.Request{Generation: in.g.number, Batch: in.l.Batch, Stage: stage, Out: slices.Index(r.fragments[stage].Out, e), Down: in.at.Task}
	streams := make([]*fetch.Stream, len(in.l.Peers))
	defer func() {
		for _, s := range streams {
			if s != nil {
				s.Close()
			}
		}
	}()
	where := in.l.From[edge]
	for peer, addr := range in.l.Peers {
		if addr == "" {
			continue
		}
		asked := req
		for up, p := range where {
			if p == peer {
				asked.Ups = append(asked.Ups, up)
			}
		}
		if len(asked.Ups) == 0 {
			continue
		}
		var err error
		if streams[peer], err = in.p.client.Fetch(ctx, addr, asked); err != nil {
			return err
		}
	}
	for up, input := range from {
		give := func(b *exchange.Buffer) error {
			defer b.Release()
			if _, err := input.Feed(b); err != nil {
				return err
			}
			return in.t.wrote()
		}
		if s := streams[where[up]]; s != nil {
			if err := s.Read(ctx, up, give); err != nil {
				return err
			}
			continue
		}
		loan, ok := in.p.store.Lend(fetch.Key{Generation: req.Generation, Stage: stage, Out: req.Out, Up: up}, req.Batch, req.Down)
		if !ok {
			return fmt.Errorf("the output of task %d of %q in batch %d is not here", up, r.fragments[stage].Name, req.Batch)
		}
		into := func() (*exchange.Buffer, error) { return r.buffers.Overdraft(), nil }
		if err := loan.Read(into, give); err != nil {
			return err
		}
	}
	return nil
}
