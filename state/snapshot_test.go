package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"streamduel/codec"
)

// resummed returns the snapshot with all checksums made to fit.
func resummed(b []byte) []byte {
	b = bytes.Clone(b)
	n := int64(len(b))
	if n < snapshotHead+snapshotTail {
		return b
	}
	b[3] = snapshotVersion
	length := int64(binary.LittleEndian.Uint32(b[n-snapshotTail:]))
	if length > n-snapshotHead-snapshotTail {
		return b
	}
	at := n - snapshotTail - length
	contents := b[at : n-snapshotTail]
	if c, _, ok := parseContents(contents, at-snapshotHead); ok {
		fix := func(off, length int64, sum uint32) {
			if off+length > at {
				return
			}
			// A sum stands behind its block's length; what else has its four bytes
			// is hit too, as it may be in a fuzzer's input.
			old := binary.LittleEndian.AppendUint32(nil, sum)
			if i := bytes.Index(contents, old); i >= 0 {
				binary.LittleEndian.PutUint32(contents[i:], crc32.Checksum(b[off:off+length], castagnoli))
			}
		}
		for _, t := range c.tables {
			for _, g := range t.groups {
				fix(g.off, g.length, g.sum)
			}
		}
		for _, o := range c.operators {
			fix(o.off, o.length, o.sum)
		}
	}
	sum := crc32.Update(crc32.Checksum(contents, castagnoli), castagnoli, b[:snapshotHead])
	binary.LittleEndian.PutUint32(b[n-4:], sum)
	return b
}

func sample(t interface{ Fatal(...any) }, job string) ([]byte, *instance) {
	in := newInstance(t, 0, 1, 128)
	in.set.Job = job
	for i := range int64(500) {
		in.counts.Put(fmt.Sprint("key", i), i)
		in.blobs.Put(i, fmt.Append(nil, "blob", i))
	}
	return in.set.Snapshot(nil, true), in
}

// counted is a file that knows how much of it was read.
type counted struct {
	*bytes.Reader
	bytes int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.bytes += int64(len(p))
	return c.Reader.ReadAt(p, off)
}

