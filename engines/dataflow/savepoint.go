package dataflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"streamduel/engines"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/state"
)

// A savepoint is an aligned checkpoint of which the files are copied, once its
// output is committed, into a folder that belongs to whoever asked for it. It
// lists no transactions, so the job may go on and the savepoint stays good. As
// it is a checkpoint too, a crash behind it does not repeat what it committed.

// savepoint is mail to the coordinator: take one.
type savepoint struct {
	dir   string
	reply chan<- savepointDone // nil: none
}

type savepointDone struct {
	path string
	err  error
}

func (s savepoint) answer(path string, err error) {
	if s.reply != nil {
		s.reply <- savepointDone{path, err}
	}
}

// refuseSavepoints answers those who still wait when the job ends.
func (c *coordinator) refuseSavepoints(err error) {
	if err == nil {
		err = errors.New("the job has ended")
	}
	waiting := append(c.asked, c.stopWith)
	for _, p := range c.under {
		waiting = append(waiting, p.savepoint)
	}
	for {
		select {
		case m := <-c.inbox:
			switch m := m.(type) {
			case savepoint:
				waiting = append(waiting, m)
			case stopping:
				waiting = append(waiting, m.with)
			}
			continue
		default:
		}
		break
	}
	for _, s := range waiting {
		if s.reply != nil {
			select {
			case s.reply <- savepointDone{err: err}:
			default: // answered already
			}
		}
	}
}

// export copies a checkpoint that has been committed into the savepoint's
// folder.
func (c *coordinator) export(p *pending) {
	path := filepath.Join(p.savepoint.dir, fmt.Sprintf("savepoint-%d", p.id))
	err := c.run.store.Export(p.meta, path)
	if err != nil {
		err = fmt.Errorf("savepoint %s: %w", path, err)
	} else {
		c.run.emit(engines.SavepointCompleted{Checkpoint: p.id, Path: path})
	}
	p.savepoint.answer(path, err)
	p.savepoint = savepoint{}
}

// Savepoint implements engines.Savepointer. It returns when the savepoint is
// whole and its output committed.
func (r *run) Savepoint(ctx context.Context, dir string) (path string, err error) {
	reply := make(chan savepointDone, 1)
	r.coordinator.tell(savepoint{dir, reply})
	return r.await(ctx, reply)
}

// StopWithSavepoint implements engines.Savepointer.
func (r *run) StopWithSavepoint(ctx context.Context, mode engines.StopMode, dir string) (path string, err error) {
	if mode != engines.StopDrain && mode != engines.StopCheckpoint {
		return "", fmt.Errorf("stop mode %q: with a savepoint %s and %s are allowed", mode, engines.StopDrain, engines.StopCheckpoint)
	}
	reply := make(chan savepointDone, 1)
	r.coordinator.tell(stopping{mode, savepoint{dir, reply}})
	path, err = r.await(ctx, reply)
	if err != nil {
		return "", err
	}
	select {
	case <-r.done:
		return path, r.err
	case <-ctx.Done():
		return path, ctx.Err()
	}
}

func (r *run) await(ctx context.Context, reply <-chan savepointDone) (string, error) {
	select {
	case d := <-reply:
		return d.path, d.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-r.done:
		select {
		case d := <-reply:
			return d.path, d.err
		default:
			return "", errors.Join(errors.New("the job has ended"), r.err)
		}
	}
}

// adopt makes a savepoint the first checkpoint of a job that has none.
func (r *run) adopt() error {
	path := cmp.Or(r.job.RestoreFrom, r.cfg.RestoreFrom)
	if path == "" {
		return nil
	}
	ids, err := r.job.Folder.Numbered("checkpoint-")
	if err != nil || len(ids) > 0 {
		return err // it has been adopted before, and the job has gone on since
	}
	from, err := state.OpenFolder(path, r.job.Folder.Durability())
	if err == nil {
		err = checkpoints.Adopt(from, r.job.Folder)
	}
	if err != nil {
		return fmt.Errorf("restoring %s: %w", path, err)
	}
	return nil
}
