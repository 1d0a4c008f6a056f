package scenarios

import (
	"maps"
	"slices"
)

// Guarantee is a delivery mode: what a read_committed reader sees after
// recovery and drain.
type Guarantee string

// The delivery modes, weakest first.
const (
	AtMostOnce  Guarantee = "at-most-once"
	AtLeastOnce Guarantee = "at-least-once"
	ExactlyOnce Guarantee = "exactly-once"
)

// Guarantees lists all delivery modes, weakest first.
func Guarantees() []Guarantee { return []Guarantee{AtMostOnce, AtLeastOnce, ExactlyOnce} }

// Vocabulary is what the rest of the program contributes to the language of
// scenario files. The loader sees engines, workloads and figures only through
// it.
type Vocabulary struct {
	Engines   map[string]EngineSpec
	Workloads map[string]WorkloadSpec
	// StateBackends lists what `state.backend` may name, the default first.
	StateBackends []string
	// KnownFigure says whether a gate may name a figure, given the names of
	// the scenario's phases (runs.KnownFigure). Nil admits every figure.
	KnownFigure func(path string, phases ...string) bool
	// SuggestFigure names the figure that was probably meant, or "" (see
	// runs.SuggestFigure). May be nil.
	SuggestFigure func(path string, phases ...string) string
}

// Membered is a configuration of an engine whose tasks may run in processes of
// their own.
type Membered interface {
	// Members returns what kill calls one of them, and how many there are; 1 is the
	// worker itself.
	Members() (kind string, n int)
}

// Standing is a configuration of an engine whose job may have coordinators that
// stand by.
type Standing interface {
	// StandBy returns how many stand by.
	StandBy() int
}

// EngineSpec describes a built-in engine.
type EngineSpec struct {
	// New returns a pointer to a configuration struct with its defaults set.
	// The file's block is decoded into it by its JSON names; time.Duration
	// and every encoding.TextUnmarshaler are read as text. If it has a method
	// Validate() error, that is called afterwards: an error (or each of an
	// errors.Join) of the form "field: what is allowed" is shown at that
	// field's place in the file.
	New func() any
	// CrashPoints are the names that crash.at may give, such as M3.
	CrashPoints []string
	// Guarantees that the engine offers; nil means all.
	Guarantees []Guarantee
	// Savepoints: it takes them and begins from them, at another parallelism too.
	Savepoints bool
	// Doc is one sentence for `bench list`.
	Doc string
}

// WorkloadSpec describes a workload; New is as in [EngineSpec].
type WorkloadSpec struct {
	New func() any
	Doc string
	// Bad lists the kinds of bad input that its records can be, for load.bad.
	Bad []string
	// NoBad says why there are none.
	NoBad string
}

// EngineNames lists the built-in engines in alphabetical order.
func (v Vocabulary) EngineNames() []string { return slices.Sorted(maps.Keys(v.Engines)) }

// WorkloadNames lists the workloads in alphabetical order.
func (v Vocabulary) WorkloadNames() []string { return slices.Sorted(maps.Keys(v.Workloads)) }
