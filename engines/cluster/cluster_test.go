package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const roleEnv = "STREAMDUEL_CLUSTER_ROLE"

// The test binary is its own members and leaders.
func TestMain(m *testing.M) {
	switch role := os.Getenv(roleEnv); role {
	case "":
		os.Exit(m.Run())
	case "echo":
		os.Exit(echo())
	case "exit":
		os.Exit(7)
	case "leader":
		os.Exit(leader())
	}
}

// echo answers each message with its index in front, until its leader is gone.
func echo() int {
	m, err := Join(context.Background(), os.Stdin, "data-address")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		msg, err := m.Receive()
		if err != nil {
			return 0
		}
		if msg.Kind == "die" {
			syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // it does
		}
		msg.Body = append(strconv.AppendInt(nil, int64(m.Index), 10), msg.Body...)
		if err := m.Send(msg); err != nil {
			return 1
		}
	}
}

// leader starts two members, prints their process ids and waits for ever.
func leader() int {
	l, err := Lead(config("echo"))
	for i := range 2 {
		if err == nil {
			var m *Member
			if m, err = l.Start(context.Background(), i); err == nil {
				fmt.Println(m.PID)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	select {}
}

func config(role string) Config {
	return Config{Silence: time.Minute, Command: func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleEnv+"="+role)
		return cmd
	}}
}

func lead(t *testing.T, role string) *Leader {
	t.Helper()
	l, err := Lead(config(role))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func start(t *testing.T, l *Leader, index int) *Member {
	t.Helper()
	m, err := l.Start(t.Context(), index)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMessagesInOrder(t *testing.T) {
	l := lead(t, "echo")
	a, b := start(t, l, 0), start(t, l, 1)
	if a.Data != "data-address" || a.PID == b.PID {
		t.Fatalf("%+v, %+v", a, b)
	}
	big := strings.Repeat("x", 1<<20)
	go func() {
		for i := range 100 {
			for _, m := range []*Member{a, b} {
				if err := m.Send(Message{"n", []byte(fmt.Sprint(" ", i, " ", big[:i*100]))}); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for i := range 100 {
		for _, m := range []*Member{a, b} {
			msg := <-m.Messages()
			if want := fmt.Sprint(m.Index, " ", i, " ", big[:i*100]); string(msg.Body) != want || msg.Kind != "n" {
				t.Fatalf("member %d, message %d: %.40q", m.Index, i, msg.Body)
			}
		}
	}
}

// TestAStrangerTakesNoMembersPlace: whoever connects without the token, or with
// nothing to say, while a member is being started.
func TestAStrangerTakesNoMembersPlace(t *testing.T) {
	var l *Leader
	cfg := config("echo")
	command := cfg.Command
	cfg.Command = func() *exec.Cmd {
		for _, hello := range []any{presentation{Token: "another", Index: 0}, "nothing"} {
			nc, err := net.Dial("tcp", l.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			m, err := Encode("join", hello)
			if err != nil {
				t.Fatal(err)
			}
			w := newWire(nc, time.Minute)
			if err := w.send(m); err != nil {
				t.Fatal(err)
			}
			if _, err := w.receive(); err == nil {
				t.Error("a stranger got an answer")
			}
		}
		return command()
	}
	l, err := Lead(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := l.Start(ctx, 0); err != nil {
		t.Fatal(err)
	}
}

// A killed member is lost, its neighbour is not, and its index can be taken
// again.
func TestLoss(t *testing.T) {
	l := lead(t, "echo")
	a, b := start(t, l, 0), start(t, l, 1)
	a.Kill()
	<-a.Lost()
	<-a.Exited()
	if err := a.Err(); err == nil {
		t.Fatal("no reason")
	}
	for range a.Messages() { // ends
		t.Fatal("a message of a dead member")
	}
	if err := b.Send(Message{Kind: "die"}); err != nil {
		t.Fatal(err)
	}
	<-b.Lost()
	if err := b.Send(Message{Kind: "n"}); err == nil {
		t.Error("a lost member took a message")
	}
	again := start(t, l, 0)
	if err := again.Send(Message{Kind: "n"}); err != nil {
		t.Fatal(err)
	}
	if msg := <-again.Messages(); string(msg.Body) != "0" {
		t.Fatalf("%q", msg.Body)
	}
}

func TestMemberThatNeverJoins(t *testing.T) {
	l := lead(t, "exit")
	_, err := l.Start(t.Context(), 3)
	if err == nil || !strings.Contains(err.Error(), "member 3") || !strings.Contains(err.Error(), "exit status 7") {
		t.Error(err)
	}
}

// Members die with their leader, however it dies.
func TestMembersDieWithTheirLeader(t *testing.T) {
	cmd := config("leader").Command()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for sc := bufio.NewScanner(out); len(pids) < 2 && sc.Scan(); {
		pid, err := strconv.Atoi(sc.Text())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	cmd.Process.Kill() //nolint:errcheck // it lives
	cmd.Wait()         //nolint:errcheck // it was killed
	for _, pid := range pids {
		deadline := time.Now().Add(20 * time.Second)
		for alive(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("member %d lives on without its leader", pid)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
}

// alive reports whether a process runs; one that nobody has waited for yet does
// not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// A stranger without the token joins nothing.
func TestStranger(t *testing.T) {
	l := lead(t, "echo")
	nc, err := net.Dial("tcp", l.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(nc, time.Minute)
	hello, err := Encode("join", presentation{Token: "guess", Index: 0})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.send(hello); err != nil {
		t.Fatal(err)
	}
	if _, err := w.receive(); err == nil {
		t.Error("a stranger was spoken to")
	}
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		w := newWire(here, 5*time.Second)
		_, err := w.receive()
		if err == nil || !strings.Contains(err.Error(), "nothing was heard for 5s") {
			t.Error(err)
		}
		a, b := newWire(here, 5*time.Second), newWire(there, 5*time.Second)
		go a.ping()
		go func() {
			time.Sleep(time.Hour) // virtual
			a.end(errors.New("enough"))
		}()
		start := time.Now()
		if _, err := b.receive(); err == nil || time.Since(start) < time.Hour {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x01n\x03\x00\x00\x00abc"))
	f.Add([]byte("\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x01n\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, err := readMessage(r)
		if err == nil && 1+len(m.Kind)+4+len(m.Body)+r.Len() != len(b) {
			t.Fatalf("%d bytes make %q with %d left", len(b), m, r.Len())
		}
	})
}
