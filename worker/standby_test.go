package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
	"streamduel/state"
	"streamduel/workloads"
)

const workerEnv = "STREAMDUEL_WORKER_TEST"

// The test binary is its own workers.
func TestMain(m *testing.M) {
	workloads.Register(&workloads.Workload{
		Name: "nothing", Params: func() any { return &struct{}{} },
		Generator:  func(any, uint64) (workloads.Generator, error) { return nil, errors.New("it loads nothing") },
		Accounting: func(any, uint64) (workloads.Accounting, error) { return workloads.Accounting{}, nil },
		Pipeline:   func(any, workloads.IO) (*pipeline.Graph, error) { return pipeline.New("nothing"), nil },
	})
	if os.Getenv(workerEnv) != "" {
		os.Exit(Main(context.Background(), os.Stdin, os.Stdout, os.Stderr, map[string]engines.Engine{"still": still{}}, Connectors{
			Coordinator: func() *exec.Cmd { return exec.Command(os.Args[0]) }, // it inherits our environment
		}))
	}
	os.Exit(m.Run())
}

// still is an engine whose job begins an attempt and does nothing.
type still struct{}

type stillConfig struct {
	Standbys int
	Dies     bool // by itself, when it leads
}

func (still) Name() string            { return "still" }
func (still) Config() any             { return &stillConfig{} }
func (still) Points() []engines.Point { return nil }
func (still) Standbys(config any) (int, time.Duration) {
	return config.(*stillConfig).Standbys, time.Second // a slow machine keeps it
}
func (still) Plan(engines.Job, any) (engines.Plan, error) { return engines.Plan{}, nil }

func (still) Start(ctx context.Context, job engines.Job, config any, rt engines.Runtime) (engines.Run, error) {
	if config.(*stillConfig).Dies {
		os.Exit(7)
	}
	a, err := state.NextAttempt(job.Folder, job.Name)
	if err != nil {
		return nil, err
	}
	rt.Events(engines.Started{Attempt: a.Number})
	return &stillRun{ctx: ctx, attempt: a, events: rt.Events, ended: make(chan struct{})}, nil
}

type stillRun struct {
	ctx     context.Context
	attempt *state.Attempt
	events  func(engines.Event)
	ended   chan struct{}
}

func (r *stillRun) Wait() error {
	select {
	case <-r.ended:
		r.events(engines.Stopped{Mode: engines.StopDrain})
		return nil
	case <-r.ctx.Done():
		err := errors.Join(context.Cause(r.ctx), r.attempt.Check())
		r.events(engines.Failed{Error: err.Error(), Superseded: errors.Is(err, state.ErrSuperseded)})
		return err
	}
}

func (r *stillRun) Stop(context.Context, engines.StopMode) error { close(r.ended); return nil }
func (r *stillRun) Gauges() engines.Gauges                       { return engines.Gauges{} }

// hosted is a worker's process.
type hosted struct {
	*exec.Cmd
	t     *testing.T
	in    io.WriteCloser
	lines *bufio.Scanner
}

func host(t *testing.T, j Job) *hosted {
	t.Helper()
	h := &hosted{Cmd: exec.Command(os.Args[0]), t: t}
	h.Env = append(os.Environ(), workerEnv+"=1")
	h.Stderr = os.Stderr
	var err error
	if h.in, err = h.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := h.StdoutPipe()
	if err == nil {
		err = h.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.in.Close(); h.Wait() }) //nolint:errcheck // it may have ended
	h.lines = bufio.NewScanner(out)
	h.say(j)
	return h
}

