package lsm

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"streamduel/state"
)

// Config says where a job's databases are and what memory they take.
type Config struct {
	// Dir is the working folder; what is in it does not outlive the process.
	Dir string
	// Shared is where snapshots keep their files. On Dir's file system they are
	// hard links.
	Shared *state.Folder
	// BlockCacheBytes is shared by all subtasks; 0 means 64 MiB.
	BlockCacheBytes int64
	// MemTableBytes is for each subtask, which has up to three; 0 means 16 MiB.
	MemTableBytes int64
	// TableCacheBytes is what each table keeps decoded; 0 means 16 MiB.
	TableCacheBytes int64
}

// Backend keeps keyed tables in databases on disk.
type Backend struct {
	cfg   Config
	cache *pebble.Cache
	mu    sync.Mutex
	open  map[*store]bool
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
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	return &Backend{cfg: c, cache: pebble.NewCache(c.BlockCacheBytes), open: map[*store]bool{}}, nil
}

// Name names the backend and its format.
func (b *Backend) Name() string { return "lsm/1" }

// CacheBytes is what each table keeps decoded.
func (b *Backend) CacheBytes() int64 { return b.cfg.TableCacheBytes }

// Close gives the block cache back.
func (b *Backend) Close() { b.cache.Unref() }

// Open makes the empty database of a subtask.
func (b *Backend) Open(c state.SetConfig) (state.Store, error) {
	dir, err := os.MkdirTemp(b.cfg.Dir, fmt.Sprintf("subtask-%d-", c.Subtask))
	if err != nil {
		return nil, err
	}
	var id [8]byte
	rand.Read(id[:])
	s := &store{backend: b, dir: dir, id: hex.EncodeToString(id[:]), shared: map[string]string{}}
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
	}
	// A read-modify-write asks for every key before it writes it, most of which
	// are in one file: the filters keep the others from being read.
	// Few sorted runs and index blocks of one level make such a question cheap.
	o.LBaseMaxBytes = 512 << 20
	o.L0CompactionThreshold = 2
	for i := range o.Levels {
		o.TargetFileSizes[i] = 16 << 20
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].IndexBlockSize = 256 << 10
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	return o
}

// Sweep deletes the shared files that none of the retained cuts name (see
// state.Contents.Cut) and that no open database relies on.
func (b *Backend) Sweep(retained ...[]byte) error {
	// The names first: a file that is linked after this is in nobody's way.
	names, err := b.cfg.Shared.List(filePrefix)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, cut := range retained {
		m, err := parseManifest(cut)
		if err != nil {
			return err
		}
		for _, f := range m {
			keep[f.shared] = true
		}
	}
	b.mu.Lock()
	for s := range b.open {
		s.mu.Lock()
		for _, name := range s.shared {
			keep[name] = true
		}
		s.mu.Unlock()
	}
	b.mu.Unlock()
	for _, n := range names {
		if !keep[n] {
			if err := b.cfg.Shared.Remove(n); err != nil {
				return err
			}
		}
	}
	return nil
}

const filePrefix = "lsm-"

func (s *store) sharedName(local string) string {
	return filePrefix + s.id + "-" + strings.TrimLeft(local, "0")
}

func (s *store) path() string { return filepath.Join(s.dir, fmt.Sprint("db-", s.opened)) }

// quiet drops the database's chatter; errors come back from its calls.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf must not return: the database is not consistent any more.
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf("lsm: "+format, a...)) }
