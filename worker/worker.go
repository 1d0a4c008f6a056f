package worker

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/state"
	"streamduel/workloads"
)

// Connectors makes a job's source and sinks. The worker is given it, so that it
// knows no implementation.
type Connectors struct {
	Source func(k Kafka, t workloads.Topics) (connectors.Source, error)
	// Sink is told whether outputs carry the origin header: 0 for none, 1 for
	// all, n for those of every n-th input of a partition.
	Sink func(k Kafka, topic string, originEvery int64) (connectors.Sink, error)
	// Backend makes what keyed state is kept in; nil is memory, and a name that
	// is not known an error. Without it there is only memory.
	Backend func(s State) (state.Backends, error)
	// Member makes the command of a further process, which is to call [Member].
	// Without it an engine has one process only.
	Member func() *exec.Cmd
	// Coordinator makes the command of a worker that runs a job when it leads, which
	// is to call [Main]. Without it a job has no standbys.
	Coordinator func() *exec.Cmd
}

// Main runs a worker process: the exit code is 0 when the job ended as asked,
// 1 when it failed, 2 when the job line is wrong.
func Main(ctx context.Context, in io.Reader, out, errs io.Writer, known map[string]engines.Engine, c Connectors) int {
	w := &worker{
		out: out, errs: errs, engines: known, connectors: c,
		log:   slog.New(slog.NewTextHandler(errs, nil)),
		gate:  connectors.NewGate(),
		fails: &engines.Failpoints{},
		clock: &clock.Clock{},
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	if !lines.Scan() {
		fmt.Fprintln(errs, "worker: no job on standard input")
		return 2
	}
	var job Job
	if err := strict(lines.Bytes(), &job); err != nil {
		fmt.Fprintln(errs, "worker: the job line does not decode:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	switch err := w.run(ctx, job, lines); {
	case err == nil:
		return 0
	case errors.As(err, new(refusal)):
		w.emit(engines.Failed{Error: err.Error()})
		fmt.Fprintln(errs, "worker:", err)
		return 2
	default: // the engine has said so
		fmt.Fprintln(errs, "worker:", err)
		return 1
	}
}

// refusal is an error in the job, found before it started.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

type worker struct {
	mu         sync.Mutex // of out: one event, one write
	out        io.Writer
	errs       io.Writer
	log        *slog.Logger
	engines    map[string]engines.Engine
	connectors Connectors
	gate       *connectors.Gate
	fails      *engines.Failpoints
	acks       *engines.AckLog
	clock      *clock.Clock
	guarantee  connectors.Guarantee
	metrics    *exporter // nil unless they are served
}

// strict decodes JSON and refuses unknown fields.
func strict(b []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// decode fills a configuration and validates it.
func decode(raw json.RawMessage, v any) error {
	if len(raw) > 0 {
		if err := strict(raw, v); err != nil {
			return err
		}
	}
	if c, ok := v.(interface{ Validate() error }); ok {
		return c.Validate()
	}
	return nil
}

func (w *worker) emit(e engines.Event) {
	if w.metrics != nil {
		w.metrics.observe(e)
	}
	line, err := engines.MarshalEvent(clock.Mono(), e)
	if err != nil {
		w.log.Error("event", "error", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// A parent that is gone has also closed standard input, which ends us.
	_, _ = w.out.Write(append(line, '\n'))
}

// Prepare makes a job of its line, without its folder: nothing is opened or
// written.
func Prepare(j Job, known map[string]engines.Engine, c Connectors) (engines.Engine, any, engines.Job, error) {
	var none engines.Job
	if j.Protocol != Protocol {
		return nil, nil, none, fmt.Errorf("the job speaks protocol %d, this worker %d", j.Protocol, Protocol)
	}
	e := known[j.Engine]
	if e == nil {
		return nil, nil, none, fmt.Errorf("engine %q is not known here", j.Engine)
	}
	config := e.Config()
	if err := decode(j.Config, config); err != nil {
		return nil, nil, none, fmt.Errorf("engine %s: %w", j.Engine, err)
	}
	if _, ok := e.(engines.Restorer); j.RestoreFrom != "" && !ok {
		return nil, nil, none, fmt.Errorf("restoreFrom: value %q: engine %s begins from no savepoint", j.RestoreFrom, j.Engine)
	}
	wl := workloads.Lookup(j.Workload)
	if wl == nil {
		return nil, nil, none, fmt.Errorf("workload %q is not known here", j.Workload)
	}
	params := wl.Params()
	if err := decode(j.Params, params); err != nil {
		return nil, nil, none, fmt.Errorf("workload %s: %w", j.Workload, err)
	}
	g, err := connectors.ParseGuarantee(j.Guarantee)
	if err != nil {
		return nil, nil, none, err
	}
	var opening error // what is wrong with its connectors
	graph, err := wl.Pipeline(params, workloads.IO{
		Brokers: j.Kafka.Brokers, Input: j.Kafka.Input, Output: j.Kafka.Output, Late: j.Kafka.Late,
		Source: func(t workloads.Topics) connectors.Source {
			if !slices.Equal(t.Names, j.Kafka.Input.Names) || t.Pattern != j.Kafka.Input.Pattern {
				opening = errors.Join(opening, fmt.Errorf("it reads %s by IO.Source: the load goes to IO.Input and nowhere else; a source of its own a job makes with IO.Brokers", t))
			}
			src, err := c.Source(j.Kafka, t)
			opening = errors.Join(opening, err)
			return src
		},
		Sink: func(topic string) connectors.Sink {
			if topic != j.Kafka.Output && topic != j.Kafka.Late {
				opening = errors.Join(opening, fmt.Errorf("it writes topic %q by IO.Sink: results go to IO.Output and late records to IO.Late, nobody makes or reads another; a sink of its own a job makes with IO.Brokers", topic))
			}
			var every int64
			if j.Origins {
				every = max(j.OriginEvery, 1)
			}
			sink, err := c.Sink(j.Kafka, topic, every)
			opening = errors.Join(opening, err)
			return sink
		},
	})
	if err = errors.Join(err, opening); err != nil {
		return nil, nil, none, fmt.Errorf("workload %s: %w", j.Workload, err)
	}
	if err := badInput(graph, &j, c); err != nil {
		return nil, nil, none, err
	}
	backend, err := backendOf(j.State, c)
	if err != nil {
		return nil, nil, none, err
	}
	job := engines.Job{
		Name: j.Name, Graph: graph, Parallelism: j.Parallelism, MaxParallelism: j.MaxParallelism,
		Guarantee: g, Discovery: time.Duration(j.DiscoveryMillis) * time.Millisecond,
		Origins: j.Origins || j.Acks, Backend: backend, RestoreFrom: j.RestoreFrom,
	}
	return e, config, job, nil
}

func backendOf(s State, c Connectors) (state.Backends, error) {
	if c.Backend != nil {
		return c.Backend(s)
	}
	if s.Backend != "" && s.Backend != "memory" {
		return nil, fmt.Errorf("state.backend: %q is not known here, there is only memory", s.Backend)
	}
	return nil, nil
}

func (w *worker) run(ctx context.Context, j Job, lines *bufio.Scanner) error {
	engine, config, job, err := Prepare(j, w.engines, w.connectors)
	if err != nil {
		return refusal{err}
	}
	if job.Folder, err = state.OpenFolder(j.Folder, state.Durability(j.Durability)); err != nil {
		return refusal{err}
	}
	standing, _ := engine.(engines.Standing)
	if standing != nil && j.Coordinator == 0 {
		if n, length := standing.Standbys(config); n > 0 {
			return w.front(ctx, j, n, length, lines)
		}
	}
	commands := make(chan Command)
	parent := context.WithoutCancel(ctx)
	if standing != nil && j.Coordinator > 0 {
		go w.read(ctx, lines, commands) // its end ends the wait too
		_, length := standing.Standbys(config)
		h, err := w.campaign(ctx, job.Folder, j.Coordinator, length)
		if err != nil {
			return refusal{err}
		}
		defer h.Close()
		var depose context.CancelCauseFunc
		parent, depose = context.WithCancelCause(parent)
		go func() {
			<-h.Lost()
			w.gate.Close()
			depose(h.Err())
		}()
	}
	w.guarantee = job.Guarantee
	if address := cmp.Or(j.Metrics, os.Getenv(MetricsVariable)); address != "" {
		m := newExporter(j)
		url, stop, err := m.serve(address)
		if err != nil {
			return refusal{err}
		}
		defer stop()
		w.metrics = m
		w.emit(MetricsServed{URL: url})
	}
	if j.Acks {
		w.acks = engines.NewAckLog()
	}
	plan, err := engine.Plan(job, config)
	if err != nil {
		return refusal{err}
	}
	w.emit(engines.Planned{Plan: plan})
	if j.Throttle > 0 {
		w.gate.Throttle(j.Throttle)
	}
	if j.Arm != nil {
		w.fails.Arm(j.Arm.Point, j.Arm.Hit, w.crash)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	members, err := w.members(j)
	if err != nil {
		return refusal{err}
	}
	run, err := engine.Start(parent, job, config, engines.Runtime{
		Events: w.emit, Failpoints: w.fails, Gate: w.gate, Acks: w.acks, Clock: w.clock, Log: w.log, Members: members,
	})
	if err != nil {
		return refusal{err}
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	every := time.Duration(j.GaugesMillis) * time.Millisecond
	if every <= 0 {
		every = 100 * time.Millisecond
	}
	go w.sample(ctx, run, every)
	if j.Coordinator == 0 {
		go w.read(ctx, lines, commands)
	}
	var asked sync.WaitGroup // savepoints that are not answered
	for {
		select {
		case err := <-ended:
			asked.Wait()                                  // the job's end ends them
			w.emit(engines.Sampled{Gauges: run.Gauges()}) // the counts are whole only now
			w.counted(run)
			w.emit(usage(run))
			if err != nil {
				return err
			}
			return nil
		case c := <-commands:
			if c.Savepoint != nil || c.Stop != nil && c.Stop.Savepoint != "" {
				// It takes as long as a checkpoint: what is commanded meanwhile, such as
				// that the sink may go on, does not wait for it.
				asked.Go(func() { w.emit(savepoint(c, run, engine)) })
				continue
			}
			if err := w.obey(c, run, engine); err != nil {
				w.emit(Answer{ID: c.ID, Error: err.Error()})
				continue
			}
			w.emit(Answer{ID: c.ID})
		case <-ctx.Done():
			// SIGTERM: finish with a checkpoint.
			if err := run.Stop(context.Background(), engines.StopCheckpoint); err != nil {
				return err
			}
			err := <-ended
			asked.Wait()
			return err
		}
	}
}

func (w *worker) read(ctx context.Context, lines *bufio.Scanner, to chan<- Command) {
	for lines.Scan() {
		var c Command
		if err := strict(lines.Bytes(), &c); err != nil {
			w.emit(Answer{ID: c.ID, Error: "the command does not decode: " + err.Error()})
			continue
		}
		select {
		case to <- c:
		case <-ctx.Done():
			return
		}
	}
	// Nothing waits for a worker whose harness is gone.
	w.log.Warn("standard input has ended: stopping")
	os.Exit(3)
}

func (w *worker) obey(c Command, run engines.Run, e engines.Engine) error {
	switch {
	case c.Arm != nil:
		if !has(e.Points(), c.Arm.Point) {
			return fmt.Errorf("point %q is none of engine %s's", c.Arm.Point, e.Name())
		}
		if c.Arm.Hit < 1 {
			return fmt.Errorf("hit %d: hits count from 1", c.Arm.Hit)
		}
		w.fails.Arm(c.Arm.Point, c.Arm.Hit, w.crash)
	case c.Throttle != nil:
		rate := 0.0
		if c.Throttle.RecordsPerSecond != nil {
			if rate = *c.Throttle.RecordsPerSecond; !(rate > 0) || math.IsInf(rate, 0) {
				return fmt.Errorf("throttle %v: a rate is above 0, null lifts the limit", rate)
			}
		}
		w.gate.Throttle(rate)
	case c.Kill != nil:
		return kill(*c.Kill, run, e)
	case c.Pause != nil:
		return errors.New("pause: the job has one coordinator, its worker: stop that process")
	case c.Stop != nil:
		return run.Stop(context.Background(), engines.StopMode(c.Stop.Mode))
	default:
		return errors.New("the command is none of arm, throttle, kill, pause, stop, savepoint")
	}
	return nil
}

// savepoint takes one, or ends the job with one, and answers.
func savepoint(c Command, run engines.Run, e engines.Engine) Answer {
	s, ok := run.(engines.Savepointer)
	if !ok {
		return Answer{ID: c.ID, Error: fmt.Sprintf("engine %s takes no savepoints", e.Name())}
	}
	a := Answer{ID: c.ID}
	var err error
	if c.Stop != nil {
		a.Path, err = s.StopWithSavepoint(context.Background(), engines.StopMode(c.Stop.Mode), c.Stop.Savepoint)
	} else {
		a.Path, err = s.Savepoint(context.Background(), c.Savepoint.Dir)
	}
	if err != nil {
		a.Path, a.Error = "", err.Error()
	}
	return a
}

// kill ends one of the job's processes; what becomes of the job the engine
// decides.
func kill(k Kill, run engines.Run, e engines.Engine) error {
	if k.Coordinator != "" {
		return errors.New("kill: the job has one coordinator, its worker: kill that process, or give the job standbys")
	}
	d, spread := e.(engines.Distributed)
	r, ok := run.(engines.Killer)
	if !ok || !spread {
		return fmt.Errorf("kill: engine %s has one process", e.Name())
	}
	switch kind := d.MemberKind(); {
	case (k.TaskManager > 0) == (k.Executor > 0):
		return errors.New("kill: one of taskManager, executor, counted from 1")
	case kind == "task manager" && k.Executor > 0:
		return fmt.Errorf("kill.executor: engine %s has task managers: kill.taskManager ends one", e.Name())
	case kind == "executor" && k.TaskManager > 0:
		return fmt.Errorf("kill.taskManager: engine %s has executors: kill.executor ends one", e.Name())
	}
	return r.Kill(max(k.TaskManager, k.Executor))
}

func has(points []engines.Point, name string) bool {
	for _, p := range points {
		if p.Name == name {
			return true
		}
	}
	return false
}

func (w *worker) sample(ctx context.Context, run engines.Run, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-t.C:
			w.emit(engines.Sampled{Gauges: run.Gauges()})
			w.counted(run)
			if n%10 == 9 {
				w.emit(usage(run))
			}
		case <-ctx.Done():
			return
		}
	}
}

// usage is what the job's processes have used.
func usage(run engines.Run) Usage {
	u := engines.OwnUsage()
	if s, ok := run.(engines.Spread); ok {
		others := s.Used()
		u.AllocBytes += others.AllocBytes
		u.GCPauseMillisMax = max(u.GCPauseMillisMax, others.GCPauseMillisMax)
	}
	return Usage(u)
}

// crash is what happens at an armed failpoint: no further output enters the
// sinks, those in flight are waited for, what recovery will do is worked out
// and written in one write, and the process kills itself, which skips defers,
// Close and flush. A point at which only a part fails is told and no more.
func (w *worker) crash(at engines.FailpointReached, recovery func() engines.Recovery) {
	if at.Lives {
		r := recovery()
		at.Epoch, at.Records, at.Acked = r.Epoch, r.Records, r.Again
		if w.guarantee == connectors.AtLeastOnce {
			at.ExpectedDuplicates = r.Again
		}
		w.emit(at)
		return
	}
	w.gate.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.gate.Drain(ctx); err != nil {
		w.log.Error("failpoint: requests in flight were not answered", "error", err)
	}
	_, _, at.InFlight = w.gate.Counts()
	r := recovery()
	at.Epoch, at.Records, at.Positions, at.Reached, at.Uncommitted = r.Epoch, r.Records, r.Positions, r.Reached, r.Uncommitted
	if w.acks != nil {
		expect(&at, w.acks, r, w.guarantee)
	}
	w.emit(at)
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic("a process cannot kill itself: " + err.Error())
	}
	select {} // until the signal arrives
}

// expect works out the copies and losses to come, for one output an input:
// recovery goes on from r.Positions, so what was acknowledged at or after them
// comes again, unless it was part of a transaction that recovery aborts or
// finds committed; what lies before them and was not acknowledged never comes,
// which only at-most-once allows.
func expect(at *engines.FailpointReached, acks *engines.AckLog, r engines.Recovery, g connectors.Guarantee) {
	for split, p := range r.Positions {
		partition, ok := partitionOf(split)
		if !ok {
			continue
		}
		at.Acked += acks.From(partition, p)
		if from, ok := r.Base[split]; ok {
			at.Missing += acks.Missing(partition, from, p)
		}
	}
	switch g {
	case connectors.AtLeastOnce:
		at.ExpectedDuplicates = at.Acked
	case connectors.AtMostOnce:
		at.ExpectedLosses = at.Missing
	}
}

// partitionOf takes the partition number out of a split's name, "topic/3".
func partitionOf(s connectors.SplitID) (int32, bool) {
	i := strings.LastIndexByte(string(s), '/')
	var n int32
	_, err := fmt.Sscanf(string(s[i+1:]), "%d", &n)
	return n, i >= 0 && err == nil
}

// badInput sets what becomes of bad input, where the job's sources do not say so
// themselves.
func badInput(graph *pipeline.Graph, j *Job, c Connectors) error {
	switch p := pipeline.BadPolicy(j.BadInput); p {
	case "":
	case pipeline.DeadLetters:
		if j.Kafka.DeadLetters == "" {
			return errors.New("badInput: dead-letter needs a topic, kafka.deadLetters")
		}
		sink, err := c.Sink(j.Kafka, j.Kafka.DeadLetters, 0)
		if err != nil {
			return err
		}
		graph.OnBadInput(p, sink)
	default:
		graph.OnBadInput(p, nil)
	}
	return nil
}