func TestARestoreReadsOnlyItsKeyGroups(t *testing.T) {
	b, _ := sample(t, "")
	all, read := 0, int64(0)
	for i := range 8 {
		in := newInstance(t, i, 8, 128)
		src := &counted{Reader: bytes.NewReader(b)}
		if err := in.set.RestoreFrom(src); err != nil {
			t.Fatal(err)
		}
		all += in.set.Keys()
		read += src.bytes
	}
	c, err := Inspect(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	blocks := int64(0)
	for _, t := range c.tables {
		for _, g := range t.groups {
			blocks += g.length
		}
	}
	if contents := int64(len(b)) - blocks; all != 1000 || read > blocks+8*(contents+snapshotHead) {
		t.Errorf("%d keys of 1000; read %d bytes, blocks %d, contents %d", all, read, blocks, contents)
	}
}

func TestRefusalsHaveNames(t *testing.T) {
	b, _ := sample(t, "job one")
	restore := func(job string, most int, b []byte) error {
		in := newInstance(t, 0, 1, most)
		in.set.Job = job
		return in.set.Restore(b)
	}
	newer := bytes.Clone(b)
	newer[3]++
	for _, c := range []struct {
		name string
		err  error
		want error
		text string
	}{
		{"own", restore("job one", 128, b), nil, ""},
		{"nameless", restore("", 128, b), nil, ""},
		{"other job", restore("job two", 128, b), ErrOtherJob, `the snapshot is of job "job one", this is job "job two"`},
		{"key groups", restore("job one", 256, b), ErrOtherKeyGroups, "set the job's maximum parallelism to 128"},
		{"newer", restore("job one", 128, newer), ErrVersion, "version 3, this program reads 2"},
		{"nothing", restore("job one", 128, nil), ErrNoSnapshot, "this is no snapshot"},
		{"cut", restore("job one", 128, b[:len(b)-1]), ErrTorn, "torn"},
	} {
		if !errors.Is(c.err, c.want) || c.err != nil && !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
}

// Whatever byte is hit and wherever a snapshot ends: it is refused.
func TestEveryDamageIsTold(t *testing.T) {
	in := newInstance(t, 0, 1, 128)
	in.counts.Put("a", 1)
	in.counts.Put("b", 2)
	in.blobs.Put(3, []byte("blob"))
	l, err := NewList(in.set, "op", "list", codec.Codec[string](codec.String{}))
	if err != nil {
		t.Fatal(err)
	}
	l.Add("x", "y")
	b := in.set.Snapshot(nil, true)
	check := func(what string, b []byte) {
		t.Helper()
		again := newInstance(t, 0, 1, 128)
		if _, err := NewList(again.set, "op", "list", codec.Codec[string](codec.String{})); err != nil {
			t.Fatal(err)
		}
		err := again.set.Restore(b)
		if !errors.Is(err, ErrTorn) && !errors.Is(err, ErrNoSnapshot) && !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
		if err := again.set.RestoreFrom(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: read from a file", what)
		}
	}
	for i := range b {
		for _, bit := range []byte{1, 0x80} {
			d := bytes.Clone(b)
			d[i] ^= bit
			check(fmt.Sprint("bit of byte ", i), d)
		}
		check(fmt.Sprint("length ", i), b[:i])
	}
}

// versioned is a codec of numbers whose second version writes them as text.
type versioned struct{ codec.String }

func (versioned) ID() string { return "number/2" }
func (versioned) Reads(id string) codec.Codec[string] {
	if id == "number/1" {
		return codec.Struct("number/1", nil, func(src []byte) (string, int, error) {
			v, n, err := codec.Int64{}.Decode(src)
			return fmt.Sprint(v), n, err
		}, nil)
	}
	return nil
}

type numbers struct{ codec.Int64 }

func (numbers) ID() string { return "number/1" }

func TestStateEvolvesByCodecVersion(t *testing.T) {
	old := NewSet(RangeOf(0, 1, 128), 128)
	values, err := NewTable(old, "op", "values", codec.Codec[string](codec.String{}), codec.Codec[int64](numbers{}))
	if err != nil {
		t.Fatal(err)
	}
	keyed, err := NewTable(old, "op", "keyed", codec.Codec[int64](numbers{}), codec.Codec[string](codec.String{}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(100) {
		values.Put(fmt.Sprint(i), i)
		keyed.Put(i, "v")
	}
	b := old.Snapshot(nil, true)
	total := 0
	for i := range 2 {
		s := NewSetOf(SetConfig{Subtask: i, Parallelism: 2, MaxParallelism: 128})
		values, err := NewTable(s, "op", "values", codec.Codec[string](codec.String{}), codec.Codec[string](versioned{}))
		if err != nil {
			t.Fatal(err)
		}
		// Keys written as numbers are strings now, and lie in other groups.
		keyed, err := NewTable(s, "op", "keyed", codec.Codec[string](versioned{}), codec.Codec[string](codec.String{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(b); err != nil {
			t.Fatal(err)
		}
		values.Each(func(k, v string) bool {
			if k != v {
				t.Errorf("%q: %q", k, v)
			}
			return true
		})
		keyed.Each(func(k, _ string) bool {
			if OwnerOf(GroupOf(StringHash(k), 128), 2, 128) != i {
				t.Errorf("key %q is in subtask %d", k, i)
			}
			return true
		})
		total += values.Len() + keyed.Len()
	}
	if total != 200 {
		t.Errorf("%d entries of 200", total)
	}
	s := NewSet(RangeOf(0, 1, 128), 128)
	if _, err := NewTable(s, "op", "values", codec.Codec[string](codec.String{}), codec.Codec[[]byte](codec.Bytes{})); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(b); !errors.Is(err, ErrCodec) || !strings.Contains(err.Error(), "op/values was written as string/1→number/1, the job reads string/1→bytes/1") {
		t.Error(err)
	}
}

// A map's key and field may each have been written by an older version.
func TestMapsEvolveByCodecVersion(t *testing.T) {
	text := codec.Codec[string](codec.String{})
	old := NewSet(RangeOf(0, 1, 128), 128)
	m, err := NewMap(old, "op", "map", codec.Codec[int64](numbers{}), codec.Codec[int64](numbers{}), text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(100) {
		m.Put(i%10, i, "v")
	}
	b := old.Snapshot(nil, true)
	for i := range int64(10) {
		m.Delete(i, i)
	}
	delta := old.Snapshot(nil, false)
	total := 0
	for i := range 2 {
		s := NewSetOf(SetConfig{Subtask: i, Parallelism: 2, MaxParallelism: 128})
		m, err := NewMap(s, "op", "map", codec.Codec[string](versioned{}), codec.Codec[string](versioned{}), text)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Restore(b, delta); err != nil {
			t.Fatal(err)
		}
		for k := range 10 {
			m.Each(fmt.Sprint(k), func(f, _ string) bool {
				if OwnerOf(GroupOf(StringHash(fmt.Sprint(k)), 128), 2, 128) != i || f == fmt.Sprint(k) || !strings.HasSuffix(f, fmt.Sprint(k)) {
					t.Errorf("field %q of key %d in subtask %d", f, k, i)
				}
				total++
				return true
			})
		}
	}
	if total != 90 {
		t.Errorf("%d fields of 90", total)
	}
	s := NewSet(RangeOf(0, 1, 128), 128)
	if _, err := NewMap(s, "op", "map", codec.Codec[int64](numbers{}), text, text); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(b); !errors.Is(err, ErrCodec) || !strings.Contains(err.Error(), "op/map was written as map-key/1(number/1,number/1)→string/1, the job reads map-key/1(number/1,string/1)→string/1") {
		t.Error(err)
	}
}

// Snapshots written while the table changes hold what was there when they were
// taken, whatever is done meanwhile: updates in place, deletions, new keys in
// freed slots, further snapshots. Values are slices that are changed in place.
func TestSnapshotsDoNotSeeLaterChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := newInstance(t, 0, 1, 7)
		model, blobs := map[string]int64{}, map[int64]string{}
		type taken struct {
			*Snapshot
			full   bool
			counts map[string]int64
			blobs  map[int64]string
			bytes  []byte
		}
		var chain []*taken // a full one and its deltas
		var open []*taken
		keys := rapid.Int64Range(0, 40)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			n := keys.Draw(t, "key")
			k := fmt.Sprint(n)
			switch op := rapid.IntRange(0, 9).Draw(t, "op"); op {
			case 0, 1, 2:
				p, _ := in.counts.Ref(k)
				*p += n
				model[k] += n
			case 3:
				in.counts.Delete(k)
				delete(model, k)
			case 4, 5:
				p, fresh := in.blobs.Ref(n)
				if fresh || len(*p) == 0 {
					*p = append(*p, "abc"...)
				} else {
					(*p)[0]++
				}
				blobs[n] = string(*p)
			case 6:
				in.blobs.Delete(n)
				delete(blobs, n)
			case 7, 8:
				w := &taken{full: op == 7 || chain == nil, counts: maps.Clone(model), blobs: maps.Clone(blobs)}
				w.Snapshot = in.set.SnapshotAsync(w.full)
				if w.full {
					chain = nil
				}
				chain, open = append(chain, w), append(open, w)
			case 9:
				if len(open) > 0 {
					i := rapid.IntRange(0, len(open)-1).Draw(t, "written")
					open[i].bytes = must(open[i].Append(nil))
					open = slices.Delete(open, i, i+1)
				}
			}
		}
		for _, w := range open {
			w.bytes = must(w.Append(nil))
		}
		again := newInstance(t, 0, 1, 7)
		for _, w := range chain {
			if err := again.set.Restore(w.bytes); err != nil {
				t.Fatal(err)
			}
			counts, blobs := again.content()
			if !maps.Equal(counts, w.counts) || !maps.Equal(blobs, w.blobs) {
				t.Fatalf("%v %v\nwant %v %v", counts, blobs, w.counts, w.blobs)
			}
		}
		counts, has := in.content()
		if !maps.Equal(counts, model) || !maps.Equal(has, blobs) || in.set.Keys() != len(model)+len(blobs) {
			t.Fatalf("the tables hold %v %v\nwant %v %v", counts, has, model, blobs)
		}
	})
}

// The same with the writer on another goroutine, for the race detector.
func TestSnapshotsAreWrittenBeside(t *testing.T) {
	in := newInstance(t, 0, 1, 128)
	for i := range int64(5000) {
		in.counts.Put(fmt.Sprint(i), 0)
		in.blobs.Put(i, []byte{0})
	}
	for round := range int64(5) {
		w := in.set.SnapshotAsync(true)
		written := make(chan []byte)
		go func() { written <- must(w.Append(nil)) }()
		var b []byte
		for i := int64(0); b == nil; i++ {
			p, _ := in.counts.Ref(fmt.Sprint(i % 6000))
			*p = round + 1
			v, fresh := in.blobs.Ref(i % 6000)
			if fresh {
				*v = []byte{0}
			}
			(*v)[0] = byte(round + 1)
			if i%3 == 0 {
				in.counts.Delete(fmt.Sprint((i + 1) % 6000))
			}
			select {
			case b = <-written:
			default:
			}
		}
		for i := range int64(6000) { // the next snapshot is of this round alone
			in.counts.Put(fmt.Sprint(i), round+1)
			in.blobs.Put(i, []byte{byte(round + 1)})
		}
		again := newInstance(t, 0, 1, 128)
		if err := again.set.Restore(b); err != nil {
			t.Fatal(err)
		}
		again.counts.Each(func(k string, v int64) bool {
			if v != round {
				t.Fatalf("round %d: %q is %d", round, k, v)
			}
			return true
		})
		again.blobs.Each(func(k int64, v []byte) bool {
			if len(v) != 1 || v[0] != byte(round) {
				t.Fatalf("round %d: %d is %v", round, k, v)
			}
			return true
		})
	}
}

func TestADiscardedSnapshotLetsGo(t *testing.T) {
	_, in := sample(t, "")
	w := in.set.SnapshotAsync(true)
	before := in.counts.chunks[0]
	w.Discard()
	w.Discard()
	p, _ := in.counts.Ref("key0")
	*p = 7
	if in.counts.chunks[0] != before {
		t.Error("a chunk was copied though no snapshot is being written")
	}
}
