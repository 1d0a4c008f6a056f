package lsm

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"streamduel/state"
)

// folder is what is asked of a folder of the job's. On disk it is state's own,
// which knows how to make files durable.
type folder interface {
	List(prefix string) ([]string, error)
	Link(files map[string]string) error
	Remove(name string) error
}

func sharedIn(f *state.Folder, files vfs.FS) folder {
	if files == nil {
		return f
	}
	return memFolder{files, f.Path()}
}

// memFolder is a folder of a file system in memory.
type memFolder struct {
	fs   vfs.FS
	path string
}

func (f memFolder) List(prefix string) ([]string, error) {
	names, err := f.fs.List(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nobody has put anything there yet
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) }), err
}

func (f memFolder) Link(files map[string]string) error {
	if err := f.fs.MkdirAll(f.path, 0o755); err != nil {
		return err
	}
	return link(f.fs, f.path, files)
}

func (f memFolder) Remove(name string) error { return f.fs.RemoveAll(filepath.Join(f.path, name)) }

// link gives files names in a folder that nobody relies on; where there can be no
// hard link, it copies.
func link(files vfs.FS, dir string, names map[string]string) error {
	for name, path := range names {
		if err := vfs.LinkOrCopy(files, path, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// readFile and writeFile are os.ReadFile and os.WriteFile in a file system.
func readFile(files vfs.FS, path string) (b []byte, err error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(f)
}

func writeFile(files vfs.FS, path string, b []byte) (err error) {
	f, err := files.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(slices.Clone(b)) // a vfs.File may spoil what it is given
	return err
}

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
