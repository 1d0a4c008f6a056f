package dataflow

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/pipeline"
)

func TestBackPressureByBothDefinitions(t *testing.T) {
	var p pressure
	at := int64(1)
	var blocked, idle int64
	look := func(n int, reason waitReason) {
		for range n {
			p.look(reason, blocked, idle, at)
			at += int64(samplePeriod)
			switch reason {
			case waitBlocked:
				blocked += int64(samplePeriod)
			case waitIdle:
				idle += int64(samplePeriod)
			}
		}
	}
	look(19, running)
	if p.view() != nil {
		t.Error("a view before the first second is over")
	}
	look(81, running)
	expect(t, *p.view(), engines.BackPressure{SampledLevel: "OK", BusyMillis: 1000, Level: "OK"})
	look(21, waitBlocked) // a second, and the look that ends it
	expect(t, *p.view(), engines.BackPressure{SampledShare: 0.21, SampledLevel: "LOW", BlockedMillis: 1000, Level: "HIGH"})
	look(20, waitIdle)
	v := p.view()
	expect(t, []any{v.SampledShare, v.SampledLevel, v.Level}, []any{0.21, "LOW", "OK"})
	look(80, running) // the waiting is forgotten
	expect(t, p.view().SampledLevel, "OK")
	for share, want := range map[float64]string{0: "OK", 0.1: "OK", 0.11: "LOW", 0.5: "LOW", 0.51: "HIGH", 1: "HIGH"} {
		expect(t, engines.BackPressureLevel(share), want)
	}
}

// TestGaugesShowBackPressure: the source before a slow sink is HIGH, the slow
// task itself is busy.
func TestGaugesShowBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 1)
		r := w.behind()
		time.Sleep(5 * time.Second)
		for _, task := range r.Gauges().Tasks {
			p := task.BackPressure
			if p == nil {
				t.Fatalf("%s shows none", task.Name)
			}
			want := "OK"
			if strings.HasPrefix(task.Name, "in") {
				want = "HIGH"
			}
			expect(t, []string{task.Name, p.Level, p.SampledLevel}, []string{task.Name, want, want})
			if sum := p.BusyMillis + p.BlockedMillis + p.IdleMillis; sum < 999 || sum > 1001 {
				t.Errorf("%s: %+v", task.Name, p)
			}
		}
		w.stop(r, engines.StopNow)
	})
}

// sleepy is a user function that does not come back until it is let go.
func sleepy(let <-chan struct{}) { <-let }

// TestAFunctionThatBlocksIsNamed while it blocks, and when the job has to end
// without it.
func TestAFunctionThatBlocksIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, connectors.AtLeastOnce, 1)
		w.cfg.Watchdog, w.cfg.CancelTimeout = Duration(2*time.Second), Duration(5*time.Second)
		w.cfg.Checkpoint.Timeout = Duration(10 * time.Second)
		w.b.grow("in", 1)
		let := make(chan struct{})
		g := pipeline.New("stuck")
		in := pipeline.From(g, "in", topic{w.b, "in"}, decodeItem).Codec(itemCodec)
		slow := pipeline.Map(in.Rebalance(), "slow", func(v item) item { sleepy(let); return v })
		pipeline.To(slow.Codec(itemCodec), "out", output{w.b}, encodeItem)
		w.job.Graph = g
		r := w.start(context.Background())
		w.fill("in", 1, 1)
		err := r.Wait() // the checkpoint fails for want of the task, and the task does not end
		if err == nil || !strings.Contains(err.Error(), "longer than 10s") || !strings.Contains(err.Error(), "slow → out (1/1) did not end within 5s: it is in streamduel/engines/dataflow.sleepy at watchdog_test.go:") {
			t.Errorf("ended with %v", err)
		}
		stuck := w.kinds("stuck")
		if len(stuck) != 1 {
			t.Fatalf("%v", stuck)
		}
		s := stuck[0].(engines.Stuck)
		expect(t, s.Task, "slow → out (1/1)")
		expect(t, strings.HasPrefix(s.Function, "streamduel/engines/dataflow.sleepy at watchdog_test.go:"), true)
		close(let)
	})
}
