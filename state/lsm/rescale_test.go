package lsm

import (
	"fmt"
	"testing"

	"streamduel/state"
)

// TestNothingOutsideTheRangeComesBack: a cut that was restored in two halves and
// then grew old leaves in neither half what the other had; both in one are what
// they were last.
func TestNothingOutsideTheRangeComesBack(t *testing.T) {
	const keys = 200
	b := backend(t, t.TempDir(), 1<<20)
	defer b.Close()
	last, middle := []byte{0xff, 0xff, 0xff}, key(keys/2)
	begin := func() *store {
		s, err := b.Open(state.SetConfig{Job: "job"})
		check(t, err)
		return s.(*store)
	}
	cut := func(s *store) []byte {
		c, err := s.Cut()
		check(t, err)
		m, err := c.Append(nil)
		check(t, err)
		return m
	}
	put := func(s *store, from, to int, value string) {
		for i := from; i < to; i++ {
			check(t, s.Put(key(i), []byte(value), i%2 == 0))
		}
		check(t, s.Flush())
	}
	old := begin()
	put(old, 0, keys, "old")
	whole := cut(old)

	var halves [][]byte
	for i, r := range [][2][]byte{{nil, middle}, {middle, last}} {
		s := begin()
		check(t, s.Restore([][]byte{whole}, r[0], r[1]))
		put(s, i*keys/2, (i+1)*keys/2, "new")
		for n := range 12 { // compactions come by themselves
			cut(s)
			put(s, i*keys/2, (i+1)*keys/2, fmt.Sprint("newer ", n))
		}
		put(s, i*keys/2, (i+1)*keys/2, "new")
		halves = append(halves, cut(s))
		check(t, s.Close())
	}
	again := begin()
	check(t, again.Restore(halves, nil, last))
	for i := range keys {
		if v, ok, err := again.Get(key(i)); err != nil || !ok || string(v) != "new" {
			t.Fatalf("%s: %q, %v, %v", key(i), v, ok, err)
		}
	}
	check(t, again.Close())
	check(t, old.Close())
}

func key(i int) []byte { return fmt.Appendf(nil, "k-%05d", i) }
