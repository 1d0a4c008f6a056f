package state

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"streamduel/codec"
)

// instance is one subtask's state in a test.
type instance struct {
	set    *Set
	counts *Table[string, int64]
	blobs  *Table[int64, []byte]
}

func newInstance(t interface{ Fatal(...any) }, index, parallelism, most int) *instance {
	s := NewSet(RangeOf(index, parallelism, most), most)
	counts, err := NewTable(s, "op", "counts", codec.Codec[string](codec.StringView{}), codec.Codec[int64](codec.Int64{}))
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := NewTable(s, "op", "blobs", codec.Codec[int64](codec.Int64{}), codec.Codec[[]byte](codec.BytesView{}))
	if err != nil {
		t.Fatal(err)
	}
	return &instance{s, counts, blobs}
}

func (i *instance) content() (counts map[string]int64, blobs map[int64]string) {
	counts, blobs = map[string]int64{}, map[int64]string{}
	i.counts.Each(func(k string, v int64) bool { counts[k] = v; return true })
	i.blobs.Each(func(k int64, v []byte) bool { blobs[k] = string(v); return true })
	return counts, blobs
}

// Whatever is done to tables and whenever snapshots are taken: tables hold what
// a map would, and a full snapshot with the deltas behind it gives the state at
// the last one back, under any other parallelism too.
func TestTablesAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int{1, 7, 128}).Draw(t, "max")
		before := rapid.IntRange(1, min(4, most)).Draw(t, "before")
		after := rapid.IntRange(1, min(4, most)).Draw(t, "after")
		old := make([]*instance, before)
		chains := make([][][]byte, before)
		for i := range old {
			old[i] = newInstance(t, i, before, most)
		}
		counts, blobs := map[string]int64{}, map[int64]string{}
		savedCounts, savedBlobs := map[string]int64{}, map[int64]string{}
		words := rapid.SampledFrom([]string{"", "a", "b", "key1", "key2", "hello", "ärger"})
		hash := must(Hasher[int64](nil))
		ofWord := func(k string) *instance { return old[OwnerOf(GroupOf(StringHash(k), most), before, most)] }
		ofNumber := func(k int64) *instance { return old[OwnerOf(GroupOf(hash(k), most), before, most)] }
		scratch := make([]byte, 0, 64) // keys and values arrive as views of it
		view := func(s string) string { scratch = append(scratch[:0], s...); return viewOf(scratch) }

		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			k, n := words.Draw(t, "word"), rapid.Int64Range(-3, 3).Draw(t, "number")
			switch op := rapid.IntRange(0, 7).Draw(t, "op"); op {
			case 0, 1:
				p, fresh := ofWord(k).counts.Ref(view(k))
				if _, known := counts[k]; fresh == known || fresh && *p != 0 {
					t.Fatalf("ref %q: fresh %v with %d, known %v", k, fresh, *p, known)
				}
				*p += n
				counts[k] += n
			case 2:
				ofWord(k).counts.Delete(view(k))
				delete(counts, k)
			case 3:
				scratch = append(scratch[:0], k...)
				ofNumber(n).blobs.Put(n, scratch)
				blobs[n] = k
			case 4:
				ofNumber(n).blobs.Delete(n)
				delete(blobs, n)
			case 5, 6, 7:
				full := op == 5 || chains[0] == nil
				for i, in := range old {
					if full {
						chains[i] = nil
					}
					chains[i] = append(chains[i], in.set.Snapshot(nil, full))
				}
				savedCounts, savedBlobs = maps.Clone(counts), maps.Clone(blobs)
			}
			copy(scratch[:cap(scratch)], bytes.Repeat([]byte{'!'}, cap(scratch))) // the view is over
			v, ok := ofWord(k).counts.Get(k)
			if w, known := counts[k]; ok != known || v != w {
				t.Fatalf("get %q: %d, %v; want %d, %v", k, v, ok, w, known)
			}
			keys := 0
			for _, in := range old {
				keys += in.set.Keys()
			}
			if keys != len(counts)+len(blobs) {
				t.Fatalf("%d keys, want %d", keys, len(counts)+len(blobs))
			}
		}

		gotCounts, gotBlobs := map[string]int64{}, map[int64]string{}
		for j := range after {
			in := newInstance(t, j, after, most)
			for _, chain := range chains {
				for _, s := range chain {
					s = bytes.Clone(s)
					if err := in.set.Restore(s); err != nil {
						t.Fatal(err)
					}
					clear(s) // nothing may be a view of the snapshot
				}
			}
			cs, bs := in.content()
			for k, v := range cs {
				if OwnerOf(GroupOf(StringHash(k), most), after, most) != j {
					t.Fatalf("%q was restored in subtask %d", k, j)
				}
				gotCounts[k] = v
			}
			for k, v := range bs {
				gotBlobs[k] = v
			}
		}
		if !maps.Equal(gotCounts, savedCounts) || !maps.Equal(gotBlobs, savedBlobs) {
			t.Fatalf("restored %v %v\nwant %v %v", gotCounts, gotBlobs, savedCounts, savedBlobs)
		}
	})
}

