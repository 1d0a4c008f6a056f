package microbatch

import (
	"testing"

	"streamduel/codec"
	"streamduel/state"
)

// TestFullSnapshotsAreOfCompleteBatches: an attempt that has written version 2 fails
// and its version is discarded. The maintenance was behind; the process dies when it
// has done what that attempt had left it. A restart must find what the next attempt
// wrote.
func TestFullSnapshotsAreOfCompleteBatches(t *testing.T) {
	folder, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	later := newMaintenance()
	held, reached, died := make(chan struct{}), make(chan struct{}), make(chan struct{})
	later.do(func() error { <-held; return nil })
	restored := func(p *partitionState, version int64) (*state.Set, *state.Table[int64, int64]) {
		t.Helper()
		s := state.NewSetOf(state.SetConfig{Job: "job", Parallelism: 1, MaxParallelism: 128})
		table, err := state.NewTable(s, "count", "n", codec.Codec[int64](codec.Int64{}), codec.Codec[int64](codec.Int64{}))
		if err != nil {
			t.Fatal(err)
		}
		files, err := p.snapshots(version)
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(files)
		var readers []state.Reader
		for _, f := range files {
			readers = append(readers, f)
		}
		if err := s.RestoreFrom(readers...); err != nil {
			t.Fatal(err)
		}
		return s, table
	}
	p := &partitionState{folder: folder, every: 2}
	s, table := restored(p, 0)
	batch := func(number, n int64) {
		t.Helper()
		p.shorten(s, number, later)
		v, _ := table.Ref(7)
		*v = n
		if _, err := p.write(s, number+1); err != nil {
			t.Fatal(err)
		}
	}
	batch(0, 10)
	batch(1, 20) // the attempt that fails
	later.do(func() error { close(reached); <-died; return nil })
	if err := p.discard(1); err != nil {
		t.Fatal(err)
	}
	s, table = restored(p, 1)
	batch(1, 21)
	batch(2, 31)
	close(held)
	<-reached
	for version, want := range map[int64]int64{1: 10, 2: 21, 3: 31} {
		_, table := restored(&partitionState{folder: folder}, version)
		if n, _ := table.Get(7); n != want {
			t.Errorf("version %d holds %d, want %d", version, n, want)
		}
	}
	close(died)
	later.close()
	if fulls, err := folder.Numbered(fullPrefix); err != nil || later.failed() != nil || len(fulls) != 1 || fulls[0] != 2 {
		t.Errorf("full snapshots of versions %v, %v, %v", fulls, err, later.failed())
	}
}
