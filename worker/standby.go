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
	"slices"
	"syscall"
	"time"

	"streamduel/engines"
	"streamduel/engines/cluster/lease"
	"streamduel/state"
)

// A job with standbys is run by one of several workers, children of the one that
// the harness has started. They share the job's folder and nothing else: which of
// them leads, a lease in it says. The parent, the front, is neither leader nor
// witness: it passes on what the leader says, passes commands to it, looks on, and
// starts another standby for each that is lost.

// campaign waits until this worker leads.
func (w *worker) campaign(ctx context.Context, job *state.Folder, coordinator int, length time.Duration) (*lease.Hold, error) {
	h, err := lease.Campaign(ctx, job, fmt.Sprintf("coordinator %d (process %d)", coordinator, os.Getpid()), length, w.log)
	if err != nil {
		return nil, err
	}
	w.emit(Elected{Coordinator: coordinator, Term: h.Epoch, PID: os.Getpid()})
	return h, nil
}

// front is the worker that the others are children of.
type front struct {
	w      *worker
	job    Job
	lease  time.Duration
	heard  chan any      // what happens, for one goroutine
	over   chan struct{} // closed when nobody takes it any more
	each   []*coordinator
	leader *coordinator
	coming int       // standbys that will be started
	held   []Command // while nobody leads
	limit  *Throttle // what a new leader is told
}

// coordinator is one of the workers that may lead.
type coordinator struct {
	number  int
	since   time.Time
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	open    map[int64]bool // commands that it has not answered
	killing []int64        // and those that ask for its death
	failed  *engines.Failed
	stopped bool // it has ended the job as asked
	dead    bool
}

// done reports whether it has ended the job, as asked or by a failure of the job's:
// what is left is the end of its process.
func (c *coordinator) done() bool {
	return c.stopped || c.failed != nil && !c.failed.Superseded
}

// What a front hears of.
type (
	said struct {
		by   *coordinator
		line []byte
	}
	died struct {
		who *coordinator
		err error
	}
	goOn  struct{ who *coordinator }
	start struct{}
)

// front runs a job by several coordinators until it has ended.
func (w *worker) front(ctx context.Context, j Job, standbys int, lease time.Duration, lines *bufio.Scanner) error {
	switch {
	case w.connectors.Coordinator == nil:
		return refusal{errors.New("standbys: whoever runs the job here cannot start processes: set it to 0")}
	case j.Arm != nil:
		return refusal{fmt.Errorf("standbys: value %d: a point that is armed before the job starts is for the one coordinator that will run it, and which of several that is nobody knows: set it to 0, or arm the point when one leads", standbys)}
	}
	f := &front{w: w, job: j, lease: lease, heard: make(chan any, 64), over: make(chan struct{})}
	defer f.end()
	for range standbys + 1 {
		if err := f.start(); err != nil {
			return refusal{err}
		}
	}
	commands := make(chan Command)
	go w.read(ctx, lines, commands)
	asked := ctx.Done()
	for {
		select {
		case c := <-commands:
			f.command(c)
		case h := <-f.heard:
			switch h := h.(type) {
			case said:
				f.said(h.by, h.line)
			case goOn:
				h.who.signal(syscall.SIGCONT)
			case start:
				f.coming--
				if f.settled() {
					continue
				}
				if err := f.start(); err != nil {
					w.log.Error("a lost coordinator is not replaced", "error", err)
					if f.alone() {
						return f.noneLeft(err.Error())
					}
				}
			case died:
				if ended, err := f.died(h.who, h.err); ended {
					return err
				}
			}
		case <-asked:
			asked = nil
			f.command(Command{Stop: &Stop{Mode: string(engines.StopCheckpoint)}})
		}
	}
}

