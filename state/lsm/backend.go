package lsm

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"streamduel/state"
)

// Config says where a job's databases are and what memory they take.
type Config struct {
	// Dir is the working folder; what is in it does not outlive the process.
	Dir string
	// Shared is where snapshots keep their files. On Dir's file system they are
	// hard links.
	Shared *state.Folder
	// FS is the file system that both lie in; nil is the operating system's. With
	// one in memory, Shared is only a name in it.
	FS vfs.FS
	// Attempt is the number of the job's start. Files of later ones are not
	// swept.
	Attempt int
	// BlockCacheBytes is shared by all subtasks, and memtables take their memory
	// out of it: what they leave must hold the filters; 0 means 64 MiB.
	BlockCacheBytes int64
	// MemTableBytes is for each subtask: what it writes before a file is made of
	// it. It has up to three of them, and as many again where operators go
	// through keys in their order. 0 means 16 MiB.
	MemTableBytes int64
	// TableCacheBytes is what each subtask keeps decoded, over its tables; 0
	// means 16 MiB.
	TableCacheBytes int64
}

// DefaultMemory is what a job's databases and caches take together unless
// another number is asked for, in bytes.
const DefaultMemory = 256 << 20

// Within makes backends that stay within so many bytes of memory over all
// subtasks of a process; 0 means DefaultMemory. Files lie in two folders of the
// job's: "lsm" has those that snapshots share, "lsm-work-N" is attempt N's own.
func Within(memory int64) state.Backends { return within(memory, nil) }

// InMemory makes backends like those of Within whose files are in memory, for
// tests: a start finds what an earlier one of the same folder left, as long as it
// was made by the same call of InMemory.
func InMemory(memory int64) state.Backends { return within(memory, vfs.NewMem()) }

func within(memory int64, files vfs.FS) state.Backends {
	if memory <= 0 {
		memory = DefaultMemory
	}
	return func(env state.BackendEnv) (state.Backend, error) {
		shared, err := env.Folder.Sub("lsm")
		if err != nil {
			return nil, err
		}
		// Whoever was before is dead, or will end because it is superseded.
		job := sharedIn(env.Folder, files)
		old, err := job.List(workPrefix)
		if err != nil {
			return nil, err
		}
		for _, name := range old {
			if n, err := strconv.Atoi(strings.TrimPrefix(name, workPrefix)); err == nil && n < env.Attempt {
				if err := job.Remove(name); err != nil {
					return nil, err
				}
			}
		}
		return New(sized(Config{
			Dir: filepath.Join(env.Folder.Path(), workPrefix+strconv.Itoa(env.Attempt)), Shared: shared, FS: files, Attempt: env.Attempt,
		}, memory, env.Subtasks))
	}
}

// sized spreads memory over the parts. A block holds an entry in a third of the
// memory that it takes decoded, so most goes to blocks, but for what the C
// allocator adds to them. Go's heap, with buffers and decoded entries, may grow
// to twice what it holds before it is collected.
func sized(c Config, memory int64, subtasks int) Config {
	n := int64(max(subtasks, 1))
	c.BlockCacheBytes = max(memory*7/16, minBlocks)
	c.MemTableBytes = max(memory/32/n, minMemTable)
	c.TableCacheBytes = max(memory/10/n, 1)
	return c
}

const (
	workPrefix  = "lsm-work-"
	minMemTable = 256 << 10
	minBlocks   = 1 << 20
)

// Backend keeps keyed tables in databases on disk.
type Backend struct {
	cfg    Config
	fs     vfs.FS
	shared folder
	cache  *pebble.Cache
	mu     sync.Mutex
	open   map[*store]bool
	// bufferBytes is what a buffer takes before a file is made of it.
	bufferBytes int
}

var _ state.Backend = (*Backend)(nil)

// New returns a backend. It must be closed after the sets that use it.
func New(c Config) (*Backend, error) {
	for name, v := range map[string]*int64{"block cache": &c.BlockCacheBytes, "memtable": &c.MemTableBytes, "table cache": &c.TableCacheBytes} {
		if *v < 0 {
			return nil, fmt.Errorf("lsm: %s of %d bytes", name, *v)
		}
	}
	set := func(v *int64, standard int64) {
		if *v == 0 {
			*v = standard
		}
	}
	set(&c.BlockCacheBytes, 64<<20)
	set(&c.MemTableBytes, 16<<20)
	set(&c.TableCacheBytes, 16<<20)
	if c.Shared == nil {
		return nil, fmt.Errorf("lsm: no folder for snapshots' files")
	}
	b := &Backend{cfg: c, shared: sharedIn(c.Shared, c.FS), open: map[*store]bool{}, bufferBytes: int(min(c.MemTableBytes, maxBuffer))}
	if b.fs = c.FS; b.fs == nil {
		b.fs = vfs.Default
	}
	if err := b.fs.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	b.cache = pebble.NewCache(c.BlockCacheBytes)
	return b, nil
}

// Name names the backend and its format.
func (b *Backend) Name() string { return "lsm/1" }

// CacheBytes is what the tables of a subtask keep decoded.
func (b *Backend) CacheBytes() int64 { return b.cfg.TableCacheBytes }

