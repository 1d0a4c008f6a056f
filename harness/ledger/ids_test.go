package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"streamduel/workloads"
)

func TestPerfectOutput(t *testing.T) {
	for _, kind := range []workloads.AccountingKind{workloads.OneToOne, workloads.Running} {
		for _, oracle := range []bool{false, true} {
			f := newFixture(t, kind, 4, 7, 1000)
			l := f.ledger(t, oracle)
			r := f.judge(t, l, f.perfect())
			want(t, r, figures{Visible: 1000})
			if r.Sent != 1000 || r.Samples != 1000 || r.Rows != 1000 {
				t.Errorf("%s: sent %d, samples %d, rows %d", kind, r.Sent, r.Samples, r.Rows)
			}
		}
	}
}

// TestInjectedAnomalies puts known numbers of copies, losses, inventions and
// overtakings into a perfect output and asks for exactly these.
func TestInjectedAnomalies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom([]workloads.AccountingKind{workloads.OneToOne, workloads.Running}).Draw(rt, "kind")
		f := newFixture(t, kind, rapid.IntRange(1, 5).Draw(rt, "partitions"),
			rapid.Int64Range(1, 9).Draw(rt, "keys"), rapid.Int64Range(50, 600).Draw(rt, "records"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		rows := f.perfect()
		w := figures{}

		// Losses: the state went on, only the row is missing.
		for range rapid.IntRange(0, 20).Draw(rt, "losses") {
			i := rng.IntN(len(rows))
			rows = slices.Delete(rows, i, i+1)
			w.Losses++
		}
		w.Visible = int64(len(rows))
		originals := slices.Clone(rows)

		// Overtakings: neighbours of one lane change places. Only for rows whose
		// count does not tell a story of its own.
		if kind == workloads.OneToOne {
			used := map[int]bool{}
			for range rapid.IntRange(0, 10).Draw(rt, "swaps") {
				i := rng.IntN(len(rows))
				j := slices.IndexFunc(rows[i+1:], func(o Observation) bool {
					return string(o.Key) == string(rows[i].Key) && o.Partition == rows[i].Partition
				}) + i + 1
				if j == i || used[i] || used[j] {
					continue
				}
				used[i], used[j] = true, true
				rows[i], rows[j] = rows[j], rows[i]
				w.Reordered++
			}
		}

		// Copies: replays of a stretch, each row as it was before, so the state
		// of no key changes at the end.
		for range rapid.IntRange(0, 5).Draw(rt, "replays") {
			from := rng.IntN(len(originals))
			stretch := originals[from:]
			if kind == workloads.OneToOne {
				stretch = stretch[:rng.IntN(len(stretch))+1]
			}
			rows = append(rows, stretch...)
			w.Duplicates += int64(len(stretch))
		}

		// Inventions.
		for range rapid.IntRange(0, 5).Draw(rt, "inventions") {
			o := f.row(0, 1)
			switch rng.IntN(3) {
			case 0:
				o.Partition = int32(f.parts + rng.IntN(3))
				o.Sequence = 1 << 40
			case 1:
				o.Sequence = -1
			case 2:
				o.Sequence = f.sent[o.Partition] + 1 + rng.Int64N(100)
			}
			rows = slices.Insert(rows, rng.IntN(len(rows)+1), o)
			w.Unexpected++
		}
		l := f.ledger(t, rapid.Bool().Draw(rt, "oracle"))
		for len(rows) > 0 { // in polls of any size
			n := min(len(rows), 1+rng.IntN(200))
			l.Observe(f.after(), rows[:n])
			rows = rows[n:]
		}
		r := l.Finish(f.sent)
		if err := r.Balanced(); err != nil {
			rt.Fatalf("counts do not add up: %v", err)
		}
		want(rt, r, w)
		if int64(len(r.Anomalies[Losses])) != w.Losses {
			rt.Fatalf("%d losses listed of %d", len(r.Anomalies[Losses]), w.Losses)
		}
		var extra int64
		for _, a := range r.Anomalies[Duplicates] {
			extra += a.Copies - 1
		}
		if extra != w.Duplicates {
			rt.Fatalf("lists say %d copies, the count %d", extra, w.Duplicates)
		}
	})
}

