package microbatch

import (
	"context"
	"fmt"
	"log/slog"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/microbatch/control"
	"streamduel/exchange"
	"streamduel/pipeline"
	"streamduel/state"
)

// Name is the engine's name in scenarios.
const Name = "microbatch"

// Engine is the micro-batch engine.
type Engine struct{}

var _ engines.Engine = Engine{}

// New returns the engine.
func New() Engine { return Engine{} }

// Name returns the engine's name in scenarios.
func (Engine) Name() string { return Name }

// Config returns a new configuration with its defaults.
func (Engine) Config() any { return Default() }

// The failpoints. Only batches with records pass them, so that a hit count
// counts batches that a crash can do something to.
const (
	pointBeforeLog    = "M0"
	pointTorn         = "M0t"
	pointLogged       = "M1"
	pointHalfWritten  = "M2"
	pointTaskFails    = "M2r"
	pointWritten      = "M3"
	pointCommitted    = "M4"
	pointPrepared     = "T1"
	pointTransactions = "T2"
	// Of the triggers that do not wait for batches.
	pointEpochWritten   = "E1"
	pointEpochLogged    = "E2"
	pointEpochCommitted = "E3"
)

// Points lists the failpoints in the order in which a batch passes them.
func (Engine) Points() []engines.Point {
	return []engines.Point{
		{Name: pointBeforeLog, Doc: "before the offset log is written"},
		{Name: pointTorn, Doc: "the offset log's new file is there, torn"},
		{Name: pointLogged, Doc: "offset log written, nothing processed"},
		{Name: pointHalfWritten, Doc: "in the middle of the batch's output"},
		{Name: pointTaskFails, Doc: "a task that writes fails in the middle of the batch's output; the worker lives"},
		{Name: pointPrepared, Doc: "exactly-once: output and offsets are in the transaction, which has not been ended"},
		{Name: pointTransactions, Doc: "exactly-once: the transaction is committed, the engine does not know it"},
		{Name: pointWritten, Doc: "output done, commit log not written"},
		{Name: pointCommitted, Doc: "commit log written"},
		{Name: pointEpochWritten, Doc: "trigger continuous or real-time: an epoch's output is acknowledged, nothing of it is logged"},
		{Name: pointEpochLogged, Doc: "trigger continuous or real-time: the epoch is in the offset log, not in the commit log"},
		{Name: pointEpochCommitted, Doc: "trigger continuous or real-time: the epoch is in the commit log"},
	}
}

// stages cuts the job where records are shuffled. A union is a narrow
// dependency here, so a stage may have several inputs chained.
func stages(job engines.Job) ([]*pipeline.Fragment, error) {
	return job.Graph.Cut(job.Parallelism, func(e *pipeline.Edge) bool { return pipeline.Chainable(e, job.Parallelism) })
}

// Plan describes the job's stages; each has one task a partition.
func (Engine) Plan(job engines.Job, config any) (engines.Plan, error) {
	cfg, err := configOf(config)
	if err != nil {
		return engines.Plan{}, err
	}
	if err := job.Resolve(); err != nil {
		return engines.Plan{}, err
	}
	fragments, err := stages(job)
	if err != nil {
		return engines.Plan{}, err
	}
	if err := cfg.checkStreaming(&job, fragments); err != nil {
		return engines.Plan{}, fmt.Errorf("job %q: %w", job.Name, err)
	}
	if err := cfg.checkOutputMode(&job); err != nil {
		return engines.Plan{}, fmt.Errorf("job %q: %w", job.Name, err)
	}
	p := engines.Plan{
		Engine: Name, Job: job.Graph.Name,
		Operators: engines.PlanOperators(job.Graph, job.Parallelism), Stages: engines.PlanStages(fragments, job.Parallelism),
	}
	if cfg.OutputMode != pipeline.EachInput {
		p.OutputMode = string(cfg.OutputMode)
	}
	for i, f := range fragments {
		for k, e := range f.In {
			p.Stages[i].Inputs[k].Combined = cfg.combine() && e.To.Combines(cfg.taskMode())
		}
	}
	if cfg.Executors > 1 {
		p.Executors = &engines.PlanExecutors{Count: cfg.Executors, Cores: cfg.Cores}
		for i, f := range fragments {
			for k := 0; belongs(f) && k < f.Parallelism; k++ {
				p.Stages[i].Prefers = append(p.Stages[i].Prefers, home(k, cfg.Executors)+1)
			}
		}
	}
	return p, nil
}

