package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/bench"
	"streamduel/connectors"
	"streamduel/pipeline"
	"streamduel/workloads"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The reference picture: a source and a map at parallelism 4, a reduce at 3, on
// two task managers of three slots.
func init() {
	workloads.Register(&workloads.Workload{
		Name: "reference-picture", Doc: "source, map, reduce",
		Params:    func() any { return &struct{}{} },
		Generator: func(any, uint64) (workloads.Generator, error) { return nil, nil },
		Pipeline: func(_ any, io workloads.IO) (*pipeline.Graph, error) {
			g := pipeline.New("reference picture")
			words := pipeline.From(g, "source", io.Source(io.Input), func(r *connectors.Record) (string, error) { return string(r.Value), nil })
			lower := pipeline.Map(words, "map", strings.ToLower)
			last := pipeline.Reduce(pipeline.KeyBy(lower, func(s string) string { return s }), "reduce", func(_, s string) string { return s }).Parallelism(3)
			pipeline.To(last, "sink", io.Sink(io.Output), func(s string, r *connectors.Record) { r.Value = []byte(s) })
			g.Nodes()[3].Parallelism = 3
			return g, nil
		},
		Accounting: func(any, uint64) (workloads.Accounting, error) { return workloads.Accounting{}, nil },
	})
}

const picture = `schema: streamduel/scenario/v1
name: reference-picture
question: Where do a job's subtasks run?
workload: { name: reference-picture }
parallelism: 4
load: { rate: 1k/s }
engines:
  dataflow: { taskManagers: 2, slots: 3 }
  microbatch: { interval: 1s }
guarantees: [at-least-once]
phases:
  - { name: all, duration: 1s }
`

func plan(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "picture.yaml")
	if err := os.WriteFile(file, []byte(picture), 0o644); err != nil {
		t.Fatal(err)
	}
	var o, e bytes.Buffer
	env := bench.OS()
	env.Stdout, env.Stderr = &o, &e
	code = bench.Run(context.Background(), env, append([]string{"plan", file}, args...))
	return code, o.String(), e.String()
}

func TestPlanOfTheReferencePicture(t *testing.T) {
	for _, format := range []string{"text", "json", "dot"} {
		code, got, errs := plan(t, "--format", format)
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		golden := filepath.Join("testdata", "plan", "reference."+format)
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (go test ./cmd/bench -run Picture -update writes it anew):\n%s", golden, got)
		}
	}
}

func TestPlanRefusesTooFewSlots(t *testing.T) {
	code, _, errs := plan(t, "--engine", "dataflow", "--set", "engines.dataflow.slots=1")
	if code != bench.ExitUsage || !strings.Contains(errs, "needs 4 slots (slot-sharing groups: default 4) and there are 2 (task managers: 1 + 1): add 2 more") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