// TestLossBehindACopy is the negative control: as many rows as inputs, one of
// them twice and one not at all. A ledger that counts rows calls that perfect.
func TestLossBehindACopy(t *testing.T) {
	for _, kind := range []workloads.AccountingKind{workloads.OneToOne, workloads.Running} {
		f := newFixture(t, kind, 2, 1, 10)
		rows := f.perfect()
		rows[6] = rows[5]
		r := f.judge(t, f.ledger(t, true), rows)
		if r.Rows != r.Sent {
			t.Fatalf("the control is not one: %d rows for %d inputs", r.Rows, r.Sent)
		}
		w := figures{Visible: 9, Duplicates: 1, Losses: 1}
		want(t, r, w)
	}
}

func TestNeverSentIDs(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 2, 3, 100)
	rows := f.perfect()
	f.sent[1] -= 10 // the load was stopped before the last ten of partition 1
	third := rows[99]
	rows = append(rows, third, third) // and one of these is seen three times
	r := f.judge(t, f.ledger(t, false), rows)
	want(t, r, figures{Visible: 90, Unexpected: 12})
}

func TestLateRecordsAddUp(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 2, 3, 100)
	rows := f.perfect()
	late := slices.Clone(rows[10:20])
	for i := range late {
		late[i].Late = true
	}
	rows = slices.Delete(rows, 10, 20)
	rows = slices.Delete(rows, 50, 51)
	rows = append(rows, late...)
	rows = append(rows, late[0])      // a copy within the late topic
	rows = append(rows, f.row(11, 1)) // late and in the results
	r := f.judge(t, f.ledger(t, false), rows)
	want(t, r, figures{Visible: 90, Late: 10, Losses: 1, Duplicates: 2, Reordered: 1})
	if r.Both != 1 {
		t.Errorf("both = %d", r.Both)
	}
}

func TestFilteredInputsAreNoLosses(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 2, 3, 100)
	f.drop = func(i int64) bool { return i%2 == 0 }
	var rows []Observation
	for i := int64(1); i < 100; i += 2 {
		rows = append(rows, f.row(i, 1))
	}
	rows = append(rows[1:], f.row(40, 1)) // one lost, one that should not be there
	r := f.judge(t, f.ledger(t, true), rows)
	want(t, r, figures{Visible: 49, Losses: 1, Unexpected: 1})
	if r.Filtered != 50 {
		t.Errorf("filtered = %d", r.Filtered)
	}
}

func TestRowsUnderTheWrongKey(t *testing.T) {
	f := newFixture(t, workloads.Running, 2, 3, 99)
	rows := f.perfect()
	rows[9].Key, rows[10].Key = rows[10].Key, rows[9].Key // both keys count on as if nothing had been
	r := f.judge(t, f.ledger(t, true), rows)
	want(t, r, figures{Visible: 99, Unexpected: 2})
}

func TestOrderIsPerLane(t *testing.T) {
	f := newFixture(t, workloads.OneToOne, 3, 40, 6000)
	// Partitions overtake each other, and keys within a partition do: neither
	// is promised.
	rows := f.perfect()
	slices.SortStableFunc(rows, func(a, b Observation) int { return int(b.Partition - a.Partition) })
	want(t, f.judge(t, f.ledger(t, false), rows), figures{Visible: 6000})
	// All to one key: now the lanes are the pairs of partitions, and more of
	// them than are searched one by one.
	g := newFixture(t, workloads.OneToOne, 30, 1, 3000)
	rows = g.perfect()
	for i := range rows {
		rows[i].Output = int32(i % 7)
	}
	rows[1000], rows[1000+210] = rows[1000+210], rows[1000]
	want(t, g.judge(t, g.ledger(t, false), rows), figures{Visible: 3000, Reordered: 1})
}

// story writes rows of one key in one partition: "b2" is input b with count 2.
func story(f *fixture, s ...string) []Observation {
	var rows []Observation
	for _, r := range s {
		var v int64
		fmt.Sscan(r[1:], &v)
		rows = append(rows, f.row(int64(r[0]-'a'), v))
	}
	return rows
}