func configOf(config any) (*Config, error) {
	switch c := config.(type) {
	case nil:
		return Default(), nil
	case *Config:
		return c, c.Validate()
	}
	return nil, fmt.Errorf("microbatch: a configuration of type %T", config)
}

// Start runs a job: it reads the logs, opens sources and sinks, rebuilds the
// state and returns; batches run from then on. The job lives until it is
// stopped, its sources end, it fails, or ctx ends.
func (Engine) Start(ctx context.Context, job engines.Job, config any, rt engines.Runtime) (engines.Run, error) {
	cfg, err := configOf(config)
	if err != nil {
		return nil, err
	}
	if err := job.Resolve(); err != nil {
		return nil, err
	}
	if job.Folder == nil {
		return nil, fmt.Errorf("job %q: no folder for its logs", job.Name)
	}
	if rt.Clock == nil {
		rt.Clock = &clock.Clock{}
	}
	if rt.Log == nil {
		rt.Log = slog.New(slog.DiscardHandler)
	}
	r, err := newRun(ctx, job, cfg, rt)
	if err != nil {
		return nil, err
	}
	if err := guard(r.open); err != nil {
		r.close()
		return nil, fmt.Errorf("job %q: %w", job.Name, err)
	}
	go r.main()
	return r, nil
}

func newRun(ctx context.Context, job engines.Job, cfg *Config, rt engines.Runtime) (*run, error) {
	fragments, err := stages(job)
	if err != nil {
		return nil, err
	}
	limit, err := newLimiter(cfg)
	if err != nil {
		return nil, err
	}
	r := &run{
		job: job, cfg: cfg, rt: rt, fragments: fragments, limit: limit,
		logs:    batchLogs{job.Folder},
		states:  map[*pipeline.Fragment][]*partitionState{},
		buffers: exchange.NewPool(retainedBuffers, nil),
		stop:    make(chan struct{}), done: make(chan struct{}), exactlyOnce: job.Guarantee == connectors.ExactlyOnce,
		bounded: true, self: "driver",
	}
	if r.exactlyOnce {
		r.way = cfg.ExactlyOnce
	}
	r.bad, r.unread = engines.NewBadInputs(r.emit), engines.NewUnreadSides(r.emit)
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.watermark.Store(noTime)
	r.hold = control.Hold{MinRecords: cfg.Rate.MinRecordsPerBatch, MaxDelay: cfg.Rate.MaxTriggerDelay.Std()}
	r.queue.init()
	for range cfg.Scheduler.ConcurrentJobs {
		r.slots = append(r.slots, &slot{})
	}
	for _, n := range job.Graph.Nodes() {
		r.everyTick = r.everyTick || n.PerBatch != ""
	}
	for range fragments {
		r.meters, r.blocked = append(r.meters, &meter{}), append(r.blocked, &meter{})
	}
	return r, nil
}

// addExecutors brings up what runs the tasks: the worker itself, or processes.
func (r *run) addExecutors() (err error) {
	if r.cfg.Executors > 1 {
		for i := range r.cfg.Executors {
			r.executorIDs = append(r.executorIDs, executorID(i))
		}
		r.executors, err = leadExecutors(r)
		return err
	}
	e := newLocalExecutor(r.dispatcher, r.cfg.cores())
	r.executorIDs = append(r.executorIDs, e.ID)
	return r.dispatcher.add(e)
}

// checkWindows refuses windows of processing time that a tick of the queueing
// clock would have to cut: there a batch is all of one instant, as in discretized
// streams. The skipping clock has no grid to keep to.
func (r *run) checkWindows() error {
	if r.cfg.Clock != Queueing {
		return nil
	}
	interval := r.cfg.Interval.Std()
	for _, n := range r.job.Graph.Nodes() {
		for _, d := range n.Grid {
			if d%interval != 0 {
				return fmt.Errorf("operator %q: its window of processing time has %v in it, which is no multiple of the batch interval %v: change one of them, or take event time", n.Name, d, interval)
			}
		}
	}
	return nil
}

