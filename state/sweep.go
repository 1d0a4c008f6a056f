package state

import (
	"bytes"
	"encoding/binary"
)

// sweepAtOnce is how many entries of a store one look for expired ones goes over:
// as many as the accesses since the last one owe, because to begin costs as much
// as tens of them.
const sweepAtOnce = 256

// sweeping is where the look for expired entries in the store has got to.
type sweeping struct {
	owed  int      // entries that accesses have paid for
	group int      // counted from the set's first group
	from  []byte   // the key to go on from, empty at the group's first
	old   [][]byte // keys whose entries seem to have expired
}

// sweepStored looks at the entries that come next in the store and deletes those
// that have expired, if the cache has no younger value of them. It goes round the
// table's groups, so that an entry that nobody asks for again is seen when about
// as many entries have been asked for as there are, and costs no more than the
// same number of looks.
func (t *Table[K, V]) sweepStored(now int64) {
	st := t.stored
	if st.store.Busy(st.scanned) {
		return // deleting would wait
	}
	st.old = st.old[:0]
	for left, groups := sweepAtOnce, len(st.counts); left > 0 && groups > 0; groups-- {
		left = t.sweepGroup(left, now)
	}
	for _, key := range st.old {
		t.expire(key, now)
	}
	t.set.fail(st.store.Flush())
}

// sweepGroup looks at up to so many entries of a group, and moves on to the next
// one when it is through. It returns how many it has not used.
func (t *Table[K, V]) sweepGroup(left int, now int64) int {
	st := t.stored
	through := true
	if st.counts[st.group] > 0 {
		var prefix [prefixBytes]byte
		binary.BigEndian.PutUint16(prefix[:], uint16(int(t.set.groups.First)+st.group))
		binary.BigEndian.PutUint32(prefix[2:], st.prefix)
		from := prefix[:]
		if len(st.from) > 0 {
			from = bytes.Clone(st.from)
		}
		end := prefix
		t.set.fail(st.store.Scan(from, after(end[:]), func(key, value []byte) bool {
			if left == 0 {
				st.from, through = append(st.from[:0], key...), false
				return false
			}
			left--
			if len(value) >= 8 && t.ttl.over(int64(binary.LittleEndian.Uint64(value)), now) {
				st.old = append(st.old, bytes.Clone(key))
			}
			return true
		}))
	}
	if through {
		st.from = st.from[:0]
		if st.group++; st.group == len(st.counts) {
			st.group = 0
		}
	}
	return left
}

// expire deletes an entry that has expired as far as the store's files know.
func (t *Table[K, V]) expire(key []byte, now int64) {
	k, _, err := t.keys.Decode(key[prefixBytes:])
	if err != nil {
		t.set.fail(err)
		return
	}
	if slot, ok := t.find(k); ok { // the cache knows better
		if t.at(slot).state == slotLive && t.ttl.over(*t.time(slot), now) {
			t.remove(slot)
		}
		return
	}
	v, ok, err := t.stored.store.Get(key)
	if err != nil || !ok || len(v) < 8 || !t.ttl.over(int64(binary.LittleEndian.Uint64(v)), now) {
		t.set.fail(err)
		return
	}
	t.set.fail(t.stored.store.Delete(key, t.stored.scanned))
	t.live--
	t.removed++
	t.counted(GroupOf(t.hash(k), t.set.MaxParallelism), -1)
}
