package bench

import (
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/term"
)

// Env is what the command may touch of the world around it.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Lookup reads an environment variable (os.LookupEnv).
	Lookup func(name string) (string, bool)
	// Now is the wall clock.
	Now func() time.Time
	// Width is the width of the terminal on Stderr in columns, 0 if Stderr is
	// no terminal.
	Width func() int
	// StdoutTerminal says that results go to a terminal, so colour is wanted.
	StdoutTerminal bool
}

// OS is the environment of the process.
func OS() Env {
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Lookup: os.LookupEnv,
		Now:    time.Now,
		Width: func() int {
			if width, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
				return width
			}
			return 0
		},
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
	}
}

// Main runs the command with the process's own environment and returns its
// exit code. The first interrupt (or SIGTERM) asks for an orderly end; another
// one, if it does not follow at once, ends the process where it stands. Its
// children then end too, because their input closes.
func Main(args []string) int { return main(OS(), wired(), args) }

// RunChild ends the process with [Main]'s exit code if its arguments name one of
// the processes that the harness starts by re-executing the running binary, and
// returns otherwise. A test that calls [Run] needs it in its TestMain, because
// then the test is that binary:
//
//	func TestMain(m *testing.M) {
//		bench.RunChild(os.Args[1:])
//		os.Exit(m.Run())
//	}
func RunChild(args []string) {
	if len(args) > 0 && slices.Contains(children, args[0]) {
		os.Exit(Main(args))
	}
}

// doubled is how close a second interrupt is still taken for the first: a
// terminal signals the whole process group, and wrappers pass the signal on.
const doubled = 500 * time.Millisecond

func main(env Env, p parts, args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		<-signals
		first := time.Now()
		cancel()
		for range signals {
			if time.Since(first) > doubled {
				os.Exit(ExitInterrupted)
			}
		}
	}()
	return run(ctx, env, p, args)
}
