package lease

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/state"
)

const roleEnv = "STREAMDUEL_LEASE_FOLDER"

// The test binary is its own contenders.
func TestMain(m *testing.M) {
	if dir := os.Getenv(roleEnv); dir != "" {
		os.Exit(contend(dir))
	}
	os.Exit(m.Run())
}

// TestContender walks one contender through what it may see.
func TestContender(t *testing.T) {
	type step struct {
		at   int // milliseconds
		see  Term
		err  error
		want string
		fail bool // the claim or renewal fails
	}
	unread := errors.New("cannot be read")
	for name, steps := range map[string][]step{
		"the first leads at once and renews": {
			{at: 0, want: "claim 1"},
			{at: 1000, see: Term{1, "a", 0}, want: "renew 1/1"},
			{at: 2000, see: Term{1, "a", 1}, want: "renew 1/2"},
		},
		"a faster one leads": {
			{at: 0, want: "claim 1", fail: true},
			{at: 0, see: Term{1, "b", 0}, want: "wait 1s"},
			{at: 3999, see: Term{1, "b", 0}, want: "wait 1ms"},
		},
		"a beat is a life sign, its lack is none": {
			{at: 0, see: Term{3, "b", 7}, want: "wait 1s"},
			{at: 3000, see: Term{3, "b", 8}, want: "wait 1s"},
			{at: 6999, see: Term{3, "b", 8}, want: "wait 1ms"},
			{at: 7000, see: Term{3, "b", 8}, want: "claim 4"},
			{at: 8000, see: Term{4, "a", 0}, want: "renew 4/1"},
		},
		"another standby was faster": {
			{at: 0, see: Term{3, "b", 7}, want: "wait 1s"},
			{at: 4000, see: Term{3, "b", 7}, want: "claim 4", fail: true},
			{at: 4000, see: Term{4, "c", 0}, want: "wait 1s"},
			{at: 8000, see: Term{4, "c", 0}, want: "claim 5"},
		},
		"what cannot be read may have been renewed": {
			{at: 0, see: Term{3, "b", 7}, want: "wait 1s"},
			{at: 3000, err: unread, want: "wait 1s"},
			{at: 4000, see: Term{3, "b", 7}, want: "wait 1s"},
			{at: 7000, see: Term{3, "b", 7}, want: "claim 4"},
		},
		"one that was stopped finds its successor": {
			{at: 0, want: "claim 1"},
			{at: 9000, see: Term{2, "b", 3}, want: "a led in term 1 and was superseded by b, which leads in term 2"},
		},
		"one that was stopped gives up though nobody has followed yet": {
			{at: 0, want: "claim 1"},
			{at: 4000, see: Term{1, "a", 0}, want: "a led in term 1 and could not say so for 4s: if another leads now, it was superseded"},
		},
		"renewals that fail": {
			{at: 0, want: "claim 1"},
			{at: 1000, see: Term{1, "a", 0}, want: "renew 1/1", fail: true},
			{at: 2000, err: unread, want: "wait 1s"},
			{at: 3000, see: Term{1, "a", 0}, want: "renew 1/1"},
			{at: 6000, err: unread, want: "wait 1s"},
			{at: 7000, err: unread, want: "a led in term 1 and could not say so for 4s: if another leads now, it was superseded"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &contender{self: "a", length: 4 * time.Second}
			for i, s := range steps {
				a := c.look(time.Duration(s.at)*time.Millisecond, s.see, s.err)
				got := "wait " + a.wait.String()
				switch {
				case a.lost != nil:
					got = a.lost.Error()
					if !errors.Is(a.lost, state.ErrSuperseded) {
						t.Errorf("step %d: %v is not that it was superseded", i, a.lost)
					}
				case a.claim != nil:
					got = fmt.Sprintf("claim %d", a.claim.Epoch)
					c.claimed(*a.claim, !s.fail)
				case a.renew != nil:
					got = fmt.Sprintf("renew %d/%d", a.renew.Epoch, a.renew.Beat)
					if !s.fail {
						c.wrote()
					}
				}
				if got != s.want {
					t.Fatalf("step %d: %s, want %s", i, got, s.want)
				}
			}
		})
	}
}

// TestOneLeadsAtATime has five contenders that give up the lease again and again.
func TestOneLeadsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		led := make(chan int64)
		for i := range 5 {
			go func() {
				for {
					h, err := Campaign(ctx, job, fmt.Sprint("contender ", i), time.Second, slog.New(slog.DiscardHandler))
					if err != nil {
						led <- 0
						return
					}
					led <- h.Epoch
					time.Sleep(10 * time.Second)
					if err := h.Err(); err != nil {
						t.Error(err)
					}
					h.Close()
				}
			}()
		}
		begun := time.Now()
		for n := int64(1); n <= 20; n++ {
			if e := <-led; e != n {
				t.Fatalf("term %d began, want %d", e, n)
			}
			if least := time.Duration(n-1) * 10 * time.Second; time.Since(begun) < least {
				t.Fatalf("term %d began after %s, while another led", n, time.Since(begun))
			}
		}
		cancel()
		for ended := 0; ended < 5; {
			if <-led == 0 {
				ended++
			}
		}
	})
}

// contend is a contender's process: it prints when it leads and when it must not
// any more.
func contend(dir string) int {
	job, err := state.OpenFolder(dir, state.DurableProcess)
	if err == nil {
		var h *Hold
		if h, err = Campaign(context.Background(), job, fmt.Sprint("process ", os.Getpid()), time.Second, slog.New(slog.NewTextHandler(os.Stderr, nil))); err == nil {
			fmt.Println("leads", h.Epoch)
			go func() {
				io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is what counts
				os.Exit(0)
			}()
			<-h.Lost()
			fmt.Println(h.Err())
		}
	}
	if err != nil {
		fmt.Println(err)
	}
	return 1
}

type process struct {
	*exec.Cmd
	in    io.Closer
	lines chan string
}

func start(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0]), lines: make(chan string, 16)}
	p.Env = append(os.Environ(), roleEnv+"="+dir)
	p.Stderr = os.Stderr
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	out, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		p.in.Close()
		p.Process.Kill() //nolint:errcheck // it may be gone
		p.Wait()         //nolint:errcheck // it was killed
	})
	return p
}

// TestProcesses kills one that leads, and stops the next for a while.
func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	var all []*process
	for range 3 {
		all = append(all, start(t, dir))
	}
	leader := func() *process {
		t.Helper()
		var from *process
		select {
		case l := <-all[0].lines:
			from = all[0]
			t.Log(l)
		case l := <-all[1].lines:
			from = all[1]
			t.Log(l)
		case l := <-all[2].lines:
			from = all[2]
			t.Log(l)
		case <-time.After(time.Minute):
			t.Fatal("nobody leads")
		}
		return from
	}
	rest := func(p *process) {
		for i := range all {
			if all[i] == p {
				all[i] = &process{lines: make(chan string)}
			}
		}
	}
	first := leader()
	rest(first)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	second := leader()
	rest(second)
	if err := second.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	third := leader()
	if err := second.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("superseded by process %d, which leads in term 3", third.Process.Pid)
	if l := <-second.lines; !strings.Contains(l, want) {
		t.Errorf("the one that was stopped says %q, want %q", l, want)
	}
}