// start starts a coordinator.
func (f *front) start() error {
	j, number := f.job, len(f.each)+1
	c := &coordinator{number: number, since: time.Now(), cmd: f.w.connectors.Coordinator(), open: map[int64]bool{}}
	j.Coordinator = number
	line, err := json.Marshal(j)
	if err != nil {
		return err
	}
	c.cmd.Stderr = f.w.errs
	// A task manager that outlives it for a moment holds standard error open.
	c.cmd.WaitDelay = time.Second
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("coordinator %d: %w", number, err)
	}
	f.each = append(f.each, c)
	if _, err := c.stdin.Write(append(line, '\n')); err != nil && !errors.Is(err, syscall.EPIPE) { // it says more by how it exits
		return fmt.Errorf("coordinator %d: %w", number, err)
	}
	go func() {
		in := bufio.NewReader(out)
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				break // a line without its end is one that a kill has cut
			}
			f.hear(said{c, line})
		}
		err := c.cmd.Wait()
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil
		}
		f.hear(died{c, err})
	}()
	return nil
}

// hear has something taken that has happened, unless all is over.
func (f *front) hear(x any) {
	select {
	case f.heard <- x:
	case <-f.over:
	}
}

// said takes a line of a coordinator.
func (f *front) said(by *coordinator, line []byte) {
	var head struct {
		Event string `json:"event"`
		ID    int64  `json:"id"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		f.w.log.Error("a coordinator's line does not decode", "coordinator", by.number, "error", err)
		return
	}
	switch head.Event {
	case Elected{}.Kind():
		if f.settled() { // it waited for the lease of one that was about to end
			by.signal(syscall.SIGKILL)
			return
		}
		if f.leader != nil {
			f.w.log.Warn("another coordinator leads now", "before", f.leader.number, "now", by.number)
			f.forsake(f.leader, "it does not lead any more")
		}
		f.leader = by
		f.w.forward(line)
		if f.limit != nil {
			f.send(by, Command{Throttle: f.limit})
		}
		held := f.held
		f.held = nil
		for _, c := range held {
			f.send(by, c)
		}
		return
	case engines.Failed{}.Kind():
		// Whether the job has failed or only this one's part in it, its end tells.
		by.failed = &engines.Failed{}
		if err := json.Unmarshal(line, by.failed); err != nil {
			by.failed.Error = err.Error()
		}
		f.settle()
		return
	case engines.Stopped{}.Kind():
		by.stopped = by == f.leader
		f.settle()
	case Answer{}.Kind():
		if !by.open[head.ID] {
			return // of a command of our own, or one that was answered in its place
		}
		delete(by.open, head.ID)
	}
	if by == f.leader {
		f.w.forward(line)
	}
}

// forward passes a line on as it is.
func (w *worker) forward(line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.out.Write(line) // a parent that is gone has also closed standard input
}

// forsake answers what a coordinator will not.
func (f *front) forsake(c *coordinator, why string) {
	for id := range c.open {
		f.w.emit(Answer{ID: id, Error: fmt.Sprintf("coordinator %d: %s", c.number, why)})
	}
	clear(c.open)
}

// died takes the end of a coordinator, and reports whether it is the job's.
func (f *front) died(c *coordinator, err error) (ended bool, _ error) {
	c.dead = true
	f.forsake(c, "it is dead")
	for _, id := range c.killing {
		f.w.emit(Answer{ID: id})
	}
	superseded := c.failed != nil && c.failed.Superseded
	switch {
	case f.leader == c && c.done():
		return true, f.verdict(c, err)
	case f.leader == c:
		f.leader = nil
	case f.settled():
		return false, nil // it was not to take the job up again
	}
	d := Deposed{Coordinator: c.number, Error: "it is dead"}
	switch {
	case c.failed != nil:
		d.Error = c.failed.Error
	case err != nil:
		d.Error = err.Error()
	}
	f.w.emit(d)
	if superseded || killed(err) {
		f.replace(c)
	}
	if f.alone() {
		return true, f.noneLeft(fmt.Sprintf("the last was coordinator %d: %s", c.number, d.Error))
	}
	return false, nil
}

// settled reports whether the one that leads has ended the job.
func (f *front) settled() bool { return f.leader != nil && f.leader.done() }

// settle ends the others where the job has ended: its leader renews its lease no
// more, and however long its process takes to end, nobody may take the job up again.
func (f *front) settle() {
	if !f.settled() {
		return
	}
	for _, c := range f.each {
		if c != f.leader {
			c.signal(syscall.SIGKILL)
		}
	}
}

// killed reports whether a process was ended from outside. One that has ended by
// itself is not replaced: the next would end as it did.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	s, ok := exit.Sys().(syscall.WaitStatus)
	return ok && s.Signaled()
}

// replace has another coordinator started for one that is lost: at once, or where
// that did not live as long as its lease, after so long, because whatever kills it
// may go on doing so.
func (f *front) replace(c *coordinator) {
	f.coming++
	var pause time.Duration
	if time.Since(c.since) < f.lease {
		pause = f.lease
	}
	time.AfterFunc(pause, func() { f.hear(start{}) })
}

// alone reports whether nobody is left who may ever lead.
func (f *front) alone() bool {
	return f.coming == 0 && !slices.ContainsFunc(f.each, func(c *coordinator) bool { return !c.dead })
}

func (f *front) noneLeft(why string) error {
	failed := engines.Failed{Error: "no coordinator is left; " + why}
	f.w.emit(failed)
	return errors.New(failed.Error)
}

// verdict is what the coordinator that has ended the job says of it.
func (f *front) verdict(c *coordinator, err error) error {
	if c.failed == nil {
		return nil
	}
	text := errors.New(c.failed.Error)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return refusal{text} // which is told as failed
	}
	f.w.emit(*c.failed)
	return text
}

// command does what concerns the coordinators' processes and passes the rest on.
func (f *front) command(c Command) {
	var err error
	switch {
	case c.Kill != nil && c.Kill.Coordinator != "":
		var who *coordinator
		if who, err = f.which(c.Kill.Coordinator); err == nil {
			who.killing = append(who.killing, c.ID) // answered by its death
			who.signal(syscall.SIGKILL)
			return
		}
	case c.Pause != nil:
		var who *coordinator
		if c.Pause.Coordinator != Leading || c.Pause.Millis <= 0 {
			err = errors.New("pause: coordinator: leader and millis above 0 are allowed")
		} else if who, err = f.which(Leading); err == nil {
			who.signal(syscall.SIGSTOP)
			time.AfterFunc(time.Duration(c.Pause.Millis)*time.Millisecond, func() { f.hear(goOn{who}) })
		}
	default:
		if c.Throttle != nil {
			f.limit = c.Throttle
		}
		if f.leader == nil {
			f.held = append(f.held, c)
			return
		}
		f.send(f.leader, c)
		return
	}
	answer := Answer{ID: c.ID}
	if err != nil {
		answer.Error = err.Error()
	}
	f.w.emit(answer)
}

// which returns the coordinator that a command means.
func (f *front) which(name string) (*coordinator, error) {
	switch name {
	case Leading:
		if f.leader == nil {
			return nil, errors.New("no coordinator leads just now")
		}
		return f.leader, nil
	case Standing:
		for _, c := range f.each {
			if c != f.leader && !c.dead {
				return c, nil
			}
		}
		return nil, errors.New("no coordinator stands by just now")
	}
	return nil, fmt.Errorf("coordinator %q: leader or standby", name)
}

// send sends a command to a coordinator; one without an id is our own, of which
// nobody waits for the answer.
func (f *front) send(to *coordinator, c Command) {
	line, err := json.Marshal(c)
	if err == nil {
		_, err = to.stdin.Write(append(line, '\n'))
	}
	if c.ID == 0 {
		return
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) { // its death answers
		f.w.emit(Answer{ID: c.ID, Error: err.Error()})
		return
	}
	to.open[c.ID] = true
}

func (c *coordinator) signal(s syscall.Signal) {
	if !c.dead {
		c.cmd.Process.Signal(s) //nolint:errcheck // it may be gone
	}
}

// end ends all coordinators: whatever they still do, the job has ended. The end
// of their input ends them, a stopped one when it may go on.
func (f *front) end() {
	defer close(f.over)
	left := 0
	for _, c := range f.each {
		if !c.dead {
			left++
			c.stdin.Close()
			c.signal(syscall.SIGCONT)
		}
	}
	t := time.NewTimer(5 * time.Second)
	defer t.Stop()
	for left > 0 {
		select {
		case h := <-f.heard:
			if d, ok := h.(died); ok {
				d.who.dead = true
				left--
			}
		case <-t.C:
			for _, c := range f.each {
				c.signal(syscall.SIGKILL)
			}
		}
	}
}
