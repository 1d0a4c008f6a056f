package cluster

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Config is how a leader runs its members.
type Config struct {
	// Command makes a member's command. Its standard input is the leader's.
	Command func() *exec.Cmd
	// Silence is how long a member or its leader may say nothing before it
	// counts as dead. 0 means 5 s.
	Silence time.Duration
}

// Leader starts members and hears from them. It is safe for concurrent use.
type Leader struct {
	cfg      Config
	token    string
	listener net.Listener

	mu      sync.Mutex
	waiting map[int]chan joined
	members map[*Member]bool
	closed  bool
}

type joined struct {
	w *wire
	p presentation
}

// Lead opens a leader on loopback.
func Lead(cfg Config) (*Leader, error) {
	if cfg.Silence == 0 {
		cfg.Silence = defaultSilence
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ld := &Leader{cfg: cfg, token: rand.Text(), listener: l, waiting: make(map[int]chan joined), members: make(map[*Member]bool)}
	go ld.accept()
	return ld, nil
}

// Token is the secret that leader and members share; data connections between
// members use it too.
func (l *Leader) Token() string { return l.token }

func (l *Leader) accept() {
	for {
		nc, err := l.listener.Accept()
		if err != nil {
			return
		}
		go l.greet(newWire(nc, l.cfg.Silence))
	}
}

// greet hands a connection to whoever waits for its index; anything else is
// dropped.
func (l *Leader) greet(w *wire) {
	m, err := w.receive()
	var p presentation
	if err == nil {
		err = m.Decode(&p)
	}
	if err == nil && subtle.ConstantTimeCompare([]byte(p.Token), []byte(l.token)) == 0 {
		err = errors.New("a process of another leader")
	}
	if err != nil { // whoever it is, the member may still come
		w.end(err)
		return
	}
	l.mu.Lock()
	to := l.waiting[p.Index]
	delete(l.waiting, p.Index)
	l.mu.Unlock()
	if to == nil {
		w.end(errors.New("nobody waits for this member"))
		return
	}
	to <- joined{w, p}
}

// Member is a child process as its leader sees it.
type Member struct {
	Index int
	PID   int
	Data  string // where it takes connections of other members; may be empty

	cmd      *exec.Cmd
	exited   chan struct{} // closed
	stdin    io.Closer
	wire     *wire
	messages chan Message
}

// Start runs a member and waits until it has presented itself. The context
// bounds the wait only.
func (l *Leader) Start(ctx context.Context, index int) (*Member, error) {
	to := make(chan joined, 1)
	l.mu.Lock()
	if l.closed || l.waiting[index] != nil {
		l.mu.Unlock()
		return nil, fmt.Errorf("member %d: the leader is closed, or the member is being started", index)
	}
	l.waiting[index] = to
	l.mu.Unlock()
	m, err := l.start(ctx, index, to)
	if err != nil {
		l.mu.Lock()
		delete(l.waiting, index)
		l.mu.Unlock()
		return nil, fmt.Errorf("member %d: %w", index, err)
	}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.members[m] = true
	}
	l.mu.Unlock()
	if closed {
		m.Kill()
		<-m.exited
		return nil, fmt.Errorf("member %d: the leader was closed meanwhile", index)
	}
	return m, nil
}

func (l *Leader) start(ctx context.Context, index int, to <-chan joined) (*Member, error) {
	cmd := l.cfg.Command()
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	line, err := json.Marshal(invitation{l.listener.Addr().String(), l.token, index, l.cfg.Silence})
	if err == nil {
		_, err = stdin.Write(append(line, '\n'))
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) { // it says more by how it exits
		cmd.Process.Kill() //nolint:errcheck // it may be gone
		return nil, err
	}
	select {
	case j := <-to:
		m := &Member{Index: index, PID: j.p.PID, Data: j.p.Data, cmd: cmd, stdin: stdin, wire: j.w, exited: make(chan struct{}), messages: make(chan Message, 64)}
		go m.wire.ping()
		go m.receive()
		go func() {
			err := <-exited
			if err == nil {
				err = errors.New("exit status 0")
			}
			m.wire.end(fmt.Errorf("process %d ended: %w", m.PID, err))
			close(m.exited)
		}()
		return m, nil
	case err := <-exited:
		if err == nil {
			err = errors.New("exit status 0")
		}
		return nil, fmt.Errorf("the process ended before it presented itself: %w", err)
	case <-ctx.Done():
		cmd.Process.Kill() //nolint:errcheck // it may be gone
		return nil, ctx.Err()
	}
}

// lastWords is how long the end of a process may take to be known after that of its
// connection.
const lastWords = 50 * time.Millisecond

func (m *Member) receive() {
	defer close(m.messages)
	for {
		msg, err := m.wire.receive()
		if err != nil {
			// A process that has died says more by how.
			t := time.NewTimer(lastWords)
			defer t.Stop()
			select {
			case <-m.wire.done:
			case <-t.C:
				m.wire.end(err)
			}
			return
		}
		select {
		case m.messages <- msg:
		case <-m.wire.done:
			return
		}
	}
}

// Send sends a message.
func (m *Member) Send(msg Message) error {
	if err := m.wire.send(msg); err != nil {
		m.wire.end(err)
		return fmt.Errorf("member %d: %w", m.Index, err)
	}
	return nil
}

// Messages are what the member says, in order; closed when it is lost.
func (m *Member) Messages() <-chan Message { return m.messages }

// Lost is closed when the member is dead or cannot be heard. Whatever lives of
// its process is killed by Kill.
func (m *Member) Lost() <-chan struct{} { return m.wire.done }

// Exited is closed when the process is no more: from then on it writes nothing,
// neither to a file nor to anybody.
func (m *Member) Exited() <-chan struct{} { return m.exited }

// Err says why the member was lost; nil before.
func (m *Member) Err() error {
	if err := m.Cause(); err != nil {
		return fmt.Errorf("member %d: %w", m.Index, err)
	}
	return nil
}

// Cause is Err for those who name the member themselves.
func (m *Member) Cause() error {
	select {
	case <-m.wire.done:
		return m.wire.err
	default:
		return nil
	}
}

// Kill ends the process with SIGKILL.
func (m *Member) Kill() {
	m.cmd.Process.Kill() //nolint:errcheck // it may be gone
}

// Close ends all members in order: their input and connection end, and what has
// not exited within the time that silence is allowed is killed.
func (l *Leader) Close() {
	l.mu.Lock()
	l.closed = true
	members := l.members
	l.members = nil
	l.mu.Unlock()
	l.listener.Close()
	for m := range members {
		m.stdin.Close()
		m.wire.end(errors.New("closed by the leader"))
		t := time.AfterFunc(l.cfg.Silence, m.Kill)
		<-m.exited
		t.Stop()
	}
}