func (h *hosted) say(v any) {
	h.t.Helper()
	line, err := json.Marshal(v)
	if err == nil {
		_, err = h.in.Write(append(line, '\n'))
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// hear reads lines until one has all the parts.
func (h *hosted) hear(parts ...string) string {
	h.t.Helper()
	for h.lines.Scan() {
		l, all := h.lines.Text(), true
		for _, p := range parts {
			all = all && strings.Contains(l, p)
		}
		if all {
			return l
		}
	}
	h.t.Fatalf("the worker has ended and not said %q", parts)
	return ""
}

// stop has the job stopped, by the next leader where one gives up meanwhile.
func (h *hosted) stop() {
	h.t.Helper()
	for id := int64(100); ; id++ {
		h.say(Command{ID: id, Stop: &Stop{Mode: "drain"}})
		if l := h.hear(`"event":"answer"`, fmt.Sprintf(`"id":%d`, id)); !strings.Contains(l, "error") {
			break
		}
	}
	for h.lines.Scan() {
	}
	if err := h.Wait(); err != nil {
		h.t.Errorf("the worker ended with %v", err)
	}
}

// TestStandbys kills the coordinator that leads and stops the next one for longer
// than its lease: each time another starts the job, the one that was stopped ends
// and names the newer attempt, and the last is stopped as asked.
func TestStandbys(t *testing.T) {
	t.Parallel()
	h := host(t, Job{Protocol: Protocol, Name: "job", Workload: "nothing", Engine: "still", Config: json.RawMessage(`{"Standbys":2}`),
		Guarantee: string(connectors.ExactlyOnce), Folder: t.TempDir(), Durability: string(state.DurableProcess)})
	h.hear(`"event":"elected"`, `"term":1`)
	h.hear(`"event":"started"`, `"attempt":1`)
	h.say(Command{ID: 7, Kill: &Kill{Coordinator: Leading}})
	h.hear(`"event":"answer"`, `"id":7`)
	h.hear(`"event":"deposed"`, "signal: killed")
	h.hear(`"event":"elected"`, `"term":2`)
	h.hear(`"event":"started"`, `"attempt":2`)
	h.say(Command{ID: 8, Pause: &Pause{Coordinator: Leading, Millis: 3000}})
	h.hear(`"event":"elected"`, `"term":3`)
	h.hear(`"event":"started"`, `"attempt":3`)
	h.hear(`"event":"deposed"`, "led in term 2 and was superseded by coordinator", "attempt 2 of this job was superseded by attempt 3")
	// As many stand by as before, and one that stands by is replaced like the others.
	h.say(Command{ID: 9, Kill: &Kill{Coordinator: Standing}})
	if l := h.hear(`"id":9`); strings.Contains(l, "error") {
		t.Errorf("killing one that stands by: %s", l)
	}
	h.hear(`"event":"deposed"`, "signal: killed")
	h.stop()
}

// TestLostCoordinatorsAreReplaced: more are killed than ever stood by at once.
func TestLostCoordinatorsAreReplaced(t *testing.T) {
	t.Parallel()
	h := host(t, Job{Protocol: Protocol, Name: "job", Workload: "nothing", Engine: "still", Config: json.RawMessage(`{"Standbys":1}`),
		Guarantee: string(connectors.ExactlyOnce), Folder: t.TempDir(), Durability: string(state.DurableProcess)})
	h.hear(`"event":"elected"`, `"term":1`)
	for id := range int64(2) { // both of the first
		h.hear(`"event":"started"`, fmt.Sprintf(`"attempt":%d`, id+1))
		h.say(Command{ID: id + 1, Kill: &Kill{Coordinator: Leading}})
		h.hear(`"event":"elected"`, fmt.Sprintf(`"term":%d`, id+2))
	}
	h.hear(`"event":"started"`, `"attempt":3`)
	h.stop()
}

// TestTheLastCoordinator: one that ends by itself is not replaced, and without any
// the job has failed.
func TestTheLastCoordinator(t *testing.T) {
	t.Parallel()
	h := host(t, Job{Protocol: Protocol, Name: "job", Workload: "nothing", Engine: "still", Config: json.RawMessage(`{"Standbys":1,"Dies":true}`),
		Guarantee: string(connectors.ExactlyOnce), Folder: t.TempDir(), Durability: string(state.DurableProcess)})
	for range 2 {
		h.hear(`"event":"deposed"`, "exit status 7")
	}
	h.hear(`"event":"failed"`, "no coordinator is left; the last was coordinator", "exit status 7")
	for h.lines.Scan() {
	}
	var exit *exec.ExitError
	if err := h.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the worker ended with %v", err)
	}
}

// TestStandbysAreRefusedWithAnArmedStart, by name.
func TestStandbysAreRefusedWithAnArmedStart(t *testing.T) {
	t.Parallel()
	h := host(t, Job{Protocol: Protocol, Name: "job", Workload: "nothing", Engine: "still", Config: json.RawMessage(`{"Standbys":1}`), Arm: &Arm{Point: "R1", Hit: 1},
		Guarantee: string(connectors.ExactlyOnce), Folder: t.TempDir(), Durability: string(state.DurableProcess)})
	h.hear(`"event":"failed"`, "standbys: value 1", "set it to 0, or arm the point when one leads")
	for h.lines.Scan() {
	}
	var exit *exec.ExitError
	if err := h.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("the worker ended with %v", err)
	}
}
