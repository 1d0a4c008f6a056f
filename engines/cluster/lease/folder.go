package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"streamduel/state"
)

const prefix = "lease-"

// tries is how often the lease may fail to be written before a contender gives up.
const tries = 2 * beats

// folderName is the folder within the job's. Its files need to survive processes
// only: when the machine is gone, so is everybody who leads or wants to.
const folderName = "leases"

func open(job *state.Folder) (*state.Folder, error) {
	f, err := job.Sub(folderName)
	if err != nil {
		return nil, err
	}
	return state.OpenFolder(f.Path(), state.DurableProcess)
}

// newest reads the newest term.
func newest(f *state.Folder) (t Term, err error) {
	ns, err := f.Numbered(prefix)
	if err != nil || len(ns) == 0 {
		return t, err
	}
	b, err := f.Read(prefix + strconv.FormatInt(ns[len(ns)-1], 10))
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	return t, err
}

func (t Term) name() string { return prefix + strconv.FormatInt(t.Epoch, 10) }

func (t Term) bytes() []byte {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // it is two numbers and a string
	}
	return b
}

// Hold is a lease that is held.
type Hold struct {
	Epoch int64

	cancel context.CancelFunc
	ended  chan struct{}
	lost   chan struct{}
	err    error // set before lost is closed
}

// Campaign waits until this process leads, and says so from then on, for as long
// as nobody else leads. self names it to others; length is the same for all.
func Campaign(ctx context.Context, job *state.Folder, self string, length time.Duration, log *slog.Logger) (*Hold, error) {
	f, err := open(job)
	if err != nil {
		return nil, err
	}
	c := &contender{self: self, length: length}
	begun := time.Now()
	for failed := 0; ; {
		t, err := newest(f)
		if err != nil {
			log.Warn("the lease could not be read", "folder", f.Path(), "error", err)
		}
		a := c.look(time.Since(begun), t, err)
		if a.claim == nil {
			if err := sleep(ctx, a.wait); err != nil {
				return nil, err
			}
			continue
		}
		err = f.Create(a.claim.name(), a.claim.bytes())
		if err != nil && !errors.Is(err, state.ErrExists) {
			// A start of the job may just have swept the file away that was to become
			// the term's (state.NextAttempt).
			if failed++; failed == tries {
				return nil, fmt.Errorf("term %d of the lease: %w", a.claim.Epoch, err)
			}
			log.Warn("the lease could not be taken", "folder", f.Path(), "error", err)
			if err := sleep(ctx, length/beats); err != nil {
				return nil, err
			}
			continue
		}
		if c.claimed(*a.claim, err == nil); c.held == 0 {
			continue
		}
		// Its predecessor's is kept, for those who look just now.
		_ = f.Remove(Term{Epoch: c.held - 2}.name())
		within, cancel := context.WithCancel(context.WithoutCancel(ctx))
		h := &Hold{Epoch: c.held, cancel: cancel, ended: make(chan struct{}), lost: make(chan struct{})}
		go h.keep(within, f, c, begun, log)
		return h, nil
	}
}

// keep renews the lease until it is released or lost.
func (h *Hold) keep(ctx context.Context, f *state.Folder, c *contender, begun time.Time, log *slog.Logger) {
	defer close(h.ended)
	for wait := c.length / beats; sleep(ctx, wait) == nil; {
		t, err := newest(f)
		a := c.look(time.Since(begun), t, err)
		if a.lost != nil {
			h.err = a.lost
			close(h.lost)
			return
		}
		if wait = a.wait; a.renew != nil {
			err = f.Write(a.renew.name(), a.renew.bytes())
			if err == nil {
				c.wrote()
			}
		}
		if err != nil {
			log.Warn("the lease could not be renewed", "folder", f.Path(), "error", err)
		}
	}
}

// Lost is closed when this process must not lead any more.
func (h *Hold) Lost() <-chan struct{} { return h.lost }

// Err says why; nil before.
func (h *Hold) Err() error {
	select {
	case <-h.lost:
		return h.err
	default:
		return nil
	}
}

// Close ends the renewals: another may lead when the length is over.
func (h *Hold) Close() {
	h.cancel()
	<-h.ended
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
