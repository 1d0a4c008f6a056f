package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"unsafe"

	"streamduel/codec"
)

// A snapshot is laid out so that a subtask of another parallelism reads the
// contents and then only the key groups that are its own:
//
//	"SDS" version u8
//	blocks: per table and key group its entries; per operator state its items
//	contents:
//	  kind u8 (full 1, delta 2)
//	  job string, subtask, parallelism, key groups (varints)
//	  tables: number, then each
//	    operator, name, key codec, value codec (strings), aged u8
//	    number of key groups that have entries, then each
//	      group (distance from the one before), entries, bytes, CRC-32C u32
//	  operator states: number, then each
//	    operator, name, kind u8, codec (string), items, bytes, CRC-32C u32
//	  backend (string, empty for memory); unless empty: bytes, CRC-32C u32
//	contents' length u32, CRC-32C of the contents u32
//
// Blocks lie in the order of the contents, so lengths are offsets. An entry is
// an operation, the key, and for opPut the time of its last update if the table
// is aged, and the value. With a backend the entries lie in its store, key groups
// have lengths of zero, and the backend's block says where the store is: such a
// snapshot is whole, be it full or a delta. Numbers without a width are unsigned varints.
const snapshotVersion = 2

const (
	kindFull  = 1
	kindDelta = 2

	opPut    = 1
	opDelete = 2

	snapshotHead = 4
	snapshotTail = 8
)

// Snapshot is a set's state at one moment, ready to be written: on another
// goroutine too, while the set changes on.
type Snapshot struct {
	SetConfig
	full      bool
	tables    []frozen
	operators []operatorBlock
	backend   string
	cut       Cut
	err       error
	done      bool
}

// frozen is one table's part of a snapshot.
type frozen struct {
	operator, name, keys, values string
	aged                         bool
	image                        image
}

// image is a table at one moment.
type image interface {
	// write appends the entries to dst, by key group, and the groups' contents
	// to contents.
	write(dst, contents []byte) ([]byte, []byte)
	// release lets the table change its chunks in place again.
	release()
}

// SnapshotAsync takes a snapshot of all state, or of what changed since the last
// one was taken. What it does at once does not grow with the sizes of the values
// and hardly with the number of keys. The snapshot must be written or discarded,
// once.
func (s *Set) SnapshotAsync(full bool) *Snapshot {
	w := &Snapshot{SetConfig: s.SetConfig, full: full}
	for _, n := range s.tables {
		f := frozen{operator: n.operator, name: n.name, aged: n.table.aged(), image: n.table.image(full)}
		f.keys, f.values = n.table.codecs()
		w.tables = append(w.tables, f)
	}
	for _, o := range s.operators {
		w.operators = append(w.operators, o.block())
	}
	if s.store != nil {
		w.backend = s.backend.Name()
		w.cut, w.err = s.store.Cut()
		if w.err == nil {
			w.err = s.err
		}
	}
	return w
}

// Append writes the snapshot behind dst and is done with it.
func (w *Snapshot) Append(dst []byte) ([]byte, error) {
	defer w.Discard()
	if w.err != nil {
		return dst, w.err
	}
	start := len(dst)
	dst = append(dst, 'S', 'D', 'S', snapshotVersion)
	kind := byte(kindDelta)
	if w.full {
		kind = kindFull
	}
	c := append(make([]byte, 0, 256), kind)
	c = codec.String{}.Append(c, w.Job)
	c = binary.AppendUvarint(c, uint64(w.Subtask))
	c = binary.AppendUvarint(c, uint64(w.Parallelism))
	c = binary.AppendUvarint(c, uint64(w.MaxParallelism))
	c = binary.AppendUvarint(c, uint64(len(w.tables)))
	for _, f := range w.tables {
		for _, s := range []string{f.operator, f.name, f.keys, f.values} {
			c = codec.String{}.Append(c, s)
		}
		c = codec.Bool{}.Append(c, f.aged)
		dst, c = f.image.write(dst, c)
	}
	c = binary.AppendUvarint(c, uint64(len(w.operators)))
	for _, o := range w.operators {
		c = codec.String{}.Append(c, o.operator)
		c = codec.String{}.Append(c, o.name)
		c = append(c, byte(o.kind))
		c = codec.String{}.Append(c, o.codec)
		c = binary.AppendUvarint(c, uint64(o.items))
		c = appendBlock(c, o.bytes)
		dst = append(dst, o.bytes...)
	}
	c = codec.String{}.Append(c, w.backend)
	if w.cut != nil {
		at := len(dst)
		var err error
		if dst, err = w.cut.Append(dst); err != nil {
			return dst, fmt.Errorf("state: backend %s: %w", w.backend, err)
		}
		c = appendBlock(c, dst[at:])
	}
	dst = append(dst, c...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(c)))
	// The head is under the sum too: a version that was hit is then torn.
	sum := crc32.Update(crc32.Checksum(c, castagnoli), castagnoli, dst[start:start+snapshotHead])
	return binary.LittleEndian.AppendUint32(dst, sum), nil
}

// Discard gives up a snapshot that will not be written.
func (w *Snapshot) Discard() {
	if w.done {
		return
	}
	w.done = true
	for _, f := range w.tables {
		f.image.release()
	}
	if w.cut != nil {
		w.cut.Discard()
	}
	w.tables, w.operators, w.cut = nil, nil, nil
}

// Snapshot appends the set's state to dst: all of it, or what changed since the
// last snapshot.
func (s *Set) Snapshot(dst []byte, full bool) []byte {
	b, err := s.SnapshotAsync(full).Append(dst)
	if err != nil {
		s.fail(err)
		return dst
	}
	return b
}

