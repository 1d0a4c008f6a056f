package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"streamduel/codec"
)

// subtasks are a job's sets with all handles in a test, over a clock that the
// test moves.
type subtasks struct {
	t    interface{ Fatal(...any) }
	now  *int64
	ttl  []Option
	most int
	all  []*handles
}

type handles struct {
	set    *Set
	value  Value[int64, string]
	list   List[int64, string]
	fields *Map[int64, string, int64]
	sum    Reducing[int64, int64]
	mean   Aggregating[int64, int64, [2]int64, float64]
}

func meanCodec() codec.Codec[[2]int64] {
	return codec.Struct("mean/1", func(dst []byte, v [2]int64) []byte {
		return codec.Int64{}.Append(codec.Int64{}.Append(dst, v[0]), v[1])
	}, func(src []byte) (v [2]int64, n int, err error) {
		if v[0], _, err = (codec.Int64{}).Decode(src); err == nil {
			v[1], _, err = codec.Int64{}.Decode(src[8:])
		}
		return v, 16, err
	}, nil)
}

func (s *subtasks) make(parallelism int) {
	s.all = nil
	for i := range parallelism {
		set := NewSetOf(SetConfig{Job: "job", Subtask: i, Parallelism: parallelism, MaxParallelism: s.most})
		h := &handles{set: set}
		var errs [5]error
		str, num := codec.Codec[string](codec.StringView{}), codec.Codec[int64](codec.Int64{})
		h.value, errs[0] = NewValue(set, "op", "value", num, str, s.ttl...)
		h.list, errs[1] = NewKeyedList(set, "op", "list", num, str, s.ttl...)
		h.fields, errs[2] = NewMap(set, "op", "map", num, str, num, s.ttl...)
		h.sum, errs[3] = NewReducing(set, "op", "sum", num, num, func(a, b int64) int64 { return a + b }, s.ttl...)
		h.mean, errs[4] = NewAggregating(set, "op", "mean", num, meanCodec(),
			func(acc *[2]int64, v int64) { acc[0] += v; acc[1]++ },
			func(acc [2]int64) float64 { return float64(acc[0]) / float64(acc[1]) }, s.ttl...)
		for _, err := range errs {
			if err != nil {
				s.t.Fatal(err)
			}
		}
		s.all = append(s.all, h)
	}
}

func (s *subtasks) of(k int64) *handles {
	return s.all[OwnerOf(GroupOf(must(Hasher[int64](nil))(k), s.most), len(s.all), s.most)]
}

// dated is what the model knows of a value.
type dated[V any] struct {
	v  V
	at int64
}

