package lsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/state"
)

// number1 is a codec's first version, number2 its second, which writes text and
// reads both; number3 reads neither.
type (
	number1 struct{ codec.Int64 }
	number2 struct{ codec.StringView }
	number3 struct{ codec.StringView }
)

func (number1) ID() string { return "number/1" }
func (number2) ID() string { return "number/2" }
func (number3) ID() string { return "number/3" }

func (number2) Reads(id string) codec.Codec[string] {
	if id != "number/1" {
		return nil
	}
	return codec.Struct("number/1", nil, func(src []byte) (string, int, error) {
		v, n, err := codec.Int64{}.Decode(src)
		return fmt.Sprint(v), n, err
	}, nil)
}

const evolving = 300 // entries

// evolution is state that one version of a job writes and the next one reads.
type evolution struct {
	write func(s *state.Set) error
	// read declares the state and returns what it holds.
	read func(s *state.Set) (holds func() []string, err error)
	want func(i int) string
	// refused is why it is not read.
	refused string
}

var ageing = state.WithTTL(state.TTL{After: time.Hour, Clock: func() int64 { return 5000 }})

func evolutions() map[string]evolution {
	one, two := codec.Codec[int64](number1{}), codec.Codec[string](number2{})
	values := func(c codec.Codec[int64], opts ...state.Option) func(s *state.Set) error {
		return func(s *state.Set) error {
			t, err := state.NewTable(s, "op", "state", str, c, opts...)
			if err != nil {
				return err
			}
			for i := range int64(evolving) {
				t.Put(fmt.Sprint("k", i), i)
			}
			t.Delete("k7")
			t.Put("k7", 7)
			return s.Err()
		}
	}
	table := func(c codec.Codec[string], opts ...state.Option) func(s *state.Set) (func() []string, error) {
		return func(s *state.Set) (func() []string, error) {
			t, err := state.NewTable(s, "op", "state", str, c, opts...)
			return func() []string { return held(t, func(k, v string) string { return k + "=" + v }) }, err
		}
	}
	maps := func(s *state.Set) error {
		m, err := state.NewMap(s, "op", "state", one, one, num)
		if err != nil {
			return err
		}
		for i := range int64(evolving) {
			m.Put(i%10, i, i)
		}
		return s.Err()
	}
	value := func(i int) string { return fmt.Sprintf("k%d=%d", i, i) }
	return map[string]evolution{
		"values":                          {write: values(one), read: table(two), want: value},
		"values, given a time to live":    {write: values(one), read: table(two, ageing), want: value},
		"values, whose time to live ends": {write: values(one, ageing), read: table(two), want: value},
		"values of a version not read":    {write: values(one), read: table(number3{}), refused: "op/state was written as string/1→number/1, the job reads string/1→number/3"},
		"values of a newer version": {write: func(s *state.Set) error {
			t, err := state.NewTable(s, "op", "state", str, two)
			t.Put("k", "v")
			return err
		}, read: func(s *state.Set) (func() []string, error) {
			return nil, errOf(state.NewTable(s, "op", "state", str, one))
		}, refused: "op/state was written as string/1→number/2, the job reads string/1→number/1"},
		"keys, which lie in other groups": {
			write: func(s *state.Set) error {
				t, err := state.NewTable(s, "op", "state", one, num)
				for i := range int64(evolving) {
					t.Put(i, i)
				}
				return err
			},
			read: func(s *state.Set) (func() []string, error) {
				t, err := state.NewTable(s, "op", "state", two, num)
				return func() []string { return held(t, func(k string, v int64) string { return fmt.Sprint(k, "=", v) }) }, err
			},
			want: func(i int) string { return fmt.Sprintf("%d=%d", i, i) },
		},
		"lists": {
			write: func(s *state.Set) error {
				l, err := state.NewKeyedList(s, "op", "state", str, one, ageing)
				for i := range int64(evolving) {
					l.Add(fmt.Sprint("k", i), i)
					l.Add(fmt.Sprint("k", i), -i)
				}
				return err
			},
			read: func(s *state.Set) (func() []string, error) {
				l, err := state.NewKeyedList(s, "op", "state", str, two, ageing)
				return func() (out []string) {
					for i := range evolving {
						if items := l.Get(fmt.Sprint("k", i)); len(items) > 0 {
							out = append(out, fmt.Sprintf("k%d=%s", i, strings.Join(items, ",")))
						}
					}
					return out
				}, err
			},
			want: func(i int) string { return fmt.Sprintf("k%d=%d,%d", i, i, -i) },
		},
		"maps, keys and fields": {
			write: maps,
			read: func(s *state.Set) (func() []string, error) {
				m, err := state.NewMap(s, "op", "state", two, two, num)
				return func() (out []string) {
					for k := range 10 {
						m.Each(fmt.Sprint(k), func(f string, v int64) bool {
							out = append(out, fmt.Sprint(k, "/", f, "=", v))
							return true
						})
					}
					return out
				}, err
			},
			want: func(i int) string { return fmt.Sprintf("%d/%d=%d", i%10, i, i) },
		},
		"maps whose fields are not read": {
			write: maps,
			read: func(s *state.Set) (func() []string, error) {
				return nil, errOf(state.NewMap(s, "op", "state", two, codec.Codec[string](number3{}), num))
			},
			refused: "map-key/1(number/1,number/1)→int64/1, the job reads map-key/1(number/2,number/3)→int64/1",
		},
	}
}

