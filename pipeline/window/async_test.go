package window

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state"
)

// TestSnapshotBesideProcessing takes a snapshot, lets the job go on, and only
// then writes the snapshot: it must hold what was there when it was taken.
func TestSnapshotBesideProcessing(t *testing.T) {
	ms := time.Millisecond
	delta := DeltaTrigger(3, func(old, v event) float64 { return float64(v.value - old.value) })
	for name, j := range map[string]job{
		"panes":         on(SlidingEventTime(9*ms, 2*ms), nil, summed),
		"inverse":       on(SlidingEventTime(9*ms, 2*ms), nil, summedInverse),
		"reduced views": on(SlidingEventTime(9*ms, 2*ms), nil, reduced),
		"sessions":      on(EventTimeSession(4*ms), nil, listed),
		"delta":         on(TumblingEventTime(9*ms), trigger(delta), listed),
		"evictor":       on(CountSliding(3, 2), nil, listed),
	} {
		t.Run(name, func(t *testing.T) {
			var steps []step
			for i := range int64(60) {
				k := fmt.Sprint("k", i%3)
				steps = append(steps, rec(k, i/2+i*7%5, i))
				if i%6 == 5 {
					steps = append(steps, wm(i/2-2))
				}
			}
			steps = append(steps, wm(1000))
			for at := 5; at < len(steps); at += 7 {
				h := pipelinetest.New(t, graph(j, false), pipelinetest.Options{})
				push(t, h, steps[:at])
				h.Output["out"] = nil
				var images []*state.Snapshot
				for _, ts := range h.Tasks {
					for _, task := range ts {
						if !task.State.Empty() {
							images = append(images, task.State.SnapshotAsync(true))
						}
					}
				}
				push(t, h, steps[at:])
				want := texts(h)
				var written [][]byte
				for _, im := range images {
					b, err := im.Append(nil)
					if err != nil {
						t.Fatal(err)
					}
					written = append(written, b)
				}
				again := pipelinetest.New(t, graph(j, false), pipelinetest.Options{Parallelism: 2})
				if err := again.Restore(map[string][][]byte{"window ": written}); err != nil {
					t.Fatal(err)
				}
				again.Output["out"] = nil
				before := pipeline.NoTime
				for _, s := range steps[:at] {
					if s.watermark != nil {
						before = max(before, *s.watermark)
					}
				}
				push(t, again, append([]step{wm(before)}, steps[at:]...))
				if got := texts(again); !slices.Equal(got, want) {
					t.Fatalf("snapshot before step %d\ngot  %q\nwant %q", at, got, want)
				}
			}
		})
	}
}

func push(t *testing.T, h *pipelinetest.Host, steps []step) {
	t.Helper()
	for _, s := range steps {
		var err error
		if s.watermark != nil {
			err = h.Watermark(*s.watermark)
		} else {
			b := batchOf(*s.event)
			err = h.Push("in", b)
			clear(b.Records[0].Value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func texts(h *pipelinetest.Host) (rows []string) {
	for _, w := range h.Output["out"] {
		rows = append(rows, string(w.Value))
	}
	return perWindow(rows)
}
