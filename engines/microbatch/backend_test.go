package microbatch

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/state"
	"streamduel/state/lsm"
)

// onDisk keeps a bed's state in databases that hold next to nothing in memory.
func onDisk(b *bed) { b.backend = lsm.Within(1) }

// TestCrashesWithStateOnDisk: the version that a batch goes on from is there,
// whenever the process died.
func TestCrashesWithStateOnDisk(t *testing.T) {
	for _, point := range []string{"M1", "M2", "T1", "T2", "M3", "M4"} {
		t.Run(point, func(t *testing.T) {
			b := newBed(t, 3, connectors.ExactlyOnce)
			onDisk(b)
			crashAt(t, b, point, 4)
			b.expect(0, 0)
			if err := b.counts(); err != nil {
				t.Error(err)
			}
		})
	}
}

// shared returns the names of the shared files, and those on which the versions
// in the folder rely.
func (b *bed) shared() (have []string, needed map[string]bool) {
	b.t.Helper()
	job := b.job()
	back, err := b.backend(state.BackendEnv{Folder: job.Folder, Attempt: 1})
	if err != nil {
		b.t.Fatal(err)
	}
	defer back.Close()
	needed = map[string]bool{}
	for k := range b.parallel {
		f, err := job.Folder.Sub(fmt.Sprintf("state-0-%d", k))
		if err != nil {
			b.t.Fatal(err)
		}
		if err := (&partitionState{folder: f, backend: back}).kept(needed, math.MaxInt64); err != nil {
			b.t.Fatal(err)
		}
	}
	f, err := job.Folder.Sub("lsm")
	if err == nil {
		have, err = f.List("")
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return have, needed
}

// TestSharedFilesLiveAsLongAsAVersionNeedsThem, over restarts and a run of
// batches that are purged.
func TestSharedFilesLiveAsLongAsAVersionNeedsThem(t *testing.T) {
	b := newBed(t, 2, connectors.ExactlyOnce)
	onDisk(b)
	b.config.Rate.MaxRecordsPerBatch = 20
	b.config.RetainedBatches = 3
	for range 3 {
		b.topic.fill(500, 13)
		p := b.start()
		p.drained()
		p.stopNow()
	}
	have, needed := b.shared()
	for _, name := range have {
		delete(needed, name)
	}
	// Purging runs every ten batches, so some files are still to be deleted.
	if len(have) == 0 || len(have) > 60 || len(needed) > 0 {
		t.Errorf("%d shared files, missing: %v", len(have), needed)
	}
	b.expect(0, 0)
	if err := b.counts(); err != nil {
		t.Error(err)
	}
}

// TestStateThatCannotBeUsed: refused by its name, and at least once the version
// before is used where there is one.
func TestStateThatCannotBeUsed(t *testing.T) {
	newest := func(b *bed) string {
		names, err := filepath.Glob(filepath.Join(b.dir, "state-0-1", "*-15"))
		if err != nil || len(names) != 1 {
			b.t.Fatal(names, err)
		}
		return names[0]
	}
	rewrite := func(b *bed, change func([]byte) []byte) {
		path := newest(b)
		f, err := state.OpenFolder(filepath.Dir(path), state.DurableProcess)
		if err != nil {
			b.t.Fatal(err)
		}
		old, err := f.Read(filepath.Base(path))
		if err == nil {
			err = f.Write(filepath.Base(path), change(old))
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		damage func(*bed)
		want   string
		// copies are what at-least-once repeats because it goes on from an older
		// version; 0 where it refuses too.
		copies int
	}{
		{"torn", func(b *bed) { tear(b.t, newest(b)) }, "file is torn", 20},
		{"of a newer version", func(b *bed) {
			rewrite(b, func(s []byte) []byte { s[3]++; return s })
		}, "the snapshot has version 3, this program reads 2", 20},
		{"with a shared file that is torn", func(b *bed) {
			have, needed := b.shared()
			for _, name := range have {
				if needed[name] {
					path := filepath.Join(b.dir, "lsm", name)
					whole, err := os.ReadFile(path)
					if err == nil {
						err = os.Remove(path)
					}
					if err == nil {
						err = os.WriteFile(path, whole[:len(whole)-1], 0o600)
					}
					if err != nil {
						b.t.Fatal(err)
					}
				}
			}
		}, " were written", 300}, // those of all versions,
		{"of another job", func(b *bed) {
			rewrite(b, func([]byte) []byte {
				s := state.NewSetOf(state.SetConfig{Job: "another", Subtask: 1, Parallelism: 2, MaxParallelism: 128})
				return s.Snapshot(nil, true)
			})
		}, `the snapshot is of job "another", this is job "count"`, 0},
		{"with other key groups", func(b *bed) { b.groups = 64 }, "key groups", 0},
		{"of another backend", func(b *bed) {
			if b.backend == nil {
				onDisk(b)
			} else {
				b.backend = nil
			}
		}, "backend", 0},
	} {
		for _, disk := range []bool{false, true} {
			if !disk && strings.Contains(c.name, "shared") {
				continue
			}
			for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
				t.Run(c.name+"/"+map[bool]string{false: "memory", true: "lsm"}[disk]+"/"+string(g), func(t *testing.T) {
					b := newBed(t, 2, g)
					if disk {
						onDisk(b)
					}
					b.config.Rate.MaxRecordsPerBatch = 20
					b.config.StateSnapshotEvery = 1000
					b.topic.fill(300, 7)
					p := b.start()
					p.drained()
					p.stopNow()
					c.damage(b)
					p, err := b.tryStart("", 0)
					if c.copies > 0 && g == connectors.AtLeastOnce {
						if err != nil {
							t.Fatal(err)
						}
						p.drained()
						p.stopNow()
						b.expect(c.copies, 0)
						return
					}
					if err == nil || !strings.Contains(err.Error(), c.want) {
						t.Errorf("start: %v", err)
					}
					if c.copies > 0 && !errors.Is(err, errVersion) {
						t.Errorf("not refused by its number: %v", err)
					}
				})
			}
		}
	}
}
