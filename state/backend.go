package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"streamduel/codec"
)

// Backend makes the stores in which keyed tables are kept. A set without one
// keeps them in memory.
type Backend interface {
	// Name names the backend and its format; a snapshot is read by its own. What
	// stands before the slash is also the name of the folder, in the job's, that
	// the shared files lie in.
	Name() string
	// CacheBytes is the memory that the tables of a subtask may keep of their
	// entries, decoded.
	CacheBytes() int64
	// Open makes the empty store of a subtask.
	Open(c SetConfig) (Store, error)
	// Shared returns the shared files that a cut relies on.
	Shared(cut []byte) ([]SharedFile, error)
	// Check returns an error that is ErrTorn when one of the files is not there
	// whole.
	Check(files []SharedFile) error
	// Relied returns the shared files on which an open store relies.
	Relied() map[string]bool
	// Sweep deletes the shared files of this and of earlier attempts on which no
	// open store relies and which are not kept. It asks what is kept after it has
	// looked which files there are, so that snapshots may be written meanwhile.
	// Stores in other processes must be among what is kept.
	Sweep(kept func() (map[string]bool, error)) error
	// Close is called when all stores have been closed.
	Close()
}

// SharedFile is a file on which several snapshots may rely.
type SharedFile struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Backends makes a job's backend, at each start.
type Backends func(BackendEnv) (Backend, error)

// BackendEnv says what a backend is for.
type BackendEnv struct {
	// Folder is the job's, in which the backend has folders of its own.
	Folder *Folder
	// Attempt is the number of the start: files of later ones are not touched.
	Attempt int
	// Subtasks is how many with keyed state share the memory.
	Subtasks int
}

// SharedFiles returns the files of the backend on which a snapshot relies.
func SharedFiles(b Backend, snapshot Reader) ([]SharedFile, error) {
	c, err := Inspect(snapshot)
	if err != nil || c.Backend == "" || b == nil || b.Name() != c.Backend {
		return nil, err // another backend's will be refused
	}
	cut, err := c.cut(readerSource{snapshot})
	if err != nil {
		return nil, err
	}
	return b.Shared(cut)
}

// Store is the sorted byte store of one subtask. Its methods belong to the
// subtask's goroutine.
type Store interface {
	// Get returns a key's value, which is valid until the next call.
	Get(key []byte) (value []byte, ok bool, err error)
	// GetAll calls f with the value of each of the keys, which come in order and
	// each once. What f is given is valid during the call, in which f may write
	// other keys.
	GetAll(keys [][]byte, f func(i int, value []byte, ok bool)) error
	// Put and Delete take effect with Flush. They may wait while a cut that was
	// made is not yet written; Busy says so. A key is always scanned or never:
	// of one that is not, Scan knows only what a Settle came behind.
	Put(key, value []byte, scanned bool) error
	Delete(key []byte, scanned bool) error
	Flush() error
	Busy(scanned bool) bool
	Settle() error
	// Scan calls f for the keys from (included) to (not included) in order until
	// it returns false. What f is given is valid during the call, in which f may
	// write; what it writes it need not be given.
	Scan(from, to []byte, f func(key, value []byte) bool) error
	// Cut takes the state at this moment.
	Cut() (Cut, error)
	// Restore adds to the store what cuts hold of the keys from (included) to
	// (not included).
	Restore(cuts [][]byte, from, to []byte) error
	// Read calls f for the keys that a cut holds from (included) to (not included),
	// nil for all, in order until it returns false. What f is given is valid during
	// the call, in which f may write to the store.
	Read(cut []byte, from, to []byte, f func(key, value []byte) bool) error
	// Usage returns the bytes that it takes beside what it shares with others, in
	// memory and on disk.
	Usage() (memory, disk int64)
	Close() error
}

// Cut is a store's state at one moment, to be written or discarded on any
// goroutine.
type Cut interface {
	// Append writes the state and appends what finds it again.
	Append(dst []byte) ([]byte, error)
	Discard()
}

// UseBackend keeps the set's tables in a backend's store. It is called before
// the first table is added; the set must be closed then.
func (s *Set) UseBackend(b Backend) error {
	if len(s.tables) > 0 {
		return fmt.Errorf("state: the backend %s comes after the first table", b.Name())
	}
	store, err := b.Open(s.SetConfig)
	if err != nil {
		return fmt.Errorf("state: backend %s: %w", b.Name(), err)
	}
	s.backend, s.store = b, store
	return nil
}

// Close gives the backend's store back.
func (s *Set) Close() error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

func (s *Set) backendName() string {
	if s.backend == nil {
		return ""
	}
	return s.backend.Name()
}

// prefixBytes is what stands in front of a key in a store: its group, so that a
// range of groups is a range of keys, and a hash of the operator and table.
const prefixBytes = 6

func tablePrefix(operator, name string) uint32 {
	return crc32.Checksum([]byte(operator+"\x00"+name), castagnoli)
}