func errOf[T any](_ T, err error) error { return err }

// held lists a table, and checks that it knows how much it holds.
func held[K comparable, V any](t *state.Table[K, V], text func(K, V) string) (out []string) {
	t.Each(func(k K, v V) bool {
		if got, ok := t.Get(k); !ok || text(k, got) != text(k, v) {
			out = append(out, fmt.Sprintf("%s is found as %s, %v", text(k, v), text(k, got), ok))
		}
		out = append(out, text(k, v))
		return true
	})
	if len(out) != t.Len() {
		out = append(out, fmt.Sprintf("%d entries, it says %d", len(out), t.Len()))
	}
	return out
}

// TestStateEvolves: both backends read the same of what an earlier version of a
// job's codecs wrote, at another parallelism too, refuse the rest in the same
// words, and write what they read in the job's own version.
func TestStateEvolves(t *testing.T) {
	for name, e := range evolutions() {
		for _, disk := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, disk=%v", name, disk), func(t *testing.T) {
				var b *Backend
				if disk {
					b = backend(t, t.TempDir(), 1)
					defer b.Close()
				}
				set := func(subtask, parallelism int) *state.Set {
					s := state.NewSetOf(state.SetConfig{Job: "job", Subtask: subtask, Parallelism: parallelism, MaxParallelism: 16})
					if disk {
						check(t, s.UseBackend(b))
					}
					return s
				}
				old := set(0, 1)
				check(t, e.write(old))
				snapshots := [][]byte{old.Snapshot(nil, true)}
				check(t, old.Close())
				var want []string
				for i := range evolving {
					if e.want != nil {
						want = append(want, e.want(i))
					}
				}
				slices.Sort(want)
				for _, parallelism := range []int{2, 3, 1} {
					var got []string
					var next [][]byte
					for i := range parallelism {
						s := set(i, parallelism)
						holds, err := e.read(s)
						check(t, err)
						err = s.Restore(snapshots...)
						if e.refused != "" {
							if !errors.Is(err, state.ErrCodec) || !strings.Contains(err.Error(), e.refused) {
								t.Fatalf("%v\nwant %s", err, e.refused)
							}
							check(t, s.Close())
							return
						}
						check(t, err)
						got = append(got, holds()...)
						next = append(next, s.Snapshot(nil, true))
						check(t, s.Err())
						check(t, s.Close())
					}
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Fatalf("at parallelism %d: %d entries %.200s\nwant %d %.200s", parallelism, len(got), fmt.Sprint(got), len(want), fmt.Sprint(want))
					}
					// From now on the snapshots are the new version's.
					for _, s := range next {
						if bytesHave(s, "number/1") {
							t.Fatalf("at parallelism %d the old version is written", parallelism)
						}
					}
					snapshots = next
				}
			})
		}
	}
}

func bytesHave(b []byte, text string) bool { return strings.Contains(string(b), text) }

// TestEntriesAreWrittenAnew: more than a buffer holds, in a table beside others that
// have not changed, and the clean-up that goes over the files meets no old entry.
func TestEntriesAreWrittenAnew(t *testing.T) {
	const keys = 10_000
	b := backend(t, t.TempDir(), 1)
	defer b.Close()
	now := int64(5000)
	ttl := state.WithTTL(state.TTL{After: time.Second, Clock: func() int64 { return now }})
	config := state.SetConfig{Job: "job", Parallelism: 1, MaxParallelism: 8}
	s := state.NewSetOf(config)
	check(t, s.UseBackend(b))
	same, err := state.NewTable(s, "op", "same", num, num)
	check(t, err)
	other, err := state.NewTable(s, "op", "other", codec.Codec[int64](number1{}), num)
	check(t, err)
	for i := range int64(keys) {
		same.Put(i, i)
		other.Put(i, i)
	}
	snapshot := s.Snapshot(nil, true)
	check(t, s.Close())

	s = state.NewSetOf(config)
	check(t, s.UseBackend(b))
	defer s.Close()
	same, err = state.NewTable(s, "op", "same", num, num)
	check(t, err)
	text, err := state.NewTable(s, "op", "other", codec.Codec[string](number2{}), num, ttl)
	check(t, err)
	check(t, s.Restore(snapshot))
	if same.Len() != keys || text.Len() != keys {
		t.Errorf("%d and %d keys", same.Len(), text.Len())
	}
	for i := range int64(keys) {
		if v, ok := same.Get(i); !ok || v != i {
			t.Fatalf("same %d: %d, %v", i, v, ok)
		}
		if v, ok := text.Get(fmt.Sprint(i)); !ok || v != i {
			t.Fatalf("other %d: %d, %v", i, v, ok)
		}
	}
	now += 2000 // all of it is over but one
	text.Put("young", 1)
	for range keys {
		text.Get("young")
	}
	if text.Len() != 1 || same.Len() != keys {
		t.Errorf("%d entries are left of %d that have expired and one; of the others %d", text.Len(), keys, same.Len())
	}
	check(t, s.Err())
}
