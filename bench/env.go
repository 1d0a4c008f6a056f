package bench

import (
	"context"
	"io"
	"os"
	"os/signal"
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
// exit code. The first interrupt asks for an orderly end; a second one ends
// the process at once (its children end with it, because their input closes).
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Run(ctx, OS(), args)
}
