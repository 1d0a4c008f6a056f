package lsm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"streamduel/codec"
	"streamduel/state"
)

var (
	str = codec.Codec[string](codec.StringView{})
	num = codec.Codec[int64](codec.Int64{})
)

type fatal interface{ Fatal(...any) }

func backend(t fatal, dir string, cache int64) *Backend {
	shared, err := state.OpenFolder(filepath.Join(dir, "shared"), state.DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{Dir: filepath.Join(dir, "work"), Shared: shared, TableCacheBytes: cache, BlockCacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// instance is one subtask's state.
type instance struct {
	set    *state.Set
	counts *state.Table[string, int64]
	fields *state.Map[int64, string, string]
}

func open(t fatal, b state.Backend, index, parallelism, most int, opts ...state.Option) *instance {
	in := &instance{set: state.NewSetOf(state.SetConfig{Job: "job", Subtask: index, Parallelism: parallelism, MaxParallelism: most})}
	err := in.set.UseBackend(b)
	if err == nil {
		in.counts, err = state.NewTable(in.set, "op", "counts", str, num, opts...)
	}
	if err == nil {
		in.fields, err = state.NewMap(in.set, "op", "fields", num, str, str, opts...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func check(t fatal, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever is done to tables whose caches hold next to nothing, whenever cuts are
// made and written, and at whatever parallelism they are restored: tables hold
// what a map would.
func TestTablesAgainstAMap(t *testing.T) {
	dir := t.TempDir()
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		dir := filepath.Join(dir, fmt.Sprint(round))
		defer os.RemoveAll(dir)
		// The least is sixteen entries.
		b := backend(t, dir, rapid.SampledFrom([]int64{1, 16 << 10}).Draw(t, "cache"))
		b.bufferBytes = rapid.SampledFrom([]int{1, 1 << 20}).Draw(t, "buffer")
		defer b.Close()
		most := rapid.SampledFrom([]int{3, 128}).Draw(t, "max")
		var all []*instance
		start := func(parallelism int) {
			all = nil
			for i := range parallelism {
				all = append(all, open(t, b, i, parallelism, most))
			}
		}
		stop := func() {
			for _, in := range all {
				check(t, in.set.Err())
				check(t, in.set.Close())
			}
		}
		defer func() { stop() }()
		start(rapid.IntRange(1, 2).Draw(t, "parallelism"))
		hash, err := state.Hasher[int64](nil)
		check(t, err)
		owner := func(hash uint32) *instance {
			return all[state.OwnerOf(state.GroupOf(hash, most), len(all), most)]
		}
		type field struct {
			k int64
			f string
		}
		counts, fields := map[string]int64{}, map[field]string{}
		var savedCounts map[string]int64
		var savedFields map[field]string
		type result struct {
			b   []byte
			err error
		}
		var writing []chan result
		var written [][]byte
		finish := func() {
			for i, w := range writing {
				r := <-w
				check(t, r.err)
				written[i] = r.b
			}
			writing = nil
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			n := rapid.Int64Range(0, 60).Draw(t, "key")
			k := fmt.Sprint("key", n)
			switch op := rapid.IntRange(0, 12).Draw(t, "op"); op {
			case 0, 1, 2, 3:
				for i := range rapid.Int64Range(1, 20).Draw(t, "many") {
					k := fmt.Sprint("key", (n+i*7)%61)
					p, fresh := owner(state.StringHash(k)).counts.Ref(k)
					if _, known := counts[k]; fresh == known {
						t.Fatalf("ref %q: fresh %v", k, fresh)
					}
					*p += n
					counts[k] += n
				}
			case 4:
				owner(state.StringHash(k)).counts.Delete(k)
				delete(counts, k)
			case 5, 6:
				owner(hash(n%5)).fields.Put(n%5, k, k)
				fields[field{n % 5, k}] = k
			case 7:
				owner(hash(n%5)).fields.Delete(n%5, k)
				delete(fields, field{n % 5, k})
			case 8:
				owner(hash(n % 5)).fields.Clear(n % 5)
				maps.DeleteFunc(fields, func(f field, _ string) bool { return f.k == n%5 })
			case 9:
				finish()
				written = make([][]byte, len(all))
				for _, in := range all {
					s := in.set.SnapshotAsync(rapid.Bool().Draw(t, "full"))
					w := make(chan result, 1)
					writing = append(writing, w)
					go func() {
						b, err := s.Append(nil)
						w <- result{b, err}
					}()
				}
				savedCounts, savedFields = maps.Clone(counts), maps.Clone(fields)
			case 10:
				finish()
			case 11:
				if len(written) == 0 {
					continue
				}
				finish()
				stop()
				start(rapid.IntRange(1, 2).Draw(t, "parallelism"))
				for _, in := range all {
					check(t, in.set.Restore(written...))
				}
				counts, fields = maps.Clone(savedCounts), maps.Clone(savedFields)
			case 12:
				for _, in := range all {
					var mine []string
					for i := range int64(60) {
						if k := fmt.Sprint("key", (n+i*3)%61); owner(state.StringHash(k)) == in {
							mine = append(mine, k, k)
						}
					}
					in.counts.Warm(mine)
				}
			}
			v, ok := owner(state.StringHash(k)).counts.Get(k)
			if w, known := counts[k]; ok != known || v != w {
				t.Fatalf("get %q: %d, %v; want %d, %v", k, v, ok, w, known)
			}
		}
		finish()
		gotCounts, gotFields, keys := map[string]int64{}, map[field]string{}, 0
		for _, in := range all {
			in.counts.Each(func(k string, v int64) bool { gotCounts[k] = v; return true })
			for k := range int64(5) {
				in.fields.Each(k, func(f, v string) bool { gotFields[field{k, f}] = v; return true })
			}
			keys += in.set.Keys()
		}
		if !maps.Equal(gotCounts, counts) || !maps.Equal(gotFields, fields) || keys != len(counts)+len(fields) {
			t.Fatalf("%d keys\n%v %v\nwant %v %v", keys, gotCounts, gotFields, counts, fields)
		}
	})
}

// A snapshot after few changes adds few files, over a restart too, and Sweep
// deletes what no retained snapshot names.
func TestSnapshotsAreIncremental(t *testing.T) {
	b := backend(t, t.TempDir(), 1<<10)
	defer b.Close()
	in := open(t, b, 0, 1, 128)
	for i := range int64(50_000) {
		in.counts.Put(fmt.Sprint("key", i), i)
	}
	files := func() map[string]bool {
		names, err := b.cfg.Shared.List("")
		check(t, err)
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	snapshot := func(in *instance) []byte {
		s, err := in.set.SnapshotAsync(true).Append(nil)
		check(t, err)
		return s
	}
	first := snapshot(in)
	before := files()
	again := snapshot(in)
	if now := files(); len(before) == 0 || len(now) > len(before)+1 {
		t.Errorf("%d files, then without a change %d", len(before), len(now))
	}
	check(t, in.set.Close())

	restarted := open(t, b, 0, 1, 128)
	check(t, restarted.set.Restore(again))
	before = files()
	restarted.counts.Put("key1", -1)
	second := snapshot(restarted)
	if now := files(); len(now) > len(before)+2 {
		t.Errorf("%d files, then after a restart and a change %d", len(before), len(now))
	}
	keep := func(snapshots ...[]byte) func() (map[string]bool, error) {
		return func() (map[string]bool, error) {
			kept := map[string]bool{}
			for _, s := range snapshots {
				files, err := state.SharedFiles(b, bytes.NewReader(s))
				check(t, err)
				check(t, b.Check(files))
				for _, f := range files {
					kept[f.Name] = true
				}
			}
			return kept, nil
		}
	}
	check(t, restarted.set.Close())
	check(t, b.Sweep(keep(first, second)))
	for s, want := range map[string]int64{string(first): 1, string(second): -1} {
		in := open(t, b, 0, 1, 128)
		check(t, in.set.Restore([]byte(s)))
		if v, ok := in.counts.Get("key1"); !ok || v != want || in.counts.Len() != 50_000 {
			t.Errorf("%d, %v of %d keys; want %d", v, ok, in.counts.Len(), want)
		}
		check(t, in.set.Close())
	}
	check(t, b.Sweep(keep(second)))
	gone := open(t, b, 0, 1, 128)
	defer gone.set.Close()
	left := files()
	check(t, b.Sweep(keep()))
	if len(files()) != 0 || len(left) == 0 {
		t.Errorf("%d files, none retained: %d", len(left), len(files()))
	}
	if err := gone.set.Restore(second); !errors.Is(err, state.ErrTorn) {
		t.Errorf("%v", err)
	}
}

func TestTimeToLiveHolds(t *testing.T) {
	b := backend(t, t.TempDir(), 1)
	defer b.Close()
	now := int64(0)
	ttl := state.WithTTL(state.TTL{After: time.Second, Clock: func() int64 { return now }})
	in := open(t, b, 0, 1, 128, ttl)
	for i := range int64(100) {
		now = i * 10
		in.counts.Put(fmt.Sprint(i), i)
	}
	s := in.set.Snapshot(nil, true)
	check(t, in.set.Close())
	in = open(t, b, 0, 1, 128, ttl)
	defer in.set.Close()
	check(t, in.set.Restore(s))
	now = 1500 // those up to time 500 are over
	n := 0
	in.counts.Each(func(_ string, v int64) bool {
		if v <= 50 {
			t.Errorf("%d is over", v)
		}
		n++
		return true
	})
	if _, ok := in.counts.Get("50"); n != 49 || ok {
		t.Errorf("%d entries, 50 is there: %v", n, ok)
	}
	check(t, in.set.Err())
}

// Entries whose time is over and that nobody asks for again go, in memory and in
// files, while others are asked for.
func TestExpiredEntriesAreCleanedUpOnDisk(t *testing.T) {
	b := backend(t, t.TempDir(), 1)
	defer b.Close()
	now := int64(0)
	in := open(t, b, 0, 1, 128, state.WithTTL(state.TTL{After: time.Second, Clock: func() int64 { return now }}))
	defer in.set.Close()
	const keys = 3000
	for i := range int64(keys) {
		in.counts.Put(fmt.Sprint(i), i)
		in.fields.Put(i%7, fmt.Sprint(i), "v")
	}
	in.set.Snapshot(nil, true)
	check(t, in.set.Err())
	young := func(at int64) {
		now = at
		for i := range int64(100) {
			in.counts.Put(fmt.Sprint("young", i), i)
			in.fields.Put(i, "young", "v")
		}
	}
	young(900)
	now = 1500 // the old ones are over, the young ones are not
	for range 4 * keys {
		in.counts.Get("young1")
		in.fields.Get(1, "young")
	}
	if in.counts.Len() != 100 || in.set.Keys() != 200 {
		t.Errorf("%d and %d entries are left, want 100 each", in.counts.Len(), in.set.Keys()-in.counts.Len())
	}
	for s := range b.open {
		check(t, s.Settle())
		n := 0
		check(t, s.Scan(nil, nil, func(_, _ []byte) bool { n++; return true }))
		if n > 200 {
			t.Errorf("%d entries lie on disk", n)
		}
	}
	n := 0
	in.counts.Each(func(string, int64) bool { n++; return true })
	if n != 100 {
		t.Errorf("%d young entries", n)
	}
	check(t, in.set.Err())
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	b := backend(t, dir, 1)
	defer b.Close()
	in := open(t, b, 0, 1, 128)
	in.counts.Put("a", 1)
	s := in.set.Snapshot(nil, true)
	check(t, in.set.Close())

	memory := state.NewSet(state.RangeOf(0, 1, 128), 128)
	if err := memory.Restore(s); !errors.Is(err, state.ErrBackend) || !strings.Contains(err.Error(), "of the lsm/1 backend, the job uses memory") {
		t.Error(err)
	}
	names, err := b.cfg.Shared.List("")
	check(t, err)
	for _, n := range names {
		path := filepath.Join(b.cfg.Shared.Path(), n)
		whole, err := os.ReadFile(path)
		check(t, err)
		check(t, os.Remove(path))
		check(t, os.WriteFile(path, whole[:len(whole)/2], 0o600))
		in := open(t, b, 0, 1, 128)
		if err := in.set.Restore(s); !errors.Is(err, state.ErrTorn) || !strings.Contains(err.Error(), n) {
			t.Error(err)
		}
		// The subtask is given up: its database is open no more, only its folder.
		check(t, in.set.Close())
		check(t, os.Remove(path))
		check(t, os.WriteFile(path, whole, 0o600))
	}
	late := state.NewSet(state.RangeOf(0, 1, 128), 128)
	if _, err := state.NewTable(late, "op", "t", num, num); err != nil {
		t.Fatal(err)
	}
	if err := late.UseBackend(b); err == nil {
		t.Error("a backend after the first table")
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(manifest{{name: "1.sst", shared: "lsm-a-1.sst", size: 7}, {name: "MANIFEST", content: []byte("abc"), size: 3}}.append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		for _, f := range m {
			if filepath.Base(f.name) != f.name || f.shared != "" && filepath.Base(f.shared) != f.shared {
				t.Fatalf("%q, %q", f.name, f.shared)
			}
		}
		again, err := parseManifest(m.append(nil))
		if err != nil || len(again) != len(m) {
			t.Fatal(err)
		}
	})
}
