package state

import (
	"fmt"
	"time"
)

// UpdateOn says what makes a value young again.
type UpdateOn uint8

// The updates.
const (
	OnWrite UpdateOn = iota // creation and every write
	OnReadAndWrite
)

// TTL is a table's time to live, in processing time. A value is expired when its
// last update lies After or more in the past. An expired value is never
// returned, whether it has been cleaned up or not, and no snapshot holds it.
type TTL struct {
	After  time.Duration // whole milliseconds, at least one
	Update UpdateOn
	// Clock returns processing time in Unix milliseconds: the engine's, so that a
	// batch that runs again sees the same time.
	Clock func() int64
	// CleanUp is how many entries each access looks at for expired ones; 0 means
	// 5, and below zero none.
	CleanUp int
}

// WithTTL gives a table a time to live.
func WithTTL(ttl TTL) Option { return func(o *options) { o.ttl = &ttl } }

func (t *TTL) check() error {
	if t.After < time.Millisecond {
		return fmt.Errorf("time to live %v: at least 1 ms is allowed", t.After)
	}
	if t.Clock == nil {
		return fmt.Errorf("time to live %v has no clock", t.After)
	}
	if t.Update > OnReadAndWrite {
		return fmt.Errorf("time to live %v: update %d is not known", t.After, t.Update)
	}
	if t.CleanUp == 0 {
		t.CleanUp = 5
	}
	return nil
}

// over reports whether a value updated at a time has expired.
func (t *TTL) over(updated, now int64) bool {
	// The difference is taken this way round because a clock's first value may
	// be the smallest number.
	return now >= updated && uint64(now)-uint64(updated) >= uint64(t.After.Milliseconds())
}

func (t *Table[K, V]) time(slot uint32) *int64 {
	return &t.chunks[slot>>t.shift].times[slot&t.mask]
}

// expired reports whether a slot's value is too old now.
func (t *Table[K, V]) expired(slot uint32) bool {
	return t.ttl != nil && t.ttl.over(*t.time(slot), t.ttl.Clock())
}

func (t *Table[K, V]) getSlow(k K) (v V, ok bool) {
	slot, ok := t.lookup(k)
	if !ok {
		return v, false
	}
	e := t.at(slot)
	if e.state != slotLive {
		return v, false
	}
	if t.ttl == nil {
		return e.value, true
	}
	now := t.ttl.Clock()
	if t.ttl.over(*t.time(slot), now) {
		t.remove(slot)
		return v, false
	}
	if t.ttl.Update == OnReadAndWrite && *t.time(slot) != now {
		e = t.touch(slot)
		*t.time(slot) = now
	}
	v = e.value
	t.sweep(now)
	return v, true
}

func (t *Table[K, V]) refSlow(k K) (v *V, fresh bool) {
	if t.stored != nil {
		t.limitChanges()
	}
	now := int64(0)
	if t.ttl != nil {
		now = t.ttl.Clock()
		t.sweep(now)
	}
	slot, ok := t.lookup(k)
	var e *entry[K, V]
	if ok {
		e = t.touch(slot)
	} else {
		slot, e = t.insert(k, true)
		fresh = true
	}
	if e.state == slotDead {
		t.revive(e)
		fresh = true
	}
	if t.ttl != nil {
		if !fresh && t.ttl.over(*t.time(slot), now) {
			var zero V
			e.value = zero
			fresh = true
		}
		*t.time(slot) = now
	}
	return &e.value, fresh
}

func (t *Table[K, V]) deleteSlow(k K) {
	if slot, ok := t.lookup(k); ok {
		t.remove(slot)
	}
	if t.ttl != nil {
		t.sweep(t.ttl.Clock())
	}
}

// sweep looks at a few entries and removes those that have expired.
func (t *Table[K, V]) sweep(now int64) {
	for range min(t.ttl.CleanUp, int(t.next)) {
		if t.cursor++; t.cursor >= t.next {
			t.cursor = 0
		}
		if t.at(t.cursor).state == slotLive && t.ttl.over(*t.time(t.cursor), now) {
			t.remove(t.cursor)
		}
	}
	if t.stored != nil && t.ttl.CleanUp > 0 {
		if t.stored.owed += t.ttl.CleanUp; t.stored.owed >= sweepAtOnce {
			t.stored.owed = 0
			t.sweepStored(now)
		}
	}
}
