package bench

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata/script are the command's contract: flags, streams,
// exit codes, and the one line that each mistake gets. They run the command in
// a process of its own, with a runner that measures nothing.
func TestContract(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitsWith, "start": start, "eventually": eventually, "signal": signalIt, "ended": ended,
		},
		RequireUniqueNames: true,
	})
}

// exitsWith runs `code N command…` and checks the exit code.
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args…]")
	}
	if got := status(ts.Exec(args[1], args[2:]...)); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func status(err error) string {
	if err == nil {
		return "0"
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return s.Signal().String()
	}
	return strconv.Itoa(exit.ExitCode())
}

// background is the process of the last `start` of a script.
type background struct {
	cmd         *exec.Cmd
	out, errOut bytes.Buffer
}

var processes = map[string]*background{} // by the script's work folder; scripts do not share one

// start runs a command that the script goes on beside.
func start(ts *testscript.TestScript, _ bool, args []string) {
	b := &background{}
	path := args[0]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, path)); err == nil {
			path = filepath.Join(dir, path)
			break
		}
	}
	b.cmd = exec.Command(path, args[1:]...)
	b.cmd.Dir = ts.MkAbs(".")
	b.cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "FAKE="+ts.Getenv("FAKE"))
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.errOut
	ts.Check(b.cmd.Start())
	ts.Defer(func() { _ = b.cmd.Process.Kill() })
	processes[ts.Getenv("WORK")] = b
}

// eventually waits for a file that the process writes.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	ts.Fatalf("%s did not appear", args[0])
}

func signalIt(ts *testscript.TestScript, _ bool, args []string) {
	s := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM}[args[0]]
	ts.Check(processes[ts.Getenv("WORK")].cmd.Process.Signal(s))
}

// wait gives the process half a minute. insisting sends an interrupt again and
// again, as a person would.
func (b *background) wait(ts *testscript.TestScript, insisting bool) error {
	done := make(chan error, 1)
	go func() { done <- b.cmd.Wait() }()
	deadline := time.After(30 * time.Second)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-again.C:
			if insisting {
				_ = b.cmd.Process.Signal(os.Interrupt) // it may have ended just now
			}
		case <-deadline:
			_ = b.cmd.Process.Kill()
			ts.Fatalf("the process did not end")
		}
	}
}

// ended waits for the process and checks its exit code (or the signal that
// ended it); its output is then the script's stdout and stderr. A partial run
// folder is renamed to run.partial, so that the script can name it.
func ended(ts *testscript.TestScript, _ bool, args []string) {
	b := processes[ts.Getenv("WORK")]
	got := status(b.wait(ts, len(args) > 1 && args[1] == "insisting"))
	_, err := ts.Stdout().Write(b.out.Bytes())
	ts.Check(err)
	_, err = ts.Stderr().Write(b.errOut.Bytes())
	ts.Check(err)
	if got != args[0] {
		ts.Fatalf("ended with %s, want %s", got, args[0])
	}
	found, err := filepath.Glob(ts.MkAbs("results/steady/2*.partial"))
	ts.Check(err)
	for _, dir := range found {
		if err := os.RemoveAll(ts.MkAbs("results/steady/run.partial")); err != nil {
			ts.Fatalf("%v", err)
		}
		ts.Check(os.Rename(dir, ts.MkAbs("results/steady/run.partial")))
	}
}
