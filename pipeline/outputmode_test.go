package pipeline

import (
	"slices"
	"testing"

	"streamduel/codec"
)

// TestResultsPause: rows that an output does not take leave later, each once, in
// the order in which their groups changed; the next batch begins with none.
func TestResultsPause(t *testing.T) {
	for _, complete := range []bool{false, true} {
		task := &Task{}
		task.ctx.task = task
		var out []int64
		r := &Results[int64]{task: task, complete: complete, changed: map[int64]int{}, table: ResultTable[int64]{
			Clone: func(g int64) int64 { return g },
			Emit: func(g int64, _ int) {
				out = append(out, g)
				task.pressure.Starved = 1
			},
			Each: func(yield func(int64) bool) {
				for g := range int64(4) {
					if !yield(g) {
						return
					}
				}
			},
		}}
		for batch := range 2 {
			out = nil
			for _, g := range []int64{3, 1, 3, 2} {
				r.Changed(g, 0)
			}
			calls := 0
			for task.pressure.Starved = 0; !r.leave(); calls++ {
				task.pressure.Starved = 0
			}
			want := []int64{3, 1, 2}
			if complete {
				want = []int64{0, 1, 2, 3}
			}
			if !slices.Equal(out, want) || calls != len(want)-1 {
				t.Errorf("complete %v, batch %d: %v left in %d calls, want %v", complete, batch, out, calls+1, want)
			}
		}
		if task.pressure.Starved = 0; !complete && (!r.leave() || len(out) != 3) {
			t.Errorf("a batch that changed nothing emitted %v", out[3:])
		}
	}
}

// TestResultsFrom: of a group with several rows those leave that any record of the
// batch may have changed.
func TestResultsFrom(t *testing.T) {
	var from []int
	r := &Results[string]{task: &Task{}, changed: map[string]int{}, table: ResultTable[string]{
		Clone: func(g string) string { return g }, Emit: func(_ string, i int) { from = append(from, i) },
	}}
	for _, i := range []int{2, 1, 4} {
		r.Changed("key", i)
	}
	if r.leave(); !slices.Equal(from, []int{1}) {
		t.Errorf("rows from %v on left, want from 1 on", from)
	}
}

// TestGathering: what is kept back leaves once, and is bounded; a pause goes on
// where it stopped.
func TestGathering(t *testing.T) {
	task := &Task{}
	var out []combined[int64, int64, int64]
	g := &gathering[int64, int64, int64]{index: map[groupOf[int64]]int32{}, task: task, next: func(c combined[int64, int64, int64], _ *Ctx) {
		out = append(out, c)
		task.pressure.Starved = 1
	}}
	for k := range int64(3) {
		g.rows[g.open(k, 7*k)].acc = k
	}
	calls := 1
	for ; !g.endBatch(); calls++ {
		task.pressure.Starved = 0
	}
	if len(out) != 3 || calls != 3 || out[2].key != 2 || out[2].part != 14 || out[2].acc != 2 || len(g.index) != 0 {
		t.Errorf("%+v in %d calls", out, calls)
	}
	g.records = 10
	for k := range int64(5) {
		g.open(k, 0)
	}
	if g.weigh(&task.ctx); g.vain || len(g.rows) != 5 {
		t.Errorf("5 of 10 records: given up %v, %d rows kept", g.vain, len(g.rows))
	}
	for k := int64(5); k < 8; k++ {
		g.open(k, 0)
	}
	if g.weigh(&task.ctx); !g.vain || len(g.rows) != 0 || len(out) != 11 {
		t.Errorf("8 of 10 records: given up %v, %d rows kept, %d out", g.vain, len(g.rows), len(out))
	}
}

// FuzzCombined: whatever crosses an exchange, reading it ends with an error or with
// what is written again in the same bytes.
func FuzzCombined(f *testing.F) {
	g := New("fuzz")
	k := KeyBy(&Stream[string]{g: g}, func(s string) string { return s })
	x := &combiner[string, string, int64]{Combining: Combining[string, string, int64]{Accumulators: codec.Int64{}}, k: k, node: &Node{Name: "n"}}
	c, err := x.codec()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Append(nil, combined[string, string, int64]{whole: true, v: "abc"}))
	f.Add(c.Append(nil, combined[string, string, int64]{key: "k", part: -5, acc: 9}))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := c.Decode(b)
		if err != nil {
			return
		}
		if n > len(b) || v.whole && v.key != v.v {
			t.Fatalf("%+v of %d bytes, read %d", v, len(b), n)
		}
		again, m, err := c.Decode(c.Append(nil, v))
		if err != nil || again != v || m > n {
			t.Fatalf("%+v read again %+v: %v", v, again, err)
		}
	})
}
