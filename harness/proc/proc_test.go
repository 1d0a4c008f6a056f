package proc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"streamduel/clock"
)

// The test binary is its own child: the role says which.
func TestMain(m *testing.M) {
	switch os.Getenv("PROC_ROLE") {
	case "":
		os.Exit(m.Run())
	case "echo":
		echo()
	case "deaf": // does not read its input, so only the kernel can end it
		signal.Ignore(syscall.SIGTERM)
		fmt.Println(`{"event":"ready"}`)
		<-time.After(time.Hour)
	case "parent":
		parent()
	case "panic":
		fmt.Fprintln(os.Stderr, "level=INFO msg=before")
		panic("the tank is empty")
	case "burn":
		burn()
	}
}

type command struct {
	ID   int64  `json:"id"`
	Text string `json:"text"`
}

func echo() {
	s := NewServer(os.Stdin, os.Stdout)
	var job struct {
		Greeting string `json:"greeting"`
	}
	if err := s.Job(&job); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx := s.Commands(context.Background(), func(line []byte) {
		var c command
		if err := Strict(line, &c); err != nil {
			s.Emit("error", map[string]string{"error": err.Error()})
			return
		}
		if c.Text == "fail" {
			s.Answer(c.ID, fmt.Errorf("no such thing"))
			return
		}
		s.Emit("said", map[string]any{"id": c.ID, "text": job.Greeting + c.Text})
	})
	s.Emit("ready", nil)
	<-ctx.Done()
}

func parent() {
	ready := make(chan struct{})
	c, err := Start(Spec{Name: "grandchild", Env: []string{"PROC_ROLE=deaf"}, OnLine: func(Line) { close(ready) }})
	if err != nil {
		panic(err)
	}
	<-ready
	fmt.Printf("{\"event\":\"started\",\"pid\":%d}\n", c.PID())
	<-time.After(time.Hour)
}

func burn() {
	for start := SelfUsage().CPU; SelfUsage().CPU-start < 200*time.Millisecond; {
	}
	fmt.Println(`{"event":"burnt"}`)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func start(t *testing.T, role string, onLine func(Line)) *Child {
	t.Helper()
	c, err := Start(Spec{Name: role, Env: []string{"PROC_ROLE=" + role}, OnLine: onLine})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Kill(); <-c.Done() })
	return c
}

func within(t *testing.T, what string, c <-chan Line) Line {
	t.Helper()
	select {
	case l := <-c:
		return l
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s", what)
		return Line{}
	}
}

func TestCommandsAndAnswers(t *testing.T) {
	lines := make(chan Line, 100)
	before := clock.Mono()
	c := start(t, "echo", func(l Line) { lines <- l })
	if err := c.Send(map[string]string{"greeting": "hello "}); err != nil {
		t.Fatal(err)
	}
	l := within(t, "ready line", lines)
	if l.Event != "ready" || l.At < before || l.At > clock.Mono() {
		t.Errorf("first line is %+v", l)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	said, err := c.Call(ctx, func(id int64) any { return command{id, "you"} })
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Text string }
	if err := said.Decode(&got); err != nil || got.Text != "hello you" {
		t.Errorf("answer %s, %v", said.Raw, err)
	}
	if _, err := c.Call(ctx, func(id int64) any { return command{id, "fail"} }); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("a refused command gives %v", err)
	}
	if err := c.Stop(10 * time.Second); err != nil {
		t.Errorf("end of input: %v", err)
	}
	if c.ExitCode() != 0 || c.Ended() == 0 {
		t.Errorf("exit code %d at %d", c.ExitCode(), c.Ended())
	}
	if _, err := c.Call(ctx, func(id int64) any { return command{id, "you"} }); err == nil {
		t.Error("a command to an ended process succeeded")
	}
}

// ended reports whether a process is gone, or a zombie that nobody waits for.
func ended(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, state, _ := bytes.Cut(b, []byte(") "))
	return len(state) > 0 && state[0] == 'Z'
}

func TestChildEndsWithItsParent(t *testing.T) {
	lines := make(chan Line, 1)
	p := start(t, "parent", func(l Line) { lines <- l })
	var got struct{ PID int }
	if err := within(t, "grandchild", lines).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if ended(got.PID) {
		t.Fatal("the grandchild ended before its parent")
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	for !ended(got.PID) {
		if time.Since(killed) > 30*time.Second {
			_ = syscall.Kill(got.PID, syscall.SIGKILL)
			t.Fatal("the grandchild lives half a minute after its parent was killed")
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("gone after %v", time.Since(killed))
	<-p.Done()
	if p.Err() == nil || p.ExitCode() != -1 {
		t.Errorf("a killed process ended with %v, code %d", p.Err(), p.ExitCode())
	}
}

func TestStopKillsTheDeaf(t *testing.T) {
	lines := make(chan Line, 1)
	c := start(t, "deaf", func(l Line) { lines <- l })
	within(t, "ready line", lines)
	if err := c.Stop(50 * time.Millisecond); err == nil {
		t.Error("a process that hears nothing ended well")
	}
}

func TestPanicIsTheComplaint(t *testing.T) {
	c := start(t, "panic", nil)
	<-c.Done()
	if c.ExitCode() != 2 || c.Complaint() != "panic: the tank is empty" {
		t.Errorf("exit code %d, complaint %q", c.ExitCode(), c.Complaint())
	}
	if _, err := c.Call(context.Background(), func(id int64) any { return command{id, ""} }); err == nil || !strings.Contains(err.Error(), "tank") {
		t.Errorf("a call to it gives %v", err)
	}
}

func TestMissingProgram(t *testing.T) {
	if _, err := Start(Spec{Name: "engine", Path: "./no-such-engine"}); err == nil || !strings.Contains(err.Error(), "no-such-engine") {
		t.Errorf("start of a missing program: %v", err)
	}
}

func BenchmarkUsage(b *testing.B) {
	ready := make(chan struct{})
	c, err := Start(Spec{Name: "deaf", Env: []string{"PROC_ROLE=deaf"}, OnLine: func(Line) { close(ready) }})
	if err != nil {
		b.Fatal(err)
	}
	<-ready
	defer func() { c.Kill(); <-c.Done() }()
	for b.Loop() {
		c.Usage()
	}
}