// Handles with and without a time to live, over changes of the clock, full
// snapshots, deltas and restores at other parallelisms: they return what a plain
// model does, and snapshots hold nothing that has expired.
func TestHandlesAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := int64(1000)
		s := &subtasks{t: t, now: &now, most: rapid.SampledFrom([]int{5, 128}).Draw(t, "max")}
		after := int64(1 << 40)
		update := OnWrite
		if rapid.Bool().Draw(t, "ttl") {
			after = 10
			update = rapid.SampledFrom([]UpdateOn{OnWrite, OnReadAndWrite}).Draw(t, "update")
			s.ttl = []Option{WithTTL(TTL{After: 10 * time.Millisecond, Update: update, Clock: func() int64 { return now },
				CleanUp: rapid.SampledFrom([]int{-1, 0, 1}).Draw(t, "clean-up")})}
		}
		s.make(rapid.IntRange(1, 4).Draw(t, "parallelism"))
		values, sums, means := map[int64]dated[string]{}, map[int64]dated[int64]{}, map[int64]dated[[2]int64]{}
		lists := map[int64][]dated[string]{}
		type field struct {
			k int64
			f string
		}
		fields := map[field]dated[int64]{}
		young := func(at int64) bool { return now-at < after }
		var chains [][][]byte
		snapshot := func(full bool) {
			if full || chains == nil {
				full, chains = true, make([][][]byte, len(s.all))
			}
			for i, h := range s.all {
				chains[i] = append(chains[i], h.set.Snapshot(nil, full))
			}
		}
		buf := make([]byte, 16)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			k := rapid.Int64Range(0, 5).Draw(t, "key")
			word := rapid.SampledFrom([]string{"", "a", "bb"}).Draw(t, "word")
			view := viewOf(append(buf[:0], word...))
			h := s.of(k)
			switch op := rapid.IntRange(0, 14).Draw(t, "op"); op {
			case 0:
				h.value.Set(k, view)
				values[k] = dated[string]{word, now}
			case 1:
				h.value.Clear(k)
				delete(values, k)
			case 2:
				h.list.Add(k, view)
				lists[k] = append(lists[k], dated[string]{word, now})
			case 3:
				h.list.Set(k, []string{view, "x"})
				lists[k] = []dated[string]{{word, now}, {"x", now}}
			case 4:
				h.list.Clear(k)
				delete(lists, k)
			case 5, 6:
				h.fields.Put(k, view, k)
				fields[field{k, word}] = dated[int64]{k, now}
			case 7:
				h.fields.Delete(k, view)
				delete(fields, field{k, word})
			case 8:
				h.fields.Clear(k)
				maps.DeleteFunc(fields, func(f field, _ dated[int64]) bool { return f.k == k })
			case 9:
				old := sums[k]
				if !young(old.at) {
					old.v = 0
				}
				sums[k] = dated[int64]{old.v + k + 1, now}
				if got := h.sum.Add(k, k+1); got != sums[k].v {
					t.Fatalf("sum of %d: %d, want %d", k, got, sums[k].v)
				}
			case 10:
				old := means[k]
				if !young(old.at) {
					old.v = [2]int64{}
				}
				means[k] = dated[[2]int64]{[2]int64{old.v[0] + k, old.v[1] + 1}, now}
				h.mean.Add(k, k)
			case 11:
				now += rapid.Int64Range(0, 7).Draw(t, "passed")
			case 12, 13:
				snapshot(op == 12)
			case 14:
				snapshot(rapid.Bool().Draw(t, "full"))
				s.make(rapid.IntRange(1, 4).Draw(t, "parallelism"))
				for _, h := range s.all {
					for _, chain := range chains {
						for _, b := range chain {
							b = bytes.Clone(b)
							if err := h.set.Restore(b); err != nil {
								t.Fatal(err)
							}
							clear(b)
						}
					}
				}
				chains = nil
			}
			// Reading some, so that the update on read shows.
			if rapid.Bool().Draw(t, "read") {
				h := s.of(k)
				d, has := values[k]
				if v, ok := h.value.Get(k); ok != (has && young(d.at)) || ok && v != d.v {
					t.Fatalf("value of %d at %d: %q, %v; the model has %v, %v", k, now, v, ok, d, has)
				} else if ok && update == OnReadAndWrite {
					values[k] = dated[string]{v, now}
				}
				want := []string{}
				kept := lists[k][:0]
				for _, d := range lists[k] {
					if young(d.at) {
						want = append(want, d.v)
						if update == OnReadAndWrite {
							d.at = now
						}
						kept = append(kept, d)
					}
				}
				lists[k] = kept
				if got := h.list.Get(k); !slices.Equal(got, want) {
					t.Fatalf("list of %d: %q, want %q", k, got, want)
				}
				f := fields[field{k, word}]
				if v, ok := h.fields.Get(k, word); ok != (f.at != 0 && young(f.at)) || ok && v != f.v {
					t.Fatalf("field %q of %d: %d, %v; the model has %v", word, k, v, ok, f)
				} else if ok && update == OnReadAndWrite {
					fields[field{k, word}] = dated[int64]{v, now}
				}
				m := means[k]
				if v, ok := h.mean.Get(k); ok != (m.at != 0 && young(m.at)) || ok && v != float64(m.v[0])/float64(m.v[1]) {
					t.Fatalf("mean of %d: %v, %v; the model has %v", k, v, ok, m)
				} else if ok && update == OnReadAndWrite {
					means[k] = dated[[2]int64]{m.v, now}
				}
			}
			got, want := map[string]int64{}, map[string]int64{}
			through := rapid.Bool().Draw(t, "through")
			if through {
				s.of(k).fields.Each(k, func(f string, v int64) bool { got[f] = v; return true })
			}
			for f, d := range fields {
				if f.k == k && young(d.at) {
					want[f.f] = d.v
					if through && update == OnReadAndWrite {
						fields[f] = dated[int64]{d.v, now}
					}
				}
			}
			if through && !maps.Equal(got, want) || s.of(k).fields.Empty(k) != (len(want) == 0) {
				t.Fatalf("fields of %d at %d: %v, want %v", k, now, got, want)
			}
		}
		// The full snapshot holds what is young, and no more.
		stored, alive := 0, 0
		for _, h := range s.all {
			b := h.set.Snapshot(nil, true)
			c := must(inspect(byteSource(b), int64(len(b))))
			for _, t := range c.tables {
				for _, g := range t.groups {
					stored += g.count
				}
			}
		}
		for _, d := range values {
			alive += count(young(d.at))
		}
		for _, d := range sums {
			alive += count(young(d.at))
		}
		for _, d := range means {
			alive += count(young(d.at))
		}
		for _, d := range fields {
			alive += count(young(d.at))
		}
		for _, l := range lists {
			if slices.ContainsFunc(l, func(d dated[string]) bool { return young(d.at) }) {
				alive++
			}
		}
		if stored != alive {
			t.Fatalf("the snapshot has %d entries, %d are alive", stored, alive)
		}
	})
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// What nobody asks for again is cleaned up by other accesses, a few entries at
// each.
func TestExpiredEntriesAreCleanedUpOnTheWay(t *testing.T) {
	now := int64(0)
	_, table := numbersTable(t, 1000, WithTTL(TTL{After: time.Second, Clock: func() int64 { return now }}))
	now = 999
	for range 1000 {
		table.Get(0)
	}
	if n := table.Len(); n != 1000 {
		t.Fatalf("%d keys before their time is over", n)
	}
	now = 1000
	for i := range 100 {
		table.Get(-1 - int64(i)) // not there
		table.Ref(5000)
	}
	if n := table.Len(); n > 1000-100*5+2 || n < 400 {
		t.Errorf("%d keys after 200 accesses", n)
	}
	for range 200 {
		table.Ref(5000)
	}
	if n := table.Len(); n != 1 {
		t.Errorf("%d keys are left, one is young", n)
	}
}

