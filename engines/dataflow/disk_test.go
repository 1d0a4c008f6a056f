package dataflow

import (
	"context"
	"fmt"
	"io"
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

// losing is a disk that takes so many checkpoints' metadata, then loses as many,
// and is well again.
type losing struct {
	takes, loses atomic.Int64
	errno        syscall.Errno
}

func (d *losing) write(f *os.File, b []byte) (int, error) {
	// The first write of a file that has been begun.
	if at, err := f.Seek(0, io.SeekCurrent); err == nil && at == 0 && strings.HasPrefix(filepath.Base(f.Name()), ".checkpoint-") &&
		d.takes.Add(-1) < 0 && d.loses.Add(-1) >= 0 {
		return 0, &os.PathError{Op: "write", Path: f.Name(), Err: d.errno}
	}
	return f.Write(b)
}

// TestUnwrittenMetadataIsAFailure like any other of a checkpoint: the job goes on as
// far as failures are tolerated, what was prepared is committed with the next one,
// and one more ends it by name.
func TestUnwrittenMetadataIsAFailure(t *testing.T) {
	for _, tolerable := range []int{2, 1} {
		for _, concurrent := range []int{1, 3} {
			for _, g := range guarantees() {
				t.Run(fmt.Sprintf("%d tolerated/%d at a time/%s", tolerable, concurrent, g), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, g, 2)
						w.cfg.Checkpoint.TolerableFailures, w.cfg.Checkpoint.Concurrent = tolerable, concurrent
						disk := &losing{errno: syscall.EROFS}
						disk.takes.Store(3)
						disk.loses.Store(2)
						w.job.Folder = w.folder.Through(disk.write)
						w.b.grow("in", 4)
						r := w.start(context.Background())
						fed := w.feeding("in", 200)
						if tolerable == 1 {
							err := r.Wait()
							fed()
							if want := "and 1 in a row are tolerated: writing its metadata: "; err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "make "+w.folder.Path()+" writable") {
								t.Errorf("ended with %v", err)
							}
							w.restartAndDrain()
						} else {
							fed()
							w.stop(r, engines.StopDrain)
						}
						expect(t, len(w.kinds("checkpointFailed")), 2)
						if got := w.tally("in"); g == connectors.ExactlyOnce || tolerable == 2 {
							expect(t, got, tally{})
						} else if g == connectors.AtLeastOnce {
							expect(t, got.losses, 0)
						}
						expect(t, w.b.open(), []string(nil))
					})
				})
			}
		}
	}
}
