package dataflow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/state"
	"streamduel/state/lsm"
)

// onDisk keeps a world's state in databases that hold next to nothing in memory.
func onDisk(w *world) { w.job.Backend = lsm.Within(1) }

// TestCrashesWithStateOnDisk: what a checkpoint shares with others is there when
// it is gone back to, whenever the process died.
func TestCrashesWithStateOnDisk(t *testing.T) {
	for _, point := range []string{"D1", "D3", "D4", "D5", "D6", "D8"} {
		for _, hit := range []int{1, 5} {
			t.Run(fmt.Sprint(point, "/", hit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, _ := crashing(t, connectors.ExactlyOnce, 2, point, hit, onDisk)
					expect(t, w.tally("in"), tally{})
					expect(t, w.b.open(), []string(nil))
				})
			})
		}
	}
}

func TestStateOnDiskGoesOnAtAnotherParallelism(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.ExactlyOnce, 2)
		onDisk(w)
		w.job.MaxParallelism = 128
		w.b.grow("in", 4)
		for _, p := range []int{2, 4, 1, 3} {
			w.job.Parallelism = p
			r := w.start(context.Background())
			w.feed("in", 30)
			w.stop(r, engines.StopCheckpoint)
		}
		w.restartAndDrain()
		expect(t, w.tally("in"), tally{})
	})
}

// onDiskUntil runs a job for a while with two checkpoints retained.
func onDiskUntil(t *testing.T, g connectors.Guarantee) *world {
	w := newWorld(t, g, 2)
	onDisk(w)
	w.cfg.Checkpoint.Retained = 2
	w.b.grow("in", 4)
	r := w.start(context.Background())
	w.feed("in", 100)
	w.stop(r, engines.StopCheckpoint)
	return w
}

// shared returns the shared files in the folder, and those of the checkpoints.
func (w *world) shared() (have []string, needed map[string]bool) {
	w.t.Helper()
	f, err := w.folder.Sub("lsm")
	if err == nil {
		have, err = f.List("")
	}
	if err != nil {
		w.t.Fatal(err)
	}
	needed = map[string]bool{}
	names, _ := w.folder.List("state-")
	for _, n := range names {
		file, err := w.folder.Open(n)
		if err != nil {
			w.t.Fatal(err)
		}
		defer file.Close()
		b, err := lsm.Within(1)(state.BackendEnv{Folder: w.folder, Attempt: 1})
		if err != nil {
			w.t.Fatal(err)
		}
		defer b.Close()
		files, err := state.SharedFiles(b, file)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range files {
			needed[f.Name] = true
		}
	}
	return have, needed
}

// TestSharedFilesLiveAsLongAsACheckpointNeedsThem: none is missing, none is kept
// for nothing, and a checkpoint writes what is new.
func TestSharedFilesLiveAsLongAsACheckpointNeedsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onDiskUntil(t, connectors.AtLeastOnce)
		have, needed := w.shared()
		for _, name := range have {
			if !needed[name] {
				t.Errorf("%s is kept, and no checkpoint needs it", name)
			}
			delete(needed, name)
		}
		if len(have) == 0 || len(needed) > 0 {
			t.Errorf("%d shared files, missing: %v", len(have), needed)
		}
		less := 0
		for _, e := range w.kinds("checkpointCompleted") {
			c := e.(engines.CheckpointCompleted)
			if c.FullBytes > 0 && (c.StateKeys == 0 || c.StateMemoryBytes == 0) {
				t.Errorf("state takes %+v", c.StateUsage)
			}
			if c.Bytes < c.FullBytes {
				less++
			}
		}
		if less == 0 {
			t.Error("every checkpoint was written whole")
		}
	})
}

// retained returns the two checkpoints and the path of a file that only the
// newer one needs, "" when there is none.
func (w *world) retained() (ids []int64, only string) {
	w.t.Helper()
	ids, err := w.folder.Numbered("checkpoint-")
	if err != nil || len(ids) != 2 {
		w.t.Fatalf("retained %v, %v", ids, err)
	}
	older, err := w.folder.Read(fmt.Sprint("checkpoint-", ids[0]))
	if err != nil {
		w.t.Fatal(err)
	}
	have, needed := w.shared()
	for _, name := range have {
		if needed[name] && !strings.Contains(string(older), name) {
			only = filepath.Join(w.folder.Path(), "lsm", name)
		}
	}
	return ids, only
}

// TestATornSharedFileTearsItsCheckpoint, and the one before is used.
func TestATornSharedFileTearsItsCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onDiskUntil(t, connectors.AtLeastOnce)
		ids, only := w.retained()
		for i := 0; only == ""; i++ { // nothing came between the last two
			if i == 20 {
				t.Fatal("no checkpoint has a file of its own")
			}
			r := w.start(context.Background())
			w.feed("in", 15)
			w.stop(r, engines.StopCheckpoint)
			ids, only = w.retained()
		}
		b, err := os.ReadFile(only)
		if err == nil {
			err = os.Remove(only)
		}
		if err == nil {
			err = os.WriteFile(only, b[:len(b)/2], 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		before := len(w.kinds("restored"))
		w.restartAndDrain()
		expect(t, *w.kinds("restored")[before].(engines.Restored).Checkpoint, ids[0])
		expect(t, w.tally("in").losses, 0)
	})
}

func TestACheckpointOfAnotherBackendIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onDiskUntil(t, connectors.AtLeastOnce)
		w.job.Backend = nil
		_, err := New().Start(context.Background(), w.job, w.cfg, w.rt)
		if !errors.Is(err, state.ErrBackend) || !strings.Contains(err.Error(), "of the lsm/1 backend, the job uses memory") {
			t.Errorf("from lsm to memory: %v", err)
		}
		other := newWorld(t, connectors.AtLeastOnce, 1)
		other.b.grow("in", 1)
		r := other.start(context.Background())
		other.feed("in", 5)
		other.stop(r, engines.StopCheckpoint)
		onDisk(other)
		_, err = New().Start(context.Background(), other.job, other.cfg, other.rt)
		if !errors.Is(err, state.ErrBackend) || !strings.Contains(err.Error(), "of the memory backend, the job uses lsm/1") {
			t.Errorf("from memory to lsm: %v", err)
		}
	})
}
