package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"streamduel/codec"
)

// Why a snapshot is refused, besides ErrTorn.
var (
	ErrNoSnapshot     = errors.New("no snapshot")
	ErrVersion        = errors.New("snapshot of another version")
	ErrOtherJob       = errors.New("snapshot of another job")
	ErrOtherKeyGroups = errors.New("snapshot with another number of key groups")
	ErrCodec          = errors.New("snapshot in an encoding that is not read")
	ErrBackend        = errors.New("snapshot of another backend")
	ErrUnknownState   = errors.New("snapshot with state that the job has not")
)

// refusal is a reason with its particulars.
type refusal struct {
	reason error
	text   string
}

func (r *refusal) Error() string { return "state: " + r.text }
func (r *refusal) Unwrap() error { return r.reason }

func refuse(reason error, format string, a ...any) error {
	return &refusal{reason, fmt.Sprintf(format, a...)}
}

func torn(format string, a ...any) error {
	return refuse(ErrTorn, "the snapshot is torn: "+format, a...)
}

// Evolver is implemented by codecs that also read what earlier versions of them
// wrote.
type Evolver[T any] = codec.Evolver[T]

// source is where a snapshot is read from.
type source interface {
	// read returns n bytes from off on, which lie within the snapshot; they may
	// be a view.
	read(off, n int64) ([]byte, error)
}

type byteSource []byte

func (b byteSource) read(off, n int64) ([]byte, error) { return b[off : off+n : off+n], nil }

type readerSource struct{ r io.ReaderAt }

func (s readerSource) read(off, n int64) ([]byte, error) {
	b := make([]byte, n)
	m, err := s.r.ReadAt(b, off)
	if int64(m) == n {
		return b, nil
	}
	if errors.Is(err, io.EOF) {
		return nil, torn("it ends at byte %d", off+int64(m))
	}
	return nil, err
}

// Contents is what a snapshot says of itself.
type Contents struct {
	Job                                  string
	Full                                 bool
	Subtask, Parallelism, MaxParallelism int
	tables                               []tableContents
	operators                            []operatorContents
	// Backend names the backend that wrote the keyed tables, "" for memory.
	Backend  string
	off, len int64
	sum      uint32
}

type tableContents struct {
	operator, name, keys, values string
	aged                         bool
	groups                       []groupContents
}

type groupContents struct {
	group       KeyGroup
	count       int
	off, length int64
	sum         uint32
}

type operatorContents struct {
	operator, name, codec string
	kind                  operatorKind
	items                 int
	off, length           int64
	sum                   uint32
}

// scanner reads the contents; after an error it gives zeros.
type scanner struct {
	b    []byte
	fail bool
}

func (s *scanner) number(limit uint64) int {
	v, n := binary.Uvarint(s.b)
	if n <= 0 || v > limit {
		s.fail, s.b = true, nil
		return 0
	}
	s.b = s.b[n:]
	return int(v)
}

func (s *scanner) string() string {
	v, n, err := codec.String{}.Decode(s.b)
	if err != nil {
		s.fail, s.b = true, nil
		return ""
	}
	s.b = s.b[n:]
	return v
}

func (s *scanner) byte() byte {
	if len(s.b) == 0 {
		s.fail = true
		return 0
	}
	v := s.b[0]
	s.b = s.b[1:]
	return v
}

func (s *scanner) uint32() uint32 {
	if len(s.b) < 4 {
		s.fail, s.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint32(s.b)
	s.b = s.b[4:]
	return v
}

// Inspect reads what a snapshot says of itself, without its blocks.
func Inspect(r Reader) (*Contents, error) { return inspect(readerSource{r}, r.Size()) }

func inspect(src source, size int64) (*Contents, error) {
	if size < snapshotHead {
		return nil, refuse(ErrNoSnapshot, "this is no snapshot")
	}
	head, err := src.read(0, snapshotHead)
	if err != nil {
		return nil, err
	}
	if string(head[:3]) != "SDS" {
		return nil, refuse(ErrNoSnapshot, "this is no snapshot")
	}
	if head[3] != snapshotVersion {
		return nil, refuse(ErrVersion, "the snapshot has version %d, this program reads %d", head[3], snapshotVersion)
	}
	room := size - snapshotHead - snapshotTail
	if room < 0 {
		return nil, torn("%d bytes", size)
	}
	tail, err := src.read(size-snapshotTail, snapshotTail)
	if err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(tail))
	if length > room {
		return nil, torn("its contents do not fit")
	}
	b, err := src.read(size-snapshotTail-length, length)
	if err != nil {
		return nil, err
	}
	if crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, head) != binary.LittleEndian.Uint32(tail[4:]) {
		return nil, torn("the checksum of its contents does not match")
	}
	c, end, ok := parseContents(b, room-length)
	if !ok || end != snapshotHead+room-length {
		return nil, torn("its contents make no sense")
	}
	return c, nil
}

