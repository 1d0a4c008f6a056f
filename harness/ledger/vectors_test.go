package ledger

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"streamduel/harness/plan"
	"streamduel/workloads"
)

// TestKnownAnswers feeds the histories of testdata/anomaly_cases.json, which
// names their source, and asks for exactly the figures stated there.
func TestKnownAnswers(t *testing.T) {
	raw, err := os.ReadFile("testdata/anomaly_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Test       string
			Sent, Rows []string
			Want       figures
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 13 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	partitions := []string{"x", "y"}
	for _, c := range file.Cases {
		t.Run(c.Test, func(t *testing.T) {
			p, err := plan.New(plan.Constant(rate), plan.Partitions("in", len(partitions)))
			if err != nil {
				t.Fatal(err)
			}
			p.Begin(0, 0)
			l, err := New(Config{Plan: p, Accounting: workloads.Accounting{Kind: workloads.OneToOne}})
			if err != nil {
				t.Fatal(err)
			}
			// The values of a partition, those sent first.
			values := make([][]string, len(partitions))
			sent := make([]int64, len(partitions))
			place := func(v string) (int32, int64) {
				name, value, _ := strings.Cut(v, ":")
				g := slices.Index(partitions, name)
				if !slices.Contains(values[g], value) {
					values[g] = append(values[g], value)
				}
				return int32(g), int64(slices.Index(values[g], value))
			}
			for _, v := range c.Sent {
				g, _ := place(v)
				sent[g]++
			}
			for _, v := range c.Rows {
				g, seq := place(v)
				l.Observe(1e9, []Observation{{Row: workloads.Row{HasID: true, Partition: g, Sequence: seq}}})
			}
			r := l.Finish(sent)
			if err := r.Balanced(); err != nil {
				t.Error(err)
			}
			want(t, r, c.Want)
		})
	}
}