func viewOf(b []byte) string {
	s, _, _ := codec.StringView{}.Decode(append([]byte{byte(len(b))}, b...))
	return s
}

// A delta holds what was touched since the snapshot before, and no more.
func TestDeltaIsSmall(t *testing.T) {
	in := newInstance(t, 0, 1, 128)
	for i := range int64(10_000) {
		p, _ := in.counts.Ref(fmt.Sprint(i))
		*p = i
	}
	full := in.set.Snapshot(nil, true)
	empty := in.set.Snapshot(nil, false)
	p, _ := in.counts.Ref("7")
	*p++
	in.counts.Delete("8")
	delta := in.set.Snapshot(nil, false)
	if len(full) < 100_000 || len(empty) > 100 || len(delta) > len(empty)+30 {
		t.Errorf("full %d, empty %d, delta %d bytes", len(full), len(empty), len(delta))
	}
	if n := in.counts.Len(); n != 9999 {
		t.Errorf("%d keys, want 9999", n)
	}
}

func TestRestoreSaysWhatIsWrong(t *testing.T) {
	snapshot := func() []byte {
		in := newInstance(t, 0, 1, 128)
		in.counts.Put("a", 1)
		return in.set.Snapshot(nil, true)
	}
	declare := func(operator, name string) *Set {
		s := NewSet(RangeOf(0, 1, 128), 128)
		if _, err := NewTable(s, operator, name, codec.Codec[string](codec.String{}), codec.Codec[string](codec.String{})); err != nil {
			t.Fatal(err)
		}
		return s
	}
	later := snapshot()
	later[3]++
	for _, c := range []struct {
		set      *Set
		snapshot []byte
		want     string
	}{
		{newInstance(t, 0, 1, 128).set, nil, "this is no snapshot"},
		{newInstance(t, 0, 1, 128).set, []byte("something"), "this is no snapshot"},
		{newInstance(t, 0, 1, 128).set, later, "version 3, this program reads 2"},
		{newInstance(t, 0, 1, 64).set, snapshot(), "the snapshot has 128 key groups, the job has 64"},
		{declare("other", "counts"), snapshot(), `state "counts" of operator "op", the job has not`},
		{declare("op", "counts"), snapshot(), "op/counts was written as string/1→int64/1, the job reads string/1→string/1"},
	} {
		if err := c.set.Restore(c.snapshot); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	s := declare("op", "x")
	if _, err := NewTable(s, "op", "x", codec.Codec[string](codec.String{}), codec.Codec[string](codec.String{})); err == nil || !strings.Contains(err.Error(), `state "x" is declared twice`) {
		t.Errorf("%v", err)
	}
	type pair struct{ a, b byte }
	pairs := codec.Struct("pair/1", func(dst []byte, p pair) []byte { return append(dst, p.a, p.b) }, func(src []byte) (pair, int, error) { return pair{src[0], src[1]}, 2, nil }, nil)
	if _, err := NewTable(s, "op", "pairs", pairs, codec.Codec[int64](codec.Int64{})); err != nil {
		t.Errorf("a key with a codec of its own: %v", err)
	}
}

func FuzzRestore(f *testing.F) {
	in := newInstance(f, 0, 1, 128)
	in.counts.Put("a", 1)
	in.counts.Put("b", 2)
	in.blobs.Put(3, []byte("blob"))
	f.Add(in.set.Snapshot(nil, true))
	in.counts.Delete("a")
	f.Add(in.set.Snapshot(nil, false))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := newInstance(t, 0, 2, 128)
		// Checksums would keep the fuzzer out: they are made to fit.
		if in.set.Restore(b) != nil && in.set.Restore(resummed(b)) != nil {
			return
		}
		// What could be read can be written and read again.
		again := newInstance(t, 0, 2, 128)
		if err := again.set.Restore(in.set.Snapshot(nil, true)); err != nil {
			t.Fatal(err)
		}
		c1, b1 := in.content()
		c2, b2 := again.content()
		if !maps.Equal(c1, c2) || !maps.Equal(b1, b2) {
			t.Fatalf("%v %v came back as %v %v", c1, b1, c2, b2)
		}
	})
}

func TestUpdatesDoNotAllocate(t *testing.T) {
	in := newInstance(t, 0, 1, 128)
	in.counts.Put("word", 1)
	in.set.Snapshot(nil, true)
	if n := testing.AllocsPerRun(100, func() {
		p, _ := in.counts.Ref("word")
		*p++
	}); n != 0 {
		t.Errorf("%v allocations an update", n)
	}
}
