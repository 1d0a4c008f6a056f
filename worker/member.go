package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/signal"
	"syscall"

	"streamduel/clock"
	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/cluster"
	"streamduel/state"
)

// Member runs a process that a worker has started for its engine, an executor or
// a task manager: it makes the same job of the same line and leaves everything
// else to the engine. It ends with its worker. The exit code is 0 when that has
// ended it, 1 when something failed, 2 when it is no worker that has started it
// or the job is none here.
func Member(ctx context.Context, in io.Reader, errs io.Writer, known map[string]engines.Engine, c Connectors) int {
	// Whoever ends the worker in order tells the worker, which tells its members.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	ctx = context.WithoutCancel(ctx)
	fail := func(code int, err error) int {
		fmt.Fprintln(errs, "member:", err)
		return code
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail(1, err)
	}
	defer l.Close()
	m, err := cluster.Join(ctx, in, l.Addr().String())
	if err != nil {
		return fail(2, err)
	}
	defer m.Leave()
	msg, err := m.Receive()
	if err != nil {
		return fail(2, err)
	}
	engine, config, job, acks, err := memberJob(msg, known, c)
	if err != nil {
		// The worker says it; it has made the same job of the same line, so this
		// is a program that was replaced meanwhile.
		if err := m.Send(cluster.Message{Kind: engines.RefusedMessage, Body: []byte(err.Error())}); err != nil {
			return fail(2, err)
		}
		<-m.Context().Done()
		return 2
	}
	rt := engines.Runtime{Gate: connectors.NewGate(), Clock: &clock.Clock{}, Log: slog.New(slog.NewTextHandler(errs, nil)).With("member", m.Index+1)}
	if acks {
		rt.Acks = engines.NewAckLog()
	}
	if err := engine.Member(m.Context(), engines.Membership{Membership: m, Listener: l}, job, config, rt); err != nil {
		return fail(1, err)
	}
	return 0
}

func memberJob(msg cluster.Message, known map[string]engines.Engine, c Connectors) (e engines.Distributed, config any, job engines.Job, acks bool, err error) {
	if msg.Kind != engines.JobMessage {
		return nil, nil, job, false, fmt.Errorf("the first message is a %q, not a job", msg.Kind)
	}
	var line Job
	if err := strict(msg.Body, &line); err != nil {
		return nil, nil, job, false, fmt.Errorf("the job does not decode: %w", err)
	}
	engine, config, job, err := Prepare(line, known, c)
	if err != nil {
		return nil, nil, job, false, err
	}
	e, ok := engine.(engines.Distributed)
	if !ok {
		return nil, nil, job, false, fmt.Errorf("engine %s has no members", engine.Name())
	}
	job.Folder, err = state.OpenFolder(line.Folder, state.Durability(line.Durability))
	return e, config, job, line.Acks, err
}

// members says how an engine gets more processes for a job.
func (w *worker) members(j Job) (*engines.Members, error) {
	if w.connectors.Member == nil {
		return nil, nil
	}
	line, err := json.Marshal(j)
	return &engines.Members{Command: w.connectors.Member, Job: line}, err
}
