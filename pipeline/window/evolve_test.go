package window

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"streamduel/codec"
	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state"
	"streamduel/state/lsm"
)

// sumV1 is an accumulator's codec, sumV2 its next version, which writes text and
// reads both, and sumV3 one that reads neither.
type (
	sumV1 struct{ codec.Int64 }
	sumV2 struct{}
	sumV3 struct{ codec.Int64 }
)

func (sumV1) ID() string { return "sum/1" }
func (sumV3) ID() string { return "sum/3" }

func (sumV2) ID() string { return "sum/2" }
func (sumV2) Append(dst []byte, n int64) []byte {
	return codec.String{}.Append(dst, strconv.FormatInt(n, 10))
}
func (sumV2) Decode(src []byte) (v int64, n int, err error) {
	s, n, err := codec.String{}.Decode(src)
	if err == nil {
		v, err = strconv.ParseInt(s, 10, 64)
	}
	return v, n, err
}
func (sumV2) Clone(n int64) int64 { return n }
func (sumV2) Reads(id string) codec.Codec[int64] {
	if id == "sum/1" {
		return sumV1{}
	}
	return nil
}

// TestWindowsEvolve: windows are read whose accumulator has an older version of
// its codec, in memory and on disk, and refused with both names where it has one
// that is not read.
func TestWindowsEvolve(t *testing.T) {
	for name, a := range map[string]struct {
		assigner Assigner
		inverse  bool
		trigger  func(*Windowed[string, event]) *Windowed[string, event]
	}{
		"panes":         {assigner: SlidingEventTime(4*time.Second, 2*time.Second)},
		"inverse":       {assigner: SlidingEventTime(4*time.Second, 2*time.Second), inverse: true},
		"slots":         {assigner: EventTimeSession(time.Second)},
		"slots, values": {assigner: TumblingEventTime(4 * time.Second), trigger: trigger(DeltaTrigger(1e9, func(a, b event) float64 { return float64(b.value - a.value) }))},
	} {
		t.Run(name, func(t *testing.T) {
			host := func(c codec.Codec[int64], b state.Backend) *pipelinetest.Host {
				j := on(a.assigner, a.trigger, func(w *Windowed[string, event]) *pipeline.Stream[string] {
					g := sumOf(a.inverse)
					g.Codec = c
					return AggregateWith(w, "window", g, func(c *Context[string], n int64, emit func(string)) { emit(row(c, n)) })
				})
				return pipelinetest.New(t, graph(j, false), pipelinetest.Options{Backend: b})
			}
			check := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			rows := func(before codec.Codec[int64], b state.Backend) (rows []string) {
				h := host(before, b)
				check(h.Push("in", batchOf(event{"a", 1, 1})))
				check(h.Push("in", batchOf(event{"a", 500, 2})))
				s := h.Snapshot()
				h.Close()
				h = host(sumV2{}, b)
				check(h.Restore(s))
				check(h.Push("in", batchOf(event{"a", 900, 4})))
				check(h.Watermark(20_000))
				for _, w := range h.Output["out"] {
					rows = append(rows, string(w.Value))
				}
				return rows
			}
			folder, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
			check(err)
			disk, err := lsm.InMemory(1)(state.BackendEnv{Folder: folder})
			check(err)
			t.Cleanup(disk.Close)
			want := rows(sumV2{}, nil)
			for _, b := range []state.Backend{nil, disk} {
				if got := rows(sumV1{}, b); !slices.Equal(got, want) || a.trigger == nil && len(want) == 0 {
					t.Errorf("windows %v, want %v", got, want)
				}
			}
			refused := func(b state.Backend, before, now codec.Codec[int64]) {
				t.Helper()
				h := host(before, b)
				check(h.Push("in", batchOf(event{"a", 1, 1})))
				s := h.Snapshot()
				h.Close()
				err := host(now, b).Restore(s)
				if err == nil || !strings.Contains(err.Error(), "window/") || !strings.Contains(err.Error(), before.ID()) || !strings.Contains(err.Error(), now.ID()) {
					t.Errorf("%s read as %s: %v", before.ID(), now.ID(), err)
				}
			}
			for _, b := range []state.Backend{nil, disk} {
				refused(b, sumV1{}, sumV3{})
				refused(b, sumV2{}, sumV1{}) // a newer version
			}
		})
	}
}
