package lsm

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"streamduel/state"
)

var errDisk = errors.New("the disk fails")

// TestAKeyThatCannotBeReadIsNotMissing: an error of one of many keys is told,
// although those after it can be read; a key that is taken for missing begins anew.
func TestAKeyThatCannotBeReadIsNotMissing(t *testing.T) {
	dir := t.TempDir()
	shared, err := state.OpenFolder(filepath.Join(dir, "shared"), state.DurableProcess)
	check(t, err)
	var failing atomic.Int32 // reads to come that fail
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && failing.Add(-1) >= 0 {
			return errDisk
		}
		return nil
	}))
	b, err := New(Config{Dir: filepath.Join(dir, "work"), Shared: shared, FS: disk, BlockCacheBytes: 1, MemTableBytes: 256 << 10})
	check(t, err)
	defer b.Close()
	opened, err := b.Open(state.SetConfig{})
	check(t, err)
	s := opened.(*store)
	defer s.Close()
	var keys [][]byte
	for i := range 200 {
		keys = append(keys, fmt.Appendf(nil, "key-%03d", i))
		check(t, s.Put(keys[i], make([]byte, 4<<10), false))
	}
	check(t, s.Flush())
	check(t, s.Settle())
	get := func() (missing int, err error) {
		err = s.GetAll([][]byte{keys[0], keys[100], keys[199]}, func(_ int, _ []byte, ok bool) {
			if !ok {
				missing++
			}
		})
		return missing, err
	}
	if missing, err := get(); missing > 0 || err != nil {
		t.Fatal(missing, err)
	}
	for reads := int32(1); reads <= 3; reads++ {
		failing.Store(reads)
		if missing, err := get(); missing > 0 || !errors.Is(err, errDisk) {
			t.Errorf("%d reads fail: %d keys are missing, error %v", reads, missing, err)
		}
	}
}
