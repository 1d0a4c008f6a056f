package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"streamduel/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serveHere(t *testing.T, obey func(context.Context, worker.Command) (string, error)) (folder string, s *Server) {
	t.Helper()
	folder = t.TempDir()
	s, err := Serve(folder, slog.New(slog.NewTextHandler(io.Discard, nil)), obey)
	if err != nil {
		t.Fatal(err)
	}
	return folder, s
}

// TestAskedAndAnswered: a command gets where it is meant to and its answer back,
// also when the folder has been moved.
func TestAskedAndAnswered(t *testing.T) {
	folder, s := serveHere(t, func(_ context.Context, c worker.Command) (string, error) {
		if c.Savepoint == nil {
			return "", errors.New("a savepoint is all that is to be had")
		}
		return c.Savepoint.Dir + "/savepoint-1", nil
	})
	defer s.Close()
	ask := func(c worker.Command) (string, error) { return Ask(context.Background(), folder, c) }
	if path, err := ask(worker.Command{Savepoint: &worker.Savepoint{Dir: "/there"}}); path != "/there/savepoint-1" || err != nil {
		t.Errorf("answered %q, %v", path, err)
	}
	moved := filepath.Join(t.TempDir(), "cell")
	if err := os.Rename(folder, moved); err != nil {
		t.Fatal(err)
	}
	folder = moved
	if !Running(context.Background(), folder) {
		t.Error("nothing runs in the moved folder")
	}
	if _, err := ask(worker.Command{Stop: &worker.Stop{}}); err == nil || err.Error() != "a savepoint is all that is to be had" {
		t.Errorf("answered %v", err)
	}
}

// TestNobodyThere: a folder without a cell, one whose cell has ended, and one whose
// harness was killed.
func TestNobodyThere(t *testing.T) {
	folder, s := serveHere(t, nil)
	left, err := os.ReadFile(filepath.Join(folder, File))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(context.Background(), folder, worker.Command{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a cell that has ended answers %v", err)
	}
	if err := os.WriteFile(filepath.Join(folder, File), left, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(context.Background(), folder, worker.Command{}); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "any more") {
		t.Errorf("a harness that was killed answers %v", err)
	}
	if Running(context.Background(), t.TempDir()) {
		t.Error("a cell runs in an empty folder")
	}
}

// TestEndedMeanwhile: a cell that ends gives the command up, and says so.
func TestEndedMeanwhile(t *testing.T) {
	asked := make(chan struct{})
	folder, s := serveHere(t, func(ctx context.Context, _ worker.Command) (string, error) {
		close(asked)
		<-ctx.Done()
		return "", errors.New("the cell has ended")
	})
	answer := make(chan error, 1)
	go func() {
		_, err := Ask(context.Background(), folder, worker.Command{Savepoint: &worker.Savepoint{Dir: "/there"}})
		answer <- err
	}()
	<-asked
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answer; err == nil || err.Error() != "the cell has ended" {
		t.Errorf("answered %v", err)
	}
	// Whoever asks may go away as well.
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Ask(gone, folder, worker.Command{}); err == nil {
		t.Error("somebody who has gone was answered")
	}
}