// parseContents reads the contents and returns where the last block ends.
func parseContents(b []byte, blocks int64) (c *Contents, end int64, ok bool) {
	s := &scanner{b: b}
	kind := s.byte()
	c = &Contents{Full: kind == kindFull, Job: s.string()}
	c.Subtask, c.Parallelism, c.MaxParallelism = s.number(1<<31), s.number(1<<31), s.number(MaxParallelismLimit)
	off := int64(snapshotHead)
	block := func() (at, length int64, sum uint32) {
		at, length = off, int64(s.number(uint64(snapshotHead+blocks-off)))
		off += length
		return at, length, s.uint32()
	}
	for n := s.number(1 << 20); n > 0 && !s.fail; n-- {
		t := tableContents{operator: s.string(), name: s.string(), keys: s.string(), values: s.string(), aged: s.byte() == 1}
		g := 0
		for m := s.number(MaxParallelismLimit); m > 0 && !s.fail; m-- {
			g += s.number(MaxParallelismLimit)
			if g >= c.MaxParallelism {
				return nil, 0, false
			}
			gc := groupContents{group: KeyGroup(g), count: s.number(1 << 32)}
			gc.off, gc.length, gc.sum = block()
			t.groups = append(t.groups, gc)
		}
		c.tables = append(c.tables, t)
	}
	for n := s.number(1 << 20); n > 0 && !s.fail; n-- {
		o := operatorContents{operator: s.string(), name: s.string(), kind: operatorKind(s.byte()), codec: s.string(), items: s.number(1 << 32)}
		o.off, o.length, o.sum = block()
		c.operators = append(c.operators, o)
	}
	if c.Backend = s.string(); c.Backend != "" {
		c.off, c.len, c.sum = block()
	}
	return c, off, !s.fail && len(s.b) == 0 && (kind == kindFull || kind == kindDelta)
}

// Check returns why a job cannot be restored from the snapshot: it is another's,
// or has another number of key groups.
func (c *Contents) Check(job string, maxParallelism int) error {
	if c.Job != "" && job != "" && c.Job != job {
		return refuse(ErrOtherJob, "the snapshot is of job %q, this is job %q", c.Job, job)
	}
	if c.MaxParallelism != maxParallelism {
		return refuse(ErrOtherKeyGroups, "the snapshot has %d key groups, the job has %d: set the job's maximum parallelism to %d",
			c.MaxParallelism, maxParallelism, c.MaxParallelism)
	}
	return nil
}

// Restore applies snapshots in order: a full one of each old subtask, each
// followed by its deltas. Of keyed state only the subtask's own key groups are
// taken; operator state is spread over the subtasks, so every one of them is
// given the snapshots of all old ones. State of an operator that the job no
// longer has is an error that names it. After an error the set must not be used.
func (s *Set) Restore(snapshots ...[]byte) error {
	all := make([]opened, len(snapshots))
	for i, b := range snapshots {
		all[i] = opened{src: byteSource(b), size: int64(len(b))}
	}
	return s.restore(all)
}

// Reader is a snapshot that is read piece by piece: a File, a bytes.Reader.
type Reader interface {
	io.ReaderAt
	Size() int64
}

// RestoreFrom is Restore for snapshots in files, of which only what the subtask
// needs is read.
func (s *Set) RestoreFrom(snapshots ...Reader) error {
	all := make([]opened, len(snapshots))
	for i, r := range snapshots {
		all[i] = opened{src: readerSource{r}, size: r.Size()}
	}
	return s.restore(all)
}

// opened is a snapshot being read.
type opened struct {
	src  source
	size int64
	*Contents
}

func (s *Set) restore(all []opened) (err error) {
	// With a store each snapshot is whole: the last one of a subtask counts.
	last := map[int]int{}
	for i := range all {
		o := &all[i]
		if o.Contents, err = inspect(o.src, o.size); err != nil {
			return err
		}
		if err := o.Check(s.Job, s.MaxParallelism); err != nil {
			return err
		}
		if have := s.backendName(); o.Backend != have && len(o.tables) > 0 {
			return refuse(ErrBackend, "the snapshot is of the %s backend, the job uses %s", orMemory(o.Backend), orMemory(have))
		}
		last[o.Subtask] = i
	}
	var cuts [][]byte
	var old []migration
	for i := range all {
		o := &all[i]
		if s.store == nil || last[o.Subtask] == i {
			if err := s.restoreTables(o, &cuts, &old); err != nil {
				return err
			}
		}
		for j := range o.operators {
			if err := s.restoreOperator(o.src, o.Contents, &o.operators[j]); err != nil {
				return err
			}
		}
	}
	if len(cuts) > 0 {
		if err := s.store.Restore(cuts, groupStart(int(s.groups.First)), groupStart(int(s.groups.Last)+1)); err != nil {
			return err
		}
	}
	return s.migrate(old)
}

func orMemory(backend string) string {
	if backend == "" {
		return "memory"
	}
	return backend
}