// Close gives the block cache back and deletes the working folder, if nothing is
// open in it any more.
func (b *Backend) Close() {
	b.cache.Unref()
	_ = b.fs.Remove(b.cfg.Dir) // the next attempt deletes what is left
}

// Open makes the empty database of a subtask.
func (b *Backend) Open(c state.SetConfig) (state.Store, error) {
	var random [8]byte
	rand.Read(random[:])
	id := hex.EncodeToString(random[:])
	s := &store{backend: b, dir: filepath.Join(b.cfg.Dir, fmt.Sprintf("subtask-%d-%s", c.Subtask, id)), id: id, shared: map[string]string{}, buffer: newBuffer()}
	if err := b.fs.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if s.db, err = pebble.Open(s.path(), b.options(false)); err != nil {
		return nil, err
	}
	s.batch = s.db.NewBatch()
	b.mu.Lock()
	b.open[s] = true
	b.mu.Unlock()
	return s, nil
}

func (b *Backend) options(readOnly bool) *pebble.Options {
	o := &pebble.Options{
		Cache: b.cache, DisableWAL: true, ReadOnly: readOnly,
		MemTableSize: uint64(b.cfg.MemTableBytes), MemTableStopWritesThreshold: 3,
		FormatMajorVersion: pebble.FormatNewest, Logger: quiet{},
		FS: workFS{b.fs, b.cfg.Shared.Durability() == state.DurableMachine},
		// Every snapshot holds a copy of this file.
		MaxManifestFileSize: 64 << 10,
	}
	// A read-modify-write asks for every key before it writes it, most of which
	// are in one file: the filters keep the others from being read. A compaction
	// of the upper runs rewrites all below that they overlap, which with keys from
	// everywhere is all of it: so they are let grow to a few. A block of an
	// index or of a filter that has left the cache is read whole, so they are small.
	o.LBaseMaxBytes = 512 << 20
	o.L0CompactionThreshold = 8
	o.L0StopWritesThreshold = 32
	for i := range o.Levels {
		o.TargetFileSizes[i] = 4 << 20
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].IndexBlockSize = 32 << 10
	}
	// A buffer that was made a file must be in the next cut's list of files.
	o.Experimental.DisableIngestAsFlushable = func() bool { return true }
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	return o
}

// Shared returns the files in the shared folder that a cut relies on.
func (b *Backend) Shared(cut []byte) ([]state.SharedFile, error) {
	m, err := parseManifest(cut)
	if err != nil {
		return nil, err
	}
	var files []state.SharedFile
	for _, f := range m {
		if f.shared != "" {
			files = append(files, state.SharedFile{Name: f.shared, Bytes: f.size})
		}
	}
	return files, nil
}

// Check returns an error that is state.ErrTorn when one of the files is not
// there or has another size.
func (b *Backend) Check(files []state.SharedFile) error {
	for _, f := range files {
		if err := b.whole(f.Name, f.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// whole checks a shared file against its size. Its blocks have checksums of
// their own, which are checked when they are read.
func (b *Backend) whole(name string, size int64) error {
	path := filepath.Join(b.cfg.Shared.Path(), name)
	info, err := b.fs.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("lsm: a snapshot's file %s is gone: %w", path, state.ErrTorn)
	case err != nil:
		return err
	case info.Size() != size:
		return fmt.Errorf("lsm: %s has %d bytes, %d were written: %w", path, info.Size(), size, state.ErrTorn)
	}
	return nil
}

// Relied returns the files in the shared folder on which an open database relies.
func (b *Backend) Relied() map[string]bool {
	relied := map[string]bool{}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.open {
		s.mu.Lock()
		for _, name := range s.shared {
			relied[name] = true
		}
		s.mu.Unlock()
	}
	return relied
}

// Sweep deletes the shared files of this and of earlier attempts that are not
// kept and that no open database relies on.
func (b *Backend) Sweep(kept func() (map[string]bool, error)) error {
	// In this order: a file that is linked after the first step is in nobody's
	// way. A database lets go of one only with its next cut, and by then the
	// snapshot that needs it can be found by who says what is kept.
	names, err := b.shared.List(filePrefix)
	if err != nil {
		return err
	}
	relied := b.Relied()
	keep, err := kept()
	if err != nil {
		return err
	}
	for _, n := range names {
		if relied[n] || keep[n] || attemptOf(n) > b.cfg.Attempt {
			continue
		}
		if err := b.shared.Remove(n); err != nil {
			return err
		}
	}
	return nil
}

const filePrefix = "lsm-"

// sharedName makes a file's name: who wakes up in an old attempt must see by it
// that the file is none of his.
func (s *store) sharedName(local string) string {
	return fmt.Sprintf("%s%d-%s-%s", filePrefix, s.backend.cfg.Attempt, s.id, strings.TrimLeft(local, "0"))
}

// attemptOf returns the attempt that a shared file was written in; what has no
// number belongs to nobody.
func attemptOf(name string) int {
	number, _, _ := strings.Cut(strings.TrimPrefix(name, filePrefix), "-")
	n, _ := strconv.Atoi(number)
	return n
}

func (s *store) path() string { return filepath.Join(s.dir, fmt.Sprint("db-", s.opened)) }

// quiet drops the database's chatter; errors come back from its calls.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf must not return: the database is not consistent any more.
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf("lsm: "+format, a...)) }
