package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"streamduel/clock"
	"streamduel/harness/control"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/worker"
)

// ask sends the worker a command that ends in a savepoint and returns its folder.
func (c *cell) ask(ctx context.Context, command worker.Command) (path string, err error) {
	l, err := c.worker().Call(ctx, func(id int64) any {
		command.ID = id
		return command
	})
	if err != nil {
		return "", err
	}
	var a worker.Answer
	if l.Decode(&a) == nil && a.Path != "" {
		return a.Path, nil
	}
	if path = c.engine.savepointed(); path == "" {
		err = errors.New("the engine does not say where its savepoint is (event savepointCompleted)")
	}
	return path, err
}

// savepoint has the job take a savepoint, of which nothing is kept: the phase shows
// what it costs.
func (c *cell) savepoint(ctx context.Context, p scenarios.Phase) error {
	points := fmt.Sprintf("savepoints-%d", len(c.folders))
	c.folders = append(c.folders, points)
	limited, cancel := context.WithTimeout(ctx, faultLimit(p))
	defer cancel()
	c.mark(clock.Mono(), runs.MarkSavepoint, "savepoint asked for")
	_, err := c.ask(limited, worker.Command{Savepoint: &worker.Savepoint{Dir: c.w.Path(points)}})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case isClosed(c.worker().Done()):
		c.death = c.obituary()
	case limited.Err() != nil:
		c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: no savepoint within %s", p.Name, faultLimit(p)))
	case err != nil:
		c.facts.missed = append(c.facts.missed, fmt.Sprintf("phase %s: no savepoint: %s", p.Name, firstLine(err.Error())))
	default:
		c.mark(clock.Mono(), runs.MarkSavepoint, "savepoint taken")
	}
	return nil
}

// takeCommands lets others ask the job for savepoints while the cell runs
// (bench savepoint). Where that cannot be, the cell is none the worse.
func (c *cell) takeCommands() {
	s, err := control.Serve(c.w.Path("."), c.r.log, c.obey)
	if err != nil {
		c.r.log.Warn("nobody can ask this cell for a savepoint", "error", err)
		return
	}
	c.control = s
}

// takeNoCommands ends that, before the cell's marks are read. Who still waits for an
// answer has it when the worker has ended.
func (c *cell) takeNoCommands() error {
	s := c.control
	if s == nil {
		return nil
	}
	c.control = nil
	return s.Close()
}

// obey does what somebody outside asks for.
func (c *cell) obey(ctx context.Context, command worker.Command) (path string, err error) {
	stops := command.Stop != nil && command.Stop.Savepoint != ""
	if !stops && command.Savepoint == nil {
		return "", errors.New("the command is none of savepoint, stop with a savepoint")
	}
	if c.worker() == nil {
		return "", errors.New("the job has not been started: it will be, on what the first phase leaves behind")
	}
	// Checkpoints of one cell are counted on from start to start, so that their
	// folders are apart; those of another begin anew.
	of := c.spec.ID
	if c.attempt > 1 {
		of = fmt.Sprintf("%s~%d", of, c.attempt)
	}
	under := func(dir string) string { return filepath.Join(dir, c.r.w.Run().ID, of) }
	what := "savepoint"
	if stops {
		stop := *command.Stop
		stop.Savepoint = under(stop.Savepoint)
		command.Stop = &stop
		what = "stop with a savepoint"
		c.stopAsked.Store(true) // its end is told before its answer may be
	} else {
		command.Savepoint = &worker.Savepoint{Dir: under(command.Savepoint.Dir)}
	}
	c.mark(clock.Mono(), runs.MarkSavepoint, what+" asked for from outside")
	path, err = c.ask(ctx, command)
	if err == nil {
		c.mark(clock.Mono(), runs.MarkSavepoint, "savepoint taken, for somebody outside")
		return path, nil
	}
	if ctx.Err() != nil {
		return "", errors.New("the cell has ended")
	}
	if !isClosed(c.worker().Done()) {
		c.stopAsked.Store(false)
	}
	return "", errors.New(strings.TrimPrefix(err.Error(), "worker: "))
}
