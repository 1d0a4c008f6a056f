package pipeline_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
	"streamduel/state"
	"streamduel/state/lsm"
)

// A job with its keyed state on disk does what it does in memory, over a restore
// at another parallelism too.
func TestABackendMakesNoDifference(t *testing.T) {
	dir := t.TempDir()
	shared, err := state.OpenFolder(filepath.Join(dir, "shared"), state.DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := lsm.New(lsm.Config{Dir: dir, Shared: shared, TableCacheBytes: 1, BlockCacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	outputs := func(b state.Backend) (got []string) {
		build := func(parallelism int) *pipelinetest.Host {
			g := pipeline.New("test")
			timerJob(g)
			return pipelinetest.New(t, g, pipelinetest.Options{Parallelism: parallelism, Backend: b})
		}
		h := build(2)
		for i := range 100 {
			run(t, h, fmt.Sprintf("%c+%d", 'a'+i%26, 1+i%7*50))
		}
		run(t, h, "a-1 w100")
		for _, w := range h.Output["out"] {
			got = append(got, string(w.Value))
		}
		snapshots := h.Snapshot()
		h.Close()
		h = build(3)
		if err := h.Restore(snapshots); err != nil {
			t.Fatal(err)
		}
		run(t, h, "w300")
		for _, w := range h.Output["out"] {
			got = append(got, string(w.Value))
		}
		h.Close()
		slices.Sort(got)
		return got
	}
	want, got := outputs(nil), outputs(disk)
	if len(want) < 50 || !slices.Equal(got, want) {
		t.Errorf("%d outputs, in memory %d\n%v\n%v", len(got), len(want), got, want)
	}
}
