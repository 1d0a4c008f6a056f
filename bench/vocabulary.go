package bench

import (
	"slices"

	"streamduel/engines"
	"streamduel/runs"
	"streamduel/scenarios"
	"streamduel/workloads"
)

// vocabulary is the language of scenario files: what the registered workloads,
// the engines and the result format contribute to it.
func (p parts) vocabulary() scenarios.Vocabulary {
	v := scenarios.Vocabulary{
		Engines:       map[string]scenarios.EngineSpec{},
		Workloads:     map[string]scenarios.WorkloadSpec{},
		StateBackends: stateBackends,
		KnownFigure:   runs.KnownFigure,
		SuggestFigure: runs.SuggestFigure,
	}
	for _, e := range p.engines {
		spec := scenarios.EngineSpec{New: e.Config, Doc: engineDocs[e.Name()]}
		_, spec.Savepoints = e.(engines.Restorer)
		for _, point := range e.Points() {
			spec.CrashPoints = append(spec.CrashPoints, point.Name)
		}
		v.Engines[e.Name()] = spec
	}
	for w := range workloads.All() {
		spec := scenarios.WorkloadSpec{New: w.Params, Doc: w.Doc, NoBad: w.NoBad}
		for _, k := range w.Bad {
			spec.Bad = append(spec.Bad, string(k))
		}
		v.Workloads[w.Name] = spec
	}
	return v
}

var engineDocs = map[string]string{
	"microbatch": "a batch clock cuts the input into small jobs of stages and tasks (after Spark)",
	"dataflow":   "long-running tasks pass records on as they come, with barriers for checkpoints (after Flink)",
}

// guaranteeNames lists the delivery modes for flags.
func guaranteeNames() []string {
	var out []string
	for _, g := range scenarios.Guarantees() {
		out = append(out, string(g))
	}
	return slices.Clip(out)
}
