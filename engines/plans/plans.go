// Package plans prints how an engine would run a job, for people (text) and for
// Graphviz. It only reads an engines.Plan.
package plans

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"streamduel/engines"
)

// Text writes the plan as tables: operators, stages, and where the tasks run.
func Text(w io.Writer, p engines.Plan) error {
	var b strings.Builder
	out := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	say := func(format string, a ...any) { fmt.Fprintf(out, format, a...) } // the writer keeps the first error for Flush
	say("%s: %s\n", p.Engine, p.Job)
	if p.OutputMode != "" {
		say("output mode: %s\n", p.OutputMode)
	}
	if len(p.Operators) > 0 {
		say("\noperators as written\n")
		for _, o := range p.Operators {
			say("  %d\t%s\t× %d\t%s\t%s\n", o.ID, o.Name, o.Parallelism, o.Kind, from(o.Inputs))
		}
	}
	say("\n%s\n", stagesTitle(p))
	for _, s := range p.Stages {
		say("  %d\t%s\t× %d\t%s\t%s\n", s.ID, s.Name, s.Parallelism, s.Group, from(s.Inputs))
	}
	if p.Slots != nil {
		var groups []string
		for _, g := range p.Slots.Groups {
			groups = append(groups, fmt.Sprintf("%s %d", g.Name, g.Slots))
		}
		say("\nsubtasks in slots: %d needed (%s), %s of %d\n", p.Slots.Needed, strings.Join(groups, ", "), many(p.Slots.TaskManagers, "task manager"), p.Slots.Each)
		for tm := 1; tm <= p.Slots.TaskManagers; tm++ {
			for slot := 1; slot <= p.Slots.Each; slot++ {
				in := tasksAt(p, engines.PlanPlace{TaskManager: tm, Slot: slot})
				if len(in) == 0 {
					in = []string{"free"}
				}
				say("  task manager %d\tslot %d\t%s\n", tm, slot, strings.Join(in, " | "))
			}
		}
	}
	if x := p.Executors; x != nil {
		say("\nexecutors: %d of %s\n", x.Count, cores(x.Cores))
		for e := 1; e <= x.Count; e++ {
			in := preferring(p, e)
			if len(in) == 0 {
				in = []string{"nothing that belongs to it"}
			}
			say("  executor %d\t%s\n", e, strings.Join(in, " | "))
		}
		if in := preferring(p, 0); len(in) > 0 {
			say("  any\t%s\n", strings.Join(in, " | "))
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n"))
	return err
}

func cores(n int) string {
	if n == 0 {
		return "as many cores as the machine has"
	}
	return many(n, "core")
}

// preferring lists the tasks that prefer an executor, 0 those that prefer none.
func preferring(p engines.Plan, executor int) (names []string) {
	for _, s := range p.Stages {
		for i := range s.Parallelism {
			at := 0
			if len(s.Prefers) > 0 {
				at = s.Prefers[i]
			}
			if at == executor {
				names = append(names, task(s, i))
			}
		}
	}
	return names
}

func stagesTitle(p engines.Plan) string {
	if p.Slots != nil {
		return "job vertices: operators chained, with slot-sharing groups"
	}
	return "stages: cut where records are shuffled"
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func from(ins []engines.Input) string {
	var parts []string
	for _, in := range ins {
		parts = append(parts, fmt.Sprintf("%d %s", in.From, how(in)))
	}
	if len(parts) == 0 {
		return ""
	}
	return "← " + strings.Join(parts, ", ")
}

// how says how records cross an exchange.
func how(in engines.Input) string {
	if in.Combined {
		return in.Partitioning + " (combined before)"
	}
	return in.Partitioning
}

// tasksAt lists the tasks in a slot.
func tasksAt(p engines.Plan, at engines.PlanPlace) (names []string) {
	for _, s := range p.Stages {
		for i, place := range s.Tasks {
			if place == at {
				names = append(names, task(s, i))
			}
		}
	}
	return names
}

func task(s engines.PlanStage, i int) string {
	return fmt.Sprintf("%s (%d/%d)", s.Name, i+1, s.Parallelism)
}

// Dot writes the plan for Graphviz: the stages with their operators above, and
// below them, where the engine has slots, the subtasks in their slots with the
// channels between them.
func Dot(w io.Writer, ps ...engines.Plan) error {
	d := &dot{}
	d.line("digraph plans {")
	d.line("  rankdir=LR; node [shape=box fontname=Helvetica fontsize=11]; edge [fontname=Helvetica fontsize=9];")
	for i, p := range ps {
		d.plan(fmt.Sprintf("p%d", i), p)
	}
	d.line("}")
	_, err := io.WriteString(w, d.b.String())
	return err
}

type dot struct{ b strings.Builder }

func (d *dot) line(format string, a ...any) { fmt.Fprintf(&d.b, format+"\n", a...) }

func (d *dot) plan(id string, p engines.Plan) {
	d.line("  subgraph cluster_%s {", id)
	d.line("    label=%q;", p.Engine+": "+p.Job)
	for _, s := range p.Stages {
		d.line("    %s_v%d [style=rounded label=%q];", id, s.ID, fmt.Sprintf("%s\n× %d", s.Name, s.Parallelism))
	}
	for _, s := range p.Stages {
		for _, in := range s.Inputs {
			d.line("    %s_v%d -> %s_v%d [label=%q];", id, in.From, id, s.ID, how(in))
		}
	}
	if p.Slots != nil {
		d.slots(id, p)
	}
	if p.Executors != nil {
		d.executors(id, p)
	}
	d.line("  }")
}

func (d *dot) executors(id string, p engines.Plan) {
	for e := 0; e <= p.Executors.Count; e++ {
		in, name := preferring(p, e), fmt.Sprintf("executor %d", e)
		if e == 0 {
			if len(in) == 0 {
				continue
			}
			name = "any executor"
		}
		d.line("    subgraph cluster_%s_e%d {", id, e)
		d.line("      label=%q; style=filled; color=gray92;", name)
		for i, t := range in {
			d.line("      %s_e%d_%d [style=filled fillcolor=white label=%q];", id, e, i, t)
		}
		if len(in) == 0 {
			d.line("      %s_e%d [shape=point style=invis];", id, e)
		}
		d.line("    }")
	}
}

func (d *dot) slots(id string, p engines.Plan) {
	for tm := 1; tm <= p.Slots.TaskManagers; tm++ {
		d.line("    subgraph cluster_%s_t%d {", id, tm)
		d.line("      label=\"task manager %d\"; style=filled; color=gray92;", tm)
		for slot := 1; slot <= p.Slots.Each; slot++ {
			d.line("      subgraph cluster_%s_t%d_s%d {", id, tm, slot)
			d.line("        label=\"slot %d\"; style=filled; color=gray84;", slot)
			at, empty := engines.PlanPlace{TaskManager: tm, Slot: slot}, true
			for _, s := range p.Stages {
				for i, place := range s.Tasks {
					if place == at {
						d.line("        %s_v%d_%d [style=filled fillcolor=white label=%q];", id, s.ID, i, task(s, i))
						empty = false
					}
				}
			}
			if empty {
				d.line("        %s_t%d_s%d [shape=point style=invis];", id, tm, slot)
			}
			d.line("      }")
		}
		d.line("    }")
	}
	for _, s := range p.Stages {
		for _, in := range s.Inputs {
			for i := range p.Stages[in.From].Tasks {
				for j := range s.Tasks {
					if in.Partitioning != "forward" || i == j {
						d.line("    %s_v%d_%d -> %s_v%d_%d;", id, in.From, i, id, s.ID, j)
					}
				}
			}
		}
	}
}
