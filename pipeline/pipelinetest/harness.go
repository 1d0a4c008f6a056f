package pipelinetest

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"streamduel/connectors"
	"streamduel/pipeline"
)

// T is the part of testing.TB that a harness uses.
type T interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

var _ T = testing.TB(nil)

// Harness runs operators by hand: push records, move the watermark and the
// clock, take a snapshot and go on from it with another parallelism, and look at
// what came out.
type Harness struct {
	*Host
	t     T
	build func(*pipeline.Graph)
	opt   Options
	old   map[string][]Written // written before the last restart
	wm    int64
	now   int64
}

// NewHarness builds a job and runs it. build is called again for every restart.
func NewHarness(t T, opt Options, build func(g *pipeline.Graph)) *Harness {
	t.Helper()
	h := &Harness{t: t, build: build, opt: opt, old: map[string][]Written{}, wm: pipeline.NoTime, now: pipeline.NoTime}
	h.start()
	t.Cleanup(func() { h.Close() })
	return h
}

func (h *Harness) start() {
	h.t.Helper()
	g := pipeline.New("test")
	h.build(g)
	host, err := Build(g, h.opt)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Host = host
}

// Do takes steps, each record by itself.
func (h *Harness) Do(steps ...Step) {
	h.t.Helper()
	for _, s := range steps {
		if err := h.try(s); err != nil {
			h.t.Fatalf("%v: %v", s, err)
		}
	}
}

// Try takes one step and returns the error with which the job fails.
func (h *Harness) Try(s Step) error { return h.try(s) }

func (h *Harness) try(s Step) error {
	switch s.kind {
	case stepWatermark:
		h.wm = max(h.wm, s.time)
		return h.Watermark(s.time)
	case stepTime:
		h.now = s.time
		return h.ProcessingTime(s.time)
	}
	for i := range s.records {
		if err := h.Push(s.source, s.batch(i, i+1)); err != nil {
			return err
		}
	}
	return nil
}

// Restart takes a snapshot and goes on from it in a job built anew at the given
// parallelism.
func (h *Harness) Restart(parallelism int) {
	h.t.Helper()
	snapshots := h.Snapshot()
	h.resume(parallelism, func() error { return h.Restore(snapshots) })
}

func (h *Harness) resume(parallelism int, restore func() error) {
	h.t.Helper()
	for name, ws := range h.Output {
		h.old[name] = append(h.old[name], ws...)
	}
	h.Close()
	h.opt.Parallelism = parallelism
	h.start()
	if err := restore(); err != nil {
		h.t.Fatal(err)
	}
	// Engines bring the watermark back, and the clock goes on.
	if err := h.Watermark(h.wm); err != nil {
		h.t.Fatal(err)
	}
	if h.now != pipeline.NoTime {
		if err := h.ProcessingTime(h.now); err != nil {
			h.t.Fatal(err)
		}
	}
}

// Texts returns what a sink has taken over all restarts, as text in the order
// of writing.
func (h *Harness) Texts(sink string) []string {
	var out []string
	for _, w := range slices.Concat(h.old[sink], h.Output[sink]) {
		out = append(out, string(w.Value))
	}
	return out
}

// Sinks returns the names of the sinks that have taken something.
func (h *Harness) Sinks() []string {
	all := maps.Clone(h.old)
	maps.Copy(all, h.Output)
	return slices.Sorted(maps.Keys(all))
}

// Step is one thing that happens to a job: records, or a move of time.
type Step struct {
	kind      stepKind
	source    string
	partition int32
	records   []connectors.Record
	time      int64
}

type stepKind int

const (
	stepRecords stepKind = iota
	stepWatermark
	stepTime
)

// Watermark is a step that moves the watermark of all tasks.
func Watermark(ts int64) Step { return Step{kind: stepWatermark, time: ts} }

// Time is a step that moves processing time.
func Time(ts int64) Step { return Step{kind: stepTime, time: ts} }

// String describes the step in a test's message.
func (s Step) String() string {
	switch s.kind {
	case stepWatermark:
		return fmt.Sprintf("watermark %d", s.time)
	case stepTime:
		return fmt.Sprintf("time %d", s.time)
	}
	return fmt.Sprintf("%d records of %s", len(s.records), s.source)
}

func (s Step) batch(from, to int) *connectors.Batch {
	return &connectors.Batch{Split: Split(s.partition), Records: s.records[from:to]}
}
