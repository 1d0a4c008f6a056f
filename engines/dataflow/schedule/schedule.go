// Package schedule decides where the subtasks of a job run, which of them have
// to be restarted together, and when. It is pure: the same input always gives
// the same answer, time is an argument, nothing is started here.
package schedule

import (
	"fmt"
	"slices"
	"strings"
)

// Vertex is a job vertex: operators chained into one task.
type Vertex struct {
	Name        string
	Parallelism int
	// Group is the slot-sharing group. Subtasks of different vertices of one
	// group share a slot.
	Group  string
	Inputs []Input
	// Joint vertices are restarted as one, although no exchange connects their
	// subtasks: their sinks' transactions are recovered together.
	Joint bool
}

// Input is an exchange from another vertex.
type Input struct {
	From int
	// Pointwise: subtask i sends to subtask i only.
	Pointwise bool
}

// Subtask is one of a vertex's subtasks, both numbers from 0.
type Subtask struct{ Vertex, Index int }

// Slot is a place for subtasks, both numbers from 0.
type Slot struct{ TaskManager, Index int }

// Cluster says how many slots each task manager has; a lost one has none.
type Cluster []int

// Uniform returns a cluster of task managers with the same number of slots; with
// 0 slots each has as many as a job that needs so many takes of it when it is
// spread evenly.
func Uniform(taskManagers, slots, needed int) Cluster {
	if slots == 0 {
		slots = (needed + taskManagers - 1) / taskManagers
	}
	c := make(Cluster, taskManagers)
	for i := range c {
		c[i] = slots
	}
	return c
}

// Slots returns how many slots there are.
func (c Cluster) Slots() (n int) {
	for _, s := range c {
		n += s
	}
	return n
}

// Group is a slot-sharing group and what it needs.
type Group struct {
	Name  string
	Slots int
}

// Groups returns what each slot-sharing group needs, which is the largest
// parallelism in it, in the order in which the groups appear.
func Groups(vs []Vertex) (gs []Group, needed int) {
	for _, v := range vs {
		i := slices.IndexFunc(gs, func(g Group) bool { return g.Name == v.Group })
		if i < 0 {
			i = len(gs)
			gs = append(gs, Group{Name: v.Group})
		}
		gs[i].Slots = max(gs[i].Slots, v.Parallelism)
	}
	for _, g := range gs {
		needed += g.Slots
	}
	return gs, needed
}

// TooFewSlots is the error of a job that does not fit.
type TooFewSlots struct {
	Groups  []Group
	Needed  int
	Cluster Cluster
}

func (e *TooFewSlots) Error() string {
	var parts []string
	for _, g := range e.Groups {
		parts = append(parts, fmt.Sprintf("%s %d", g.Name, g.Slots))
	}
	each := make([]string, len(e.Cluster))
	for i, s := range e.Cluster {
		each[i] = fmt.Sprint(s)
	}
	return fmt.Sprintf("the job needs %d slots (slot-sharing groups: %s) and there are %d (task managers: %s): add %d more, lower the parallelism, or let operators share a group",
		e.Needed, strings.Join(parts, ", "), e.Cluster.Slots(), strings.Join(each, " + "), e.Needed-e.Cluster.Slots())
}

// Place gives every subtask its slot: subtask i of each vertex goes into slot i
// of its group, so that what is connected pointwise stays together; task
// managers are filled one after the other, as Flink does unless told to spread.
func Place(vs []Vertex, c Cluster) (map[Subtask]Slot, error) {
	gs, needed := Groups(vs)
	if c.Slots() < needed {
		return nil, &TooFewSlots{gs, needed, c}
	}
	var free []Slot
	for tm, slots := range c {
		for i := range slots {
			free = append(free, Slot{tm, i})
		}
	}
	first := map[string]int{} // of a group, in free
	at := 0
	for _, g := range gs {
		first[g.Name] = at
		at += g.Slots
	}
	places := map[Subtask]Slot{}
	for v := range vs {
		for i := range vs[v].Parallelism {
			places[Subtask{v, i}] = free[first[vs[v].Group]+i]
		}
	}
	return places, nil
}

// Regions divides the subtasks into those that have to be restarted together:
// components connected by exchanges, because what is in the buffers between
// them is lost with either end. They come in the order of their first subtasks.
func Regions(vs []Vertex) [][]Subtask {
	first := make([]int, len(vs)+1)
	for v := range vs {
		first[v+1] = first[v] + vs[v].Parallelism
	}
	leader := make([]int, first[len(vs)])
	for i := range leader {
		leader[i] = i
	}
	var find func(int) int
	find = func(i int) int {
		if leader[i] != i {
			leader[i] = find(leader[i])
		}
		return leader[i]
	}
	join := func(a, b int) {
		a, b = find(a), find(b)
		leader[max(a, b)] = min(a, b)
	}
	for v := range vs {
		for _, in := range vs[v].Inputs {
			for i := range vs[in.From].Parallelism {
				for j := range vs[v].Parallelism {
					if !in.Pointwise || i == j {
						join(first[in.From]+i, first[v]+j)
					}
				}
			}
		}
		for i := range vs[v].Parallelism {
			if vs[v].Joint {
				join(first[v], first[v]+i)
			}
		}
	}
	var regions [][]Subtask
	at := map[int]int{}
	for v := range vs {
		for i := range vs[v].Parallelism {
			l := find(first[v] + i)
			if _, ok := at[l]; !ok {
				at[l] = len(regions)
				regions = append(regions, nil)
			}
			regions[at[l]] = append(regions[at[l]], Subtask{v, i})
		}
	}
	return regions
}
