package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"streamduel/bench"
	"streamduel/connectors"
	"streamduel/runs"
	"streamduel/workloads"
)

func TestMain(m *testing.M) {
	workloads.Register(fraud())
	bench.RunChild(os.Args[1:]) // the harness starts this binary as broker, load and worker
	os.Exit(m.Run())
}

// TestScenarios runs real scenarios over the job, with engines and broker in
// processes of their own. It asserts counts, which hold on any machine.
func TestScenarios(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		does func(t *testing.T, c *runs.Cell)
	}{
		"steady":    {[]string{"steady"}, nil},
		"no oracle": {[]string{"steady", "--engine", "dataflow", "--set", "workload.params.oracle=false"}, unjudged},
		"killed":    {[]string{"crash-mid-commit", "--guarantee", "exactly-once"}, reached},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "results")
			var printed bytes.Buffer
			env := bench.OS()
			env.Stdout, env.Stderr = &printed, &printed
			code := bench.Run(context.Background(), env, append(append([]string{"run"}, c.args...),
				"--workload", "fraud", "--quick", "-q", "--no-color", "--out", dir, "--set", "load.rate=4k/s"))
			f, err := runs.Open(filepath.Join(dir, "latest"))
			if err != nil {
				t.Fatalf("exit code %d: %v\n%s", code, err, &printed)
			}
			for i := range f.Summary.Cells {
				cell := &f.Summary.Cells[i]
				r := cell.Records
				if r == nil || r.Visible == nil || *r.Visible < 20 || *r.Duplicates != 0 || *r.Unexpected != 0 ||
					r.Losses != nil && *r.Losses != 0 || cell.Verdict == runs.Fail {
					t.Errorf("%s: %s %v\n%s", cell.ID, cell.Verdict, cell.Reasons, &printed)
				}
				if c.does != nil {
					c.does(t, cell)
				}
			}
		})
	}
}

// unjudged: without an oracle copies are counted, losses cannot be known, and a
// gate on them says so instead of holding.
func unjudged(t *testing.T, c *runs.Cell) {
	if c.Records.Losses != nil {
		t.Errorf("%s: losses %d are told, and nobody can know", c.ID, *c.Records.Losses)
	}
	for _, g := range c.Gates {
		if strings.HasPrefix(g.Expression, "records.losses") && !strings.Contains(g.Unknown, "no oracle") {
			t.Errorf("%s: the gate on losses: %+v", c.ID, g)
		}
		if strings.HasPrefix(g.Expression, "records.duplicates") && !g.OK {
			t.Errorf("%s: the gate on copies: %+v", c.ID, g)
		}
	}
}

func reached(t *testing.T, c *runs.Cell) {
	if c.Crash == nil || !c.Crash.Reached {
		t.Errorf("%s: the worker was not killed: %v", c.ID, c.Reasons)
	}
}

// id names an input.
type id struct {
	partition int32
	sequence  int64
}

// expected makes a load of n records over three partitions, hands each to the
// job, and returns what the oracle says must come out.
func expected(t *testing.T, w *workloads.Workload, p *Params, n int, push func(payment)) map[id]string {
	t.Helper()
	g, err := w.Generator(p, 1)
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.Accounting(p, 1)
	if err != nil {
		t.Fatal(err)
	}
	oracle, want := a.Oracle(), map[id]string{}
	for i := range n {
		in := workloads.Input{Index: int64(i), Partition: int32(i % 3), Sequence: int64(i / 3), EventTime: start + int64(i)*10}
		value, key := g.Append(nil, in)
		r := connectors.Record{Key: key, Value: value, Headers: []connectors.Header{{Key: connectors.OriginHeader,
			Value: connectors.AppendOrigin(nil, connectors.Origin{Partition: in.Partition, Sequence: in.Sequence})}}}
		v, err := decode(&r)
		if err != nil {
			t.Fatal(err)
		}
		push(v)
		oracle.Add(in, value, false, func(key []byte, _, _ int64) { want[id{in.Partition, in.Sequence}] = string(key) })
	}
	return want
}
