package lsm

import (
	"os"
	"path/filepath"
	"testing"

	"streamduel/state"
)

// A start in memory finds the files of the one before, sweeps what nobody needs
// any more, and leaves nothing on disk.
func TestFilesInMemory(t *testing.T) {
	dir := t.TempDir()
	job, err := state.OpenFolder(dir, state.DurableProcess)
	check(t, err)
	backends := InMemory(1)
	start := func(attempt int) *Backend {
		b, err := backends(state.BackendEnv{Folder: job, Attempt: attempt})
		check(t, err)
		return b.(*Backend)
	}
	b := start(1)
	in := open(t, b, 0, 1, 128)
	in.counts.Put("a", 7)
	snapshot := in.set.Snapshot(nil, true)
	check(t, in.set.Err())

	later := start(2) // the first was killed: nothing of it is closed
	if left, err := sharedIn(job, later.cfg.FS).List(workPrefix); err != nil || len(left) != 1 || left[0] != workPrefix+"2" {
		t.Errorf("working folders %v, %v", left, err)
	}
	in = open(t, later, 0, 1, 128)
	check(t, in.set.Restore(snapshot))
	if n, ok := in.counts.Get("a"); !ok || n != 7 {
		t.Errorf("%d, %v", n, ok)
	}
	check(t, in.set.Close())
	check(t, later.Sweep(func() (map[string]bool, error) { return nil, nil }))
	if left, err := later.shared.List(""); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	later.Close()
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s is on disk", path)
		}
		return err
	})
	check(t, err)
}
