package microbatch

import (
	"slices"
	"time"

	"streamduel/engines"
	"streamduel/pipeline"
)

// perSource tells how each source of a job stands after a batch; nothing where the
// job has one, of which the batch's own numbers tell. latest are the ends that
// were seen when the batch was planned: a batch that is run again has none.
func (r *run) perSource(e *offsetEntry, latest engines.Positions, done *engines.BatchCompleted) (list []engines.SourceProgress) {
	if len(r.sources) < 2 {
		return nil
	}
	for _, s := range r.sources {
		p := engines.SourceProgress{Source: s.node.Name, Start: engines.Positions{}, End: engines.Positions{}}
		if latest != nil {
			p.Latest = engines.Positions{}
		}
		for id, rg := range e.Sources[s.node.UID] {
			p.Start[id], p.End[id] = rg.From, rg.Until
			p.Records += int64(rg.Until - rg.From)
			if at, ok := latest[id]; ok {
				p.Latest[id] = at
				p.Lag += max(int64(at-rg.Until), 0)
			}
		}
		if done.Records > 0 {
			share := float64(p.Records) / float64(done.Records)
			p.InputRowsPerSecond, p.ProcessedRowsPerSecond = share*done.InputRowsPerSecond, share*done.ProcessedRowsPerSecond
		}
		list = append(list, p)
	}
	return list
}

// taskProgress is what a batch has done in one task.
type taskProgress struct {
	Tables   []tableProgress  `json:"tables,omitempty"`
	Late     map[string]int64 `json:"late,omitempty"` // rows, by operator
	Updates  time.Duration    `json:"updates,omitempty"`
	Removals time.Duration    `json:"removals,omitempty"`
	Written  []int64          `json:"written,omitempty"` // to each of the stage's sinks
}

// tableProgress is what it has done in one table of a state operator.
type tableProgress struct {
	Operator string `json:"operator"`
	Table    string `json:"table"`
	Rows     int64  `json:"rows"`
	Updated  int64  `json:"updated,omitempty"`
	Removed  int64  `json:"removed,omitempty"`
	Memory   int64  `json:"memory"`
}

// progressed notes what the batch has done in the task, before its state is
// written, with the time that rows took, and timers and the watermark.
func (t *task) progressed(updates, removals time.Duration) {
	p := taskProgress{Updates: updates, Removals: removals}
	before := t.usage
	t.usage = t.State.Usage()
	for i, u := range t.usage {
		x := tableProgress{Operator: u.Operator, Table: u.Name, Rows: int64(u.Keys), Updated: u.Updated, Removed: u.Removed, Memory: u.Bytes}
		if i < len(before) {
			x.Updated -= before[i].Updated
			x.Removed -= before[i].Removed
		}
		p.Tables = append(p.Tables, x)
	}
	var late map[string]int64
	t.Late(func(n *pipeline.Node, rows int64) {
		if late == nil {
			late = map[string]int64{}
		}
		late[n.UID] += rows
	})
	for operator, rows := range late {
		if rows -= t.late[operator]; rows > 0 {
			if p.Late == nil {
				p.Late = map[string]int64{}
			}
			p.Late[operator] = rows
		}
	}
	t.late = late
	p.Written = make([]int64, len(t.stage.fragment.Sinks))
	for _, w := range t.writers {
		p.Written[slices.Index(t.stage.fragment.Sinks, w.node)] = w.n - w.reported
		w.reported = w.n
	}
	t.progress = p
}

// perOperator tells what a batch has done in each state operator, in the order of
// the job, and how many rows it has given to each sink. outcomes are those of all
// tasks, stage by stage; without them nothing is known.
func (r *run) perOperator(outcomes []outcome) (operators []engines.StateOperatorProgress, sinks []engines.SinkProgress) {
	of, written := map[string]*engines.StateOperatorProgress{}, map[*pipeline.Node]int64{}
	for _, f := range r.fragments {
		if len(outcomes) == 0 {
			break
		}
		for k := range f.Parallelism {
			o := &outcomes[k]
			for i, x := range o.Tables {
				p := of[x.Operator]
				if p == nil {
					p = &engines.StateOperatorProgress{Partitions: f.Parallelism, CustomMetrics: map[string]int64{}}
					of[x.Operator] = p
				}
				p.RowsTotal += x.Rows
				p.RowsUpdated += x.Updated
				p.RowsRemoved += x.Removed
				p.MemoryBytes += x.Memory
				p.Instances++
				p.CustomMetrics["rows: "+x.Table] += x.Rows
				if slices.ContainsFunc(o.Tables[:i], func(y tableProgress) bool { return y.Operator == x.Operator }) {
					continue // another table of it
				}
				p.UpdatesTime += millis(o.Updates)
				p.RemovalsTime += millis(o.Removals)
				p.CommitTime += millis(o.StateTime)
				p.RowsLate += o.Late[x.Operator]
			}
			for i, n := range o.Written {
				written[f.Sinks[i]] += n
			}
		}
		outcomes = outcomes[f.Parallelism:]
	}
	known := len(of)+len(written) > 0
	for _, n := range r.job.Graph.Nodes() {
		if p := of[n.UID]; p != nil {
			p.Operator = n.Name
			if len(p.CustomMetrics) == 1 {
				p.CustomMetrics = nil
			}
			operators = append(operators, *p)
		}
		if n.Kind == pipeline.KindSink {
			rows := written[n]
			if !known {
				rows = -1
			}
			sinks = append(sinks, engines.SinkProgress{Sink: n.Name, Description: n.Sink.Describe().Kind, Rows: rows})
		}
	}
	return operators, sinks
}
