package dataflow

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"streamduel/connectors"
	"streamduel/engines"
)

// failing is a disk that takes some files of a name whole and then, but for a few
// bytes, none of any name.
type failing struct {
	name  string
	whole atomic.Int64
	errno syscall.Errno
	on    atomic.Bool
}

func (d *failing) write(f *os.File, b []byte) (int, error) {
	if strings.HasPrefix(filepath.Base(f.Name()), "."+d.name) && d.whole.Add(-1) < 0 {
		d.on.Store(true)
	}
	if !d.on.Load() {
		return f.Write(b)
	}
	n, err := f.Write(b[:min(len(b), 20)])
	if err == nil {
		err = &os.PathError{Op: "write", Path: f.Name(), Err: d.errno}
	}
	return n, err
}

// repaired makes it whole again.
func (d *failing) repaired() {
	d.whole.Store(1 << 40)
	d.on.Store(false)
}

// TestTheDiskTakesNoMore: a folder that is full, or read-only all of a sudden, fails
// the job, which says where and what to do; then it goes on from the checkpoint
// before, exactly. What was written in part is not used.
func TestTheDiskTakesNoMore(t *testing.T) {
	for errno, says := range map[syscall.Errno]string{
		syscall.ENOSPC: "no space left on device: make room in ",
		syscall.EROFS:  "read-only file system: make ",
	} {
		for _, name := range []string{"checkpoint-", "state-"} {
			for _, g := range []connectors.Guarantee{connectors.AtLeastOnce, connectors.ExactlyOnce} {
				t.Run(errno.Error()+"/"+name+"/"+string(g), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, g, 2)
						disk := &failing{name: name, errno: errno}
						disk.whole.Store(5)
						w.job.Folder = w.folder.Through(disk.write)
						w.b.grow("in", 4)
						r := w.start(context.Background())
						fed := w.feeding("in", 100)
						err := r.Wait()
						fed()
						if err == nil || !strings.Contains(err.Error(), says+w.folder.Path()) {
							t.Errorf("ended with %v", err)
						}
						expect(t, len(w.kinds("failed")), 1)
						disk.repaired()
						w.restartAndDrain()
						restored := w.kinds("restored")
						if len(restored) != 1 || *restored[0].(engines.Restored).Checkpoint < 1 {
							t.Errorf("went back to %v", restored)
						}
						got := w.tally("in")
						expect(t, got.losses, 0)
						if g == connectors.ExactlyOnce {
							expect(t, got, tally{})
						}
					})
				})
			}
		}
	}
}
