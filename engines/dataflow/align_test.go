package dataflow

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAlignment(t *testing.T) {
	a := newAligner(3, true)
	expect(t, a.barrier(0, 1, false), verdict{first: true})
	expect(t, a.blocked, []bool{true, false, false})
	expect(t, a.barrier(2, 1, false), verdict{})
	expect(t, a.barrier(1, 1, false), verdict{complete: true})
	expect(t, a.blocked, []bool{false, false, false})
	// A newer barrier ends an older checkpoint, whose others are then ignored.
	expect(t, a.barrier(0, 2, false), verdict{first: true})
	expect(t, a.barrier(1, 3, false), verdict{first: true, aborted: 2})
	expect(t, a.blocked, []bool{false, true, false})
	expect(t, a.barrier(2, 2, false), verdict{})
	expect(t, a.barrier(0, 3, false), verdict{})
	// The coordinator gives it up.
	expect(t, a.abort(3), true)
	expect(t, a.blocked, []bool{false, false, false})
	expect(t, a.barrier(2, 3, false), verdict{})
	expect(t, a.barrier(0, 4, false), verdict{first: true})
	expect(t, a.abort(3), false) // an old word does not end a new checkpoint
	expect(t, a.blocked, []bool{true, false, false})
}

func TestCountedBarriersBlockNothing(t *testing.T) {
	a := newAligner(2, false)
	expect(t, a.barrier(1, 7, false), verdict{first: true})
	expect(t, a.blocked, []bool{false, false})
	expect(t, a.barrier(0, 7, false), verdict{complete: true})
}

// TestEveryCheckpointIsCompleteOnceAndNothingStaysBlocked: whatever order the
// channels deliver ascending barriers in.
func TestEveryCheckpointIsCompleteOnceAndNothingStaysBlocked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		channels := rapid.IntRange(1, 5).Draw(t, "channels")
		a := newAligner(channels, true)
		const checkpoints = 6
		at := make([]int64, channels) // last delivered
		completed := map[int64]int{}
		aborted := map[int64]bool{}
		for {
			var open []int
			for ch := range at {
				if at[ch] < checkpoints && !a.blocked[ch] {
					open = append(open, ch)
				}
			}
			if len(open) == 0 {
				break
			}
			ch := rapid.SampledFrom(open).Draw(t, "channel")
			at[ch]++
			if rapid.IntRange(0, 9).Draw(t, "skip") == 0 && at[ch] < checkpoints {
				at[ch]++ // a source that failed to emit one
			}
			v := a.barrier(ch, at[ch], false)
			if v.complete {
				completed[at[ch]]++
			}
			if v.aborted != 0 {
				aborted[v.aborted] = true
			}
		}
		for id, n := range completed {
			if n != 1 || aborted[id] {
				t.Fatalf("checkpoint %d: complete %d times, aborted %v", id, n, aborted[id])
			}
		}
		// All channels have delivered the last barrier or wait for those that
		// never will; the coordinator's abort frees them.
		a.abort(checkpoints)
		for ch, b := range a.blocked {
			if b {
				t.Fatalf("channel %d stays blocked", ch)
			}
		}
	})
}

func TestWatermarksOverChannels(t *testing.T) {
	v := newValve(3, false)
	expect(t, v.watermark(0, 10), false) // the others have none yet
	expect(t, v.watermark(1, 7), false)
	expect(t, v.watermark(2, 20), true)
	expect(t, v.out, 7)
	expect(t, v.watermark(1, 5), false) // never back
	expect(t, v.watermark(1, 12), true)
	expect(t, v.out, 10)
	// An idle channel is left out.
	moved, changed := v.setIdle(0, true)
	expect(t, []bool{moved, changed}, []bool{true, false})
	expect(t, v.out, 12)
	expect(t, v.watermark(2, 30), false)
	expect(t, v.watermark(1, 25), true)
	// It counts again only once it has caught up.
	v.setIdle(0, false)
	expect(t, v.watermark(0, 15), false)
	expect(t, v.watermark(1, 28), true)
	expect(t, v.out, 28)
	expect(t, v.watermark(0, 29), false)
	expect(t, v.watermark(1, 40), true)
	expect(t, v.out, 29)
	// When all are idle, the largest counts and the task is idle.
	v.setIdle(1, true)
	v.setIdle(0, true)
	moved, changed = v.setIdle(2, true)
	expect(t, []bool{moved, changed, v.idle}, []bool{true, true, true})
	expect(t, v.out, 40)
	_, changed = v.setIdle(2, false)
	expect(t, []bool{changed, v.idle}, []bool{true, false})
	expect(t, v.watermark(2, 39), false)
	expect(t, v.watermark(2, 41), true)
	expect(t, v.out, 41)
}
