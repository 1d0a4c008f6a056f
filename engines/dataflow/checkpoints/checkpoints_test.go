package checkpoints

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/state"
)

func open(t *testing.T, retained int) (*Store, *state.Folder, *bytes.Buffer) {
	t.Helper()
	f, err := state.OpenFolder(t.TempDir(), state.DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	return Open(f, retained, nil, slog.New(slog.NewTextHandler(&log, nil))), f, &log
}

// snapshot is a state that tells one checkpoint's from another's.
func snapshot(t *testing.T, id int64) []byte {
	t.Helper()
	s := state.NewSetOf(state.SetConfig{Job: fmt.Sprint("job ", id), MaxParallelism: 128})
	b, err := s.SnapshotAsync(true).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// complete writes a checkpoint with one state file and one committable.
func complete(t *testing.T, s *Store, id int64) {
	t.Helper()
	st, err := s.WriteState(id, 1, 2, 0, snapshot(t, id))
	if err != nil {
		t.Fatal(err)
	}
	st.Operator = "count"
	ts := id * 1000
	err = s.Complete(&Metadata{
		ID: id, Attempt: 1, MaxParallelism: 128,
		Sources: []Source{{Operator: "in", Splits: []Split{{ID: "t/0", Position: connectors.Position(id * 10), Watermark: &ts}}}},
		States:  []State{st},
		Sinks:   []Sink{{Operator: "out", Committables: []connectors.Committable{connectors.Committable(fmt.Sprint("txn ", id))}}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func newest(t *testing.T, s *Store) *Checkpoint {
	t.Helper()
	c, err := s.Newest()
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		t.Cleanup(c.Close)
	}
	return c
}

func files(t *testing.T, f *state.Folder) string {
	t.Helper()
	names, err := f.List("")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestTheNewestCheckpointIsReadBack(t *testing.T) {
	s, _, _ := open(t, 1)
	if c := newest(t, s); c != nil {
		t.Fatalf("an empty folder has checkpoint %+v", c)
	}
	complete(t, s, 1)
	complete(t, s, 2)
	c := newest(t, s)
	if c.ID != 2 || c.Positions()["t/0"] != 20 || *c.Sources[0].Splits[0].Watermark != 2000 || c.Bytes() != int64(len(snapshot(t, 2))) {
		t.Errorf("read %+v", c.Metadata)
	}
	if got := c.States("count"); len(got) != 1 {
		t.Errorf("%d states", len(got))
	} else if of, err := state.Inspect(got[0]); err != nil || of.Job != "job 2" {
		t.Errorf("state of %+v, %v", of, err)
	}
	if got := c.Committables("out"); len(got) != 1 || string(got[0]) != "txn 2" {
		t.Errorf("committables %q", got)
	}
	if len(c.States("other"))+len(c.Committables("other")) > 0 {
		t.Error("another operator's parts were found")
	}
}

func TestATornCheckpointIsPassedOverAndSaidSo(t *testing.T) {
	for _, torn := range []string{"checkpoint-3", "state-3-1-2-0"} {
		t.Run(torn, func(t *testing.T) {
			s, f, log := open(t, 3)
			for id := range int64(3) {
				complete(t, s, id+1)
			}
			path := filepath.Join(f.Path(), torn)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b[:len(b)-5], 0o644); err != nil {
				t.Fatal(err)
			}
			if c := newest(t, s); c.ID != 2 {
				t.Errorf("went back to %d, want 2", c.ID)
			}
			if !strings.Contains(log.String(), "checkpoint=3") || !strings.Contains(log.String(), "torn") {
				t.Errorf("the log says %q", log)
			}
			// Its number is not used again.
			if next, err := s.NextID(); err != nil || next != 4 {
				t.Errorf("next %d, %v", next, err)
			}
		})
	}
}

// What a newer program wrote is passed over and said so, be it the metadata or a
// subtask's state, and where there is nothing else it is refused by name.
func TestACheckpointOfANewerVersionIsPassedOver(t *testing.T) {
	for file, change := range map[string]func(b []byte) []byte{
		"checkpoint-2": func(b []byte) []byte {
			return bytes.Replace(b, fmt.Appendf(nil, `"version":%d`, version), fmt.Appendf(nil, `"version":%d`, version+1), 1)
		},
		"state-2-1-2-0": func(b []byte) []byte { b[3]++; return b },
	} {
		t.Run(file, func(t *testing.T) {
			s, f, log := open(t, 2)
			complete(t, s, 1)
			complete(t, s, 2)
			b, err := f.Read(file)
			if err == nil {
				err = f.Write(file, change(b))
			}
			if err != nil {
				t.Fatal(err)
			}
			if c := newest(t, s); c.ID != 1 {
				t.Errorf("went back to %d, want 1", c.ID)
			}
			if !strings.Contains(log.String(), "checkpoint=2") || !strings.Contains(log.String(), "version") || !strings.Contains(log.String(), "this program reads") {
				t.Errorf("the log says %q", log)
			}
			if err := f.Remove("checkpoint-1"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Newest(); err == nil || !strings.Contains(err.Error(), "none of the 1 checkpoints") || !strings.Contains(err.Error(), "this program reads") {
				t.Errorf("without an older one: %v", err)
			}
		})
	}
}

func TestAMissingStateFileTears(t *testing.T) {
	s, f, _ := open(t, 2)
	complete(t, s, 1)
	complete(t, s, 2)
	f.Remove("state-2-1-2-0")
	if c := newest(t, s); c.ID != 1 {
		t.Errorf("went back to %d, want 1", c.ID)
	}
	f.Remove("state-1-1-2-0")
	if _, err := s.Newest(); err == nil || !strings.Contains(err.Error(), "none of the 2 checkpoints") {
		t.Errorf("without a whole checkpoint: %v", err)
	}
}

func TestOlderCheckpointsAreSubsumed(t *testing.T) {
	s, f, _ := open(t, 2)
	for id := range int64(4) {
		complete(t, s, id+1)
	}
	// Of a checkpoint that never completed, and of one under way.
	s.WriteState(2, 1, 9, 9, nil)
	s.WriteState(5, 1, 2, 0, nil)
	oldest, err := s.Subsume()
	if err != nil || oldest != 3 {
		t.Fatalf("oldest %d, %v", oldest, err)
	}
	if got, want := files(t, f), "checkpoint-3 checkpoint-4 state-3-1-2-0 state-4-1-2-0 state-5-1-2-0"; got != want {
		t.Errorf("files %s, want %s", got, want)
	}
}

func TestAfterRecoveryNoCheckpointListsCommittables(t *testing.T) {
	s, f, _ := open(t, 3)
	for id := range int64(3) {
		complete(t, s, id+1)
	}
	c, err := s.open(2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := s.Recovered(c, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if got := files(t, f); strings.Contains(got, "checkpoint-3") {
		t.Errorf("files %s: a checkpoint newer than the restored one is left", got)
	}
	for id := int64(1); id <= 2; id++ {
		c, err := s.read(id)
		if err != nil || len(c.Committables("out")) != 0 || c.Positions()["t/0"] != connectors.Position(id*10) {
			t.Errorf("checkpoint %d: %+v, %v", id, c, err)
		}
	}
}

func TestTwoProcessesCannotCompleteOneCheckpoint(t *testing.T) {
	s, _, _ := open(t, 1)
	complete(t, s, 1)
	if err := s.Complete(&Metadata{ID: 1, Attempt: 2}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("the second: %v", err)
	}
}
