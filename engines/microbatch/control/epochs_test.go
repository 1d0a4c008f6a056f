package control

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestEpochsAreCommittedInOrder: in whatever order the tasks report, epochs come
// out in theirs, each once, with every task's own report.
func TestEpochsAreCommittedInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		tasks, epochs := 1+rng.IntN(4), 1+rng.IntN(6)
		e := NewEpochs[[2]int64](tasks, epochs)
		for i := range epochs {
			if n, err := e.Begin(); err != nil || n != int64(i) {
				t.Fatalf("epoch %d, %v", n, err)
			}
		}
		at := make([]int64, tasks) // a task's own reports are in order
		var got []int64
		for len(got) < epochs {
			k := rng.IntN(tasks)
			if at[k] == int64(epochs) {
				continue
			}
			before := slices.Min(at)
			done, err := e.Report(k, at[k], [2]int64{int64(k), at[k]})
			if err != nil {
				t.Fatal(err)
			}
			at[k]++
			if len(done) != int(slices.Min(at)-before) {
				t.Fatalf("%d epochs complete, tasks are at %v", len(done), at)
			}
			for _, d := range done {
				got = append(got, d.Number)
				for k, r := range d.Reports {
					if r != [2]int64{int64(k), d.Number} {
						t.Errorf("epoch %d, task %d: report %v", d.Number, k, r)
					}
				}
			}
		}
		if !slices.IsSorted(got) || len(got) != epochs || e.Waiting() != 0 {
			t.Errorf("committed %v of %d, %d wait", got, epochs, e.Waiting())
		}
	}
}

func TestEpochsRefuseWhatCannotBe(t *testing.T) {
	e := NewEpochs[int](2, 2)
	for range 2 {
		if _, err := e.Begin(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Begin(); err == nil || !strings.Contains(err.Error(), "2 epochs wait for their tasks, epoch 0 the longest") {
		t.Errorf("a full backlog: %v", err)
	}
	report := func(task int, epoch int64) error {
		_, err := e.Report(task, epoch, 0)
		return err
	}
	if report(2, 0) == nil || report(0, 2) == nil || report(-1, 0) == nil {
		t.Error("a task or an epoch that there is not has reported")
	}
	if report(0, 0) != nil || report(0, 0) == nil {
		t.Error("a second report is to be refused")
	}
	if report(1, 0) != nil || report(1, 0) == nil {
		t.Error("a complete epoch is over")
	}
}
