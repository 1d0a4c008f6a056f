package engines

import "streamduel/pipeline"

// Plan is how an engine would run a job, for people and pictures: the operators
// as written, the stages that they are joined into, the tasks of each stage, and
// where an engine places its tasks beforehand, the slots. Package plans prints
// it.
type Plan struct {
	Engine    string         `json:"engine"`
	Job       string         `json:"job,omitempty"`
	Operators []PlanOperator `json:"operators,omitempty"`
	Stages    []PlanStage    `json:"stages"`
	Slots     *PlanSlots     `json:"slots,omitempty"`
	// Executors are processes, of an engine that has them and gives tasks to them
	// as they become free.
	Executors *PlanExecutors `json:"executors,omitempty"`
	// OutputMode says which rows of aggregations leave; "" where an engine has no
	// modes, or results answer each input.
	OutputMode string `json:"outputMode,omitempty"`
}

// PlanOperator is an operator as written. Inputs name operators by ID.
type PlanOperator struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	// UID identifies the operator's state over code changes.
	UID         string  `json:"uid"`
	Kind        string  `json:"kind"`
	Parallelism int     `json:"parallelism"`
	Inputs      []Input `json:"inputs,omitempty"`
}

// PlanStage is a stage (micro-batch) or a job vertex (dataflow). Inputs name
// stages by ID.
type PlanStage struct {
	ID          int      `json:"id"`
	Name        string   `json:"name"`
	Operators   []string `json:"operators"`
	Parallelism int      `json:"parallelism"`
	Inputs      []Input  `json:"inputs,omitempty"`
	// Group is the slot-sharing group, of an engine that has them.
	Group string `json:"slotSharingGroup,omitempty"`
	// Tasks are where the stage's tasks run, in their order, where that is
	// settled beforehand.
	Tasks []PlanPlace `json:"tasks,omitempty"`
	// Prefers are the executors that the stage's tasks run in when one of their
	// cores is free, by task and counted from 1; absent where any is as good.
	Prefers []int `json:"prefers,omitempty"`
}

// PlanPlace is a slot, both numbers counted from 1.
type PlanPlace struct {
	TaskManager int `json:"taskManager"`
	Slot        int `json:"slot"`
}

// Input is an exchange, or a chained connection of operators, into an operator
// or stage.
type Input struct {
	From         int    `json:"from"`
	Partitioning string `json:"partitioning"`
	// Combined: records are combined before the exchange.
	Combined bool `json:"combined,omitempty"`
}

// PlanSlots says how many slots a job needs and how many there are.
type PlanSlots struct {
	TaskManagers int         `json:"taskManagers"`
	Each         int         `json:"slotsEach"`
	Needed       int         `json:"needed"`
	Groups       []PlanGroup `json:"groups"`
}

// PlanExecutors says how many executors run a job's tasks, and how many at once.
type PlanExecutors struct {
	Count int `json:"count"`
	Cores int `json:"cores"` // of each; 0 is as many as its process may use
}

// PlanGroup is a slot-sharing group: it needs as many slots as its most
// parallel stage has tasks.
type PlanGroup struct {
	Name  string `json:"name"`
	Slots int    `json:"slots"`
}

// PlanOperators describes a job's operators as written.
func PlanOperators(g *pipeline.Graph, parallelism int) []PlanOperator {
	var out []PlanOperator
	for _, n := range g.Nodes() {
		o := PlanOperator{ID: n.ID, Name: n.Name, UID: n.UID, Kind: string(n.Kind), Parallelism: pipeline.ParallelismOf(n, parallelism)}
		for _, e := range n.In {
			o.Inputs = append(o.Inputs, Input{From: e.From.ID, Partitioning: string(e.Effective(parallelism))})
		}
		out = append(out, o)
	}
	return out
}

// PlanStages describes what a job's operators have been joined into.
func PlanStages(fragments []*pipeline.Fragment, parallelism int) []PlanStage {
	owner := map[*pipeline.Node]int{}
	for i, f := range fragments {
		for _, n := range f.Nodes {
			owner[n] = i
		}
	}
	var out []PlanStage
	for i, f := range fragments {
		s := PlanStage{ID: i, Name: f.Name, Parallelism: f.Parallelism}
		for _, n := range f.Nodes {
			s.Operators = append(s.Operators, n.Name)
		}
		for _, e := range f.In {
			s.Inputs = append(s.Inputs, Input{From: owner[e.From], Partitioning: string(e.Effective(parallelism))})
		}
		out = append(out, s)
	}
	return out
}
