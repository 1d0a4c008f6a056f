package dataflow

import (
	"fmt"

	"streamduel/connectors"
	"streamduel/engines"
	"streamduel/engines/dataflow/schedule"
	"streamduel/pipeline"
)

// The three graphs: the stream graph is the job as written, its fragments are
// the job graph's vertices, and their subtasks in slots the execution graph.

// chainable is Flink's chaining rule: what both engines ask, a single input, and
// the same slot-sharing group.
func chainable(job int) func(*pipeline.Edge) bool {
	return func(e *pipeline.Edge) bool {
		return len(e.To.In) == 1 && pipeline.Chainable(e, job) && e.From.Group() == e.To.Group()
	}
}

// vertices describes the job graph to the scheduler.
func vertices(fs []*pipeline.Fragment, parallelism int, g connectors.Guarantee) []schedule.Vertex {
	of := map[*pipeline.Node]int{}
	vs := make([]schedule.Vertex, len(fs))
	for i, f := range fs {
		for _, n := range f.Nodes {
			of[n] = i
		}
		vs[i] = schedule.Vertex{
			Name: f.Name, Parallelism: f.Parallelism, Group: f.Nodes[0].Group(),
			Joint: len(f.Sinks) > 0 && g == connectors.ExactlyOnce,
		}
		for _, e := range f.In {
			vs[i].Inputs = append(vs[i].Inputs, schedule.Input{From: of[e.From], Pointwise: e.Effective(parallelism) == pipeline.Forward})
		}
	}
	return vs
}

// execution is a job's graphs with every subtask in its slot.
type execution struct {
	fragments []*pipeline.Fragment
	vertices  []schedule.Vertex
	cluster   schedule.Cluster
	places    map[schedule.Subtask]schedule.Slot
	regions   [][]schedule.Subtask
}

// lay makes the graphs of a job that has been resolved.
func lay(job engines.Job, cfg Config) (*execution, error) {
	fs, err := job.Graph.Cut(job.Parallelism, chainable(job.Parallelism))
	if err != nil {
		return nil, err
	}
	for _, n := range job.Graph.Nodes() {
		if n.PerBatch == "" {
			continue
		}
		remedy := "take mapWithState or a process function"
		if n.Role.Does == pipeline.MapsGroups {
			remedy = "emit what its function changes, or read the state from a savepoint"
		}
		return nil, fmt.Errorf("job %q: operator %q works batch by batch (%s), and dataflow has no batches: %s, or take the micro-batch engine", job.Graph.Name, n.Name, n.PerBatch, remedy)
	}
	x := &execution{fragments: fs, vertices: vertices(fs, job.Parallelism, job.Guarantee)}
	_, needed := schedule.Groups(x.vertices)
	x.cluster = schedule.Uniform(cfg.TaskManagers, cfg.Slots, needed)
	if x.places, err = schedule.Place(x.vertices, x.cluster); err != nil {
		return nil, fmt.Errorf("job %q: %w", job.Graph.Name, err)
	}
	x.regions = schedule.Regions(x.vertices)
	return x, nil
}

// Plan implements engines.Engine.
func (e Engine) Plan(job engines.Job, config any) (engines.Plan, error) {
	cfg, err := configOf(config)
	if err != nil {
		return engines.Plan{}, err
	}
	if err := job.Resolve(); err != nil {
		return engines.Plan{}, err
	}
	x, err := lay(job, cfg)
	if err != nil {
		return engines.Plan{}, err
	}
	plan := engines.Plan{
		Engine: e.Name(), Job: job.Graph.Name,
		Operators: engines.PlanOperators(job.Graph, job.Parallelism), Stages: engines.PlanStages(x.fragments, job.Parallelism),
		Slots: &engines.PlanSlots{TaskManagers: len(x.cluster), Each: x.cluster[0]},
	}
	for i := range plan.Stages {
		s := &plan.Stages[i]
		s.Group = x.vertices[i].Group
		for k := range s.Parallelism {
			at := x.places[schedule.Subtask{Vertex: i, Index: k}]
			s.Tasks = append(s.Tasks, engines.PlanPlace{TaskManager: at.TaskManager + 1, Slot: at.Index + 1})
		}
	}
	gs, needed := schedule.Groups(x.vertices)
	plan.Slots.Needed = needed
	for _, g := range gs {
		plan.Slots.Groups = append(plan.Slots.Groups, engines.PlanGroup(g))
	}
	return plan, nil
}
