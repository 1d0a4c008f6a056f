// Package control is how somebody outside of a run asks something of the job of
// the cell that runs.
//
// The harness is the only one that speaks with the worker, so whoever wants
// something of it asks the harness: over a socket of its own that belongs to the
// user who started the run, with the lines of the worker protocol
// (docs/worker-protocol.md), one command and one answer a connection. Where the
// socket is, a file in the cell's folder says for as long as the cell runs: a
// socket's own path may have some hundred characters, and a results folder lies
// where its user wants it.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"streamduel/worker"
)

// File is the file in a cell's folder that says where its socket is.
const File = "control.json"

// where is what the file holds.
type where struct {
	Socket string `json:"socket"`
	PID    int    `json:"pid"` // of the harness, for whoever looks
}

// Server takes commands for a cell.
type Server struct {
	file, dir string
	listener  net.Listener
	deaf      context.CancelFunc // ends connections that have not said what they want
	cancel    context.CancelFunc
	open      sync.WaitGroup
}

// grace is how long a command may go on when its cell has ended. One that asks
// something of a worker ends with that worker.
const grace = time.Second

// Serve takes commands for the cell in a folder until it is closed. obey does what
// one says and returns the path of what came of it; the context ends with the server.
func Serve(folder string, log *slog.Logger, obey func(context.Context, worker.Command) (path string, err error)) (*Server, error) {
	dir, err := os.MkdirTemp("", "streamduel-") // for our user only
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	reading, deaf := context.WithCancel(ctx)
	s := &Server{file: filepath.Join(folder, File), dir: dir, deaf: deaf, cancel: cancel}
	fail := func(err error) (*Server, error) {
		deaf()
		cancel()
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	w := where{Socket: filepath.Join(dir, "control"), PID: os.Getpid()}
	if s.listener, err = net.Listen("unix", w.Socket); err != nil {
		return fail(err)
	}
	b, err := json.Marshal(w)
	if err == nil {
		err = os.WriteFile(s.file, b, 0o600)
	}
	if err != nil {
		s.listener.Close()
		return fail(err)
	}
	s.open.Go(func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return // it was closed
			}
			s.open.Go(func() { serve(reading, ctx, c, log, obey) })
		}
	})
	return s, nil
}

// serve answers one command.
func serve(reading, ctx context.Context, c net.Conn, log *slog.Logger, obey func(context.Context, worker.Command) (string, error)) {
	defer c.Close()
	stop := context.AfterFunc(reading, func() { c.Close() }) // ends a reading without an end
	defer stop()
	line, err := bufio.NewReader(c).ReadBytes('\n')
	if err != nil {
		return // it has gone
	}
	var a worker.Answer
	var command worker.Command
	if err := json.Unmarshal(line, &command); err != nil {
		a.Error = "the command does not decode: " + err.Error()
	} else {
		a.ID = command.ID
		stop() // an answer is given also when the cell ends
		if a.Path, err = obey(ctx, command); err != nil {
			a.Error = err.Error()
		}
	}
	b, err := json.Marshal(struct {
		Event string `json:"event"`
		worker.Answer
	}{a.Kind(), a})
	if err == nil {
		_, err = c.Write(append(b, '\n'))
	}
	if err != nil {
		log.Warn("answering a command from outside", "error", err)
	}
}

// Close ends the server; a command that is under way is given up after the grace.
func (s *Server) Close() error {
	err := os.Remove(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // the run's folder was moved or removed
	}
	s.listener.Close()
	s.deaf()
	t := time.AfterFunc(grace, s.cancel)
	s.open.Wait()
	t.Stop()
	s.cancel()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// ErrNotRunning means that no cell runs in a folder.
var ErrNotRunning = errors.New("no cell runs here")

// Ask has the cell that runs in a folder do something, and returns the path of what
// came of it. Without one there the error is ErrNotRunning.
func Ask(ctx context.Context, folder string, command worker.Command) (path string, err error) {
	c, err := dial(ctx, folder)
	if err != nil {
		return "", err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	b, err := json.Marshal(command)
	if err == nil {
		_, err = c.Write(append(b, '\n'))
	}
	var a worker.Answer
	if err == nil {
		var line []byte
		if line, err = bufio.NewReader(c).ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, &a)
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("the run has ended without an answer: %w", err)
	case a.Error != "":
		return "", errors.New(a.Error)
	}
	return a.Path, nil
}

// Running reports whether a cell runs in a folder.
func Running(ctx context.Context, folder string) bool {
	c, err := dial(ctx, folder)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func dial(ctx context.Context, folder string) (net.Conn, error) {
	b, err := os.ReadFile(filepath.Join(folder, File))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotRunning
		}
		return nil, err
	}
	var w where
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(folder, File), err)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", w.Socket)
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%w any more (%w)", ErrNotRunning, err) // its harness was killed
	}
	return c, err
}
