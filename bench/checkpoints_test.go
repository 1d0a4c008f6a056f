package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/connectors"
	"streamduel/engines/dataflow/checkpoints"
	"streamduel/state"
)

func TestCheckpointsAreListedAndDescribed(t *testing.T) {
	dir := t.TempDir()
	f, err := state.OpenFolder(dir, state.DurableProcess)
	if err != nil {
		t.Fatal(err)
	}
	store := checkpoints.Open(f, 9, nil, nil)
	for id := range int64(2) {
		ch := &checkpoints.Channels{Operator: "count", Parallelism: 2, From: []checkpoints.Channel{{Edge: "in > count", Parallelism: 2}}}
		if err := store.WriteChannels(id+1, 3, 1, ch, []checkpoints.Frames{{Data: make([]byte, 77)}}); err != nil {
			t.Fatal(err)
		}
		if err := store.Complete(&checkpoints.Metadata{
			ID: id + 1, Attempt: 3, MaxParallelism: 128, Taken: 1_700_000_000_000,
			Sources:  []checkpoints.Source{{Operator: "in", Splits: []checkpoints.Split{{ID: "t/0", Position: 42}}}},
			Sinks:    []checkpoints.Sink{{Operator: "out", Committables: []connectors.Committable{connectors.Committable("x")}}},
			Channels: []checkpoints.Channels{*ch},
		}); err != nil {
			t.Fatal(err)
		}
	}
	torn := filepath.Join(dir, "checkpoint-2")
	if err := os.WriteFile(torn, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		env := OS()
		env.Stdout, env.Stderr = &out, &out
		return Run(context.Background(), env, append([]string{"checkpoints"}, args...)), out.String()
	}
	for args, want := range map[string]string{
		dir:                      "1   2023-11-14T22:13:20Z  3        0            77         1          ok",
		dir + " ":                torn + ": file is torn",
		dir + " --id 1":          "source in           t/0             position 42",
		dir + " --json":          `"position": 42`,
		dir + "  --id 1":         "in flight to count  subtask 1 of 2  77 bytes",
		t.TempDir():              "no checkpoints in",
		dir + " --id 7":          "--id: value 7: not in",
		filepath.Join(dir, "no"): "not a folder",
	} {
		code, out := run(strings.Fields(args)...)
		if bad := strings.Contains(want, "not "); bad != (code == ExitUsage) || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d\n%s", fmt.Sprint(args), code, out)
		}
	}
}