func appendBlock(c, block []byte) []byte {
	c = binary.AppendUvarint(c, uint64(len(block)))
	return binary.LittleEndian.AppendUint32(c, crc32.Checksum(block, castagnoli))
}

func (t *Table[K, V]) codecs() (keys, values string) { return t.keys.ID(), t.values.ID() }

func (t *Table[K, V]) aged() bool { return t.ttl != nil }

func (t *Table[K, V]) changes() (updated, removed int64) { return t.updated, t.removed }

// entryBytes is what an entry takes at most, without what it points to.
func (t *Table[K, V]) entryBytes() int64 {
	return t.slotBytes() + indexBytes
}

func (t *Table[K, V]) slotBytes() int64 {
	if t.ttl != nil {
		return int64(unsafe.Sizeof(entry[K, V]{})) + 8
	}
	return int64(unsafe.Sizeof(entry[K, V]{}))
}

func (t *Table[K, V]) bytes() int64 {
	return int64(len(t.chunks))<<t.shift*t.slotBytes() + t.index.bytes() +
		4*int64(cap(t.changed)+cap(t.free)+cap(t.graves)+cap(t.reclaim))
}

// tableImage is a table at one moment.
type tableImage[K comparable, V any] struct {
	chunks    []*chunk[K, V]
	next      uint32
	shift     uint
	full      bool
	changed   []uint32
	groups    int
	keys      codec.Codec[K]
	values    codec.Codec[V]
	ttl       *TTL
	now       int64
	writers   *atomic.Int32
	spare     *atomic.Pointer[[]uint32]
	discarded bool
}

// aging is a codec of values whose parts expire each by itself.
type aging[V any] interface {
	appendYoung(dst []byte, v V, now int64) []byte
}

// image takes the table's state and begins a new epoch.
func (t *Table[K, V]) image(full bool) image {
	if t.stored != nil {
		return t.storedImage()
	}
	im := &tableImage[K, V]{
		chunks: make([]*chunk[K, V], len(t.chunks)), next: t.next, shift: t.shift, full: full, groups: t.set.MaxParallelism,
		keys: t.keys, values: t.values, ttl: t.ttl, writers: t.writers, spare: t.spare,
	}
	copy(im.chunks, t.chunks)
	if t.ttl != nil {
		im.now = t.ttl.Clock()
	}
	if full {
		t.changed = t.changed[:0]
	} else {
		im.changed, t.changed = t.changed, nil
		if p := t.spare.Swap(nil); p != nil {
			t.changed = (*p)[:0]
		}
	}
	t.reclaim = append(t.reclaim, t.graves...)
	t.graves = t.graves[:0]
	t.writers.Add(1)
	t.epoch++
	t.freeze = t.epoch
	return im
}

func (im *tableImage[K, V]) release() {
	if im.discarded {
		return
	}
	im.discarded = true
	if im.changed != nil {
		im.spare.Store(&im.changed)
	}
	im.chunks = nil
	im.writers.Add(-1)
}

// pick says what of a slot goes into the snapshot: 0 for nothing.
func (im *tableImage[K, V]) pick(slot uint32) (op byte, e *entry[K, V]) {
	c := im.chunks[slot>>im.shift]
	i := slot & (1<<im.shift - 1)
	e = &c.entries[i]
	switch {
	case e.state == slotFree:
		return 0, e
	case e.state == slotLive && (im.ttl == nil || !im.ttl.over(c.times[i], im.now)):
		return opPut, e
	case im.full:
		return 0, e
	}
	return opDelete, e // or expired: a delta before may have it
}

func (im *tableImage[K, V]) slots(f func(slot uint32)) {
	if !im.full {
		for _, slot := range im.changed {
			f(slot)
		}
		return
	}
	for slot := range im.next {
		f(slot)
	}
}

func (im *tableImage[K, V]) write(dst, contents []byte) ([]byte, []byte) {
	// Sorted by counting: how many each group has, where each group begins.
	ends := make([]uint32, im.groups)
	im.slots(func(slot uint32) {
		if op, e := im.pick(slot); op != 0 {
			ends[e.group]++
		}
	})
	total, used := uint32(0), 0
	for g, n := range ends {
		if n > 0 {
			used++
		}
		ends[g] = total
		total += n
	}
	order := make([]uint32, total)
	im.slots(func(slot uint32) {
		if op, e := im.pick(slot); op != 0 {
			order[ends[e.group]] = slot
			ends[e.group]++
		}
	})
	appendKey, _ := codec.Functions(im.keys)
	appendValue, _ := codec.Functions(im.values)
	var items aging[V]
	if im.ttl != nil {
		items, _ = im.values.(aging[V])
	}
	contents = binary.AppendUvarint(contents, uint64(used))
	begin, last := uint32(0), 0
	for g, end := range ends {
		if begin == end {
			continue
		}
		at := len(dst)
		for _, slot := range order[begin:end] {
			op, e := im.pick(slot)
			dst = append(dst, op)
			dst = appendKey(dst, e.key)
			if op == opPut {
				if im.ttl != nil {
					dst = binary.LittleEndian.AppendUint64(dst, uint64(im.chunks[slot>>im.shift].times[slot&(1<<im.shift-1)]))
				}
				if items != nil {
					dst = items.appendYoung(dst, e.value, im.now)
				} else {
					dst = appendValue(dst, e.value)
				}
			}
		}
		contents = binary.AppendUvarint(contents, uint64(g-last))
		contents = binary.AppendUvarint(contents, uint64(end-begin))
		contents = appendBlock(contents, dst[at:])
		begin, last = end, g
	}
	return dst, contents
}