func TestTTLIsChecked(t *testing.T) {
	clock := func() int64 { return 0 }
	for want, ttl := range map[string]TTL{
		"at least 1 ms": {Clock: clock},
		"has no clock":  {After: time.Second},
		"update 7":      {After: time.Second, Clock: clock, Update: 7},
	} {
		s := NewSet(RangeOf(0, 1, 128), 128)
		_, err := NewValue(s, "op", "v", codec.Codec[int64](codec.Int64{}), codec.Codec[int64](codec.Int64{}), WithTTL(ttl))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `op: state "v"`) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A table that is given a time to live, or loses it, reads what it wrote before:
// what has no time is as old as the restore.
func TestTTLCanBeAddedAndTakenAway(t *testing.T) {
	now := int64(5000)
	ttl := WithTTL(TTL{After: time.Second, Clock: func() int64 { return now }})
	plain, _ := numbersTable(t, 10)
	aged, table := numbersTable(t, 0, ttl)
	if err := aged.Restore(plain.Snapshot(nil, true)); err != nil {
		t.Fatal(err)
	}
	now += 999
	if _, ok := table.Get(3); !ok {
		t.Error("a value is gone before its time")
	}
	b := aged.Snapshot(nil, true)
	now++
	if _, ok := table.Get(3); ok {
		t.Error("a value outlived its time")
	}
	plain, table = numbersTable(t, 0)
	if err := plain.Restore(b); err != nil || table.Len() != 10 {
		t.Errorf("%d keys, %v", table.Len(), err)
	}
}

func TestHandlesDoNotAllocate(t *testing.T) {
	now := int64(0)
	for _, opts := range [][]Option{nil, {WithTTL(TTL{After: time.Hour, Clock: func() int64 { return now }, Update: OnReadAndWrite})}} {
		s := &subtasks{t: t, now: &now, most: 128, ttl: opts}
		s.make(1)
		h := s.all[0]
		all := func() {
			now++
			v, _ := h.value.Ref(7) // Set copies the string
			*v = "v"
			h.value.Get(7)
			h.fields.Put(7, "f", 1)
			h.fields.Get(7, "f")
			h.sum.Add(7, 1)
			h.mean.Add(7, 1)
			h.mean.Get(7)
		}
		all()
		if n := testing.AllocsPerRun(100, all); n != 0 {
			t.Errorf("%v allocations with %d options", n, len(opts))
		}
	}
}

// The shares of a list are those of Flink's RoundRobinOperatorStateRepartitioner:
// stretches of all old subtasks' items, as equal as they can be, whichever old
// subtasks had none.
func TestOperatorListShares(t *testing.T) {
	num := codec.Codec[int64](codec.Int64{})
	for _, c := range []struct {
		old  []int // items of each old subtask
		want [][]int64
	}{
		{[]int{1, 0, 1, 0}, [][]int64{{0}, {1}}},
		{[]int{7}, [][]int64{{0, 1, 2}, {3, 4}, {5, 6}}},
		{[]int{3, 2}, [][]int64{{0, 1, 2, 3, 4}}},
		{[]int{1, 1}, [][]int64{{0}, {1}, nil}},
		{[]int{4, 1}, [][]int64{{0, 1, 2, 3}, {4}}}, // the same parallelism: each keeps its own
		{[]int{4, 1, 0}, [][]int64{{0, 1, 2}, {3, 4}}},
	} {
		build := func(i, parallelism int) (*Set, *OperatorList[int64]) {
			s := NewSetOf(SetConfig{Subtask: i, Parallelism: parallelism, MaxParallelism: 4})
			return s, must(NewList(s, "op", "list", num))
		}
		var chains [][]byte
		next := int64(0)
		for i, n := range c.old {
			s, l := build(i, len(c.old))
			for range n {
				l.Add(next)
				next++
			}
			chains = append(chains, s.Snapshot(nil, true))
		}
		for i, want := range c.want {
			s, l := build(i, len(c.want))
			if err := s.Restore(chains...); err != nil {
				t.Fatal(err)
			}
			if got := l.Items(); !slices.Equal(got, want) {
				t.Errorf("%v → %d: subtask %d has %v, want %v", c.old, len(c.want), i, got, want)
			}
		}
	}
}

// Operator state is dealt out again at another parallelism, and stays where it
// was at the same one.
func TestOperatorStateIsSpread(t *testing.T) {
	str := codec.Codec[string](codec.String{})
	type sub struct {
		set         *Set
		list, union *OperatorList[string]
		rules       *Broadcast[string, int64]
	}
	build := func(parallelism int) (subs []sub) {
		for i := range parallelism {
			x := sub{set: NewSetOf(SetConfig{Subtask: i, Parallelism: parallelism, MaxParallelism: 2})} // more subtasks than key groups
			x.list = must(NewList(x.set, "op", "list", str))
			x.union = must(NewUnionList(x.set, "op", "union", str))
			x.rules = must(NewBroadcast(x.set, "op", "rules", str, codec.Codec[int64](codec.Int64{})))
			subs = append(subs, x)
		}
		return subs
	}
	for before := 1; before <= 4; before++ {
		for after := 1; after <= 4; after++ {
			old := build(before)
			var chains [][]byte
			var items []string
			for i, x := range old {
				x.list.Add("gone")
				x.rules.Put("gone", 1)
				chains = append(chains, x.set.Snapshot(nil, true)) // what the next one replaces
				x.list.Set(nil)
				x.rules.Delete("gone")
				for j := range 5 {
					item := fmt.Sprint(i, "/", j)
					items = append(items, item)
					x.list.Add(item)
					x.union.Add(item)
				}
				x.rules.Put("rule", int64(before))
				x.rules.Put("other", 2)
				chains = append(chains, x.set.Snapshot(nil, false))
			}
			var dealt []string
			for i, x := range build(after) {
				if err := x.set.Restore(chains...); err != nil {
					t.Fatal(err)
				}
				got := x.list.Items()
				dealt = append(dealt, got...)
				if before == after && !slices.Equal(got, old[i].list.Items()) {
					t.Errorf("%d → %d: subtask %d has %q", before, after, i, got)
				}
				if got := x.union.Items(); !slices.Equal(got, items) {
					t.Errorf("%d → %d: union %q", before, after, got)
				}
				rules := map[string]int64{}
				x.rules.Each(func(k string, v int64) bool { rules[k] = v; return true })
				if !maps.Equal(rules, map[string]int64{"rule": int64(before), "other": 2}) {
					t.Errorf("%d → %d: rules %v", before, after, rules)
				}
			}
			if !slices.Equal(dealt, items) { // each a stretch, in order
				t.Errorf("%d → %d: dealt %q", before, after, dealt)
			}
		}
	}
	s := NewSet(RangeOf(0, 1, 2), 2)
	must(NewUnionList(s, "op", "list", str))
	if _, err := NewList(s, "op", "list", str); err == nil {
		t.Error("one name twice")
	}
	if err := s.Restore(func() []byte { x := build(1); return x[0].set.Snapshot(nil, true) }()); err == nil || !strings.Contains(err.Error(), "op/list was written as a list, the job reads a union list") {
		t.Error(err)
	}
}