// groupStart returns where a group's keys begin.
func groupStart(g int) []byte { return []byte{byte(g >> 8), byte(g)} }

// stored is the part of a table that lies in a store; the table itself is a
// cache in front of it. An entry is dirty when its epoch is the table's.
type stored struct {
	store      Store
	prefix     uint32
	entryBytes int64
	scanned    bool    // ranges of keys are gone through, now and then
	limit      int     // entries in the cache
	told       int     // how many of the table's listed changes are in the store
	used       []bool  // slots used since the hand went over them
	hand       uint32  // of the clock that chooses what leaves
	counts     []int64 // keys by group, from the set's first group on
	key, val   []byte  // scratch
	fetching
	sweeping
}

func newStored(s *Set, operator, name string, entryBytes int64) *stored {
	return &stored{
		store: s.store, prefix: tablePrefix(operator, name), entryBytes: entryBytes,
		counts: make([]int64, int(s.groups.Last)-int(s.groups.First)+1),
	}
}

// limitCache sets how much of the table is kept decoded.
func (t *Table[K, V]) limitCache(bytes int64) {
	t.stored.limit = max(int(bytes/t.stored.entryBytes), 16)
}

// storeKey encodes a key for the store; it is valid until the next call.
func (t *Table[K, V]) storeKey(k K, g KeyGroup) []byte {
	b := binary.BigEndian.AppendUint16(t.stored.key[:0], uint16(g))
	b = binary.BigEndian.AppendUint32(b, t.stored.prefix)
	t.stored.key = t.keys.Append(b, k)
	return t.stored.key
}

// lookup returns a key's slot, getting it from the store when it is not in the
// cache.
func (t *Table[K, V]) lookup(k K) (slot uint32, ok bool) {
	slot, ok = t.find(k)
	if t.stored == nil {
		return slot, ok
	}
	if ok {
		t.stored.used[slot] = true
		return slot, true
	}
	b, ok, err := t.stored.store.Get(t.storeKey(k, GroupOf(t.hash(k), t.set.MaxParallelism)))
	if err != nil || !ok {
		t.set.fail(err)
		return 0, false
	}
	v, at, err := t.decodeStored(b)
	if err != nil {
		t.set.fail(fmt.Errorf("state %q: %w", t.name, err))
		return 0, false
	}
	v = t.values.Clone(v)
	slot, e := t.insert(k, false)
	e.value = v
	if t.ttl != nil {
		*t.time(slot) = at
	}
	return slot, true
}

func (t *Table[K, V]) decodeStored(b []byte) (v V, at int64, err error) {
	if t.ttl != nil {
		if len(b) < 8 {
			return v, 0, codec.ErrShort
		}
		at, b = int64(binary.LittleEndian.Uint64(b)), b[8:]
	}
	v, n, err := t.values.Decode(b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("%d bytes behind a value", len(b)-n)
	}
	return v, at, err
}

// placed notes a new slot in the cache; the caller counts keys.
func (st *stored) placed(slot uint32) {
	for int(slot) >= len(st.used) {
		st.used = append(st.used, false)
	}
	st.used[slot] = true
}

func (t *Table[K, V]) counted(g KeyGroup, n int64) {
	if i := int(g) - int(t.set.groups.First); t.stored != nil && i >= 0 && i < len(t.stored.counts) {
		t.stored.counts[i] += n
	}
}

// makeRoom lets entries leave the cache when it is full, changed ones by way of
// the store. Many at once: a batch costs little more than an entry. While a cut
// is being written changed entries stay, up to twice the limit.
func (t *Table[K, V]) makeRoom() {
	st := t.stored
	if t.index.n < st.limit {
		return
	}
	busy := t.index.n < 2*st.limit && st.store.Busy(st.scanned)
	leave := max(min(st.limit/16, 1024), 1)
	for n := uint32(0); n < 2*t.next && leave > 0; n++ {
		if st.hand++; st.hand >= t.next {
			st.hand = 0
		}
		slot := st.hand
		e := t.at(slot)
		if e.state == slotFree {
			continue
		}
		if st.used[slot] {
			st.used[slot] = false
			continue
		}
		if e.epoch == t.epoch {
			if busy {
				continue
			}
			t.writeBack(slot, e)
			if e.state == slotFree {
				leave--
				continue
			}
		}
		t.release(slot, e)
		leave--
	}
	t.set.fail(st.store.Flush())
	if len(t.changed)-st.told > 2*st.limit {
		t.flush() // entries that came, left and came again are listed twice
	}
}

// A cut waits until all changed entries are in the store, so they are kept few:
// maxChanges take some ten milliseconds. What changes often is put there once
// for so many changes of others.
const (
	maxChanges = 8192
	tellAtOnce = 64
)

