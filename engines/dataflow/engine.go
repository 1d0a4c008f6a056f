package dataflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
)

// Engine is the event-driven engine.
type Engine struct{}

var (
	_ engines.Standing = Engine{}
	_ engines.Restorer = Engine{}
)

// New returns the engine.
func New() Engine { return Engine{} }

// Name implements engines.Engine.
func (Engine) Name() string { return "dataflow" }

// Config implements engines.Engine.
func (Engine) Config() any {
	c := DefaultConfig()
	return &c
}

// Restores implements engines.Restorer.
func (Engine) Restores() {}

// Standbys implements engines.Standing. Whoever hosts the engine starts them.
func (Engine) Standbys(config any) (n int, lease time.Duration) {
	cfg, err := configOf(config)
	if err != nil {
		return 0, 0 // Start says so
	}
	return cfg.Standbys, time.Duration(cfg.Lease)
}

// Points implements engines.Engine.
func (Engine) Points() []engines.Point {
	return []engines.Point{
		{Name: "D0", Doc: "a source, before the barrier"},
		{Name: "D1", Doc: "during alignment: the first barrier has arrived behind an exchange"},
		{Name: "D2", Doc: "in a task with a sink: snapshot taken, sink not flushed"},
		{Name: "D3", Doc: "in a task with a sink: sink flushed (prepared), not acknowledged"},
		{Name: "D4", Doc: "all acknowledged, the checkpoint not durable"},
		{Name: "D5", Doc: "the checkpoint durable, the sinks not told"},
		{Name: "D6", Doc: "k of N sink subtasks have committed, 0 < k < N"},
		{Name: "D7", Doc: "all committed, the bookkeeping not done"},
		{Name: "D8", Doc: "after the commit and its bookkeeping"},
		{Name: "R1", Doc: "in recovery, before a sink commits again"},
		{Name: "R2", Doc: "in recovery, after all sinks have committed again, before that is noted"},
	}
}

func configOf(config any) (Config, error) {
	c, ok := config.(*Config)
	if !ok || c == nil {
		return Config{}, fmt.Errorf("dataflow: the configuration is a %T, not a *dataflow.Config", config)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("dataflow: %w", err)
	}
	return *c, nil
}

// Start implements engines.Engine. The run ends, without further progress, when
// ctx does.
func (Engine) Start(ctx context.Context, job engines.Job, config any, rt engines.Runtime) (engines.Run, error) {
	cfg, err := configOf(config)
	if err != nil {
		return nil, err
	}
	if err := job.Resolve(); err != nil {
		return nil, err
	}
	if _, err := connectors.ParseGuarantee(string(job.Guarantee)); err != nil {
		return nil, err
	}
	if cfg.Checkpoint.Unaligned && job.Guarantee != connectors.ExactlyOnce {
		return nil, fmt.Errorf("dataflow: checkpoint.unaligned: the job is %s: only exactly-once aligns at all, so set it to false", job.Guarantee)
	}
	if job.Folder == nil {
		return nil, fmt.Errorf("job %q: it has no folder for checkpoints", job.Name)
	}
	if job.Guarantee == connectors.ExactlyOnce {
		var errs []error
		for _, n := range job.Graph.Nodes() {
			if _, ok := n.Sink.(connectors.Recoverer); n.Sink != nil && !ok {
				errs = append(errs, fmt.Errorf("sink %q (%s) cannot take up the transactions of a dead process, so under dataflow it cannot give exactly-once", n.Name, n.Sink.Describe().Kind))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
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
		restart: engines.Positions{}, base: engines.Positions{}, settled: engines.Positions{}, claiming: make(chan struct{}, 1),
	}
	r.bad, r.unread = engines.NewBadInputs(r.emit), engines.NewUnreadSides(r.emit)
	if r.execution, err = lay(job, cfg); err != nil {
		return nil, err
	}
	if cfg.TaskManagers > 1 {
		if err := refuseSpread(cfg, rt); err != nil {
			return nil, err
		}
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if err := r.build(); err != nil {
		r.cancel()
		return nil, fmt.Errorf("job %q: %w", job.Name, err)
	}
	r.launch()
	return r, nil
}
