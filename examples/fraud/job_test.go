package main

import (
	"testing"
	"time"

	"streamduel/pipeline"
	"streamduel/pipeline/pipelinetest"
)

const start = 1_700_000_000_000 // Unix milliseconds

// TestRule pushes payments by hand: no broker, no engine, no clock.
func TestRule(t *testing.T) {
	charge := func(second, cents int64) payment {
		return payment{Card: "mine", Kind: "charge", Cents: cents, At: start + 1000*second}
	}
	confirm := func(second int64) payment {
		return payment{Card: "mine", Kind: "confirm", At: start + 1000*second}
	}
	for name, c := range map[string]struct {
		payments []payment
		alarms   int
	}{
		"a probe and a strike":            {[]payment{charge(0, 100), charge(5, 90_000)}, 1},
		"others between":                  {[]payment{charge(0, 100), charge(2, 5000), charge(5, 90_000)}, 1},
		"confirmed":                       {[]payment{charge(0, 100), confirm(2), charge(5, 90_000)}, 0},
		"confirmed and probed again":      {[]payment{charge(0, 100), confirm(2), charge(3, 50), charge(5, 90_000)}, 1},
		"two probes are one alarm":        {[]payment{charge(0, 100), charge(1, 100), charge(5, 90_000)}, 1},
		"a strike for each":               {[]payment{charge(0, 100), charge(1, 90_000), charge(2, 100), charge(3, 90_000)}, 2},
		"too late by a millisecond":       {[]payment{charge(0, 100), charge(60, 90_000)}, 0},
		"a strike alone":                  {[]payment{charge(5, 90_000)}, 0},
		"read in another order than paid": {[]payment{charge(5, 90_000), charge(0, 100)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			in := pipelinetest.NewInput[payment]("payments")
			var out pipelinetest.Output[alarm]
			h := pipelinetest.NewHarness(t, pipelinetest.Options{Parallelism: 2}, func(g *pipeline.Graph) {
				out.To(alarms(in.Stream(g).Codec(paymentCodec), time.Minute), "alarms", nil)
			})
			for _, p := range c.payments {
				h.Do(in.At(p.At, p))
			}
			if early := out.Take(); len(early) > 0 {
				t.Errorf("alarms before the watermark has passed: %v", early)
			}
			h.Restart(3) // what was seen so far is in the snapshot, which another parallelism reads
			h.Do(pipelinetest.Watermark(start + 120_000))
			if got := out.Take(); len(got) != c.alarms {
				t.Errorf("%d alarms, want %d: %v", len(got), c.alarms, got)
			}
		})
	}
}

// TestStrikesAreCounted, alarm or not.
func TestStrikesAreCounted(t *testing.T) {
	in := pipelinetest.NewInput[payment]("payments")
	var out pipelinetest.Output[payment]
	h := pipelinetest.NewHarness(t, pipelinetest.Options{}, func(g *pipeline.Graph) {
		out.To(open(in.Stream(g).Codec(paymentCodec)), "out", nil)
	})
	for _, p := range []payment{{Kind: "charge", Cents: 90_000}, {Kind: "charge", Cents: 100}, {Kind: "closing", Cents: 90_000}, {Kind: "charge", Cents: largest}} {
		h.Do(in.At(start, p))
	}
	if m := h.Metrics(); len(m) != 1 || m[0].Name != "strikes" || m[0].Value != 2 || len(out.Take()) != 3 {
		t.Errorf("%+v", m)
	}
}

// TestOracle lets the pattern and the plain loop judge the same load: they share
// no code, so they agree only where both are right.
func TestOracle(t *testing.T) {
	w := fraud()
	p := w.Params().(*Params)
	p.Cards, p.Within = 7, 2*time.Second
	in := pipelinetest.NewInput[payment]("payments")
	var out pipelinetest.Output[alarm]
	h := pipelinetest.NewHarness(t, pipelinetest.Options{Parallelism: 3}, func(g *pipeline.Graph) {
		out.To(alarms(in.Stream(g).Codec(paymentCodec), p.Within), "alarms", nil)
	})
	want := expected(t, w, p, 5000, func(v payment) { h.Do(in.From(v.partition, v.At, v)) })
	h.Do(pipelinetest.Watermark(start + 3_600_000))
	got := out.Take()
	if len(got) != len(want) || len(got) < 20 {
		t.Fatalf("%d alarms, the oracle has %d", len(got), len(want))
	}
	for _, a := range got {
		if want[id{a.Partition, a.Sequence}] != a.Card {
			t.Errorf("the oracle knows no alarm %+v", a)
		}
	}
}
