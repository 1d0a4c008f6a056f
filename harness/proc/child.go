package proc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"streamduel/clock"
)

// Spec says what to start.
type Spec struct {
	Name string // for messages: "broker", "load", "worker"
	Path string // program; empty for our own binary
	Args []string
	Env  []string // "key=value", added to our own environment
	Dir  string
	// Stderr gets the child's standard error; nil discards it.
	Stderr io.Writer
	// OnLine is called for each line of standard output, in order, by one
	// goroutine. It must not block: the child's output waits for it. The line
	// may be kept.
	OnLine func(Line)
}

// Line is one line of a child's standard output.
type Line struct {
	At    int64  // clock.Mono when it was received
	Event string // field "event"; empty when the line is not such an object
	ID    int64  // field "id": the command that it answers, 0 for none
	Error string // field "error"
	Raw   []byte // the line without its end
}

// Decode reads the line into v; unknown fields are left out.
func (l Line) Decode(v any) error { return json.Unmarshal(l.Raw, v) }

// Child is a running process.
type Child struct {
	name  string
	cmd   *exec.Cmd
	group int

	in     sync.Mutex // of stdin
	stdin  io.WriteCloser
	id     atomic.Int64
	wait   sync.Mutex // of calls
	calls  map[int64]chan Line
	done   chan struct{}
	err    error // why it ended, nil for exit code 0; valid after done
	ended  int64 // clock.Mono
	stderr *remember
	meter  meter
}

// Start starts a process. The context does not end it; see Stop and Kill.
func Start(s Spec) (*Child, error) {
	path := s.Path
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("%s: own program not found: %w", s.Name, err)
		}
		path = self
	}
	c := &Child{name: s.Name, calls: map[int64]chan Line{}, done: make(chan struct{}), stderr: &remember{to: s.Stderr}}
	c.cmd = exec.Command(path, s.Args...)
	c.cmd.Env = append(os.Environ(), s.Env...)
	c.cmd.Dir = s.Dir
	c.cmd.Stderr = c.stderr
	// A grandchild that outlives its parent may hold the pipes open.
	c.cmd.WaitDelay = time.Second
	c.cmd.SysProcAttr = attributes()
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	out, outW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	c.cmd.Stdout = outW
	err = fork(c.cmd.Start)
	outW.Close()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	c.group = c.cmd.Process.Pid
	c.meter.start(c.group)
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(out, s.OnLine)
	}()
	go c.reap(out, read)
	return c, nil
}

// fork runs start on a thread that lives as long as the process.
var fork = sync.OnceValue(func() func(func() error) error {
	type job struct {
		start func() error
		err   chan error
	}
	jobs := make(chan job)
	go func() {
		runtime.LockOSThread()
		for j := range jobs {
			j.err <- j.start()
		}
	}()
	return func(start func() error) error {
		j := job{start, make(chan error)}
		jobs <- j
		return <-j.err
	}
})()