func TestStateStories(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int64
		rows []string
		want figures
	}{
		{"aligned snapshot, replay", 4, []string{"a1", "b2", "c3", "b2", "c3", "d4"},
			figures{Visible: 4, Duplicates: 2}},
		{"counted barriers let b into the snapshot", 3, []string{"a1", "b2", "c3", "b3", "c4"},
			figures{Visible: 3, Duplicates: 2, StateOvercount: 1}},
		{"the same, rows committed once", 3, []string{"a1", "b2", "b3", "c4"},
			figures{Visible: 3, Duplicates: 1, StateOvercount: 1}},
		{"state older than the positions", 4, []string{"a1", "b2", "c3", "d2"},
			figures{Visible: 4, StateLosses: 2}},
		{"an overcount hides a forgotten input", 4, []string{"a1", "b2", "c3", "b3", "d4"},
			figures{Visible: 4, Duplicates: 1, StateOvercount: 1, StateLosses: 1}},
		{"replay in another order", 4, []string{"a1", "b2", "c3", "c2", "b3", "d4"},
			figures{Visible: 4, Duplicates: 2}},
		{"rows lost, state right", 4, []string{"a1", "d4"},
			figures{Visible: 2, Losses: 2}},
		{"rows lost and never counted", 4, []string{"a1", "d2"},
			figures{Visible: 2, Losses: 2}},
		{"state counts more than there are", 3, []string{"a1", "b3", "c4"},
			figures{Visible: 3, StateOvercount: 1}},
		{"nothing but a replay from the start", 2, []string{"a1", "b2", "a1", "b2"},
			figures{Visible: 2, Duplicates: 2}},
		{"counted twice in place", 2, []string{"a1", "a2", "b3"},
			figures{Visible: 2, Duplicates: 1, StateOvercount: 1}},
		{"a count that cannot be", 2, []string{"a0", "b1"},
			figures{Visible: 2, Unexpected: 1, StateLosses: 1}},
	} {
		for _, oracle := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/oracle=%v", c.name, oracle), func(t *testing.T) {
				f := newFixture(t, workloads.Running, 1, 1, c.n)
				want(t, f.judge(t, f.ledger(t, oracle), story(f, c.rows...)), c.want)
			})
		}
	}
}

// TestInjectedStateErrors runs a model of a keyed count that crashes: each
// crash restores a snapshot whose state may hold inputs behind its positions
// (overcount) or lack inputs before them (loss). The model knows what its
// final state holds; the ledger has to find it from the rows alone.
func TestInjectedStateErrors(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t, workloads.Running, 1, rapid.Int64Range(1, 3).Draw(rt, "keys"), rapid.Int64Range(20, 200).Draw(rt, "records"))
		state := make([][]int64, f.keys) // inputs counted, in order
		history := [][][]int64{}         // the state after each row of this attempt
		var rows []Observation
		copies := make([]int64, f.n)
		clone := func() [][]int64 {
			c := make([][]int64, len(state))
			for k := range state {
				c[k] = slices.Clone(state[k])
			}
			return c
		}
		history = append(history, clone())
		position := int64(0)
		crashes := rapid.IntRange(0, 4).Draw(rt, "crashes")
		for position < f.n {
			// Every key gets a row behind the last restore: what a state forgot
			// after a key's last row shows in no output.
			if crashes > 0 && position > 0 && position <= f.n-f.keys && rapid.IntRange(0, 19).Draw(rt, "crash") == 0 {
				crashes--
				at := rapid.IntRange(0, len(history)-1).Draw(rt, "snapshot")
				state = history[at]
				history = [][][]int64{clone()}
				// Positions usually belong to the snapshot; they may be older or
				// newer by a few.
				snapshot := int64(0)
				for _, s := range state {
					for _, i := range s {
						snapshot = max(snapshot, i+1)
					}
				}
				position = min(position, max(0, snapshot+rapid.Int64Range(-3, 3).Draw(rt, "skew")))
			}
			k := position % f.keys
			state[k] = append(state[k], position)
			rows = append(rows, f.row(position, int64(len(state[k]))))
			copies[position]++
			history = append(history, clone())
			position++
		}
		counted := make([]int64, f.n)
		for k := range state {
			for _, i := range state[k] {
				counted[i]++
			}
		}
		var w figures
		for i, n := range copies {
			if n > 0 {
				w.Visible++
				w.Duplicates += n - 1
			} else {
				w.Losses++
			}
			if counted[i] > 1 {
				w.StateOvercount += counted[i] - 1
			}
			if counted[i] == 0 && n > 0 {
				w.StateLosses++
			}
		}
		r := f.judge(t, f.ledger(t, rapid.Bool().Draw(rt, "oracle")), rows)
		want(rt, r, w)
	})
}