// open does everything that can be refused, up to the built tasks.
func (r *run) open() error {
	if n := r.cfg.Scheduler.ConcurrentJobs; n > 1 {
		if r.exactlyOnce {
			return fmt.Errorf("scheduler.concurrentJobs is %d: under exactly-once a transaction holds one batch, so it must be 1", n)
		}
		for _, f := range r.fragments {
			if f.Stateful() {
				return fmt.Errorf("scheduler.concurrentJobs is %d: %q keeps state, which each batch takes over from the one before, so it must be 1", n, f.Name)
			}
		}
	}
	if err := r.checkWindows(); err != nil {
		return err
	}
	if err := r.cfg.checkStreaming(&r.job, r.fragments); err != nil {
		return err
	}
	if err := r.cfg.checkOutputMode(&r.job); err != nil {
		return err
	}
	if err := r.checkWay(); err != nil {
		return err
	}
	if r.cfg.Executors > 1 && r.rt.Members == nil {
		return fmt.Errorf("executors: value %d: whoever runs the job here cannot start processes: set it to 1", r.cfg.Executors)
	}
	q, err := r.openStates()
	if err != nil {
		return err
	}
	q.ExactlyOnce, q.Sinks = r.pins()
	if err := r.logs.claim(q); err != nil {
		return err
	}
	if r.attempt, err = state.NextAttempt(r.job.Folder, Name); err != nil {
		return err
	}
	if err := r.removeSpilled(true); err != nil {
		return err
	}
	backend, err := r.job.OpenBackend(r.attempt, r.fragments)
	if err != nil {
		return err
	}
	r.setBackend(backend)
	if r.dispatcher, err = newDispatcher(r.cfg.Scheduler.config()); err != nil {
		return err
	}
	if err := r.addExecutors(); err != nil {
		return err
	}
	r.maintenance = newMaintenance()
	// The sink is asked first: opening its transaction fences a process that is
	// still alive, and what it holds decides where to go on.
	switch {
	case r.way == BatchTransaction:
		err = openTransactions(r.ctx, r)
	case r.byPartition():
		err = r.openParts(r.ctx)
	}
	if err != nil {
		return err
	}
	for _, n := range r.job.Graph.Nodes() {
		if n.Kind != pipeline.KindSource {
			continue
		}
		s, err := openSource(r, n)
		if err != nil {
			return err
		}
		r.sources = append(r.sources, s)
		r.bounded = r.bounded && n.Source.Describe().Bounded
	}
	if r.cfg.Source.Mode == Receiver {
		if err := r.refuseReceivers(); err != nil {
			return err
		}
		for _, s := range r.sources {
			if s.intake, err = newIntake(s, r.cfg.Source.Receiver); err != nil {
				return err
			}
		}
	}
	if err := r.recover(); err != nil {
		return err
	}
	if r.cfg.Source.Mode == Receiver {
		r.startReceivers()
	}
	return nil
}

// setBackend says what the state is kept in; nil is memory.
func (r *run) setBackend(b state.Backend) {
	r.backend = b
	for _, ps := range r.states {
		for _, p := range ps {
			p.backend, p.apart = b, r.cfg.Executors > 1
		}
	}
}

// openStates opens the folders of the state's partitions, and describes the query
// that they belong to.
func (r *run) openStates() (query, error) {
	q := query{Name: r.job.Name, MaxParallelism: r.job.MaxParallelism}
	for _, f := range r.fragments {
		if !f.Stateful() {
			continue
		}
		s := queryStage{Partitions: f.Parallelism}
		for _, n := range f.Nodes {
			if n.Stateful() {
				s.Operators = append(s.Operators, n.UID)
			}
		}
		for k := range f.Parallelism {
			sub, err := r.job.Folder.Sub(fmt.Sprintf("state-%d-%d", len(q.Stateful), k))
			if err != nil {
				return q, err
			}
			r.states[f] = append(r.states[f], &partitionState{folder: sub, every: r.cfg.StateSnapshotEvery})
		}
		q.Stateful = append(q.Stateful, s)
	}
	return q, nil
}
