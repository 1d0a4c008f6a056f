package lsm

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// workFS is the file system of the databases. A working folder does not outlive
// its process, so nothing in it is synced but the files that snapshots may share,
// and those only where they must survive the machine.
type workFS struct {
	vfs.FS
	durable bool
}

func (fs workFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, c)
	if err != nil || fs.durable && strings.HasSuffix(name, ".sst") {
		return f, err
	}
	return unsynced{f}, nil
}

func (fs workFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return unsynced{f}, nil
}

// Unwrap returns the file system below.
func (fs workFS) Unwrap() vfs.FS { return fs.FS }

type unsynced struct{ vfs.File }

func (unsynced) Sync() error                { return nil }
func (unsynced) SyncData() error            { return nil }
func (unsynced) SyncTo(int64) (bool, error) { return false, nil }