func (s *Set) restoreTables(o *opened, cuts *[][]byte, old *[]migration) error {
	mine, moved, first := false, false, len(*old)
	for i := range o.tables {
		c := &o.tables[i]
		t, err := s.restoreTable(o.src, c)
		if err != nil {
			return err
		}
		for _, g := range c.groups {
			mine = mine || s.groups.Contains(g.group)
		}
		keys, values := t.codecs()
		if s.store != nil && len(c.groups) > 0 && (keys != c.keys || values != c.values || t.aged() != c.aged) {
			*old = append(*old, migration{table: t, contents: c, moved: keys != c.keys})
			moved = moved || keys != c.keys
		}
	}
	if s.store == nil || !mine && !moved {
		return nil
	}
	b, err := o.cut(o.src)
	if mine {
		*cuts = append(*cuts, b)
	}
	for i := range (*old)[first:] {
		(*old)[first+i].cut = b
	}
	return err
}

// cut returns what the backend's store has written into a snapshot.
func (c *Contents) cut(src source) ([]byte, error) {
	return block(src, c.off, c.len, c.sum, func() string { return "the store's place" })
}

// block reads a block and checks it.
func block(src source, off, length int64, sum uint32, what func() string) ([]byte, error) {
	b, err := src.read(off, length)
	if err != nil {
		return nil, err
	}
	if crc32.Checksum(b, castagnoli) != sum {
		return nil, torn("the checksum of %s does not match", what())
	}
	return b, nil
}

func (s *Set) restoreTable(src source, c *tableContents) (table, error) {
	t := s.find(c.operator, c.name)
	if t == nil {
		return nil, refuse(ErrUnknownState, "the snapshot has state %q of operator %q, the job has not", c.name, c.operator)
	}
	keys, values := t.codecs()
	// Under another codec a key may have another hash: then its group is not
	// known before it is read.
	moved := keys != c.keys
	entries := 0
	for _, g := range c.groups {
		if s.groups.Contains(g.group) {
			entries += min(g.count, int(g.length))
		}
	}
	apply, err := t.reader(c, entries, moved)
	if err != nil {
		return nil, refuse(ErrCodec, "%s/%s was written as %s→%s, the job reads %s→%s", c.operator, c.name, c.keys, c.values, keys, values)
	}
	for _, g := range c.groups {
		if !moved && !s.groups.Contains(g.group) {
			continue
		}
		b, err := block(src, g.off, g.length, g.sum, func() string {
			return fmt.Sprintf("%s/%s, key group %d", c.operator, c.name, g.group)
		})
		if err != nil {
			return nil, err
		}
		if err := apply(b, g.group, g.count); err != nil {
			return nil, fmt.Errorf("state: %s/%s, key group %d: %w", c.operator, c.name, g.group, err)
		}
	}
	return t, nil
}

// applier applies a group's entries.
type applier func(src []byte, g KeyGroup, count int) error

// reader returns what applies the entries of a table with those contents, of
// which the given number is to be expected. moved says that keys may belong to
// other groups than the one they were written in.
func (t *Table[K, V]) reader(c *tableContents, entries int, moved bool) (applier, error) {
	keys, values := codec.Reading(t.keys, c.keys), codec.Reading(t.values, c.values)
	if keys == nil || values == nil {
		return nil, ErrCodec
	}
	_, decodeKey := codec.Functions(keys)
	_, decodeValue := codec.Functions(values)
	if t.stored != nil {
		// The entries are in the store; only how many they are is counted here, and
		// of those that may belong elsewhere when they are written anew.
		return func(_ []byte, g KeyGroup, count int) error {
			if moved {
				return nil
			}
			t.live += count
			t.counted(g, int64(count))
			return nil
		}, nil
	}
	if t.index.n == 0 {
		t.index = newIndex[K](entries)
	}
	now := int64(0)
	if t.ttl != nil {
		now = t.ttl.Clock()
	}
	return func(src []byte, g KeyGroup, count int) error {
		for ; len(src) > 0; count-- {
			op := src[0]
			if op != opPut && op != opDelete {
				return fmt.Errorf("byte %d is no entry", op)
			}
			k, n, err := decodeKey(src[1:])
			if err != nil {
				return err
			}
			src = src[1+n:]
			own := GroupOf(t.hash(k), t.set.MaxParallelism)
			if own != g && !moved {
				return fmt.Errorf("a key of group %d is in it", own)
			}
			mine := t.set.groups.Contains(own)
			if op == opDelete {
				if mine {
					t.forget(k)
				}
				continue
			}
			at := now // of a table that had no time to live before
			if c.aged {
				if len(src) < 8 {
					return codec.ErrShort
				}
				at = int64(binary.LittleEndian.Uint64(src))
				src = src[8:]
			}
			v, n, err := decodeValue(src)
			if err != nil {
				return err
			}
			src = src[n:]
			if mine {
				t.recall(k, values.Clone(v), at)
			}
		}
		if count != 0 {
			return fmt.Errorf("its number of entries is off by %d", count)
		}
		return nil
	}, nil
}

// recall gives the table an entry back.
func (t *Table[K, V]) recall(k K, v V, at int64) {
	slot, ok := t.find(k)
	if !ok {
		slot, _ = t.insert(k, false)
	}
	t.at(slot).value = v
	if t.ttl != nil {
		*t.time(slot) = at
	}
}

// forget takes an entry away that a snapshot before gave back.
func (t *Table[K, V]) forget(k K) {
	if slot, ok := t.find(k); ok {
		t.live--
		t.release(slot, t.at(slot))
	}
}