// limitChanges puts the oldest changes into the store when there are many.
func (t *Table[K, V]) limitChanges() {
	st := t.stored
	most := min(st.limit/8, maxChanges)
	if len(t.changed)-st.told <= most+tellAtOnce || st.store.Busy(st.scanned) {
		return
	}
	// Twice as many as came, to catch up with what came while it was busy.
	until := st.told + 2*tellAtOnce
	if behind := len(t.changed) - until; behind < most {
		until = len(t.changed) - most
	}
	t.tell(until)
	if st.told >= most { // the list moves up, at a copy a change
		n := copy(t.changed, t.changed[st.told:])
		t.changed, st.told = t.changed[:n], 0
	}
	t.set.fail(st.store.Flush())
}

// tell puts changed entries into the store, up to a place in the list of them.
func (t *Table[K, V]) tell(until int) {
	for _, slot := range t.changed[t.stored.told:until] {
		switch e := t.at(slot); {
		case e.state == slotFree:
			e.epoch = 0 // it is not listed any more
		case e.epoch == t.epoch:
			t.writeBack(slot, e)
		}
	}
	t.stored.told = until
}

// writeBack puts a changed entry into the store. A deleted one is freed.
func (t *Table[K, V]) writeBack(slot uint32, e *entry[K, V]) {
	st := t.stored
	e.epoch, e.born = 0, false
	k := t.storeKey(e.key, e.group)
	if e.state == slotDead {
		t.set.fail(st.store.Delete(k, st.scanned))
		t.release(slot, e)
		return
	}
	at := int64(0)
	if t.ttl != nil {
		at = *t.time(slot)
	}
	t.set.fail(st.store.Put(k, t.storeValue(e.value, at), st.scanned))
}

// storeValue encodes a value for the store, behind its time under a time to live;
// it is valid until the next call.
func (t *Table[K, V]) storeValue(v V, at int64) []byte {
	b := t.stored.val[:0]
	if t.ttl != nil {
		b = binary.LittleEndian.AppendUint64(b, uint64(at))
	}
	t.stored.val = t.values.Append(b, v)
	return t.stored.val
}

// flush puts all changed entries into the store.
func (t *Table[K, V]) flush() {
	t.tell(len(t.changed))
	t.changed, t.stored.told = t.changed[:0], 0
	t.graves, t.reclaim = t.graves[:0], t.reclaim[:0]
	t.set.fail(t.stored.store.Flush())
}

// eachStored is Each over the store.
func (t *Table[K, V]) eachStored(f func(k K, v V) bool) {
	t.flush()
	if !t.stored.scanned {
		t.set.fail(t.stored.store.Settle())
	}
	var from, to [prefixBytes]byte
	binary.BigEndian.PutUint32(from[2:], t.stored.prefix)
	for i, n := range t.stored.counts {
		if n == 0 {
			continue
		}
		binary.BigEndian.PutUint16(from[:], uint16(int(t.set.groups.First)+i))
		to = from
		if !t.scan(from[:], after(to[:]), f) {
			return
		}
	}
}

// after returns the first key behind all that begin with the prefix; it changes
// it in place. All ones have none: nil, the end.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i]++; prefix[i] != 0 {
			return prefix[:i+1]
		}
	}
	return nil
}

// scan calls f for a range of the store's keys.
func (t *Table[K, V]) scan(from, to []byte, f func(k K, v V) bool) (more bool) {
	more = true
	now := int64(0)
	if t.ttl != nil {
		now = t.ttl.Clock()
	}
	var bad error
	err := t.stored.store.Scan(from, to, func(key, value []byte) bool {
		k, _, err := t.keys.Decode(key[prefixBytes:])
		if err != nil {
			bad = err
			return false
		}
		v, at, err := t.decodeStored(value)
		if err != nil {
			bad = err
			return false
		}
		if t.ttl == nil || !t.ttl.over(at, now) {
			more = f(t.keys.Clone(k), t.values.Clone(v))
		}
		return more
	})
	t.set.fail(err)
	t.set.fail(bad)
	return more && err == nil && bad == nil
}

// storedImage is a table of which the store has taken the state: only the
// numbers of keys are left to be written.
type storedImage struct {
	first  KeyGroup
	counts []int64
}

func (t *Table[K, V]) storedImage() image {
	t.flush()
	return &storedImage{t.set.groups.First, append([]int64(nil), t.stored.counts...)}
}

func (im *storedImage) write(dst, contents []byte) ([]byte, []byte) {
	used := 0
	for _, n := range im.counts {
		if n > 0 {
			used++
		}
	}
	contents = binary.AppendUvarint(contents, uint64(used))
	last := 0
	for i, n := range im.counts {
		if n <= 0 {
			continue
		}
		g := int(im.first) + i
		contents = binary.AppendUvarint(contents, uint64(g-last))
		contents = binary.AppendUvarint(contents, uint64(n))
		contents = appendBlock(contents, nil)
		last = g
	}
	return dst, contents
}

func (im *storedImage) release() {}