func (c *Child) read(out io.Reader, onLine func(Line)) {
	r := bufio.NewReaderSize(out, 1<<16)
	for {
		raw, err := r.ReadBytes('\n')
		if raw = bytes.TrimRight(raw, "\r\n"); len(raw) > 0 {
			l := Line{At: clock.Mono(), Raw: raw}
			var head struct {
				Event string `json:"event"`
				ID    int64  `json:"id"`
				Error string `json:"error"`
			}
			if json.Unmarshal(raw, &head) == nil {
				l.Event, l.ID, l.Error = head.Event, head.ID, head.Error
			}
			if onLine != nil {
				onLine(l)
			}
			if l.ID != 0 {
				c.wait.Lock()
				answer := c.calls[l.ID]
				delete(c.calls, l.ID)
				c.wait.Unlock()
				if answer != nil {
					answer <- l
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// reap waits for the process and for the last line that it wrote.
func (c *Child) reap(out *os.File, read <-chan struct{}) {
	err := c.cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; a descendant still holds standard error
	}
	c.ended = clock.Mono()
	select {
	case <-read:
	case <-time.After(time.Second): // a descendant holds standard output
	}
	out.Close()
	<-read
	c.meter.stop(c.cmd.ProcessState)
	c.err = err
	close(c.done)
}

// Name is the child's name as Spec gave it.
func (c *Child) Name() string { return c.name }

// PID is the process id, and the id of its process group.
func (c *Child) PID() int { return c.group }

// Done is closed when the process has ended and its output is read.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err says why the process ended: nil for exit code 0 and while it runs.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// ExitCode returns the exit code, −1 while the process runs or when a signal
// ended it.
func (c *Child) ExitCode() int {
	select {
	case <-c.done:
		return c.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

// Ended returns the clock.Mono at which the end was noticed; 0 while it runs.
func (c *Child) Ended() int64 {
	select {
	case <-c.done:
		return c.ended
	default:
		return 0
	}
}

// Complaint is the line of standard error that says best why the process
// ended: the first line of a panic, else the last line.
func (c *Child) Complaint() string { return c.stderr.line() }

// endedError describes the end for callers that wait for something else.
func (c *Child) endedError() error {
	how := "ended"
	if c.err != nil {
		how = "ended (" + c.err.Error() + ")"
	}
	if s := c.Complaint(); s != "" {
		return fmt.Errorf("%s %s: %s", c.name, how, s)
	}
	return fmt.Errorf("%s %s", c.name, how)
}

// Send writes v as one JSON line to standard input.
func (c *Child) Send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.in.Lock()
	defer c.in.Unlock()
	if _, err := c.stdin.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%s does not read any more: %w", c.name, err)
	}
	return nil
}

// Call sends the command that build makes with a new id and waits for the event
// that bears the id. An error in that event is returned as an error.
func (c *Child) Call(ctx context.Context, build func(id int64) any) (Line, error) {
	id := c.id.Add(1)
	answer := make(chan Line, 1)
	c.wait.Lock()
	c.calls[id] = answer
	c.wait.Unlock()
	defer func() {
		c.wait.Lock()
		delete(c.calls, id)
		c.wait.Unlock()
	}()
	if err := c.Send(build(id)); err != nil {
		select {
		case <-c.done:
			return Line{}, c.endedError()
		case <-time.After(100 * time.Millisecond):
			return Line{}, err
		}
	}
	select {
	case l := <-answer:
		return c.answered(l)
	case <-ctx.Done():
		return Line{}, fmt.Errorf("%s does not answer: %w", c.name, ctx.Err())
	case <-c.done:
		select {
		case l := <-answer:
			return c.answered(l)
		default:
			return Line{}, c.endedError()
		}
	}
}

func (c *Child) answered(l Line) (Line, error) {
	if l.Error != "" {
		return l, fmt.Errorf("%s: %s", c.name, l.Error)
	}
	return l, nil
}

// CloseInput ends the child's standard input, which asks it to end.
func (c *Child) CloseInput() {
	c.in.Lock()
	defer c.in.Unlock()
	c.stdin.Close()
}

// Signal sends a signal to the process alone.
func (c *Child) Signal(s syscall.Signal) error { return c.cmd.Process.Signal(s) }

// Kill kills the whole process group at once.
func (c *Child) Kill() { killGroup(c.group) }

// Stop closes standard input and waits for the end; after grace it sends
// SIGTERM, and after another grace it kills the group. It returns how the
// process ended.
func (c *Child) Stop(grace time.Duration) error {
	c.CloseInput()
	for _, next := range []func(){
		func() { _ = c.Signal(syscall.SIGTERM) },
		c.Kill,
	} {
		select {
		case <-c.done:
			killGroup(c.group) // what it may have left behind
			return c.err
		case <-time.After(grace):
			next()
		}
	}
	<-c.done
	return c.err
}
